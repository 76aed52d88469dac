#!/bin/sh
# build.sh ROLE: debos, with the tarballs of its recipe as its cache: Debian, and the role's packages on it.
set -eu

role=$1
have=nothing
[ ! -e base.tar ] || have=base
[ ! -e "$role.tar" ] || have=role
rm -rf disk.raw files pgha
cp -a /w/in/files files
cp -a "/w/in/pgha/$role" pgha
cp /w/in/finish.sh /w/in/grub.cfg pgha
exec debos --disable-fakemachine --artifactdir="$PWD" -t have:"$have" -t role:"$role" \
	-t base:"$(paste -sd, /w/in/packages.base)" -t packages:"$(paste -sd, "/w/in/packages.$role")" image.yaml
