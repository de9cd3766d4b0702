#!/usr/bin/env bash
# Runs every fuzz target for a while, one after the other, so that a small
# machine fuzzes and does not thrash. Usage: tools/fuzz.sh 10s
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Where the time is over just as a worker answers, Go's coordinator may take its
# own deadline for a failure of the target (golang/go#75804). It has found nothing
# then. That, and no other failure, is run again, twice at most.
fuzz() { # package target
  local status found
  for _ in 1 2 3; do
    echo "fuzz $1 $2 for $time"
    status=0
    go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" -fuzzminimizetime 1s "$1" </dev/null 2>&1 | tee "$log" || status=$?
    [ "$status" -ne 0 ] || return 0
    found=$(sed -n '/^--- FAIL/,/^FAIL$/p' "$log" | sed '1d;$d')
    [ "$found" = "    context deadline exceeded" ] || return "$status"
    echo "fuzz $1 $2: Go's coordinator met its own deadline and found nothing"
  done
  return "$status"
}

grep -rlE '^func Fuzz' --include='*_test.go' . | sort | while read -r file; do
  package=$(dirname "$file")
  grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | sed 's/^func //' | while read -r target; do
    fuzz "$package" "$target"
  done
done
