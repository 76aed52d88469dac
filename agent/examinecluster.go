package agent

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/doctor"
	"github.com/pgbake/pgbake/cluster"
)

// examineCluster asks every member, and etcd for what Patroni keeps there.
func (w *work) examineCluster(ctx context.Context, l *doctor.Look) {
	s := w.survey(ctx)
	c := &doctor.Cluster{Confirm: s.confirm, ConfirmWant: s.confirmWant, Paused: s.paused()}
	if s.unconfirmed != nil {
		c.ConfirmWant = 0 // nothing is known
	}
	_, noPrimary := s.primary()
	for _, m := range s.members {
		d := doctor.Member{
			Name: m.name, Asked: l.DB, Etcd: m.etcd, EtcdRuns: m.etcdRuns, Leads: m.leads() && m.err == nil, Runs: m.runs() && m.err == nil,
			State: m.State, Timeline: m.Timeline, System: m.System, Pending: m.Pending,
		}
		switch {
		case m.err != nil:
			d.Silent = short(m.err)
		case noPrimary == "" && !d.Leads:
			d.Streams, d.Lag = s.streams(m), s.lag(m)
			d.Stopped = m.WAL.Paused
		}
		c.Members = append(c.Members, d)
	}
	l.Cluster = c
	if l.Proxy {
		up, err := writersGoTo(ctx)
		if l.Serves = up; err != nil {
			l.HAProxy = err.Error()
		}
		return
	}
	at, err := w.etcd(ctx)
	if err != nil {
		return
	}
	if m, _, err := w.api.maintenance(ctx, at); err == nil && m != nil {
		c.Announced, c.Forgotten, c.MaintenanceBy, c.Until = true, m.Forgotten(time.Now()), m.By, m.Until
	}
	if r, err := w.api.restoring(ctx, at); err == nil && r != nil {
		c.Restore = &doctor.Restore{Machine: r.Machine, Moment: r.Moment, Step: string(r.Step), Error: r.Error, Since: r.Since}
	}
	if pairs, err := w.api.pairs(ctx, at, w.patroniKey("leader"), false); err == nil && len(pairs) == 1 {
		c.Holder = string(pairs[0].Value)
	}
	e := &doctor.Etcd{Quota: cluster.EtcdQuota}
	var status struct {
		Size number `json:"dbSize"`
	}
	if w.api.call(ctx, at, "maintenance/status", map[string]any{}, &status) == nil {
		e.Size = int64(status.Size) //nolint:gosec // bytes
	}
	var alarms struct {
		Alarms []struct {
			Alarm string `json:"alarm"`
		} `json:"alarms"`
	}
	if w.api.call(ctx, at, "maintenance/alarm", map[string]any{"action": "GET"}, &alarms) == nil {
		for _, a := range alarms.Alarms {
			e.Alarms = append(e.Alarms, a.Alarm)
		}
	}
	if list, err := w.api.members(ctx, at); err == nil {
		for _, m := range list.Members {
			if _, known := w.seed.Cluster.Machine(m.Name); !known && m.Name != "" {
				e.Unknown = append(e.Unknown, m.Name)
			}
		}
	}
	l.Etcd = e
}

// examineDoors asks every machine for what it has, and for the time.
func (w *work) examineDoors(ctx context.Context, l *doctor.Look) {
	machines := w.seed.Cluster.Machines()
	doors := make([]doorState, len(machines))
	offsets := make([]time.Duration, len(machines))
	asked := make([]bool, len(machines))
	var wg sync.WaitGroup
	for i, m := range machines {
		wg.Go(func() { doors[i], _ = w.api.doorState(ctx, m.Address) }) // no answer: nothing is known
		if m.Name != w.seed.Machine.Name {
			wg.Go(func() { offsets[i], asked[i] = w.offset(ctx, m) })
		}
	}
	wg.Wait()
	l.Offsets = map[string]time.Duration{}
	for i, m := range machines {
		if asked[i] {
			l.Offsets[m.Name] = offsets[i]
		}
		if m.Name == w.seed.Machine.Name {
			l.Refused = doors[i].Refused
		}
	}
	mine, err := w.seed.trust()
	if err != nil {
		return // the seed's check says so
	}
	trusts := []cluster.Trust{mine}
	for _, d := range doors {
		if d.Trust != nil && d.Machine != mine.Machine {
			trusts = append(trusts, *d.Trust)
		}
	}
	for _, t := range trusts {
		if problem, _ := TrustProblem(t, time.Now()); problem != "" && !slices.Contains(l.Certificates, problem) {
			l.Certificates = append(l.Certificates, problem)
		}
	}
}

// offset is how far another machine's clock is ahead of this one's, to a second: its answers have a date.
func (w *work) offset(ctx context.Context, m cluster.Machine) (time.Duration, bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.api.doorURL(m.Address, statePath), nil)
	if err != nil {
		return 0, false
	}
	began := time.Now()
	resp, err := w.api.peers.Do(req)
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close() //nolint:errcheck // only its head is read
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	// The date has whole seconds: half a second later is its middle.
	return theirs.Add(500 * time.Millisecond).Sub(began.Add(time.Since(began) / 2)), err == nil
}
