#!/bin/sh
# build.sh ROLE: the disk by hand: mmdebstrap, mke2fs, and GRUB put in its place. It has no cache.
set -eu

role=$1
rm -rf root disk.raw
# shellcheck disable=SC2016 # $1 is the hooks' own: the root
mmdebstrap --quiet --mode=root --variant=essential --format=directory \
	--include="$(cat /w/in/packages.base "/w/in/packages.$role" | paste -sd,)" \
	--essential-hook='cp -a /w/in/files/. "$1"' \
	--customize-hook='mkdir "$1/pgha" && cp /w/in/pgha/'"$role"'/* /w/in/finish.sh "$1/pgha"' \
	--customize-hook='chroot "$1" sh /pgha/finish.sh' \
	bookworm root /w/in/sources.list

mkdir -p root/boot/grub
cp /w/in/grub.cfg root/boot/grub
truncate --size=4G disk.raw
sgdisk --set-alignment=1 --new=1:34:2047 --typecode=1:ef02 --new=2:2048:0 --typecode=2:8304 disk.raw >/dev/null
mke2fs -q -t ext4 -L root -E offset=1048576,root_owner=0:0 -d root disk.raw 4193263k
rm -rf root

# boot.img finds core.img by its sector, and core.img its rest: what grub-install writes, but without a block device.
grub=/usr/lib/grub/i386-pc
grub-mkimage --format=i386-pc --directory=$grub --prefix='(hd0,gpt2)/boot/grub' --output=core.img \
	biosdisk part_gpt ext2 normal linux search search_label echo
bytes() { printf '%b' "$1" | dd of="$2" bs=1 seek="$3" conv=notrunc status=none; }
word() { printf '\\0%03o\\0%03o' $(($1 & 255)) $(($1 >> 8)); }
sectors=$((($(stat --format=%s core.img) + 511) / 512))
bytes '\043\0\0\0\0\0\0\0' core.img 500 # the rest begins at LBA 35
bytes "$(word $((sectors - 1)))\\040\\010" core.img 508
cp $grub/boot.img boot.img
bytes '\042\0\0\0\0\0\0\0' boot.img 92 # core.img is at LBA 34
bytes '\0377' boot.img 100 # on the disk that the BIOS started
bytes '\0220\0220' boot.img 102 # no jump for floppies
dd if=boot.img of=disk.raw bs=440 count=1 conv=notrunc status=none
dd if=core.img of=disk.raw bs=512 seek=34 conv=notrunc status=none
