#!/bin/sh
# build.sh ROLE: vmdb2, with its cache of the root, kept for each role.
set -eu

sed -e "s|@PACKAGES@|$(cat /w/in/packages.base "/w/in/packages.$1" | paste -sd,)|" -e "s|@ROLE@|$1|" \
	-e "s|@MIRROR@|$(sed -n '1s/^deb [^]]*] \([^ ]*\) .*/\1/p' /w/in/sources.list)|" image.yaml >"$1.yaml"
rm -f disk.raw
exec vmdb2 --verbose --output disk.raw --rootfs-tarball "$PWD/$1.tar" "$1.yaml"
