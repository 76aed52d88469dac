package backup

import (
	"slices"
	"time"
)

// Keep is what stays of the backups in a directory.
type Keep struct {
	// System is the database's identifier. Backups of another one are never removed: it may be the one that was lost.
	System string
	// Good is how many good ones stay, at least one; Days how old the others must be.
	Good, Days int
}

// ahead is how far a backup's clock may have been ahead of this machine's. What lies further in the future came from a clock that was
// wrong: it counts for nothing, and stays.
const ahead = time.Hour

// Surplus names the backups that may go: those with at least as many newer good ones as are kept, that are also older than the days. What
// a second machine deletes from the same directory at the same time does not matter: it spares the same newest ones.
func Surplus(all []Held, keep Keep, now time.Time) (names []string) {
	newest := slices.DeleteFunc(slices.Clone(all), func(h Held) bool { return h.System != keep.System || h.At.After(now.Add(ahead)) })
	slices.SortStableFunc(newest, func(a, b Held) int { return b.At.Compare(a.At) })
	good := 0
	for _, h := range newest {
		if good >= max(keep.Good, 1) && now.Sub(h.At) >= time.Duration(keep.Days)*24*time.Hour {
			names = append(names, h.Name)
		}
		if h.Good() {
			good++
		}
	}
	return names
}

// Newest is the backup of that name, or the newest good one of the database with a system identifier when none is named, or of any other
// database; false when there is none.
func Newest(all []Held, name, system string, another bool, now time.Time) (newest Held, ok bool) {
	for _, h := range all {
		switch {
		case name != "" && h.Name == name:
			return h, true
		case name == "" && h.Good() && (h.System == system) != another && !h.At.After(now.Add(ahead)) && (!ok || h.At.After(newest.At)):
			newest, ok = h, true
		}
	}
	return newest, ok
}
