#!/usr/bin/env bash
# Tests the browser library: `browser.sh types` checks its types, `browser.sh
# short` tests what every change must stand, `browser.sh long` all there is, a
# minute for each case. Packages come from the lock file. Node and the browser are
# Debian's, installed if they are missing and we may. What cannot run is named,
# and in CI that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../browser"
what=${1:-short}

skipped() {
  echo "skipped: $*" >&2
  [ -z "${CI:-}" ] || exit 1
}

install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  echo "installing Debian's packages: $*"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# What is there may be older than the lock file, or half installed.
packages() {
  cmp -s package-lock.json node_modules/.installed && return
  npm ci --no-audit --no-fund
  cp package-lock.json node_modules/.installed
}

node20() { command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)'; }

if ! node20 && ! { install nodejs npm && node20; }; then
  skipped "the browser library: there is no npm with Node 20 or later, and it could not be installed"
  exit 0
fi
packages
if [ "$what" = types ]; then
  npm run --silent types
  exit
fi

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
(cd .. && go build -o "$bin/counterfoil" ./cmd/counterfoil)
export COUNTERFOIL=$bin/counterfoil
npm test

chromium=${CHROMIUM:-/usr/bin/chromium}
if [ ! -x "$chromium" ] && ! install chromium; then
  skipped "the tests in a real browser: no $chromium, and it could not be installed"
  exit 0
fi
if [ "$what" = long ]; then export LONG=1; fi
npm run test:chromium
cat build/chromium.md
