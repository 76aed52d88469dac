package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/internal/run"
)

// restoreFile is there while a restore is carried out: it says how far it has come.
const restoreFile = "/var/lib/pgha/restore.json"

// Restore is a restore of the whole cluster: its plan, and how far it has come.
type Restore struct {
	Plan backup.Plan `json:"plan"`
	// Next is the first step that is not done.
	Next  backup.Step `json:"next"`
	Error string      `json:"error,omitempty"`
}

// Begun tells that a step was taken.
func (r *Restore) Begun() bool { return !r.Plan.Began.IsZero() }

// CurrentRestore returns the one that was begun on this machine and is not done; nil when there is none.
func (a *Agent) CurrentRestore() (*Restore, error) {
	var r Restore
	err := readJSON(filepath.Join(a.Root, restoreFile), &r)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", restoreFile, err)
	}
	return &r, nil
}

// PlanRestore says what a restore would do, and changes nothing. The newest good backup is restored when none is named.
func (a *Agent) PlanRestore(ctx context.Context, name string, to time.Time) (*Restore, error) {
	w, err := a.beginBackup("restore")
	if err != nil {
		return nil, err
	}
	f := backup.Facts{
		Self: w.seed.Machine.Name, To: to, Now: time.Now().Truncate(time.Second), Version: w.seed.Cluster.Postgres.Version,
		Members: w.databases(ctx), Data: w.databaseDir(), System: systemID(w.databaseDir()),
	}
	if f.System == "" {
		return nil, fmt.Errorf("restore: there is no database in %s\n      hint: run it on a member that has one; `pgha status`", w.inside(f.Data))
	}
	if err := w.chooseBackup(ctx, &f, name); err != nil {
		return nil, err
	}
	if f.Free, err = room(filepath.Dir(f.Data)); err != nil {
		return nil, err
	}
	p, err := backup.Make(f)
	if err == nil {
		err = w.mayLead(ctx, p)
	}
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return &Restore{Plan: p, Next: backup.Steps[0]}, nil
}

// mayLead refuses early what Patroni would refuse later: to switch over to a replica that commits do not wait for.
func (w *work) mayLead(ctx context.Context, p backup.Plan) error {
	leader, _ := w.primary(ctx)
	if w.seed.Cluster.SynchronousMode() == "false" || !leader.IsValid() || leader == w.seed.Machine.Address {
		return nil
	}
	names, err := w.api.confirming(ctx, leader)
	if err != nil || slices.Contains(names, p.Machine) {
		return err
	}
	if len(names) == 0 {
		return errors.New("no replica is synchronous now, and none could take over in order\n      hint: wait until `pgha status` is healthy")
	}
	return fmt.Errorf("a switchover to %s is refused by Patroni: it is not the synchronous replica\n      hint: copy %s to the same place on %s, as user postgres, and run it there",
		p.Machine, w.inside(filepath.Join(w.backupDir(), p.Backup)), strings.Join(names, " or "))
}

// chooseBackup finds what is restored, and how big it is.
func (w *work) chooseBackup(ctx context.Context, f *backup.Facts, name string) error {
	all, err := w.held(ctx)
	if err != nil {
		return err
	}
	h, ok := backup.Newest(all, name)
	if !f.To.IsZero() && name == "" && w.inRepository() {
		h, ok = upTo(all, f.To)
	}
	if !ok {
		return noBackup("restore", name)
	}
	f.From = h
	if f.Repository = w.inRepository(); f.Repository {
		f.Size = h.Bytes
		for _, m := range f.Members {
			if m.Primary && m.Name != f.Self {
				return fmt.Errorf("restore: from a repository it is done on the primary, which archives its last WAL first\n      hint: run it on %s", m.Name)
			}
		}
		if !f.To.IsZero() {
			f.Hole = w.holeBehind(ctx, h.Name)
		}
		return nil
	}
	f.Size, err = sizeOf(filepath.Join(w.backupDir(), h.Name, "base"))
	return err
}

// restoring is a restore at work.
type restoring struct {
	*work
	*Restore
}

