package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
	"github.com/pgbake/pgbake/agent/backup"
)

// timelines are those that history files tell of. The history of the timeline that the database is on is known: it may not be
// archived yet. A file is read only when no later one has told what it says.
func (a archived) timelines(ctx context.Context, live uint32, history string) ([]archive.Timeline, error) {
	since := map[uint32]time.Time{}
	for name, at := range a.files {
		if id, ok := archive.HistoryOf(name); ok {
			since[id] = at
		}
	}
	known := map[uint32]archive.Timeline{}
	read := func(id uint32, text string) error {
		all, err := archive.ReadHistory(id, text)
		for _, t := range all {
			if _, told := known[t.ID]; !told || t.ID == id {
				known[t.ID] = t
			}
		}
		return err
	}
	if history != "" || live == 1 {
		if err := read(live, history); err != nil {
			return nil, err
		}
	}
	ids := make([]uint32, 0, len(since))
	for id := range since {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range slices.Backward(ids) {
		if _, told := known[id]; told {
			continue
		}
		text, err := a.pgbackrest(ctx, "repo-get", fmt.Sprintf("%s/%08X.history", a.path, id))
		if err != nil {
			return nil, fmt.Errorf("read the history of timeline %d in the repository: %w", id, err)
		}
		if err := read(id, string(text)); err != nil {
			return nil, err
		}
	}
	all := make([]archive.Timeline, 0, len(known))
	for id, t := range known {
		t.Since = since[id]
		all = append(all, t)
	}
	return all, nil
}

// backups are the good and the bad ones of one database, as far as it matters where they lead.
func (s stanza) backups(database int, segmentBytes uint64, held []backup.Held) (all []archive.Backup) {
	for _, b := range s.Backup {
		stop, ok := archive.Parse(b.Archive.Stop, segmentBytes)
		if b.Database.ID != database || !ok {
			continue
		}
		end, exact := archive.Position(b.LSN.Stop)
		if !exact {
			end = (stop.Number + 1) * segmentBytes
		}
		good := slices.ContainsFunc(held, func(h backup.Held) bool { return h.Name == b.Label && h.Good() })
		all = append(all, archive.Backup{
			Name: b.Label, Timeline: stop.Timeline, Began: time.Unix(b.Timestamp.Start, 0).UTC(), Ended: time.Unix(b.Timestamp.Stop, 0).UTC(), End: end, Good: good,
		})
	}
	return all
}

// database is pgBackRest's number of the database with this system identifier, and the name of its archive.
func (s stanza) database(system string) (number int, id string, err error) {
	for _, db := range s.DB {
		if db.System.String() == system {
			number = db.ID
		}
	}
	for _, a := range s.Archive {
		if a.Database.ID == number {
			return number, a.ID, nil
		}
	}
	return 0, "", fmt.Errorf("the repository has no archive of this database, whose system identifier is %s", system)
}

// chooseMoment finds the backup and the timeline that lead to f.To, and what the archive lacks on the way.
func (w *work) chooseMoment(ctx context.Context, f *backup.Facts, held []backup.Held, name string) error {
	r, err := w.readPast(ctx, f, held)
	if err != nil {
		return err
	}
	c, err := r.past.To(f.To, name)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(held, func(h backup.Held) bool { return h.Name == c.Backup.Name })
	f.From, f.Timeline, f.Left = held[at], fmt.Sprint(c.Timeline), c.Left
	if c.Timeline == c.Backup.Timeline {
		f.Timeline = "current" // a history file is not needed for it
	}
	var facts *archive.Facts
	if c.Timeline == r.past.Live {
		facts, _ = w.archiveFacts(ctx) // what PostgreSQL counts as archived; without it, what there is
	}
	if f.Hole, err = r.archived.holeTo(ctx, c.Way, r.segmentBytes, r.firstSegment(c.Backup.Name), facts, f.To); err != nil {
		w.Say("whether the archive is whole behind %s is not known: %v", c.Backup.Name, err)
	}
	return nil
}

// chooseNewest finds the backup and the timeline that lead to f.To, or to the end of what there is, of another database than this
// machine's: that of h.
func (w *work) chooseNewest(ctx context.Context, f *backup.Facts, held []backup.Held, h backup.Held, name string) error {
	lost := *f
	lost.System = h.System
	r, err := w.readPast(ctx, &lost, held)
	if err != nil {
		return err
	}
	to := f.To
	if to.IsZero() {
		to = f.Now
	}
	c, err := r.past.To(to, name)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(held, func(h backup.Held) bool { return h.Name == c.Backup.Name })
	f.From, f.Timeline = held[at], fmt.Sprint(c.Timeline)
	if c.Timeline == c.Backup.Timeline {
		f.Timeline = "current"
	}
	if f.Hole, err = r.archived.holeTo(ctx, c.Way, r.segmentBytes, r.firstSegment(c.Backup.Name), nil, to); err != nil {
		w.Say("whether the archive is whole behind %s is not known: %v", c.Backup.Name, err)
	}
	if f.Hole != nil && f.To.IsZero() {
		w.Say("the archive has a hole: %d segments of WAL, from %s on, are not there; what was written behind it is lost", f.Hole.Segments, f.Hole.First)
	}
	return nil
}

// readPast is the past of a database, with what it was read from.
type readPast struct {
	past         archive.Past
	stanza       stanza
	archived     archived
	segmentBytes uint64
}

// readPast reads what the repository holds of the database with f.System.
func (w *work) readPast(ctx context.Context, f *backup.Facts, held []backup.Held) (r readPast, err error) {
	control, err := w.controlOf(ctx, f.Data)
	if err != nil {
		return r, err
	}
	r.segmentBytes, err = strconv.ParseUint(control["Bytes per WAL segment"], 10, 64)
	if err != nil || r.segmentBytes == 0 {
		return r, fmt.Errorf("pg_controldata says %q of the size of WAL segments", control["Bytes per WAL segment"])
	}
	var live uint32
	var history string
	if f.System == systemID(f.Data) { // of another database it says nothing
		if live, history, err = w.liveHistory(ctx, f.Data, control); err != nil {
			return r, err
		}
	}
	if r.stanza, err = w.repositoryInfo(ctx); err != nil {
		return r, err
	}
	database, id, err := r.stanza.database(f.System)
	if err != nil {
		return r, err
	}
	if r.archived, err = archivedIn(ctx, w.askPgBackRest, w.seed.Cluster.Scope, id); err != nil {
		return r, err
	}
	timelines, err := r.archived.timelines(ctx, live, history)
	r.past = archive.Past{Backups: r.stanza.backups(database, r.segmentBytes, held), Timelines: timelines, Live: live}
	return r, err
}

// liveHistory is the timeline that the database in a directory is on now, and what its history file says.
func (w *work) liveHistory(ctx context.Context, data string, control map[string]string) (live uint32, history string, err error) {
	live = uint32(w.laterTimeline(ctx, timelineOf(control))) //nolint:gosec // a timeline's number
	body, err := readTheirs(filepath.Join(data, "pg_wal", fmt.Sprintf("%08X.history", live)))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return live, string(body), err
}

// chooseOfNow has the newest backup be one of what the cluster went on with, unless one is named, and says of another what it is.
func (w *work) chooseOfNow(ctx context.Context, f *backup.Facts, held []backup.Held, newest backup.Held, name string) backup.Held {
	past, err := w.pastOf(ctx, f, held)
	if err != nil {
		w.Say("whether %s is of what the cluster went on with is not known: %v", newest.Name, err)
		return newest
	}
	if ofNow := past.Newest(newest.At); name == "" && ofNow != "" {
		newest = held[slices.IndexFunc(held, func(h backup.Held) bool { return h.Name == ofNow })]
	}
	f.Left = past.LeftOf(newest.Name, f.Now.Location())
	return newest
}

// pastOf is the past of the database of now, by the repository's backups or by those in the directory.
func (w *work) pastOf(ctx context.Context, f *backup.Facts, held []backup.Held) (archive.Past, error) {
	if f.Repository {
		r, err := w.readPast(ctx, f, held)
		return r.past, err
	}
	control, err := w.controlOf(ctx, f.Data)
	if err != nil {
		return archive.Past{}, err
	}
	live, history, err := w.liveHistory(ctx, f.Data, control)
	if err != nil {
		return archive.Past{}, err
	}
	return directoryPast(f.System, live, history, held)
}

// directoryPast goes by when backups were taken: where in the WAL they end is not known, and restores go to the end of one of them.
func directoryPast(system string, live uint32, history string, held []backup.Held) (archive.Past, error) {
	timelines, err := archive.ReadHistory(live, history)
	for i := range timelines {
		t := &timelines[i]
		t.Fork = math.MaxUint64 // a failover leaves no backup behind
		name, ok := strings.CutPrefix(t.To, "the end of ")
		if at, isBackup := backup.Taken(name); t.Restored && ok && isBackup {
			t.Fork = uint64(at.Unix()) //nolint:gosec // after 1970
		}
	}
	p := archive.Past{Timelines: timelines, Live: live}
	for _, h := range held {
		if h.System == system {
			p.Backups = append(p.Backups, archive.Backup{
				Name: h.Name, Timeline: uint32(h.Timeline), Began: h.At, Ended: h.Ended, End: uint64(h.At.Unix()), Good: h.Good(), //nolint:gosec // a timeline's number, and after 1970
			})
		}
	}
	return p, err
}

// firstSegment is the one that recovery of a backup begins with.
func (r readPast) firstSegment(label string) (first archive.Segment) {
	for _, b := range r.stanza.Backup {
		if b.Label == label {
			first, _ = archive.Parse(b.Archive.Start, r.segmentBytes)
		}
	}
	return first
}
