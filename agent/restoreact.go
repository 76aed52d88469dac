package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/restore"
	"github.com/pgbake/pgbake/cluster"
)

// clusterTime is how long Patroni may take to do what it was told, but for copying a database.
const clusterTime = 5 * time.Minute

// command has Patroni do something that takes a while: its answer comes when it is done.
func (a *api) command(ctx context.Context, addr netip.Addr, path, body string) error {
	at := a.patroni(addr, path)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(restUser, a.rest)
	resp, err := straight(clusterTime, a.client.Transport).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("POST %s: %s: %s", at, resp.Status, strings.TrimSpace(string(answer)))
	}
	return err
}

// act does what was decided.
func (x *restoring) act(ctx context.Context, a restore.Action, o restore.Observation, at netip.Addr) error {
	switch a {
	case restore.Claim:
		return x.claim(ctx, o, at)
	case restore.Check:
		if err := x.check(ctx); err != nil {
			return err
		}
		x.Note.Checked = true
		return x.note()
	case restore.Lead: // in order, so that every member agrees who leads when this one is restored
		_, err := x.switchover(ctx, x.seed.Machine.Name, wholeTime)
		return err
	case restore.Copy:
		return x.stage(ctx)
	case restore.Discard:
		return x.discardStaged(ctx)
	case restore.Pause:
		return x.pause(ctx, at, true)
	case restore.Stop:
		return x.stop(ctx)
	case restore.GiveBack:
		return x.giveBack(ctx, at)
	case restore.Exchange:
		return x.exchange(ctx)
	case restore.Back:
		return x.back()
	case restore.Start:
		return x.start(ctx, o, at)
	case restore.Order:
		if err := x.takeSecrets(ctx); err != nil {
			return err
		}
		return x.order(ctx)
	case restore.Resume:
		if err := x.takeSecrets(ctx); err != nil {
			return err
		}
		return x.pause(ctx, at, false)
	case restore.Finish:
		return x.finish(ctx, at)
	case restore.Wait, restore.Refuse:
	}
	return nil
}

func (x *restoring) claim(ctx context.Context, o restore.Observation, at netip.Addr) error {
	if o.Holder == "" {
		if err := x.claimRestore(ctx, at, Restoring{Machine: x.seed.Machine.Name, Moment: x.Moment(), Since: x.Plan.Began, Step: x.Next}); err != nil {
			return err
		}
	}
	x.Note.Claimed = true
	return x.note()
}

// pause begins or ends it in etcd, where every Patroni reads it: this machine's own may be stopped. It waits until every member that
// answers has heard of it.
func (x *restoring) pause(ctx context.Context, at netip.Addr, on bool) error {
	if err := x.writePause(ctx, at, on); err != nil {
		return err
	}
	return x.until(ctx, "Patroni", clusterTime, func(ctx context.Context) string {
		for _, n := range x.seed.Cluster.Nodes {
			if m, err := x.api.member(ctx, n.Address); err == nil && m.Paused != on {
				return n.Name + " has not heard of the pause yet, or of its end"
			}
		}
		return ""
	})
}