// CarryOut takes the steps that are left. Stopped or failed, it goes on from there when it is called again.
func (a *Agent) CarryOut(ctx context.Context, r *Restore) error {
	w, err := a.beginBackup("restore")
	if err != nil {
		return err
	}
	unlock, err := w.lockBackups("restore")
	if err != nil {
		return err
	}
	defer unlock()
	l, err := w.lease(ctx)
	if err != nil {
		return fmt.Errorf("restore: %w: Patroni could not be told to keep still\n      hint: see `pgha status`", err)
	}
	if l.holder != "" && l.holder != w.seed.Machine.Name {
		return fmt.Errorf("restore: %s takes a backup, or restores one, at this moment\n      hint: wait for it, or stop it there", l.holder)
	}
	defer l.keep(ctx)()
	defer w.keepState()()
	if !r.Begun() {
		r.Plan.Began = time.Now().UTC().Truncate(time.Second)
	}
	x := &restoring{w, r}
	steps := map[backup.Step]func(context.Context) error{
		backup.StepCheck: x.check, backup.StepCopy: x.stage, backup.StepSwitchover: x.switchover, backup.StepPause: x.pause, backup.StepStop: x.stop,
		backup.StepSwap: x.swap, backup.StepStart: x.start, backup.StepReplicas: x.replicas, backup.StepResume: x.resume,
	}
	for _, s := range backup.Steps[slices.Index(backup.Steps, r.Next):] {
		if s == backup.StepPause || s == r.Next && !backup.Undoable(s) {
			free, err := w.holdApply(ctx)
			if err != nil {
				return err
			}
			defer free()
		}
		r.Next, r.Error = s, ""
		if err := x.note(); err != nil {
			return err
		}
		began := time.Now()
		w.Say("restore: %s", r.Plan.Says(s))
		if err := steps[s](ctx); err != nil {
			r.Error = brief(err)
			return errors.Join(fmt.Errorf("restore: %s: %w\n      hint: %s", s, full(err, w.inside(r.Plan.Data)), r.hint()), x.note())
		}
		if took := time.Since(began); took > time.Second {
			w.Say("restore: that took %.1f s", took.Seconds())
		}
	}
	return os.Remove(filepath.Join(w.Root, restoreFile))
}

// holdApply keeps apply from this machine's services, from the pause to its end. One that waits for a database, as after a
// reboot amid a restore, would wait for ever: it begins anew afterwards.
func (w *work) holdApply(ctx context.Context) (free func(), err error) {
	out, _ := w.Runner.Output(ctx, run.Command("systemctl", "is-active", applyUnit)) // its exit code repeats its word
	waits := strings.TrimSpace(string(out)) == "activating"
	if waits {
		if err := w.Runner.Run(ctx, run.Command("systemctl", "stop", applyUnit)); err != nil {
			return nil, err
		}
	}
	unlock, err := w.lock(ctx)
	if err != nil {
		return nil, err
	}
	return func() {
		unlock()
		if waits {
			_ = w.Runner.Run(context.WithoutCancel(ctx), run.Command("systemctl", "start", "--no-block", applyUnit)) // the next boot does it, too
		}
	}, nil
}

// hint says how to go on after a step that failed.
func (r *Restore) hint() string {
	if backup.Undoable(r.Next) {
		return "the database of today is as it was; `pgha restore --yes` goes on, `pgha restore --give-up` clears up"
	}
	return "`pgha restore --yes` goes on from this step; the database of before is kept in " + r.Plan.Aside
}

func (x *restoring) note() error {
	body, err := json.MarshalIndent(x.Restore, "", "  ")
	if err != nil {
		return err
	}
	return durable(filepath.Join(x.Root, restoreFile), append(body, '\n'))
}

// GiveUpRestore clears up after a restore that has changed nothing yet.
func (a *Agent) GiveUpRestore(ctx context.Context) error {
	r, err := a.CurrentRestore()
	if err != nil {
		return err
	}
	if r == nil {
		return errors.New("give the restore up: none was begun on this machine")
	}
	if !backup.Undoable(r.Next) {
		return fmt.Errorf("give the restore up: the restored database is in its place already\n      hint: `pgha restore --yes` goes on; the one of before is kept in %s", r.Plan.Aside)
	}
	w, err := a.beginBackup("give the restore up")
	if err != nil {
		return err
	}
	unlock, err := w.lockBackups("give the restore up")
	if err != nil {
		return err
	}
	defer unlock()
	x := &restoring{w, r}
	at := slices.Index(backup.Steps, r.Next)
	if at >= slices.Index(backup.Steps, backup.StepStop) { // Patroni may be stopped, its PostgreSQL too
		if err := w.systemctl(ctx, "start", "patroni.service"); err != nil {
			return err
		}
	}
	if at >= slices.Index(backup.Steps, backup.StepPause) {
		if err := x.resume(ctx); err != nil {
			return err
		}
	}
	return errors.Join(w.discard(ctx, r.Plan.Staged), os.Remove(filepath.Join(w.Root, restoreFile)))
}
