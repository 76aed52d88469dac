package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/agent/restore"
)

// GiveUpRestore ends a restore without the restored database: this machine's own, or that of a machine which is lost. Of the
// databases nothing is removed but a copy that has never run. It says what it leaves.
func (a *Agent) GiveUpRestore(ctx context.Context) error {
	const what = "give the restore up"
	r, err := a.CurrentRestore()
	if err != nil {
		return err
	}
	w, err := a.beginBackup(what)
	if err != nil {
		return err
	}
	unlock, err := w.lockBackups(what)
	if err != nil {
		return err
	}
	defer unlock()
	if r == nil {
		err = w.giveUpLost(ctx)
	} else {
		x := w.restoring(r)
		defer x.giveServices()
		err = x.giveUp(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// giveUp ends this machine's own.
func (x *restoring) giveUp(ctx context.Context) error {
	o, at := x.observe(ctx)
	if !o.Etcd {
		if x.Undoable() && !x.Note.Claimed { // nobody has heard of it
			return errors.Join(x.discardStaged(ctx), x.forget())
		}
		return errors.New("etcd does not answer\n      hint: pgha doctor")
	}
	elsewhere := o.Holder != x.seed.Machine.Name || o.Leader != "" && o.Leader != x.seed.Machine.Name && o.Has == restore.Before
	exchanged := o.Disk.Aside
	switch {
	case x.Note.Done:
		return x.finish(ctx, at)
	case exchanged && o.Disk.Started && !elsewhere && o.Paused:
		return fmt.Errorf("the restored database is in its place, and applications may have written to it\n      hint: `pgha restore --yes` goes on; the one of before is kept in %s", x.Plan.Aside)
	case exchanged && o.Disk.Started && !elsewhere: // it serves: only its copies are waited for
		x.Say("restore: the restored database stays; how far its copies are says pgha status")
		return x.finish(ctx, at)
	}
	if x.Note.Committed {
		if err := x.holdServices(ctx); err != nil {
			return err
		}
	}
	if exchanged {
		if err := x.stop(ctx); err != nil {
			return err
		}
		if err := x.back(); err != nil {
			return err
		}
	}
	if x.Note.Committed {
		var err error
		if o.Holder == x.seed.Machine.Name {
			err = x.giveBack(ctx, at)
		} else {
			err = x.letPatroniGo(ctx) // whoever gave it up has ended the pause
		}
		if err != nil {
			return err
		}
	}
	// Not by what was seen before: this may have been killed when the directories had their names of before again.
	if x.hasRun(ctx, x.Plan.Staged) {
		x.Say("restore: the restored database, which has run, is kept in %s; when nothing of it is needed: rm -r %[1]s", x.Plan.Staged)
	} else if err := x.discardStaged(ctx); err != nil {
		return err
	}
	if err := x.releaseRestore(ctx, at, x.seed.Machine.Name); err != nil {
		return err
	}
	x.giveServices()
	return x.forget()
}

// giveUpLost ends the restore of a machine that does not answer any more: Patroni goes on with what the others have.
func (w *work) giveUpLost(ctx context.Context) error {
	at, err := w.etcd(ctx)
	if err != nil {
		return err
	}
	r, err := w.api.restoring(ctx, at)
	switch {
	case err != nil:
		return err
	case r == nil:
		return errors.New("none was begun")
	case r.Machine != w.seed.Machine.Name:
		if m, ok := w.seed.Cluster.Machine(r.Machine); ok && w.answers(ctx, m.Address) {
			return fmt.Errorf("it is that of %s, which answers\n      hint: run it there", r.Machine)
		}
	}
	x := w.restoring(&Restore{})
	if !r.Exchanges() {
		w.Say("the restore of %s is given up", r.Machine)
		return w.releaseRestore(ctx, at, r.Machine)
	}
	// Before the pause ends: who comes back finds that it was given up.
	if err := w.releaseRestore(ctx, at, r.Machine); err != nil {
		return err
	}
	if r.Step == backup.StepStart || r.Step == backup.StepResume {
		// Patroni may know by now that the cluster is on the restored database's history, and that nobody else has all rows of it.
		for _, key := range []string{"history", "sync"} {
			if err := w.api.call(ctx, at, "kv/deleterange", map[string]any{"key": []byte(w.patroniKey(key))}, &struct{}{}); err != nil {
				return err
			}
		}
		w.Say("the restored database may have run: what applications wrote to it is on %s alone", r.Machine)
	}
	w.Say("the restore of %s is given up: Patroni goes on with what the others have", r.Machine)
	return x.pause(ctx, at, false)
}

// answers tells whether anything of pgha's or Patroni's does at an address.
func (w *work) answers(ctx context.Context, addr netip.Addr) bool {
	if w.api.patroniAnswers(ctx, addr) {
		return true
	}
	_, err := w.api.doorState(ctx, addr)
	return err == nil
}
