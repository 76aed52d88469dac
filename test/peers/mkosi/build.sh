#!/bin/sh
# build.sh ROLE: mkosi, incremental: it keeps the tree with all of Debian's packages, and pgha's are volatile to it.
set -eu

role=$1
mkdir -p workspace
cd "$role" 2>/dev/null || {
	mkdir "$role" && cd "$role"
	cp -a ../mkosi.* .
	mkdir -p mkosi.cache mkosi.skeleton mkosi.sandbox/etc/apt/sources.list.d
	cp -a /w/in/files/. mkosi.skeleton
	(cd /w/in/files && cp --parents etc/apt/apt.conf.d/99peers etc/dpkg/dpkg.cfg.d/peers "$OLDPWD/mkosi.sandbox")
	cp /w/in/mkosi.sources mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources
}
cp "/w/in/pgha/$role/units" .
mkosi --force --package-cache-dir=/w/mkosi/packages --volatile-package-directory="/w/in/pgha/$role" \
	--package="$(cat /w/in/packages.base "/w/in/packages.$role" | paste -sd,)" \
	--volatile-package="$(paste -sd, "/w/in/packages.$role.pgha")" build
mv image.raw ../disk.raw
