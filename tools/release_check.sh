#!/usr/bin/env bash
# Tries what is said of a release: builds the last commit twice, in clones in
# directories of different names, and compares every byte; then looks into the packages, and plays the main job with nothing
# but the program in the root directory, as nobody. With COLD=1 the second build
# begins with an empty cache, which takes minutes more. With INSTALL=1, and as root,
# apt installs the package into a Debian that is made for it, where the unit's
# command runs as the unit's user. Where qemu-user-static is, the
# program for the other architecture plays the main job, too.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
fail() { echo "release: $*" >&2; exit 1; }

command -v readelf >/dev/null && command -v strings >/dev/null || fail "readelf and strings are missing, Debian's package binutils"
if [ -n "${INSTALL:-}" ] && ! command -v mmdebstrap >/dev/null; then
  . tools/debian.sh
  debian_install mmdebstrap || fail "INSTALL=1 needs root, Debian and its package mmdebstrap"
  echo "release: installed Debian's package mmdebstrap"
fi

git clone -q . "$work/one"
git clone -q . "$work/a directory of another length"
(cd "$work/one" && tools/release.sh "$work/first")
(cd "$work/a directory of another length" && ${COLD:+env GOCACHE="$work/cache"} tools/release.sh "$work/second")
diff -r "$work/first" "$work/second" || fail "two builds of one commit differ"
(cd "$work/first" && sha256sum --quiet -c SHA256SUMS)
echo "release: two builds are the same, byte by byte"

here=$(go env GOARCH)
for program in "$work"/first/counterfoil_linux_{amd64,arm64}; do
  [ -e "$program" ] || continue
  readelf -l "$program" | grep -q INTERP && fail "$program wants a dynamic linker"
  strings -n 8 "$program" | grep -qF "$work" && fail "$program tells where it was built"
  ! command -v jq >/dev/null || jq -e '.components | length > 1' "$program.cdx.json" >/dev/null || fail "$program.cdx.json cannot be read"
  # Every module that is in the program is in its list.
  go version -m "$program" | awk '$1 == "dep" {print $2 "@" $3}' | while read -r module; do
    grep -qF "\"pkg:golang/$module" "$program.cdx.json" || fail "$module is not in the list of $program"
  done
done
echo "release: static, and their lists are whole"

program=$work/first/counterfoil_linux_$here
"$program" version
if command -v dpkg-deb >/dev/null; then
  package=$program.deb root=$work/root
  dpkg-deb --field "$package" Package Version Architecture Depends
  dpkg-deb --extract "$package" "$root"
  cmp "$program" "$root/usr/bin/counterfoil"
  [ "$(dpkg-deb --ctrl-tarfile "$package" | tar -xO ./conffiles)" = /etc/counterfoil/counterfoil.yaml ] || fail "the configuration is not the operator's"
  dpkg-deb --contents "$package" | awk '$2 != "root/root" {print; bad = 1} END {exit bad}' || fail "files that are not root's"
  "$program" config check --config "$root/etc/counterfoil/counterfoil.yaml"
  if command -v systemd-analyze >/dev/null; then
    mkdir -p "$root/bin" && cp /bin/true "$root/bin/kill" # what ExecReload names
    systemd-analyze verify --man=no --recursive-errors=no --root="$root" counterfoil.service
    systemd-analyze security --offline=yes --root="$root" --threshold=20 counterfoil.service | tail -n 1
  else
    echo "skipped: the unit by systemd-analyze" >&2
  fi
else
  echo "skipped: the Debian package: there is no dpkg-deb" >&2
fi

if [ "$(id -u)" = 0 ]; then
  bare=$work/bare
  mkdir -p "$bare/usr/bin" "$bare/var/lib/counterfoil"
  chmod 755 "$work" "$bare"
  cp "$program" "$bare/usr/bin/"
  chown 65532:65532 "$bare/var/lib/counterfoil"
  chroot --userspec=65532:65532 "$bare" "/usr/bin/${program##*/}" demo --tour --data /var/lib/counterfoil/demo | tail -n 1
else
  echo "skipped: the main job in an empty root directory, for which one must be root" >&2
fi

other=$work/first/counterfoil_linux_arm64 emulator=$(command -v qemu-aarch64-static || true)
if [ "$here" = amd64 ] && [ -e "$other" ] && [ -n "$emulator" ]; then
  "$emulator" "$other" version
  "$emulator" "$other" demo --tour --data "$work/emulated" | tail -n 1
else
  echo "skipped: the program for arm64, for which there must be an emulator" >&2
fi

if [ -n "${INSTALL:-}" ]; then
  debian=$work/debian
  mmdebstrap --quiet --variant=minbase --include=adduser "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$debian"
  cp "$program.deb" "$debian/tmp/counterfoil.deb"
  inside() { chroot "$debian" "$@"; }
  inside env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq /tmp/counterfoil.deb >/dev/null 2>&1
  inside install -d -o counterfoil -g counterfoil -m 0700 /var/lib/counterfoil # as StateDirectory does
  started=$(sed -n 's/^ExecStart=//p' "$debian/usr/lib/systemd/system/counterfoil.service" "$debian/lib/systemd/system/counterfoil.service" 2>/dev/null | head -n 1)
  # shellcheck disable=SC2086 # the unit's words
  chroot "$debian" setpriv --reuid=counterfoil --regid=counterfoil --clear-groups $started >"$work/log" 2>&1 &
  served=$!
  for _ in $(seq 100); do
    inside test -e /var/lib/counterfoil/running.json && break
    sleep 0.1
  done
  inside setpriv --reuid=counterfoil --regid=counterfoil --clear-groups counterfoil tenant create diku --config /etc/counterfoil/counterfoil.yaml || { cat "$work/log"; fail "the unit's command does not serve"; }
  kill "$served"
  wait "$served" || fail "the unit's command ended with $?"
  inside apt-get purge -y -qq counterfoil >/dev/null 2>&1
  ! inside test -e /usr/bin/counterfoil || fail "purged, and still there"
  inside test -d /var/lib/counterfoil || fail "purged, and the data went along"
  echo "release: installed by apt, served by the unit's command as its user, purged"
else
  echo "skipped: installing the package, which is done with INSTALL=1" >&2
fi
