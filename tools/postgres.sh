#!/usr/bin/env bash
# The tests of many nodes run against a real PostgreSQL. This installs its
# server programs where that is possible, and says what it did. It starts
# nothing: the tests start a server of their own and stop it.
set -euo pipefail

if [ -n "${COUNTERFOIL_TEST_POSTGRES:-}" ]; then
  echo "postgres: the tests use the server that COUNTERFOIL_TEST_POSTGRES names"
  exit 0
fi
programs=$(ls -d /usr/lib/postgresql/*/bin/initdb /usr/local/pgsql/bin/initdb /usr/local/bin/initdb 2>/dev/null | tail -n 1 || true)
if [ -z "$programs" ]; then
  programs=$(command -v initdb || true)
fi
if [ -n "$programs" ]; then
  echo "postgres: found $programs"
elif [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "postgres: no server programs here, and they can be installed by root on Debian only; the tests that need them are skipped" >&2
else
  echo "postgres: installing Debian's package postgresql"
  # No cluster is made: it would start a server that nobody asked for.
  mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/counterfoil.conf
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
  echo "postgres: installed $(ls -d /usr/lib/postgresql/*/bin | tail -n 1)"
fi
