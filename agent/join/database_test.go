package join

import (
	"testing"
	"time"
)

func TestDecideDatabase(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Database
		want DatabaseStep
	}{
		{"first of all", Database{}, LetPatroni},
		{"a clone is to be made", Database{Initialize: Made, Cluster: "7"}, LetPatroni},
		{"mine", Database{There: true, System: "7", Initialize: Made, Cluster: "7"}, LetPatroni},
		{"the first one was done, and the machine switched off before it was seen", Database{There: true, System: "7", Unfinished: true, Initialize: Made, Cluster: "7"}, LetPatroni},
		{"another's", Database{There: true, System: "8", Initialize: Made, Cluster: "7"}, Refuse},
		{"no identifier, and not begun here", Database{There: true, Initialize: Made, Cluster: "7"}, Refuse},
		{"a database before the cluster", Database{There: true, System: "8"}, Refuse},
		{"a database, and another machine makes the first one", Database{There: true, System: "8", Initialize: Reserved, AtWork: true}, Refuse},
		{"initdb was cut short", Database{There: true, System: "8", Unfinished: true, Initialize: Reserved}, AsideDatabase},
		{"initdb was cut short, and its reservation released", Database{There: true, System: "8", Unfinished: true}, AsideDatabase},
		{"initdb was cut short, and another machine has made it since", Database{There: true, System: "8", Unfinished: true, Initialize: Made, Cluster: "7"}, AsideDatabase},
		{"initdb was cut short, and another machine makes it now", Database{There: true, System: "8", Unfinished: true, Initialize: Reserved, AtWork: true}, AsideDatabase},
		{"a base backup was cut short", Database{There: true, Unfinished: true, Initialize: Made, Cluster: "7"}, AsideDatabase},
		{"a base backup that never started", Database{There: true, System: "7", Copied: true, Unfinished: true, Initialize: Made, Cluster: "7"}, AsideDatabase},
		{"a base backup that has run here", Database{There: true, System: "7", Copied: true, Initialize: Made, Cluster: "7"}, LetPatroni},
		{"another machine is at it", Database{Initialize: Reserved, AtWork: true, Idle: time.Hour}, LetPatroni},
		{"mine is adopted", Database{Adoptee: "db1", Mine: true, There: true, System: "8"}, AdoptDatabase},
		{"mine was adopted", Database{Adoptee: "db1", Mine: true, There: true, System: "8", Initialize: Made, Cluster: "8"}, LetPatroni},
		{"mine is adopted, and another cluster is there", Database{Adoptee: "db1", Mine: true, There: true, System: "8", Initialize: Made, Cluster: "7"}, Refuse},
		{"mine is adopted, and not there", Database{Adoptee: "db1", Mine: true}, Refuse},
		{"mine was adopted, and etcd has lost everything", Database{Adoptee: "db1", Mine: true, There: true, System: "8", Remembers: true}, Refuse},
		{"db1's is adopted", Database{Adoptee: "db1"}, AwaitPatroni},
		{"db1's was adopted", Database{Adoptee: "db1", Initialize: Made, Cluster: "8"}, LetPatroni},
		{"db1's is adopted, and here is another", Database{Adoptee: "db1", There: true, System: "9"}, Refuse},
		{"db1's is adopted, and somebody makes an empty one", Database{Adoptee: "db1", Initialize: Reserved, AtWork: true}, AwaitPatroni},
		{"db1's is adopted, and somebody has begun an empty one", Database{Adoptee: "db1", Initialize: Reserved, Idle: time.Minute}, ReleaseReserve},
		{"whoever was at it is gone for a moment", Database{Initialize: Reserved, Idle: time.Second}, AwaitPatroni},
		{"whoever was at it is gone", Database{Initialize: Reserved, Idle: time.Minute}, ReleaseReserve},
	} {
		if got, why := DecideDatabase(tt.in); got != tt.want {
			t.Errorf("%s: %d (%s), want %d", tt.name, got, why, tt.want)
		}
	}
}

