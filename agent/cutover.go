package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/agent/adopt"
	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// Cutover is a cluster that follows a primary elsewhere, on its way to leading itself. Nothing is changed before the
// other one was shut down and its last record is here.
type Cutover struct {
	w *work
	// Host and Port are the other primary's.
	Host string
	Port int
	// Slot is the replication slot there that this cluster streams through. It stays: a server that was shut down drops nothing.
	Slot string
	// Behind is how many bytes of its log are not here yet; Behind is negative when it could not be asked.
	Behind int64
	// Streams tells that the log comes at this moment.
	Streams bool
	// Missing names the members that do not stream from this one.
	Missing []string
	// Report says who will notice.
	Report *adopt.Report
}

const streamsQuery = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_wal_receiver WHERE status OPERATOR(pg_catalog.=) 'streaming'"

// PlanCutover looks whether the cluster may be cut over, on the member that streams from the primary elsewhere.
// A nil Cutover tells that the cluster follows nobody.
func (a *Agent) PlanCutover(ctx context.Context) (*Cutover, error) {
	w, err := a.prepare()
	if err != nil {
		return nil, err
	}
	self := w.seed.Machine
	if self.Role != cluster.DB {
		return nil, fmt.Errorf("cut over: %s is a proxy\n      hint: run it on a member", self.Name)
	}
	f, err := w.api.following(ctx, self.Address)
	if err != nil {
		return nil, fmt.Errorf("cut over: ask Patroni on this machine: %w", err)
	}
	if f == nil {
		return nil, nil //nolint:nilnil // as the comment says
	}
	m, err := w.api.member(ctx, self.Address)
	if err != nil {
		return nil, fmt.Errorf("cut over: ask Patroni on this machine: %w", err)
	}
	if !m.leadsStandby() {
		for _, n := range w.seed.Cluster.Nodes {
			if m, err := w.api.member(ctx, n.Address); err == nil && m.leadsStandby() {
				return nil, fmt.Errorf("cut over: %s streams from %s, and this is %s\n      hint: run it there", n.Name, f.Host, self.Name)
			}
		}
		return nil, fmt.Errorf("cut over: no member streams from %s at this moment\n      hint: pgha status", f.Host)
	}
	c := &Cutover{w: w, Host: f.Host, Port: f.Port, Slot: w.seed.Cluster.RemoteSlot(), Behind: -1, Missing: w.missing(m)}
	if out, err := w.askRemote(ctx, "SELECT pg_catalog.pg_current_wal_lsn()"); err == nil {
		at := strings.TrimSpace(string(out))
		c.Behind, _ = w.number(ctx, "SELECT greatest(pg_catalog.pg_wal_lsn_diff('"+at+"', pg_catalog.pg_last_wal_replay_lsn()), 0)::bigint")
	}
	streams, err := w.number(ctx, streamsQuery)
	if err != nil {
		return nil, err
	}
	c.Streams = streams > 0
	in, err := w.lookInside(ctx, w.here())
	if err != nil {
		return nil, err
	}
	c.Report = adopt.JudgeCopy(w.seed.Cluster, in)
	return c, nil
}

// here is the database that runs on this machine under Patroni.
func (w *work) here() *adopt.Found {
	port := adopt.Setting{Value: fmt.Sprint(w.seed.Cluster.Ports.Postgres)}
	return &adopt.Found{Unit: "patroni.service", Settings: adopt.Settings{"port": port}}
}

// missing names the members that do not stream from this one.
func (w *work) missing(m member) (names []string) {
	streams := map[string]bool{w.seed.Machine.Name: true}
	for _, s := range m.Replication {
		streams[s.Name] = s.State == "streaming"
	}
	for _, n := range w.seed.Cluster.Nodes {
		if !streams[n.Name] {
			names = append(names, n.Name)
		}
	}
	return names
}

func (w *work) number(ctx context.Context, query string) (n int64, err error) {
	out, err := w.Runner.Output(ctx, w.adopted(w.here(), "postgres", query))
	if err == nil {
		_, err = fmt.Sscan(string(out), &n)
	}
	return n, err
}

// Go cuts over. stop is a command that shuts the other primary down; nobody's when empty: then a person does it, and is
// waited for. It returns for how long nobody could write: from the last sign of the other one to the first write here.
func (c *Cutover) Go(ctx context.Context, stop []string, patience time.Duration) (pause time.Duration, err error) {
	w := c.w
	w.Patience = patience
	unlock, err := w.lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	defer w.keepState()()
	if len(stop) > 0 {
		w.Say("%s", run.Line(stop))
		if err := w.Runner.Run(ctx, run.Cmd{Args: stop}); err != nil {
			return 0, fmt.Errorf("cut over: stop the primary at %s: %w\n      hint: nothing has changed here; the cluster still follows it", c.Host, err)
		}
	} else {
		w.Say("now shut down the primary at %s, for good: systemctl disable --now postgresql, or pg_ctl stop -m fast", c.Host)
	}
	last, err := c.awaitShutdown(ctx)
	if err != nil {
		return 0, fmt.Errorf("cut over: %w\n      hint: nothing has changed here; where the other one runs, the cluster still follows it", err)
	}
	self := w.seed.Machine.Address
	if err := w.api.patchSettings(ctx, self, map[string]any{"standby_cluster": nil}); err != nil {
		return 0, fmt.Errorf("cut over: tell Patroni to lead: %w\n      hint: once more", err)
	}
	why := "Patroni has not promoted it yet"
	err = w.repeat(ctx, "the first write", func(ctx context.Context) (bool, error) {
		// A write for nobody, acknowledged by this machine alone: replicas have yet to be counted.
		err := w.Runner.Run(ctx, w.adopted(w.here(), "postgres", "SET synchronous_commit = local; SELECT pg_catalog.pg_current_xact_id()"))
		if err != nil {
			why = err.Error()
		}
		return err == nil, ctx.Err()
	}, func(context.Context) string { return why })
	if err != nil {
		return 0, fmt.Errorf("cut over: %w\n      hint: Patroni was told to lead, and may still: pgha status", err)
	}
	pause = time.Since(last)
	back := c.stillDown(ctx)
	if back != nil {
		w.Say("%v", back)
	}
	err = c.finish(ctx)
	if back == nil {
		back = c.stillDown(ctx)
	}
	return pause, errors.Join(back, err)
}

