package backup

import (
	"slices"
	"time"
)

// Surplus names the backups that may go: those with at least keep newer good ones that are also older than days. What a
// second machine deletes from the same directory at the same time does not matter: it spares the same newest ones.
func Surplus(all []Held, keep, days int, now time.Time) (names []string) {
	newest := slices.Clone(all)
	slices.SortStableFunc(newest, func(a, b Held) int { return b.At.Compare(a.At) })
	good := 0
	for _, h := range newest {
		if good >= max(keep, 1) && now.Sub(h.At) >= time.Duration(days)*24*time.Hour {
			names = append(names, h.Name)
		}
		if h.Good() {
			good++
		}
	}
	return names
}

// Newest is the newest good backup, or the one of that name; false when there is none.
func Newest(all []Held, name string) (newest Held, ok bool) {
	for _, h := range all {
		switch {
		case name != "" && h.Name == name:
			return h, true
		case name == "" && h.Good() && (!ok || h.At.After(newest.At)):
			newest, ok = h, true
		}
	}
	return newest, ok
}
