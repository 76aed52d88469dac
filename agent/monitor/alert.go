package monitor

import (
	"cmp"
	"slices"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// Event is what there is to tell of an alert.
type Event string

// What happens to an alert, in this order.
const (
	Fired    Event = "fired"
	Repeated Event = "repeated"
	Resolved Event = "resolved"
)

// Alert is a problem that lasted long enough to be told. Every machine keeps all of them, so that any may tell them.
type Alert struct {
	Problem
	// Event is the last one, Told when it came about.
	Event Event     `json:"event"`
	Told  time.Time `json:"told"`
	// Since is when the problem was seen first, Over when it was gone.
	Since time.Time `json:"since"`
	Over  time.Time `json:"over,omitzero"`
	// Times counts how often it came back within a day: the more, the longer it must be gone to be over.
	Times int `json:"times"`
	// Owed are the receivers that have not heard of the last event.
	Owed []string `json:"owed,omitempty"`
	// By is the machine that has changed it last, Version counts the changes: of two copies the higher one is the newer.
	By      string `json:"by"`
	Version int    `json:"version"`
}

// Firing tells whether the problem lasts.
func (a Alert) Firing() bool { return a.Event != Resolved }

// State is what a machine's monitor knows from one look to the next, and keeps on its disk.
type State struct {
	// First is when it looked for the first time.
	First  time.Time `json:"first"`
	Alerts []Alert   `json:"alerts"`
	// Looks counts, by key, those in a row that saw a problem; Calm those that did not see what fires.
	Looks map[string]int `json:"-"`
	Calm  map[string]int `json:"-"`
	// Tells says that at the last look it was this machine that tells; Late is when it fired an alert, by key, in another's place.
	Tells bool                 `json:"-"`
	Late  map[string]time.Time `json:"-"`
}

const (
	// calm is how many looks in a row must miss a problem before it is over; twice as many each time it comes back.
	calm, calmMost = 2, 40
	// kept is how long what is over is remembered, for what comes back and for machines that were away.
	kept = 24 * time.Hour
	// late is how many looks whoever comes next waits for the machine that tells, before it does so itself: that one may be
	// broken, or stolen. again is how long it leaves alone what was over.
	late  = 10
	again = time.Hour
	// What others say of alerts is their word, and one of them may be stolen: so many at most, of so many bytes, and of numbers
	// that can be counted on.
	mostTaken, mostText, mostVersion = 256, 4000, 1 << 30
)

// Policy is how alerts are told.
type Policy struct {
	// Receivers are the names of those that hear of them.
	Receivers []string
	// Repeat is after how long an alert that lasts is told again, Every how far looks are apart.
	Repeat, Every time.Duration
	// Turn is 0 on the machine that decides and tells; the others take over what it has decided. Where it does not, the one
	// with turn 1 does after a while, then 2.
	Turn int
	// Holds tells that nothing new is fired yet: the machine has just been switched on.
	Holds bool
}

// tells tells whether it is this machine that does.
func (p Policy) tells() bool { return p.Turn == 0 }

// looks is for how many of them this machine waits for those that come before it, patience how long that is.
func (p Policy) looks() int { return late * p.Turn }

func (p Policy) patience() time.Duration { return time.Duration(p.looks()) * p.Every }

// Next is the state after a look: what others know is taken over, and where this machine is the one that tells,
// alerts are fired, repeated and resolved. It is a pure function, and the clock only decides about repetitions.
//
// Who tells takes over what others know at its first look alone: one that is stolen could say of each problem that it is told
// already. Two that do not see each other tell everything twice.
func (s State) Next(v *Verdict, others [][]Alert, p Policy, self string, now time.Time) State {
	if s.Tells && p.tells() {
		others = nil
	}
	n := State{First: s.First, Alerts: merge(v, s.Alerts, others), Looks: map[string]int{}, Calm: map[string]int{}, Tells: p.tells(), Late: map[string]time.Time{}}
	for key, at := range s.Late {
		if now.Sub(at).Abs() < again {
			n.Late[key] = at
		}
	}
	if n.First.IsZero() || n.First.After(now) {
		n.First = now
	}
	problems := map[string]Problem{}
	for _, q := range v.Problems {
		problems[q.Key] = q
		n.Looks[q.Key] = s.Looks[q.Key] + 1
	}
	for i := range n.Alerts {
		a := &n.Alerts[i]
		a.Owed = slices.DeleteFunc(slices.Clone(a.Owed), func(r string) bool { return !slices.Contains(p.Receivers, r) })
		q, wrong := problems[a.Key]
		if a.Firing() && !wrong {
			n.Calm[a.Key] = s.Calm[a.Key]
			if !v.Blind(a.Problem) {
				n.Calm[a.Key]++
			}
		}
		if !a.Firing() || !p.tells() && a.By != self {
			continue
		}
		switch {
		case wrong && (p.tells() && q.Severity != a.Severity && q.Severity == Critical || a.due(p, now)):
			q.Looks = a.Looks
			a.Problem = q
			a.tell(Repeated, p, self, now)
		case wrong && a.Told.After(now): // the clock was set back
			a.Told = now
		case !wrong && n.Calm[a.Key] >= a.calm()+p.looks():
			a.Over = now
			a.tell(Resolved, p, self, now)
		}
	}
	if !p.Holds {
		for _, q := range v.Problems {
			if n.Looks[q.Key] >= q.Looks+p.looks() {
				n.fire(q, p, self, now)
			}
		}
	}
	n.Alerts = slices.DeleteFunc(n.Alerts, func(a Alert) bool {
		if !p.tells() && !v.known(a.Problem) {
			return true // of a machine that is gone: who tells says that it is over, and this one would not believe it
		}
		return !a.Firing() && (now.Sub(a.Over).Abs() > kept) && len(a.Owed) == 0
	})
	slices.SortFunc(n.Alerts, func(a, b Alert) int { return cmp.Compare(a.Key, b.Key) })
	return n
}

// fire makes an alert of a problem, unless there is one, or the machine that tells has just said that it is over.
func (s *State) fire(q Problem, p Policy, self string, now time.Time) {
	i := slices.IndexFunc(s.Alerts, func(a Alert) bool { return a.Key == q.Key })
	if i >= 0 && s.Alerts[i].Firing() {
		return
	}
	if !p.tells() {
		if _, lately := s.Late[q.Key]; lately || i >= 0 && now.Sub(s.Alerts[i].Over).Abs() < again {
			return
		}
		s.Late[q.Key] = now
	}
	if i < 0 {
		i = len(s.Alerts)
		s.Alerts = append(s.Alerts, Alert{})
	}
	a := &s.Alerts[i]
	a.Problem, a.Since, a.Over = q, now, time.Time{}
	a.Times++
	a.tell(Fired, p, self, now)
}

func (a *Alert) tell(e Event, p Policy, self string, now time.Time) {
	a.Event, a.Told, a.By = e, now, self
	a.Owed = slices.Clone(p.Receivers)
	a.Version++
}

// due tells whether it is time to say it again.
func (a *Alert) due(p Policy, now time.Time) bool {
	return p.Repeat > 0 && now.Sub(a.Told) >= p.Repeat+p.patience() && len(a.Owed) == 0
}

func (a *Alert) calm() int { return min(calm<<min(a.Times-1, 10), calmMost) }

// Heard notes that a receiver has taken what was told in a version of an alert.
func (s *State) Heard(told Alert, receiver, self string) {
	for i := range s.Alerts {
		a := &s.Alerts[i]
		if a.Key != told.Key || a.Event != told.Event || !a.Told.Equal(told.Told) {
			continue
		}
		if n := slices.Index(a.Owed, receiver); n >= 0 {
			a.Owed = slices.Delete(slices.Clone(a.Owed), n, n+1)
			a.By = self
			a.Version++
		}
	}
}

// Owed are the alerts that a receiver has not heard of and that are this machine's to tell, the oldest first: all where it is
// the one that tells; else what it has just fired in another's place, and what others owe for too long.
func (s *State) Owed(receiver string, p Policy, self string, now time.Time) (list []Alert) {
	for _, a := range s.Alerts {
		_, late := s.Late[a.Key]
		if slices.Contains(a.Owed, receiver) && (p.tells() || late && a.By == self || now.Sub(a.Told) >= p.patience()) {
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, func(a, b Alert) int { return a.Told.Compare(b.Told) })
	return list
}

// merge keeps of each alert the newest copy that anybody has.
func merge(v *Verdict, mine []Alert, others [][]Alert) []Alert {
	all := slices.Clone(mine)
	at := map[string]int{}
	for i, a := range all {
		at[a.Key] = i
	}
	for _, theirs := range others {
		for _, a := range theirs {
			i, have := at[a.Key]
			switch {
			case !a.credible(v):
			case have && a.Version > all[i].Version:
				all[i] = a
			case !have && len(all) < mostTaken:
				at[a.Key] = len(all)
				all = append(all, a)
			}
		}
	}
	return all
}

// credible tells whether another machine's alert may be one of this cluster's.
func (a Alert) credible(v *Verdict) bool {
	return v.known(a.Problem) && v.machines[a.By] &&
		(a.Severity == Critical || a.Severity == Warning) && (a.Event == Fired || a.Event == Repeated || a.Event == Resolved) &&
		len(a.Key)+len(a.Text)+len(a.Hint) <= mostText && len(a.Owed) <= mostTaken &&
		0 < a.Version && a.Version < mostVersion && 0 < a.Times && a.Times < mostVersion
}

// Senders are the machines that tell what there is to tell, each where those before it do not: those that are seen to watch
// and that receivers listen to, the proxies before the members; then those that watch. Whoever looks is always one.
func Senders(s *Seen) (names []string) {
	order := slices.Concat(s.of(cluster.Proxy), s.of(cluster.DB))
	for _, heard := range []bool{true, false} {
		for _, m := range order {
			if m.Watched() && (m.Name == s.Self || m.Door == "") && m.Report.Mute != heard {
				names = append(names, m.Name)
			}
		}
	}
	if !slices.Contains(names, s.Self) {
		names = append(names, s.Self)
	}
	return names
}
