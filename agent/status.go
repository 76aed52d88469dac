package agent

import (
	"context"
	"sync"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// Status is the cluster as this machine sees it.
type Status struct {
	Scope   string         `json:"scope"`
	Machine string         `json:"machine"`
	Apply   *State         `json:"apply,omitempty"`
	Members []MemberStatus `json:"members"`
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
	// Holds is the virtual address while it is on this proxy's card.
	Holds string `json:"holds,omitempty"`
}

// MemberStatus is one database machine, as it answers for itself.
type MemberStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// Role is primary or replica; empty when Patroni does not answer.
	Role     string `json:"role,omitempty"`
	State    string `json:"state,omitempty"`
	Timeline int    `json:"timeline,omitempty"`
	// Etcd tells whether the member's etcd sees a quorum; nil where it cannot be asked, as from a proxy.
	Etcd *bool `json:"etcd,omitempty"`
	// PendingRestart tells that a changed parameter waits for a restart of PostgreSQL.
	PendingRestart bool `json:"pending_restart,omitempty"`
	// Generation is that of the specification that the machine has; 0 when its agent does not answer.
	Generation int `json:"generation,omitempty"`
	// Refused says why the machine does not take a newer one.
	Refused string `json:"refused,omitempty"`
	// Waiting says what the machine's agent waits for before it starts etcd.
	Waiting string `json:"waiting,omitempty"`
	Error   string `json:"error,omitempty"`
	confirm []string
	paused  bool
}

// Status asks every member, each with a deadline, and never fails for one that does not answer. Where the seed is broken
// it says so, and what can be told all the same.
func (a *Agent) Status(ctx context.Context) *Status {
	seed, err := ReadSeed(a.Root)
	var api *api
	if err == nil {
		api, err = newAPI(seed)
	}
	if err != nil {
		name, _ := machineName(a.Root) // without it the rest is said
		s := &Status{Machine: name, Seed: err.Error(), Members: []MemberStatus{}, Confirm: []string{}}
		if state, ok := ReadState(a.Root); ok {
			s.Apply = &state
		}
		return s
	}
	s := &Status{
		Scope: seed.Cluster.Scope, Machine: seed.Machine.Name, Members: make([]MemberStatus, len(seed.Cluster.Nodes)),
		Synchronous: seed.Cluster.SynchronousMode() != "false", Confirm: []string{},
	}
	if state, ok := ReadState(a.Root); ok {
		s.Apply = &state
	}
	if g, err := readGeneration(a.Root); err == nil {
		s.Generation = g.Number
	}
	var wg sync.WaitGroup
	machines := seed.Cluster.Machines()
	doors := make([]doorState, len(machines))
	for i, m := range machines {
		wg.Go(func() { doors[i], _ = api.doorState(ctx, m.Address) }) // no answer: nothing is known
	}
	for i, n := range seed.Cluster.Nodes {
		wg.Go(func() { s.Members[i] = api.status(ctx, n, seed.Machine.Role == cluster.DB) })
	}
	wg.Wait()
	for i, d := range doors {
		if i < len(s.Members) {
			s.Members[i].Generation, s.Members[i].Refused = d.Number, d.Refused
		}
		if d.Trust != nil {
			s.Certificates = append(s.Certificates, *d.Trust)
		}
	}
	s.judge(seed)
	for i, n := range seed.Cluster.Nodes {
		if f, err := api.following(ctx, n.Address); s.Members[i].Error == "" && err == nil {
			s.Follows = f
			break
		}
	}
	a.addJoining(ctx, api, seed, s)
	s.addUpkeep(ctx, api, seed, doors)
	for _, m := range s.Members {
		s.Confirm = append(s.Confirm, m.confirm...)
	}
	if seed.Machine.Role == cluster.Proxy {
		s.Serves, _ = serversUp(ctx, haproxySocket, readWrite)
		if vip := seed.Cluster.VirtualAddress; vip.IsValid() && card(vip) != "" {
			s.Holds = vip.String()
		}
	}
	return s
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

func (a *api) status(ctx context.Context, n cluster.Node, askEtcd bool) MemberStatus {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	s := MemberStatus{Name: n.Name, Address: n.Address.String()}
	if askEtcd {
		healthy := a.etcdHealthy(ctx, n.Address)
		s.Etcd = &healthy
	}
	m, err := a.member(ctx, n.Address)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Role, s.State, s.Timeline, s.PendingRestart = m.Role, m.State, m.Timeline, m.Pending
	if m.leadsStandby() {
		s.Role = "standby leader"
	}
	s.paused = m.Paused
	if m.leads() {
		s.Role = "primary"
		s.confirm, _ = a.confirming(ctx, n.Address) // no answer: nobody
	}
	return s
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

// Healthy tells whether exactly one member leads, all others run, every etcd that was asked sees a quorum, and, where
// writes are to be confirmed by a replica, one confirms them: without it a failover would not happen.
func (s *Status) Healthy() bool {
	if s.Seed != "" || s.Synchronous && len(s.Confirm) == 0 {
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