func (x *restoring) writePause(ctx context.Context, at netip.Addr, on bool) error {
	key := x.patroniKey("config")
	for ctx.Err() == nil {
		pairs, err := x.api.pairs(ctx, at, key, false)
		if err != nil {
			return err
		}
		if len(pairs) == 0 {
			return fmt.Errorf("etcd has no %s: Patroni has never run with it", key)
		}
		var config map[string]json.RawMessage // the rest stays as it is, to the byte
		if err := decode(pairs[0].Value, &config, key); err != nil {
			return err
		}
		if config["pause"] = json.RawMessage("true"); !on {
			delete(config, "pause")
		}
		body, err := json.Marshal(config)
		if err != nil {
			return err
		}
		done, err := x.api.txnIf(ctx, at, map[string]any{"request_put": map[string]any{"key": []byte(key), "value": body}}, asRead(key, pairs[0].ModRevision))
		if done || err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// giveBack gives this machine's database to Patroni again, and the cluster.
func (x *restoring) giveBack(ctx context.Context, at netip.Addr) error {
	if err := x.letPatroniGo(ctx); err != nil {
		return err
	}
	if err := x.pause(ctx, at, false); err != nil {
		return err
	}
	x.giveServices()
	x.Note.Committed = false
	return x.note()
}

// hold keeps Patroni from starting, at a boot as well.
func (x *restoring) hold() error {
	return durable(filepath.Join(x.Root, holdFile), []byte("pgha restore is about to exchange the database of this machine: pgha restore says where it stands.\n"))
}

// letPatroniGo takes that back, and starts it.
func (x *restoring) letPatroniGo(ctx context.Context) error {
	path := filepath.Join(x.Root, holdFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return x.systemctl(ctx, "start", "patroni.service")
}

// stop ends Patroni, which does not start again by itself, and PostgreSQL in order.
func (x *restoring) stop(ctx context.Context) error {
	if err := x.hold(); err != nil {
		return err
	}
	return x.endDatabase(ctx)
}

// start has Patroni find a primary that runs: in pause it starts none, and takes the lead of one. Then it restarts
// PostgreSQL, so that it runs where Patroni's unit looks after it.
func (x *restoring) start(ctx context.Context, o restore.Observation, at netip.Addr) error {
	// A second look: much may have happened since the first.
	if again, _ := x.observe(ctx); ctx.Err() == nil {
		if a, _ := restore.Decide(again); a != restore.Start {
			return nil
		}
	}
	if err := errors.Join(x.unmark(), x.lead(ctx, at)); err != nil {
		return err
	}
	if o.Paused && !o.Postgres {
		err := x.Runner.Run(ctx, x.asPostgres(x.program("pg_ctl"), "start", "-D", x.Plan.Data, "-s", "-w", "-t", "86400", "-l", "/var/log/postgresql/pgha-restore.log"))
		if err != nil {
			return fmt.Errorf("%w\n      see /var/log/postgresql/pgha-restore.log", err)
		}
	}
	if err := x.letPatroniGo(ctx); err != nil {
		return err
	}
	self := x.seed.Machine.Address
	leads := func(ctx context.Context) string {
		m, err := x.api.member(ctx, self)
		switch {
		case err != nil:
			return "it does not answer yet; see `journalctl -u patroni`"
		case !m.leads() || !m.runs():
			return fmt.Sprintf("it is %q as %s", m.State, m.Role)
		}
		if held, err := x.api.leader(ctx, x.seed.Cluster, self); err != nil || held != x.seed.Machine.Name {
			return "it has not got the leader's lock yet"
		}
		return ""
	}
	if err := x.until(ctx, "Patroni", clusterTime, leads); err != nil {
		return err
	}
	if unit, err := x.postmasterUnit(); err != nil || unit == "patroni.service" {
		return err
	}
	if err := x.api.command(ctx, self, "/restart", "{}"); err != nil {
		return err
	}
	return x.until(ctx, "PostgreSQL", clusterTime, leads)
}

// lead tells Patroni in etcd that this machine is the one that has led last, and alone has all rows: where nobody led when the restore
// began, that says of another machine that it was the last, and Patroni would not take the lead here. The history of a database that
// is no more goes: where another one is restored that is on a timeline of the same number, Patroni would keep it.
func (x *restoring) lead(ctx context.Context, at netip.Addr) error {
	self := x.seed.Machine.Name
	pairs, err := x.api.pairs(ctx, at, x.patroniKeys(), true)
	if err != nil {
		return err
	}
	mine, _ := x.left()
	for _, p := range pairs {
		value, gone, err := keyToLead(strings.TrimPrefix(string(p.Key), x.patroniKeys()), p.Value, self, x.Plan.Another, mine)
		if err != nil {
			return err
		}
		change := map[string]any{"request_put": map[string]any{"key": p.Key, "value": value}}
		switch {
		case gone:
			change = map[string]any{"request_delete_range": map[string]any{"key": p.Key}}
		case bytes.Equal(value, p.Value):
			continue
		}
		done, err := x.api.txnIf(ctx, at, change, asRead(string(p.Key), p.ModRevision))
		switch {
		case err != nil:
			return err
		case !done: // a Patroni was faster
			return x.lead(ctx, at)
		}
	}
	return nil
}

// keyToLead is what one of Patroni's keys is to say where self leads with the restored database, which left the timeline before its own at
// mine; another is its system identifier, where it is another than the cluster's. Gone tells that the key is to go.
func keyToLead(key string, value []byte, self, another string, mine fork) (now []byte, gone bool, err error) {
	switch key {
	case lastLeader:
		return []byte(self), false, nil
	case "initialize":
		if another != "" {
			return []byte(another), false, nil
		}
	case "history":
		forks, err := parseForks(value)
		if err == nil && another != "" && mine != (fork{}) && (len(forks) == 0 || forks[len(forks)-1] != mine) {
			return nil, true, nil
		}
	case "sync":
		var s map[string]any
		if err := decode(value, &s, key); err != nil {
			return nil, false, err
		}
		if s["leader"] == nil || s["leader"] == self && s["sync_standby"] == nil {
			return value, false, nil
		}
		s["leader"], s["sync_standby"] = self, nil
		if _, ok := s["quorum"]; ok {
			s["quorum"] = 0
		}
		now, err = json.Marshal(s)
		return now, false, err
	}
	return value, false, nil
}

// lastLeader is pgha's own key among Patroni's: LAST in pgha_corrections.py.
const lastLeader = "pgha_leader"

// leader is who has Patroni's lock, by etcd.
func (a *api) leader(ctx context.Context, c *cluster.Cluster, addr netip.Addr) (string, error) {
	pairs, err := a.pairs(ctx, addr, c.Namespace+c.Scope+"/leader", false)
	if err != nil || len(pairs) == 0 {
		return "", err
	}
	return string(pairs[0].Value), nil
}

// takeSecrets gives the users of another database this cluster's passwords: replicas could not copy it with those that they have. It
// may be done at any time, and twice.
func (x *restoring) takeSecrets(ctx context.Context) error {
	if x.Plan.Another == "" {
		return nil
	}
	x.Say("restore: users, databases and passwords are made those of this cluster")
	return x.Runner.Run(ctx, x.client("/usr/lib/pgha/post-bootstrap", "dbname=postgres"))
}

// order tells the members that have something else to copy the restored database.
func (x *restoring) order(ctx context.Context) error {
	var wg sync.WaitGroup
	for i := range x.others {
		f := &x.others[i]
		if f.state != restore.Old {
			continue
		}
		f.replica.Ordered(time.Now())
		wg.Go(func() {
			if err := x.api.command(ctx, f.node.Address, "/reinitialize", `{"force": true}`); err != nil {
				x.Say("restore: %s was told to copy the database, and says: %v", f.node.Name, err)
			}
		})
	}
	wg.Wait()
	return nil
}

// finish takes the restore out of etcd, and says who is left.
func (x *restoring) finish(ctx context.Context, at netip.Addr) error {
	x.Note.Done = true
	if err := x.note(); err != nil {
		return err
	}
	for _, f := range x.others {
		if f.state == restore.Left {
			mend := "pgha reinit " + f.node.Name
			if x.Plan.Another != "" { // its Patroni ends with the database of before
				mend = "on " + f.node.Name + ": pgha member set-aside postgres"
			}
			x.Say("restore: %s is left: %s; when it is back and no replica: %s", f.node.Name, f.what, mend)
		}
	}
	if !at.IsValid() {
		var err error
		if at, err = x.etcd(ctx); err != nil {
			return err
		}
	}
	if err := x.releaseRestore(ctx, at, x.seed.Machine.Name); err != nil {
		return err
	}
	x.giveServices() // before it is forgotten: who kills this here leaves somebody who knows
	return x.forget()
}
