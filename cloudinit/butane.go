package cloudinit

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/pgbake/pgbake/rootfs"
)

// Where the seed puts on a machine with Ignition what cloud-init itself makes of its documents.
const (
	hostnamePath = "/etc/hostname"
	networkPath  = "/etc/systemd/network/10-pgbake.network"
	sudoersPath  = "/etc/sudoers.d/90-pgbake"
	installPath  = "/usr/local/lib/pgbake/install"
	installUnit  = "pgbake-install.service"
)

// butaneHeader: of the variants and versions that give Ignition 3.3.0, which Debian's package understands, this is the
// one that Butane's own program of any age takes.
const butaneHeader = "variant: fcos\nversion: 1.4.0\n"

// butane is the content as Butane source (https://coreos.github.io/butane/config-fcos-v1_4/). What cloud-init does by
// itself is said here: the host's name, the user, the network.
func butane(s content) []byte {
	var d document
	d.comment(s.about("pgbake seed --format ignition")...)
	d.comment("It needs a pgbake image of Debian that was baked with --init ignition, and nothing of the system that the variant is named after.")
	d.WriteString(butaneHeader)
	d.line("passwd:")
	d.line("  groups:")
	d.line("  # Of the user's groups, the one that Debian does not have by itself; cloud-init makes it the same way.")
	d.line("  - name: netdev")
	d.line(`    password_hash: "!"`)
	d.line("  users:")
	d.line("  # No password, sudo.")
	d.line("  - name: %s", admin.Name)
	d.line("    gecos: %s", admin.Comment)
	d.line("    shell: %s", admin.Shell)
	d.line(`    password_hash: "!"`)
	d.line("    groups: [%s]", strings.Join(admin.Groups, ", "))
	if len(s.Keys) > 0 {
		d.line("    ssh_authorized_keys:")
		for _, k := range s.Keys {
			d.line("    - %s", scalar(k))
		}
	}
	d.line("storage:")
	d.line("  files:")
	for _, f := range s.ignitionFiles() {
		d.line("  - path: %s", scalar(f.Path))
		d.line("    mode: %04o", f.Mode.Perm())
		d.line("    overwrite: true")
		d.line("    contents:")
		d.inline("      ", f.Body)
	}
	if s.Install != "" {
		d.line("systemd:")
		d.line("  units:")
		d.line("  - name: %s", installUnit)
		d.line("    enabled: true")
		d.block("    ", "    contents: ", installUnitBody)
	}
	return []byte(d.String())
}

// inline writes a file's body: as a block where that shows it as it is, else as a data URL.
func (d *document) inline(indent string, body []byte) {
	if blockable(body) {
		d.block(indent, indent+"inline: ", string(body))
		return
	}
	d.line("%ssource: %s", indent, strconv.Quote("data:;base64,"+base64.StdEncoding.EncodeToString(body)))
}

// ignitionFiles are the content's files and those that cloud-init would make.
func (s content) ignitionFiles() []rootfs.File {
	file := func(path string, mode fs.FileMode, body string) rootfs.File {
		return rootfs.File{Path: path, Mode: mode, Body: []byte(body)}
	}
	files := []rootfs.File{
		file(hostnamePath, 0o644, s.Machine.Name+"\n"),
		file(networkPath, 0o644, networkUnit(s.Network)),
		file(sudoersPath, 0o440, fmt.Sprintf("# Written by pgbake's seed.\n%s ALL=(ALL) NOPASSWD:ALL\n", admin.Name)),
	}
	files = append(files, s.Files...)
	if s.Install != "" {
		script := strings.ReplaceAll(s.Install, cloudInitScript, installPath)
		files = append(files, file(installPath, 0o755, "#!/bin/sh\n# Written by pgbake's seed.\n"+script))
	}
	return files
}

// networkUnit is the network for systemd-networkd (https://manpages.debian.org/bookworm/systemd/systemd.network.5).
func networkUnit(n network) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("# Written by pgbake's seed. To change it: cluster.yaml.")
	line("[Match]")
	switch {
	case n.Interface != "":
		line("Name=%s", n.Interface)
	case n.MAC != "":
		line("MACAddress=%s", n.MAC)
	default: // as pgha-common's drop-ins have it, which say why
		line("Name=en* eth* host0")
		line("Type=ether")
		line("Kind=![!v]* v[!e]*")
	}
	line("\n[Network]")
	line("DHCP=no")
	line("IPv6AcceptRA=no")
	line("LinkLocalAddressing=no")
	line("Address=%s", n.Address)
	if n.Gateway.IsValid() {
		line("Gateway=%s", n.Gateway)
	}
	for _, a := range n.NameServers {
		line("DNS=%s", a)
	}
	return b.String()
}

const installUnitBody = `# Written by pgbake's seed. On a pgbake image there is nothing to install.
[Unit]
Description=Installs the packages of a pgbake machine
ConditionPathExists=!/usr/bin/pgha
After=network.target

[Service]
Type=oneshot
ExecStart=` + installPath + `

[Install]
WantedBy=multi-user.target
`
