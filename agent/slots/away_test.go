package slots

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A slot is released once for each absence that is long enough, and again when that failed.
func TestDue(t *testing.T) {
	const m = time.Minute
	type look struct {
		at      time.Duration
		members string // that should stream
		streams string
		due     string
		fails   bool
	}
	for name, looks := range map[string][]look{
		"all are there":             {{0, "db2 db3", "db2 db3", "", false}, {9 * m, "db2 db3", "db2 db3", "", false}},
		"one is away":               {{0, "db2 db3", "db3", "", false}, {AwayTime, "db2 db3", "db3", "db2", false}, {9 * m, "db2 db3", "db3", "", false}},
		"a reboot":                  {{0, "db2", "", "", false}, {AwayTime - 1, "db2", "", "", false}, {AwayTime, "db2", "db2", "", false}, {AwayTime + m, "db2", "", "", false}},
		"away twice":                {{0, "db2", "", "", false}, {2 * m, "db2", "", "db2", false}, {3 * m, "db2", "db2", "", false}, {4 * m, "db2", "", "", false}, {6 * m, "db2", "", "db2", false}},
		"it did not work":           {{0, "db2", "", "", false}, {2 * m, "db2", "", "db2", true}, {3 * m, "db2", "", "db2", false}, {4 * m, "db2", "", "", false}},
		"both":                      {{0, "db2 db3", "", "", false}, {2 * m, "db2 db3", "", "db2 db3", false}},
		"it is removed":             {{0, "db2 db3", "", "", false}, {2 * m, "db3", "", "db3", false}},
		"a failover, and back":      {{0, "db2", "", "", false}, {m, "", "", "", false}, {2 * m, "db2", "", "", false}, {4 * m, "db2", "", "db2", false}},
		"nobody has been there yet": {{0, "", "", "", false}},
	} {
		t.Run(name, func(t *testing.T) {
			var a Away
			began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			for _, l := range looks {
				there := strings.Fields(l.streams)
				due := a.Due(strings.Fields(l.members), func(m string) bool { return slices.Contains(there, m) }, began.Add(l.at))
				if got := strings.Join(due, " "); got != l.due {
					t.Errorf("after %s: %q is due, want %q", l.at, got, l.due)
				}
				for _, m := range due {
					if !l.fails {
						a.Released(m)
					}
				}
			}
		})
	}
}
