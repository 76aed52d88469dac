package monitor

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// step is one look of a monitor, and what comes of it.
type step struct {
	// after is how much later by the wall clock than the step before; 30 s when 0. May be negative.
	after time.Duration
	// wrong are the keys of what is wrong; a "!" in front makes it critical, "?" says that it cannot be asked.
	wrong string
	// want are the events, "fired lag/db2".
	want string
	// asleep: another machine tells at this moment. held: this one has just been switched on.
	asleep, held bool
	// heard are the receivers that take what they are owed after the step.
	heard string
}

func verdictOf(wrong string) *Verdict {
	v := &Verdict{blind: map[string]bool{}, machines: map[string]bool{"db1": true, "db2": true, "db3": true, "proxy1": true}}
	for _, key := range strings.Fields(wrong) {
		if blind, ok := strings.CutPrefix(key, "?"); ok {
			_, machine, _ := strings.Cut(blind, "/")
			v.blind[machine+" "+string(sourceOf(blind))] = true
			continue
		}
		p := Problem{Key: strings.TrimPrefix(key, "!"), Severity: Warning, Looks: soon}
		if p.Key != key {
			p.Severity = Critical
		}
		_, p.Machine, _ = strings.Cut(p.Key, "/")
		v.Problems = append(v.Problems, p)
	}
	return v
}

func policy(turn int, holds bool) Policy {
	return Policy{Receivers: []string{"webhook", "email"}, Repeat: 4 * time.Hour, Every: 30 * time.Second, Turn: turn, Holds: holds}
}

// events are what the second state tells and the first did not.
func events(before, after State) string {
	var list []string
	for _, a := range after.Alerts {
		i := slices.IndexFunc(before.Alerts, func(b Alert) bool { return b.Key == a.Key })
		if i < 0 || before.Alerts[i].Version != a.Version && before.Alerts[i].Told != a.Told || before.Alerts[i].Event != a.Event {
			list = append(list, string(a.Event)+" "+a.Key)
		}
	}
	return strings.Join(list, ", ")
}

func hear(s *State, receivers string) {
	for _, r := range strings.Fields(receivers) {
		for _, a := range s.Owed(r, Policy{}, "proxy1", noon) {
			s.Heard(a, r, "proxy1")
		}
	}
}

