package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
)

// turnPause is how often a machine looks whether a backup has been taken: all of them do so at the same time, for hours.
const turnPause = 5 * time.Second

// ScheduledBackup is what every member does when a backup is due: one of them takes it, the others wait until it is
// taken, and take it themselves when that one does not.
func (a *Agent) ScheduledBackup(ctx context.Context) error {
	w, err := a.beginBackup("back up")
	if err != nil {
		return err
	}
	began := time.Now()
	due := backup.Due(w.seed.Cluster.Backup.At, false, began)
	said := ""
	for {
		o := backup.Observation{Self: w.seed.Machine.Name, Members: w.takers(ctx), Due: due, Now: time.Now(), Waited: time.Since(began)}
		l, err := w.lease(ctx)
		if err == nil {
			o.Etcd, o.Holder, o.Last, o.Restore = true, l.holder, l.last, ""
			if l.restore.Holds() {
				o.Restore = l.restore.String()
			}
		}
		action, why := backup.Decide(o)
		if why != said {
			w.Say("%s", why)
			said = why
		}
		switch action {
		case backup.Take:
			unlock, err := w.lockBackups("back up")
			if err != nil {
				return err
			}
			defer unlock()
			if l != nil {
				defer l.keep(ctx)()
			}
			_, err = w.takeBackup(ctx)
			return err
		case backup.Leave:
			if l.last.Machine == w.seed.Machine.Name {
				return nil
			}
			return w.noteBackup(l.last)
		case backup.Claim:
			if err := l.claim(ctx); err != nil {
				w.Say("the lease is tried for again: %v", err)
			}
		case backup.Wait:
		}
		if time.Since(began) > backupTime {
			err := fmt.Errorf("back up: the backup of %s was not taken: %s", due.Format(time.DateTime), why)
			return errors.Join(err, w.noteBackup(backup.Done{At: time.Now(), Machine: w.seed.Machine.Name, Error: err.Error()}))
		}
		pause := turnPause
		if action == backup.Claim {
			pause = poll
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
