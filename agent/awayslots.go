package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/pgbake/pgbake/agent/slots"
	"github.com/pgbake/pgbake/cluster"
)

// awayPause is how far two looks at who streams are apart.
const awayPause = 15 * time.Second

// releasesRows has the primary keep no rows for members that are away.
func (f *follower) releasesRows(ctx context.Context) {
	if f.seed.Machine.Role != cluster.DB || time.Since(f.awayAt) < awayPause {
		return
	}
	f.awayAt = time.Now()
	m, err := f.api.member(ctx, f.seed.Machine.Address)
	var others []string
	if err == nil && m.leads() && m.runs() {
		for _, n := range f.seed.Cluster.Nodes {
			if n.Name != f.seed.Machine.Name {
				others = append(others, n.Name)
			}
		}
	}
	streams := func(name string) bool {
		return slices.ContainsFunc(m.Replication, func(s standby) bool { return s.Name == name })
	}
	for _, name := range f.away.Due(others, streams, time.Now()) {
		primary := slots.Primary{
			At:   netip.AddrPortFrom(f.seed.Machine.Address, uint16(f.seed.Cluster.Ports.Postgres)), //nolint:gosec // validated 1..65535
			User: f.seed.Cluster.Postgres.ReplicationUser, Password: f.seed.Secrets.Replicator, TLS: f.api.trust(f.seed.Machine.Address),
		}
		if err := slots.ReleaseRows(ctx, primary, cluster.SlotOf(name)); err != nil {
			f.Say("%s is away, and its replication slot still keeps vacuum from old rows: %v", name, err)
			continue
		}
		f.away.Released(name)
		f.Say("%s is away: its replication slot keeps WAL for it, and no old rows any more", name)
	}
}
