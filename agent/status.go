package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/cluster"
)

// Status is the cluster as this machine sees it.
type Status struct {
	Scope   string         `json:"scope"`
	Machine string         `json:"machine"`
	At      time.Time      `json:"at"`
	Apply   *State         `json:"apply,omitempty"`
	Members []MemberStatus `json:"members"`
	Proxies []ProxyStatus  `json:"proxies"`
	// EtcdLeader leads etcd; empty when nobody says who does.
	EtcdLeader string `json:"etcd_leader,omitempty"`
	// Synchronous tells that commits wait for a replica, Confirm which ones may confirm them.
	Synchronous bool     `json:"synchronous"`
	Confirm     []string `json:"confirm"`
	// Serves names the servers that this proxy's read-write port leads to; only on a proxy.
	Serves []string `json:"serves,omitempty"`
	// Joins is the machine that joins etcd, or is replaced in it, at this moment; a proxy cannot know.
	Joins string `json:"joins,omitempty"`
	// Generation is that of the specification that this machine has; 0 when its seed tells none.
	Generation int `json:"generation,omitempty"`
	// Seed says what is wrong with what this machine was told; empty when nothing is.
	Seed string `json:"seed,omitempty"`
	// Certificates are what every machine that answers works with: whom it trusts, who has signed its own, when they end.
	Certificates []cluster.Trust `json:"certificates,omitempty"`
	// Follows is the primary elsewhere that the cluster follows until `pgha cutover`; nil when it follows none.
	Follows *Following `json:"follows,omitempty"`
	// Maintenance is the one that was announced, Paused that Patroni does nothing by itself: each may be without the other.
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	Paused      bool         `json:"paused,omitempty"`
	// Task is what a machine does to the whole cluster at this moment; a proxy cannot know.
	Task *Task `json:"task,omitempty"`
	// Restore is the restore that a member carries out.
	Restore *Restoring `json:"restore,omitempty"`
	// Holds is the virtual address while it is on this proxy's card.
	Holds string `json:"holds,omitempty"`
	// Backups tells that the specification wants some, Backup what is noted of the last one and of the last proof anywhere.
	Backups bool             `json:"backups_wanted"`
	Backup  *monitor.Backups `json:"backup,omitempty"`
	// Warnings are what nothing is wrong with and hardly anybody wants, as cluster.yaml has it.
	Warnings []string `json:"warnings,omitempty"`
	// Problems are what is wrong at this moment, as the monitor judges it.
	Problems []monitor.Problem `json:"problems"`
}

// MemberStatus is one database machine, as it answers for itself.
type MemberStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// Role is primary or replica; empty when Patroni does not answer.
	Role     string `json:"role,omitempty"`
	State    string `json:"state,omitempty"`
	Timeline int    `json:"timeline,omitempty"`
	// LagBytes is what a replica has not replayed of the primary's WAL, LagSeconds how old the last transaction is that it
	// has, 0 where nothing is missing; nil where that is not known, and on the primary.
	LagBytes   *int64   `json:"lag_bytes,omitempty"`
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
	// Confirms tells that it may confirm writes, and so may take over without loss.
	Confirms bool `json:"confirms,omitempty"`
	// Etcd tells whether the member's etcd sees a quorum; nil where nobody can say.
	Etcd *bool `json:"etcd,omitempty"`
	// Disks are its file systems, the data's first; none where its monitor does not run.
	Disks []monitor.Disk `json:"disks,omitempty"`
	// PendingRestart tells that a changed parameter waits for a restart of PostgreSQL.
	PendingRestart bool `json:"pending_restart,omitempty"`
	// Generation is that of the specification that the machine has; 0 when its agent does not answer.
	Generation int `json:"generation,omitempty"`
	// Refused says why the machine does not take a newer one.
	Refused string `json:"refused,omitempty"`
	// Waiting says what the machine's agent waits for before it starts etcd.
	Waiting string `json:"waiting,omitempty"`
	Error   string `json:"error,omitempty"`
}

// ProxyStatus is one proxy, as it answers for itself.
type ProxyStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// ReadWrite and ReadOnly are the members that its ports lead to; Holds is the virtual address where it is there.
	ReadWrite []string       `json:"read_write"`
	ReadOnly  []string       `json:"read_only"`
	Holds     string         `json:"holds,omitempty"`
	Disks     []monitor.Disk `json:"disks,omitempty"`
	Error     string         `json:"error,omitempty"`
}

// Status asks every machine, each with a deadline, and never fails for one that does not answer. Where the seed is broken
// it says so, and what can be told all the same.
func (a *Agent) Status(ctx context.Context) *Status {
	s := &Status{At: time.Now(), Members: []MemberStatus{}, Proxies: []ProxyStatus{}, Confirm: []string{}, Problems: []monitor.Problem{}}
	if state, ok := ReadState(a.Root); ok {
		s.Apply = &state
	}
	seed, err := ReadSeed(a.Root)
	var api *api
	if err == nil {
		api, err = newAPI(seed)
	}
	if err != nil {
		s.Machine, _ = machineName(a.Root) // without it the rest is said
		s.Seed = err.Error()
		return s
	}
	s.Scope, s.Machine = seed.Cluster.Scope, seed.Machine.Name
	if g, err := readGeneration(a.Root); err == nil {
		s.Generation = g.Number
	}
	v := a.look(ctx, seed, api)
	v.Since = a.watchedSince(v.At)
	s.Problems = append(s.Problems, monitor.Judge(v.Seen).Problems...)
	s.fill(v)
	if seed.Cluster.Backup.Missing() {
		s.Warnings = append(s.Warnings, "backup: "+cluster.NoBackup+" ("+cluster.NoBackupHint+", in cluster.yaml)")
	}
	s.judge(seed)
	a.addJoining(ctx, api, seed, s)
	s.addUpkeep(ctx, api, seed, v)
	if seed.Machine.Role == cluster.Proxy {
		if r, _ := routes(ctx, seed.Cluster); r != nil {
			s.Serves, s.Holds = r.ReadWrite, r.Holds
		}
	}
	return s
}

