package images

import "slices"

// Format is one kind of file that an image can be.
type Format struct {
	// Name is what a person asks for.
	Name string
	// Ext ends the file's name.
	Ext string
	// For says who reads it.
	For string
}

// Formats are all of them, in the order in which they are offered. builders/native/disk writes them.
// VirtualBox reads vmdk and ova and is not named: its usual hardware (e1000, AHCI, LSI Logic) has no driver in Debian 12's cloud kernel.
var Formats = []Format{
	// name     ext            for
	{"qcow2", ".qcow2", "libvirt, Proxmox, OpenStack, every QEMU (zlib)"},
	{"qcow2-zstd", ".zstd.qcow2", "the same from QEMU 5.1 on: smaller, and faster to start"},
	{"raw", ".raw", "dd to a disk, bhyve, Xen, most clouds' imports; sparse"},
	{"vmdk", ".vmdk", "VMware (streamOptimized)"},
	{"ova", ".ova", "VMware's import, with the machine's hardware"},
	{"vhdx", ".vhdx", "Hyper-V"},
	{"tar", ".tar.zst", "systemd-nspawn, LXC: the root without a kernel's start"},
}

// FormatNamed returns the format of a name; false when there is none.
func FormatNamed(name string) (Format, bool) {
	i := slices.IndexFunc(Formats, func(f Format) bool { return f.Name == name })
	if i < 0 {
		return Format{}, false
	}
	return Formats[i], true
}
