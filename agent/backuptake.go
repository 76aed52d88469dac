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

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/internal/run"
)

// Backup takes one now, on this machine. On the primary it is refused while a replica could take it, unless here.
func (a *Agent) Backup(ctx context.Context, here bool) (backup.Record, error) {
	w, err := a.beginBackup("back up")
	if err != nil {
		return backup.Record{}, err
	}
	order := backup.Order(w.takers(ctx), "")
	self := w.seed.Machine.Name
	if !here && len(order) > 0 && !slices.Contains(order, self) {
		return backup.Record{}, fmt.Errorf("back up: it is for %s, and not for this machine\n      hint: run it there%s", strings.Join(order, " or "), w.orHere())
	}
	unlock, err := w.lockBackups("back up")
	if err != nil {
		return backup.Record{}, err
	}
	defer unlock()
	l, err := w.lease(ctx)
	switch {
	case err != nil:
		w.Say("the others do not hear of this backup now: %v", err)
	case l.restore.Holds():
		return backup.Record{}, fmt.Errorf("back up: not while the cluster is restored: %s\n      hint: wait for it; where it stands, on %s: pgha restore", l.restore, l.restore.Machine)
	case l.holder != "" && l.holder != self:
		return backup.Record{}, fmt.Errorf("back up: %s takes a backup at this moment\n      hint: wait for it: `pgha backup list` there", l.holder)
	default:
		defer l.keep(ctx)()
	}
	return w.takeBackup(ctx)
}

// orHere is the other way, where there is one.
func (w *work) orHere() string {
	if w.inRepository() {
		return ": pgBackRest copies from the primary"
	}
	return ", or here all the same: pgha backup --here"
}

// takeBackup takes a backup, notes what came of it, and only after a good one lets the oldest go. It is called under the lock.
func (w *work) takeBackup(ctx context.Context) (backup.Record, error) {
	began := time.Now()
	take := w.makeBackup
	if w.inRepository() {
		take = w.backupToRepository
	}
	r, err := take(ctx, began)
	done := backup.Done{At: began, Machine: w.seed.Machine.Name, Name: r.Name, Bytes: r.Bytes}
	counts := err == nil || errors.As(err, new(beside))
	if !counts {
		err = full(err, w.inside(w.backupDir()))
		done.Name, done.Bytes = "", 0
	}
	if err != nil {
		err = fmt.Errorf("back up: %w", err)
		done.Error = brief(err)
	}
	if noted := w.noteBackup(done); noted != nil {
		w.Say("%v", noted)
	}
	if counts {
		w.tell(ctx, "last", done)
	}
	if err != nil {
		return r, err
	}
	if w.inRepository() {
		return r, nil // expire has done it
	}
	return r, w.rotate(ctx, r.System)
}

// beside is an error beside a backup that is whole, verified, and counts.
type beside struct{ error }

func (b beside) Unwrap() error { return b.error }

// makeBackup makes one under a name of its own, and gives it the final one when it is complete and verified. A dump
// that fails costs the backup nothing: its record says so, and the error is beside.
func (w *work) makeBackup(ctx context.Context, began time.Time) (r backup.Record, err error) {
	if err := w.sweep(ctx); err != nil {
		return r, err
	}
	r, size, err := w.source(ctx)
	if err != nil {
		return r, err
	}
	dir, self := w.backupDir(), w.seed.Machine.Name
	for exists(filepath.Join(dir, backup.Name(began, self))) { // the one before was made within the same second
		began = began.Add(time.Second)
	}
	if r.Role == "replica" {
		if err := w.awaitReplay(ctx); err != nil {
			return r, err
		}
	}
	r.Name, r.At, r.Machine, r.Scope = backup.Name(began, self), began.UTC().Truncate(time.Second), self, w.seed.Cluster.Scope
	if err := w.roomFor(dir, size, "a backup"); err != nil {
		return r, err
	}
	work := filepath.Join(dir, backup.Partial(r.Name, self))
	if err := w.Runner.Run(ctx, w.asPostgres("mkdir", "--mode=700", work)); err != nil {
		return r, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.discard(ctx, work))
		}
	}()
	w.Say("take %s, about %s, from this %s", r.Name, Size(size), r.Role)
	if err := w.baseBackup(ctx, filepath.Join(work, "base")); err != nil {
		return r, err
	}
	r.Dumps, r.DumpError = w.dump(ctx, work)
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if r.Bytes, err = sizeOf(work); err != nil {
		return r, err
	}
	r.Verified, r.Ended = true, time.Now().UTC().Truncate(time.Second)
	if err := w.writeJSON(ctx, filepath.Join(work, "backup.json"), r); err != nil {
		return r, err
	}
	if err := errors.Join(os.Rename(work, filepath.Join(dir, r.Name)), syncDir(dir)); err != nil {
		return r, err
	}
	w.Say("%s is complete and verified: %s in %s", r.Name, Size(r.Bytes), r.Ended.Sub(r.At))
	if r.DumpError != "" {
		return r, beside{fmt.Errorf("%s is a good backup of the database, and a dump beside it failed; no older backup is removed: %s", r.Name, r.DumpError)}
	}
	return r, nil
}

