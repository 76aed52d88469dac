package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
	"github.com/pgbake/pgbake/render"
)

// sql asks PostgreSQL of one or several members, over TLS, as the role that pg_rewind has, which may begin a checkpoint
// and look at the statistics, and read no table. session is one of libpq's target_session_attrs.
func (w *work) sql(ctx context.Context, session, query string, at ...netip.Addr) (string, error) {
	hosts := make([]string, len(at))
	for i, a := range at {
		hosts[i] = a.String()
	}
	c := w.seed.Cluster
	conninfo := fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=verify-full sslrootcert="+cluster.PatroniTLS+"/ca.crt channel_binding=require connect_timeout=2 application_name=pgha target_session_attrs=%s",
		strings.Join(hosts, ","), c.Ports.Postgres, render.RewindUser, session)
	out, err := w.Runner.Output(ctx, run.Cmd{
		Args: psql(w.program("psql"), "-d", conninfo, "-c", query),
		Env:  []string{"PGPASSWORD=" + w.seed.Secrets.Rewind, pgOptions()},
	})
	return strings.TrimSpace(string(out)), err
}

// writes is a write that leaves nothing behind: it needs a transaction's number, so no replica takes it, and its commit
// waits for the synchronous replicas as every other does.
const writes = "SELECT pg_catalog.pg_logical_emit_message(true, 'pgha', 'is there a primary that takes writes?')"

// probe writes to whichever member takes it, over and over, and so measures for how long none did.
type probe struct {
	mu    sync.Mutex
	acks  []time.Time
	last  error
	ended chan struct{}
	stop  context.CancelFunc
}

// probePause is short beside the pause that is measured; each write starts a psql.
const probePause = 100 * time.Millisecond

func (w *work) probe(ctx context.Context) *probe {
	ctx, cancel := context.WithCancel(ctx)
	p := &probe{ended: make(chan struct{}), stop: cancel}
	var all []netip.Addr
	for _, n := range w.seed.Cluster.Nodes {
		all = append(all, n.Address)
	}
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(probePause)
		defer tick.Stop()
		for ctx.Err() == nil {
			try, cancel := context.WithTimeout(ctx, 3*time.Second)
			_, err := w.sql(try, "read-write", writes, all...)
			cancel()
			p.mu.Lock()
			if err == nil {
				p.acks = append(p.acks, time.Now())
			} else if ctx.Err() == nil {
				p.last = err
			}
			p.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	return p
}

// since tells whether a write was acknowledged after t.
func (p *probe) since(t time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acks) > 0 && p.acks[len(p.acks)-1].After(t)
}

// end stops it, and returns the longest time between two acknowledged writes; false when there were no two.
func (p *probe) end() (pause time.Duration, measured bool) {
	p.stop()
	<-p.ended
	for i := 1; i < len(p.acks); i++ {
		pause = max(pause, p.acks[i].Sub(p.acks[i-1]))
	}
	return pause, len(p.acks) > 1
}

// trouble is why the last write was not acknowledged.
func (p *probe) trouble() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return "it is on its way"
	}
	return short(p.last)
}

// awaitWrite waits until a write is acknowledged after t, unless none ever was: then nothing can be said.
func (w *work) awaitWrite(ctx context.Context, p *probe, t time.Time) error {
	if !p.since(time.Time{}) {
		return nil
	}
	return w.until(ctx, "a write", time.Minute, func(context.Context) string {
		if p.since(t) {
			return ""
		}
		return p.trouble()
	})
}

// checkpoint begins a checkpoint on members and waits for its end, so that what comes has little left to write. It is
// worth waiting for, and nothing to fail for.
func (w *work) checkpoint(ctx context.Context, members ...surveyed) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for _, m := range members {
		wg.Go(func() {
			began := time.Now()
			if _, err := w.sql(ctx, "any", "CHECKPOINT", m.at); err != nil {
				w.Say("no checkpoint on %s, the pause may be longer for it: %s", m.name, short(err))
				return
			}
			w.Say("checkpoint on %s: %.1f s", m.name, time.Since(began).Seconds())
		})
	}
	wg.Wait()
}
