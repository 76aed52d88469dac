package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/internal/libpq"
)

// proofName is the file in a backup that says what came of its last proof.
const proofName = "proof.json"

// Prove restores a backup on trial, the newest one when none is named: it is verified, copied, started, recovered and
// read from end to end, beside the database that serves. What came of it is noted; a backup that cannot be restored is an error.
func (a *Agent) Prove(ctx context.Context, name string) (backup.Proof, error) {
	w, err := a.beginBackup("prove")
	if err != nil {
		return backup.Proof{}, err
	}
	return w.proveOne(ctx, name)
}

// ScheduledProof is what every member does when a proof is due. Who has the cluster's newest backup proves it; the others wait
// for what comes of it.
func (a *Agent) ScheduledProof(ctx context.Context) error {
	w, err := a.beginBackup("prove")
	if err != nil {
		return err
	}
	b := w.seed.Cluster.Backup
	began := time.Now()
	due := backup.Due(b.ProveAt(), b.Prove == "weekly", began)
	said := ""
	for {
		l, err := w.lease(ctx)
		var why string
		switch {
		case err == nil && l.restore.Holds():
			why = "the cluster is restored: " + l.restore.String()
		case err == nil && !l.proof.At.Before(due) && !l.proof.At.After(time.Now().Add(time.Hour)):
			if l.proof.Error == "" || l.last.Machine != w.seed.Machine.Name {
				return w.noteProof(l.proof)
			}
			return nil // it failed here, and is not tried for ever
		case err == nil && l.last.Machine == w.seed.Machine.Name, err != nil && w.hasBackup(ctx):
			_, err := w.proveOne(ctx, "")
			return err
		case err != nil:
			why = "etcd does not answer, and no backup is here"
		case l.last.Machine == "":
			why = "there is no backup of this cluster yet"
		default:
			why = l.last.Machine + " has the newest backup, and proves it"
		}
		if why != said {
			w.Say("%s", why)
			said = why
		}
		if time.Since(began) > backupTime {
			err := fmt.Errorf("prove: no backup was restored on trial: %s", why)
			return errors.Join(err, w.noteProof(backup.Proof{At: time.Now().UTC(), Error: err.Error()}))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(turnPause):
		}
	}
}

func (w *work) hasBackup(ctx context.Context) bool {
	all, err := w.held(ctx)
	return err == nil && len(all) > 0
}

func (w *work) proveOne(ctx context.Context, name string) (backup.Proof, error) {
	unlock, err := w.lockBackups("prove")
	if err != nil {
		return backup.Proof{}, err
	}
	defer unlock()
	if err := w.sweep(ctx); err != nil {
		return backup.Proof{}, err
	}
	all, err := w.held(ctx)
	if err != nil {
		return backup.Proof{}, err
	}
	h, ok := newestTaken(all, name, systemID(w.databaseDir()))
	if !ok {
		return backup.Proof{}, noBackup("prove", name)
	}
	p := backup.Proof{At: time.Now().UTC().Truncate(time.Second), Backup: h.Name}
	w.Say("restore %s on trial", h.Name)
	p.Found, err = w.tryOut(ctx, h)
	if ctx.Err() != nil {
		return p, context.Cause(ctx) // the backup is not to blame
	}
	var short *notNow
	if errors.As(err, &short) {
		return p, fmt.Errorf("prove %s: %w", h.Name, err)
	}
	if err != nil {
		err = fmt.Errorf("prove %s: %w\n      hint: take another one now, and prove it: pgha backup, pgha backup prove; this one does not count among those to keep", h.Name, err)
		p.Error = brief(err)
	}
	w.tell(ctx, "proof", p)
	if !w.inRepository() {
		err = errors.Join(err, w.writeJSON(ctx, filepath.Join(w.backupDir(), h.Name, proofName), p))
	}
	return p, errors.Join(err, w.noteProof(p))
}

// notNow is a reason not to prove a backup that says nothing about the backup.
type notNow struct{ error }

