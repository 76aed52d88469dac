package agent

import (
	"slices"
	"time"

	"github.com/pgbake/pgbake/agent/backup"
	"github.com/pgbake/pgbake/cluster"
)

// What of pgBackRest's backups counts. One in which it found pages with wrong checksums it keeps, lists with an error, and counts among
// those that its retention spares: it goes by number or age alone. Here such a one counts for nothing.

const day = 24 * time.Hour

// fullBackup is one of them, from start to stop.
type fullBackup struct {
	start, stop time.Time
	good        bool
}

// fulls are the full backups, the newest first.
func (s stanza) fulls() (all []fullBackup) {
	for _, b := range slices.Backward(s.Backup) {
		if b.Type == "full" {
			all = append(all, fullBackup{time.Unix(b.Timestamp.Start, 0), time.Unix(b.Timestamp.Stop, 0), !b.Error})
		}
	}
	return all
}

// nextKind is what the next backup is to be: "full" when there is none of its time, else "diff", what differs from the newest full one,
// which must therefore be good.
func (s stanza) nextKind(b cluster.Backup, began time.Time) string {
	all := s.fulls()
	if b.Repository.Full == cluster.FullDaily || len(all) == 0 || !all[0].good || all[0].start.Before(backup.Due(b.At, true, began)) {
		return "full"
	}
	return "diff"
}

// retention is the number that expire is told in the place of the specification's: so many full backups, or days, that with the bad
// ones in between the good ones are spared which it would spare if there were no bad ones. pgBackRest spares those of the last days and,
// so that every moment of them can be restored, the newest one before.
func (s stanza) retention(keep, days int, now time.Time) int {
	all := s.fulls()
	if days == 0 {
		number, good := 0, 0
		for _, f := range all {
			if good == keep {
				return number
			}
			number++
			if f.good {
				good++
			}
		}
		return number + keep - good
	}
	older := func(f fullBackup, days int) bool { return f.stop.Before(now.Add(-time.Duration(days) * day)) }
	for i, f := range all {
		if !f.good || !older(f, days) {
			continue
		}
		if i == 0 || !older(all[i-1], days) {
			return days
		}
		// Bad ones lie between: so many days that they are all of the last ones.
		more := int(now.Sub(all[i-1].stop)/day) + 1
		return max(days, more)
	}
	return days
}
