package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/cluster"
)

// backupState holds what this machine knows of the cluster's backups. Everybody may read it; it holds no secret.
const backupState = "/var/lib/pgha/backup.json"

// BackupState returns it; false when this machine knows of no backup yet.
func BackupState(root string) (s backup.State, ok bool) {
	body, err := os.ReadFile(filepath.Join(root, backupState))
	return s, err == nil && json.Unmarshal(body, &s) == nil
}

// noteBackup and noteProof keep what came of one.
func (w *work) noteBackup(d backup.Done) error {
	return w.noteState(func(s *backup.State) { s.Backup = d })
}

func (w *work) noteProof(p backup.Proof) error {
	return w.noteState(func(s *backup.State) { s.Proof = p })
}

func (w *work) noteState(change func(*backup.State)) error {
	s, _ := BackupState(w.Root)
	change(&s)
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(w.Root, backupState)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // holds no secret
		return err
	}
	if err := replace(path, append(body, '\n'), 0o644); err != nil {
		return fmt.Errorf("note what came of it: %w", err)
	}
	return nil
}

// held lists the backups in the directory, of whatever machine. What has no record is none, and is left alone.
func (w *work) held(ctx context.Context) (all []backup.Held, err error) {
	if w.inRepository() {
		s, err := w.repositoryInfo(ctx)
		state, _ := BackupState(w.Root)
		return s.held(w.seed.Cluster.Scope, state.Proof), err
	}
	entries, err := os.ReadDir(w.backupDir())
	if err != nil {
		return nil, fmt.Errorf("read the backups' directory: %w\n      hint: `pgha apply` makes it; is its disk mounted?", err)
	}
	for _, e := range entries {
		if !backup.IsName(e.Name()) {
			continue
		}
		dir := filepath.Join(w.backupDir(), e.Name())
		var h backup.Held
		if err := readJSON(filepath.Join(dir, "backup.json"), &h.Record); err != nil {
			w.Say("%s is left alone: %v", e.Name(), err)
			continue
		}
		if h.Scope != w.seed.Cluster.Scope {
			continue // another cluster's, in a directory that both use
		}
		if err := readJSON(filepath.Join(dir, proofName), &h.Proof); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.Say("%s counts as never proven: %v", e.Name(), err)
		}
		h.Name = e.Name()
		all = append(all, h)
	}
	return all, nil
}

// Backups lists those on this machine, or in the repository, the oldest first.
func (a *Agent) Backups(ctx context.Context) ([]backup.Held, error) {
	w, err := a.beginBackup("list backups")
	if err != nil {
		return nil, err
	}
	return w.held(ctx)
}

