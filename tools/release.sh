#!/usr/bin/env bash
# Builds what is released, in dist/ or the directory that is given: a static
# program for each architecture with the list of what is in it (CycloneDX), a
# Debian package, and SHA-256 sums. Go stamps the version from git. The same
# commit and the same Go give the same bytes in any directory, which
# tools/release_check.sh tries. ARCHS names other architectures.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-dist}
tool() { go tool -modfile=tools/release.mod "$@"; }

if [ -n "$(git status --porcelain)" ]; then
  echo "release: the tree has changes that are in no commit" >&2
  exit 1
fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH GOFLAGS=-mod=readonly GOWORK=off
rm -rf "$out"
mkdir -p "$out"
for ARCH in ${ARCHS:-amd64 arm64}; do
  BINARY=$out/counterfoil_linux_$ARCH
  SBOM=$BINARY.cdx.json
  CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH go build -trimpath -buildvcs=true -ldflags='-s -w' -o "$BINARY" ./cmd/counterfoil
  VERSION=$(go version -m "$BINARY" | awk '$1 == "mod" {print substr($3, 2)}')
  # The time of the list would be that of the build, its number random, and it
  # would have sums of the tool that made it, which differ by machine.
  tool cyclonedx-gomod bin -json -std -noserial "$BINARY" 2>/dev/null |
    sed -E "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)\"/" |
    sed -E '/^    "tools": \[/,/^    \]/ { /^ +"hashes": \[/,/^ +\]/d }' >"$SBOM"
  export ARCH BINARY SBOM VERSION
  tool nfpm package --config deploy/nfpm.yaml --packager deb --target "$out/counterfoil_linux_$ARCH.deb" >/dev/null
  echo "release: $VERSION for $ARCH"
done
(cd "$out" && sha256sum -- * >SHA256SUMS)