// finish makes what the cluster needs beside what was copied.
func (c *Cutover) finish(ctx context.Context) error {
	w := c.w
	w.Acted = append(w.Acted, "patroni.service")
	err := w.await(ctx, "Patroni to say that it leads", condition{
		holds: func(ctx context.Context) bool {
			m, err := w.api.member(ctx, w.seed.Machine.Address)
			return err == nil && m.leads() && m.runs()
		},
		why: func(context.Context) string { return "see `journalctl -u patroni`" },
	})
	if err != nil {
		return err
	}
	return w.roles(ctx)
}

// awaitShutdown waits until the last thing that is known of the other primary is that it was shut down in order, and it does not come
// back: then nothing of it is missing here. It returns when it was last seen to stream.
func (c *Cutover) awaitShutdown(ctx context.Context) (last time.Time, err error) {
	w := c.w
	f := farewell{last: time.Now()}
	why := ""
	err = w.repeat(ctx, "its shutdown", func(ctx context.Context) (bool, error) {
		e, err := c.look(ctx)
		if err != nil {
			return false, err
		}
		done, text, moved := f.see(c.Host, e, time.Now())
		if moved {
			return false, fmt.Errorf("%s\n      hint: `pgha status` says which one; there: pgha cutover", text)
		}
		why = text
		return done, ctx.Err()
	}, func(context.Context) string { return why })
	return f.last, err
}

// look is one look at the other primary.
func (c *Cutover) look(ctx context.Context) (e elsewhere, err error) {
	w := c.w
	streams, err := w.number(ctx, streamsQuery)
	if err != nil {
		return e, err
	}
	m, err := w.api.member(ctx, w.seed.Machine.Address)
	if err != nil {
		e.leads, e.err = true, fmt.Errorf("ask Patroni on this machine: %w", err)
		return e, nil
	}
	e.streams, e.leads = streams > 0, m.leadsStandby()
	if e.streams || !e.leads {
		return e, nil
	}
	if e.record, e.err = w.lastRecord(ctx); e.err == nil {
		e.answers = c.answers(ctx)
	}
	return e, nil
}

// answers tries a connection to the other primary.
func (c *Cutover) answers(ctx context.Context) answers {
	ctx, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(c.Host, fmt.Sprint(c.Port)))
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return itRefuses
	case err != nil:
		return nobodyThere
	}
	_ = conn.Close()
	// Something listens, if only a proxy before it.
	_, err = c.w.askRemote(ctx, "SELECT 1")
	if err == nil || strings.Contains(err.Error(), "FATAL:") {
		return itRuns
	}
	return nobodyThere
}

// stillDown says it loudly when the other primary is back, now that the cluster leads itself.
func (c *Cutover) stillDown(ctx context.Context) error {
	if c.answers(ctx) != itRuns {
		return nil
	}
	return fmt.Errorf("THE CLUSTER HAS LEFT THE PRIMARY AT %s, AND THAT ONE RUNS AGAIN: what is written there now is not here\n"+
		"      hint: stop it at once and for good, there: systemctl disable --now postgresql; then compare what it has taken since", c.Host)
}

// lastRecord is the last thing that was replayed, as pg_waldump says it. It looks from the last checkpoint on.
func (w *work) lastRecord(ctx context.Context) (string, error) {
	// A checkpoint here is made of the last one that was replayed, which the control file then names.
	out, err := w.Runner.Output(ctx, w.adopted(w.here(), "postgres", "CHECKPOINT; SELECT checkpoint_lsn, timeline_id, pg_catalog.pg_last_wal_replay_lsn() FROM pg_catalog.pg_control_checkpoint()"))
	if err != nil {
		return "", err
	}
	words := strings.Split(strings.TrimSpace(string(out)), "|")
	if len(words) != 3 {
		return "", fmt.Errorf("read the last checkpoint: %q", out)
	}
	out, err = w.Runner.Output(ctx, run.Command("runuser", "-u", "postgres", "--", filepath.Join(w.seed.Cluster.BinDir(), "pg_waldump"),
		"--path="+filepath.Join(w.databaseDir(), "pg_wal"), "--timeline="+words[1], "--start="+words[0], "--end="+words[2]))
	if err != nil {
		return "", err
	}
	records := strings.Split(strings.TrimSpace(string(out)), "\n")
	return records[len(records)-1], nil
}
