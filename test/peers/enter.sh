#!/bin/sh
# enter.sh TOOLBOX WORK PROGRAM…: runs a program with TOOLBOX as its / and WORK as /w, as the first process of its own
# namespaces. What it mounts and starts ends with it. A pivot and no chroot: mkosi makes user namespaces.
set -eu

if [ "$1" != --inside ]; then
	exec unshare --mount --pid --fork --kill-child "$0" --inside "$@"
fi
root=$2 work=$3
shift 3
mkdir -p "$work/tmp" "$work/home" "$root/w"
mount --bind "$root" "$root"
mount --bind "$work" "$root/w"
mount --bind "$work/tmp" "$root/tmp"
mount --bind "$work/tmp" "$root/var/tmp"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 run "$root/run"
# A /dev of its own: debos wants /dev/disk and vmdb2 /dev/mapper, which a machine without udev does not have.
mount -t tmpfs -o mode=755 dev "$root/dev"
losetup --find >/dev/null # the kernel makes the first loop device when it is asked for
cp -a /dev/loop* /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx /dev/fd /dev/std* "$root/dev"
mkdir "$root/dev/disk" "$root/dev/mapper" "$root/dev/pts" "$root/dev/shm"
mount --bind /dev/pts "$root/dev/pts"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
cd "$root"
pivot_root . mnt
umount --lazy /mnt
exec env --ignore-environment PATH=/usr/local/sbin:/usr/sbin:/usr/bin HOME=/w/home LC_ALL=C.UTF-8 \
	${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
