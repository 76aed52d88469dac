package agent

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/pgbake/pgbake/cluster"
)

// The newest generation lies in etcd, where every member looks for it.

func (a *api) generationKey() string { return "/pgha/" + a.c.Scope + "/generation" }

// lookAtEtcd compares with what etcd has, takes what is newer there and puts there what is newer here. It is false when
// etcd does not answer here.
func (f *follower) lookAtEtcd(ctx context.Context, mine cluster.Generation) bool {
	self := f.seed.Machine.Address
	revision, err := f.api.revision(ctx, self, f.api.generationKey())
	if err != nil {
		return false
	}
	// What was refused is tried again: the secret that it needs may have come.
	if revision != f.revision || f.refused() != "" {
		pairs, err := f.api.pairs(ctx, self, f.api.generationKey(), false)
		if err != nil {
			return true
		}
		f.etcd, f.revision = cluster.Generation{}, 0
		if len(pairs) > 0 {
			f.revision = pairs[0].ModRevision
			f.etcd = f.readEtcd(ctx, pairs[0].Value, mine)
		}
	}
	if len(mine.Specification) > 0 && len(mine.Authorities) > 0 && mine.Compare(f.etcd) > 0 {
		// Where another member was quicker, the next look sees what it has put there.
		if err := f.api.put(ctx, self, f.api.generationKey(), mine.Encode(), f.revision); err != nil && ctx.Err() == nil {
			f.Say("put generation %d into etcd: %v", mine.Number, err)
		}
	}
	return true
}

// readEtcd takes what etcd has where it is newer. What the operator has not signed counts as nothing, and is overwritten.
func (f *follower) readEtcd(ctx context.Context, body []byte, mine cluster.Generation) cluster.Generation {
	operator, _ := os.ReadFile(filepath.Join(f.Root, operatorFile)) // without it nothing is believed
	g, err := cluster.ReadGeneration(body, operator)
	if err != nil {
		f.Say("what etcd has at %s is none of the operator's: %v", f.api.generationKey(), err)
		return cluster.Generation{}
	}
	if g.Compare(mine) > 0 {
		_ = f.accept(ctx, body) // said there
	}
	return g
}

// revision is that of a key's last change as this member of etcd knows it, quorum or not; 0 when there is no such key.
func (a *api) revision(ctx context.Context, addr netip.Addr, key string) (number, error) {
	var out struct {
		KVs []etcdPair `json:"kvs"`
	}
	err := a.call(ctx, addr, "kv/range", map[string]any{"key": []byte(key), "keys_only": true, "serializable": true}, &out)
	if err != nil || len(out.KVs) == 0 {
		return 0, err
	}
	return out.KVs[0].ModRevision, nil
}

// put writes a key unless it has changed since a revision, 0 when it was not there.
func (a *api) put(ctx context.Context, addr netip.Addr, key string, value []byte, since number) error {
	return a.txn(ctx, addr, asRead(key, since),
		map[string]any{"request_put": map[string]any{"key": []byte(key), "value": value}})
}
