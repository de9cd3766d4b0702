#!/usr/bin/env bash
# The tests of many nodes run against a real PostgreSQL. This installs its
# server programs where that is possible, and says what it did. It starts
# nothing: the tests start a server of their own and stop it.
set -euo pipefail
. "$(dirname "$0")/debian.sh"

if [ -n "${COUNTERFOIL_TEST_POSTGRES:-}" ]; then
  echo "postgres: the tests use the server that COUNTERFOIL_TEST_POSTGRES names"
  exit 0
fi
found() { ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1 | grep . || command -v initdb; }
pooler() { PATH=$PATH:/usr/sbin command -v pgbouncer; }

missing=
found >/dev/null || missing=postgresql
pooler >/dev/null || missing="$missing pgbouncer"
if [ -z "$missing" ]; then
  echo "postgres: found $(found) and $(pooler)"
  exit 0
fi
mkdir -p /etc/postgresql-common/createcluster.d 2>/dev/null &&
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/counterfoil.conf || true
if debian_install $missing; then
  echo "postgres: installed Debian's packages: $missing; $(found) and $(pooler)"
else
  echo "postgres: missing are: $missing. Root on Debian could install them; the tests that need them are skipped" >&2
fi
