package archive

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Timeline is one timeline of a cluster: where it began, why, and when.
type Timeline struct {
	ID uint32
	// Parent is the timeline that it began on, Fork the position there, in bytes of WAL. Zero when no history file says so.
	Parent uint32
	Fork   uint64
	// Restored tells that it came of a restore, which took the database back to an earlier state: its parent has WAL behind Fork
	// that is not in it. Otherwise it came of a failover or a switchover.
	Restored bool
	// To is what the database was restored to, in words.
	To string
	// Since is when its history file was archived, which a primary does first on a new timeline. Zero when it is not in the archive.
	Since time.Time
}

// goesOn is what PostgreSQL writes as the reason of a timeline that began where the WAL ended. Every restore that has a target
// gives another one: https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/access/transam/xlogrecovery.c,
// getRecoveryStopReason.
const goesOn = "no recovery target specified"

// restoredComment begins a comment that pgha adds to a timeline's history file. PostgreSQL reads over comments, and copies them
// into the files of later timelines.
const restoredComment = "# restored by pgha to "

// Comment is the line for the history file of a restored database: what it was restored to.
func Comment(to string) string { return restoredComment + to + "\n" }

// ReadHistory reads the history file of a timeline: the timeline itself comes last, before it all that it descends from, the
// oldest first. The first timeline has no such file: an empty text is no error.
func ReadHistory(id uint32, text string) ([]Timeline, error) {
	all := []Timeline{{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		newest := &all[len(all)-1]
		if to, ours := strings.CutPrefix(line, restoredComment); ours {
			newest.Restored, newest.To = true, to
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var parent, high, low uint32
		if n, _ := fmt.Sscanf(line, "%d %X/%X", &parent, &high, &low); n != 3 || parent <= newest.Parent || parent >= id {
			return nil, fmt.Errorf("read the history of timeline %d: %q", id, line)
		}
		reason := ""
		if fields := strings.SplitN(line, "\t", 3); len(fields) == 3 {
			reason = fields[2]
		}
		newest.ID = parent
		all = append(all, Timeline{Parent: parent, Fork: uint64(high)<<32 | uint64(low)})
		if reason != goesOn {
			if reason == "reached consistency" {
				reason = "the end of a backup"
			}
			all[len(all)-1].Restored, all[len(all)-1].To = true, reason
		}
	}
	all[len(all)-1].ID = id
	return all, nil
}

// HistoryOf is the timeline whose history a file of the archive is.
func HistoryOf(name string) (id uint32, ok bool) {
	number, found := strings.CutSuffix(name, ".history")
	n, err := strconv.ParseUint(number, 16, 32)
	return uint32(n), found && len(number) == 8 && err == nil
}

// Position reads a place in the WAL as PostgreSQL writes it, such as 0/4000158.
func Position(s string) (position uint64, ok bool) {
	high, low, _ := strings.Cut(s, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	return h<<32 | l, err1 == nil && err2 == nil
}

// Segments lists what recovery reads from a segment on up to a number, which is not among them, along timelines of which each began on the one before it.
// False when the first one is not on that way: a timeline was left before it.
func Segments(way []Timeline, bytes uint64, first Segment, last uint64) (all []Segment, ok bool) {
	from := slices.IndexFunc(way, func(t Timeline) bool { return t.ID == first.Timeline })
	if from < 0 {
		return nil, false
	}
	at := first.Number
	for i, t := range way[from:] {
		end := last
		if next := from + i + 1; next < len(way) {
			fork := way[next].Fork / bytes
			if i == 0 && first.Number > fork {
				return nil, false
			}
			// The segment in which a timeline ends is in the next one's, too.
			end = min(fork, last)
		}
		for ; at < end; at++ {
			all = append(all, Segment{t.ID, at})
		}
	}
	return all, true
}