// saved is the state after a reboot.
func saved(t *testing.T, s State) (back State) {
	t.Helper()
	body, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(body, &back)
	}
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func TestAlertsFromLookToLook(t *testing.T) {
	const both = "webhook email"
	times := func(n int, s step) []step { return slices.Repeat([]step{s}, n) }
	for name, steps := range map[string][]step{
		"fired once, resolved once": slices.Concat(
			[]step{{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2", heard: both}},
			times(50, step{wrong: "lag/db2"}), []step{{}, {want: "resolved lag/db2", heard: both}}, times(5, step{})),
		"what passes within a look is no alert": {{wrong: "leader"}, {}, {wrong: "leader"}, {}},
		"repeated after its time": {
			{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2", heard: both},
			{after: 3 * time.Hour, wrong: "lag/db2"}, {after: 61 * time.Minute, wrong: "lag/db2", want: "repeated lag/db2", heard: both}, {wrong: "lag/db2"},
		},
		"what becomes critical is told at once": {
			{wrong: "disk/db1"}, {wrong: "disk/db1", want: "fired disk/db1", heard: both}, {wrong: "!disk/db1", want: "repeated disk/db1", heard: both}, {wrong: "!disk/db1"}, {wrong: "disk/db1"},
		},
		"the clock jumps ahead: one repetition": {
			{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2", heard: both},
			{after: 100000 * time.Hour, wrong: "lag/db2", want: "repeated lag/db2", heard: both}, {wrong: "lag/db2"}, {wrong: "lag/db2"},
		},
		"the clock jumps back: silence, then as ever": {
			{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2", heard: both},
			{after: -100000 * time.Hour, wrong: "lag/db2"}, {wrong: "lag/db2"}, {after: 4 * time.Hour, wrong: "lag/db2", want: "repeated lag/db2", heard: both}, {}, {want: "resolved lag/db2", heard: both},
		},
		"nobody takes it: it is not repeated, and not lost": {
			{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2"}, {after: 5 * time.Hour, wrong: "lag/db2"}, {}, {want: "resolved lag/db2"}, {after: 48 * time.Hour}, {heard: both}, {},
		},
		"who cannot be asked does not say that it is over": {
			{wrong: "disk/db1"}, {wrong: "disk/db1", want: "fired disk/db1", heard: both}, {wrong: "?disk/db1"}, {wrong: "?disk/db1"}, {wrong: "?disk/db1"}, {wrong: "?disk/db1"},
			{}, {want: "resolved disk/db1", heard: both},
		},
		"what comes and goes must be gone for longer each time": slices.Concat(
			[]step{{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2", heard: both}, {}, {want: "resolved lag/db2", heard: both}},
			[]step{{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2", heard: both}}, times(3, step{}), []step{{want: "resolved lag/db2", heard: both}},
			[]step{{wrong: "lag/db2"}, {wrong: "lag/db2", want: "fired lag/db2", heard: both}}, times(7, step{}), []step{{wrong: "lag/db2"}}, times(7, step{}), []step{{want: "resolved lag/db2", heard: both}}),
		"a machine on its way up fires nothing, and forgets nothing": {
			{wrong: "leader", held: true}, {wrong: "leader", held: true}, {wrong: "leader", held: true}, {wrong: "leader", want: "fired leader"},
		},
		"another machine tells": {
			{wrong: "leader", asleep: true}, {wrong: "leader", asleep: true}, {wrong: "leader", want: "fired leader", heard: both}, {asleep: true}, {asleep: true}, {want: "resolved leader"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s State
			now := noon
			for i, step := range steps {
				if step.after == 0 {
					step.after = 30 * time.Second
				}
				now = now.Add(step.after)
				turn := 0
				if step.asleep {
					turn = 1
				}
				next := s.Next(verdictOf(step.wrong), nil, policy(turn, step.held), "proxy1", now)
				if got := events(s, next); got != step.want {
					t.Fatalf("look %d: %q, want %q", i+1, got, step.want)
				}
				s = next
				hear(&s, step.heard)
				// A reboot after every look changes nothing of what was fired; what was not yet is looked at anew.
				if d := cmp.Diff(s.Alerts, saved(t, s).Alerts, cmpopts.EquateEmpty()); d != "" {
					t.Fatalf("after a reboot: %s", d)
				}
			}
		})
	}
}

// monitors are some that see each other's alerts.
type monitors map[string]*State

// look lets each machine look once; tells are those that believe that it is they who tell, the others come next in the order of
// their names. It returns who told what.
func (ms monitors) look(wrong string, tells string, seeing func(a, b string) bool, now time.Time) (told []string) {
	names := []string{"db1", "db2", "proxy1"}
	for _, name := range names {
		var others [][]Alert
		for _, other := range names {
			if other != name && seeing(name, other) {
				others = append(others, ms[other].Alerts)
			}
		}
		p := policy(slices.Index(names, name)+1, false)
		if slices.Contains(strings.Fields(tells), name) {
			p.Turn = 0
		}
		next := ms[name].Next(verdictOf(wrong), others, p, name, now)
		for _, r := range []string{"webhook", "email"} {
			for _, a := range next.Owed(r, p, name, now) {
				told = append(told, fmt.Sprintf("%s: %s %s to %s", name, a.Event, a.Key, r))
				next.Heard(a, r, name)
			}
		}
		*ms[name] = next
	}
	return told
}

// TestEachAlertOnce: the machine that tells goes, another one takes over, the first comes back with what it knew before.
func TestEachAlertOnce(t *testing.T) {
	ms := monitors{"db1": {}, "db2": {}, "proxy1": {}}
	all := func(string, string) bool { return true }
	withoutProxy := func(a, b string) bool { return a != "proxy1" && b != "proxy1" }
	now := noon
	var told []string
	look := func(n int, wrong, tells string, seeing func(a, b string) bool) {
		for range n {
			now = now.Add(30 * time.Second)
			told = append(told, ms.look(wrong, tells, seeing, now)...)
		}
	}
	look(5, "lag/db2", "proxy1", all)
	look(5, "lag/db2 silent/proxy1", "db1", withoutProxy)
	stale := *ms["proxy1"]
	look(5, "silent/proxy1", "db1", withoutProxy) // lag is over while the proxy is away
	*ms["proxy1"] = saved(t, stale)
	look(5, "", "proxy1", all)
	look(20, "", "proxy1", all)
	want := []string{
		"proxy1: fired lag/db2 to webhook", "proxy1: fired lag/db2 to email",
		"db1: fired silent/proxy1 to webhook", "db1: fired silent/proxy1 to email",
		"db1: resolved lag/db2 to webhook", "db1: resolved lag/db2 to email",
		"proxy1: resolved silent/proxy1 to webhook", "proxy1: resolved silent/proxy1 to email",
	}
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestHandedOver: who has told of an alert in its turn leaves it to whoever tells now, its repetitions and what it still owes.
func TestHandedOver(t *testing.T) {
	ms := monitors{"db1": {}, "db2": {}, "proxy1": {}}
	now := noon
	var told []string
	look := func(n int, tells string, seeing func(a, b string) bool) {
		for range n {
			now = now.Add(30 * time.Second)
			told = append(told, ms.look("lag/db2", tells, seeing, now)...)
		}
	}
	look(5, "db1", func(a, b string) bool { return a != "proxy1" && b != "proxy1" })
	look(500, "proxy1", func(string, string) bool { return true })
	want := []string{
		"db1: fired lag/db2 to webhook", "db1: fired lag/db2 to email",
		"proxy1: repeated lag/db2 to webhook", "proxy1: repeated lag/db2 to email",
	}
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	s := State{Alerts: []Alert{{
		Problem: Problem{Key: "silent/db9", Machine: "db9", Severity: Critical, Text: "it is silent"},
		Event:   Fired, Told: noon, Since: noon, Times: 1, By: "db1", Version: 1,
	}}}
	if n := s.Next(verdictOf(""), nil, policy(1, false), "db1", noon); len(n.Alerts) != 0 {
		t.Errorf("an alert of a machine that is gone stays: %+v", n.Alerts)
	}
	if n := s.Next(verdictOf(""), nil, policy(0, false), "proxy1", noon); len(n.Alerts) != 1 {
		t.Error("who tells does not say that it is over")
	}
}

func TestSenders(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*Seen)
		want  string
	}{
		{"a proxy comes first, then the members in their order", func(*Seen) {}, "proxy1 db1 db2 db3"},
		{"one that is gone is none", func(s *Seen) { s.Self = "db3"; gone(s, "proxy1") }, "db1 db2 db3"},
		{"one whose monitor does not run is none", func(s *Seen) { s.Self = "db3"; s.Machines[3].Age = time.Hour }, "db1 db2 db3"},
		{"one that no receiver listens to comes last", func(s *Seen) { s.Machines[3].Report.Mute = true }, "db1 db2 db3 proxy1"},
		{"where no receiver listens to anybody, the first", func(s *Seen) {
			for i := range s.Machines {
				s.Machines[i].Report.Mute = true
			}
		}, "proxy1 db1 db2 db3"},
		{"who does not watch is one for himself", func(s *Seen) { s.Self = "db2"; s.Machines[1].Age = time.Hour }, "proxy1 db1 db3 db2"},
		{"whoever is alone", func(s *Seen) { s.Self = "db3"; gone(s, "db1", "db2", "proxy1") }, "db3"},
	} {
		s := sound()
		tt.spoil(s)
		if got := strings.Join(Senders(s), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestLateSender: the machine whose turn it is does not tell, though it says that it watches. The next one does, after a while,
// and only that one; what it has told, it also ends.
func TestLateSender(t *testing.T) {
	const fired, resolved = "db1 fired to webhook, db1 fired to email", "db1 resolved to webhook, db1 resolved to email"
	const second = "db2 fired to webhook, db2 fired to email" // each believes itself only, and tells once an hour
	known := Alert{
		Problem: Problem{Key: "lag/db3", Machine: "db3", Severity: Warning, Text: "it is behind"},
		Event:   Fired, Told: noon, Since: noon, Times: 1, By: "proxy1", Version: 1,
	}
	for name, c := range map[string]struct {
		says func(look int, now time.Time) []Alert
		// want are the words of the first five looks, of an hour more, of two hours more, and of another hour, when all is well.
		want [4]string
	}{
		"it keeps still": {func(int, time.Time) []Alert { return nil }, [4]string{"", fired, "", resolved}},
		"it knows, and tells nobody": {func(int, time.Time) []Alert {
			a := known
			a.Owed = []string{"webhook", "email"}
			return []Alert{a}
		}, [4]string{"", fired, "", resolved}},
		"it says that it is over": {func(int, time.Time) []Alert {
			a := known
			a.Event, a.Over = Resolved, noon
			return []Alert{a}
		}, [4]string{"", "", fired, resolved}},
		"it says so again and again, of long ago": {func(look int, _ time.Time) []Alert {
			a := known
			a.Event, a.Version, a.Over = Resolved, look, noon.Add(-10*time.Hour)
			return []Alert{a}
		}, [4]string{"", fired + ", " + second, fired + ", " + second + ", " + fired + ", " + second, ""}},
		"it says so in a number that nobody can add to": {func(int, time.Time) []Alert {
			a := known
			a.Event, a.Version = Resolved, math.MaxInt
			return []Alert{a}
		}, [4]string{"", fired, "", resolved}},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]State{}
			now, looks := noon, 0
			for i, phase := range []struct {
				looks int
				wrong string
			}{{5, "lag/db3"}, {105, "lag/db3"}, {240, "lag/db3"}, {120, ""}} {
				var told []string
				for range phase.looks {
					now, looks = now.Add(30*time.Second), looks+1
					for turn, self := range []string{"db1", "db2"} {
						p := policy(turn+1, false)
						s := all[self].Next(verdictOf(phase.wrong), [][]Alert{c.says(looks, now), all["db1"].Alerts, all["db2"].Alerts}, p, self, now)
						for _, r := range p.Receivers {
							for _, a := range s.Owed(r, p, self, now) {
								told = append(told, fmt.Sprintf("%s %s to %s", self, a.Event, r))
								s.Heard(a, r, self)
							}
						}
						all[self] = s
					}
				}
				if got := strings.Join(told, ", "); got != c.want[i] {
					t.Errorf("phase %d: %q, want %q", i+1, got, c.want[i])
				}
			}
		})
	}
}

// TestStrangeAlerts: what no monitor of ours would say is taken from nobody, and what one might say is taken in so many copies
// that they do no harm.
func TestStrangeAlerts(t *testing.T) {
	good := Alert{
		Problem: Problem{Key: "lag/db2", Machine: "db2", Severity: Warning, Text: "it is behind"},
		Event:   Fired, Told: noon, Since: noon, Times: 1, By: "proxy1", Version: 3,
	}
	taken := func(turn int, a ...Alert) int {
		return len(State{}.Next(verdictOf(""), [][]Alert{a}, policy(turn, false), "db1", noon).Alerts)
	}
	if taken(1, good) != 1 {
		t.Error("a good one is not taken")
	}
	for what, spoil := range map[string]func(*Alert){
		"an unknown kind":         func(a *Alert) { a.Key = "weather/db2" },
		"an unknown machine":      func(a *Alert) { a.Key, a.Machine = "lag/db9", "db9" },
		"another machine":         func(a *Alert) { a.Machine = "db1" },
		"a kind without machine":  func(a *Alert) { a.Key, a.Machine = "lag", "" },
		"more than a whole kind":  func(a *Alert) { a.Key, a.Machine = "leader/db2", "db2" },
		"an unknown event":        func(a *Alert) { a.Event = "exploded" },
		"an unknown severity":     func(a *Alert) { a.Severity = "apocalyptic" },
		"an unknown author":       func(a *Alert) { a.By = "mallory" },
		"a number out of count":   func(a *Alert) { a.Version = math.MaxInt },
		"a number below":          func(a *Alert) { a.Version = -1 },
		"times out of count":      func(a *Alert) { a.Times = math.MaxInt },
		"no times":                func(a *Alert) { a.Times = 0 },
		"a text without end":      func(a *Alert) { a.Text = strings.Repeat("x", 10_000) },
		"a key without end":       func(a *Alert) { a.Key += "/" + strings.Repeat("x", 10_000) },
		"receivers without end":   func(a *Alert) { a.Owed = slices.Repeat([]string{"email"}, 10_000) },
		"a severity of one's own": func(a *Alert) { a.Severity = "" },
	} {
		a := good
		spoil(&a)
		if taken(1, a) != 0 {
			t.Errorf("%s is taken", what)
		}
	}
	var many []Alert
	for i := range 2000 {
		a := good
		a.Key = fmt.Sprintf("unit/db2/%d.service", i)
		many = append(many, a)
	}
	if n := taken(1, many...); n > 300 {
		t.Errorf("%d alerts are taken", n)
	}
	// Who tells takes nothing from anybody, but at its first look.
	s := State{}.Next(verdictOf(""), nil, policy(0, false), "proxy1", noon)
	if s = s.Next(verdictOf(""), [][]Alert{{good}}, policy(0, false), "proxy1", noon); len(s.Alerts) != 0 {
		t.Errorf("%+v", s.Alerts)
	}
}

// Every problem that Judge finds in its tests is of a kind that others believe.
func TestKindsAreKnown(t *testing.T) {
	body, err := os.ReadFile("testdata/judge.golden")
	if err != nil {
		t.Fatal(err)
	}
	keys := regexp.MustCompile(`(?m)^(?:critical|warning) (\S+) `).FindAllStringSubmatch(string(body), -1)
	seen := map[string]bool{}
	for _, m := range keys {
		name, _, _ := strings.Cut(m[1], "/")
		if _, ok := kinds[name]; !ok {
			t.Errorf("%s is of no known kind", m[1])
		}
		seen[name] = true
	}
	for name := range kinds {
		if !seen[name] {
			t.Errorf("no case finds a problem of kind %s", name)
		}
	}
}
