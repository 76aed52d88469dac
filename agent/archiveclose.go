package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pgbake/pgbake/cluster"
	"github.com/pgbake/pgbake/internal/run"
)

// closeUnit runs CloseArchive.
const closeUnit = "pgha-archive.service"

// CloseArchive brings the WAL into the archive that it lacks: what a primary had written, and not archived when it failed, lies on the
// member that took over as well, and PostgreSQL there counts it as archived. What is nowhere any more leaves a hole; then a backup is
// taken, from whose end on any moment can be restored again.
func (a *Agent) CloseArchive(ctx context.Context) error {
	const what = "close the archive"
	w, err := a.beginBackup(what)
	if err != nil || !w.inRepository() {
		return err
	}
	hole, err := w.bringMissing(ctx, what)
	if err != nil || !hole {
		return err
	}
	w.Say("no moment in the hole can be restored; a backup is taken, behind which any can")
	_, err = a.Backup(ctx, true)
	return err
}

// bringMissing pushes what this machine has of the segments that the archive lacks, and tells whether a hole is left. It keeps nobody from
// the backups: pushing what is there does no harm.
func (w *work) bringMissing(ctx context.Context, what string) (hole bool, err error) {
	for tried := false; ; tried = true {
		f, err := w.archiveFacts(ctx)
		if err != nil {
			return false, noAnswer(err)
		}
		if f == nil {
			return false, nil // another member leads by now
		}
		r := readRepository(ctx, w.askPgBackRest, w.seed.Cluster.Scope, *f)
		switch {
		case r.Error != "":
			return false, fmt.Errorf("%s: %s\n      hint: pgha doctor", what, r.Error)
		case r.Hole == nil:
			if tried {
				w.Say("the archive has all WAL behind %s again", r.Backup)
			}
			return false, nil
		case tried:
			return true, nil
		}
		w.Say("the archive lacks %d segments of WAL, from %s on, to %s", r.Hole.Segments, r.Hole.First, r.Hole.Last)
		for _, name := range r.Hole.Names {
			path := filepath.Join(w.databaseDir(), "pg_wal", name)
			if !exists(path) {
				continue
			}
			if err := w.Runner.Run(ctx, w.pgbackrest("archive-push", w.inside(path))); err != nil {
				return false, errors.Join(fmt.Errorf("%s: %w\n      hint: is the repository mounted, and does it answer? pgha doctor", what, err), context.Cause(ctx))
			}
		}
	}
}

// closes has the archive closed once for every timeline that this machine leads on, a failover's among them.
func (f *follower) closes(ctx context.Context) {
	c := f.seed.Cluster
	if f.seed.Machine.Role != cluster.DB || !c.Backup.Repository.Named() {
		return
	}
	m, err := f.api.member(ctx, f.seed.Machine.Address)
	if err != nil || !f.archive.next(m) {
		return
	}
	// Not here: it needs more rights than this service has.
	if err := f.Runner.Run(ctx, run.Command("systemctl", "start", "--no-block", closeUnit)); err != nil && ctx.Err() == nil {
		f.Say("%v", err)
	}
}

// closed is the timeline for which this machine's archive was closed last.
type closed int

// next tells whether it is to be closed now.
func (c *closed) next(m member) bool {
	if !m.leads() || !m.runs() || m.Timeline == 0 || m.Timeline == int(*c) {
		return false
	}
	*c = closed(m.Timeline)
	return true
}
