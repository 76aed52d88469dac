// Package debian gives tests a real Debian: roots that are made once, and machines that boot them in systemd-nspawn.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbake/pgbake/internal/run"
)

// Machine boots its own systemd in systemd-nspawn. It ends with the test.
type Machine struct {
	T    *testing.T
	Name string
	// Root is a Debian, shared and never written to. Disk is the machine's own directory: upper takes what it writes, root
	// is where the two are one, console what it says.
	Root, Disk string
	// Enter is what comes before the machine's program: how it gets into a network namespace.
	Enter []string
	// Flags are nspawn's, beside those that every machine has.
	Flags []string
	// Up tells that the machine has booted; its error, why not yet.
	Up func() error

	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	pid   int           // of its first process
	group string        // the cgroup that was made for it
}

// New returns a machine that is off. Who makes Disk makes upper, where something is to lie in it before.
func New(m Machine) *Machine {
	m.T.Helper()
	for _, d := range []string{"upper/etc", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(m.Disk, d), 0o755); err != nil { //nolint:gosec // the machine's users look into it
			m.T.Fatal(err)
		}
	}
	t := m.T // a step's, later
	t.Cleanup(func() {
		if t.Failed() {
			m.postMortem(t)
		}
		if err := m.kill(); err != nil {
			t.Error(err)
		}
	})
	return &m
}

// Overlaid is a command where the machine's root is mounted, at Disk/root: in namespaces that end with it, so that nothing
// stays behind, whatever happens to us.
func (m *Machine) Overlaid(args ...string) []string {
	// The shell stays: as the first process, systemd-nspawn would write to the kernel's log.
	script := `mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" overlay "$2/root"; shift 2; "$@"; exit`
	return Alone(append([]string{"sh", "-euc", script, "sh", m.Root, m.Disk}, args...)...)
}

// Boot switches the machine on and waits until it is up.
func (m *Machine) Boot() {
	m.T.Helper()
	console, err := os.Create(filepath.Join(m.Disk, "console"))
	if err != nil {
		m.T.Fatal(err)
	}
	defer console.Close() //nolint:errcheck // the machine has it
	cgroup, scope := m.cgroup()
	defer cgroup.Close() //nolint:errcheck // only a handle; nil is fine
	args := slices.Concat(scope, m.Enter, m.Overlaid(slices.Concat([]string{
		"systemd-nspawn", "--quiet", "--boot", "--directory=" + m.Disk + "/root", "--machine=" + m.Name, "--register=no", "--keep-unit",
		"--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--suppress-sync=yes",
	}, m.Flags)...))
	m.cmd = exec.CommandContext(context.WithoutCancel(m.T.Context()), args[0], args[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = console, console
	m.cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_LOCK=0")
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cgroup != nil {
		m.cmd.SysProcAttr.UseCgroupFD, m.cmd.SysProcAttr.CgroupFD = true, int(cgroup.Fd())
	}
	ended, err := Start(m.cmd)
	if err != nil {
		m.cmd = nil
		m.T.Fatal(err)
	}
	m.ended = make(chan struct{})
	go func() { <-ended; close(m.ended) }()
	m.Until("the machine boots", 5*time.Minute, func() error {
		select {
		case <-m.ended:
			said, _ := os.ReadFile(console.Name())
			m.T.Fatalf("the machine does not boot: %s\n%s", m.cmd.ProcessState, said)
		default:
		}
		if m.pid == 0 {
			m.pid = first(m.cmd.Process.Pid)
		}
		if m.pid == 0 {
			return fmt.Errorf("its first process does not run; see %s", console.Name())
		}
		return m.Up()
	})
}

// cgroup gives the machine a cgroup of its own: two machines in one take each other's services for theirs.
// Where the host runs systemd, that makes it, by the command returned.
func (m *Machine) cgroup() (*os.File, []string) {
	m.T.Helper()
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return nil, []string{"systemd-run", "--quiet", "--scope", "--collect", "--property=Delegate=yes", "--"}
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(root + "/cgroup.controllers"); err != nil {
			continue
		}
		dir := filepath.Join(root, m.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a cgroup
			m.T.Fatal(err)
		}
		m.group = dir
		f, err := os.Open(dir)
		if err != nil {
			m.T.Fatal(err)
		}
		return f, nil
	}
	m.T.Fatal("cgroups v2 are not mounted")
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

// first finds the first process of the machine among those that its supervisor has started, and they.
func first(supervisor int) int {
	for _, child := range children(supervisor) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child)) // it may have ended
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", child))
		for line := range strings.Lines(string(status)) {
			// NSpid: the number outside and, as the last, the number inside.
			if ids := strings.Fields(line); len(ids) > 2 && ids[0] == "NSpid:" && ids[len(ids)-1] == "1" && strings.TrimSpace(string(comm)) == "systemd" {
				return child
			}
		}
		if pid := first(child); pid != 0 {
			return pid
		}
	}
	return 0
}

