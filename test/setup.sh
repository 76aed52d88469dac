#!/bin/sh
# Installs what this project needs on a Debian machine: "setup.sh build", "setup.sh lab" (build and lab) or
# "setup.sh test" (all). What is there already is left alone; done twice it does nothing.
set -eu

want=${1:-lab}
build='make git ca-certificates'
lab='mmdebstrap systemd-container iproute2 nftables postgresql-client debian-archive-keyring e2fsprogs'
test='gcc libc6-dev shellcheck lintian apt-utils xorriso genisoimage jq'

case $want in
build) packages=$build ;;
lab) packages="$build $lab" ;;
test) packages="$build $lab $test" ;;
*) echo "usage: setup.sh build|lab|test" >&2; exit 2 ;;
esac

missing=
for p in $packages; do
	dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done

# Any Go from 1.21 on fetches the version that go.mod names by itself.
go=$(PATH="$PATH:/usr/local/go/bin" command -v go || true)
if [ -z "$go" ] || "$go" version | grep -qE ' go1\.(1?[0-9]|20)(\.| )'; then
	# shellcheck source=/dev/null
	. /etc/os-release
	if [ "${VERSION_CODENAME:-}" = bookworm ]; then
		backports=1
	fi
	missing="$missing golang-go"
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "setup: this machine lacks:$missing" >&2
	echo "      hint: sudo $0 $want" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
if [ -n "${backports:-}" ]; then
	# The mirror is the one this machine's own apt uses.
	# shellcheck disable=SC2016 # apt's own placeholder
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
	echo "deb $mirror bookworm-backports main" >/etc/apt/sources.list.d/pgbake-backports.list
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -y -qq --no-install-recommends ${backports:+-t bookworm-backports} $missing >/dev/null
