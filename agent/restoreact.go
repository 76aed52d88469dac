package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/cluster"
)

const (
	// clusterTime is how long Patroni may take to do what it was told, but for copying a database.
	clusterTime = 5 * time.Minute
	// cloneTime is how long replicas may take to copy it.
	cloneTime = 24 * time.Hour
	// silentTime is how long a member that does not answer is waited for.
	silentTime = time.Minute
)

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

// until looks until the condition holds, for as long as Patroni may take.
func (x *restoring) until(ctx context.Context, what string, holds func(context.Context) (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, clusterTime)
	defer cancel()
	why := ""
	return x.repeat(ctx, what, func(ctx context.Context) (ok bool, err error) {
		ok, why = holds(ctx)
		return ok, nil
	}, func(context.Context) string { return why })
}

// switchover makes this machine the primary, in order, so that every member agrees who leads when it is restored.
func (x *restoring) switchover(ctx context.Context) error {
	self := x.seed.Machine
	leader, _ := x.primary(ctx)
	if !leader.IsValid() || leader == self.Address {
		return nil
	}
	name := ""
	for _, n := range x.seed.Cluster.Nodes {
		if n.Address == leader {
			name = n.Name
		}
	}
	if err := x.api.command(ctx, leader, "/switchover", fmt.Sprintf(`{"leader": %q, "candidate": %q}`, name, self.Name)); err != nil {
		return err
	}
	return x.until(ctx, "the switchover", func(ctx context.Context) (bool, string) {
		m, err := x.api.member(ctx, self.Address)
		return err == nil && m.leads() && m.runs(), "this machine does not lead yet"
	})
}

// paused is what a member says of it.
func (a *api) paused(ctx context.Context, addr netip.Addr) (bool, error) {
	var m struct {
		Pause bool `json:"pause"`
	}
	return m.Pause, a.do(ctx, http.MethodGet, a.patroni(addr, "/patroni"), nil, &m)
}

// pause waits until every member that answers has heard of it: one that has not would fail over.
func (x *restoring) pause(ctx context.Context) error {
	if x.api.patroniAnswers(ctx, x.seed.Machine.Address) { // stopped already, when this is done again
		if err := x.api.patchSettings(ctx, x.seed.Machine.Address, map[string]any{"pause": true}); err != nil {
			return err
		}
	}
	err := x.until(ctx, "the pause", func(ctx context.Context) (bool, string) {
		for _, n := range x.seed.Cluster.Nodes {
			if paused, err := x.api.paused(ctx, n.Address); err == nil && !paused {
				return false, n.Name + " has not heard of it yet"
			}
		}
		return true, ""
	})
	if err != nil {
		return err
	}
	if leader, _ := x.primary(ctx); leader.IsValid() && leader != x.seed.Machine.Address {
		return errors.Join(errors.New("another machine leads now"), x.startOver(ctx))
	}
	return x.stillAhead(ctx)
}

// startOver gives the cluster back to Patroni, and has the restore begin with the switchover again.
func (x *restoring) startOver(ctx context.Context) error {
	x.Next = backup.StepSwitchover
	return errors.Join(x.systemctl(ctx, "start", "patroni.service"), x.resume(ctx))
}

// stop ends Patroni, which in pause leaves PostgreSQL running, and then PostgreSQL in order.
func (x *restoring) stop(ctx context.Context) error {
	if err := x.pause(ctx); err != nil { // somebody may have ended it meanwhile
		return err
	}
	if err := x.systemctl(ctx, "stop", "patroni.service"); err != nil {
		return err
	}
	unit, err := x.postmasterUnit()
	if err != nil || unit == "" {
		return err
	}
	return x.Runner.Run(ctx, x.asPostgres(x.program("pg_ctl"), "stop", "-D", x.Plan.Data, "-s", "-w", "-t", "600", "-m", "fast"))
}

