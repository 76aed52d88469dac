package cloudinit

import (
	"net/netip"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

// content is what a seed says of one machine, once for every form: cloud-init's documents and Butane are written of it,
// and of nothing else. What a form needs beside it is about the program that reads the form.
type content struct {
	// Machine and Scope are who it is; the machine's name is its host name.
	Machine cluster.Machine
	Scope   string
	Debian  cluster.Release
	// Keys are those of the user that administrators log in as.
	Keys []string
	// Files lie on the machine before any ordinary service starts.
	Files   []rootfs.File
	Network network
	// Install is a POSIX sh script for an image without our packages: root runs it once, when the machine has a network.
	// Empty where cluster.yaml names no repository.
	Install string
}

// network is how the machine reaches the others: a fixed address, nothing by DHCP or router advertisements.
type network struct {
	// Interface or else MAC tell the card; the machine's one Ethernet card is meant when both are empty. The agent refuses
	// a machine that has two.
	Interface, MAC string
	Address        netip.Prefix
	Gateway        netip.Addr
	NameServers    []netip.Addr
}

// admin is the user of the keys: no password, sudo. cloud-init's Debian makes the same one by itself, out of
// /etc/cloud/cloud.cfg.
var admin = struct {
	Name, Comment, Shell string
	Groups               []string
}{
	"debian", "Debian", "/bin/bash",
	[]string{"adm", "audio", "cdrom", "dialout", "dip", "floppy", "netdev", "plugdev", "sudo", "video"},
}

func newContent(c *cluster.Cluster, m cluster.Machine, files []rootfs.File, o Options) content {
	all := content{
		Machine: m, Scope: c.Scope, Debian: c.Debian, Keys: c.SSHKeys, Files: files,
		Network: network{
			Interface: o.Interface, MAC: m.MAC, Gateway: c.Gateway, NameServers: c.NameServers,
			Address: netip.PrefixFrom(m.Address, c.Network.Bits()),
		},
	}
	if c.Packages.URL != "" {
		all.Files = append(all.Files, aptFiles(c, m.Role)...)
		all.Install = installScript(c, m.Role)
	}
	return all
}

// about is what everybody who opens a form of the seed is told first. command makes that form.
func (s content) about(command string) []string {
	return []string{
		"Seed of " + s.Machine.Name + " in the cluster " + s.Scope + ", made by pgbake. To change it: edit cluster.yaml, run " + command + ".",
		"It holds the secrets of this machine: keep it like a password.",
	}
}
