package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/backup"
)

// stagedMark tells that a restored database is ready to take the other one's place.
const stagedMark = "pgha.restored"

func (x *restoring) base() string { return filepath.Join(x.backupDir(), x.Plan.Backup, "base") }

// check verifies the backup before anything depends on it.
func (x *restoring) check(ctx context.Context) error {
	if x.Plan.Repository && x.Plan.Another != "" {
		return nil // the archive takes nothing of the database of today
	}
	if x.Plan.Repository {
		if unit, err := x.postmasterUnit(); err != nil || unit == "" {
			return err // what is not archived yet cannot be had
		}
		// PostgreSQL knows that it has reached a moment by a transaction of after it. There may be none: this is one.
		if _, err := x.askSQL(ctx, socketDir, "SELECT pg_catalog.pg_current_xact_id() WHERE NOT pg_catalog.pg_is_in_recovery()"); err != nil {
			x.Say("restore: a transaction of after the moment could not be made: %v", err) // one that gives no numbers out any more is restored, too
		}
		return x.Runner.Run(ctx, x.pgbackrest("check")) // it waits until the WAL of this moment is in the archive
	}
	return x.verify(ctx, x.base())
}

// stage makes the restored database ready, beside the one that serves: all that takes long, and all that may fail.
func (x *restoring) stage(ctx context.Context) error {
	dir := x.Plan.Staged
	if exists(filepath.Join(dir, stagedMark)) {
		return nil
	}
	if err := x.discardStaged(ctx); err != nil { // an earlier attempt's
		return err
	}
	tick := time.NewTicker(roomTick)
	defer tick.Stop()
	return x.stageWhile(ctx, tick.C, func() (int64, error) { return room(filepath.Dir(x.Plan.Data)) })
}

// discardStaged removes the restored database beside the one that serves, unless it has been the cluster's: then it may hold rows that
// nothing else has. What was noted of it goes first.
func (x *restoring) discardStaged(ctx context.Context) error {
	if x.hasRun(ctx, x.Plan.Staged) {
		return fmt.Errorf("the restored database in %s has run, and may have rows that nothing else has: it is not removed\n      hint: pgha restore --give-up keeps it", x.inside(x.Plan.Staged))
	}
	if x.Timeline > 0 {
		x.Timeline, x.Checkpoint, x.Plan.Reached = 0, "", nil
		if err := x.note(); err != nil {
			return err
		}
	}
	return x.discard(ctx, x.Plan.Staged)
}

// stageWhile makes it ready while there is room, and else leaves nothing of it on the disk.
func (x *restoring) stageWhile(ctx context.Context, tick <-chan time.Time, free func() (int64, error)) error {
	err := whileRoom(ctx, tick, free, x.makeReady)
	if left, looked := free(); err == nil || !errors.Is(err, errNoRoom) && (looked != nil || left >= 0) {
		return err
	}
	took, _ := sizeOf(x.Plan.Staged)
	return errors.Join(noRoomFor(x.inside(x.Plan.Data), took, x.Plan.Bytes, err), x.discard(ctx, x.Plan.Staged))
}

// makeReady copies what is restored, and has it recover.
func (x *restoring) makeReady(ctx context.Context) error {
	dir := x.Plan.Staged
	switch {
	case x.Plan.Newest():
		if err := x.fromRepository(ctx, dir, x.Plan.Backup, "--type=default", "--target-timeline="+x.Plan.Timeline); err != nil {
			return err
		}
		return x.recover(ctx)
	case x.Plan.Repository && x.Plan.To.IsZero():
		if err := x.fromRepository(ctx, dir, x.Plan.Backup, "--type=immediate", "--target-action=promote"); err != nil {
			return err
		}
		return x.recover(ctx, "recovery_target_timeline=current")
	case x.Plan.Repository && x.Plan.Timeline == "":
		return errors.New("an older pgha has begun this restore, and did not say on which timeline the moment lies\n      hint: pgha restore --give-up, and once more")
	case x.Plan.Repository:
		if err := x.fromRepository(ctx, dir, x.Plan.Backup, "--type=time", "--target-action=promote", "--target="+x.Plan.Moment(), "--target-timeline="+x.Plan.Timeline); err != nil {
			return err
		}
		return x.recover(ctx)
	}
	if err := x.copyOf(ctx, x.base(), dir); err != nil {
		return err
	}
	// Not recovery_target=immediate: it leaves out what was committed while a replica's backup was taken.
	return x.recover(ctx, "restore_command=/bin/false", "recovery_target_timeline=current")
}