func children(pid int) (all []int) {
	ids, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid)) // it may have ended
	for id := range strings.FieldsSeq(string(ids)) {
		if child, err := strconv.Atoi(id); err == nil {
			all = append(all, child)
		}
	}
	return all
}

// Path is where a file of the machine lies for us; links in it that begin with / lead astray.
func (m *Machine) Path(name string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, name) }

// Off shuts the machine down in order.
func (m *Machine) Off() {
	m.T.Helper()
	// SIGRTMIN+4 is systemd's word for "power off": https://systemd.io/CONTAINER_INTERFACE
	if err := syscall.Kill(m.pid, syscall.Signal(34+4)); err != nil {
		m.T.Fatal(err)
	}
	select {
	case <-m.ended:
		m.pid = 0
		if err := m.kill(); err != nil {
			m.T.Fatal(err)
		}
	case <-time.After(3 * time.Minute):
		said, _ := os.ReadFile(filepath.Join(m.Disk, "console"))
		m.T.Fatalf("the machine does not shut down\n%s", said)
	}
}

// kill ends the machine and all in it, and waits until the kernel has forgotten them.
func (m *Machine) kill() error {
	if m.pid != 0 {
		_ = syscall.Kill(m.pid, syscall.SIGKILL)
		m.pid = 0
	}
	if m.cmd != nil {
		// unshare ends when its namespaces' first process has, and with it all that is mounted there.
		inside := children(m.cmd.Process.Pid)
		for _, pid := range inside {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(inside) == 0 {
			_ = m.cmd.Process.Kill()
		}
		<-m.ended
		m.cmd = nil
	}
	if m.group == "" {
		return nil
	}
	// The dead need a moment to leave.
	return until("remove the machine's cgroup", time.Minute, func() error { return forget(m.Name) })
}

// forget removes what a machine that has ended leaves on this host.
func forget(name string) error {
	for _, dir := range []string{"propagate", "unix-export"} {
		_ = syscall.Rmdir(filepath.Join("/run/systemd/nspawn", dir, name)) // mostly not there
	}
	var errs []error
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		errs = append(errs, removeCgroup(filepath.Join(root, name)))
	}
	return errors.Join(errs...)
}

// programTime is for a program that hangs: apt installs a hundred packages, on a host that does three other things, in four minutes.
const programTime = 15 * time.Minute

// Try runs a program on the machine and returns both of its outputs.
func (m *Machine) Try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.T.Context()), programTime)
	defer cancel()
	var out strings.Builder
	err := run.System{}.Run(ctx, run.Cmd{Log: &out, Args: append([]string{
		"nsenter", fmt.Sprintf("--target=%d", m.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive", "SYSTEMD_PAGER=",
	}, args...)})
	return out.String(), err
}

// Sh runs a script that must succeed.
func (m *Machine) Sh(t *testing.T, script string) string {
	t.Helper()
	out, err := m.Try("sh", "-euc", script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(out)
}

// Until waits for a condition.
func (m *Machine) Until(what string, patience time.Duration, ok func() error) {
	m.T.Helper()
	if err := until(what, patience, ok); err != nil {
		m.T.Fatal(err)
	}
}

func until(what string, patience time.Duration, ok func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w (gave up after %s)", what, err, patience)
		}
		time.Sleep(50 * time.Millisecond) // between two looks
	}
}
