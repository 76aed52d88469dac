#!/bin/sh
# toolbox.sh DIRECTORY: makes a Debian 13 in DIRECTORY with the peers of the images' benchmark in it, in their newest
# stable versions and nothing of them on this machine. Done twice it does nothing; takes a minute and 1 GB.
set -eu

root=$1
stamp=$root/etc/pgbake-peers
made=$(sha256sum <"$0")
if [ "$(cat "$stamp" 2>/dev/null)" = "$made" ]; then exit 0; fi

# From the mirror of this machine's own apt.
# shellcheck disable=SC2016 # apt's own placeholder
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
if [ -z "$mirror" ]; then
	echo "toolbox: this machine's apt knows no mirror of Debian" >&2
	echo "      hint: apt-get update" >&2
	exit 1
fi

packages=mkosi,debos,vmdb2,mmdebstrap,debootstrap,ca-certificates,debian-archive-keyring,qemu-utils
packages=$packages,grub-pc-bin,grub2-common,gdisk,parted,kpartx,mtools,dosfstools,e2fsprogs,zerofree,zstd
packages=$packages,systemd-repart,systemd-ukify,systemd-container,udev,bubblewrap,cpio,kmod,reprepro
rm -rf "$root" "$root.new"
mkdir -p "$(dirname "$root")"
mmdebstrap --quiet --mode=root --variant=apt --include="$packages" trixie "$root.new" "$mirror"

# The peers ask udev and the device-mapper for the partitions of their loop devices. Not every machine has these, and the
# kernel knows the partitions without them: only their nodes must be made.
shim() { cat >"$root.new/usr/local/sbin/$1" && chmod 755 "$root.new/usr/local/sbin/$1"; }
shim udevadm <<'SHIM'
#!/bin/sh
# udevadm ANYTHING: makes the nodes of all partitions of loop devices in enter.sh's /dev.
set -eu
for p in /sys/block/loop*/loop*p*; do
	[ -e "$p/dev" ] || continue
	rm -f "/dev/${p##*/}"
	# shellcheck disable=SC2046 # two numbers
	mknod "/dev/${p##*/}" b $(tr : ' ' <"$p/dev")
done
SHIM
shim kpartx <<'SHIM'
#!/bin/sh
# kpartx -usv DEVICE, kpartx -dsv FILE
set -eu
case $1 in
-usv)
	partx --update "$2"
	udevadm settle
	for p in "/sys/block/${2#/dev/}/${2#/dev/}p"*; do
		ln -s "../${p##*/}" "/dev/mapper/${p##*/}"
		echo "add map ${p##*/} (0:0): 0 0 linear $2 0"
	done
	;;
-dsv)
	losetup --noheadings --output NAME --associated "$2" | while read -r loop; do
		rm -f "/dev/mapper/${loop#/dev/}p"*
		partx --delete "$loop"
		losetup --detach "$loop"
	done
	;;
*) exit 2 ;;
esac
SHIM

# enter.sh lays this machine's over it.
rm -f "$root.new/etc/resolv.conf"
touch "$root.new/etc/resolv.conf"
tr -d - </proc/sys/kernel/random/uuid >"$root.new/etc/machine-id" # for systemd-nspawn, which debos runs
echo "$made" >"$root.new${stamp#"$root"}"
mv "$root.new" "$root"
