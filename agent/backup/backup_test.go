package backup

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var night = time.Date(2026, 11, 26, 2, 0, 0, 0, time.UTC)

// held are backups of the last nights, the newest first: "+" is a good one, "-" one that could not be restored.
func held(nights string) (all []Held) {
	for i, c := range nights {
		at := night.AddDate(0, 0, -i)
		h := Held{Record: Record{Name: fmt.Sprint(i), At: at, Verified: true, System: "7"}}
		if c == '-' {
			h.Proof = Proof{At: at, Error: "no good"}
		}
		all = append(all, h)
	}
	return all
}

func TestSurplus(t *testing.T) {
	for _, tt := range []struct {
		what, nights string
		keep, days   int
		now          time.Time
		want         []string
	}{
		{"fewer than are kept", "+++", 7, 0, night, nil},
		{"as many as are kept", "+++", 3, 0, night, nil},
		{"the oldest go", "+++++", 3, 0, night, []string{"3", "4"}},
		{"not before their age", "+++++", 3, 4, night, []string{"4"}},
		{"age alone removes none", "+++", 3, 1, night.AddDate(1, 0, 0), nil},
		{"what cannot be restored does not count", "--+++", 3, 0, night, nil},
		{"and goes with the others of its age", "++-+-", 2, 0, night, []string{"2", "3", "4"}},
		{"all bad: all stay", "-----", 1, 0, night, nil},
		{"a clock that was set back removes no more", "+++++", 3, 0, night.AddDate(-1, 0, 0), nil},
		{"no count is one", "++", 0, 0, night, []string{"1"}},
		{"none", "", 3, 0, night, nil},
	} {
		if d := cmp.Diff(tt.want, Surplus(held(tt.nights), Keep{"7", tt.keep, tt.days}, tt.now)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, d)
		}
	}
}

// All machines were lost, the directory was not, and another database has begun under the same scope: the backups of the lost one stay.
func TestSurplusOfAnotherDatabase(t *testing.T) {
	lost := held("++++")
	for i := range lost {
		lost[i].Name, lost[i].System = "lost"+lost[i].Name, "6"
	}
	for nights := range 9 {
		all := append(slices.Clone(lost), held(strings.Repeat("+", nights))...)
		for _, name := range Surplus(all, Keep{"7", 2, 0}, night) {
			if strings.HasPrefix(name, "lost") {
				t.Errorf("after %d nights %s goes", nights, name)
			}
		}
	}
}

// A clock that was years ahead has left backups that seem to be the newest: they do not push the real ones out.
func TestSurplusBesideTheFuture(t *testing.T) {
	future := held("++")
	for i := range future {
		future[i].Name, future[i].At = "future"+future[i].Name, future[i].At.AddDate(4, 0, 0)
	}
	if d := cmp.Diff([]string{"2", "3"}, Surplus(append(future, held("++++")...), Keep{"7", 2, 0}, night)); d != "" {
		t.Error(d)
	}
}

// Two machines rotate one shared directory, at any moment of the other's work: keep good ones are always left.
func TestSurplusOfTwoMachines(t *testing.T) {
	for before := 0; before <= 9; before++ {
		for after := 0; after <= 3; after++ { // how many backups come between the two looks
			all := held("+++++++++")[9-before:]
			first := Surplus(all, Keep{"7", 3, 0}, night)
			more := held("+++++++++++++")[9-min(before+after, 9):]
			gone := map[string]bool{}
			for _, name := range append(first, Surplus(more, Keep{"7", 3, 0}, night)...) {
				gone[name] = true
			}
			left := 0
			for _, h := range more {
				if !gone[h.Name] {
					left++
				}
			}
			if left < min(3, len(more)) {
				t.Errorf("%d backups, then %d more: %d are left", before, after, left)
			}
		}
	}
}

