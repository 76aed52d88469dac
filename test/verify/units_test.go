package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSystemdAcceptsTheUnits lets systemd read the packages' units and drop-ins together with Debian's own units.
func TestSystemdAcceptsTheUnits(t *testing.T) {
	each(t, func(t *testing.T, r release) {
		s := r.sandbox(t)
		for _, pkg := range []string{"pgha-common", "pgha-node", "pgha-proxy"} {
			s.copyIn(filepath.Join("../../packages", pkg, "root"))
		}
		// The agent is built elsewhere; systemd only wants to see a program at its place.
		s.run("root", "cp", "/bin/true", "/usr/bin/pgha")
		s.run("root", "find", "/usr/lib/pgha", "-type", "f", "-exec", "chmod", "0755", "{}", "+")
		out := s.run("root", "systemd-analyze", "verify", "--man=no",
			"pgha-apply.service", "pgha-firewall.service", "etcd.service", "patroni.service", "haproxy.service", "keepalived.service", "pgha-follow.service", "pgha-monitor.service", "pgha-backup.service", "pgha-proof.service", "pgha-recopy.service", "pgha-data-disk.service", "pgha-restore.service", "pgha-stop.service", "pgha-archive.service", "pgha-room.service", "pgha-updates.service", "pgha-updates.timer")
		for line := range strings.Lines(out) {
			// What systemd says of Debian's own units is not ours to mend.
			if strings.Contains(line, "pgha") {
				t.Error(line)
			}
		}
		// Strangers may knock there. systemd counts from 0, nothing can be done, to 10 (here times ten).
		s.run("root", "systemd-analyze", "security", "--offline=yes", "--threshold=30", "--no-pager", "pgha-follow.service")
	})
}

// copyIn lays a package's tree over the root.
func (s *sandbox) copyIn(from string) {
	s.t.Helper()
	if err := os.CopyFS(s.dir, os.DirFS(from)); err != nil {
		s.t.Fatal(err)
	}
}
