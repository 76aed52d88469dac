package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/doctor"
)

// archiveSQL is what a primary says of its WAL's way into the archive, as one JSON object; null on a replica, whose WAL the
// primary archives.
const archiveSQL = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'null' ELSE (SELECT pg_catalog.json_build_object(
 'segment_bytes', (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size'),
 'current', current,
 'history', coalesce(pg_catalog.pg_read_file('pg_wal/' || pg_catalog.left(current, 8) || '.history', 0, 1048576, true), ''),
 'oldest', coalesce(oldest, ''), 'waiting', waiting, 'waiting_seconds', coalesce(waits, 0),
 'fails', CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_wal ELSE '' END,
 'archived_seconds', coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - last_archived_time), -1))::text
 FROM pg_catalog.pg_stat_archiver, (SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) AS current) AS written,
  (SELECT pg_catalog.count(*) AS waiting, extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.min(modification)) AS waits,
    pg_catalog.min(pg_catalog.substr(name, 9, 16)) FILTER (WHERE name ~ '^[0-9A-F]{24}[.]ready$') AS oldest
   FROM pg_catalog.pg_ls_archive_statusdir() WHERE name ~ '[.]ready$') AS status) END`

// readRepository says what the repository holds of the WAL that PostgreSQL counted as archived when it gave its facts. It is
// read through pgbackrest, which runs that program with some arguments.
func readRepository(ctx context.Context, pgbackrest func(context.Context, ...string) ([]byte, error), stanza string, f archive.Facts) *archive.Repository {
	s, err := askRepository(ctx, pgbackrest)
	if err != nil {
		return &archive.Repository{Error: brief(err)}
	}
	// From the newest backup on that leads to the database of now, everything is needed.
	for _, b := range slices.Backward(s.Backup) {
		if b.Error {
			continue
		}
		if way, ok := f.Way(b.Archive.Start); ok {
			hole, err := s.hole(ctx, pgbackrest, stanza, b.Database.ID, way, f.SegmentBytes)
			if err != nil {
				return &archive.Repository{Error: brief(err)}
			}
			return &archive.Repository{Backup: b.Label, Hole: hole}
		}
	}
	return &archive.Repository{}
}

// askRepository asks for the backups.
func askRepository(ctx context.Context, pgbackrest func(context.Context, ...string) ([]byte, error)) (stanza, error) {
	out, err := pgbackrest(ctx, "info", "--output=json")
	if err != nil {
		return stanza{}, fmt.Errorf("the repository does not answer: %w", err)
	}
	return parseInfo(out)
}

// hole lists the directories of the archive that a way goes through: a backup's WAL of a day is in few of them.
func (s stanza) hole(ctx context.Context, pgbackrest func(context.Context, ...string) ([]byte, error), name string, database int, way []archive.Segment, bytes uint64) (*archive.Hole, error) {
	id := ""
	for _, a := range s.Archive {
		if a.Database.ID == database {
			id = a.ID
		}
	}
	if id == "" {
		return nil, fmt.Errorf("the repository has no archive of database %d, of which it has a backup", database)
	}
	a := archived{pgbackrest: pgbackrest, path: "archive/" + name + "/" + id}
	held := map[string]time.Time{}
	for _, dir := range archive.Directories(way, bytes) {
		in, err := a.segments(ctx, dir)
		if err != nil {
			return nil, err
		}
		maps.Copy(held, in)
	}
	return archive.Missing(way, bytes, held), nil
}

// archiveFacts asks this machine's PostgreSQL; nil on a replica.
func (w *work) archiveFacts(ctx context.Context) (*archive.Facts, error) {
	rows, err := w.askSQL(ctx, socketDir, archiveSQL)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	var f *archive.Facts
	return f, json.Unmarshal([]byte(rows[0]), &f)
}

// examineArchive looks at the WAL of this machine, when it is the primary.
func (w *work) examineArchive(ctx context.Context, l *doctor.Look) {
	if w.Root != "/" || w.seed == nil {
		return
	}
	f, err := w.archiveFacts(ctx)
	if err != nil || f == nil {
		return // what keeps it from answering other checks say
	}
	state := f.State()
	if w.inRepository() {
		// Who reads a file system that does not answer cannot be killed, and is not waited for.
		found := make(chan *archive.Repository, 1)
		go func() {
			found <- readRepository(ctx, func(ctx context.Context, args ...string) ([]byte, error) {
				c := w.pgbackrest(args...)
				c.Disposable = true
				return w.Runner.Output(ctx, c)
			}, w.seed.Cluster.Scope, *f)
		}()
		select {
		case state.Repository = <-found:
		case <-ctx.Done():
			state.Repository = &archive.Repository{Error: "it does not answer in time"}
		}
	}
	l.Archive = &state
}