func TestDecide(t *testing.T) {
	three := []Member{{Name: "db1", Primary: true}, {Name: "db2", Replica: true}, {Name: "db3", Replica: true}}
	base := Observation{Self: "db2", Members: three, Etcd: true, Due: night, Now: night}
	for what, tt := range map[string]struct {
		change func(*Observation)
		want   Action
		why    string
	}{
		"the first replica claims":            {func(*Observation) {}, Claim, "nobody else takes it"},
		"the second leaves it to the first":   {func(o *Observation) { o.Self = "db3" }, Wait, "db2 comes first"},
		"but not for ever":                    {func(o *Observation) { o.Self = "db3"; o.Waited = Grace }, Claim, "nobody else takes it"},
		"who took the last one goes on":       {func(o *Observation) { o.Last.Machine = "db3" }, Wait, "db3 comes first"},
		"never the primary beside replicas":   {func(o *Observation) { o.Self = "db1"; o.Waited = time.Hour }, Wait, "it is for db2, not for this machine"},
		"the primary where there is no other": {func(o *Observation) { o.Self = "db1"; o.Members = three[:1] }, Claim, "nobody else takes it"},
		"the lease is here":                   {func(o *Observation) { o.Holder = "db2" }, Take, "this machine has the lease"},
		"the lease is elsewhere":              {func(o *Observation) { o.Holder = "db3" }, Wait, "db3 takes it"},
		"the lease is here, PostgreSQL is not": {func(o *Observation) { o.Holder = "db2"; o.Members = []Member{three[0], {Name: "db2"}, three[2]} },
			Wait, "it is for db3, not for this machine"},
		"taken already":         {func(o *Observation) { o.Last = Done{At: night, Machine: "db3"} }, Leave, "db3 has taken one at 2026-11-26 02:00:00"},
		"taken yesterday":       {func(o *Observation) { o.Last = Done{At: night.Add(-time.Minute), Machine: "db2"} }, Claim, "nobody else takes it"},
		"taken next year":       {func(o *Observation) { o.Last = Done{At: night.AddDate(1, 0, 0), Machine: "db2"} }, Claim, "nobody else takes it"},
		"etcd is down":          {func(o *Observation) { o.Etcd = false }, Take, "etcd does not answer: this machine is the first that could, and takes it without a lease"},
		"etcd is down, not me":  {func(o *Observation) { o.Etcd = false; o.Self = "db3"; o.Waited = time.Hour }, Wait, "etcd does not answer, and it is for db2"},
		"PostgreSQL is nowhere": {func(o *Observation) { o.Members = []Member{{Name: "db1"}, {Name: "db2"}} }, Wait, "no member of the cluster says that its PostgreSQL runs"},
	} {
		o := base
		tt.change(&o)
		if got, why := Decide(o); got != tt.want || why != tt.why {
			t.Errorf("%s: %d, %q; want %d, %q", what, got, why, tt.want, tt.why)
		}
	}
}

func TestDue(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) // a Thursday
	for _, tt := range []struct {
		at     string
		weekly bool
		want   string
	}{
		{"02:00", false, "2026-11-26 02:00:00"},
		{"12:00", false, "2026-11-26 12:00:00"},
		{"12:01", false, "2026-11-25 12:01:00"},
		{"02:00", true, "2026-11-22 02:00:00"},
	} {
		if got := Due(tt.at, tt.weekly, now).Format(time.DateTime); got != tt.want {
			t.Errorf("%s, weekly %t: %s, want %s", tt.at, tt.weekly, got, tt.want)
		}
	}
}

func TestLeftover(t *testing.T) {
	name := Name(night, "db1")
	for _, tt := range []struct {
		dir  string
		want bool
	}{
		{Partial(name, "db1"), true},
		{Removing(Name(night, "db2"), "db1"), true},
		{Proving("db1"), true},
		{Partial(Name(night, "db2"), "db2"), false},
		{Proving("other-db1"), false},
		{name, false},
		{"lost+found", false},
		{".snapshot", false},
	} {
		if got := Leftover(tt.dir, "db1"); got != tt.want {
			t.Errorf("%s: %t", tt.dir, got)
		}
	}
	if !IsName(name) || IsName(Partial(name, "db1")) || IsName("lost+found") {
		t.Error("names and other names")
	}
}

func TestNewest(t *testing.T) {
	all := held("-+++")
	for _, h := range held("++") {
		h.Name, h.System, h.At = "lost"+h.Name, "6", h.At.Add(-12*time.Hour)
		all = append(all, h)
	}
	all = append(all, Held{Record: Record{Name: "future", System: "7", Verified: true, At: night.AddDate(5, 0, 0)}})
	for _, tt := range []struct {
		name    string
		another bool
		want    string
	}{{"", false, "1"}, {"", true, "lost0"}, {"0", false, "0"}, {"lost1", false, "lost1"}, {"none", false, ""}} {
		if got, ok := Newest(all, tt.name, "7", tt.another, night); got.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("%+v: %s", tt, got.Name)
		}
	}
}
