package verify

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ms(n int) time.Time { return day.Add(time.Duration(n) * time.Millisecond) }

// Two members that lead one after the other are a failover; at the same time they are a split brain.
func TestTwoLed(t *testing.T) {
	type said struct {
		member          string
		what            state
		asked, answered int
	}
	for name, tt := range map[string]struct {
		said []said
		want string
	}{
		"a failover": {[]said{
			{"node1", primary, 0, 5}, {"node1", primary, 200, 205}, {"node2", replica, 200, 205},
			{"node1", silent, 400, 2400}, {"node2", primary, 2300, 2305}, {"node2", primary, 2500, 2505},
		}, ""},
		"a slow answer of the old primary proves nothing": {[]said{
			{"node1", primary, 0, 5}, {"node1", primary, 200, 1900}, {"node2", primary, 1000, 1005}, {"node2", primary, 1200, 1205},
		}, ""},
		"both": {[]said{
			{"node1", primary, 0, 5}, {"node2", primary, 100, 105}, {"node2", primary, 300, 305}, {"node1", primary, 400, 405},
		}, "node1 and node2"},
		"an old primary that comes back to life": {[]said{
			{"node1", primary, 0, 5}, {"node1", silent, 200, 2200}, {"node2", primary, 3000, 3005},
			{"node1", primary, 4000, 4005}, {"node2", primary, 4100, 4105}, {"node1", primary, 4200, 4205},
		}, "node2 and node1"},
	} {
		w := &watch{states: map[string]state{}}
		for _, s := range tt.said {
			w.saw(s.member, s.what, ms(s.asked), ms(s.answered))
		}
		if got := w.twoLed(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestAccount(t *testing.T) {
	a := Account{{1, ms(0)}, {2, ms(20)}, {4, ms(5020)}, {5, ms(5040)}}
	longest, since := a.Outage()
	if longest != 5*time.Second || !since.Equal(ms(20)) {
		t.Errorf("outage %s since %s", longest, since)
	}
	if got := a.Lost(map[int]bool{1: true, 3: true, 5: true}); !cmp.Equal(got, []int{2, 4}) {
		t.Errorf("lost %v", got)
	}
	if got := a.Since(ms(20)).Until(ms(5020)); !cmp.Equal(got, Account{{4, ms(5020)}}) {
		t.Errorf("between: %v", got)
	}
}

func TestStandbyNames(t *testing.T) {
	for value, want := range map[string]struct {
		wait  int
		names []string
	}{
		"":                              {0, nil},
		"node2":                         {1, []string{"node2"}},
		`"shop-db2"`:                    {1, []string{"shop-db2"}},
		"ANY 1 (node1,node3)":           {1, []string{"node1", "node3"}},
		`ANY 2 ("db-1", "db-2","db-3")`: {2, []string{"db-1", "db-2", "db-3"}},
		"2 (node1, node2)":              {2, []string{"node1", "node2"}},
		"FIRST 1 (node1)":               {1, []string{"node1"}},
		"*":                             {1, []string{"*"}},
		"ANY 1 (replica1, replica2)":    {1, []string{"replica1", "replica2"}},
	} {
		wait, names := standbyNames(value)
		if wait != want.wait || !cmp.Equal(names, want.names) {
			t.Errorf("%q: %d of %q, want %d of %q", value, wait, names, want.wait, want.names)
		}
	}
}
