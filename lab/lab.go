// Package lab boots a whole cluster on this machine: real systemd, real cloud-init, the packages and seeds that
// real machines would get.
//
// In come a cluster, its packages and its seeds, as plain values; out come running machines that outlive pgbake,
// what they say about themselves, and faults on demand. It never touches the host's network, nor anything outside
// of its cache, its state directory and one network namespace by cluster; Down leaves nothing behind.
// Everything is found again by its name: there is no state file that could be wrong after a kill -9.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/internal/step"
	"github.com/pgbake/pgbake/internal/ui"
)

// Host is what the lab uses of this machine.
type Host struct {
	Run run.Runner
	UI  *ui.UI
	// Cache keeps roots and downloaded packages: $PGBAKE_CACHE, else /var/cache/pgbake.
	Cache string
	// State holds a directory for each lab, with the disks of its machines.
	State string
	// Self is what to type to call pgbake for this cluster again, for hints.
	Self string
	// Enter is the command that calls Enter with the directory and the program that follow.
	Enter []string
}

// NewHost returns this machine with the usual places.
func NewHost(r run.Runner, u *ui.UI) Host {
	cache := os.Getenv("PGBAKE_CACHE")
	if cache == "" {
		cache = "/var/cache/pgbake"
	}
	return Host{Run: r, UI: u, Cache: cache, State: "/var/lib/pgbake/lab", Self: "pgbake"}
}

// Lab is one cluster on this machine, up or not.
type Lab struct {
	c    *cluster.Cluster
	host Host
	net  network
	dir  string

	mu       sync.Mutex
	machines map[string]Machine // those that were asked for
}

// Open returns the lab of a cluster. It changes nothing.
func Open(c *cluster.Cluster, h Host) (*Lab, error) {
	if err := Ready(); err != nil {
		return nil, err
	}
	return &Lab{
		c: c, host: h,
		net:      network{run: h.Run, name: "pgbake-" + c.Scope},
		dir:      filepath.Join(h.State, c.Scope),
		machines: map[string]Machine{},
	}, nil
}

// Load is what the machines are made of: packages in containers, or images in QEMU.
type Load struct {
	// Debs are pgbake's own packages by role, as paths. None boots a plain Debian, which has what the role needs of
	// Debian downloaded, not installed: its seed must make it a machine of the role.
	Debs map[cluster.Role][]string
	// Images are bootable disks by role, raw or qcow2: with them the machines boot in QEMU.
	Images map[cluster.Role]string
	// Seeds are the folders with user-data, meta-data and network-config by machine; the network card is called host0.
	// For machines in QEMU they are the same as ISO files.
	Seeds map[string]string
}

// ErrUp says that machines of the cluster run already.
var ErrUp = errors.New("is already up")

// Up boots every machine at the same time and returns when their first processes run; started is when the first
// one was switched on. WaitHealthy tells when they are a cluster. What a killed pgbake left is removed first.
// Where machines run already it boots those that are new to the lab, and leaves the others alone.
func (l *Lab) Up(ctx context.Context, load Load) (started time.Time, err error) {
	if _, _, err := l.toBoot(load); err != nil {
		return time.Time{}, err
	}
	if load.Images != nil {
		return l.bootImages(ctx, load)
	}
	if err := need(containerPrograms); err != nil {
		return time.Time{}, err
	}
	if l.c.Storage.DataDisk != "" {
		return time.Time{}, errors.New("boot the lab: a container has no disks, and storage.data_disk names one\n      hint: --kind qemu")
	}
	r := roots{run: l.host.Run, ui: l.host.UI, cache: l.host.Cache}
	lower, err := r.lower(ctx, l.c, load.Debs)
	if err != nil {
		return time.Time{}, err
	}
	return l.boot(ctx, load, func(_ context.Context, machines []cluster.Machine) error { return l.disks(machines, lower, load.Seeds) })
}

// bootImages is Up for machines in QEMU.
func (l *Lab) bootImages(ctx context.Context, load Load) (started time.Time, err error) {
	if err := need(virtualPrograms); err != nil {
		return time.Time{}, err
	}
	why := ""
	started, err = l.boot(ctx, load, func(ctx context.Context, _ []cluster.Machine) error {
		if err := l.virtualDisks(ctx, load); err != nil {
			return err
		}
		why, err = l.kvm().unusable(ctx, l.host.Run, l.qemu(l.c.Machines()[0]).disk())
		if why != "" {
			l.host.UI.Say("without KVM, some ten times slower: %s", why)
		}
		return err
	})
	return started, err
}

