#!/bin/sh
# Makes what a release ships, below dist/release: "release.sh VERSION".
# pgbake static for amd64 and arm64, its own .deb, the pgha packages, Packer's plugin as Packer wants it, SHA256SUMS.
set -eu

version=$1
out=dist/release
# The commit's time, so that the same commit gives the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH CGO_ENABLED=0

rm -rf "$out"
mkdir -p "$out"
for arch in amd64 arm64; do
	GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$out/pgbake-linux-$arch" ./cmd/pgbake
	PGBAKE_BINARY=$out/pgbake-linux-$arch VERSION=$version ARCH=$arch \
		go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.1 package --config .github/pgbake-deb.yaml --packager deb --target "$out"
done
bin/pgbake -q package -o "$out"

# The names are Packer's: https://developer.hashicorp.com/packer/docs/plugins/creation#creating-a-github-release
plugin=packer-plugin-pgbake_v${version%%[+~-]*}
for arch in amd64 arm64; do
	name=${plugin}_x5.0_linux_$arch
	(cd builders/packer-plugin-pgbake && GOARCH=$arch go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X main.version=${version%%[+~-]*} -X main.prerelease=" -o "../../$out/$name" .)
	touch -d "@$SOURCE_DATE_EPOCH" "$out/$name"
	(cd "$out" && TZ=UTC zip -q -X "$name.zip" "$name" && rm "$name")
done
cd "$out"
sha256sum -- "$plugin"_*.zip >"${plugin}_SHA256SUMS"
sha256sum -- * >SHA256SUMS
ls -l
