package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgbake/pgbake/internal/run"
)

// slowly answers queries after as long as it is told, one after another; after the last, at once.
type slowly struct {
	take  []time.Duration
	asked int
	err   error
}

func (r *slowly) Run(context.Context, run.Cmd) error { return nil }

func (r *slowly) Output(ctx context.Context, c run.Cmd) ([]byte, error) {
	if !strings.Contains(run.Line(c.Args), "CHECKPOINT") {
		return nil, nil
	}
	var wait time.Duration
	if r.asked < len(r.take) {
		wait = r.take[r.asked]
	}
	r.asked++
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(wait):
		return nil, r.err
	}
}

func TestCheckpointBeforeAStop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		runs   bool
		take   []time.Duration
		err    error
		asked  int
		within time.Duration
		fails  bool
	}{
		{"nothing to write", true, nil, nil, 1, time.Second, false},
		{"much to write", true, []time.Duration{time.Minute}, nil, 2, 2 * time.Minute, false},
		{"others write on", true, []time.Duration{time.Minute, time.Minute, time.Minute, time.Minute}, nil, 3, 4 * time.Minute, false},
		{"the disk hangs", true, []time.Duration{time.Hour}, nil, 1, checkpointTime, true},
		{"it takes no sessions", true, nil, errors.New("the database system is starting up"), 1, time.Second, true},
		{"it does not run", false, nil, nil, 0, time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := testWork(t)
				if tt.runs {
					put(t, w.Root, w.inside(w.databaseDir())+"/postmaster.pid", "41\n")
					postgresProcess(t, w.Root, 41, "postgres", w.databaseDir(), "patroni.service")
				}
				r := &slowly{take: tt.take, err: tt.err}
				w.Runner = r
				began := time.Now()
				if err := w.checkpointBeforeStop(t.Context()); (err != nil) != tt.fails {
					t.Errorf("error %v", err)
				}
				if took := time.Since(began); r.asked != tt.asked || took > tt.within {
					t.Errorf("%d checkpoints in %s, want %d within %s", r.asked, took, tt.asked, tt.within)
				}
			})
		})
	}
}