// toBoot are the machines to boot: all, or, added to those that run, the ones that have no disk in the lab yet.
func (l *Lab) toBoot(load Load) (machines []cluster.Machine, added bool, err error) {
	up := l.isUp()
	if up == nil {
		return l.c.Machines(), false, nil
	}
	for _, m := range l.c.Machines() {
		if _, err := os.Lstat(filepath.Join(l.dir, m.Name)); errors.Is(err, fs.ErrNotExist) {
			machines = append(machines, m)
		}
	}
	if len(machines) == 0 || load.Images != nil {
		return nil, false, up
	}
	return machines, true, nil
}

// boot starts the machines whose disks it has made.
func (l *Lab) boot(ctx context.Context, load Load, disks func(context.Context, []cluster.Machine) error) (started time.Time, err error) {
	unlock, err := l.lock(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	machines, added, err := l.toBoot(load) // it may have come up while the roots were made
	if err != nil {
		return time.Time{}, err
	}
	boot := make([]step.Step, 0, len(machines))
	for _, m := range machines {
		boot = append(boot, step.Step{Name: m.Name, Run: func(ctx context.Context) error { return l.machine(m.Name).Start(ctx) }})
	}
	powerOn := step.Step{Name: "power on", Undo: l.clear, Run: func(ctx context.Context) error {
		started = time.Now()
		return step.Together("power on", l.host.UI, boot...).Run(ctx)
	}}
	if added {
		powerOn.Undo = nil // what ran before goes on
		err = step.Run(ctx, l.host.UI, step.Step{Name: "make disks", Run: func(ctx context.Context) error { return disks(ctx, machines) }}, powerOn)
		return started, err
	}
	err = step.Run(ctx, l.host.UI,
		step.Step{Name: "make disks and network", Undo: l.clear, Run: func(ctx context.Context) error {
			if err := l.clear(ctx); err != nil {
				return err
			}
			if err := disks(ctx, machines); err != nil {
				return err
			}
			host, err := hostAddress(l.c)
			if err != nil {
				return err
			}
			return l.net.up(ctx, host, l.taps()...)
		}}, powerOn)
	return started, err
}

// Down removes everything of the lab: processes, network, cgroups, disks. A lab that is down stays so.
func (l *Lab) Down(ctx context.Context) error {
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return l.clear(ctx)
}

// Machine returns the machine called name.
func (l *Lab) Machine(name string) (Machine, error) {
	if _, ok := l.c.Machine(name); !ok {
		var names []string
		for _, m := range l.c.Machines() {
			names = append(names, m.Name)
		}
		return nil, fmt.Errorf("find machine %s: the cluster has %s", name, strings.Join(names, ", "))
	}
	return l.machine(name), nil
}

// machine is of the kind that its disk is; a container before it has one.
func (l *Lab) machine(name string) Machine {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, known := l.machines[name]
	_, virtual := m.(*qemu)
	if node, ok := l.c.Machine(name); !known || virtual != l.isVirtual(name) {
		if m = Machine(l.nspawn(name)); ok && l.isVirtual(name) {
			m = l.qemu(node)
		}
		l.machines[name] = m
	}
	return m
}

func (l *Lab) isVirtual(name string) bool {
	_, err := os.Lstat(filepath.Join(l.dir, name, diskName))
	return err == nil
}

// virtual tells whether the lab's machines run in QEMU.
func (l *Lab) virtual() bool {
	return slices.ContainsFunc(l.c.Machines(), func(m cluster.Machine) bool { return l.isVirtual(m.Name) })
}

func (l *Lab) nspawn(name string) *nspawn {
	return newNspawn(l.host.Run, l.net, filepath.Join(l.dir, name), name)
}

func (l *Lab) qemu(m cluster.Machine) *qemu {
	q := &qemu{
		name: m.Name, label: label(l.net.name, m.Name), dir: filepath.Join(l.dir, m.Name), mac: m.MAC,
		net: l.net, run: l.host.Run, kvm: l.kvm(), enter: l.host.Enter,
	}
	if q.mac == "" {
		q.mac = hardwareAddress(q.label)
	}
	if m.Role == cluster.DB {
		q.data = l.c.Storage.DataDisk
	}
	return q
}

func (l *Lab) kvm() kvm {
	return kvm{device: "/dev/kvm", verdict: filepath.Join(l.host.Cache, "kvm"), patience: kvmTime}
}

// taps are the ends of the virtual machines' cables.
func (l *Lab) taps() []string {
	var taps []string
	for _, m := range l.c.Machines() {
		if l.isVirtual(m.Name) {
			taps = append(taps, l.qemu(m).tap())
		}
	}
	return taps
}

// lock keeps two pgbakes from changing labs at the same time.
func (l *Lab) lock(ctx context.Context) (func(), error) {
	if err := os.MkdirAll(l.host.State, 0o700); err != nil {
		return nil, err
	}
	return lock(ctx, l.host.State)
}

func (l *Lab) isUp() error {
	var on []string
	for _, m := range l.c.Machines() {
		if l.machine(m.Name).Alive() {
			on = append(on, m.Name)
		}
	}
	if len(on) == 0 {
		return nil
	}
	return fmt.Errorf("start the lab: %s %w (%s)\n      hint: %s lab status, or %[4]s lab down", l.c.Scope, ErrUp, strings.Join(on, ", "), l.host.Self)
}

// needNetwork says that the lab is down, as it is after the host was switched off.
func (l *Lab) needNetwork() error {
	if l.net.exists() {
		return nil
	}
	return fmt.Errorf("find lab %s: it is down\n      hint: %s lab up", l.c.Scope, l.host.Self)
}

// disks lays the machines' own directories out, with their seeds where cloud-init looks for them.
func (l *Lab) disks(machines []cluster.Machine, lower map[cluster.Role][]string, seeds map[string]string) error {
	for _, m := range machines {
		n := l.nspawn(m.Name)
		// Secrets lie below: nobody but root passes.
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return err
		}
		if err := write(filepath.Join(n.dir, "lower"), strings.Join(lower[m.Role], "\n")+"\n", 0o600); err != nil {
			return err
		}
		o, err := n.overlay()
		if err != nil {
			return err
		}
		seed := filepath.Join(o.upper(), "var/lib/cloud/seed/nocloud")
		for _, name := range []string{"user-data", "meta-data", "network-config"} {
			body, err := os.ReadFile(filepath.Join(seeds[m.Name], name))
			if err != nil {
				return fmt.Errorf("read the seed of %s: %w", m.Name, err)
			}
			if err := write(filepath.Join(seed, name), string(body), 0o600); err != nil {
				return err
			}
		}
		// Nobody sits at a container's console.
		getty := filepath.Join(o.upper(), "etc/systemd/system/console-getty.service")
		if err := errors.Join(os.MkdirAll(filepath.Dir(getty), 0o755), os.Symlink("/dev/null", getty)); err != nil { //nolint:gosec // as Debian has it
			return err
		}
		// The kernel's clock is the host's: chrony runs and looks, but does not set it (-x).
		if err := write(filepath.Join(o.upper(), "etc/default/chrony"), "DAEMON_OPTS=\"-F 1 -x\"\n", 0o644); err != nil {
			return err
		}
	}
	return nil
}

