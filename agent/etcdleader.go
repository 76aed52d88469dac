package agent

import (
	"context"
	"net/netip"

	"github.com/pgbake/pgbake/cluster"
)

// leadApart gives the lead of etcd away where this machine has it and the primary, too. One that fails with both costs an
// election of etcd on top of the failover; one that hangs with both and goes on revokes its successor's lease, by the clock
// that stood still with it (etcd #15247).
func (f *follower) leadApart(ctx context.Context) {
	self := f.seed.Machine.Address
	if f.seed.Machine.Role != cluster.DB {
		return
	}
	target, err := f.api.heir(ctx, self)
	if err != nil || target == 0 {
		return // the next look
	}
	if m, err := f.api.member(ctx, self); err != nil || !m.leads() && !m.leadsStandby() {
		return
	}
	if err := f.api.call(ctx, self, "maintenance/transfer-leadership", map[string]any{"targetID": target}, &struct{}{}); err != nil && ctx.Err() == nil {
		f.Say("give the lead of etcd away, since the primary is here: %v", err)
	}
}

// heir is another voter of etcd, which sees a quorum; 0 when there is none, or addr does not lead.
func (a *api) heir(ctx context.Context, addr netip.Addr) (number, error) {
	var s struct {
		Header struct {
			MemberID number `json:"member_id"`
		} `json:"header"`
		Leader number `json:"leader"`
	}
	if err := a.call(ctx, addr, "maintenance/status", map[string]any{}, &s); err != nil || s.Leader != s.Header.MemberID {
		return 0, err
	}
	list, err := a.members(ctx, addr)
	if err != nil {
		return 0, err
	}
	for _, m := range list.Members {
		if m.ID != s.Leader && !m.IsLearner && m.ready() && a.etcdHealthy(ctx, m.address()) {
			return m.ID, nil
		}
	}
	return 0, nil
}
