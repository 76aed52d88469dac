// Package verify lets the real programs judge the files that pgbake writes: HAProxy, Patroni, etcd, PostgreSQL,
// keepalived, chrony, nftables and systemd, as Debian 12 and Debian 13 have them.
//
// Each test works in a sandbox: an overlay over a cached Debian root, in namespaces of its own. Nothing reaches
// this machine's network or files. It needs root; the roots are made once, by mmdebstrap.
package verify

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgbake/pgbake/test/debian"
)

// release is a Debian as its own archive has it.
type release struct {
	debian   int
	codename string
	postgres int
}

var releases = []release{
	{12, "bookworm", 15},
	{13, "trixie", 17},
}

// each runs the test for both releases.
func each(t *testing.T, test func(t *testing.T, r release)) {
	need(t)
	for _, r := range releases {
		t.Run(r.codename, func(t *testing.T) { test(t, r) })
	}
}

// need skips where these tests cannot run; where CI=true nothing may be missing.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("works in Debian roots: not in -short")
	}
	if os.Getuid() != 0 {
		lack(t, "needs root for namespaces and an overlay; run it with sudo")
	}
	for _, tool := range []string{"mmdebstrap", "unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			lack(t, "needs "+tool+"; test/setup.sh test installs it")
		}
	}
}

func lack(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// root returns a Debian root with everything that a member and a proxy need, made at its first use.
func (r release) root(t *testing.T) string {
	t.Helper()
	return debian.Root{
		Name: "verify", Release: r.codename,
		// The package makes no cluster, as on a real machine (pgha-node brings the same).
		Before: "mkdir -p /etc/postgresql-common/createcluster.d; echo create_main_cluster = false >/etc/postgresql-common/createcluster.d/pgbake.conf",
		Packages: []string{
			"chrony", "nftables", "etcd-server", "etcd-client", "patroni", "python3-etcd", fmt.Sprintf("postgresql-%d", r.postgres),
			"haproxy", "keepalived", "socat",
		},
	}.Made(t)
}

func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
