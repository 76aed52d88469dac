package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/ui"
	"github.com/pgbake/pgbake/test/debian"
)

// These tests boot machines. One machine of plain Debian is enough to see what the lab itself does.

func TestMain(m *testing.M) {
	if helper, ok := helpers[os.Getenv("LAB_TEST_HELPER")]; ok {
		if err := helper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helpers are what this test program does when it is started again, to be killed.
var helpers = map[string]func() error{"layer": layerHelper, "boot": bootHelper, "virtual": virtualHelper}

// helper starts this program as a helper, waits for a line of its output that is word, and kills it with -9.
func killedHelper(t *testing.T, name, word string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "LAB_TEST_HELPER="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // what the helper waits for, if nobody kills it
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := false
	for lines := bufio.NewScanner(out); !said && lines.Scan(); {
		said = lines.Text() == word
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !said {
		t.Fatalf("helper %s never said %q: %v", name, word, err)
	}
}

// wait is a helper's last step: it waits to be killed, or for the end of who started it.
func wait() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// labsDir is a directory for a test's labs, below /var/tmp. Labs outlive their pgbake: those of tests that were killed go down
// before it is made.
func labsDir(t *testing.T) string {
	t.Helper()
	return debian.PlaceFor(t, "pgbake-labs-", func(dead string) error {
		states, _ := filepath.Glob(filepath.Join(dead, "*", "state"))
		for _, state := range append(states, filepath.Join(dead, "state")) {
			l, err := one(filepath.Dir(state))
			if err == nil {
				err = l.Down(context.Background())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func needMachines(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots machines: not with -short")
	}
	if err := Ready(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// one is the lab of a cluster of one machine, with its disks below dir.
func one(dir string) (*Lab, error) {
	c := &cluster.Cluster{
		Scope: fmt.Sprintf("test%08x", hash(dir)), Debian: 12, Network: netip.MustParsePrefix("192.0.2.0/24"),
		Nodes: []cluster.Node{{Name: "node1", Address: netip.MustParseAddr("192.0.2.11")}},
		Ports: cluster.Ports{Patroni: 8008},
	}
	h := NewHost(run.System{}, ui.New(os.Stderr, ui.Quiet))
	h.State = filepath.Join(dir, "state")
	return Open(c, h)
}

func hash(s string) (h uint32) {
	for _, b := range []byte(s) {
		h = h*31 + uint32(b)
	}
	return h
}

// bootPlain boots the lab's machine from plain Debian.
func bootPlain(ctx context.Context, l *Lab, dir string) error {
	r := roots{run: l.host.Run, ui: l.host.UI, cache: l.host.Cache}
	base, err := r.base(debianSources(ctx, r.run, l.c.Debian), l.c.Debian).build(ctx, r.cache)
	if err != nil {
		return err
	}
	seed := filepath.Join(dir, "seed")
	for name, body := range map[string]string{
		"user-data":      "#cloud-config\nlocale: C.UTF-8\nssh_genkeytypes: [ed25519]\nwrite_files: [{path: /etc/lab-test, content: seeded}]\n",
		"meta-data":      "instance-id: lab-test\nlocal-hostname: node1\n",
		"network-config": "version: 2\nethernets:\n  host0:\n    addresses: [192.0.2.11/24]\n",
	} {
		if err := write(filepath.Join(seed, name), body, 0o600); err != nil {
			return err
		}
	}
	lower, seeds := map[cluster.Role][]string{cluster.DB: {base}}, map[string]string{"node1": seed}
	_, err = l.boot(ctx, Load{}, func(_ context.Context, machines []cluster.Machine) error { return l.disks(machines, lower, seeds) })
	return err
}

// inside runs args in the machine until they succeed, and returns what they wrote.
func inside(t *testing.T, l *Lab, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var out []byte
	err := until(ctx, run.Line(args), func() error {
		c, err := l.machine("node1").Command(args...)
		if err == nil {
			out, err = l.host.Run.Output(ctx, c)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// nothingLeft fails when anything of the lab is still on this host.
func nothingLeft(t *testing.T, l *Lab) {
	t.Helper()
	for _, dir := range []string{l.dir, l.net.file(), "/run/systemd/nspawn/propagate/" + l.nspawn("node1").label, "/sys/fs/cgroup/unified/pgbake/" + l.net.name, "/sys/fs/cgroup/systemd/pgbake/" + l.net.name, "/sys/fs/cgroup/pgbake/" + l.net.name} {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(l.host.State)) {
		t.Error("something is still mounted")
	}
	if pids := processes(withArgument(func(arg string) bool { return strings.Contains(arg, l.dir) })); len(pids) > 0 {
		t.Errorf("processes %v still run", pids)
	}
	if pids := processes(firstOf(func(upper string) bool { return strings.HasPrefix(upper, l.dir) })); len(pids) > 0 {
		t.Errorf("containers %v still run", pids)
	}
}

func TestMachine(t *testing.T) {
	needMachines(t)
	t.Parallel()
	dir := labsDir(t)
	l, err := one(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Down(context.Background()) })
	if err := bootPlain(t.Context(), l, dir); err != nil {
		t.Fatal(err)
	}
	m := l.machine("node1")

	inside(t, l, "cloud-init", "status", "--wait")
	if got := inside(t, l, "cat", "/etc/lab-test"); got != "seeded" {
		t.Errorf("cloud-init wrote %q, want what the seed says", got)
	}
	if got := inside(t, l, "hostname"); got != "node1" {
		t.Errorf("the machine is called %q", got)
	}
	if got := inside(t, l, "ip", "-brief", "-4", "address", "show", "host0"); !strings.Contains(got, "192.0.2.11/24") {
		t.Errorf("host0 is %q, want the seed's address", got)
	}
	if got := inside(t, l, "ip", "route"); strings.Contains(got, "default") {
		t.Errorf("there is a way out: %s", got)
	}
	if err := bootPlain(t.Context(), l, dir); err == nil || !strings.Contains(err.Error(), "already up") {
		t.Errorf("a second Up says %v", err)
	}
	inside(t, l, "systemctl", "is-active", "ssh.service")
	answers(t, l)
	inject(t, l, "link-cut")
	if hello(t, l) == nil {
		t.Error("with its link cut the machine still answers")
	}
	inject(t, l, "link-restore")
	answers(t, l)

	inject(t, l, "freeze")
	c, err := m.Command("true")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.host.Run.Run(t.Context(), c); err != nil { // a visitor is not frozen
		t.Error(err)
	}
	// systemd answers in milliseconds, on a busy machine in a second.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	if c, err = m.Command("systemctl", "is-system-running"); err == nil {
		err = l.host.Run.Run(ctx, c)
	}
	cancel()
	if err == nil {
		t.Error("a frozen systemd answers")
	}
	inject(t, l, "thaw")
	inside(t, l, "systemctl", "is-active", "systemd-journald.service")

	inside(t, l, "sh", "-c", "echo kept > /root/kept")
	before := inside(t, l, "cat", "/etc/machine-id")
	inject(t, l, "power-cut")
	if m.Alive() {
		t.Error("alive after a power cut")
	}
	inject(t, l, "power-on")
	if got := inside(t, l, "cat", "/root/kept"); got != "kept" {
		t.Errorf("the disk lost what was written: %q", got)
	}
	if after := inside(t, l, "cat", "/etc/machine-id"); after != before {
		t.Errorf("another machine came up: %s, was %s", after, before)
	}
	inside(t, l, "systemctl", "is-system-running", "--wait")
	inject(t, l, "shutdown")
	if m.Alive() {
		t.Error("alive after a shutdown")
	}

	var logs bytes.Buffer
	if err := l.Logs(t.Context(), "node1", &logs); err != nil || !strings.Contains(logs.String(), "Multi-User System") {
		t.Errorf("the console shows no boot: %v\n%s", err, logs.String())
	}
	for range 2 { // a lab that is down stays so
		if err := l.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, l)
	}
}

func inject(t *testing.T, l *Lab, fault string) {
	t.Helper()
	if err := l.Inject(t.Context(), fault, "node1"); err != nil {
		t.Fatal(err)
	}
}

// answers waits until the machine answers.
func answers(t *testing.T, l *Lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := until(ctx, "connect to its ssh", func() error { return hello(t, l) }); err != nil {
		t.Error(err)
	}
}

// hello connects to the machine's ssh, as a neighbour would. A first packet that is lost is sent again after a second.
func hello(t *testing.T, l *Lab) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	conn, err := dialIn(ctx, l.net.file(), "tcp", "192.0.2.11:22")
	if err == nil {
		err = conn.Close()
	}
	return err
}

// bootHelper boots the lab below the directory that is its argument, says so and waits to be killed.
func bootHelper() error {
	l, err := one(os.Args[1])
	if err != nil {
		return err
	}
	if err := bootPlain(context.Background(), l, os.Args[1]); err != nil {
		return err
	}
	fmt.Println("up")
	return wait()
}

func TestMachinesOutliveAKilledPgbakeAndGoDown(t *testing.T) {
	needMachines(t)
	t.Parallel()
	dir := labsDir(t)
	killedHelper(t, "boot", "up", dir)
	l, err := one(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Down(context.Background()) })
	inside(t, l, "cloud-init", "status", "--wait")
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, l)
}

// Whatever was made by the moment of the kill, Down finds it: the disks gone, the supervisor gone.
func TestDownNeedsNoState(t *testing.T) {
	needMachines(t)
	t.Parallel()
	dir := labsDir(t)
	l, err := one(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Down(context.Background()) })
	if err := bootPlain(t.Context(), l, dir); err != nil {
		t.Fatal(err)
	}
	supervisor := processes(withArgument(func(arg string) bool { return arg == l.nspawn("node1").directory() }))
	if err := l.host.Run.Run(t.Context(), run.Command("kill", "-9", fmt.Sprint(supervisor[0]))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(l.dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, l)
}
