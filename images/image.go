// Package images says what a bootable image is: which packages, which files and units, what it must not hold, the
// formats it comes in, and what lies beside it (manifest, checksums, bill of materials, how to boot it).
//
// In come a specification and a role; out come plain values. It builds nothing: builders/ does.
package images

import (
	"fmt"
	"slices"

	"github.com/pgbake/pgbake/cluster"
)

// Role is which machines an image can become.
type Role string

// The roles. All is both, for small sites: the seed says which one the machine is.
const (
	DB    Role = "db"
	Proxy Role = "proxy"
	All   Role = "all"
)

// Roles are those that an image can have.
var Roles = []Role{DB, Proxy, All}

// Image is what is to be built.
type Image struct {
	Role    Role
	Release cluster.Release
	// Arch is Debian's word: amd64 or arm64.
	Arch string
	// Init applies the seed: CloudInit when empty.
	Init     Init
	packages []string // the role's, by name, sorted
	configs  [][]byte // Ignition's, of the operator's own
}

// New is the image of a role for the cluster c. The cluster decides only what is installed; names, addresses and
// secrets come with the seed.
func New(c *cluster.Cluster, role Role, arch string) (Image, error) {
	i := Image{Role: role, Release: c.Debian, Arch: arch}
	if !slices.Contains(Roles, role) {
		return i, fmt.Errorf("make image: role %q is not one of %q", role, Roles)
	}
	if arch != "amd64" && arch != "arm64" {
		return i, fmt.Errorf("make image: architecture %q is not amd64 or arm64", arch)
	}
	if role != Proxy {
		i.packages = append(i.packages, c.PackagesFor(cluster.DB)...)
	}
	if role != DB {
		i.packages = append(i.packages, c.PackagesFor(cluster.Proxy)...)
	}
	slices.Sort(i.packages)
	return i, nil
}

// Every is the images of every role, with one init.
func Every(c *cluster.Cluster, arch string, init Init) ([]Image, error) {
	var all []Image
	for _, r := range Roles {
		i, err := New(c, r, arch)
		if err == nil {
			i, err = i.With(init, nil)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

// Name is the image's file name without its format: pgbake-bookworm-db-amd64, pgbake-bookworm-db-ignition-amd64.
func (i Image) Name() string {
	if i.Init == Ignition {
		return fmt.Sprintf("pgbake-%s-%s-%s-%s", i.Release.Codename(), i.Role, i.Init, i.Arch)
	}
	return fmt.Sprintf("pgbake-%s-%s-%s", i.Release.Codename(), i.Role, i.Arch)
}

// Base are the Debian packages of every image, whatever its role. Nothing of GRUB is among them: see builders/native/disk.
func (i Image) Base() []string {
	base := append(i.initPackages(),
		"ca-certificates", "chrony", "dbus", "e2fsprogs", "fdisk", "initramfs-tools",
		"iproute2", "iputils-ping", "kmod", "less", "libpam-systemd", "linux-image-cloud-"+i.Arch, "netbase", "nftables",
		"openssh-server", "procps", "qemu-guest-agent", "sudo", "systemd-resolved", "systemd-sysv", "tzdata", "udev", "zstd",
	)
	slices.Sort(base)
	return base
}

// Kernel are those of Base that a machine which boots already has in some form of its own.
func (i Image) Kernel() []string { return []string{"initramfs-tools", "linux-image-cloud-" + i.Arch} }

// Packages are the role's Debian packages over Base.
func (i Image) Packages() []string { return slices.Clone(i.packages) }

// PGHA are pgbake's own packages of the role.
func (i Image) PGHA() []string {
	switch i.Role {
	case DB:
		return []string{"pgha-common", "pgha-node"}
	case Proxy:
		return []string{"pgha-common", "pgha-proxy"}
	}
	return []string{"pgha-common", "pgha-node", "pgha-proxy"}
}

// Machines are those of the cluster that boot from the image.
func (i Image) Machines(c *cluster.Cluster) []cluster.Machine {
	return slices.DeleteFunc(c.Machines(), func(m cluster.Machine) bool {
		return i.Role == DB && m.Role != cluster.DB || i.Role == Proxy && m.Role != cluster.Proxy
	})
}

// Paths are those of Files.
func (i Image) Paths() []string {
	var all []string
	for _, f := range i.Files() {
		all = append(all, f.Path)
	}
	return all
}

// Loaders are the packages whose files make the disk start: unpacked, never installed.
func (i Image) Loaders() []string {
	if i.Arch == "arm64" {
		return []string{"grub-efi-arm64-signed", "shim-helpers-arm64-signed", "shim-signed"}
	}
	return []string{"grub-pc-bin", "grub-efi-amd64-signed", "shim-helpers-amd64-signed", "shim-signed"}
}
