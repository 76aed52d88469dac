package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/join"
	"github.com/pgbake/pgbake/cluster"
)

const (
	// etcdEnv is what etcd's unit reads after /etc/default/etcd. It lasts until the machine is switched off, and lets
	// etcd start without data: the unit's conditions name it.
	etcdEnv = "/run/pgha/etcd.env"
	// promiseFile holds the learner that this machine was added as, from then until etcd is started as it.
	promiseFile = "/var/lib/etcd/pgha.joining"
	// orderFile tells that the operator has ordered a new cluster; it, too, ends with the machine's power.
	orderFile = "/run/pgha/new-cluster"
)

// nothing is a log that nobody reads.
var nothing = log.New(io.Discard, "", 0)

// joining is what the agent remembers from one look to the next.
type joining struct {
	counter counter
	pair    tls.Certificate
	began   time.Time
	heard   map[string]time.Time  // when each machine answered last
	unready map[join.ID]time.Time // since when each member is listed and was never ready
	running bool                  // etcd runs, or is on its way
	started time.Time             // since when
	// joined is the cluster that etcd was started as a learner of; 0 when it was not.
	joined join.ID
	// at is a member with a quorum, which changes are asked of.
	at  netip.Addr
	why string
}

// beginJoining starts etcd where it has data, else answers the other machines in its place, until it has decided.
func (w *work) beginJoining(ctx context.Context) error {
	j := &w.joining
	pair, err := tls.X509KeyPair(w.seed.Identity["etcd.crt"], w.seed.Identity["etcd.key"])
	if err != nil {
		return fmt.Errorf("read %s/etcd.crt and .key: %w", tlsDir, err)
	}
	j.pair = pair
	j.begin()
	state, err := w.state(ctx, "etcd.service")
	if err != nil {
		return err
	}
	j.running, j.started = running(state), j.began
	data, _, err := w.etcdData()
	if err != nil {
		return err
	}
	if data == join.Own {
		if w.etcdAwaitsItsTurn(ctx) {
			return nil
		}
		j.running = true
		return w.bring(ctx, "etcd.service", false)
	}
	return w.answer()
}

func (j *joining) begin() {
	j.began, j.heard, j.unready = time.Now(), map[string]time.Time{}, map[join.ID]time.Time{}
}

// answer opens the counter unless etcd has the port.
func (w *work) answer() error {
	j := &w.joining
	if j.running {
		return nil
	}
	o, err := w.observeSelf()
	if err != nil {
		return err
	}
	j.counter.show(w.greeting(o))
	return j.counter.open(w.seed, j.pair, func(greeting) {})
}

// startEtcd looks, decides and acts until etcd is started; awaitQuorum until this machine is a voter of a quorum.
func (w *work) startEtcd(ctx context.Context) error {
	if err := w.beginJoining(ctx); err != nil {
		return err
	}
	return w.join(ctx, func(join.Action) bool { return w.joining.running })
}

