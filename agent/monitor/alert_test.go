package monitor

import (
	"encoding/json"
	"fmt"
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
	v := &Verdict{blind: map[string]bool{}}
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

func policy(sends, holds bool) Policy {
	return Policy{Receivers: []string{"webhook", "email"}, Repeat: 4 * time.Hour, Sends: sends, Holds: holds}
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
		for _, a := range s.Owed(r) {
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
				next := s.Next(verdictOf(step.wrong), nil, policy(!step.asleep, step.held), "proxy1", now)
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

// look lets each machine look once; tells are those that believe that they tell. It returns who told what.
func (ms monitors) look(wrong string, tells string, seeing func(a, b string) bool, now time.Time) (told []string) {
	names := []string{"db1", "db2", "proxy1"}
	for _, name := range names {
		var others [][]Alert
		for _, other := range names {
			if other != name && seeing(name, other) {
				others = append(others, ms[other].Alerts)
			}
		}
		sends := slices.Contains(strings.Fields(tells), name)
		next := ms[name].Next(verdictOf(wrong), others, policy(sends, false), name, now)
		if sends {
			for _, r := range []string{"webhook", "email"} {
				for _, a := range next.Owed(r) {
					told = append(told, fmt.Sprintf("%s: %s %s to %s", name, a.Event, a.Key, r))
					next.Heard(a, r, name)
				}
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

func TestSender(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*Seen)
		want  string
	}{
		{"a proxy comes first", func(*Seen) {}, "proxy1"},
		{"then the members in their order", func(s *Seen) { s.Self = "db3"; gone(s, "proxy1") }, "db1"},
		{"one whose monitor does not run is none", func(s *Seen) { s.Self = "db3"; s.Machines[3].Age = time.Hour }, "db1"},
		{"one that no receiver listens to is none", func(s *Seen) { s.Machines[3].Report.Mute = true }, "db1"},
		{"where no receiver listens to anybody, the first", func(s *Seen) {
			for i := range s.Machines {
				s.Machines[i].Report.Mute = true
			}
		}, "proxy1"},
		{"whoever is alone", func(s *Seen) { s.Self = "db3"; gone(s, "db1", "db2", "proxy1") }, "db3"},
	} {
		s := sound()
		tt.spoil(s)
		if got := Sender(s); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