// clear removes what there is of the lab, also what another specification of it or a killed pgbake left.
func (l *Lab) clear(ctx context.Context) error {
	ctx, cancel := limit(ctx, faultTime)
	defer cancel()
	below := func(prefix string) func(string) bool {
		return func(s string) bool { return strings.HasPrefix(s, prefix+l.dir+"/") }
	}
	first, supervisor, beside := firstOf(below("")), withArgument(below("--directory=")), inNamespace(l.net.file())
	emulator := withArgument(below("file="))
	err := killAll(ctx, func() []int {
		// The first ones take all others of their machines along; beside them may be a psql in our network.
		return processes(func(pid int) bool { return first(pid) || supervisor(pid) || emulator(pid) || beside(pid) })
	})
	if err != nil {
		return err
	}
	if err := l.net.down(ctx); err != nil {
		return err
	}
	labels := l.labels()
	if err := scopesGone(ctx, l.host.Run, labels...); err != nil {
		return err
	}
	// The kernel empties a cgroup a moment after its last process is gone.
	err = until(ctx, "remove the cgroups", func() error { return removeCgroups(l.net.name) })
	if err != nil {
		return err
	}
	for _, label := range labels {
		// nspawn leaves these where /run is no tmpfs of its own, and when it is killed.
		for _, dir := range []string{"propagate", "unix-export"} {
			_ = unix.Rmdir(filepath.Join("/run/systemd/nspawn", dir, label)) // mostly not there
		}
	}
	if err := os.RemoveAll(l.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the disks: %w", err)
	}
	return clearBenches(l.host.State)
}

// labels are those of all machines that the lab may have, also of ones that the specification has no more.
func (l *Lab) labels() []string {
	var labels []string
	for _, m := range l.c.Machines() {
		labels = append(labels, label(l.net.name, m.Name))
	}
	entries, _ := os.ReadDir(l.dir) // it may be down
	for _, e := range entries {
		if one := label(l.net.name, e.Name()); e.IsDir() && !slices.Contains(labels, one) {
			labels = append(labels, one)
		}
	}
	return labels
}