// start has Patroni find a primary that runs: in pause it starts none, and takes the lead of one. Then it restarts
// PostgreSQL, so that it runs where Patroni's unit looks after it.
func (x *restoring) start(ctx context.Context) error {
	unit, err := x.postmasterUnit()
	if err != nil {
		return err
	}
	if unit == "" {
		err := x.Runner.Run(ctx, x.asPostgres(x.program("pg_ctl"), "restart", "-D", x.Plan.Data, "-s", "-w", "-t", "600", "-l", "/var/log/postgresql/pgha-restore.log"))
		if err != nil {
			return fmt.Errorf("%w\n      see /var/log/postgresql/pgha-restore.log", err)
		}
	}
	if err := x.systemctl(ctx, "start", "patroni.service"); err != nil {
		return err
	}
	self := x.seed.Machine.Address
	leads := func(ctx context.Context) (bool, string) {
		m, err := x.api.member(ctx, self)
		switch {
		case err != nil:
			return false, "Patroni does not answer yet; see `journalctl -u patroni`"
		case !m.leads() || !m.runs():
			return false, fmt.Sprintf("it is %q as %s", m.State, m.Role)
		}
		held, err := x.api.leader(ctx, x.seed.Cluster, self)
		return err == nil && held == x.seed.Machine.Name, "it has not got the leader's lock yet"
	}
	if err := x.until(ctx, "Patroni", leads); err != nil {
		return err
	}
	if unit, err = x.postmasterUnit(); err != nil || unit == "patroni.service" {
		return err
	}
	if err := x.api.command(ctx, self, "/restart", "{}"); err != nil {
		return err
	}
	return x.until(ctx, "PostgreSQL", leads)
}

// leader is who has Patroni's lock, by etcd.
func (a *api) leader(ctx context.Context, c *cluster.Cluster, addr netip.Addr) (string, error) {
	pairs, err := a.pairs(ctx, addr, c.Namespace+c.Scope+"/leader", false)
	if err != nil || len(pairs) == 0 {
		return "", err
	}
	return string(pairs[0].Value), nil
}

// replicas has every other member copy the restored database. One that does not answer is left: when it comes back Patroni
// finds that its timeline is not the cluster's.
func (x *restoring) replicas(ctx context.Context) error {
	self, err := x.api.member(ctx, x.seed.Machine.Address)
	if err != nil {
		return err
	}
	nodes := slices.DeleteFunc(slices.Clone(x.seed.Cluster.Nodes), func(n cluster.Node) bool { return n.Name == x.seed.Machine.Name })
	failed := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { failed[i] = x.remake(ctx, n, self.Timeline) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

// remake has one member copy the primary, and waits until it streams from it.
func (x *restoring) remake(ctx context.Context, n cluster.Node, timeline int) error {
	var asked time.Time
	silent := time.Now()
	left := false
	ctx, cancel := context.WithTimeout(ctx, cloneTime)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	why := "it does not answer"
	for {
		m, err := x.api.member(ctx, n.Address)
		switch {
		case err != nil && time.Since(silent) > silentTime:
			left = true
		case err != nil:
		case m.runs() && !m.leads() && m.Timeline == timeline && x.streams(ctx, n.Name):
			x.Say("restore: %s is a replica of it", n.Name)
			return nil
		default:
			silent, why = time.Now(), fmt.Sprintf("it is %q as %s", m.State, m.Role)
			if !strings.Contains(m.State, "creating") && time.Since(asked) > silentTime {
				asked = time.Now()
				if err := x.api.command(ctx, n.Address, "/reinitialize", `{"force": true}`); err != nil {
					why = err.Error()
				}
			}
		}
		if left {
			x.Say("restore: %s does not answer, and is left; when it is back and no replica: "+cluster.Patronictl+" reinit --force %s %[1]s", n.Name, x.seed.Cluster.Scope)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is no replica: %s: %w", n.Name, why, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (x *restoring) streams(ctx context.Context, name string) bool {
	m, err := x.api.member(ctx, x.seed.Machine.Address)
	return err == nil && slices.ContainsFunc(m.Replication, func(s standby) bool { return s.Name == name && s.State == "streaming" })
}

// resume gives the cluster back to Patroni.
func (x *restoring) resume(ctx context.Context) error {
	self := x.seed.Machine.Address
	err := x.until(ctx, "Patroni", func(ctx context.Context) (bool, string) {
		return x.api.patroniAnswers(ctx, self), "it does not answer yet; see `journalctl -u patroni`"
	})
	if err != nil {
		return err
	}
	if err := x.api.patchSettings(ctx, self, map[string]any{"pause": nil}); err != nil {
		return err
	}
	return x.until(ctx, "the end of the pause", func(ctx context.Context) (bool, string) {
		paused, err := x.api.paused(ctx, self)
		return err == nil && !paused, "Patroni has not heard of it yet"
	})
}