func (w *work) awaitQuorum(ctx context.Context) error {
	if err := w.join(ctx, func(a join.Action) bool { return a.Do == join.Settled }); err != nil {
		return err
	}
	// From here on an etcd that has lost its data while it ran must not begin again by itself.
	err := os.Remove(filepath.Join(w.Root, etcdEnv))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (w *work) join(ctx context.Context, enough func(join.Action) bool) error {
	j := &w.joining
	return w.repeat(ctx, "etcd", func(ctx context.Context) (bool, error) {
		if enough(join.Action{}) {
			return true, nil
		}
		o, err := w.observe(ctx)
		if err != nil {
			return false, err
		}
		action := join.Decide(o)
		j.why = action.Why
		switch action.Do {
		case join.Wait:
		case join.Stop:
			j.counter.close()
			return false, errors.New(action.Why)
		case join.Settled:
		default:
			err = w.act(ctx, action, o)
		}
		j.counter.show(w.greeting(o))
		return err == nil && enough(action), err
	}, func(context.Context) string { return j.why })
}

// observeSelf is what this machine's own disk tells.
func (w *work) observeSelf() (join.Observation, error) {
	j := &w.joining
	data, log, err := w.etcdData()
	if err != nil {
		return join.Observation{}, err
	}
	_, remembers := readMemory(w.Root)
	_, orderErr := os.Stat(filepath.Join(w.Root, orderFile))
	o := join.Observation{
		Self: w.seed.Machine.Name, Data: data, Cluster: log.cluster, Member: log.member,
		Database: hasDatabase(w.databaseDir()) && !w.adopting(), Remembers: remembers, Ordered: orderErr == nil,
		Running: j.running, Since: time.Since(j.began), Age: age(w.seed),
		Generation: w.generation.Number, Newest: w.generation.Number, Grown: w.generation.Grown, LeftOut: w.isLeftOut(),
	}
	if j.running && data != join.Own {
		o.Starting = time.Since(j.started)
	}
	promise, err := os.ReadFile(filepath.Join(w.Root, promiseFile))
	if err == nil {
		id, parseErr := strconv.ParseUint(strings.TrimSpace(string(promise)), 16, 64)
		if parseErr == nil { // half a note is none: the machine is added anew
			o.Promised = join.ID(id)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return o, err
	}
	return o, nil
}

// observe looks at this machine, and asks the others, all at once, each with a deadline.
func (w *work) observe(ctx context.Context) (join.Observation, error) {
	j := &w.joining
	o, err := w.observeSelf()
	if err != nil {
		return o, err
	}
	c, self := w.seed.Cluster, w.seed.Machine
	if o.Data == join.Own && o.Running {
		// A member that sees a quorum needs nobody else's word.
		if o.Etcd, j.at = w.api.quorum(ctx, self.Address, []netip.Addr{self.Address}); o.Etcd != nil {
			j.age(o.Etcd, c)
			return o, w.readLock(ctx, &o)
		}
	}
	mine := w.greeting(o)
	greetings := make([]greeting, len(c.Nodes)+len(c.Proxies))
	states := make([]join.State, len(greetings))
	var wg sync.WaitGroup
	for i, n := range c.Nodes {
		if n.Name != self.Name {
			wg.Go(func() { states[i], greetings[i] = w.api.look(ctx, n, mine) })
		}
	}
	for i, n := range c.Proxies {
		wg.Go(func() {
			at := len(c.Nodes) + i
			if theirs, err := w.api.greet(ctx, n, mine); err == nil {
				greetings[at], states[at] = theirs, join.Fresh
				if theirs.Remembers {
					states[at] = join.Remembers
				}
			}
		})
	}
	wg.Wait()
	now := time.Now()
	var members []netip.Addr
	peer := func(n cluster.Node, i int) join.Peer {
		p := join.Peer{Name: fmt.Sprintf("%s (%s)", n.Name, n.Address), State: states[i], Ordered: greetings[i].Ordered}
		if strange := greetings[i].strange; strange != "" {
			p.Name += ", " + strange + ","
		}
		if p.State != join.Silent {
			j.heard[n.Name] = now
			o.Age, o.Newest = max(o.Age, greetings[i].Age), max(o.Newest, greetings[i].Generation)
		}
		last, ok := j.heard[n.Name]
		if !ok {
			last = j.began
		}
		p.Silence = now.Sub(last)
		if p.State == join.Member {
			members = append(members, n.Address)
		}
		return p
	}
	for i, n := range c.Nodes {
		if n.Name != self.Name {
			o.Peers = append(o.Peers, peer(n, i))
		}
	}
	for i, n := range c.Proxies {
		o.Proxies = append(o.Proxies, peer(n, len(c.Nodes)+i))
	}
	if o.Etcd, j.at = w.api.quorum(ctx, self.Address, members); o.Etcd != nil {
		return o, w.readLock(ctx, &o)
	}
	return o, nil
}

// age adds for how long members that were never ready have been waited for.
func (j *joining) age(e *join.Etcd, c *cluster.Cluster) {
	for i := range e.Members {
		m := &e.Members[i]
		if m.Ready {
			continue
		}
		since, ok := j.unready[m.ID]
		if !ok {
			since = time.Now()
			j.unready[m.ID] = since
		}
		m.Unready = time.Since(since)
		heard := j.began
		for _, n := range c.Nodes {
			if last, ok := j.heard[n.Name]; ok && n.Address == m.Address {
				heard = last
			}
		}
		m.Silence = time.Since(heard)
	}
}

// readLock adds who has the lock. A quorum that is gone again is none.
func (w *work) readLock(ctx context.Context, o *join.Observation) error {
	holder, err := w.api.renew(ctx, w.joining.at, o.Self)
	if err != nil {
		o.Etcd = nil
		return ctx.Err()
	}
	o.Etcd.Lock = holder
	return w.readNewest(ctx, o)
}

// readNewest adds which generation the cluster is at, where this machine may change something about it.
func (w *work) readNewest(ctx context.Context, o *join.Observation) error {
	if o.Data == join.Own && o.Ghost() == nil && o.IsListed() {
		return nil
	}
	newest, err := w.newest(ctx)
	if err != nil {
		o.Etcd = nil
		return ctx.Err()
	}
	o.Newest = max(o.Newest, newest)
	return nil
}

// newest is the number of the generation that etcd has; 0 when none is there that this cluster's operator has signed.
func (w *work) newest(ctx context.Context) (int, error) {
	pairs, err := w.api.pairs(ctx, w.joining.at, w.api.generationKey(), false)
	if err != nil || len(pairs) == 0 {
		return 0, err
	}
	operator, _ := os.ReadFile(filepath.Join(w.Root, operatorFile)) // without it nobody's word counts
	g, _ := cluster.ReadGeneration(pairs[0].Value, operator)
	return g.Number, nil
}

// isLeftOut tells that the newest generation does not list this machine.
func (w *work) isLeftOut() bool {
	return len(w.generation.Specification) > 0 && !lists(w.generation, w.seed.Machine.Name)
}

// greeting is what the others are told.
func (w *work) greeting(o join.Observation) greeting {
	return greeting{
		Name: o.Self, Cluster: fmt.Sprintf("%x", uint64(etcdClusterID(w.seed.Cluster))),
		Data: o.Data != join.None, Database: o.Database, Remembers: o.Remembers, Ordered: o.Ordered,
		Age: o.Age, Generation: w.generation.Number, Waiting: w.joining.why,
	}
}

// age is how long ago the cluster's authority was made, by this machine's clock; it bears its date in its certificate.
func age(s *Seed) time.Duration {
	block, _ := pem.Decode(s.Identity["ca.crt"])
	if block == nil {
		return -1
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return -1
	}
	return time.Since(ca.NotBefore)
}

func (w *work) etcdDir() string     { return filepath.Join(w.Root, cluster.EtcdDataDir) }
func (w *work) databaseDir() string { return filepath.Join(w.Root, w.seed.Cluster.DataDir()) }

// hasDatabase tells whether there is anything in PostgreSQL's data directory.
func hasDatabase(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}
