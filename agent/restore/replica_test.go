package restore

import (
	"testing"
	"time"
)

// phase is how long a member says the same; grows is how many bytes it copies in each second of it.
type phase struct {
	long  time.Duration
	seen  Seen
	grows int64
}

// play shows a copy the phases of a member in simulated time, a look each second. The order is taken at once: what a member does
// about it is in the phases.
func play(phases []phase) (orders int, is State, what string, took time.Duration) {
	var r Replica
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	began := now
	for _, p := range phases {
		for end := now.Add(p.long); now.Before(end); now = now.Add(time.Second) {
			p.seen.Current = 5
			p.seen.Bytes += p.grows
			is, what = r.Next(p.seen, now)
			switch is {
			case Old:
				orders++
				r.Ordered(now)
			case Follows, Left:
				return orders, is, what, now.Sub(began)
			case Copying:
			}
		}
	}
	return orders, is, what, now.Sub(began)
}

func TestCopies(t *testing.T) {
	const day = 24 * time.Hour
	old := Seen{Answers: true, State: "running", Timeline: 4}
	creating, starting := Seen{Answers: true, State: "creating replica"}, Seen{Answers: true, State: "starting"}
	recovers, streams := Seen{Answers: true, State: "running", Timeline: 5}, Seen{Answers: true, State: "streaming", Timeline: 5, Streams: true}
	another := Seen{Answers: true, State: "running", Timeline: 5, Another: true}
	stopped, failed := Seen{Answers: true, State: "stopped"}, Seen{Answers: true, State: "start failed"}
	for what, tt := range map[string]struct {
		phases []phase
		orders int
		is     State
		why    string
	}{
		"a small database":           {[]phase{{time.Second, old, 0}, {10 * time.Second, creating, 1}, {time.Second, starting, 0}, {time.Second, streams, 0}}, 1, Follows, ""},
		"61 s of copying":            {[]phase{{time.Second, old, 0}, {61 * time.Second, creating, 1}, {2 * time.Second, starting, 0}, {time.Second, streams, 0}}, 1, Follows, ""},
		"ten minutes, then recovery": {[]phase{{time.Second, old, 0}, {10 * time.Minute, creating, 1}, {10 * time.Minute, starting, 0}, {time.Hour, recovers, 1}, {time.Second, streams, 0}}, 1, Follows, ""},
		"nine hours":                 {[]phase{{time.Second, old, 0}, {9 * time.Hour, creating, 1}, {3 * time.Hour, starting, 0}, {5 * time.Hour, recovers, 1}, {time.Second, streams, 0}}, 1, Follows, ""},
		"slow to obey":               {[]phase{{20 * time.Second, old, 0}, {10 * time.Second, stopped, 0}, {time.Hour, creating, 1}, {time.Second, streams, 0}}, 1, Follows, ""},
		"it copies already":          {[]phase{{time.Hour, creating, 1}, {time.Minute, starting, 0}, {time.Second, streams, 0}}, 0, Follows, ""},
		"it streams already":         {[]phase{{time.Second, streams, 0}}, 0, Follows, ""},
		"away for half a minute":     {[]phase{{time.Second, old, 0}, {time.Minute, creating, 1}, {30 * time.Second, Seen{}, 0}, {time.Minute, creating, 1}, {time.Second, streams, 0}}, 1, Follows, ""},
		"a copy that fails once":     {[]phase{{time.Second, old, 0}, {5 * time.Minute, creating, 1}, {time.Second, stopped, 0}, {5 * time.Minute, creating, 1}, {time.Second, streams, 0}}, 2, Follows, ""},
		"another database, on a timeline of the same number":  {[]phase{{time.Second, another, 0}, {time.Hour, creating, 1}, {time.Second, starting, 0}, {time.Second, streams, 0}}, 1, Follows, ""},
		"its Patroni does not look which database it has now": {[]phase{{time.Second, another, 0}, {time.Hour, creating, 1}, {time.Second, starting, 0}, {time.Hour, another, 1}, {20 * time.Second, another, 0}, {time.Second, streams, 0}}, 1, Follows, ""},
		"copies that always fail":                             {[]phase{{time.Second, old, 0}, {day, failed, 0}}, 6, Left, `it is "start failed": its copy failed 6 times`},
		"it never answered":                                   {[]phase{{day, Seen{}, 0}}, 0, Left, "it does not answer"},
		"a copy that stands still":                            {[]phase{{time.Second, old, 0}, {time.Hour, creating, 1}, {day, Seen{Answers: true, State: "creating replica", Bytes: 7 << 20}, 0}}, 1, Left, "it has 7 MiB, and has not moved for 30m0s"},
		"it recovers without end":                             {[]phase{{time.Second, old, 0}, {48 * time.Hour, starting, 0}}, 1, Left, `it is "starting" for 24h0m0s`},
	} {
		orders, is, why, took := play(tt.phases)
		if orders != tt.orders || is != tt.is || why != tt.why {
			t.Errorf("%s: %d orders, %d %q after %s; want %d, %d %q", what, orders, is, why, took, tt.orders, tt.is, tt.why)
		}
	}
}
