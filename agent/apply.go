package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/rootfs"
)

// Agent works on one machine.
type Agent struct {
	// Root is "/" on a machine, a directory in a test.
	Root string
	// Runner starts systemctl and the few programs beside it.
	Runner run.Runner
	// Say gets one line for each thing that happens.
	Say func(format string, args ...any)
	// Patience is how long a condition may take; without end when 0, as at first boot, where a peer may be days away.
	Patience time.Duration
}

// gate is the file without which etcd, Patroni, HAProxy and keepalived do not start: their drop-ins name it.
const gate = "/var/lib/pgha/configured"

// Result is what an apply did.
type Result struct {
	Changed []rootfs.File
	// Acted are the units that were started, reloaded, restarted or given something new.
	Acted []string
}

// work is one apply on its way through the steps.
type work struct {
	*Agent
	seed    *Seed
	files   []rootfs.File
	pending pending
	states  map[string]string
	api     *api
	joining joining
	// trust is what the certificates are worth.
	trust cluster.Trust
	// generation is the newest that this machine has; number 0 when it has none.
	generation cluster.Generation
	// gateWasOpen tells that an earlier apply has let etcd start.
	gateWasOpen bool
	// notGrown is why a disk that was made larger has not become room.
	notGrown error
	Result
}

type step struct {
	name string
	who  cluster.Role // every machine when empty
	run  func(*work, context.Context) error
}

// The recipe. Each step may be killed at any point: the next apply finds what is missing and goes on.
// The gate opens before the first unit that it holds back; the slow restarts run while etcd looks for its peers.
// What etcd and PostgreSQL may do once it is open, join decides.
var recipe = []step{
	{"network card", "", (*work).oneCard},
	{"clock", "", (*work).awaitClock},
	{"address", "", (*work).awaitAddress},
	{"data disk", cluster.DB, (*work).dataDisk},
	{"larger disks", "", (*work).growDisks},
	{"stock clusters", cluster.DB, (*work).refuseStockClusters},
	{"database version", cluster.DB, (*work).refuseOtherVersion},
	{"etcd data", cluster.DB, (*work).refuseForeignEtcd},
	{"adoption", cluster.DB, (*work).checkAdoption},
	{"repository", cluster.DB, (*work).needRepository},
	{"files", "", (*work).writeFiles},
	{"gate", "", (*work).openGate},
	{"firewall", "", (*work).firewall},
	{"follower", "", (*work).startFollower},
	{"monitor", "", (*work).startMonitor},
	{"etcd", cluster.DB, (*work).startEtcd},
	{"haproxy", cluster.Proxy, (*work).startHAProxy},
	{"keepalived", cluster.Proxy, (*work).startKeepalived},
	{"reload", "", (*work).reload},
	{"quorum", cluster.DB, (*work).awaitQuorum},
	{"restore", cluster.DB, (*work).awaitRestore},
	{"postgres", cluster.DB, (*work).postgres},
	{"adopted", cluster.DB, (*work).finishAdoption},
	{"settings", cluster.DB, (*work).settings},
	{"roles", cluster.DB, (*work).roles},
	{"backups", cluster.DB, (*work).backups},
	{"redundancy", cluster.DB, (*work).redundancy},
	{"etcd's restart", cluster.DB, (*work).restartEtcd},
	{"primary", cluster.Proxy, (*work).awaitPrimary},
	{"certificates", "", (*work).noteTrust},
	{"room", "", (*work).grown},
}

// Apply makes the machine what its seed says. Done twice it changes nothing.
// A *SeedError means that nothing was touched.
func (a *Agent) Apply(ctx context.Context) (*Result, error) {
	unlock, err := a.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	w, err := a.begin()
	if err != nil {
		a.note(State{Step: "seed", Error: err.Error()})
		return nil, err
	}
	defer w.joining.counter.close()
	for _, s := range recipe {
		if s.who != "" && s.who != w.seed.Machine.Role {
			continue
		}
		if err := s.run(w, ctx); err != nil {
			err = fmt.Errorf("%s: %w", s.name, err)
			a.note(State{Machine: w.seed.Machine.Name, Step: s.name, Error: err.Error()})
			return &w.Result, err
		}
	}
	a.note(State{Machine: w.seed.Machine.Name, Step: "done"})
	return &w.Result, nil
}

