package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

const (
	// reportFile holds what this machine's monitor has found out last; after a boot there is none.
	reportFile = "/run/pgha/report.json"
	// monitorFile holds the alerts that it knows of.
	monitorFile = "/var/lib/pgha/monitor.json"
)

// tellTime is how long the full answer waits for etcd or HAProxy: less than who asks waits for it.
const tellTime = 1500 * time.Millisecond

// view is one look: what is judged, and what only `pgha status` shows.
type view struct {
	*monitor.Seen
	doors   []doorState
	members []member
	follows *Following
}

// look asks every machine, each question with a deadline of its own; none fails for one that does not answer.
func (a *Agent) look(ctx context.Context, seed *Seed, api *api) view {
	c := seed.Cluster
	machines := c.Machines()
	v := view{
		Seen: &monitor.Seen{
			Scope: c.Scope, Self: seed.Machine.Name, Ports: c.Ports, Synchronous: c.SynchronousMode() != "false",
			Backups: c.Backup.Taken(), Repository: c.Backup.Repository.Named(), Machines: make([]monitor.Machine, len(machines)),
		},
		doors: make([]doorState, len(machines)), members: make([]member, len(machines)),
	}
	if c.VirtualAddress.IsValid() {
		v.VirtualAddress = c.VirtualAddress.String()
	}
	var wg sync.WaitGroup
	for i, m := range machines {
		o := &v.Machines[i]
		o.Name, o.Address, o.Role = m.Name, m.Address.String(), m.Role
		wg.Go(func() { v.doors[i] = api.knock(ctx, m.Address, o) })
		if m.Role == cluster.DB {
			wg.Go(func() { v.members[i] = api.askPatroni(ctx, m.Address, o) })
		}
	}
	// Only a member's certificate opens etcd; a proxy knows what the members say of theirs.
	etcd := make([]*monitor.Etcd, len(machines))
	if seed.Machine.Role == cluster.DB {
		for i, n := range c.Nodes {
			wg.Go(func() { etcd[i] = api.etcdStatus(ctx, n.Address) })
		}
	}
	wg.Wait()
	v.At = time.Now()
	for i := range v.Machines {
		m := &v.Machines[i]
		if m.Etcd = etcd[i]; m.Etcd == nil {
			m.Etcd = v.doors[i].Etcd
		}
	}
	for i, n := range c.Nodes {
		if m := v.doors[i].Maintenance; m != nil {
			v.Maintenance = m.Until
		}
		if r := v.doors[i].Restore; r != nil {
			v.Restore, v.RestoreFailed = r.String(), r.Error
		}
		if !c.BeginsElsewhere() || v.Machines[i].Patroni == nil || v.follows != nil {
			continue
		}
		if v.follows, _ = api.following(ctx, n.Address); v.follows != nil { // no answer: the next one is asked
			v.Follows = fmt.Sprintf("%s:%d", v.follows.Host, v.follows.Port)
		}
	}
	if leader, ok := v.Leader(); ok {
		if at, err := netip.ParseAddr(leader.Address); err == nil {
			v.Confirm, _ = api.confirming(ctx, at) // no answer: nobody
		}
	}
	return v
}

// knock asks a machine's agent how it stands.
func (a *api) knock(ctx context.Context, addr netip.Addr, o *monitor.Machine) doorState {
	asked := time.Now()
	d, err := a.fullState(ctx, addr)
	took := time.Since(asked)
	if err != nil {
		o.Door = cause(err)
		return doorState{}
	}
	o.Report, o.Age, o.Routes, o.NoRoutes = d.Report, time.Duration(d.Age*float64(time.Second)), d.Routes, d.NoRoutes
	o.Trust, o.Backup, o.Alerts = d.Trust, d.Backup, d.Alerts
	if !d.Now.IsZero() && took < time.Second {
		o.Skew, o.Timed = d.Now.Sub(asked.Add(took/2).Round(0)), true
	}
	return d
}

