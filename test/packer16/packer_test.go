// Package packer16 has Debian's own Packer, 1.6.6, build an image by a template that `pgbake packer` wrote: a machine of a
// stock Debian in QEMU, our packages, Packer's own provisioners. What comes of it boots and becomes what its seed says.
//
// That Packer has a builder for QEMU inside, and knows no plugins.
package packer16

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
	"github.com/pgbake/pgbake/lab"
	"github.com/pgbake/pgbake/test/debian"
)

const spec = `scope: packed
network: 10.0.2.0/24
debian: 12
nodes:
  - {name: db1, address: 10.0.2.11}
proxies:
  - {name: proxy1, address: 10.0.2.21}
postgres:
  databases:
    - {name: app, owner: app}
  users:
    - name: app
`

// buildTime is how long Packer's machine may take, translated, on a host that is busy; bootTime the image after it.
const (
	buildTime = 15 * time.Minute
	bootTime  = 8 * time.Minute
)

// The proxy's image: its packages are the fewest, and a translated machine takes seconds for each. What the script does on a
// database's machine is tested natively, in test/packer.
func TestQEMU(t *testing.T) {
	if os.Getenv("PGBAKE_QEMU") == "" {
		t.Skip("make test-all: a translated machine installs packages for minutes")
	}
	packer := need(t)
	base := baseDisk(t)
	dir := debian.Dir(t)
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	pgbake(t, dir, "init")
	pgbake(t, dir, "seed")
	pgbake(t, dir, "packer", "--target", "qemu", "--role", "proxy", "--without-plugin", "--arch", "amd64")

	build(t, packer, dir, base)
	image := filepath.Join(dir, "dist/packer/qemu/proxy/pgbake-bookworm-proxy-amd64.qcow2")
	t.Run("clean", func(t *testing.T) { clean(t, image) })
	t.Run("boots", func(t *testing.T) { boots(t, dir, image) })
}

// need is the path of Debian's Packer.
func need(t *testing.T) string {
	t.Helper()
	needRoot(t)
	if body, _ := os.ReadFile("/etc/os-release"); !strings.Contains(string(body), "VERSION_CODENAME=bookworm") {
		t.Skip("only Debian 12 has a Packer")
	}
	packer, err := filepath.Abs("../../bin/packer16/packer") // it takes plugins that lie beside it
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{packer, "qemu-system-x86_64", "qemu-img", "mmdebstrap", "xorriso", "grub-mkimage", "sgdisk", "debugfs"} {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, fmt.Sprintf("%v: test/setup.sh test installs it", err))
		}
	}
	return packer
}

func needRoot(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs Packer, and boots machines")
	}
	if os.Geteuid() != 0 {
		missing(t, "needs root")
	}
}

// missing leaves a test out that cannot run here, and fails it where CI promised that it can.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func pgbake(t *testing.T, dir string, args ...string) {
	t.Helper()
	bin, err := filepath.Abs("../../bin/pgbake")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pgbake %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// build runs Packer where there is nothing but it and the archives.
func build(t *testing.T, packer, dir, base string) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), buildTime)
	defer cancel()
	// When it ends, its machine does, too.
	inside := debian.Alone(network(t)...)
	cmd := exec.CommandContext(ctx, inside[0], append(inside[1:], packer, "build", "-color=false",
		"-var", "base="+base, "-var", "base_checksum=none", "-var", "accelerator=tcg", "-var", "ssh_timeout=10m",
		"dist/packer/qemu/pgbake.pkr.hcl")...)
	cmd.Dir = dir
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "HOME="+home, "PACKER_CONFIG_DIR="+home, "PACKER_CACHE_DIR="+filepath.Join(dir, "cache"))
	out, err := debian.Output(cmd)
	if err != nil {
		console, _ := os.ReadFile(filepath.Join(dir, "dist/packer/qemu/proxy-console.log"))
		t.Fatalf("packer build: %v\n%s\nits machine said last:\n%s", err, out, console[max(0, len(console)-2000):])
	}
	t.Logf("packer build took %.0f s\n%s", time.Since(began).Seconds(), out)
}

// clean looks into the image: nothing of the machine that built it, and no key.
func clean(t *testing.T, image string) {
	raw := image + ".raw"
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-O", "raw", image, raw).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer os.Remove(raw) //nolint:errcheck // temporary
	look := func(command string) string {
		out, err := exec.CommandContext(t.Context(), "debugfs", "-R", command, raw+"?offset=1048576").CombinedOutput()
		if err != nil {
			t.Fatalf("debugfs %s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	for _, path := range []string{
		"/home/debian/.ssh", "/root/.ssh/authorized_keys", "/tmp/pgbake", "/etc/ssh/ssh_host_ed25519_key", "/usr/sbin/policy-rc.d", "/var/lib/cloud/instance",
	} {
		if got := look("stat " + path); !strings.Contains(got, "File not found") {
			t.Errorf("%s is in the image:\n%s", path, got)
		}
	}
	if got := look("stat /etc/machine-id"); !strings.Contains(got, "Size: 0") {
		t.Errorf("/etc/machine-id has something in it:\n%s", got)
	}
	if got := look("stat /usr/bin/pgha"); !strings.Contains(got, "Type: regular") {
		t.Errorf("no pgha:\n%s", got)
	}
}

// boots starts the image with proxy1's seed, without a network, and looks at what pgbake's own images are looked at for.
func boots(t *testing.T, dir, image string) {
	c, err := cluster.Load(filepath.Join(dir, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m, _ := c.Machine("proxy1")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), bootTime, errors.New("it took too long"))
	defer cancel()
	machine := filepath.Join(dir, "machine")
	host := lab.Host{Run: run.System{}, UI: ui.New(os.Stderr, ui.Quiet), Cache: filepath.Join(cache, "pgbake", "test")}
	err = host.Try(ctx, machine, lab.Trial{Image: image, Seed: filepath.Join(dir, "dist/seeds/proxy1.iso"), Machine: m, Cluster: c}, func(what string) { t.Log(what) })
	if err != nil {
		console, _ := os.ReadFile(filepath.Join(machine, "console.log"))
		t.Fatalf("%v\nits console said last:\n%s", err, console[max(0, len(console)-3000):])
	}
}

// network makes one for Packer and its machine, and returns how a program is started in it. All that it leads to is the
// archives: at the host's loopback, which machines in QEMU's own network see as 10.0.2.2.
func network(t *testing.T) []string {
	t.Helper()
	const prefix = "pgbake-packer16-"
	name := prefix + strconv.Itoa(os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Those of programs that were killed.
	old, err := filepath.Glob("/run/netns/" + prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range old {
		if _, err := os.Stat(filepath.Join("/proc", strings.TrimPrefix(filepath.Base(file), prefix))); err != nil {
			ip("netns", "del", filepath.Base(file))
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() { ip("netns", "del", name) })
	ip("-n", name, "link", "set", "lo", "up")
	serveArchives(t, "/run/netns/"+name)
	return []string{"nsenter", "--net=/run/netns/" + name, "--"}
}
