package cloudinit

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
)

// sshPath is sshd's drop-in, beside the image's own, which lets in keys only.
const sshPath = "/etc/ssh/sshd_config.d/60-pgbake-port.conf"

// Files is what a seed puts on a machine, whatever form the seed has: what the agent reads, and sshd's port when it
// is not 22, since the agent's firewall opens only that one. Everything belongs to root, and what is secret is 0600.
//
// The generation comes without its parts, which are the other files.
func Files(c *cluster.Cluster, m cluster.Machine, spec []byte, s cluster.Sealed, id cluster.Identity, w cluster.Word) []rootfs.File {
	files := []rootfs.File{
		{Path: cluster.SeedDir + "/cluster.yaml", Mode: 0o644, Body: spec},
		{Path: cluster.SeedDir + "/machine", Mode: 0o644, Body: []byte(m.Name + "\n")},
		{Path: cluster.SeedDir + "/generation.json", Mode: 0o644, Body: w.Generation.Bare().Encode()},
		{Path: cluster.SeedDir + "/operator.pub", Mode: 0o644, Body: w.Operator},
		{Path: cluster.SeedDir + "/secrets.yaml", Mode: 0o600, Body: s.For(m.Role).Encode()},
	}
	for _, name := range slices.Sorted(maps.Keys(id)) {
		mode := fs.FileMode(0o600)
		if path.Ext(name) == ".crt" {
			mode = 0o644
		}
		files = append(files, rootfs.File{Path: cluster.SeedDir + "/tls/" + name, Mode: mode, Body: id[name]})
	}
	if c.Ports.SSH != 22 {
		files = append(files, rootfs.File{
			Path: sshPath, Mode: 0o644, Unit: "ssh.service", Restart: true,
			Body: fmt.Appendf(nil, "# Written by pgbake's seed. To change it: ports.ssh in cluster.yaml.\nPort %d\n", c.Ports.SSH),
		})
	}
	return files
}
