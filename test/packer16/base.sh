#!/bin/sh
# base.sh SOURCES PACKAGES DISK, in an empty directory: makes the raw disk of a small Debian 12 with cloud-init, as others
# make their cloud images. It boots by BIOS. Its sources.list is the file sources.guest here.
set -eu

sources=$1 packages=$2 disk=$3
mkdir -p extra/etc/cloud/cloud.cfg.d extra/etc/initramfs-tools/conf.d
cat >extra/etc/cloud/cloud.cfg.d/01_base.cfg <<EOF
# As in Debian's own cloud images: apt's sources are the image's, and the machine knows its own name.
apt: {preserve_sources_list: true}
manage_etc_hosts: true
locale: C.UTF-8
# Translated, each module costs a second.
cloud_config_modules: [set-passwords, runcmd]
cloud_final_modules: [scripts-user, final-message]
EOF
mkdir -p extra/etc/apt/apt.conf.d
echo 'Acquire::Languages "none";' >extra/etc/apt/apt.conf.d/base
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >extra/etc/fstab
# The modules of one kind of machine: a tenth of the size.
echo 'MODULES=list' >extra/etc/initramfs-tools/conf.d/base
# ds-identify looks for the seed's CD before udev has loaded anything.
printf '%s\n' virtio_pci virtio_blk ata_piix sr_mod ext4 >extra/etc/initramfs-tools/modules

# shellcheck disable=SC2016 # $1 is the hooks' own: the root
mmdebstrap --quiet --mode=root --variant=essential --format=directory --include="$packages" \
	--aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io \
	--essential-hook='cp -a extra/. "$1"' \
	--customize-hook='rm -f "$1"/etc/apt/sources.list.d/* && cp sources.guest "$1/etc/apt/sources.list"' \
	--customize-hook='chroot "$1" systemctl --quiet enable systemd-networkd.service' \
	--customize-hook='rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/resolv.conf" && : >"$1/etc/machine-id"' \
	bookworm root "$sources"

mkdir -p root/boot/grub
cat >root/boot/grub/grub.cfg <<'EOF'
search --no-floppy --set=root --label root
linux /vmlinuz root=LABEL=root ro console=tty0 console=ttyS0,115200
initrd /initrd.img
boot
EOF
truncate --size=2G "$disk"
sgdisk --set-alignment=1 --new=1:34:2047 --typecode=1:ef02 --new=2:2048:0 --typecode=2:8304 "$disk" >/dev/null
mke2fs -q -t ext4 -L root -E offset=1048576,root_owner=0:0 -d root "$disk" 2096111k
rm -rf root extra

# boot.img finds core.img by its sector, and core.img its rest: what grub-install writes, but without a block device.
grub=/usr/lib/grub/i386-pc
grub-mkimage --format=i386-pc --directory=$grub --prefix='(hd0,gpt2)/boot/grub' --output=core.img \
	biosdisk part_gpt ext2 normal linux search search_label
bytes() { printf '%b' "$1" | dd of="$2" bs=1 seek="$3" conv=notrunc status=none; }
word() { printf '\\0%03o\\0%03o' $(($1 & 255)) $(($1 >> 8)); }
sectors=$((($(stat --format=%s core.img) + 511) / 512))
bytes '\043\0\0\0\0\0\0\0' core.img 500 # the rest begins at LBA 35
bytes "$(word $((sectors - 1)))\\040\\010" core.img 508
cp $grub/boot.img boot.img
bytes '\042\0\0\0\0\0\0\0' boot.img 92 # core.img is at LBA 34
bytes '\0377' boot.img 100 # on the disk that the BIOS started
bytes '\0220\0220' boot.img 102 # no jump for floppies
dd if=boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
dd if=core.img of="$disk" bs=512 seek=34 conv=notrunc status=none
