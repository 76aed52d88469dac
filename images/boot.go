package images

import (
	"fmt"
	"strings"
)

// Instructions says how to boot the image's files with a seed: BOOT.txt. seed is the seed's ISO as an example.
func Instructions(i Image, files []Output, seed string) []byte {
	named := map[string]string{}
	for _, f := range files {
		named[f.Format] = f.File
	}
	any := func(formats ...string) string {
		for _, f := range formats {
			if named[f] != "" {
				return named[f]
			}
		}
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, `%s: boots by BIOS and by UEFI, with Secure Boot too.
The machine becomes what its seed says (pgbake seed): give each its own, before its first boot. The root grows to its disk.
There is no password and no key in the image: the seed brings the ssh keys.
The serial console is ttyS0, 115200; the screen shows the same.
`, i.Name())
	if i.Role != Proxy {
		b.WriteString(dataBoot)
	}
	section := func(title, file, text string) {
		if file != "" {
			fmt.Fprintf(&b, "\n## %s\n%s", title, strings.NewReplacer("$FILE", file, "$SEED", seed, "$ARCH", qemuArch[i.Arch]).Replace(text))
		}
	}
	if i.Init == Ignition {
		b.WriteString(ignitionBoot)
	}
	section("QEMU", any("qcow2", "qcow2-zstd"), `qemu-img create -f qcow2 -F qcow2 -b $FILE node1.qcow2 20G
qemu-system-$ARCH -accel kvm -accel tcg -cpu max -m 2048 -nographic \
  -drive file=node1.qcow2,if=virtio -drive file=$SEED,if=virtio,format=raw,readonly=on -nic bridge,model=virtio
With UEFI add: -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd
`)
	section("libvirt", any("qcow2", "qcow2-zstd"), `cp $FILE /var/lib/libvirt/images/node1.qcow2 && qemu-img resize /var/lib/libvirt/images/node1.qcow2 20G
virt-install --import --name node1 --memory 2048 --vcpus 2 --osinfo debian12 --network bridge=br0 --graphics none \
  --disk /var/lib/libvirt/images/node1.qcow2,bus=virtio --disk $SEED,bus=virtio,readonly=on
`)
	section("Proxmox", any("qcow2", "qcow2-zstd", "raw"), `qm create 101 --name node1 --memory 2048 --cores 2 --net0 virtio,bridge=vmbr0 --serial0 socket --agent 1 --scsihw virtio-scsi-single
qm set 101 --virtio0 local-lvm:0,import-from=$PWD/$FILE --virtio2 local-lvm:0,import-from=$PWD/$SEED --boot order=virtio0
qm disk resize 101 virtio0 20G && qm start 101
virtio1 is free for the database's disk: qm set 101 --virtio1 local-lvm:32
The seed is a disk, not the CD drive: Debian's cloud kernel has no driver for AHCI.
`)
	section("VMware ESXi and vCenter", any("ova"), `ovftool --name=node1 --datastore=DATASTORE --network=NETWORK $FILE vi://USER@HOST/
Enlarge the disk, then attach the seed as a second disk: qemu-img convert -f raw -O vmdk -o subformat=streamOptimized $SEED seed.vmdk
`)
	section("VMware, from the disk", any("vmdk"), `vmkfstools -i $FILE -d thin node1.vmdk && vmkfstools -X 20G node1.vmdk
Controller: VMware Paravirtual; network card: VMXNET3.
`)
	section("Hyper-V", any("vhdx"), `New-VM -Name node1 -Generation 2 -MemoryStartupBytes 2GB -VHDPath $FILE -SwitchName SWITCH
Set-VMFirmware node1 -SecureBootTemplate MicrosoftUEFICertificateAuthority
Add-VMHardDiskDrive -VMName node1 -Path seed.vhdx   # qemu-img convert -f raw -O vhdx $SEED seed.vhdx
`)
	section("A disk", any("raw"), `dd if=$FILE of=/dev/DISK bs=4M conv=sparse,fsync status=progress   # of a blank disk
`)
	section("A container", any("tar"), `mkdir /var/lib/machines/node1 && tar --zstd --xattrs --xattrs-include='*' --numeric-owner -xpf $FILE -C /var/lib/machines/node1
Lay the seed's three files into /var/lib/machines/node1/var/lib/cloud/seed/nocloud/
systemd-nspawn -b -D /var/lib/machines/node1 --network-bridge=br0 --capability=CAP_SYS_NICE,CAP_SYS_TIME
`)
	return []byte(b.String())
}

// dataBoot: a seed is a disk as well, and takes its turn among the names.
const dataBoot = `
## A disk for the database
It is attached blank, before the first boot, when cluster.yaml has storage.data_disk. "auto" means the machine's one blank disk, in
whatever order the disks are attached. A name such as /dev/vdb goes by that order: root, the database's disk, seed. Without a disk between
them /dev/vdb is the seed. /dev/disk/by-id/… names a disk that has a serial number.
`

// ignitionBoot: a seed can be read by root on the host either way, and on the machine.
const ignitionBoot = `
## The seed, by Ignition
It is applied once, at the first boot; without one nothing of pgha starts, and the console says so.
The commands below attach it as a config drive. QEMU can hand it over without a disk, then leave the second disk out:
  QEMU     -fw_cfg name=opt/com.coreos/config,file=node1.ign
  libvirt  virt-install … --qemu-commandline="-fw_cfg name=opt/com.coreos/config,file=/PATH/node1.ign"
  Proxmox  qm set 101 --args "-fw_cfg name=opt/com.coreos/config,file=/PATH/node1.ign"
`

// qemuArch is QEMU's word for Debian's.
var qemuArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}
