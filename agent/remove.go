package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
)

// RemoveMember takes a member that the newest generation does not list out of the cluster's etcd, and says what it did.
// The machine removed ends its services itself; its data is never touched. It is refused where the last replica that could take over
// would go with it, unless last says that it may.
func (a *Agent) RemoveMember(ctx context.Context, name string, last bool) error {
	w, err := a.prepare()
	if err != nil {
		return err
	}
	if w.seed.Machine.Role != cluster.DB {
		return fmt.Errorf("remove %s: %s is a proxy\n      hint: run it on a member", name, w.seed.Machine.Name)
	}
	w.joining.begin()
	self := w.seed.Machine
	e, at := w.api.quorum(ctx, self.Address, []netip.Addr{self.Address})
	if e == nil {
		return fmt.Errorf("remove %s: this machine's etcd sees no quorum; see `pgha status`", name)
	}
	w.joining.at = at
	if err := w.mayLeave(ctx, name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	i := slices.IndexFunc(e.Members, func(m join.Listed) bool { return m.Name == name })
	if i < 0 {
		a.Say("%s is no member of etcd", name)
		return errors.Join(w.forget(ctx, name, netip.Addr{}), w.uncount(ctx, name))
	}
	if err := w.leavesQuorum(ctx, e, e.Members[i]); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if err := w.leavesCopy(ctx, name, last); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	err = w.locked(ctx, func() error {
		return w.api.change(ctx, at, e, "cluster/member/remove", map[string]any{"ID": number(e.Members[i].ID)}, &struct{}{})
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w\n      hint: once more in a moment: it does nothing twice; etcd may have been choosing another leader", name, err)
	}
	voters := 0
	for _, m := range e.Members {
		if !m.Learner && m.Name != name {
			voters++
		}
	}
	a.Say("%s (%s) is removed from etcd, which has %d voters now; it stops Patroni and etcd itself, and keeps its data", name, e.Members[i].Address, voters)
	return errors.Join(w.forget(ctx, name, e.Members[i].Address), w.uncount(ctx, name))
}

// mayLeave refuses a member that is still wanted, and the primary.
func (w *work) mayLeave(ctx context.Context, name string) error {
	g := w.generation
	newest, err := w.newest(ctx)
	if err != nil {
		return err
	}
	if newest > g.Number {
		return fmt.Errorf("this machine has not taken generation %d yet, which the cluster is at\n      hint: `pgha status` says why", newest)
	}
	if lists(g, name) || len(g.Specification) == 0 {
		return fmt.Errorf("generation %d of the specification lists it, and it would come back\n"+
			"      hint: take it out of cluster.yaml, run `pgbake seed`, and on any one machine: pgha spec accept generation.json", g.Number)
	}
	leader, err := w.api.pairs(ctx, w.joining.at, w.patroniKey("leader"), false)
	if err != nil {
		return err
	}
	if len(leader) > 0 && string(leader[0].Value) == name {
		return errors.New("it is the primary\n      hint: pgha switchover")
	}
	return nil
}

func (w *work) patroniKey(key string) string {
	return w.seed.Cluster.Namespace + w.seed.Cluster.Scope + "/" + key
}

// leavesQuorum refuses where those that are left and healthy could not agree on anything.
func (w *work) leavesQuorum(ctx context.Context, e *join.Etcd, victim join.Listed) error {
	if victim.Learner {
		return nil
	}
	var ask []netip.Addr
	for _, m := range e.Members {
		if !m.Learner && m.ID != victim.ID {
			ask = append(ask, m.Address)
		}
	}
	healthy := w.api.healthy(ctx, ask)
	var sick []string
	for _, m := range e.Members {
		if slices.Contains(ask, m.Address) && !healthy[m.Address] {
			sick = append(sick, m.Name)
		}
	}
	left, need := len(ask)-len(sick), len(ask)/2+1
	if left < need {
		return fmt.Errorf("of the %d voters that would be left %d must be healthy, and %d are: no answer from %s\n      hint: bring them back first; see `pgha status`",
			len(ask), need, left, strings.Join(sick, " and "))
	}
	return nil
}

// leavesCopy refuses where the last replica that could take over would go. Another one that is about to count is waited for.
func (w *work) leavesCopy(ctx context.Context, name string, last bool) error {
	never := ""
	_, err := w.awaitSurvey(ctx, "another replica that may take over", time.Minute, func(s survey) string {
		why, passes := s.mayRemove(name, last)
		if why != "" && !passes {
			never = why
			return ""
		}
		return why
	})
	if never != "" {
		return errors.New(never)
	}
	return err
}

// locked does something while no machine joins or is replaced.
func (w *work) locked(ctx context.Context, do func() error) error {
	self := w.seed.Machine.Name
	if err := w.api.lock(ctx, w.joining.at, self); err != nil {
		return err
	}
	holder, err := w.api.renew(ctx, w.joining.at, self)
	if err != nil {
		return err
	}
	if holder != self {
		return fmt.Errorf("%s joins etcd, or is replaced in it, at this moment\n      hint: once more in a minute; see `pgha status`", holder)
	}
	return errors.Join(do(), w.api.unlock(ctx, w.joining.at, self))
}

// uncountTime is how long the primary's Patroni may take to count without a member that leaves: what it takes the machine
// to stop its services, or the primary to give up a connection that nobody serves, and some of Patroni's loops.
const uncountTime = 2 * time.Minute

// uncount waits until commits are confirmed without the member. As long as Patroni counts it among those that may have
// confirmed one, its missing vote is missing for a failover, too: after two removals, three of four others would be
// needed where only two are left.
func (w *work) uncount(ctx context.Context, name string) error {
	err := w.until(ctx, "a failover that does not need "+name, uncountTime, func(ctx context.Context) string {
		pairs, err := w.api.pairs(ctx, w.joining.at, w.patroniKey("sync"), false)
		if err != nil {
			return err.Error()
		}
		var s struct {
			Leader   string
			Standbys string `json:"sync_standby"`
		}
		if len(pairs) == 0 || json.Unmarshal(pairs[0].Value, &s) != nil {
			return "" // Patroni keeps no such list, or one that only it can read
		}
		if !slices.Contains(append(strings.Split(s.Standbys, ","), s.Leader), name) {
			return ""
		}
		if primary, _ := w.primary(ctx); primary.IsValid() {
			_ = w.api.wake(ctx, primary) // the next look tells whether it helped
		}
		return "the primary counts it among those that confirm writes"
	})
	if err != nil {
		return fmt.Errorf("remove %s: it is removed, but until then the primary's loss may stop the cluster: %w\n"+
			"      hint: once more in a moment: it does nothing twice; `pgha status` shows the primary", name, err)
	}
	return nil
}

// forget takes a member out of Patroni's list, unless its Patroni still runs: then that does it when it ends.
func (w *work) forget(ctx context.Context, name string, addr netip.Addr) error {
	if addr.IsValid() && w.api.patroniAnswers(ctx, addr) {
		return nil
	}
	key := w.patroniKey("members/" + name)
	pairs, err := w.api.pairs(ctx, w.joining.at, key, false)
	if err != nil || len(pairs) == 0 {
		return err
	}
	w.Say("%s is removed from Patroni's list", name)
	return w.api.call(ctx, w.joining.at, "kv/deleterange", map[string]any{"key": []byte(key)}, &struct{}{})
}