// source asks PostgreSQL what there is to back up.
func (w *work) source(ctx context.Context) (r backup.Record, size int64, err error) {
	rows, err := w.askSQL(ctx, socketDir, `SELECT (SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database), pg_catalog.pg_is_in_recovery(),
		(SELECT system_identifier FROM pg_catalog.pg_control_system()), (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
		pg_catalog.current_setting('server_version_num')::int / 10000, (SELECT pg_catalog.count(*) FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global'))`)
	if err != nil {
		return r, 0, noAnswer(err)
	}
	f := strings.Split(strings.Join(rows, ""), "|")
	if len(f) != 6 {
		return r, 0, fmt.Errorf("PostgreSQL says %q of itself", rows)
	}
	if f[5] != "0" {
		return r, 0, errors.New("the database has tablespaces outside of its directory, which the other machines cannot clone either\n      hint: ALTER DATABASE … SET TABLESPACE pg_default, then DROP TABLESPACE")
	}
	r.Role = "primary"
	if f[1] == "t" {
		r.Role = "replica"
	}
	r.System = f[2]
	r.Timeline, _ = strconv.Atoi(f[3])
	r.Version, _ = strconv.Atoi(f[4])
	size, err = strconv.ParseInt(f[0], 10, 64)
	return r, size, err
}

// awaitReplay waits until this replica has all that the primary had written when it was called: what it copies is no older.
func (w *work) awaitReplay(ctx context.Context) error {
	p, why := w.survey(ctx).primary()
	if why != "" {
		return fmt.Errorf("how old this replica's database is nobody can say: %s\n      hint: pgha doctor", why)
	}
	err := w.whileMoving(ctx, "the replay", func(ctx context.Context) (advance, bool) {
		a := advance{stage: stageRuns, patience: standsStill}
		rows, err := w.askSQL(ctx, socketDir, "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::bigint")
		if err == nil {
			a.at, err = strconv.ParseInt(strings.Join(rows, ""), 10, 64)
		}
		if err != nil {
			a.unseen, a.text = true, short(err)
			return a, false
		}
		a.text = fmt.Sprintf("this replica lacks %s of what %s had written when the backup began", Size(p.WAL.Location-a.at), p.name)
		return a, a.at >= p.WAL.Location
	})
	if err != nil {
		return fmt.Errorf("%w\n      hint: `pgha doctor` says why it does not follow; another member can take the backup", err)
	}
	return nil
}

func noAnswer(err error) error {
	return fmt.Errorf("PostgreSQL of this machine does not answer: %w\n      hint: see `pgha status` and `journalctl -u patroni`; older backups are untouched", err)
}

// roomFor refuses before anything is written what would fill the disk.
func (w *work) roomFor(dir string, size int64, what string) error {
	free, err := room(dir)
	if err == nil && free < size+64<<20 { // WAL, and what changes meanwhile
		err = fmt.Errorf("%s has room for %s, and %s needs about %s; nothing was begun\n      hint: give it more room, or remove what is not needed there", w.inside(dir), Size(max(free, 0)), what, Size(size+64<<20))
	}
	return err
}

// baseBackup copies the database with the WAL that makes the copy whole, and has it verified against its manifest.
func (w *work) baseBackup(ctx context.Context, to string) error {
	if err := w.Runner.Run(ctx, w.basebackup(to)); err != nil {
		return fmt.Errorf("copy the database: %w", err)
	}
	return w.verify(ctx, to)
}

func (w *work) verify(ctx context.Context, base string) error {
	if err := w.Runner.Run(ctx, w.asPostgres(w.program("pg_verifybackup"), "--quiet", base)); err != nil {
		return fmt.Errorf("verify the copy: %w", err)
	}
	return nil
}

// dump writes the roles and the chosen databases as SQL can read them, whatever version of PostgreSQL comes next. One that fails leaves
// nothing behind, and keeps none of the others away; failed says which, in one line.
func (w *work) dump(ctx context.Context, work string) (names []string, failed string) {
	var why []string
	one := func(what, file string, c run.Cmd) bool {
		err := w.Runner.Run(ctx, c)
		if err == nil {
			return true
		}
		w.Say("dump %s: %v", what, full(err, w.inside(filepath.Dir(work))))
		why = append(why, what+": "+short(err))
		if err := w.Runner.Run(ctx, w.asPostgres("rm", "-f", file)); err != nil {
			w.Say("%v", err)
		}
		return false
	}
	globals := filepath.Join(work, "globals.sql")
	one("the roles", globals, w.dumpAll(globals))
	for _, db := range w.seed.Cluster.Backup.Dump {
		file := filepath.Join(work, db+".dump")
		if one("the database "+db, file, w.dumpOne(db, file)) {
			names = append(names, db)
		}
	}
	return names, strings.Join(why, "; ")
}

// rotate removes what is kept no longer of a database's backups. Each first gets another name: half a backup never looks like a whole one.
func (w *work) rotate(ctx context.Context, system string) error {
	all, err := w.held(ctx)
	if err != nil {
		return err
	}
	b, dir := w.seed.Cluster.Backup, w.backupDir()
	for _, name := range backup.Surplus(all, backup.Keep{System: system, Good: b.Keep, Days: b.KeepDays}, time.Now()) {
		to := filepath.Join(dir, backup.Removing(name, w.seed.Machine.Name))
		err := os.Rename(filepath.Join(dir, name), to)
		if errors.Is(err, os.ErrNotExist) {
			continue // another machine was faster
		}
		if err == nil {
			w.Say("remove %s: there are %d newer ones", name, b.Keep)
			err = w.discard(ctx, to)
		}
		if err != nil {
			return fmt.Errorf("remove the backup %s: %w", name, err)
		}
	}
	return nil
}

// brief is an error in one line, for a record: without hints, and of a program's lines the last.
func brief(err error) string {
	lines := strings.Split(err.Error(), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(strings.TrimSpace(l), "hint:") || strings.TrimSpace(l) == ""
	})
	if last := len(lines) - 1; last > 0 {
		return lines[0] + ": " + strings.TrimSpace(lines[last])
	}
	return strings.Join(lines, "")
}