// Diff returns what Apply would write.
func (a *Agent) Diff() ([]rootfs.Change, error) {
	w, err := a.prepare()
	if err != nil {
		return nil, err
	}
	return rootfs.Diff(a.Root, w.files)
}

// begin is prepare for a machine that is to become what the newest generation says that it has taken.
func (a *Agent) begin() (*work, error) {
	if err := errors.Join(a.refuseRemoved(), a.unpack()); err != nil {
		return nil, &SeedError{err}
	}
	return a.prepare()
}

func (a *Agent) prepare() (*work, error) {
	seed, err := ReadSeed(a.Root)
	if err != nil {
		return nil, err
	}
	files, err := seed.Files(a.Root)
	if err != nil {
		return nil, &SeedError{err}
	}
	trust, err := seed.trust()
	if err != nil {
		return nil, &SeedError{err}
	}
	api, err := newAPI(seed)
	if err != nil {
		return nil, &SeedError{err}
	}
	generation, err := readGeneration(a.Root)
	if err != nil {
		return nil, &SeedError{err}
	}
	return &work{
		Agent: a, seed: seed, files: files, api: api, trust: trust, generation: generation, pending: pending{file: filepath.Join(a.Root, pendingFile)},
		gateWasOpen: exists(filepath.Join(a.Root, gate)),
	}, nil
}

// awaitAddress refuses to be a machine that this one is not.
func (w *work) awaitAddress(ctx context.Context) error {
	if w.Root != "/" {
		return nil
	}
	want := w.seed.Machine.Address
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := w.await(ctx, "address", condition{
		holds: func(context.Context) bool { return card(want) != "" },
		why:   func(context.Context) string { return fmt.Sprintf("no network card has %s yet", want) },
	})
	if err != nil {
		return fmt.Errorf("this machine does not have %s, the address of %s in %s\n      hint: see `ip address`; was this machine given another machine's seed?", want, w.seed.Machine.Name, specFile)
	}
	return w.oneCard(ctx) // in the beginning networkd may not have seen every card
}

// refuseStockClusters leaves a cluster that Debian's tools made alone, and says so, when it stands in the way.
func (w *work) refuseStockClusters(context.Context) error {
	confs, _ := filepath.Glob(filepath.Join(w.Root, "/etc/postgresql/*/*/postgresql.conf"))
	for _, conf := range confs {
		body, err := os.ReadFile(conf)
		if err != nil {
			return err
		}
		port := setting(body, "port", fmt.Sprint(cluster.PostgresPort))
		data := setting(body, "data_directory", "")
		if port != fmt.Sprint(w.seed.Cluster.Ports.Postgres) && data != w.seed.Cluster.DataDir() {
			continue
		}
		dir := filepath.Dir(conf)
		if w.adopting() && dir == filepath.Join(w.Root, stockConf, w.seed.Cluster.Adopt.Cluster) {
			continue
		}
		return fmt.Errorf("%s is a PostgreSQL cluster of Debian's own tools, with port %s and its data in %s; it stands where this member goes, and is left alone\n"+
			"      hint: move it to another port, or, when its data is not needed, drop it: pg_dropcluster --stop %s %s",
			w.inside(dir), port, data, filepath.Base(filepath.Dir(dir)), filepath.Base(dir))
	}
	return nil
}

// setting finds one value in a postgresql.conf.
func setting(conf []byte, name, otherwise string) string {
	value := otherwise
	for line := range strings.Lines(string(conf)) {
		line, _, _ = strings.Cut(line, "#")
		key, v, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(key) == name {
			value = strings.Trim(strings.TrimSpace(v), "'")
		}
	}
	return value
}

