package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/internal/processor"
)

const (
	monitorUnit = "pgha-monitor.service"
	// WatchEvery is how far looks are apart.
	WatchEvery = 30 * time.Second
	// holdAlerts is how long after its start a monitor fires nothing, unless the machine has come up: a whole cluster that is
	// switched on has problems that pass.
	holdAlerts = 5 * time.Minute
	// relook is when a look is taken again that saw two primaries.
	relook = 2 * time.Second
)

// watcher is this machine's monitor. It is a service of its own that stays: a run of a timer would cost a process, a
// reading of the seed and a dozen TLS handshakes each time, which is most of what a look costs. And it is not a part of
// the follower, so that neither takes the other with it, and each is noticed when it is gone.
type watcher struct {
	*Agent
	every   time.Duration
	started time.Time
	// What was read of the seed, and when its files were written.
	seed  *Seed
	api   *api
	stamp string

	samples map[string][]monitor.Sample
	run     int
	page    page
	// repository is what it holds of this primary's WAL.
	repository repositoryWatch

	mu        sync.Mutex // what deliveries change
	state     monitor.State
	saved     []byte
	receivers []monitor.Receiver
	trouble   map[string]*trouble
}

// Watch looks, judges and tells until ctx ends.
func (a *Agent) Watch(ctx context.Context, every time.Duration) error {
	m := &watcher{Agent: a, every: every, started: time.Now(), trouble: map[string]*trouble{}}
	if err := m.readSeed(); err != nil {
		return err
	}
	if err := m.load(); err != nil {
		return err
	}
	notify("READY=1")
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		m.once(ctx)
		notify("WATCHDOG=1")
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := m.readSeed(); err != nil {
			a.Say("what this machine was told cannot be read, and it goes on as before: %v", err)
		}
	}
}

// once is one look.
func (m *watcher) once(ctx context.Context) {
	began := time.Now()
	m.run++
	v := m.see(ctx)
	verdict := monitor.Judge(v.Seen)
	var others [][]monitor.Alert
	for _, o := range v.Machines {
		if o.Name != v.Self {
			others = append(others, o.Alerts)
		}
	}
	m.mu.Lock()
	var names []string
	for _, r := range m.receivers {
		names = append(names, r.Name)
	}
	policy := monitor.Policy{
		Receivers: names, Repeat: m.seed.Cluster.Alerts.RepeatAfter(), Turn: slices.Index(monitor.Senders(v.Seen), v.Self), Every: m.every, Holds: m.holds(),
	}
	before := m.state
	m.state = m.state.Next(verdict, others, policy, v.Self, v.At)
	m.say(before)
	m.save()
	m.page.show(monitor.Metrics(v.Seen, verdict, m.state, monitor.Self{Sends: policy.Turn == 0, Took: time.Since(began)}))
	m.mu.Unlock()
	m.deliver(ctx, policy)
	m.page.serve(ctx, m.Agent, m.seed)
}

// see is look, with what this machine knows of itself at first hand.
func (m *watcher) see(ctx context.Context) view {
	report := m.report(ctx)
	report.Every, report.Run, report.CPU, report.Mute = m.every.Seconds(), m.run, used().Seconds()/float64(m.run), m.mute()
	if body, err := json.Marshal(report); err == nil {
		_ = os.MkdirAll(filepath.Join(m.Root, filepath.Dir(reportFile)), 0o755)   //nolint:gosec // holds no secret
		_ = replace(filepath.Join(m.Root, reportFile), append(body, '\n'), 0o644) // whoever asks says that there is none
	}
	v := m.look(ctx, m.seed, m.api)
	if v.Leaders() > 1 {
		// It may be a switchover, with one asked before it and the other one after. Two that stay are told at once.
		select {
		case <-ctx.Done():
		case <-time.After(relook):
			v = m.look(ctx, m.seed, m.api)
		}
	}
	i := slices.IndexFunc(v.Machines, func(o monitor.Machine) bool { return o.Name == v.Self })
	own := &v.Machines[i]
	own.Report, own.Age = report, 0
	m.mu.Lock()
	v.Since = m.state.First
	m.mu.Unlock()
	if v.Since.IsZero() {
		v.Since = v.At
	}
	return v
}

// holds tells whether this machine is still on its way up.
func (m *watcher) holds() bool {
	state, ok := ReadState(m.Root)
	return time.Since(m.started) < holdAlerts && (!ok || state.Step != "done")
}

// say tells the journal of what has changed on this machine's word.
func (m *watcher) say(before monitor.State) {
	old := map[string]monitor.Alert{}
	for _, a := range before.Alerts {
		old[a.Key] = a
	}
	for _, a := range m.state.Alerts {
		if was := old[a.Key]; a.By == m.seed.Machine.Name && (was.Event != a.Event || !was.Told.Equal(a.Told)) && a.Told.After(m.started) {
			m.Say("%s", monitor.NoticeOf(a, m.seed.Cluster.Scope, m.seed.Machine.Name).Title())
		}
	}
}

// readSeed reads what this machine was told, when its files have changed: another generation, a renewed certificate, a
// secret that was written by hand.
func (m *watcher) readSeed() error {
	stamp := ""
	files, _ := filepath.Glob(filepath.Join(m.Root, tlsDir, "*"))
	for _, path := range append(files, filepath.Join(m.Root, specFile), filepath.Join(m.Root, secretsFile), filepath.Join(m.Root, machineFile)) {
		if info, err := os.Stat(path); err == nil {
			stamp += fmt.Sprintf("%s %d %d\n", path, info.ModTime().UnixNano(), info.Size())
		}
	}
	if stamp == m.stamp {
		return nil
	}
	seed, err := ReadSeed(m.Root)
	if err != nil {
		return err
	}
	api, err := newAPI(seed)
	if err != nil {
		return &SeedError{err}
	}
	if m.api != nil {
		m.api.client.CloseIdleConnections()
		m.api.peers.CloseIdleConnections()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seed, m.api, m.stamp = seed, api, stamp
	m.receivers = monitor.Receivers(seed.Cluster.Alerts, seed.Secrets, seed.Machine.Name)
	return nil
}

// load reads what was known before the machine, or the monitor, was stopped.
func (m *watcher) load() error {
	path := filepath.Join(m.Root, monitorFile)
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(body, &m.state)
	}
	var syntax *json.SyntaxError
	var other *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &other) {
		aside := path + ".broken"
		m.Say("%s cannot be read and is now %s: alerts that last are told once more: %v", monitorFile, aside, err)
		m.state = monitor.State{}
		return os.Rename(path, aside)
	}
	m.saved = body
	return err
}

// save keeps the state, where it has changed. A disk that is full must not keep alerts from being sent.
func (m *watcher) save() {
	body, err := json.Marshal(m.state)
	body = append(body, '\n')
	if err != nil || bytes.Equal(body, m.saved) {
		return
	}
	if err := durable(filepath.Join(m.Root, monitorFile), body); err != nil {
		m.Say("keep the alerts: %v", err)
		return
	}
	m.saved = body
}

// used is what this process and the programs that it has run have used of the processor.
func used() time.Duration {
	total := processor.Time()
	var children syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &children) == nil {
		total += time.Duration(children.Utime.Nano() + children.Stime.Nano())
	}
	return total
}

// notify tells systemd (sd_notify(3)); outside of it nobody.
func notify(what string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket) //nolint:noctx // a local datagram does not wait
	if err != nil {
		return // systemd then restarts the unit, and says so
	}
	_, _ = conn.Write([]byte(what))
	_ = conn.Close()
}
