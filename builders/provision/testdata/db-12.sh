#!/bin/sh
# Written by pgbake. Makes this machine, a Debian 12 for amd64, the image of role db. Run it as root, in a directory that
# also holds pgbake's packages unless they come from a repository.
set -eu

release=12
codename=bookworm
arch=amd64
role=db
packages='ca-certificates chrony cloud-guest-utils cloud-init dbus e2fsprogs fdisk iproute2 iputils-ping kmod less libpam-systemd netbase nftables openssh-server procps qemu-guest-agent sudo systemd-resolved systemd-sysv tzdata udev zstd etcd-client etcd-server patroni postgresql-15 postgresql-client-15 python3-etcd'
own='pgha-common pgha-node'
repository=''
pgdg=no
cleans=yes

# apt's sources that the machine has not, and keeps
sources() {
	:
}

# what is there while packages are installed
installing() {
	hold /usr/sbin/policy-rc.d 755 <<'END-OF-FILE'
#!/bin/sh
exit 101
END-OF-FILE
	hold /etc/postgresql-common/createcluster.d/pgbake-build.conf 644 <<'END-OF-FILE'
create_main_cluster = false
END-OF-FILE
}

# files of every machine
settings() {
	put /etc/ssh/sshd_config.d/50-pgbake.conf 644 <<'END-OF-FILE'
# Written by pgbake into the image.
# Keys only; the seed brings them.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
END-OF-FILE
}

# the network where nothing else configures it
networkd() {
	systemctl --quiet enable systemd-networkd.service
	systemctl --quiet disable systemd-networkd-wait-online.service
}

# what runs by itself and should not
quiet() {
	systemctl --quiet mask e2scrub_all.timer e2scrub_reap.service
}