func noBackup(what, name string) error {
	if name != "" {
		return fmt.Errorf("%s: there is no backup %s on this machine\n      hint: pgha backup list", what, name)
	}
	return fmt.Errorf("%s: there is no good backup on this machine\n      hint: `pgha backup list` here and on the other members; `pgha backup` takes one", what)
}

// newestTaken is the newest one of this database, also when an earlier proof of it has failed.
func newestTaken(all []backup.Held, name, system string) (newest backup.Held, ok bool) {
	for _, h := range all {
		if name == "" && h.System == system && (!ok || h.At.After(newest.At)) || h.Name == name {
			newest, ok = h, true
		}
	}
	return newest, ok
}

// tryOut does what a restore would, in a directory beside that is gone afterwards.
func (w *work) tryOut(ctx context.Context, h backup.Held) (found string, err error) {
	base, size := filepath.Join(w.backupDir(), h.Name, "base"), h.Bytes
	if !w.inRepository() {
		if err := w.verify(ctx, base); err != nil {
			return "", err
		}
		if size, err = sizeOf(base); err != nil {
			return "", err
		}
	}
	if err := w.roomFor(w.backupDir(), size, "its restored copy"); err != nil {
		return "", &notNow{err}
	}
	if !w.inRepository() {
		defer func() {
			if err != nil && !exists(base) { // another machine rotates the same directory
				err = &notNow{errors.New("it was removed meanwhile: newer ones have taken its place")}
			}
		}()
	}
	dir := filepath.Join(w.backupDir(), backup.Proving(w.seed.Machine.Name))
	defer func() { err = errors.Join(err, w.discard(ctx, dir)) }()
	var to archiveEnd
	if w.inRepository() {
		// All WAL that there is behind it, not only what makes it whole: any moment until now is to be had.
		if to, err = w.archiveEnd(ctx, h); err != nil {
			return "", err
		}
		err = w.fromRepository(ctx, dir, h.Name, "--type=default", "--target-timeline="+to.timeline)
	} else {
		err = w.copyOf(ctx, base, dir)
	}
	if err != nil {
		return "", err
	}
	s, err := w.startScratch(ctx, dir, "proof", "archive_mode=off")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.stop(ctx)) }()
	if found, err = s.read(ctx); err != nil || !w.inRepository() {
		return found, err
	}
	whole, err := s.recoveredTo(to)
	return found + "; " + whole, err
}

// archiveEnd is how far the archive goes: the timeline that a backup leads to, as recovery_target_timeline takes it, and where in the WAL the
// newest segment begins that the archive has of it, in bytes.
type archiveEnd struct {
	timeline string
	newest   uint64
}

// archiveEnd asks the repository. A backup of a timeline that the cluster has left leads to the end of that one.
func (w *work) archiveEnd(ctx context.Context, h backup.Held) (e archiveEnd, err error) {
	all, err := w.held(ctx)
	if err != nil {
		return e, err
	}
	r, err := w.readPast(ctx, &backup.Facts{Data: w.databaseDir(), System: h.System}, all)
	if err != nil {
		return e, err
	}
	e.timeline = "current"
	timeline := uint32(h.Timeline) //nolint:gosec // a timeline's number
	if c, err := r.past.To(time.Now(), h.Name); err == nil && c.Timeline != c.Backup.Timeline {
		timeline, e.timeline = c.Timeline, fmt.Sprint(c.Timeline)
	}
	name, err := r.archived.newest(ctx, timeline)
	if s, ok := archive.Parse(name, r.segmentBytes); ok {
		e.newest = s.Number * r.segmentBytes
	}
	return e, err
}

