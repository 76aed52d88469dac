package agent

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// three is a healthy cluster of which db1 leads.
func three(change ...func(*survey)) survey {
	s := survey{confirm: []string{"db2", "db3"}, confirmWant: 2}
	for i := range 3 {
		m := surveyed{name: fmt.Sprintf("db%d", i+1), etcd: true, etcdRuns: true}
		m.State, m.Role, m.Timeline, m.Started = "running", "replica", 4, "2026-11-26 10:00:00.5+00:00"
		m.WAL.Received = 100 << 20
		s.members = append(s.members, m)
	}
	s.members[0].Role = "primary"
	s.members[0].WAL.Location = 100 << 20
	s.members[0].Replication = []standby{{"db2", "streaming"}, {"db3", "streaming"}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func TestWhoMayTakeOver(t *testing.T) {
	behind := func(i int, bytes int64) func(*survey) {
		return func(s *survey) { s.members[i].WAL.Received -= bytes }
	}
	silent := func(s *survey) { s.members[1].err = errors.New("connection refused") }
	for _, tt := range []struct {
		name, to string
		s        survey
		want     string // a name, or what is said
	}{
		{"either", "", three(), "db2"},
		{"named", "db3", three(), "db3"},
		{"the one that is less behind", "", three(behind(1, 1<<20)), "db3"},
		{"the primary", "db1", three(), "db1 is the primary already"},
		{"nobody", "db7", three(), `no member "db7"`},
		{"in maintenance", "db2", three(func(s *survey) { s.members[2].Paused = true }), "hint: pgha maintenance off"},
		{"alone", "", three(func(s *survey) { s.members = s.members[:1] }), "there is no other member"},
		{"silent", "db2", three(silent), "yet: Patroni of db2 does not answer: connection refused"},
		{"the other one", "", three(silent), "db3"},
		{"not synchronous", "db2", three(func(s *survey) { s.confirm = []string{"db3"} }), "yet: db2 is not synchronous: a failover to it might lose acknowledged writes; synchronous: db3"},
		{"none synchronous", "", three(func(s *survey) { s.confirm = nil }), "synchronous: none"},
		{"asynchronous", "", three(func(s *survey) { s.confirm, s.confirmWant = nil, 0 }), "db2"},
		{"far behind", "db2", three(behind(1, 90<<20)), "yet: db2 has 90 MiB yet to receive"},
		{"does not stream", "db2", three(func(s *survey) { s.members[0].Replication = s.members[0].Replication[1:] }), "yet: db2 does not stream from db1"},
		{"another timeline", "db2", three(func(s *survey) { s.members[1].Timeline = 3 }), "yet: db2 is on timeline 3, the primary on 4"},
		{"without etcd", "db2", three(func(s *survey) { s.members[1].etcd = false }), "yet: etcd of db2 sees no quorum"},
		{"without a primary", "", three(func(s *survey) { s.members[0].Role = "replica" }), "yet: no member leads"},
		{"two primaries", "", three(func(s *survey) { s.members[1].Role = "master" }), "yet: db1 and db2 all say that they lead"},
	} {
		c, no, yet := tt.s.candidate(tt.to)
		got := c.name
		if no != "" {
			got = no
		} else if yet != "" {
			got = "yet: " + yet
		}
		if got != tt.want && !strings.Contains(got, tt.want) || len(tt.want) == 3 && got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestWhoseDataMayGo(t *testing.T) {
	lone := func(s *survey) { s.confirm = []string{"db2"} }
	pair := func(s *survey) { s.members, s.confirm, s.confirmWant = s.members[:2], []string{"db2"}, 1 }
	for _, tt := range []struct {
		name, victim string
		last         bool
		s            survey
		want         string // empty when it may
	}{
		{"a replica", "db2", false, three(), ""},
		{"the primary", "db1", true, three(), "it is the primary"},
		{"a stranger", "db7", true, three(), "no such member"},
		{"without a primary", "db2", true, three(func(s *survey) { s.members[0].err = errors.New("timeout") }), "this may be the newest copy"},
		{"for the moment the last synchronous one", "db2", false, three(lone), "--even-the-last-copy"},
		{"the only synchronous one", "db2", false, three(lone, func(s *survey) { s.confirmWant = 1 }), "--even-the-last-copy"},
		{"the last one that streams", "db2", false, three(lone, func(s *survey) { s.members[2].State = "stopped" }), "--even-the-last-copy"},
		{"the last one, on purpose", "db2", true, three(lone), ""},
		{"one that follows no more", "db3", false, three(lone, func(s *survey) { s.members[2].State = "start failed" }), ""},
		{"the last of an asynchronous cluster", "db2", false, three(func(s *survey) { s.confirm, s.confirmWant, s.members = nil, 0, s.members[:2] }), "no other replica could take over"},
		{"the only other copy, though it does not stream", "db2", false, three(func(s *survey) { s.members[0].Replication, s.confirm = nil, nil; s.members[1].State = "start failed" }), "no replica streams"},
		{"the only other copy of a pair, though it does not stream", "db2", false, three(pair, func(s *survey) { s.members[0].Replication = nil }), "no replica streams"},
		{"the only other copy that does not stream, on purpose", "db2", true, three(pair, func(s *survey) { s.members[0].Replication = nil }), ""},
		{"one that is being copied already", "db2", false, three(pair, func(s *survey) { s.members[0].Replication = nil; s.members[1].State = "creating replica" }), ""},
		{"one whose Patroni is down", "db3", false, three(func(s *survey) { s.members[2].err = errors.New("refused") }), "on db3: pgha doctor"},
	} {
		got, passes := tt.s.mayReinit(tt.victim, tt.last)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || passes != strings.HasPrefix(tt.name, "for the moment") {
			t.Errorf("%s: %q, passes: %t, want %q", tt.name, got, passes, tt.want)
		}
	}
}

func TestWhoMayLeave(t *testing.T) {
	quiet := func(names ...string) func(*survey) {
		return func(s *survey) {
			s.members[0].Replication = slices.DeleteFunc(slices.Clone(s.members[0].Replication), func(r standby) bool { return slices.Contains(names, r.Name) })
		}
	}
	counted := func(want int, names ...string) func(*survey) {
		return func(s *survey) { s.confirm, s.confirmWant = names, want }
	}
	gone := func(s *survey) { s.members = s.members[:2] } // the newest specification lists db3 no more
	for _, tt := range []struct {
		name, victim string
		last         bool
		s            survey
		want         string // empty when it may
	}{
		{"one of two replicas", "db3", false, three(), ""},
		{"one of two that this machine's specification lists no more", "db3", false, three(gone), ""},
		{"one that is dead", "db3", false, three(quiet("db3")), ""},
		{"one that is dead, and the last", "db3", false, three(quiet("db2", "db3"), counted(1)), ""},
		{"the last that streams", "db3", false, three(quiet("db2"), counted(1, "db3")), "the last replica that streams"},
		{"the last that streams, and its Patroni is silent", "db3", false, three(quiet("db2"), counted(1, "db3"), func(s *survey) { s.members[2].err = errors.New("refused") }), "the last replica that streams"},
		{"the last of a pair", "db2", false, three(gone, quiet("db3"), counted(1, "db2")), "the only copy of the database is that of db1"},
		{"the last of a pair, on purpose", "db2", true, three(gone, quiet("db3"), counted(1, "db2")), ""},
		{"the only synchronous one", "db3", false, three(counted(1, "db3")), "none may take over without loss"},
		{"for the moment the only synchronous one", "db3", false, three(counted(2, "db3")), "none may take over without loss"},
		{"the only synchronous one, on purpose", "db3", true, three(counted(1, "db3")), ""},
		{"one of an asynchronous cluster", "db3", false, three(counted(0)), ""},
		{"the last of an asynchronous cluster", "db3", false, three(counted(0), quiet("db2")), "the last replica that streams"},
		{"without a primary", "db3", false, three(func(s *survey) { s.members[0].Role = "replica" }), "no member leads"},
		{"without a primary, on purpose", "db3", true, three(func(s *survey) { s.members[0].Role = "replica" }), ""},
	} {
		got, passes := tt.s.mayRemove(tt.victim, tt.last)
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || passes != strings.HasPrefix(tt.name, "for the moment") || got != "" && !strings.Contains(got, evenLast) {
			t.Errorf("%s: %q, passes: %t, want %q", tt.name, got, passes, tt.want)
		}
	}
}

// rolling plays a rolling restart to its end. after is what Patroni makes of a turn.
func rolling(t *testing.T, s survey, due func(surveyed) bool, inPlace bool, after func(*survey, turn)) (order []string) {
	t.Helper()
	done := map[string]int{}
	for range 20 {
		next, more := nextTurn(s, due, done, inPlace)
		if !more {
			return order
		}
		done[next.name]++
		order = append(order, next.name+" "+next.how)
		after(&s, next)
	}
	t.Fatalf("it does not end: %v", order)
	return nil
}

// move makes db2 the primary.
func move(s *survey) {
	s.members[0].Role, s.members[1].Role = "replica", "primary"
	s.members[1].Replication = []standby{{"db1", "streaming"}, {"db3", "streaming"}}
	s.members[1].WAL.Location = s.members[0].WAL.Location
}

func index(s *survey, name string) int {
	return slices.IndexFunc(s.members, func(m surveyed) bool { return m.name == name })
}

func TestTheOrderOfARollingRestart(t *testing.T) {
	const old = "2026-11-26 10:00:00.5+00:00"
	again := func(s *survey, n turn) {
		s.members[index(s, n.name)].Started = "2026-11-26 11:00:00+00:00"
		if n.how == restartByMove {
			move(s)
		}
	}
	all := func(m surveyed) bool { return m.Started == old }
	pending := func(m surveyed) bool { return m.Pending }
	for _, tt := range []struct {
		name    string
		s       survey
		due     func(surveyed) bool
		inPlace bool
		after   func(*survey, turn)
		want    []string
	}{
		{"all", three(), all, false, again, []string{"db2 replica", "db3 replica", "db1 switchover"}},
		{"all, in place", three(), all, true, again, []string{"db2 replica", "db3 replica", "db1 in place"}},
		{"a lone member", three(func(s *survey) { s.members = s.members[:1] }), all, false, again, []string{"db1 in place"}},
		{"what is left", three(func(s *survey) { s.members[1].Started = "later" }), all, false, again, []string{"db3 replica", "db1 switchover"}},
		{"nothing", three(), pending, false, again, nil},
		{
			"a larger max_connections", three(func(s *survey) {
				for i := range s.members {
					s.members[i].Pending = true
				}
			}), pending, false, func(s *survey, n turn) {
				again(s, n)
				s.members[index(s, n.name)].Pending = false
			}, []string{"db2 replica", "db3 replica", "db1 switchover"},
		},
		{
			// A replica keeps the primary's value until the primary has the smaller one.
			"a smaller max_connections", three(func(s *survey) {
				for i := range s.members {
					s.members[i].Pending = true
				}
			}), pending, false, func(s *survey, n turn) {
				again(s, n)
				i := index(s, n.name)
				p, _ := s.primary()
				s.members[i].Pending = n.how != restartInPlace && p.Pending
			}, []string{"db2 replica", "db3 replica", "db1 switchover", "db2 in place", "db1 replica", "db3 replica"},
		},
		{"what never comes true", three(func(s *survey) { s.members[1].Pending = true }), pending, false, again, []string{"db2 replica", "db2 replica"}},
	} {
		if diff := cmp.Diff(tt.want, rolling(t, tt.s, tt.due, tt.inPlace, tt.after)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestAStoppedRestartSaysHowToGoOn(t *testing.T) {
	s := three(func(s *survey) { s.members[1].Started = "later" })
	due := func(m surveyed) bool { return m.Started != "later" }
	began := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	got := stopped(errors.New("it is \"start failed\"\n      hint: something else"), "db3", []string{"db2"}, s, due, Restart{}, began).Error()
	want := "restart db3: it is \"start failed\"\n      restarted: db2; not begun: db1\n" +
		"      hint: `pgha doctor` on db3 looks for what is wrong; then: pgha restart --since 2026-11-26T12:00:00Z"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPostmasterStartTimes(t *testing.T) {
	for _, text := range []string{"2026-11-26 10:00:00.512345+00:00", "2026-11-26 11:00:00.5+01:00", "2026-11-26 10:00:00+00:00"} {
		if at := (answer{Started: text}).started(); at.UTC().Format("15:04:05") != "10:00:00" {
			t.Errorf("%s is %s", text, at)
		}
	}
}

func TestOrdersWhoseEndIsUnknown(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{&declined{412, "candidate name does not match with sync_standby"}, false},
		{&declined{503, "Switchover status unknown"}, true},
		{&declined{503, "postgres is still starting"}, true},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, false},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, true},
	} {
		if got := unknownEnd(tt.err); got != tt.want {
			t.Errorf("%v: %t, want %t", tt.err, got, tt.want)
		}
	}
}

func TestWhatAptWouldDo(t *testing.T) {
	plan, gone := parsePlan("NOTE: This is only a simulation!\nRemv python3-old [1.0]\n" +
		"Inst patroni [4.0.7-1] (4.0.7-2 Debian:13.2/stable [all])\nInst libnew (2.0 Debian:13.2/stable [amd64])\nConf patroni (4.0.7-2 Debian:13.2/stable [all])\n")
	var lines []string
	for _, p := range plan {
		lines = append(lines, p.String())
	}
	if diff := cmp.Diff([]string{"patroni 4.0.7-1 -> 4.0.7-2", "libnew - -> 2.0"}, lines); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(gone, []string{"python3-old"}) {
		t.Errorf("gone: %v", gone)
	}
}

func TestSettingsThatDrifted(t *testing.T) {
	is := map[string]any{"ttl": 30.0, "synchronous_mode": false, "theirs": 1.0, "postgresql": map[string]any{"parameters": map[string]any{"work_mem": "1GB"}}}
	want := map[string]any{"ttl": 30.0, "synchronous_mode": "quorum", "postgresql": map[string]any{"parameters": map[string]any{"work_mem": "9MB"}}}
	var got []string
	for _, s := range drift("", is, want) {
		got = append(got, s.Path+": "+s.Is+", not "+s.Want)
	}
	if diff := cmp.Diff([]string{"postgresql.parameters.work_mem: 1GB, not 9MB", "synchronous_mode: false, not quorum"}, got); diff != "" {
		t.Error(diff)
	}
}