// writeFiles writes what differs. The units that must see it are written down first, so that a run that is
// killed between the two leaves the next one something to reload.
func (w *work) writeFiles(context.Context) (err error) {
	// Once more: what they say depends on the card that has the address and on the size of the data disk, and
	// before this step there may have been neither.
	if w.files, err = w.seed.Files(w.Root); err != nil {
		return err
	}
	// cloud-init made the folder, for everybody to look into.
	if err := os.Chmod(filepath.Join(w.Root, tlsDir), 0o700); err != nil { //nolint:gosec // a directory needs its x
		return err
	}
	changes, err := rootfs.Diff(w.Root, w.files)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		return w.pending.load() // what a killed apply left
	}
	for _, c := range changes {
		if c.File.Unit != "" {
			w.pending.add(c.File.Unit, c.File.Restart)
		}
		if strings.Contains(c.File.Path, "/tls/") {
			w.pending.add(followUnit, true) // it has read the same ones in the seed when it started
		}
	}
	if err := w.pending.save(); err != nil {
		return err
	}
	w.Changed, err = rootfs.Write(w.Root, w.files)
	for _, f := range w.Changed {
		w.Say("wrote %s", f.Path)
	}
	return err
}

// firewall closes the machine before anything on it listens.
func (w *work) firewall(ctx context.Context) error {
	return w.bring(ctx, "pgha-firewall.service", true)
}

// reload makes the units that help (clock, kernel settings, journal) see their changed files.
// Those of the machine's own role have their turn in their own steps.
func (w *work) reload(ctx context.Context) error {
	own := w.seed.units()
	for _, unit := range w.pending.units() {
		if slices.Contains(own, unit) {
			continue
		}
		verb := "reload-or-restart"
		if w.pending.restart(unit) {
			verb = "restart"
		}
		if err := w.systemctl(ctx, verb, unit); err != nil {
			return err
		}
		if err := w.pending.done(unit); err != nil {
			return err
		}
	}
	return nil
}

// startFollower lets this machine hear of newer specifications, and tell of its own where it is new.
func (w *work) startFollower(ctx context.Context) error { return w.bring(ctx, followUnit, false) }

// startMonitor lets this machine watch the cluster: from now on, since what keeps the rest of this recipe waiting may be
// what somebody should hear of.
func (w *work) startMonitor(ctx context.Context) error { return w.bring(ctx, monitorUnit, false) }

func (w *work) openGate(context.Context) error {
	path := filepath.Join(w.Root, gate)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds nothing secret
		return err
	}
	return os.WriteFile(path, nil, 0o644) //nolint:gosec // an empty mark
}

// bring starts a unit, or makes a running one see its changed files. Unless told to, it does not wait for the unit
// to be ready: what an apply waits for, it says.
func (w *work) bring(ctx context.Context, unit string, wait bool) error {
	state, err := w.state(ctx, unit)
	if err != nil {
		return err
	}
	// Both re… verbs also start a unit that does not run.
	var verb string
	switch {
	case w.pending.restart(unit):
		verb = "restart"
	case w.pending.has(unit):
		verb = "reload-or-restart"
	case !running(state):
		verb = "start"
	default:
		return nil
	}
	if state == "failed" {
		// It gave up while its files were wrong: a new chance.
		if err := w.Runner.Run(ctx, run.Command("systemctl", "reset-failed", unit)); err != nil {
			return err
		}
	}
	args := []string{verb, unit}
	if !wait {
		args = []string{verb, "--no-block", unit}
	}
	if err := w.systemctl(ctx, args...); err != nil {
		return err
	}
	return w.pending.done(unit)
}

func (w *work) systemctl(ctx context.Context, args ...string) error {
	unit := args[len(args)-1]
	w.Say("%s %s", args[0], unit)
	w.Acted = append(w.Acted, unit)
	return w.Runner.Run(ctx, run.Command(append([]string{"systemctl"}, args...)...))
}

// state is systemd's word for how a unit stood when the apply first asked: active, activating, inactive, failed …
// All units are asked for at once: each question costs a process.
func (w *work) state(ctx context.Context, unit string) (string, error) {
	if w.states == nil {
		units := append(w.seed.units(), "pgha-firewall.service", dataMount)
		out, err := w.Runner.Output(ctx, run.Command(append([]string{"systemctl", "is-active"}, units...)...))
		words := strings.Fields(string(out))
		if len(words) != len(units) { // else the exit code only repeats what the words say
			return "", errors.Join(fmt.Errorf("systemctl is-active: %d answers for %d units", len(words), len(units)), err)
		}
		w.states = map[string]string{}
		for i, u := range units {
			w.states[u] = words[i]
		}
	}
	return w.states[unit], nil
}

// running tells whether a unit in this state runs or is on its way.
func running(state string) bool {
	return state == "active" || state == "activating" || state == "reloading"
}