// recoveredTo says how far the copy has recovered, which is less than the archive has where a segment is missing.
func (s *scratch) recoveredTo(e archiveEnd) (string, error) {
	reached, err := s.reached()
	if err != nil {
		return "", err
	}
	histories, err := filepath.Glob(filepath.Join(s.dir, "pg_wal/*.history"))
	if err != nil || len(histories) == 0 {
		return "", errors.Join(err, errors.New("the copy that has recovered has no history"))
	}
	own, err := readTheirs(slices.Max(histories))
	if err != nil {
		return "", err
	}
	f, ok := lastFork(own)
	if !ok {
		return "", fmt.Errorf("read %s: it names no timeline", slices.Max(histories))
	}
	to := "; no transaction of after it is archived"
	if !reached.Last.IsZero() {
		to = " to " + reached.Last.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if uint64(f.at) < e.newest { //nolint:gosec // a place in the WAL
		return fmt.Sprintf("WAL is MISSING at %X/%X, and the archive has some behind that%s", f.at>>32, f.at&0xffffffff, to), nil
	}
	return "all WAL behind it" + to, nil
}

// counting reads every row of every table, and says how many tables and rows are not the system's own.
const counting = `SELECT pg_catalog.count(*) FILTER (WHERE theirs), coalesce(pg_catalog.sum(rows) FILTER (WHERE theirs), 0) FROM (
	SELECT nspname NOT IN ('pg_catalog', 'information_schema') AS theirs,
		(pg_catalog.xpath('/row/c/text()', pg_catalog.query_to_xml(pg_catalog.format('SELECT pg_catalog.count(*) AS c FROM ONLY %I.%I', nspname, relname), false, true, '')))[1]::pg_catalog.text::bigint AS rows
	FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
	WHERE relkind IN ('r', 'm') AND relispopulated AND relpersistence = 'p') t`

// read reads all of it.
func (s *scratch) read(ctx context.Context) (string, error) {
	w := s.w
	if err := s.makeReader(ctx); err != nil {
		return "", fmt.Errorf("read the copy: %w", err)
	}
	databases, err := w.askSQL(ctx, s.socket, "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1")
	if err != nil {
		return "", fmt.Errorf("read the copy: %w", err)
	}
	var tables, rows int64
	for _, db := range databases {
		if err := s.letIn(ctx, db); err != nil {
			return "", fmt.Errorf("read the database %s of the copy: %w", db, err)
		}
		counted, err := w.askDatabase(ctx, s.socket, s.reader, db, counting)
		if err != nil {
			return "", fmt.Errorf("read the database %s of the copy: %w", db, err)
		}
		t, r, _ := strings.Cut(strings.Join(counted, ""), "|")
		n, errTables := strconv.ParseInt(t, 10, 64)
		m, errRows := strconv.ParseInt(r, 10, 64)
		if err := errors.Join(errTables, errRows); err != nil {
			return "", fmt.Errorf("read the database %s of the copy: it says %q", db, counted)
		}
		tables, rows = tables+n, rows+m
	}
	found := fmt.Sprintf("%d databases, %d tables, %d rows", len(databases), tables, rows)
	if !exists(w.program("pg_amcheck")) {
		return found + "; not checked: there is no pg_amcheck", nil
	}
	if err := w.Runner.Run(ctx, w.amcheck(s.socket)); err != nil {
		return "", fmt.Errorf("check tables and indexes of the copy: %w", err)
	}
	return found + "; every table and index checked", nil
}

// makeReader makes a role in the copy that reads everything and may do nothing: what a database's owner has put into it runs as
// nobody who matters.
func (s *scratch) makeReader(ctx context.Context) error {
	_, err := s.w.askSQL(ctx, s.socket, "CREATE ROLE "+s.reader+" LOGIN BYPASSRLS; GRANT pg_read_all_data TO "+s.reader)
	return err
}

// letIn lets the reader into a database, whose owner may let nobody in.
func (s *scratch) letIn(ctx context.Context, database string) error {
	name := libpq.Ident(database)
	_, err := s.w.askSQL(ctx, s.socket, "ALTER DATABASE "+name+" CONNECTION LIMIT -1; GRANT CONNECT ON DATABASE "+name+" TO "+s.reader)
	return err
}
