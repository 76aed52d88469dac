package packer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbake/pgbake/internal/run"
)

// machine is a Debian that boots its own systemd in systemd-nspawn, inside of the test's network.
type machine struct {
	t    *testing.T
	net  *network
	root string // shared and never written to
	disk string // upper/ takes what the machine writes
	cmd  *exec.Cmd
	// ended is closed when cmd has ended; pid is its first process.
	ended chan struct{}
	pid   int
	group string
}

func newMachine(t *testing.T, n *network, root, disk string) *machine {
	t.Helper()
	m := &machine{t: t, net: n, root: root, disk: disk}
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(disk, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(m.kill)
	return m
}

// overlaid runs a command where the machine's root is mounted, at disk/root: in a mount namespace that ends with it.
func (m *machine) overlaid(args ...string) []string {
	script := `mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"; shift 2; exec "$@"`
	return append([]string{"unshare", "--mount", "--propagation=slave", "sh", "-euc", script, "sh", m.root, m.disk}, args...)
}

// boot switches the machine on and waits until it is up. With more it is told to nspawn.
func (m *machine) boot(more ...string) {
	m.t.Helper()
	console, err := os.Create(filepath.Join(m.disk, "console"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer console.Close() //nolint:errcheck // the machine has it
	cgroup, scope := m.cgroup()
	defer cgroup.Close() //nolint:errcheck // only a handle; nil is fine
	nspawn := append([]string{
		"systemd-nspawn", "--quiet", "--boot", "--directory=" + m.disk + "/root", "--machine=" + m.name(),
		"--register=no", "--keep-unit", "--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--suppress-sync=yes", "--capability=CAP_SYS_NICE,CAP_SYS_TIME",
	}, more...)
	args := slices.Concat(scope, m.net.enter(), m.overlaid(nspawn...))
	m.cmd = exec.Command(args[0], args[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = console, console
	m.cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_LOCK=0")
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cgroup != nil {
		m.cmd.SysProcAttr.UseCgroupFD, m.cmd.SysProcAttr.CgroupFD = true, int(cgroup.Fd())
	}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.ended = make(chan struct{})
	go func() { _ = m.cmd.Wait(); close(m.ended) }()
	m.until("the machine boots", time.Minute, func() error {
		select {
		case <-m.ended:
			said, _ := os.ReadFile(console.Name())
			m.t.Fatalf("the machine does not boot: %s\n%s", m.cmd.ProcessState, said)
		default:
		}
		m.pid = first(m.cmd.Process.Pid)
		if m.pid == 0 {
			return fmt.Errorf("its first process does not run; see %s", console.Name())
		}
		_, err := m.try("systemctl", "is-active", "--quiet", "dbus.service")
		return err
	})
}

func (m *machine) name() string {
	return filepath.Base(filepath.Dir(m.disk)) + "-" + filepath.Base(m.disk)
}

// cgroup gives the machine a cgroup of its own: two machines in one take each other's services for theirs.
// Where the host runs systemd, that makes it, by the command returned.
func (m *machine) cgroup() (*os.File, []string) {
	m.t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return nil, []string{"systemd-run", "--quiet", "--scope", "--collect", "--property=Delegate=yes", "--"}
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
			continue
		}
		dir := filepath.Join(root, m.name())
		if err := os.MkdirAll(dir, 0o755); err != nil {
			m.t.Fatal(err)
		}
		m.group = dir
		f, err := os.Open(dir)
		if err != nil {
			m.t.Fatal(err)
		}
		return f, nil
	}
	m.t.Fatal("cgroups v2 are not mounted")
	return nil, nil
}

// removeCgroup removes a cgroup and those in it, if there. Only rmdir works: the files in it are not real.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeCgroup(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, syscall.Rmdir(dir))
}

// first finds the first process of the machine, below its supervisor.
func first(supervisor int) int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", supervisor))
	if err != nil {
		return 0
	}
	for child := range strings.FieldsSeq(string(children)) {
		var pid int
		_, _ = fmt.Sscan(child, &pid)
		status, _ := os.ReadFile("/proc/" + child + "/status")
		for line := range strings.Lines(string(status)) {
			// NSpid: the number outside and, as the last, the number inside.
			if ids := strings.Fields(line); len(ids) > 2 && ids[0] == "NSpid:" && ids[len(ids)-1] == "1" {
				if comm, _ := os.ReadFile("/proc/" + child + "/comm"); strings.TrimSpace(string(comm)) == "systemd" {
					return pid
				}
			}
		}
	}
	return 0
}

// off shuts the machine down in order.
func (m *machine) off() {
	m.t.Helper()
	// SIGRTMIN+4 is systemd's word for "power off": https://systemd.io/CONTAINER_INTERFACE
	if err := syscall.Kill(m.pid, syscall.Signal(34+4)); err != nil {
		m.t.Fatal(err)
	}
	select {
	case <-m.ended:
		m.pid = 0
		m.kill()
	case <-time.After(2 * time.Minute):
		m.t.Fatal("the machine does not shut down")
	}
}

// kill ends the machine and all in it.
func (m *machine) kill() {
	if m.pid != 0 {
		_ = syscall.Kill(m.pid, syscall.SIGKILL)
	}
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		<-m.ended
	}
	// The dead need a moment to leave.
	for range 100 {
		if m.group == "" || removeCgroup(m.group) == nil && removeCgroup("/sys/fs/cgroup/systemd/"+m.name()) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.t.Errorf("the machine's cgroup stays: %v", removeCgroup(m.group))
}

// try runs a program on the machine and returns both of its outputs.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out strings.Builder
	err := run.System{}.Run(ctx, run.Cmd{Log: &out, Args: append([]string{
		"nsenter", fmt.Sprintf("--target=%d", m.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=",
	}, args...)})
	return out.String(), err
}

// sh runs a script that must succeed.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.try("sh", "-euc", script)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// until waits for a condition.
func (m *machine) until(what string, patience time.Duration, ok func() error) {
	m.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond) // between two looks
	}
}
