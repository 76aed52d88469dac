package cloudinit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/rootfs"
	machines "github.com/pgbake/pgbake/test/debian"
)

// debian is a Debian that a test works in: a cached root, made once by mmdebstrap and never written to.
type debian struct {
	name string
	root string
}

// eachDebian runs the test in Debian 12, which has cloud-init 22.4, and in Debian 13, which has 25.1.
func eachDebian(t *testing.T, test func(t *testing.T, d debian)) {
	if testing.Short() {
		t.Skip("works in Debian roots: not in -short")
	}
	if os.Getuid() != 0 {
		missing(t, "needs root for namespaces and an overlay: run it with sudo")
	}
	for _, program := range []string{"mmdebstrap", "systemd-nspawn", "unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, "no %s here: test/setup.sh test installs it", program)
		}
	}
	for _, name := range []string{"bookworm", "trixie"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // machines mostly wait
			test(t, debian{name, debianRoot(t, name)})
		})
	}
}

func debianRoot(t *testing.T, name string) string {
	t.Helper()
	return machines.Root{
		Name: "cloudinit", Release: name,
		Packages: []string{"systemd-resolved", "cloud-init", "netplan.io", "openssh-server", "sudo"},
	}.Made(t)
}

// layer is a machine's own disk over the cached root.
type layer struct {
	debian
	dir string
}

func (d debian) layer(t *testing.T, files ...rootfs.File) layer {
	t.Helper()
	dir := machines.Dir(t)
	for _, sub := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	l := layer{d, dir}
	l.put(t, files...)
	return l
}

// put lays files on the disk; the machine must be off.
func (l layer) put(t *testing.T, files ...rootfs.File) {
	t.Helper()
	if _, err := rootfs.Write(l.upper(), files); err != nil {
		t.Fatal(err)
	}
}

func (l layer) upper(path ...string) string {
	return filepath.Join(append([]string{l.dir, "upper"}, path...)...)
}

// machine is one, off, that has the disk.
func (l layer) machine(t *testing.T) *machines.Machine {
	return machines.New(machines.Machine{T: t, Name: filepath.Base(l.dir), Root: l.root, Disk: l.dir})
}

// run runs a program in the root, without booting it.
func (l layer) run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	root := filepath.Join(l.dir, "root")
	all := l.machine(t).Overlaid(append([]string{"sh", "-euc", `mount -t proc proc "$0/proc"; exec chroot "$0" "$@"`, root}, args...)...)
	out, err := machines.Output(exec.CommandContext(ctx, all[0], all[1:]...))
	if err != nil {
		t.Fatalf("run %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// seeds are one of every form.
func seeds(t *testing.T) []Seed {
	t.Helper()
	var all []Seed
	for _, path := range []string{"testdata/stock-pgdg.yaml", "testdata/stock-mirror.yaml", "../examples/global.yaml"} {
		c, _, _ := testCluster(t, path)
		all = append(all, testSeed(t, path, c.Machines()[0], Options{}))
		if len(c.Proxies) > 0 {
			all = append(all, testSeed(t, path, c.Machines()[len(c.Nodes)], Options{Interface: "host0"}))
		}
	}
	return all
}

// TestSchema: cloud-init finds nothing to complain about, and its renderers and netplan take the network document.
func TestSchema(t *testing.T) {
	eachDebian(t, func(t *testing.T, d debian) {
		var files []rootfs.File
		made := seeds(t)
		for i, s := range made {
			for _, f := range s.files() {
				f.Path = fmt.Sprintf("/seeds/%d%s", i, f.Path)
				files = append(files, f)
			}
			// cloud-init hands version 2 to netplan as it is; its net-convert does so only on some releases.
			body := "network:\n  " + strings.ReplaceAll(string(s.NetworkConfig), "\n", "\n  ")
			files = append(files, rootfs.File{Path: fmt.Sprintf("/seeds/%d/netplan/etc/netplan/50.yaml", i), Mode: 0o600, Body: []byte(body)})
		}
		l := d.layer(t, files...)
		for i, s := range made {
			at := fmt.Sprintf("/seeds/%d/", i)
			checks := [][]string{{"cloud-init", "schema", "--config-file", at + "user-data"}}
			if d.name != "bookworm" {
				checks = append(checks, []string{"cloud-init", "schema", "--schema-type", "network-config", "--config-file", at + "network-config"})
			}
			for _, args := range checks {
				out := l.run(t, args...)
				if !strings.Contains(out, "Valid") || strings.Contains(strings.ToLower(out), "deprecat") {
					t.Errorf("%s: %v:\n%s", s.Machine, args, out)
				}
			}
			l.run(t, "cloud-init", "devel", "net-convert", "--network-data", at+"network-config", "--kind", "yaml",
				"--distro", "debian", "--output-kind", "networkd", "--directory", at+"networkd")
			l.run(t, "/usr/libexec/netplan/generate", "--root-dir", at+"netplan")
			for what, path := range map[string]string{
				"networkd": at + "networkd/etc/systemd/network", "netplan": at + "netplan/run/systemd/network",
			} {
				found, err := filepath.Glob(l.upper(path, "*.network"))
				if err != nil || len(found) != 1 {
					t.Fatalf("%s: %s writes %q: %v", s.Machine, what, found, err)
				}
				body, err := os.ReadFile(found[0])
				if err != nil || !strings.Contains(string(body), "Address=") {
					t.Errorf("%s: %s writes %v:\n%s", s.Machine, what, err, body)
				}
				if what == "netplan" && !strings.Contains(string(body), "IPv6AcceptRA=no") {
					t.Errorf("%s: netplan waits for a router:\n%s", s.Machine, body)
				}
			}
		}
	})
}

// TestAptSources: apt reads the sources of a stock image and finds what they say.
func TestAptSources(t *testing.T) {
	eachDebian(t, func(t *testing.T, d debian) {
		for spec, want := range map[string]string{
			"testdata/stock-pgdg.yaml":   "https://packages.example.org/pgbake stable\n",
			"testdata/stock-mirror.yaml": "http://mirror.example.org/debian trixie\nhttp://mirror.example.org/pgbake stable\n",
		} {
			c, _, _ := testCluster(t, spec)
			l := d.layer(t, aptFiles(c, cluster.DB)...)
			out := l.run(t, "sh", "-c", "rm -f /etc/apt/sources.list; apt-get indextargets --no-release-info --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | sort -u")
			if out != want {
				t.Errorf("%s: apt reads\n%snot\n%s", spec, out, want)
			}
		}
	})
}

func TestInstallScript(t *testing.T) {
	for _, path := range specs(t) {
		c, _, _ := testCluster(t, path)
		for _, r := range []cluster.Role{cluster.DB, cluster.Proxy} {
			script := filepath.Join(t.TempDir(), "install")
			if err := os.WriteFile(script, []byte(installScript(c, r)), 0o600); err != nil {
				t.Fatal(err)
			}
			tool(t, "shellcheck", "--shell=sh", "--exclude=SC2086", script) // $apt is meant to be split
		}
	}
}