// recover lets PostgreSQL recover the staged copy and end it as a database of its own: on a new timeline, later than any
// that this cluster has seen, so that nothing of before can pass for it.
func (x *restoring) recover(ctx context.Context, options ...string) error {
	dir := x.Plan.Staged
	live, err := x.bringHistories(ctx)
	if err != nil {
		return err
	}
	if err := x.write(ctx, filepath.Join(dir, "recovery.signal"), nil); err != nil {
		return err
	}
	// What is to be archived waits for the cluster's own command: the new timeline's history, above all.
	s, err := x.startScratch(ctx, dir, "restore", append([]string{"archive_mode=on", "archive_command=/bin/false", "recovery_target_action=promote"}, options...)...)
	if err != nil {
		return x.missed(err)
	}
	reached, err := s.reached()
	if err := errors.Join(err, s.stop(ctx)); err != nil {
		return err
	}
	x.Say("restore: %s", reached.Says(x.Plan.To.Location()))
	if reached.Beyond(x.Plan.To) {
		return fmt.Errorf("the restored database has a transaction of %s, after the moment that was asked for", reached.Last)
	}
	control, err := x.controlOf(ctx, dir)
	if err != nil {
		return err
	}
	got := timelineOf(control)
	if got <= live || control["Database cluster state"] != "shut down" {
		return fmt.Errorf("the restored database is on timeline %d and %q; it must be shut down, and on a later timeline than %d, which the cluster is on",
			got, control["Database cluster state"], live)
	}
	if err := x.comment(ctx, got); err != nil {
		return err
	}
	x.Plan.Reached, x.Timeline, x.Checkpoint = &reached, got, control["Latest checkpoint location"]
	if err := x.note(); err != nil {
		return err
	}
	for _, name := range []string{scratchLog, "pgha.hba.conf", "pgha.ident.conf"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return x.write(ctx, filepath.Join(dir, stagedMark), nil)
}

// bringHistories lets the copy know the timelines that the cluster has had, and returns the number of the last. Of another database it
// need not know: by its system identifier nothing of that passes for it.
func (x *restoring) bringHistories(ctx context.Context) (live int, err error) {
	if x.Plan.Another != "" {
		return 0, nil
	}
	d, _, err := x.readDCS(ctx)
	if err != nil {
		return 0, err
	}
	seen, err := filepath.Glob(filepath.Join(x.Plan.Data, "pg_wal/*.history"))
	if err != nil {
		return 0, err
	}
	for _, history := range seen {
		if err := x.Runner.Run(ctx, x.asPostgres("cp", "--archive", "--no-clobber", history, filepath.Join(x.Plan.Staged, "pg_wal"))); err != nil {
			return 0, err
		}
	}
	return x.liveTimeline(ctx, d, x.askMembers(ctx), false), nil
}

// missed says what else could be asked for when the WAL ended before a transaction of after the moment.
func (x *restoring) missed(err error) error {
	if err == nil || !strings.Contains(err.Error(), backup.TargetMissed) {
		return err
	}
	return fmt.Errorf("%w\n      hint: the archive has no transaction of after %s on that timeline, and PostgreSQL cannot tell whether it has all until then; "+
		"ask for a moment before the last completed transaction", err, x.Plan.Moment())
}

// comment notes in the history file of the restored database's timeline, before that is archived, that it came of a restore:
// PostgreSQL's own reason does not tell where recovery had no target.
func (x *restoring) comment(ctx context.Context, timeline int) error {
	path := filepath.Join(x.Plan.Staged, "pg_wal", fmt.Sprintf("%08X.history", timeline))
	history, err := readTheirs(path)
	if err != nil {
		return err
	}
	return x.write(ctx, path, append(history, archive.Comment(x.Plan.Moment())...))
}

// laterTimeline is the one that Patroni says this machine's database is on, when it is later than the one in the control file.
func (w *work) laterTimeline(ctx context.Context, controls int) int {
	if m, err := w.api.member(ctx, w.seed.Machine.Address); err == nil {
		return max(controls, m.Timeline)
	}
	return controls
}

func timelineOf(control map[string]string) int {
	n, _ := strconv.Atoi(control["Latest checkpoint's TimeLineID"])
	return n
}

// ownConfiguration are the files in the data directory that are this machine's, not the database's. By postmaster.opts
// pg_ctl starts it as Patroni did.
var ownConfiguration = []string{
	"postgresql.conf", "postgresql.base.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf", "patroni.dynamic.json", "postmaster.opts",
}

// exchange gives the database of today, with everything in it, another name, and the restored one its place.
func (x *restoring) exchange(ctx context.Context) error {
	p := x.Plan
	if exists(p.Staged) {
		if !exists(filepath.Join(p.Staged, stagedMark)) {
			return fmt.Errorf("%s is not ready to take its place: somebody has changed it\n      hint: pgha restore --give-up, and once more", p.Staged)
		}
		from := p.Data
		if !exists(from) {
			from = p.Aside // stopped between the two renames
		}
		for _, name := range ownConfiguration {
			if !exists(filepath.Join(from, name)) {
				continue
			}
			if err := x.Runner.Run(ctx, x.asPostgres("cp", "--archive", filepath.Join(from, name), filepath.Join(p.Staged, name))); err != nil {
				return err
			}
		}
	}
	parent := filepath.Dir(p.Data)
	if exists(p.Data) && exists(p.Staged) {
		if exists(p.Aside) {
			return fmt.Errorf("%s is there already, and is left alone", p.Aside)
		}
		if err := errors.Join(os.Rename(p.Data, p.Aside), syncDir(parent)); err != nil {
			return err
		}
	}
	if exists(p.Staged) {
		if err := errors.Join(os.Rename(p.Staged, p.Data), syncDir(parent)); err != nil {
			return err
		}
	}
	return x.unmark()
}

// unmark takes the mark from the restored database, once it has its place: copies of it are none of a restore's.
func (x *restoring) unmark() error {
	if err := os.Remove(filepath.Join(x.Plan.Data, stagedMark)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// back takes an exchange back: the database of before gets its place again, and the restored one the name that it had, without
// the mark.
func (x *restoring) back() error {
	p := x.Plan
	parent := filepath.Dir(p.Data)
	if exists(p.Data) && !exists(p.Staged) {
		if err := x.unmark(); err != nil {
			return err
		}
		if err := errors.Join(os.Rename(p.Data, p.Staged), syncDir(parent)); err != nil {
			return err
		}
	}
	return errors.Join(os.Rename(p.Aside, p.Data), syncDir(parent))
}

// Left says what remains of the database of before.
func (r *Restore) Left() string {
	return fmt.Sprintf("the database of before is kept in %s; when nothing of it is needed: rm -r %[1]s", r.Plan.Aside)
}

// Moment is what the database goes back to.
func (r *Restore) Moment() string { return r.Plan.Moment() }

// Done tells which steps are behind.
func (r *Restore) Done(s backup.Step) bool {
	return slices.Index(backup.Steps, s) < slices.Index(backup.Steps, r.Next)
}
