package images

import (
	"path"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/rootfs"
)

// Everywhere are the files of a database's or proxy's machine wherever it is from: also of one that somebody else made.
func Everywhere() []rootfs.File {
	return []rootfs.File{
		text("/etc/ssh/sshd_config.d/50-pgbake.conf", sshdConfig),
	}
}

// Files are what every image has beside its packages' own files. They lie in the tree before its initramfs is made.
func (i Image) Files() []rootfs.File {
	return slices.Concat(Everywhere(), []rootfs.File{
		text("/etc/initramfs-tools/conf.d/pgbake", initramfs),
		{Path: "/etc/initramfs-tools/hooks/pgbake", Mode: 0o755, Body: []byte(initramfsHook)},
		text("/etc/machine-id", ""), // systemd makes one at first boot
	}, i.initFiles())
}

// repart has systemd-repart make the root's partition as large as its disk, in a tenth of the time that growpart takes.
const repart = by + `[Partition]
Type=root
`

// repartUnit keeps systemd 252 from discarding what it takes for free space: part of the BIOS boot partition is in it, and
// with that gone the machine never starts again.
const repartUnit = by + `[Service]
ExecStart=
ExecStart=/bin/systemd-repart --dry-run=no --discard=no
`

func text(name, body string) rootfs.File {
	return rootfs.File{Path: name, Mode: 0o644, Body: []byte(body)}
}

const by = "# Written by pgbake into the image.\n"

const cloudConfigPath = "/etc/cloud/cloud.cfg.d/95_pgbake.cfg"

// Each module that is left out saves its share of a slow start. All of the later ones are in the last stage: see Units.
// There are no passwords to set.
const cloudConfig = by + `# The seed is the only source of this machine's identity.
datasource_list: [NoCloud, None]
cloud_init_modules: [bootcmd, write-files, %sresizefs, set_hostname, users-groups, ssh]
cloud_config_modules: []
cloud_final_modules: [runcmd, scripts-user, final-message]
ssh_genkeytypes: [ed25519, ecdsa]
`

const sshdConfig = by + `# Keys only; the seed brings them.
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
`

// An initramfs of the modules that hypervisors need is a quarter of the size, and starts faster.
const initramfs = by + `MODULES=list
COMPRESS=zstd
COMPRESSLEVEL=1
`

// initramfsHook takes along the disks of QEMU, AWS, VMware, Hyper-V, Xen and old emulations: what the cloud kernel has of
// them. Not /etc/initramfs-tools/modules: what that names is loaded at every start, wherever the machine runs.
const initramfsHook = `#!/bin/sh
# Written by pgbake into the image: the drivers of every hypervisor's disks. udev loads those that the machine needs.
set -eu
[ "${1:-}" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules virtio_pci virtio_blk virtio_scsi nvme sd_mod vmw_pvscsi hv_storvsc xen_blkfront ata_piix ext4
`

// Networkd is what systemctl is told where systemd-networkd configures the network.
var Networkd = [][]string{
	{"enable", "systemd-networkd.service"},
	// With it every boot waits for IPv6 routers that never answer. The addresses are static, and pgha waits for its own.
	{"disable", "systemd-networkd-wait-online.service"},
}

// Quiet is what systemctl is told on every machine: e2scrub is for LVM only. What keeps apt from upgrading by itself is in
// pgha-common, since it is for machines of every making.
var Quiet = [][]string{
	{"mask", "e2scrub_all.timer", "e2scrub_reap.service"},
}

// Units is what systemctl is told in the tree, in this order.
func (i Image) Units() [][]string {
	return slices.Concat(Networkd, Quiet, i.initUnits())
}

// absent is what a tree may hold that no image does: what belongs to one machine, to the build, or to no time.
// A trailing slash stands for what is below.
var absent = []string{
	"/dev/", "/proc/", "/sys/", "/run/", "/tmp/", "/var/tmp/",
	"/etc/ssh/ssh_host_*", "/etc/hostname", "/etc/resolv.conf", "/var/lib/dbus/machine-id", "/var/lib/systemd/random-seed",
	"/etc/ssl/private/ssl-cert-snakeoil.key", "/etc/ssl/certs/ssl-cert-snakeoil.pem",
	"/var/lib/apt/lists/", "/var/cache/apt/", "/var/lib/apt/extended_states",
	"/var/log/", "/var/cache/ldconfig/aux-cache", "/var/cache/debconf/*-old", "/var/lib/dpkg/*-old", "/var/lib/dpkg/lock*",
	"/var/cache/man/", "/var/cache/fontconfig/", "/var/lib/cloud/", "/root/.*_history",
	"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-",
	"/usr/sbin/policy-rc.d", "/etc/.pwd.lock",
	// What a machine that has run adds to it: leases, clocks, and what cloud-init wrote by that machine's own seed.
	"/var/lib/dhcp/*", "/var/lib/chrony/*", "/var/lib/systemd/timers/*", "/var/lib/systemd/timesync/*",
	"/var/lib/systemd/credential.secret", "/etc/netplan/50-cloud-init.yaml", "/etc/network/interfaces.d/50-cloud-init",
	"/etc/systemd/network/10-cloud-init-*", "/etc/ssh/sshd_config.d/50-cloud-init.conf",
}

// keeps are absent ones whose directories stay: Debian's packages brought them, and services write there.
var keeps = []string{"/var/log/", "/var/cache/apt/", "/var/lib/apt/lists/"}

// Absent tells whether an image leaves out what a tree holds at a path; dir says that it is a directory.
func Absent(name string, dir bool) bool {
	below := func(a string) bool { return strings.HasSuffix(a, "/") && strings.HasPrefix(name, a) }
	if slices.ContainsFunc(absent, below) {
		return !dir || !slices.ContainsFunc(keeps, below)
	}
	return slices.ContainsFunc(absent, func(a string) bool {
		ok, _ := path.Match(a, name)
		return ok
	})
}

// Leaving is one line of what an image leaves out, for those who clean a tree by other means than Absent.
type Leaving struct {
	// Path is a shell pattern, or a directory with all that is below it when it ends with a slash.
	Path string
	// Directories says that those below Path stay.
	Directories bool
}

// Left is all that an image leaves out.
func Left() []Leaving {
	all := make([]Leaving, len(absent))
	for i, a := range absent {
		all[i] = Leaving{a, slices.Contains(keeps, a)}
	}
	return all
}

// Installing are files that are there only while packages are installed.
func Installing() []rootfs.File {
	return []rootfs.File{
		// No service starts: https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt
		{Path: "/usr/sbin/policy-rc.d", Mode: 0o755, Body: []byte("#!/bin/sh\nexit 101\n")},
		// The package would make a cluster of its own, which nobody wants and Patroni stumbles over.
		text("/etc/postgresql-common/createcluster.d/pgbake-build.conf", "create_main_cluster = false\n"),
	}
}