func readJSON(path string, into any) error {
	body, err := readTheirs(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// databases asks every member what its PostgreSQL is.
func (w *work) databases(ctx context.Context) []backup.Member {
	nodes := w.seed.Cluster.Nodes
	all := make([]heard, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { all[i].member, all[i].err = w.api.member(ctx, n.Address) })
	}
	wg.Wait()
	return whatTheyAre(w.seed.Cluster, all)
}

// whatTheyAre tells the primary and its replicas from the rest: a replica is whom the primary sends WAL. One that runs, and has
// stopped following days ago, is none.
func whatTheyAre(c *cluster.Cluster, all []heard) (members []backup.Member) {
	sent := map[string]bool{}
	for _, m := range all {
		for _, s := range m.Replication {
			if m.err == nil && m.runs() && m.leads() && s.State == "streaming" {
				sent[s.Name] = true
			}
		}
	}
	for i, n := range c.Nodes {
		m := all[i]
		runs := m.err == nil && m.runs()
		members = append(members, backup.Member{Name: n.Name, Primary: runs && m.leads(), Replica: runs && !m.leads() && sent[n.Name]})
	}
	return members
}

// leaseTTL is how many seconds a machine that is switched off keeps the others from taking the backup.
const leaseTTL = 60

// lease is who takes the backup, as etcd knows it, and what was taken last.
type lease struct {
	w      *work
	at     netip.Addr
	holder string
	last   backup.Done
	proof  backup.Proof
	// restore is one that is at work; nil when none is.
	restore *Restoring
}

func (w *work) backupKey(name string) string {
	return "/pgha/" + w.seed.Cluster.Scope + "/backup/" + name
}

// lease asks etcd, at the first member that sees a quorum, this one before the others.
func (w *work) lease(ctx context.Context) (*lease, error) {
	ask := []netip.Addr{w.seed.Machine.Address}
	for _, n := range w.seed.Cluster.Nodes {
		if n.Address != w.seed.Machine.Address {
			ask = append(ask, n.Address)
		}
	}
	healthy := w.api.healthy(ctx, ask)
	for _, addr := range ask {
		if !healthy[addr] {
			continue
		}
		pairs, err := w.api.pairs(ctx, addr, w.backupKey(""), true)
		if err != nil {
			continue
		}
		l := &lease{w: w, at: addr}
		if l.restore, err = w.api.restoring(ctx, addr); err != nil {
			continue
		}
		for _, p := range pairs {
			switch string(p.Key) {
			case w.backupKey("holder"):
				l.holder = string(p.Value)
			case w.backupKey("last"):
				_ = json.Unmarshal(p.Value, &l.last) // what cannot be read is nothing
			case w.backupKey("proof"):
				_ = json.Unmarshal(p.Value, &l.proof)
			}
		}
		return l, nil
	}
	return nil, errNoEtcd
}

// revision is the restore's as it was read; 0 when there was none.
func (l *lease) revision() number {
	if l.restore == nil {
		return 0
	}
	return l.restore.revision
}

// claim tries to get the lease, unless a restore has begun since the look; whether it was got the next look tells.
func (l *lease) claim(ctx context.Context) error {
	var granted struct {
		ID number `json:"ID"`
	}
	api := l.w.api
	if err := api.call(ctx, l.at, "lease/grant", map[string]any{"TTL": leaseTTL}, &granted); err != nil {
		return err
	}
	key := l.w.backupKey("holder")
	_, err := api.txnIf(ctx, l.at,
		map[string]any{"request_put": map[string]any{"key": []byte(key), "value": []byte(l.w.seed.Machine.Name), "lease": granted.ID}},
		absent(key), asRead(api.restoreKey(), l.revision()))
	return err
}

// keep keeps the lease alive, or gets it, until the function returned is called, which gives it back. The caller has lockBackups:
// what bears this machine's name is the caller's. A lease that is lost meanwhile costs nothing but work done twice.
func (l *lease) keep(ctx context.Context) (release func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	if l.holder == "" {
		_ = l.claim(ctx) // another machine may be faster: then both take one
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(leaseTTL * time.Second / 4)
		defer tick.Stop()
		for {
			l.renew(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		<-done
		key := []byte(l.w.backupKey("holder"))
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = l.w.api.txn(ctx, l.at, // else it runs out by itself
			map[string]any{"result": "EQUAL", "target": "VALUE", "key": key, "value": []byte(l.w.seed.Machine.Name)},
			map[string]any{"request_delete_range": map[string]any{"key": key}})
	}
}

func (l *lease) renew(ctx context.Context) {
	now, err := l.w.lease(ctx)
	if err != nil {
		return
	}
	l.at = now.at
	pairs, err := l.w.api.pairs(ctx, l.at, l.w.backupKey("holder"), false)
	if err == nil && len(pairs) > 0 && string(pairs[0].Value) == l.w.seed.Machine.Name {
		_ = l.w.api.call(ctx, l.at, "lease/keepalive", map[string]any{"ID": pairs[0].Lease}, &struct{}{}) // the next time, then
	}
}

// tell lets the other machines know what came of it.
func (w *work) tell(ctx context.Context, key string, v any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	body, err := json.Marshal(v)
	if err == nil {
		var l *lease
		if l, err = w.lease(ctx); err == nil {
			err = w.api.call(ctx, l.at, "kv/put", map[string]any{"key": []byte(w.backupKey(key)), "value": body}, &struct{}{})
		}
	}
	if err != nil {
		w.Say("the other machines do not hear of it: %v", err)
	}
}