// watchedSince is when this machine's monitor looked for the first time; now, when it never did.
func (a *Agent) watchedSince(now time.Time) time.Time {
	var state monitor.State
	if readNote(a.Root, monitorFile, &state) && !state.First.IsZero() {
		return state.First
	}
	return now
}

// fill lays out what was seen.
func (s *Status) fill(v view) {
	s.Synchronous, s.EtcdLeader, s.Backups, s.Follows = v.Synchronous, v.EtcdLeader(), v.Backups, v.follows
	s.Confirm = append(s.Confirm, v.Confirm...)
	if n := v.Newest(); n.Backup != nil || n.Proof != nil {
		s.Backup = &n
	}
	for i, m := range v.Machines {
		if m.Trust != nil {
			s.Certificates = append(s.Certificates, *m.Trust)
		}
		var disks []monitor.Disk
		if m.Watched() {
			disks = m.Report.Disks
		}
		if m.Role == cluster.Proxy {
			p := ProxyStatus{Name: m.Name, Address: m.Address, ReadWrite: []string{}, ReadOnly: []string{}, Disks: disks, Error: m.Door}
			if r := m.Routes; r != nil {
				p.ReadWrite, p.ReadOnly, p.Holds = append(p.ReadWrite, r.ReadWrite...), append(p.ReadOnly, r.ReadOnly...), r.Holds
			} else if m.Door == "" {
				p.Error = "HAProxy: " + m.NoRoutes
			}
			s.Proxies = append(s.Proxies, p)
			continue
		}
		s.Members = append(s.Members, s.member(v, m, v.doors[i], v.members[i], disks))
	}
}

func (s *Status) member(v view, m monitor.Machine, d doorState, raw member, disks []monitor.Disk) MemberStatus {
	n := MemberStatus{Name: m.Name, Address: m.Address, Generation: d.Number, Refused: d.Refused, Disks: disks, Error: m.NoPatroni}
	if m.Etcd != nil {
		n.Etcd = &m.Etcd.Healthy
	}
	if m.Patroni == nil {
		return n
	}
	n.Role, n.State, n.Timeline, n.PendingRestart = m.Patroni.Role, m.Patroni.State, m.Patroni.Timeline, raw.Pending
	if bytes, behind, ok := v.Lag(m); ok {
		seconds := behind.Seconds()
		n.LagBytes, n.LagSeconds = &bytes, &seconds
	}
	n.Confirms = slices.Contains(v.Confirm, m.Name)
	return n
}

// judge looks at this machine's own certificates, which may be why nobody answers.
func (s *Status) judge(seed *Seed) {
	own, err := seed.trust()
	if err != nil {
		s.Seed = err.Error()
		return
	}
	s.Seed = outOfTime(own, time.Now())
}

// addJoining adds what machines without Patroni wait for: a member asks them, a proxy was asked by them.
func (a *Agent) addJoining(ctx context.Context, api *api, seed *Seed, s *Status) {
	if seed.Machine.Role == cluster.Proxy {
		heard := readHeard(a.Root)
		for i := range s.Members {
			s.Members[i].Waiting = heard[s.Members[i].Name].Waiting
		}
		return
	}
	var wg sync.WaitGroup
	for i, n := range seed.Cluster.Nodes {
		if m := &s.Members[i]; m.Error != "" {
			wg.Go(func() {
				theirs, _ := api.greet(ctx, n, greeting{Name: seed.Machine.Name}) // no answer: nothing is known
				m.Waiting = theirs.Waiting
			})
		}
	}
	wg.Wait()
	for i, m := range s.Members {
		if m.Etcd == nil || !*m.Etcd {
			continue
		}
		if pairs, err := api.pairs(ctx, seed.Cluster.Nodes[i].Address, api.lockKey(), false); err == nil && len(pairs) > 0 {
			s.Joins = string(pairs[0].Value)
		}
		return
	}
}

// Generations are those of the members that answer, in their order, where they differ from each other or from this
// machine's; none when all is of one.
func (s *Status) Generations() (differ []MemberStatus) {
	same := true
	for _, m := range s.Members {
		if m.Generation > 0 {
			differ = append(differ, m)
			same = same && m.Generation == s.Generation && m.Refused == ""
		}
	}
	if same {
		return nil
	}
	return differ
}

// Healthy tells whether exactly one member leads, all others run, every etcd that was asked sees a quorum, where writes
// are to be confirmed by a replica, one confirms them (without it a failover would not happen), and nothing else is wrong
// that hurries.
func (s *Status) Healthy() bool {
	if s.Seed != "" || s.Synchronous && len(s.Confirm) == 0 || slices.ContainsFunc(s.Problems, monitor.Problem.Hurries) {
		return false
	}
	for _, t := range s.Certificates {
		if _, over := TrustProblem(t, time.Now()); over {
			return false
		}
	}
	leaders := 0
	for _, m := range s.Members {
		if m.Error != "" || (m.State != "running" && m.State != "streaming") || (m.Etcd != nil && !*m.Etcd) {
			return false
		}
		if m.Role == "primary" {
			leaders++
		}
	}
	return leaders == 1
}