# what no image has
left() {
	cat <<'END-OF-FILE'
below /dev/
below /proc/
below /sys/
below /run/
below /tmp/
below /var/tmp/
path /etc/ssh/ssh_host_*
path /etc/hostname
path /etc/resolv.conf
path /var/lib/dbus/machine-id
path /var/lib/systemd/random-seed
path /etc/ssl/private/ssl-cert-snakeoil.key
path /etc/ssl/certs/ssl-cert-snakeoil.pem
files /var/lib/apt/lists/
files /var/cache/apt/
path /var/lib/apt/extended_states
files /var/log/
path /var/cache/ldconfig/aux-cache
path /var/cache/debconf/*-old
path /var/lib/dpkg/*-old
path /var/lib/dpkg/lock*
below /var/cache/man/
below /var/cache/fontconfig/
below /var/lib/cloud/
path /root/.*_history
path /etc/passwd-
path /etc/shadow-
path /etc/group-
path /etc/gshadow-
path /etc/subuid-
path /etc/subgid-
path /usr/sbin/policy-rc.d
path /etc/.pwd.lock
path /var/lib/dhcp/*
path /var/lib/chrony/*
path /var/lib/systemd/timers/*
path /var/lib/systemd/timesync/*
path /var/lib/systemd/credential.secret
path /etc/netplan/50-cloud-init.yaml
path /etc/network/interfaces.d/50-cloud-init
path /etc/systemd/network/10-cloud-init-*
path /etc/ssh/sshd_config.d/50-cloud-init.conf
END-OF-FILE
}

# Below is the same for every role; above is what cluster.yaml decides.

fail() { # what, then what to do about it
	echo "pgbake: $1" >&2
	[ -z "${2:-}" ] || echo "      hint: $2" >&2
	exit 1
}

say() { echo "==> $*"; }

# judge refuses a machine that cannot become the image, before anything is changed on it.
judge() {
	[ "$(id -u)" = 0 ] || fail "provision this machine: not root" "run it by sudo"
	# shellcheck source=/dev/null
	[ ! -r /etc/os-release ] || . /etc/os-release
	[ "${ID:-}" = debian ] || fail "provision this machine: it is ${PRETTY_NAME:-no Debian}, not Debian $release" "start from an image of Debian $release ($codename)"
	[ "${VERSION_ID:-}" = "$release" ] || fail "provision this machine: it is ${PRETTY_NAME:-another Debian}, cluster.yaml says Debian $release" "start from an image of $codename, or set debian in cluster.yaml"
	is=$(dpkg --print-architecture)
	[ "$is" = "$arch" ] || fail "provision this machine: it is $is, the packages are for $arch" "set arch = \"$is\""
	[ ! -e /etc/pgha/machine ] || fail "provision this machine: it is $(cat /etc/pgha/machine), a member of a cluster" "start from a machine that never had a seed"
	[ -z "$repository" ] || return 0
	for p in $own; do
		# Where there is none, the pattern stays as it is.
		for deb in "$dir/${p}"_*.deb; do
			[ -f "$deb" ] || fail "find package $p: no ${p}_*.deb in $dir" "pgbake package, and upload what it wrote for $arch"
			debs="$debs $deb"
		done
	done
}

# hold lays a file that is there only while packages are installed, over one that may be there.
hold() {
	if [ -e "$1" ]; then mv "$1" "$1.pgbake-held"; fi
	put "$1" "$2"
	held="$held $1"
}

release_held() {
	for f in $held; do
		rm -f "$f"
		[ ! -e "$f.pgbake-held" ] || mv "$f.pgbake-held" "$f"
	done
	held=
}

put() { # path, mode; the body on standard input
	mkdir -p "${1%/*}"
	cat >"$1"
	chmod "$2" "$1"
}

apt() {
	apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Acquire::http::Timeout=30 \
		-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=false \
		--no-install-recommends "$@"
}

update() {
	apt update --error-on=any ||
		fail "read the archives of this machine's apt: not all of them answered" "what apt says is above; the machine needs a way to each source in /etc/apt, a proxy included"
}

install_packages() {
	if [ "$pgdg" = yes ]; then
		# Debian's package knows where PGDG's archive is, and its key.
		apt install postgresql-common ca-certificates || fail "install postgresql-common"
		/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y "$codename" || fail "add PGDG's archive" "the machine needs a way to it; or set postgres.mirror in cluster.yaml"
		update
	fi
	# What is there already is not marked as wanted by apt, but stays.
	# shellcheck disable=SC2086 # lists of names
	apt install $packages ${debs:-$own} || fail "install the packages of role $role" "what apt says is above"
	apt clean
}

# A network that something else configures stays as it is.
network() {
	if command -v netplan >/dev/null || command -v ifup >/dev/null || [ -d /etc/NetworkManager ]; then return; fi
	networkd
}

# clean leaves nothing that belongs to this one machine, or to its making.
clean() {
	# What is stopped now writes nothing at the shutdown.
	for u in systemd-random-seed.service chrony.service systemd-timesyncd.service; do
		systemctl --quiet is-active "$u" && systemctl stop "$u"
	done
	journalctl --quiet --relinquish-var 2>/dev/null || :
	rm -rf /var/log/journal/*
	left | while read -r kind path; do
		case $path in
		# The running kernel's, and gone with it. This script's own directory is whose who made it.
		/dev/ | /proc/ | /sys/ | /run/) continue ;;
		esac
		case $kind in
		files) [ ! -d "$path" ] || find "$path" -xdev ! -type d -delete ;;
		below) [ ! -d "$path" ] || find "$path" -xdev -mindepth 1 -maxdepth 1 ! -path "$dir" ! -name 'systemd-private-*' -exec rm -rf {} + ;;
		path)
			for f in $path; do rm -rf "$f"; done
			;;
		esac
	done
	# systemd makes one at first boot.
	: >/etc/machine-id
	# The link by hash to ssl-cert's certificate, which is gone.
	find /etc/ssl/certs -lname ssl-cert-snakeoil.pem -delete 2>/dev/null || :
	for f in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do
		[ ! -s "$f" ] || echo "pgbake: $f stays: with ssh_clear_authorized_keys = true Packer takes its own key out" >&2
	done
}

main() {
	dir=$(cd "$(dirname "$0")" && pwd)
	debs='' held=''
	export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C.UTF-8
	judge
	umask 022
	trap release_held EXIT
	trap 'exit 129' HUP INT TERM
	# In a container without systemd cloud-init never begins.
	if [ -d /run/systemd/system ] && command -v cloud-init >/dev/null; then
		say "waits for the end of this machine's first boot"
		timeout 600 cloud-init status --wait >/dev/null 2>&1 || :
	fi
	say "reads the archives"
	sources
	update
	say "installs the packages of role $role"
	installing
	install_packages
	release_held
	say "settings"
	settings
	network
	quiet
	if [ "$cleans" = yes ]; then
		say "cleans the machine for imaging"
		clean
	fi
	sync
	say "this machine is a $role image"
}

# All of it has been read here: the clean-up may take the file away.
main "$@"
