#!/usr/bin/env bash
# Checks the alert rules with Prometheus's own tool, and plays their tests. The
# tool is in Debian's package prometheus, installed if it is missing and we may;
# no server is started. What cannot run is named, and in CI that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../docs/ops"

if ! command -v promtool >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "prometheus: installing Debian's package prometheus, for promtool"
  # It is not to start a server that nobody asked for.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    trap 'rm -f $policy' EXIT
  fi
  apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null || true
fi
if ! command -v promtool >/dev/null; then
  echo "skipped: the alert rules by promtool: it is not there and could not be installed" >&2
  [ -z "${CI:-}" ] || exit 1
  exit 0
fi
promtool check rules alerts.yaml
promtool test rules alerts_test.yaml
