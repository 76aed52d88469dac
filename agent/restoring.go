package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
)

// Restoring is the restore that a machine carries out, as etcd has it at /pgha/SCOPE/restore from its beginning to its end, without
// a limit in time: a restore that waits for its machine is one still. While it is there nothing else is done to the cluster.
type Restoring struct {
	Machine string `json:"machine"`
	// Moment is what the database goes back to, for people.
	Moment string    `json:"moment"`
	Since  time.Time `json:"since"`
	// Step is where it is, Error why it stopped there.
	Step  backup.Step `json:"step"`
	Error string      `json:"error,omitempty"`
	// revision is the key's, by which it is changed.
	revision number
}

func (r *Restoring) String() string {
	s := fmt.Sprintf("%s: restore to %s, since %s: %s", r.Machine, r.Moment, r.Since.UTC().Format("2006-01-02 15:04:05 UTC"), r.Step)
	if r.Error != "" {
		s += ", stopped: " + r.Error
	}
	return s
}

// Holds tells whether the database is still to be exchanged, or is at this moment. Once the pause is over the members only copy it.
func (r *Restoring) Holds() bool { return r != nil && r.Step != backup.StepReplicas }

// Exchanges tells whether the pause for it has begun and is not over: nobody but the restore starts, stops or promotes anything.
func (r *Restoring) Exchanges() bool {
	return r.Holds() && slices.Index(backup.Steps, r.Step) >= slices.Index(backup.Steps, backup.StepPause)
}

// awaitsRestore and awaitsDatabase are what an apply is at that waits for the restore, or for PostgreSQL.
const (
	awaitsRestore  = "the restore"
	awaitsDatabase = "PostgreSQL"
)

// awaitRestore keeps apply from PostgreSQL while the databases are exchanged.
func (w *work) awaitRestore(ctx context.Context) error {
	why := ""
	return w.await(ctx, awaitsRestore, condition{
		holds: func(ctx context.Context) bool {
			var r *Restoring
			at, err := w.etcd(ctx)
			if err == nil {
				r, err = w.api.restoring(ctx, at)
			}
			switch {
			case err != nil:
				why = brief(err)
			case r.Exchanges():
				why = r.String()
			case exists(filepath.Join(w.Root, holdFile)):
				why = "a restore of this machine was cut short: pgha restore"
			default:
				return true
			}
			return false
		},
		why: func(context.Context) string { return why },
	})
}

func (a *api) restoreKey() string { return "/pgha/" + a.c.Scope + "/restore" }

// restoring reads it; nil when there is none.
func (a *api) restoring(ctx context.Context, at netip.Addr) (*Restoring, error) {
	pairs, err := a.pairs(ctx, at, a.restoreKey(), false)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	r := &Restoring{revision: pairs[0].ModRevision}
	if err := json.Unmarshal(pairs[0].Value, r); err != nil {
		return nil, fmt.Errorf("read %s in etcd: %w", a.restoreKey(), err)
	}
	return r, nil
}

// absent is the condition that a key is not there.
func absent(key string) map[string]any {
	return map[string]any{"result": "EQUAL", "target": "CREATE", "key": []byte(key), "create_revision": "0"}
}

// asRead is the condition that a key was not changed since it had a revision; 0 when it was not there.
func asRead(key string, revision number) map[string]any {
	return map[string]any{"result": "EQUAL", "target": "MOD", "key": []byte(key), "mod_revision": revision}
}

// claimRestore puts a restore into etcd while nothing else is done to the cluster, and no backup is taken. What is in the way is the
// error.
func (w *work) claimRestore(ctx context.Context, at netip.Addr, r Restoring) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	done, err := w.api.txnIf(ctx, at,
		map[string]any{"request_put": map[string]any{"key": []byte(w.api.restoreKey()), "value": body}},
		absent(w.api.restoreKey()), absent(w.api.taskKey()), absent(w.api.maintenanceKey()), absent(w.backupKey("holder")))
	if err != nil || done {
		return err
	}
	if m, _, err := w.api.maintenance(ctx, at); err == nil && m != nil {
		return fmt.Errorf("%s has announced a maintenance, whose pause is not a restore's\n      hint: pgha maintenance off", m.By)
	}
	switch task, err := w.api.task(ctx, at); {
	case err != nil:
		return err
	case task != nil:
		return fmt.Errorf("one thing at a time is done to the whole cluster, and this is at work: %s\n      hint: %s", task, task.wait())
	}
	if pairs, err := w.api.pairs(ctx, at, w.backupKey("holder"), false); err == nil && len(pairs) == 1 {
		return fmt.Errorf("%s takes a backup at this moment\n      hint: wait for it: `pgha backup list` there", pairs[0].Value)
	}
	return errors.New("something else was at work at this moment\n      hint: once more")
}

// tellRestore lets the others know where this machine's restore is. One that is not this machine's any more is left alone.
func (w *work) tellRestore(ctx context.Context, at netip.Addr, step backup.Step, failed string) error {
	r, err := w.api.restoring(ctx, at)
	if err != nil || r == nil || r.Machine != w.seed.Machine.Name || r.Step == step && r.Error == failed {
		return err
	}
	since := r.revision
	r.Step, r.Error = step, failed
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return w.api.put(ctx, at, w.api.restoreKey(), body, since)
}

// releaseRestore takes the restore of a machine out of etcd.
func (w *work) releaseRestore(ctx context.Context, at netip.Addr, machine string) error {
	r, err := w.api.restoring(ctx, at)
	if err != nil || r == nil || r.Machine != machine {
		return err
	}
	return w.api.txn(ctx, at, asRead(w.api.restoreKey(), r.revision),
		map[string]any{"request_delete_range": map[string]any{"key": []byte(w.api.restoreKey())}})
}
