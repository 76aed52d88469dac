package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/internal/run"
)

// nspawn is a machine in systemd-nspawn: a container that boots its own systemd at native speed.
type nspawn struct {
	name string
	// label is the machine's name among all machines of this host.
	label string
	// dir holds the overlay, console.log, and lower: the paths of the layers, one a line.
	dir string
	net network
	run run.Runner
	// last is what leader was.
	last atomic.Int64
}

func newNspawn(r run.Runner, net network, dir, name string) *nspawn {
	return &nspawn{name: name, label: label(net.name, name), dir: dir, net: net, run: r}
}

// label names a machine among those of all labs: at most 64 characters, and only those of a host name.
func label(network, name string) string {
	plain := strings.NewReplacer("_", "-", ".", "-").Replace(network)
	l := plain + "." + name // no dot but this one: no two machines share a label
	if plain == network && len(l) <= 64 {
		return l
	}
	sum := sha256.Sum256([]byte(network + "." + name))
	return strings.TrimRight(l[:min(len(l), 55)], ".-") + "-" + hex.EncodeToString(sum[:])[:8]
}

func (m *nspawn) Console() string { return filepath.Join(m.dir, "console.log") }

func (m *nspawn) overlay() (overlay, error) {
	lower, err := os.ReadFile(filepath.Join(m.dir, "lower"))
	if err != nil {
		return overlay{}, fmt.Errorf("read the layers of %s: %w", m.name, err)
	}
	return overlay{Lower: strings.Fields(string(lower)), Dir: m.dir}, nil
}

// directory is the argument that tells this machine's supervisor from every other process.
func (m *nspawn) directory() string { return "--directory=" + filepath.Join(m.dir, "root") }

func (m *nspawn) args() []string {
	args := m.net.inside(
		"systemd-nspawn", "--quiet", "--boot", m.directory(), "--machine="+m.label, "--hostname="+m.name,
		"--register=no", "--keep-unit", "--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--network-bridge="+bridge, "--capability=CAP_SYS_NICE,CAP_SYS_TIME",
		"--", "systemd.show_status=yes",
	)
	if hostSystemd() {
		return inScope(m.label, args...)
	}
	return args
}

