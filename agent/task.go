package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Task is what one machine does to the whole cluster, one task at a time: a switchover, a rolling restart, an upgrade. It
// stands in etcd while that goes on, and not longer than taskTTL after the machine is gone.
type Task struct {
	Machine string    `json:"machine"`
	What    string    `json:"what"`
	Since   time.Time `json:"since"`
	// restores tells that it is a restore, which has no such limit.
	restores bool
}

func (t Task) String() string {
	return fmt.Sprintf("%s: %s, since %s", t.Machine, t.What, t.Since.UTC().Format("15:04:05 UTC"))
}

// wait says what somebody else's task leaves to do.
func (t Task) wait() string {
	if t.restores {
		return "wait for it; where it stands, on " + t.Machine + ": pgha restore; when that machine is lost for good: pgha restore --give-up"
	}
	return fmt.Sprintf("wait for it, or end it there; %d s after that machine is gone its place is free", taskTTL)
}

// taskTTL is in seconds: longer than etcd needs for another leader, and than its restart by an upgrade.
const taskTTL = 60

func (a *api) taskKey() string { return "/pgha/" + a.c.Scope + "/task" }

// task reads who does something to the whole cluster; nil when nobody does. A restore is such a thing.
func (a *api) task(ctx context.Context, at netip.Addr) (*Task, error) {
	switch r, err := a.restoring(ctx, at); {
	case err != nil:
		return nil, err
	case r != nil:
		return &Task{Machine: r.Machine, What: "restore to " + r.Moment, Since: r.Since, restores: true}, nil
	}
	pairs, err := a.pairs(ctx, at, a.taskKey(), false)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	t := &Task{}
	if err := json.Unmarshal(pairs[0].Value, t); err != nil {
		return nil, fmt.Errorf("read %s in etcd: %w", a.taskKey(), err)
	}
	return t, nil
}

// alone does something to the whole cluster while no other machine does. It ends, with the cause, when etcd has been out
// of reach for so long that another machine may begin.
func (w *work) alone(ctx context.Context, what string, do func(context.Context) error) error {
	at, err := w.etcd(ctx)
	if err != nil {
		return err
	}
	task := Task{Machine: w.seed.Machine.Name, What: what, Since: time.Now()}
	lease, err := w.takeTask(ctx, at, task)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	lost := make(chan error, 1)
	go func() {
		err := w.keepTask(ctx, lease)
		if err != nil {
			end(err)
		}
		lost <- err
	}()
	err = do(ctx)
	end(nil)
	if cause := <-lost; err != nil && cause != nil {
		err = fmt.Errorf("%w\n      it was ended: %w", trimHint(err), cause)
	}
	give, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if at, none := w.etcd(give); none == nil {
		_ = w.api.call(give, at, "lease/revoke", map[string]any{"ID": lease}, &struct{}{}) // else it runs out
	}
	return err
}

// taken says that another machine is at work.
type taken struct{ error }

// takeTask puts the task into etcd; the error is taken where there is one already.
func (w *work) takeTask(ctx context.Context, at netip.Addr, task Task) (lease number, err error) {
	var granted struct {
		ID number `json:"ID"`
	}
	if err := w.api.call(ctx, at, "lease/grant", map[string]any{"TTL": taskTTL}, &granted); err != nil {
		return 0, err
	}
	body, err := json.Marshal(task)
	if err != nil {
		return 0, err
	}
	key := []byte(w.api.taskKey())
	_, err = w.api.txnIf(ctx, at, // the next look tells whether it was done
		map[string]any{"request_put": map[string]any{"key": key, "value": body, "lease": granted.ID}},
		absent(w.api.taskKey()), absent(w.api.restoreKey()))
	if err != nil {
		return 0, err
	}
	pairs, err := w.api.pairs(ctx, at, w.api.taskKey(), false)
	switch {
	case err != nil:
		return 0, err
	case len(pairs) == 1 && pairs[0].Lease == granted.ID:
		return granted.ID, nil
	}
	_ = w.api.call(ctx, at, "lease/revoke", map[string]any{"ID": granted.ID}, &struct{}{}) // else it runs out
	holder, err := w.api.task(ctx, at)
	if err != nil || holder == nil {
		return 0, taken{errors.Join(errors.New("another machine was quicker\n      hint: once more in a moment"), err)}
	}
	return 0, taken{fmt.Errorf("one thing at a time is done to the whole cluster, and this is at work: %s\n"+
		"      hint: %s", holder, holder.wait())}
}

// keepTask keeps the lease from running out until ctx ends.
func (w *work) keepTask(ctx context.Context, lease number) error {
	tick := time.NewTicker(taskTTL / 6 * time.Second)
	defer tick.Stop()
	kept := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var answer struct {
			Result struct {
				TTL number `json:"TTL"`
			} `json:"result"`
		}
		at, err := w.etcd(ctx)
		if err == nil {
			err = w.api.call(ctx, at, "lease/keepalive", map[string]any{"ID": lease}, &answer)
		}
		switch {
		case err == nil && answer.Result.TTL == 0:
			return errors.New("this machine's task has run out in etcd; another machine may be at work\n      hint: `pgha status` on another machine")
		case err == nil:
			kept = time.Now()
		case time.Since(kept) > taskTTL*time.Second:
			return fmt.Errorf("etcd was out of reach for %d s, and another machine may be at work: %w", taskTTL, err)
		}
	}
}

// etcd finds a member of etcd that sees a quorum: this machine's own, if it does.
func (w *work) etcd(ctx context.Context) (netip.Addr, error) {
	ask := []netip.Addr{w.seed.Machine.Address}
	for _, n := range w.seed.Cluster.Nodes {
		if n.Address != w.seed.Machine.Address {
			ask = append(ask, n.Address)
		}
	}
	if w.api.etcdHealthy(ctx, ask[0]) {
		return ask[0], nil
	}
	healthy := w.api.healthy(ctx, ask[1:])
	for _, at := range ask[1:] {
		if healthy[at] {
			return at, nil
		}
	}
	return netip.Addr{}, errors.New("etcd has no quorum\n      hint: pgha doctor")
}
