package agent

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// redundancyTime is how long a new replica sees to being counted; then Patroni does it in its own time.
const redundancyTime = 20 * time.Second

// redundancy makes the window short in which a new cluster could not fail over. Patroni gives a new replica its slot,
// and counts it as synchronous, only when the primary's loop comes round, loop_wait later each time; until one is
// counted, a primary that dies is not replaced. So a replica that has just started wakes the primary until it is in.
func (w *work) redundancy(ctx context.Context) error {
	if !slices.Contains(w.Acted, "patroni.service") || len(w.seed.Cluster.Nodes) == 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, redundancyTime)
	defer cancel()
	tick := time.NewTicker(2 * poll)
	defer tick.Stop()
	for {
		primary, m := w.primary(ctx)
		if primary == w.seed.Machine.Address || w.counted(ctx, primary, m) || !primary.IsValid() && w.stillFollows(ctx) {
			return nil
		}
		if primary.IsValid() {
			_ = w.api.wake(ctx, primary) // the next look tells whether it helped
		}
		select {
		case <-ctx.Done():
			w.Say("this replica does not count as synchronous yet; see `pgha status`")
			return nil
		case <-tick.C:
		}
	}
}

// counted tells whether the primary streams to this machine and, where commits wait for a replica, has one to wait for.
func (w *work) counted(ctx context.Context, primary netip.Addr, m member) bool {
	streams := slices.ContainsFunc(m.Replication, func(s standby) bool {
		return s.Name == w.seed.Machine.Name && s.State == "streaming"
	})
	if !streams || w.seed.Cluster.SynchronousMode() == "false" {
		return streams
	}
	names, err := w.api.confirming(ctx, primary)
	return err == nil && len(names) > 0
}

// primary finds the member that leads; an invalid address when none says so.
func (w *work) primary(ctx context.Context) (netip.Addr, member) {
	nodes := w.seed.Cluster.Nodes
	all := make([]member, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { all[i], _ = w.api.member(ctx, n.Address) })
	}
	wg.Wait()
	i := slices.IndexFunc(all, member.leads)
	if i < 0 {
		return netip.Addr{}, member{}
	}
	return nodes[i].Address, all[i]
}
