#!/usr/bin/env bash
# Tests the browser library: `browser.sh short` as for every change, `browser.sh
# long` all there is. Node and its packages come from the lock file; the browser
# is Debian's, installed if it is missing and we may. What cannot run is named,
# and in CI that is a failure.
set -euo pipefail
cd "$(dirname "$0")/../browser"

skipped() {
  echo "skipped: $*" >&2
  [ -z "${CI:-}" ] || exit 1
}

if ! command -v npm >/dev/null; then
  skipped "the browser library: there is no npm (Node 20 or later)"
  exit 0
fi
npm ci --no-audit --no-fund
npm test

chromium=${CHROMIUM:-/usr/bin/chromium}
if [ ! -x "$chromium" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing chromium from Debian"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
if [ ! -x "$chromium" ]; then
  skipped "the tests in a real browser: no $chromium, and no right to install it"
  exit 0
fi
if [ "${1:-short}" = long ]; then export LONG=1; fi
npm run test:chromium
