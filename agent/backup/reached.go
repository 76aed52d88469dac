package backup

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/archive"
)

// Reached is where recovery ended, by what PostgreSQL logged.
type Reached struct {
	// Last is when the last transaction was completed that is in the database; zero when there was none since the backup.
	Last time.Time `json:"last,omitzero"`
	// Next is when the first one was that is not in it; zero when recovery did not see one.
	Next time.Time `json:"next,omitzero"`
}

// What PostgreSQL logs when it ends a recovery, before a time. lc_messages must be C:
// https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/access/transam/xlogrecovery.c
const (
	lastLogged = "last completed transaction was at log time "
	stopLogged = "recovery stopping before "
	// TargetMissed is its error when the WAL ends before a transaction behind the moment.
	TargetMissed = "recovery ended before configured recovery target was reached"
)

// ReadReached reads PostgreSQL's log of a recovery, whose times have their zone as a number.
func ReadReached(log string) (r Reached, err error) {
	for line := range strings.Lines(log) {
		if _, at, ok := strings.Cut(line, lastLogged); ok {
			if r.Last, err = loggedTime(at); err != nil {
				return r, err
			}
		}
		if _, rest, ok := strings.Cut(line, stopLogged); ok {
			if _, at, ok := strings.Cut(rest, ", time "); ok {
				if r.Next, err = loggedTime(at); err != nil {
					return r, err
				}
			}
		}
	}
	return r, nil
}

func loggedTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999-07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("read PostgreSQL's log of the recovery: %q is no time", s)
}

// Beyond tells whether the database has a transaction of after a moment. Zero stands for no moment.
func (r Reached) Beyond(to time.Time) bool { return !to.IsZero() && r.Last.After(to) }

// Says is what is in the database, for people, with times of a zone.
func (r Reached) Says(zone *time.Location) string {
	said := "no transaction was completed since the backup"
	if !r.Last.IsZero() {
		said = "the last transaction in it is of " + r.Last.In(zone).Format(archive.Moment)
	}
	if !r.Next.IsZero() {
		said += ", and the next one, of " + r.Next.In(zone).Format(archive.Moment) + ", is not"
	}
	return said
}
