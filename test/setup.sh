#!/bin/sh
# Installs what this project needs on a Debian machine: "setup.sh build", "setup.sh lab" (build and lab),
# "setup.sh images" (these and QEMU), "setup.sh test" (all), "setup.sh release" (build, and what packs a release);
# "setup.sh peers" also makes the root that the peers of the images' benchmark run in (test/peers). What is there already is left alone; done twice it does nothing.
set -eu

want=${1:-lab}
build='make git ca-certificates'
lab='mmdebstrap systemd-container iproute2 nftables postgresql-client debian-archive-keyring e2fsprogs'
images='qemu-system-x86 ovmf qemu-utils'
test='dmsetup gcc libc6-dev shellcheck lintian apt-utils xorriso genisoimage jq patch gpgv openssl dosfstools fdisk gdisk mtools openssh-client uidmap xfsprogs zstd
grub-pc-bin grub-efi-amd64-signed shim-signed default-jre-headless libpostgresql-jdbc-java sqlline'

case $want in
build) packages=$build ;;
release) packages="$build zip" ;;
lab) packages="$build $lab" ;;
images) packages="$build $lab $images" ;;
test) packages="$build $lab $images $test" ;;
peers)
	"$0" test
	exec "$(dirname "$0")/peers/toolbox.sh" "${PEER_TOOLBOX:-/var/cache/pgbake-peers}"
	;;
*) echo "usage: setup.sh build|lab|images|test|release|peers" >&2; exit 2 ;;
esac

missing=
for p in $packages; do
	dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done

# Any Go from 1.21 on fetches the version that go.mod names by itself.
found=$(PATH="$PATH:/usr/local/go/bin" command -v go || true)
golang=
if [ -z "$found" ] || "$found" version | grep -qE ' go1\.(1?[0-9]|20)(\.| )'; then
	golang='golang-go'
fi

# fetch PROGRAM PATH PACKAGE... puts one program of a package into bin/, without what the package would start or bring along.
# The first package is taken that this Debian has.
fetch() {
	program=$1 path=$2
	shift 2
	dir=$(dirname "$0")/../bin/$(dirname "$path")
	mkdir -p "$dir"
	tmp=$(mktemp -d)
	chmod 755 "$tmp"
	(
		cd "$tmp"
		download() {
			for package; do
				apt-get -o APT::Sandbox::User=root download -qq "$package" 2>/dev/null && return
			done
			return 1
		}
		download "$@" || { apt-get update -qq && download "$@"; } || {
			echo "setup: this machine's apt has no $program: $*" >&2
			exit 1
		}
		dpkg-deb --fsys-tarfile ./*.deb | tar -xO "./usr/bin/$program" >"$program"
		chmod 755 "$program"
	)
	mv "$tmp/$program" "$dir/$program"
	rm -r "$tmp"
}

bin=$(dirname "$0")/../bin
if [ "$want" = test ]; then
	# Debian 13 has promtool in a package of its own.
	if [ ! -x "$bin/promtool" ] && ! command -v promtool >/dev/null; then fetch promtool promtool promtool prometheus; fi
	# Debian 12's Packer, into a directory where it finds no plugins. Debian 13 has none.
	# shellcheck source=/dev/null
	if [ ! -x "$bin/packer16/packer" ] && [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = bookworm ]; then
		fetch packer packer16/packer packer
	fi
fi

[ -n "$missing$golang" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "setup: this machine lacks:$missing $golang" >&2
	echo "      hint: sudo $0 $want" >&2
	exit 1
fi

install() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

apt-get update -qq
if [ -n "$missing" ]; then
	# shellcheck disable=SC2086 # a list of names
	install $missing
fi
[ -n "$golang" ] || exit 0
# shellcheck source=/dev/null
. /etc/os-release
if [ "${VERSION_CODENAME:-}" != bookworm ]; then
	install "$golang"
	exit 0
fi
# Debian 12's own is too old. Nothing else comes from backports: it would bring a newer systemd along.
# shellcheck disable=SC2016 # apt's own placeholder
uri='$(REPO_URI)'
if [ -z "$(apt-get indextargets --format "$uri" 'Release: bookworm-backports')" ]; then
	# From the mirror that this machine's own apt uses, which it knows only after its first update.
	mirror=$(apt-get indextargets --format "$uri" 'Created-By: Packages' 'Release: bookworm' | head -n 1)
	if [ -z "$mirror" ]; then
		echo "setup: this machine's apt knows no mirror of Debian 12" >&2
		exit 1
	fi
	list=/etc/apt/sources.list.d/pgbake-backports.list
	echo "deb $mirror bookworm-backports main" >"$list"
	apt-get update -qq || {
		rm "$list"
		exit 1
	}
fi
install -t bookworm-backports "$golang"
