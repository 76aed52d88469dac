// Package verify lets the real programs judge the files that pgbake writes: HAProxy, Patroni, etcd, PostgreSQL,
// keepalived, chrony, nftables and systemd, as Debian 12 and Debian 13 have them.
//
// Each test works in a sandbox: an overlay over a cached Debian root, in namespaces of its own. Nothing reaches
// this machine's network or files. It needs root; the roots are made once, by mmdebstrap.
package verify

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	args := []string{
		"--mode=root", "--variant=minbase", "--format=directory",
		// The package makes no cluster, as on a real machine (pgha-node brings the same).
		`--setup-hook=mkdir -p "$1/etc/postgresql-common/createcluster.d" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/pgbake.conf"`,
		"--include=" + strings.Join([]string{
			"systemd", "systemd-sysv", "chrony", "nftables", "etcd-server", "etcd-client", "patroni", "python3-etcd",
			fmt.Sprintf("postgresql-%d", r.postgres), "haproxy", "keepalived", "socat", "iproute2", "procps",
		}, ","),
		r.codename,
	}
	cache := os.Getenv("PGBAKE_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(dir, "pgbake")
	}
	recipe := sha256.Sum256([]byte(strings.Join(args, "\n")))
	dir := filepath.Join(cache, "test", fmt.Sprintf("verify-%s-%x", r.codename, recipe[:4]))
	return debian.Made(t, dir, func(unfinished string) {
		all := debian.Alone(append(append([]string{"mmdebstrap"}, args...), unfinished)...)
		if m := mirror(t); m != "" {
			all = append(all, "deb "+m+" "+r.codename+" main")
		}
		if out, err := debian.Output(exec.CommandContext(t.Context(), all[0], all[1:]...)); err != nil {
			lack(t, fmt.Sprintf("mmdebstrap: %v\n%s", err, tail(out)))
		}
	})
}

// mirror is where this machine's own apt gets Debian from; empty leaves it to mmdebstrap.
func mirror(t *testing.T) string {
	out, err := exec.CommandContext(t.Context(), "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Component: main").Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSuffix(first, "/")
}

func tail(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
