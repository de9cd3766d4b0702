#!/usr/bin/env bash
# The tests of forward-auth ask through real nginx and Caddy. This installs them
# where that is possible, and says what it did. It starts nothing: the tests start
# servers of their own and stop them.
set -euo pipefail
. "$(dirname "$0")/debian.sh"

has() { PATH=$PATH:/usr/sbin command -v "$1" >/dev/null; }
missing=
has nginx || missing=nginx-light
has caddy || missing="$missing caddy"
if [ -z "$missing" ]; then
  echo "proxies: found nginx and caddy"
elif debian_install $missing; then
  echo "proxies: installed Debian's packages: $missing"
else
  echo "proxies: missing are: $missing. Root on Debian could install them; the tests that need them are skipped" >&2
fi
