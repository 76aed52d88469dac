package cloudinit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// userData is the #cloud-config document (https://cloudinit.readthedocs.io/en/latest/reference/modules.html).
//
// cloud-init's first stage with a network writes write_files, before any ordinary service starts; runcmd comes only
// after all of them have. So everything that our services need is written, and nothing is enabled or started here:
// the units are enabled in the package and wait for the files. runcmd is for a machine without the package.
func userData(s content) []byte {
	var d document
	d.line("#cloud-config")
	d.comment(s.about("pgbake seed")...)
	if s.Install != "" {
		d.comment(fmt.Sprintf("It needs a pgbake image or a stock Debian %d image, which then installs %s.", s.Debian, packageOf(s.Machine.Role)))
	} else {
		d.comment("It needs a pgbake image: cluster.yaml names no repository of packages (packages.url).")
	}

	d.line("hostname: %s", scalar(s.Machine.Name))
	d.line("prefer_fqdn_over_hostname: false")
	d.line("# The agent writes /etc/hosts.")
	d.line("manage_etc_hosts: false")
	d.line("# What every Debian has without the package locales.")
	d.line("locale: C.UTF-8")

	d.line("disable_root: true")
	d.line("ssh_pwauth: false")
	d.line("# A changed seed is a new instance to cloud-init; the machine stays the one that its administrators know.")
	d.line("ssh_deletekeys: false")
	d.line("ssh_genkeytypes: [ed25519]")
	if len(s.Keys) > 0 {
		d.line("# For the image's own user, %s: no password, sudo.", admin.Name)
		d.line("ssh_authorized_keys:")
		for _, k := range s.Keys {
			d.line("- %s", scalar(k))
		}
	}

	if s.Network.Interface != "" || s.Network.MAC != "" {
		d.line("bootcmd:")
		d.block("", "- ", forgetAnyCard)
	}
	d.line("write_files:")
	for _, f := range s.Files {
		d.line("- path: %s", scalar(f.Path))
		d.line("  permissions: '%04o'", f.Mode.Perm())
		d.line("  owner: root:root")
		d.content("  ", "content", f.Body)
	}
	if s.Install != "" {
		d.line("runcmd:")
		d.block("", "- ", s.Install)
	}
	return []byte(d.String())
}

// metaData names the instance after what its seed says: a changed seed is applied at the next boot as if it was the
// first. A hash of 64 bits tells nothing of the keys in it.
func metaData(s content, documents ...[]byte) []byte {
	h := sha256.New()
	for _, b := range documents {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	var d document
	d.line("instance-id: pgbake-%x", h.Sum(nil)[:8])
	d.line("local-hostname: %s", scalar(s.Machine.Name))
	return []byte(d.String())
}

// anyCard is how a card is named when nobody knows its name: host0 in a container, ens3, enp1s0 or eth0 in a virtual
// machine. cloud-init has two renderers for Debian, which read different keys:
//
//	renderer                          reads                 so it says
//	networkd (minimal Debian, ours)   the id, as Name=      every card but the loopback; match.name is ignored
//	netplan (Debian's cloud images)   match.name            en*, et* and host0; an id with *, ? or [] is refused
//
// Neither can say that a bridge, a tunnel or a container's card is not meant. pgha-common does, by drop-ins for the files
// that networkd gets of this id: 10-cloud-init-!lo.network, 10-netplan-!lo.network and, from Debian 13 on, 10-netplan-%21lo.network.
const anyCard, anyEthernet = "!lo", "[eh][nto]*"

// forgetAnyCard is for a machine whose seed named no card before. cloud-init writes networkd a file for each id, leaves
// the file of the earlier one, and that is the first which networkd takes.
const forgetAnyCard = `old='/etc/systemd/network/10-cloud-init-` + anyCard + `.network'
if test -e "$old"; then
  rm "$old"
  systemctl --no-block try-restart systemd-networkd.service
fi
`

// networkConfig is the network document, version 2.
//
// Router advertisements are refused, and with them what they cost: networkd waits 12 s for a router before a card
// counts as configured, and everything else waits for the card. (cloud-init 22.4 says so to netplan but not to
// networkd: an image without netplan must not wait for the card at all.)
func networkConfig(s content) []byte {
	var d document
	n := s.Network
	d.comment("Made by pgbake for " + s.Machine.Name + ".")
	d.line("version: 2")
	d.line("ethernets:")
	switch {
	case n.Interface != "":
		d.line("  %s:", scalar(n.Interface))
	case n.MAC != "":
		d.line("  cluster:")
		d.line("    match: {macaddress: %q}", n.MAC)
	default:
		d.line("  %q:", anyCard)
		d.line("    match: {name: %q}", anyEthernet)
	}
	d.line("    dhcp4: false")
	d.line("    dhcp6: false")
	d.line("    accept-ra: false")
	d.line("    link-local: []")
	d.line("    addresses: [%s]", n.Address)
	if n.Gateway.IsValid() {
		d.line("    routes:")
		d.line("    - {to: 0.0.0.0/0, via: %s}", n.Gateway)
	}
	if len(n.NameServers) > 0 {
		d.line("    nameservers:")
		d.line("      addresses:")
		for _, a := range n.NameServers {
			d.line("      - %q", a)
		}
	}
	return []byte(d.String())
}