// While a database is adopted, Patroni never finds an empty directory before that database leads, and what no Patroni has
// begun is never set aside: every observation that there is.
func TestAdoptionNeverGuesses(t *testing.T) {
	each := func(n int) bool { return n != 0 }
	seen := map[DatabaseStep]int{}
	for bits := range 1 << 7 {
		for _, initialize := range []Initialize{Nobody, Reserved, Made} {
			for _, system := range []string{"", "7", "8"} {
				d := Database{
					There: each(bits & 1), Unfinished: each(bits & 2), Copied: each(bits & 4), Mine: each(bits & 8), Remembers: each(bits & 16),
					AtWork: each(bits & 32), System: system, Initialize: initialize, Adoptee: "db1",
				}
				if each(bits & 64) {
					d.Idle = time.Hour
				}
				if initialize == Made {
					d.Cluster = "7"
				}
				step, why := DecideDatabase(d)
				seen[step]++
				switch {
				case step == LetPatroni && initialize != Made:
					t.Errorf("%+v: Patroni may begin before there is a database", d)
				case step == LetPatroni && d.There && d.System != d.Cluster:
					t.Errorf("%+v: Patroni gets another cluster's database", d)
				case step == AsideDatabase && !d.Unfinished:
					t.Errorf("%+v: a database that somebody has used is set aside", d)
				case step == AdoptDatabase && (!d.Mine || !d.There || d.Unfinished || d.Remembers || initialize != Nobody):
					t.Errorf("%+v: adopted", d)
				case why == "" && step != LetPatroni:
					t.Errorf("%+v: no cause is named", d)
				}
			}
		}
	}
	for step := LetPatroni; step <= AdoptDatabase; step++ {
		if seen[step] == 0 {
			t.Errorf("no observation leads to step %d", step)
		}
	}
}

// The grace of a reservation is its own: one that was made between two looks is not released for what another one had left.
func TestReservationsHaveTheirOwnGrace(t *testing.T) {
	type look struct {
		at       time.Duration
		state    Initialize
		revision uint64
		atWork   bool
		want     DatabaseStep
	}
	const over = ReservedGrace + time.Second
	for name, looks := range map[string][]look{
		"nobody works on it":                           {{0, Reserved, 5, false, AwaitPatroni}, {ReservedGrace, Reserved, 5, false, AwaitPatroni}, {over, Reserved, 5, false, ReleaseReserve}},
		"somebody does":                                {{0, Reserved, 5, true, LetPatroni}, {over, Reserved, 5, true, LetPatroni}},
		"it was released, and made anew":               {{0, Reserved, 5, false, AwaitPatroni}, {over, Nobody, 0, false, LetPatroni}, {over + time.Second, Reserved, 9, false, AwaitPatroni}},
		"it was made anew, and nobody saw it released": {{0, Reserved, 5, false, AwaitPatroni}, {over, Reserved, 9, false, AwaitPatroni}, {2 * over, Reserved, 9, false, ReleaseReserve}},
		"made anew twice":                              {{0, Reserved, 5, false, AwaitPatroni}, {over, Reserved, 9, false, AwaitPatroni}, {2 * over, Reserved, 12, false, AwaitPatroni}},
		"its maker was silent for a moment":            {{0, Reserved, 5, false, AwaitPatroni}, {20 * time.Second, Reserved, 5, true, LetPatroni}, {over, Reserved, 5, false, AwaitPatroni}},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			var r Reservation
			for _, l := range looks {
				d := Database{Initialize: l.state, AtWork: l.atWork}
				d.Idle = r.Idle(d, l.revision, began.Add(l.at))
				if got, _ := DecideDatabase(d); got != l.want {
					t.Errorf("after %s: step %d, want %d", l.at, got, l.want)
				}
			}
		})
	}
}
