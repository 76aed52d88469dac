package agent

import (
	"context"
	"net/netip"
	"strings"
	"time"
)

// loopTime is the longest loop_wait there is, and half of it more; the lock lasts longer.
const loopTime = 15 * time.Second

// etcdAwaitsItsTurn tells that the running etcd serves, and needs a restart to see a changed file, as its CA: that comes
// last, with the lock. One that sees no quorum has nothing to lose, and may need just that.
func (w *work) etcdAwaitsItsTurn(ctx context.Context) bool {
	return w.joining.running && w.pending.restart("etcd.service") && w.api.etcdHealthy(ctx, w.seed.Machine.Address)
}

// restartEtcd restarts it for a changed file while all other members are healthy, one member after the other under the
// lock of replacements. Patroni meanwhile speaks to another member.
func (w *work) restartEtcd(ctx context.Context) error {
	if !w.pending.restart("etcd.service") {
		return nil
	}
	self, name := w.seed.Machine.Address, w.seed.Machine.Name
	why := ""
	err := w.repeat(ctx, "etcd's restart", func(ctx context.Context) (bool, error) {
		list, err := w.api.members(ctx, self)
		holder := ""
		if err == nil {
			holder, err = w.api.renew(ctx, self, name)
		}
		if err != nil {
			why = err.Error()
			return false, ctx.Err()
		}
		sick := w.sick(ctx, list)
		switch {
		case len(sick) > 0:
			why = "a changed file needs it, and it comes when all members are healthy: not yet " + strings.Join(sick, " and ")
			if holder == name {
				err = w.api.unlock(ctx, self, name)
			}
		case holder == "":
			err = w.api.lock(ctx, self, name)
		case holder == name:
			return true, nil
		default:
			why = holder + " joins, is replaced or restarts its etcd at this moment; one machine at a time"
		}
		if err != nil {
			why = err.Error()
		}
		return false, ctx.Err()
	}, func(context.Context) string { return why })
	if err != nil {
		return err
	}
	w.awaitLoop(ctx)
	// It is ready when it sees a quorum again.
	if err := w.systemctl(ctx, "restart", "etcd.service"); err != nil {
		return err
	}
	if err := w.pending.done("etcd.service"); err != nil {
		return err
	}
	return w.awaitQuorum(ctx) // gives the lock back
}

// awaitLoop returns when the primary's Patroni has just renewed its lease, or has not for loopTime: an etcd that stops then
// comes back before the next renewal, and two that are restarted one after the other leave one between them.
func (w *work) awaitLoop(ctx context.Context) {
	at, m := w.primary(ctx)
	first := m.Seen
	ctx, cancel := context.WithTimeout(ctx, loopTime)
	defer cancel()
	for at.IsValid() && m.Seen == first {
		select {
		case <-ctx.Done():
			return
		case <-time.After(poll):
		}
		if now, err := w.api.member(ctx, at); err == nil {
			m = now
		}
	}
}

// sick are the members that see no quorum.
func (w *work) sick(ctx context.Context, list memberList) (sick []string) {
	var all []netip.Addr
	for _, m := range list.Members {
		all = append(all, m.address())
	}
	healthy := w.api.healthy(ctx, all)
	for _, m := range list.Members {
		if !healthy[m.address()] {
			sick = append(sick, m.Name)
		}
	}
	return sick
}