// askPatroni asks a member's Patroni.
func (a *api) askPatroni(ctx context.Context, addr netip.Addr, o *monitor.Machine) member {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	m, err := a.member(ctx, addr)
	if err != nil {
		o.NoPatroni = cause(err)
		return m
	}
	p := &monitor.Member{Role: m.Role, State: m.State, Timeline: m.Timeline, Paused: m.Paused, Location: m.WAL.Replayed, Replayed: replayed(m.WAL.ReplayedAt)}
	switch {
	case m.leads():
		p.Role, p.Location = "primary", m.WAL.Location
	case m.leadsStandby():
		p.Role = monitor.StandbyLeader
	}
	for _, s := range m.Replication {
		if s.State == "streaming" {
			p.Streams = append(p.Streams, s.Name)
		}
	}
	o.Patroni = p
	return m
}

// replayed reads Patroni's time; zero when it is none.
func replayed(text string) time.Time {
	for _, layout := range []string{"2006-01-02 15:04:05.999999-07:00", "2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999 MST"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

// etcdStatus is a member of etcd as it describes itself; one that does not answer is not healthy.
func (a *api) etcdStatus(ctx context.Context, addr netip.Addr) *monitor.Etcd {
	e := &monitor.Etcd{Healthy: a.etcdHealthy(ctx, addr)}
	var s struct {
		Header struct {
			ID number `json:"member_id"`
		} `json:"header"`
		Leader number   `json:"leader"`
		Size   number   `json:"dbSize"`
		Errors []string `json:"errors"`
	}
	if a.call(ctx, addr, "maintenance/status", map[string]any{}, &s) == nil {
		e.ID, e.Leader, e.Size = fmt.Sprintf("%x", uint64(s.Header.ID)), fmt.Sprintf("%x", uint64(s.Leader)), int64(s.Size) //nolint:gosec // a file's size
		for _, alarm := range s.Errors {
			if strings.Contains(alarm, "alarm") { // else it only has no leader, which its health says
				e.Alarms = append(e.Alarms, alarm)
			}
		}
	}
	return e
}

// cause is why something did not answer, without what was asked.
func cause(err error) string {
	var asked *url.Error
	if errors.As(err, &asked) {
		err = asked.Err
	}
	var dns interface{ Timeout() bool }
	if errors.As(err, &dns) && dns.Timeout() {
		return "no answer in time"
	}
	return err.Error()
}

// tell adds to what the door says of this machine what its monitor knows, and how etcd is, or where HAProxy leads, now.
func (f *follower) tell(ctx context.Context, s *doorState) {
	s.Now = time.Now()
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	var report monitor.Report
	if readNote(f.Root, reportFile, &report) {
		s.Report, s.Age = &report, max(0, s.Now.Sub(report.At)).Seconds()
	}
	var state monitor.State
	if readNote(f.Root, monitorFile, &state) {
		s.Alerts = state.Alerts
	}
	var backup monitor.Backups
	if readNote(f.Root, backupState, &backup) {
		s.Backup = &backup
	}
	if f.seed.Machine.Role == cluster.Proxy {
		s.Routes, s.NoRoutes = routes(ctx, f.seed.Cluster)
	} else {
		s.Etcd = f.api.etcdStatus(ctx, f.seed.Machine.Address)
	}
}

// routes are where this proxy leads, or why HAProxy does not say so.
func routes(ctx context.Context, c *cluster.Cluster) (r *monitor.Routes, why string) {
	writers, err := serversUp(ctx, readWrite)
	if err != nil {
		return nil, cause(err)
	}
	readers, err := serversUp(ctx, readOnly)
	if err != nil {
		return nil, cause(err)
	}
	r = &monitor.Routes{ReadWrite: writers, ReadOnly: readers}
	if c.VirtualAddress.IsValid() && card(c.VirtualAddress) != "" {
		r.Holds = c.VirtualAddress.String()
	}
	return r, ""
}

// readNote reads one of this machine's notes; false when there is none that can be read.
func readNote(root, path string, into any) bool {
	return readJSON(filepath.Join(root, path), into) == nil
}
