package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/agent/restore"
	"github.com/pgbake/pgbake/internal/run"
)

// restoring is a restore at work.
type restoring struct {
	*work
	*Restore
	others []follows
	// said is what it waited for last, unlock gives this machine's services back to apply; nil while it does not hold them.
	said   string
	unlock func()
}

// shown is the step of the plan that an action belongs to.
var shown = map[restore.Action]backup.Step{
	restore.Claim: backup.StepCheck, restore.Check: backup.StepCheck, restore.Lead: backup.StepSwitchover, restore.GiveBack: backup.StepSwitchover,
	restore.Copy: backup.StepCopy, restore.Discard: backup.StepCopy, restore.Pause: backup.StepPause, restore.Stop: backup.StepStop,
	restore.Exchange: backup.StepSwap, restore.Back: backup.StepSwap, restore.Start: backup.StepStart, restore.Order: backup.StepResume,
	restore.Resume: backup.StepResume, restore.Finish: backup.StepReplicas,
}

// CarryOut takes the steps that are left. Stopped or failed, it goes on from what it finds when it is called again.
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
	x := w.restoring(r)
	defer x.giveServices()
	if !r.Begun() {
		if _, err := w.etcd(ctx); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		r.Plan.Began = time.Now().UTC().Truncate(time.Second)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		done, err := x.step(ctx)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (w *work) restoring(r *Restore) *restoring {
	x := &restoring{work: w, Restore: r}
	for _, n := range w.seed.Cluster.Nodes {
		if n.Name != w.seed.Machine.Name {
			x.others = append(x.others, follows{node: n})
		}
	}
	return x
}

// step looks, decides and acts until there is something to wait for, or the same to be done again.
func (x *restoring) step(ctx context.Context) (done bool, err error) {
	for last := restore.Wait; ; {
		o, at := x.observe(ctx)
		if err := ctx.Err(); err != nil {
			return false, context.Cause(ctx)
		}
		action, why := restore.Decide(o)
		switch action {
		case restore.Wait:
			x.waits(ctx, o, why)
			return false, nil
		case restore.Refuse:
			return false, x.stopped(ctx, fmt.Errorf("%s\n      hint: %s", why, x.refusedHint(o)))
		}
		if err := x.begin(ctx, action, why); err != nil {
			return false, err
		}
		if o.Etcd {
			// For people, but for the pause, from which on the others' applies keep off, and the start, by which a restore is given up.
			if err := x.tellRestore(ctx, at, x.Next, ""); err != nil && (action == restore.Pause || action == restore.Start) {
				return false, x.stopped(ctx, err)
			}
		}
		began := time.Now()
		if err := x.act(ctx, action, o, at); err != nil {
			switch {
			case ctx.Err() != nil:
				return false, context.Cause(ctx)
			case action == restore.Claim && !x.Note.Claimed: // nothing was begun
				return false, errors.Join(fmt.Errorf("restore: %w", err), x.forget())
			}
			return false, x.stopped(ctx, err)
		}
		if took := time.Since(began); took > time.Second {
			x.Say("restore: that took %.1f s", took.Seconds())
		}
		if action == restore.Finish || action == last {
			return action == restore.Finish, nil
		}
		last = action
	}
}

// begin says and notes what is done next.
func (x *restoring) begin(ctx context.Context, a restore.Action, why string) error {
	step := shown[a]
	if x.Next != step || why != "" {
		text := x.Plan.Says(step)
		if why != "" {
			text += " (" + why + ")"
		}
		if text != x.said {
			x.Say("restore: %s", text)
			x.said = text
		}
	}
	if a >= restore.Pause && a <= restore.Resume {
		x.Note.Committed = true
		if err := x.holdServices(ctx); err != nil {
			return err
		}
	}
	x.Next, x.Error = step, ""
	return x.note()
}

// waits says what is waited for when that changes.
func (x *restoring) waits(ctx context.Context, o restore.Observation, why string) {
	if o.Etcd && o.Disk.Data && o.Disk.Aside && !o.Paused && x.Next != backup.StepReplicas {
		x.Next = backup.StepReplicas
		_ = x.note() // only for people
		if at, err := x.etcd(ctx); err == nil {
			_ = x.tellRestore(ctx, at, x.Next, "")
		}
		x.giveServices()
	}
	if why != x.said {
		x.Say("restore: waiting: %s", why)
		x.said = why
	}
}

// stopped notes why it does not go on, and says how it will.
func (x *restoring) stopped(ctx context.Context, err error) error {
	x.Error = brief(err)
	if at, none := x.etcd(ctx); none == nil {
		_ = x.tellRestore(ctx, at, x.Next, x.Error) // only for people
	}
	hint := ""
	if !strings.Contains(err.Error(), "hint:") {
		hint = "\n      hint: " + x.hint()
	}
	return errors.Join(fmt.Errorf("restore: %s: %w%s", x.Next, full(err, x.inside(x.Plan.Data)), hint), x.note())
}

// hint says how to go on after a step that failed.
func (r *Restore) hint() string {
	if r.Undoable() {
		return "the database of today is as it was; `pgha restore --yes` goes on, `pgha restore --give-up` clears up"
	}
	return "it is tried again every minute; `pgha restore --yes` goes on at once; the database of before is kept in " + r.Plan.Aside
}

// Undoable tells whether the cluster has not been touched yet.
func (r *Restore) Undoable() bool { return !r.Note.Committed && !r.Note.Done }

// refusedHint is what somebody can do where the restore does not go on by itself.
func (x *restoring) refusedHint(o restore.Observation) string {
	switch {
	case o.Holder != "" && o.Holder != o.Self:
		return fmt.Sprintf("wait for it; where it stands, on %s: pgha restore; what was begun here: pgha restore --give-up", o.Holder)
	case o.Holder == "":
		return "pgha restore --give-up, which lets this machine follow the cluster again, and removes nothing that has run"
	case o.Has == restore.Before:
		return fmt.Sprintf("compare what both have; to keep the cluster as it is: pgha restore --give-up, which keeps the restored database in %s", x.Plan.Staged)
	}
	return "see `ls -l " + x.inside(filepath.Dir(x.Plan.Data)) + "`; pgha restore --give-up leaves all of it"
}

// holdServices keeps apply from this machine's services, from the pause to its end. One that waits for the restore, or for a database,
// as after a reboot, is stopped, and begins anew afterwards; one that is at something else is waited for: it starts pgha-follow, too.
func (x *restoring) holdServices(ctx context.Context) error {
	if x.unlock != nil {
		return nil
	}
	return x.until(ctx, "pgha apply", clusterTime, func(ctx context.Context) string {
		look, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		unlock, err := x.lock(look)
		if err == nil {
			x.unlock = unlock
			_ = x.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", followUnit)) // it goes on where this is killed
			return ""
		}
		if s, _ := ReadState(x.Root); s.Step == awaitsRestore || s.Step == awaitsDatabase {
			if err := x.Runner.Run(ctx, run.Command("systemctl", "stop", applyUnit)); err != nil {
				return brief(err)
			}
		}
		return brief(err)
	})
}

// giveServices gives them back. An apply that was stopped, perhaps by a run of this that was killed, begins anew.
func (x *restoring) giveServices() {
	if x.unlock != nil {
		x.unlock()
		x.unlock = nil
	} else if !x.Note.Committed {
		return // it has never held them
	}
	ctx := context.Background() // also when the restore is ended
	if is := x.applyIs(ctx); is != "active" && is != "activating" {
		_ = x.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", applyUnit)) // the next boot does it, too
	}
}

// applyIs is systemd's word for the apply of the boot.
func (x *restoring) applyIs(ctx context.Context) string {
	out, _ := x.Runner.Output(ctx, run.Command("systemctl", "is-active", applyUnit)) // its exit code repeats its word
	return strings.TrimSpace(string(out))
}

func (x *restoring) note() error {
	body, err := json.MarshalIndent(x.Restore, "", "  ")
	if err != nil {
		return err
	}
	return durable(filepath.Join(x.Root, restoreFile), append(body, '\n'))
}

func (x *restoring) forget() error {
	path := filepath.Join(x.Root, restoreFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

const (
	restoreUnit = "pgha-restore.service"
	// restorePause is until one that was cut short, or has failed, is tried again.
	restorePause = time.Minute
)

// resumes lets a restore go on that was cut short when the cluster was paused for it already: until it has, nobody serves.
func (f *follower) resumes(ctx context.Context) {
	r, err := f.CurrentRestore()
	if err != nil || r == nil || r.Undoable() || time.Since(f.resumed) < restorePause {
		return
	}
	unlock, err := (&work{Agent: f.Agent}).lockBackups("restore")
	if err != nil {
		return // it is at work
	}
	unlock()
	f.resumed = time.Now()
	f.Say("a restore was cut short at %q: %s goes on with it", r.Next, restoreUnit)
	// Not here: it needs more rights than this service has.
	if err := f.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", restoreUnit)); err != nil && ctx.Err() == nil {
		f.Say("%v", err)
	}
}
