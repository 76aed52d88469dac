package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

func (w *work) startEtcd(ctx context.Context) error { return w.bring(ctx, "etcd.service", false) }

// awaitQuorum waits until etcd works: Patroni without it only waits more slowly.
func (w *work) awaitQuorum(ctx context.Context) error {
	self := w.seed.Machine.Address
	return w.await(ctx, "etcd", condition{
		holds: func(ctx context.Context) bool { return w.api.etcdHealthy(ctx, self) },
		why: func(ctx context.Context) string {
			if silent := w.silent(ctx, w.api.etcdAnswers); silent != "" {
				return "no quorum yet, no answer from " + silent
			}
			return "no quorum yet, though every member answers"
		},
	})
}

// silent names the members that do not answer.
func (w *work) silent(ctx context.Context, answers func(context.Context, netip.Addr) bool) string {
	var list []string
	for _, n := range w.seed.Cluster.Nodes {
		if !answers(ctx, n.Address) {
			list = append(list, fmt.Sprintf("%s (%s)", n.Name, n.Address))
		}
	}
	return strings.Join(list, " and ")
}

// postgres starts Patroni and waits until PostgreSQL runs, as the primary or as a replica that streams.
func (w *work) postgres(ctx context.Context) error {
	if err := w.bring(ctx, "patroni.service", false); err != nil {
		return err
	}
	self := w.seed.Machine.Address
	return w.await(ctx, "PostgreSQL", condition{
		holds: func(ctx context.Context) bool {
			m, err := w.api.member(ctx, self)
			return err == nil && m.runs()
		},
		why: func(ctx context.Context) string {
			m, err := w.api.member(ctx, self)
			if err != nil {
				return "Patroni does not answer yet; see `journalctl -u patroni`"
			}
			return fmt.Sprintf("it is %q as %s; see `journalctl -u patroni`", m.State, m.Role)
		},
	})
}
