package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/restore"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// holdFile keeps patroni.service from starting: its drop-in names it. It lies there while the databases are exchanged.
const holdFile = "/var/lib/pgha/patroni.held"

// follows is another member, and what is known of its copy.
type follows struct {
	node    cluster.Node
	replica restore.Replica
	state   restore.State
	what    string
}

// heard is what a member's Patroni says, or why it does not.
type heard struct {
	member
	err error
}

// observe looks at this machine's disk, at etcd and at every Patroni; at is the member of etcd that answered.
func (x *restoring) observe(ctx context.Context) (o restore.Observation, at netip.Addr) {
	self := x.seed.Machine
	o = restore.Observation{Self: self.Name, Note: x.Note, Held: exists(filepath.Join(x.Root, holdFile))}
	unit, err := x.postmasterUnit()
	o.Postgres = err != nil || unit != ""
	o.Patroni = x.runsPatroni(ctx)
	members := x.askMembers(ctx)
	own := members[len(x.others)]
	dcs, at, err := x.readDCS(ctx)
	o.Etcd = err == nil
	if !o.Etcd {
		return o, at
	}
	o.Holder, o.Leader, o.Paused = dcs.holder, dcs.leader, dcs.paused
	o.Serves = own.err == nil && own.leads() && own.runs() && unit == "patroni.service"
	o.Has = x.whose(dcs, members)
	o.Open = x.open(dcs)
	for i, f := range x.others {
		if m := members[i]; m.err == nil && m.Paused != dcs.paused {
			o.Unaware = append(o.Unaware, f.node.Name)
		}
	}
	o.Disk = x.lookAtDisk(ctx, dcs, members)
	x.lookAtCopies(ctx, dcs, members)
	for _, f := range x.others {
		o.Others = append(o.Others, restore.Member{Name: f.node.Name, State: f.state})
	}
	return o, at
}

// askMembers asks the others, in their order, and this machine last, all at the same time.
func (x *restoring) askMembers(ctx context.Context) []heard {
	members := make([]heard, len(x.others)+1)
	var wg sync.WaitGroup
	for i := range members {
		addr := x.seed.Machine.Address
		if i < len(x.others) {
			addr = x.others[i].node.Address
		}
		wg.Go(func() { members[i].member, members[i].err = x.api.member(ctx, addr) })
	}
	wg.Wait()
	return members
}

// runsPatroni tells whether Patroni runs on this machine, or may: systemd that does not say is no proof that it does not.
func (w *work) runsPatroni(ctx context.Context) bool {
	out, err := w.Runner.Output(ctx, run.Command("systemctl", "show", "--property=ActiveState", "--value", "patroni.service"))
	state := strings.TrimSpace(string(out))
	return err != nil || state != "inactive" && state != "failed"
}

// dcs is what etcd says, at one moment.
type dcs struct {
	holder, leader string
	paused         bool
	// forks are where timelines were left on the way to the leader's.
	forks []fork
	// sync are the replicas that may take over without loss, where etcd has such a list.
	sync []string
}

// timeline is the cluster's by its history.
func (d dcs) timeline() int {
	if len(d.forks) == 0 {
		return 1
	}
	return d.forks[len(d.forks)-1].timeline + 1
}

func (x *restoring) readDCS(ctx context.Context) (d dcs, at netip.Addr, err error) {
	if at, err = x.etcd(ctx); err != nil {
		return d, at, err
	}
	r, err := x.api.restoring(ctx, at)
	if err != nil {
		return d, at, err
	}
	if r != nil {
		d.holder = r.Machine
	}
	pairs, err := x.api.pairs(ctx, at, x.patroniKeys(), true)
	if err != nil {
		return d, at, err
	}
	for _, p := range pairs {
		switch strings.TrimPrefix(string(p.Key), x.patroniKeys()) {
		case "leader":
			d.leader = string(p.Value)
		case "config":
			var c struct {
				Pause bool `json:"pause"`
			}
			if err := decode(p.Value, &c, string(p.Key)); err != nil {
				return d, at, err
			}
			d.paused = c.Pause
		case "history":
			if d.forks, err = parseForks(p.Value); err != nil {
				return d, at, err
			}
		case "sync":
			var s struct {
				Standbys string `json:"sync_standby"`
			}
			if json.Unmarshal(p.Value, &s) == nil {
				d.sync = slices.DeleteFunc(strings.Split(s.Standbys, ","), func(name string) bool { return name == "" || name == x.seed.Machine.Name })
			}
		}
	}
	return d, at, nil
}

// left is where the restored database left the timeline before it; false while nothing is restored, and for one on the first
// timeline. It is the last line of the history file that PostgreSQL made when it ended the recovery.
func (x *restoring) left() (f fork, ok bool) {
	if x.Timeline == 0 {
		return f, false
	}
	for _, dir := range []string{x.Plan.Staged, x.Plan.Data} { // until it has its place, the other one's says nothing of it
		body, err := readTheirs(filepath.Join(dir, "pg_wal", fmt.Sprintf("%08X.history", x.Timeline)))
		if err != nil {
			continue
		}
		return lastFork(body)
	}
	return f, false
}

