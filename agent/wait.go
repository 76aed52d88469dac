package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/processor"
)

const (
	stateFile = cluster.StatusFile
	lockFile  = "/run/pgha/lock"
	// poll is how often a condition is looked at: often enough to cost a boot nothing, seldom enough to cost no CPU.
	poll = 200 * time.Millisecond
	// pollMost is how long a machine that is slow at looking is left alone: it has better things to do.
	pollMost = 3 * time.Second
)

// State is what an apply is at, for `pgha status` and anybody who asks why nothing happens.
type State struct {
	Machine string `json:"machine,omitempty"`
	// Step is the recipe's; "done" after the last.
	Step string `json:"step"`
	// Waiting says what for, in one sentence; empty when nothing is waited for.
	Waiting string `json:"waiting,omitempty"`
	// Since is when the step began to wait.
	Since time.Time `json:"since,omitzero"`
	Error string    `json:"error,omitempty"`
}

// ReadState returns what the last apply on this machine noted; false when there was none since boot.
func ReadState(root string) (State, bool) {
	var s State
	body, err := os.ReadFile(filepath.Join(root, stateFile))
	if err != nil || json.Unmarshal(body, &s) != nil {
		return State{}, false
	}
	return s, true
}

// note keeps the state for `pgha status`. An apply that cannot note goes on: a full /run must not stop a database.
func (a *Agent) note(s State) {
	body, _ := json.Marshal(s)
	path := filepath.Join(a.Root, stateFile)
	_ = os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // the state holds no secret
	_ = replace(path, append(body, '\n'), 0o644)
}

// keepState returns what puts "done" back after waits that are none of an apply's: with it ends what was waited for. An apply that
// is at work notes its own.
func (a *Agent) keepState() (putBack func()) {
	s, ok := ReadState(a.Root)
	return func() {
		if ok && s.Step == "done" {
			a.note(s)
		}
	}
}

// replace puts a file under its name at once, so that a reader or a power cut never sees half of it.
func replace(path string, body []byte, mode fs.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, body, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// condition is something to wait for.
type condition struct {
	holds func(context.Context) bool
	// why says in one sentence what is missing; it may ask around, and is asked at most once a second.
	why func(context.Context) string
}

// await looks at the condition until it holds.
func (w *work) await(ctx context.Context, step string, c condition) error {
	return w.repeat(ctx, step, func(ctx context.Context) (bool, error) { return c.holds(ctx), nil }, c.why)
}

// repeat does something until it is done. What it waits for is said when it changes, and every minute.
func (w *work) repeat(ctx context.Context, step string, once func(context.Context) (done bool, err error), whyOf func(context.Context) string) error {
	if w.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.Patience)
		defer cancel()
	}
	began := time.Now()
	asked, said, saidAt := began, "", began
	for {
		before := processor.Time()
		done, err := once(ctx)
		if done || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("waited %s in vain: %s", time.Since(began).Round(time.Second), whyOf(context.WithoutCancel(ctx)))
			}
			return context.Cause(ctx)
		case <-time.After(min(max(poll, 20*(processor.Time()-before)), pollMost)):
		}
		if time.Since(asked) < time.Second {
			continue
		}
		asked = time.Now()
		if why := whyOf(ctx); why != said || time.Since(saidAt) > time.Minute {
			w.Say("waiting for %s: %s (%s)", step, why, time.Since(began).Round(time.Second))
			w.note(State{Machine: w.seed.Machine.Name, Step: step, Waiting: why, Since: began})
			said, saidAt = why, time.Now()
		}
	}
}

// lockTime is how long a lock is waited for: a killed apply may still be on its way out, and that of a boot, or of a newer
// specification, be about to end. lockQuiet is how long without a word.
const lockTime, lockQuiet = 30 * time.Second, 2 * time.Second

// lock makes sure that one apply runs at a time on a machine; the lock ends with the process.
func (a *Agent) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(a.Root, lockFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the lock holds no secret
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	began, said := time.Now(), false
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = f.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if !said && time.Since(began) > lockQuiet {
			a.Say("waiting for another `pgha apply` on this machine to end")
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(errors.New("another `pgha apply` is at work on this machine\n      hint: `pgha status` says what it waits for; at boot it is pgha-apply.service"), f.Close())
		case <-time.After(poll / 10):
		}
	}
}