func (m *nspawn) Start(ctx context.Context) error {
	if len(m.all()) > 0 {
		return fmt.Errorf("start %s: it is already on", m.name)
	}
	ctx, cancel := limit(ctx, time.Minute)
	defer cancel()
	if err := scopesGone(ctx, m.run, m.label); err != nil { // it may have gone off a moment ago
		return err
	}
	o, err := m.overlay()
	if err != nil {
		return err
	}
	console, err := os.OpenFile(m.Console(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer console.Close() //nolint:errcheck // the machine has it
	cgroup, err := makeCgroup(m.net.name, m.name)
	if err != nil {
		return err
	}
	defer cgroup.Close() //nolint:errcheck // only a handle; nil is fine

	args := m.args()
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // it outlives us, and our context
	cmd.Stdout, cmd.Stderr = console, console
	// Debian 13 boots only with cgroups v2, and Debian 12 does so on real machines. The lock would stay in /run.
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_LOCK=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(cgroup.Fd())
	}
	err = ownMounts(func() error {
		if err := o.mount(); err != nil {
			return err
		}
		return cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return until(ctx, "start "+m.name, func() error {
		select {
		case err := <-ended:
			cancel()
			return fmt.Errorf("%w; see %s", &run.Error{Args: args, Err: exited(err), Tail: lastLines(m.Console(), 8)}, m.Console())
		default:
		}
		if m.leader() == 0 {
			return errors.New("its first process does not run yet")
		}
		return nil
	})
}

// all returns every process that shows the machine is on: the first one in it, and its supervisor outside.
func (m *nspawn) all() []int {
	supervisor := withArgument(func(arg string) bool { return arg == m.directory() })
	first := m.first()
	return processes(func(pid int) bool { return first(pid) || supervisor(pid) })
}

func (m *nspawn) first() func(pid int) bool {
	return firstOf(func(upper string) bool { return upper == filepath.Join(m.dir, "upper") })
}

// leader is the machine's first process; 0 when its power is off. The last one is looked at before all others.
func (m *nspawn) leader() int {
	first := m.first()
	if last := int(m.last.Load()); last != 0 && first(last) {
		return last
	}
	pid := 0
	if pids := processes(first); len(pids) > 0 {
		pid = pids[0]
	}
	m.last.Store(int64(pid))
	return pid
}

func (m *nspawn) Alive() bool { return m.leader() != 0 }

// on returns the machine's first process, or says that the power is off.
func (m *nspawn) on() (int, error) {
	pid := m.leader()
	if pid == 0 {
		return 0, fmt.Errorf("%s is off", m.name)
	}
	return pid, nil
}

func (m *nspawn) Command(args ...string) (run.Cmd, error) {
	pid, err := m.on()
	if err != nil {
		return run.Cmd{}, err
	}
	term := os.Getenv("TERM")
	if term == "" {
		term = "dumb"
	}
	return run.Command(slices.Concat([]string{
		"nsenter", fmt.Sprintf("--target=%d", pid),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
		"env", "--ignore-environment", "PATH=" + insidePath, "HOME=/root", "LANG=C.UTF-8", "TERM=" + term,
	}, args)...), nil
}

func (m *nspawn) Stop(ctx context.Context) error {
	pid, err := m.on()
	if err != nil {
		return err
	}
	// SIGRTMIN+4 is systemd's word for "power off": https://systemd.io/CONTAINER_INTERFACE
	const powerOff = syscall.Signal(34 + 4)
	if err := unix.Kill(pid, powerOff); err != nil {
		return fmt.Errorf("stop %s: %w", m.name, err)
	}
	return m.gone(ctx)
}

func (m *nspawn) Kill(ctx context.Context) error {
	pid, err := m.on()
	if err != nil {
		return err
	}
	if err := m.SetLink(ctx, false); err != nil {
		return err
	}
	// SIGKILL ends every process of the pid namespace, and the kernel waits for all of them.
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill %s: %w", m.name, err)
	}
	return m.gone(ctx)
}

// gone waits until nothing of the machine runs, so that its disk can be mounted again.
func (m *nspawn) gone(ctx context.Context) error {
	return until(ctx, "wait for the power of "+m.name+" to be off", func() error {
		if pids := m.all(); len(pids) > 0 {
			return fmt.Errorf("processes %v are still there", pids)
		}
		return nil
	})
}

func (m *nspawn) SetLink(ctx context.Context, up bool) error {
	if _, err := m.on(); err != nil {
		return err
	}
	state := "down"
	if up {
		state = "up"
	}
	// nspawn's name for the cable's end at the bridge, as an alternative name when it is too long for the first.
	return m.net.ip(ctx, fmt.Sprintf("link set vb-%s %s", m.label, state))
}

func (m *nspawn) SetFrozen(_ context.Context, frozen bool) error {
	pid, err := m.on()
	if err != nil {
		return err
	}
	return freeze(pid, frozen)
}

// Dial implements Machine.
func (m *nspawn) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	pid, err := m.on()
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		return new(net.Dialer).DialContext(ctx, network, procPath(pid, "root"+addr))
	}
	return dialIn(ctx, procPath(pid, "ns/net"), network, addr)
}

// ReadFile implements Machine.
func (m *nspawn) ReadFile(_ context.Context, name string) ([]byte, error) {
	pid, err := m.on()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(procPath(pid, "root"+name))
}

// Addresses implements Machine.
func (m *nspawn) Addresses(context.Context) (all []netip.Addr, err error) {
	pid, err := m.on()
	if err != nil {
		return nil, err
	}
	err = inNetwork(procPath(pid, "ns/net"), func() error {
		addrs, err := net.InterfaceAddrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				all = append(all, p.Addr())
			}
		}
		return err
	})
	return all, err
}

// lastLines returns the last n lines of a file; what is there of it.
func lastLines(name string, n int) string {
	b, _ := os.ReadFile(name) // it is only quoted
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// exited is the error of a program that should still run.
func exited(err error) error {
	if err == nil {
		return errors.New("ended at once")
	}
	return err
}
