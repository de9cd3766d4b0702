# For scripts that need packages of Debian's: `debian_install name…` installs them
# where that is possible, and starts none of the servers they bring.
debian_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  local policy=/usr/sbin/policy-rc.d ours=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    ours=$policy
  fi
  local failed=
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; } || failed=1
  [ -z "$ours" ] || rm -f "$ours"
  [ -z "$failed" ]
}
