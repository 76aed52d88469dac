// Package debs installs, upgrades, removes and purges pgbake's packages on clean Debian machines.
package debs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/packages"
)

var epoch = time.Date(2025, 7, 1, 12, 0, 0, 0, time.UTC)

// releases are the machines' Debian, with the PostgreSQL that each has itself.
var releases = []struct {
	name     string
	postgres string
}{
	{"bookworm", "15"},
	{"trixie", "17"},
}

// TestDebs takes one machine of each release through the life of the packages. Each step finds what the one before left.
func TestDebs(t *testing.T) {
	need(t)
	old, next := archive(t, "1.0.0"), archive(t, "1.1.0")
	debs, err := filepath.Glob(old + "/pool/*.deb")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range releases {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			l := &life{machine: newMachine(t, root(t, r.name, debs)), postgres: r.postgres}
			l.bring(t, old, "/repo/old")
			l.bring(t, next, "/repo/next")
			l.boot()
			for _, step := range []struct {
				name string
				run  func(*life, *testing.T)
			}{
				{"install", (*life).install},
				{"first boot", (*life).firstBoot},
				{"firewall", (*life).firewall},
				{"haproxy starts", (*life).haproxyStarts},
				{"haproxy reloads", (*life).haproxyReloads},
				{"patroni starts", (*life).patroniStarts},
				{"patroni is killed", (*life).patroniKilled},
				{"patroni is paused", (*life).patroniPaused},
				{"patroni hangs in stop", (*life).patroniHangs},
				{"apt by its timers", (*life).daily},
				{"unattended-upgrades", (*life).upgrader},
				{"security updates", (*life).securityUpdates},
				{"needrestart", (*life).librariesChange},
				{"upgrade", (*life).upgrade},
				{"remove", (*life).remove},
				{"purge", (*life).purge},
				{"an older image", (*life).overImage},
				{"stock cluster", (*life).stock},
			} {
				if !t.Run(step.name, func(t *testing.T) { l.T = t; step.run(l, t) }) {
					t.Fatalf("the later steps need %q", step.name)
				}
			}
		})
	}
}

// need skips where machines cannot run, and fails where they must.
func need(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no machines")
	}
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, name := range []string{"mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) == 0:
	case os.Getenv("CI") == "true":
		t.Fatalf("machines need %s", strings.Join(missing, ", "))
	default:
		t.Skipf("machines need %s", strings.Join(missing, ", "))
	}
}

// archive builds the real packages into a signed repository.
func archive(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	agent := filepath.Join(dir, "pgha")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -X main.version="+version, "-o", agent, "../../cmd/pgha")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	body, err := os.ReadFile(agent)
	if err != nil {
		t.Fatal(err)
	}
	arch, err := exec.CommandContext(t.Context(), "dpkg", "--print-architecture").Output()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := packages.Build(context.Background(), packages.Options{
		Version: version, Arch: strings.TrimSpace(string(arch)), Agent: body, Out: filepath.Join(dir, "debs"), Time: epoch,
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := packages.EnsureKey(filepath.Join(dir, "key"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(dir, "repo")
	if err := packages.Repository(context.Background(), repo, paths, key, epoch); err != nil {
		t.Fatal(err)
	}
	return repo
}

// life is a machine with the packages' history on it.
type life struct {
	*machine
	postgres   string // major version
	postmaster string // pid on the machine
}

// bring copies a directory of the host onto the disk of a machine that is off.
func (l *life) bring(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(l.Disk, "upper", to), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// apt runs apt-get against one of the two repositories and returns what it said.
func (l *life) apt(t *testing.T, repo, command string) string {
	t.Helper()
	return l.Sh(t, fmt.Sprintf(`
		echo 'deb [signed-by=/repo/%[1]s/pgbake.asc] file:/repo/%[1]s stable main' >/etc/apt/sources.list.d/pgbake.list
		apt-get update --quiet=2 -o Dir::Etc::sourcelist=sources.list.d/pgbake.list -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=0
		apt-get --quiet --yes --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io %[2]s 2>&1`, repo, command))
}