// lastFork is the last line of a history file: where its timeline left the one before.
func lastFork(history []byte) (f fork, ok bool) {
	for line := range strings.Lines(string(history)) {
		var high, low int64
		if n, _ := fmt.Sscanf(line, "%d\t%X/%X", &f.timeline, &high, &low); n == 3 {
			f.at, ok = high<<32|low, true
		}
	}
	return f, ok
}

// whose says which database the leader has, by the history that it writes into etcd: where the timeline before the restored one was left.
func (x *restoring) whose(d dcs, members []heard) restore.Database {
	mine, ok := x.left()
	for i, f := range x.others {
		if f.node.Name != d.leader {
			continue
		}
		m := members[i]
		switch {
		case m.err != nil || !m.leads() || d.timeline() != m.Timeline:
			return restore.Unknown
		case ok && x.Timeline <= m.Timeline && slices.Contains(d.forks, mine):
			return restore.Restored
		}
		return restore.Before
	}
	return restore.Unknown
}

// open says why a member that has not copied the restored database could lead when Patroni is let go. By pgha's correction of Patroni
// it may not as soon as etcd has the restored one's history; nor where commits are confirmed, and it is none that may take over.
func (x *restoring) open(d dcs) string {
	mine, ok := x.left()
	if !ok || len(d.forks) == 0 || d.forks[len(d.forks)-1] != mine {
		return "Patroni has not written the restored database's history into etcd yet"
	}
	for _, f := range x.others {
		if slices.Contains(d.sync, f.node.Name) && f.state != restore.Follows {
			return fmt.Sprintf("in etcd %s may take over yet, with the database of before", f.node.Name)
		}
	}
	return ""
}

// lookAtDisk looks at the three directories.
func (x *restoring) lookAtDisk(ctx context.Context, d dcs, members []heard) restore.Disk {
	p := x.Plan
	disk := restore.Disk{Data: exists(p.Data), Staged: exists(p.Staged), Aside: exists(p.Aside)}
	disk.Ready = exists(filepath.Join(p.Staged, stagedMark))
	placed := disk.Data && disk.Aside && !disk.Staged
	if placed && x.Timeline == 0 { // an older pgha did not note it
		if control, err := x.controlOf(ctx, p.Data); err == nil {
			x.Timeline = timelineOf(control)
		}
	}
	if x.Timeline > 0 && x.Plan.Another == "" { // another database is known by its system identifier
		disk.Behind = x.Timeline <= x.liveTimeline(ctx, d, members, placed)
	}
	disk.Started = placed && (x.Timeline == 0 || x.hasRun(ctx, p.Data))
	return disk
}

// hasRun tells that the restored database, in that directory, is not as it was when it was made ready: it has been the cluster's, or
// nobody can say that it has not. One that was never ready has not.
func (x *restoring) hasRun(ctx context.Context, dir string) bool {
	if x.Timeline == 0 || !exists(dir) {
		return false
	}
	control, err := x.controlOf(ctx, dir)
	return err != nil || control["Latest checkpoint location"] != x.Checkpoint || control["Database cluster state"] != "shut down"
}

// liveTimeline is the newest that the database of before has reached anywhere. After a promotion its control file says so only at
// the next checkpoint, Patroni at once.
func (x *restoring) liveTimeline(ctx context.Context, d dcs, members []heard, placed bool) int {
	live, dir := d.timeline(), x.Plan.Data
	if placed {
		dir = x.Plan.Aside
		members = members[:len(x.others)] // this machine has the restored one
	}
	if control, err := x.controlOf(ctx, dir); err == nil {
		live = max(live, timelineOf(control))
	}
	for _, m := range members {
		if m.err == nil {
			live = max(live, m.Timeline)
		}
	}
	return live
}

// lookAtCopies judges how far the others are with their copies.
func (x *restoring) lookAtCopies(ctx context.Context, d dcs, members []heard) {
	leader, lead := x.seed.Machine.Address, members[len(x.others)]
	for i, f := range x.others {
		if f.node.Name == d.leader {
			leader, lead = f.node.Address, members[i]
		}
	}
	for i := range x.others {
		f, m := &x.others[i], members[i]
		seen := restore.Seen{Answers: m.err == nil, State: m.State, Timeline: m.Timeline, Current: lead.Timeline, Bytes: m.WAL.Replayed}
		seen.Another = m.System != "" && lead.System != "" && m.System != lead.System
		seen.Streams = lead.err == nil && slices.ContainsFunc(lead.Replication, func(s standby) bool { return s.Name == f.node.Name && s.State == "streaming" })
		if f.node.Name == d.leader {
			f.state, f.what = restore.Follows, ""
			continue
		}
		if strings.Contains(m.State, "creating") {
			seen.Bytes = x.sentBy(ctx, leader, f.node.Address).bytes
		}
		f.state, f.what = f.replica.Next(seen, time.Now())
	}
}
