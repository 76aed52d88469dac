package agent

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pgbake/pgbake/agent/join"
)

// etcd is spoken to by its JSON gateway, at a member that has just seen a quorum:
// https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/

// number is a 64-bit integer, which protobuf's JSON has as text.
type number uint64

func (n number) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(n), 10), nil }

func (n *number) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 10, 64)
	*n = number(v)
	return err
}

// etcdMember is one in etcd's list.
type etcdMember struct {
	ID         number   `json:"ID"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
	IsLearner  bool     `json:"isLearner"`
}

// ready tells whether the member was ever.
func (m etcdMember) ready() bool { return len(m.ClientURLs) > 0 }

// address is where the member is.
func (m etcdMember) address() netip.Addr {
	if len(m.PeerURLs) == 0 {
		return netip.Addr{}
	}
	u, err := url.Parse(m.PeerURLs[0])
	if err != nil {
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(u.Hostname())
	return a
}

type memberList struct {
	Header struct {
		ClusterID number `json:"cluster_id"`
	} `json:"header"`
	Members []etcdMember `json:"members"`
}

type etcdPair struct {
	Key         []byte `json:"key"`
	Value       []byte `json:"value"`
	ModRevision number `json:"mod_revision"`
	Lease       number `json:"lease"`
}

// call asks the member at addr; what it refuses is an error.
func (a *api) call(ctx context.Context, addr netip.Addr, path string, in, out any) error {
	var answer struct {
		Error string `json:"error"`
	}
	at := "https://" + hostPort(addr, a.c.Ports.EtcdClient) + "/v3/" + path
	body, err := a.ask(ctx, a.peers, http.MethodPost, at, in)
	if err != nil {
		return err
	}
	return errors.Join(decode(body, &answer, at), refused(path, answer.Error), decode(body, out, at))
}

func refused(path, why string) error {
	if why == "" {
		return nil
	}
	return fmt.Errorf("etcd %s: %s", path, why)
}

func (a *api) members(ctx context.Context, addr netip.Addr) (l memberList, err error) {
	return l, a.call(ctx, addr, "cluster/member/list", map[string]any{}, &l)
}

// unhealthy is how a member of etcd refuses to change the list when it sees one of the others not at all, or only just.
const unhealthy = "etcdserver: unhealthy cluster"

// change asks etcd to change its list of members: the one at first, and where that refuses for what it sees of the others, the
// next. Each goes by its own connections, and may take one that is back for gone for good: a message that fails too late has
// etcd forget that the connection was made anew meanwhile.
func (a *api) change(ctx context.Context, first netip.Addr, e *join.Etcd, path string, in, out any) error {
	err := a.call(ctx, first, path, in, out)
	for _, m := range e.Members {
		if err == nil || !strings.Contains(err.Error(), unhealthy) {
			return err
		}
		if m.Healthy && m.Ready && !m.Learner && m.Address != first {
			err = a.call(ctx, m.Address, path, in, out)
		}
	}
	return err
}

func (a *api) pairs(ctx context.Context, addr netip.Addr, key string, prefix bool) ([]etcdPair, error) {
	in := map[string]any{"key": []byte(key)}
	if prefix {
		end := []byte(key)
		end[len(end)-1]++
		in["range_end"] = end
	}
	var out struct {
		KVs []etcdPair `json:"kvs"`
	}
	return out.KVs, a.call(ctx, addr, "kv/range", in, &out)
}

// txn does something where a key is as it should be; whether it was, the next look tells.
func (a *api) txn(ctx context.Context, addr netip.Addr, compare, success map[string]any) error {
	_, err := a.txnIf(ctx, addr, success, compare)
	return err
}

// txnIf does something where several keys are as they should be, and tells whether it was done.
func (a *api) txnIf(ctx context.Context, addr netip.Addr, success map[string]any, compare ...map[string]any) (done bool, err error) {
	var answer struct {
		Succeeded bool `json:"succeeded"`
	}
	err = a.call(ctx, addr, "kv/txn", map[string]any{"compare": compare, "success": []any{success}}, &answer)
	return answer.Succeeded, err
}

// lockTTL is how many seconds a machine that is switched off keeps the others from being replaced.
const lockTTL = 30

func (a *api) lockKey() string { return "/pgha/" + a.c.Scope + "/join" }

// lock takes the lock of replacements for a machine; whether it has got it the next look tells.
func (a *api) lock(ctx context.Context, addr netip.Addr, name string) error {
	var lease struct {
		ID number `json:"ID"`
	}
	if err := a.call(ctx, addr, "lease/grant", map[string]any{"TTL": lockTTL}, &lease); err != nil {
		return err
	}
	key := []byte(a.lockKey())
	return a.txn(ctx, addr, absent(a.lockKey()),
		map[string]any{"request_put": map[string]any{"key": key, "value": []byte(name), "lease": lease.ID}})
}

// unlock gives it back.
func (a *api) unlock(ctx context.Context, addr netip.Addr, name string) error {
	key := []byte(a.lockKey())
	return a.txn(ctx, addr,
		map[string]any{"result": "EQUAL", "target": "VALUE", "key": key, "value": base64.StdEncoding.EncodeToString([]byte(name))},
		map[string]any{"request_delete_range": map[string]any{"key": key}})
}

// quorum asks every address whether it sees one, and the first that does for the list. Its own answer to the first
// question makes the second one fresh: it has just agreed on something with the others.
func (a *api) quorum(ctx context.Context, self netip.Addr, ask []netip.Addr) (*join.Etcd, netip.Addr) {
	healthy := a.healthy(ctx, ask)
	for _, addr := range ask {
		if !healthy[addr] {
			continue
		}
		list, err := a.members(ctx, addr)
		if err != nil {
			continue
		}
		// Members that were not asked yet: those that the seed does not name and, from a member itself, all others, whom it
		// needs to know only as long as one was never ready.
		var others []netip.Addr
		young := slices.ContainsFunc(list.Members, func(m etcdMember) bool { return !m.ready() })
		for _, m := range list.Members {
			if _, asked := healthy[m.address()]; !asked && m.address() != self && (addr != self || young) {
				others = append(others, m.address())
			}
		}
		more := a.healthy(ctx, others)
		e := &join.Etcd{ID: join.ID(list.Header.ClusterID)}
		for _, m := range list.Members {
			at := m.address()
			e.Members = append(e.Members, join.Listed{
				ID: join.ID(m.ID), Name: m.Name, Address: at, Ready: m.ready(), Me: at == self, Learner: m.IsLearner, Healthy: healthy[at] || more[at],
			})
		}
		return e, addr
	}
	return nil, netip.Addr{}
}

func (a *api) healthy(ctx context.Context, ask []netip.Addr) map[netip.Addr]bool {
	answers := make([]bool, len(ask))
	var wg sync.WaitGroup
	for i, addr := range ask {
		wg.Go(func() { answers[i] = a.etcdHealthy(ctx, addr) })
	}
	wg.Wait()
	healthy := map[netip.Addr]bool{}
	for i, addr := range ask {
		healthy[addr] = answers[i]
	}
	return healthy
}

// renew reads who has the lock, and keeps it from running out where that is this machine.
func (a *api) renew(ctx context.Context, addr netip.Addr, name string) (holder string, err error) {
	pairs, err := a.pairs(ctx, addr, a.lockKey(), false)
	if err != nil || len(pairs) == 0 {
		return "", err
	}
	if holder = string(pairs[0].Value); holder == name {
		err = a.call(ctx, addr, "lease/keepalive", map[string]any{"ID": pairs[0].Lease}, &struct{}{})
	}
	return holder, err
}
