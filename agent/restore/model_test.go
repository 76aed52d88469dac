package restore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The model: one machine that restores, R, one other member, A, and etcd, with everything that may happen between any two of the
// restore's own steps. Every world that can come to be is looked at.

type db uint8

const (
	none  db = iota
	half     // being made
	old      // the database of before
	fresh    // the restored one
)

// world is a key of a map.
type world struct {
	// The restoring machine: whether it is on, the program that restores runs, what it has decided, and how much of that is done.
	on, exec bool
	plan     Action
	sub      uint8
	note     Note
	hold     bool
	data     db
	staged   db
	aside    db
	patroni  bool
	postgres bool
	started  bool // the restored database has run
	// etcd. timeline is the number of the database of before, next that of the staged one; written, that the history there is the
	// restored one's.
	holder   string
	paused   bool
	lock     string
	timeline uint8
	next     uint8
	written  bool
	// The other member: whether it is on, has heard of the pause, and what it has.
	aOn   bool
	heard bool
	aData db
	// rows are there that only the restored database has; over tells that the restore has ended; givenUp, that an operator said on
	// the other member that it is lost.
	rows, over, givenUp bool
	// What may still go wrong.
	kills, cuts, moves, humans, failures, second uint8
}

// rules are what is judged: the decision, and what the rest of pgha does.
type rules struct {
	decide func(Observation) (Action, string)
	// obeyed: a maintenance that is over leaves a restore's pause alone. held: Patroni does not start at a boot amid an exchange.
	// single: the restore in etcd has one holder.
	obeyed, held, single bool
}

func (w world) observe() Observation {
	o := Observation{
		Self: "R", Note: w.note, Etcd: true, Holder: w.holder, Leader: w.lock, Paused: w.paused, Patroni: w.patroni, Postgres: w.postgres, Held: w.hold,
		Disk: Disk{Data: w.data != none, Staged: w.staged != none, Aside: w.aside != none, Ready: w.staged == fresh, Behind: w.next <= w.timeline, Started: w.started},
	}
	o.Serves = w.patroni && w.postgres && w.lock == "R"
	if w.lock == "A" {
		o.Has = Before
		if w.aData == fresh {
			o.Has = Restored
		}
	}
	if w.aOn && w.heard != w.paused {
		o.Unaware = []string{"A"}
	}
	if !w.written {
		o.Open = "the history in etcd is not the restored database's"
	}
	m := Member{Name: "A", State: Old}
	switch {
	case !w.aOn:
		m.State = Left
	case w.aData == half:
		m.State = Copying
	case w.aData == fresh:
		m.State = Follows
	}
	o.Others = []Member{m}
	return o
}

type event struct {
	name  string
	after world
	wrong string
}

// act does the next part of what was decided.
func (w world) act(r *rules) event {
	e := event{name: fmt.Sprintf("R: %s (%d)", names[w.plan], w.sub+1)}
	parts := uint8(1)
	switch w.plan {
	case Claim:
		parts = 2
		switch {
		case w.sub == 0 && (w.holder == "" || !r.single):
			w.holder, w.givenUp = "R", false
		case w.sub == 1 && w.holder == "R":
			w.note.Claimed = true
		}
	case Check:
		w.note.Checked = true
	case Lead:
		if w.lock == "A" && w.aOn && !w.paused && w.patroni && w.data == old {
			w.lock, w.postgres = "R", true
			w.timeline++
		}
	case Copy:
		parts = 2
		if w.sub == 0 {
			w.staged = half
		} else {
			w.staged, w.next = fresh, w.timeline+1
		}
	case Discard:
		w.staged = none
	case Pause:
		parts = 2
		if w.sub == 0 {
			w.note.Committed = true
		} else {
			w.paused = true
		}
	case Stop:
		parts = 3
		switch w.sub {
		case 0:
			w.hold = true
		case 1:
			w.patroni = false
		case 2:
			w.postgres = false
		}
	case GiveBack:
		parts = 4
		switch w.sub {
		case 0:
			w.hold = false
		case 1:
			w.patroni = true
		case 2:
			w.paused = false
		case 3:
			w.note.Committed = false
		}
	case Exchange:
		parts = 2
		if w.sub == 0 && w.data != none {
			if w.postgres {
				e.wrong = "the directory of a running PostgreSQL is renamed"
			}
			w.data, w.aside = none, w.data
		} else if w.sub == 1 {
			w.staged, w.data = none, fresh
		}
	case Back:
		parts = 2
		if w.sub == 0 {
			w.data, w.staged = none, half
		} else {
			w.data, w.aside = w.aside, none
		}
	case Start:
		parts = 3
		switch w.sub {
		case 0: // with a second look just before
			switch {
			case w.lock == "A", !w.started && (!w.paused || w.next <= w.timeline):
				parts = 0
			case w.paused && !w.postgres && w.next <= w.timeline:
				e.wrong = "a replica of the database of before passes for one of the restored one, by its timeline"
			case w.paused:
				w.postgres, w.started = true, true
			}
		case 1:
			w.hold = false
		case 2:
			w.patroni = true
		}
	case Order:
		if w.aOn {
			if w.aData == half || w.aData == fresh {
				e.wrong = "a copy that proceeds, or is there, is thrown away"
			}
			w.aData = half
		}
	case Resume:
		w.paused = false
	case Finish:
		parts = 3
		switch w.sub {
		case 0:
			w.note.Done = true
		case 1:
			if w.holder == "R" {
				w.holder = ""
			}
		case 2:
			w.note, w.over, w.exec = Note{}, true, false
		}
	case Wait, Refuse:
	}
	if w.sub++; w.sub >= parts {
		w.plan, w.sub = Wait, 0
	}
	e.after = w
	return e
}

var names = map[Action]string{
	Claim: "claim", Check: "check", Lead: "lead", Copy: "copy", Discard: "discard", Pause: "pause", Stop: "stop", GiveBack: "give back", Exchange: "exchange",
	Back: "back", Start: "start", Order: "order", Resume: "resume", Finish: "finish",
}

// works is what R's program does next; false when it has nothing to do.
func (w world) works(r *rules) (event, bool) {
	if !w.on || !w.exec || w.over {
		return event{}, false
	}
	if w.plan != Wait {
		return w.act(r), true
	}
	a, _ := r.decide(w.observe())
	if a == Wait || a == Refuse {
		return event{}, false
	}
	e := event{name: "R decides: " + names[a]}
	switch {
	case a == Finish && !w.note.Done && w.aOn && w.aData != fresh:
		e.wrong = "it ends before A has copied"
	case w.givenUp && w.note.Claimed && !w.note.Done:
		e.wrong = "it goes on though an operator has given it up"
	}
	w.plan = a
	e.after = w
	return e, true
}

// lives are the things that Patroni and the machines do by themselves, when all goes well.
func (w world) lives() (all []event) {
	add := func(name string, after world) { all = append(all, event{name: name, after: after}) }
	take := func(name string, after world, has db) {
		e := event{name: name, after: after}
		if has == old && w.rows && !w.givenUp {
			e.wrong = "the database of before takes over, and rows of the restored one are lost"
		}
		all = append(all, e)
	}
	if w.aOn && w.heard != w.paused {
		n := w
		n.heard = w.paused
		add("A hears of the pause, or of its end", n)
	}
	if w.aOn && w.aData == half && (w.lock == "R" && w.data == fresh && w.postgres) {
		n := w
		n.aData = fresh
		add("A has copied", n)
	}
	if w.over && w.aOn && !w.heard && (w.aData == old || w.aData == none) && w.lock == "R" && w.data == fresh {
		n := w
		n.aData = half
		add("A, which was left, is made anew as any replica that has diverged", n)
	}
	switch {
	case w.patroni && w.postgres && w.lock == "":
		n := w
		n.lock = "R"
		take("R takes the lock", n, w.data)
	case w.patroni && !w.postgres && w.lock == "R" && w.paused:
		n := w
		n.lock = ""
		add("R drops the lock: in pause it starts nothing", n)
	case w.patroni && !w.postgres && !w.paused && w.data != none && w.lock != "A" && w.data != half:
		n := w
		n.lock, n.postgres, n.started = "R", true, n.started || n.data == fresh
		take("R's Patroni starts PostgreSQL", n, w.data)
	case w.patroni && !w.postgres && !w.paused && w.data == none && w.lock == "A":
		n := w
		n.data = old
		add("R's Patroni copies from A into the empty directory", n)
		if w.aside != none {
			all[len(all)-1].wrong = "Patroni puts another database in the place of the restored one"
		}
	case w.patroni && w.postgres && w.lock == "A":
		n := w
		n.postgres = false
		add("R's Patroni demotes", n)
	case !w.on && w.lock == "R", !w.patroni && w.lock == "R":
		n := w
		n.lock = ""
		add("R's lock runs out", n)
	}
	if w.lock == "A" && !w.aOn {
		n := w
		n.lock = ""
		add("A's lock runs out", n)
	}
	if w.lock == "R" && w.patroni && w.postgres && w.data == fresh {
		if !w.written {
			n := w
			n.written = true
			add("R writes its history into etcd", n)
		}
		if !w.rows {
			n := w
			n.rows = true
			add("an application writes to the restored database", n)
		}
	}
	if w.aOn && w.lock == "" && !w.heard && (w.aData == fresh || w.aData == old && !w.written) && (!w.patroni || !w.postgres) {
		n := w
		n.lock = "A"
		if w.aData == old {
			n.timeline++
		}
		take("A takes over", n, w.aData)
	}
	return all
}

// happens is everything that may.
func (w world) happens(r *rules) (all []event) {
	if w.over {
		return w.lives()
	}
	if e, ok := w.works(r); ok {
		all = append(all, e)
	}
	all = append(all, w.lives()...)
	add := func(name string, after world) { all = append(all, event{name: name, after: after}) }
	if w.exec && w.kills > 0 {
		n := w
		n.kills, n.exec, n.plan, n.sub = w.kills-1, false, Wait, 0
		add("the program is killed", n)
	}
	if w.on && w.cuts > 0 {
		n := w
		n.cuts, n.on, n.exec, n.plan, n.sub, n.patroni, n.postgres = w.cuts-1, false, false, Wait, 0, false, false
		add("R loses power", n)
	}
	if w.on && w.aOn && w.lock == "R" && w.moves > 0 && w.aData == old && !w.paused && !w.heard && w.data == old {
		n := w
		n.moves, n.lock = w.moves-1, "A"
		n.timeline++
		add("a failover to A", n)
	}
	if w.paused && !r.obeyed && w.humans > 0 || w.paused && w.humans > 0 && !w.started {
		n := w
		n.humans, n.paused = w.humans-1, false
		add("somebody, or a maintenance that is over, ends the pause", n)
	}
	if w.aOn && w.aData == half && w.failures > 0 {
		n := w
		n.failures, n.aData = w.failures-1, none
		add("A's copy fails", n)
	}
	if w.aOn && w.failures > 0 && w.lock != "A" {
		n := w
		n.failures, n.aOn = w.failures-1, false
		add("A is switched off", n)
	}
	if w.second > 0 && (w.holder == "" || !r.single) && w.aOn {
		n := w
		n.second, n.holder = w.second-1, "A"
		add("a second restore begins on A", n)
		if w.note.Claimed && !w.note.Done && !w.givenUp {
			all[len(all)-1].wrong = "two restores are at work"
		}
	}
	if w.second > 0 && !w.on && w.holder == "R" && w.aOn {
		n := w
		n.second, n.holder, n.paused, n.givenUp = w.second-1, "", false, true
		add("the operator gives it up on A: R is lost", n)
	}
	all = append(all, w.returns(r)...)
	return all
}

// returns are the machines and the program coming back.
func (w world) returns(r *rules) (all []event) {
	if !w.on {
		n := w
		n.on, n.patroni = true, !w.hold || !r.held
		all = append(all, event{name: "R is switched on", after: n})
	}
	if w.on && !w.exec && !w.over {
		n := w
		n.exec = true
		all = append(all, event{name: "the restore goes on", after: n})
	}
	if !w.aOn {
		n := w
		n.aOn, n.heard = true, w.paused
		all = append(all, event{name: "A is switched on", after: n})
	}
	return all
}

// rests follows the world while nothing goes wrong any more, and says what is wrong with where it ends. ends are the verdicts so far.
func (w world) rests(r *rules, ends map[world]string) (wrong string) {
	var way []world
	var told []string
	defer func() {
		for _, each := range way {
			ends[each] = wrong
		}
	}()
	for {
		if wrong, known := ends[w]; known {
			return wrong
		}
		way = append(way, w)
		if len(way) > 200 {
			return "it goes round in circles: " + strings.Join(told[len(told)-10:], "; ")
		}
		next := w.returns(r)
		next = append(next, w.lives()...)
		if e, ok := w.works(r); ok {
			next = append(next, e)
		}
		if len(next) == 0 {
			return w.verdict(r)
		}
		if next[0].wrong != "" {
			return next[0].wrong + " (" + next[0].name + ")"
		}
		told = append(told, next[0].name)
		w = next[0].after
	}
}

func (w world) verdict(r *rules) string {
	switch a, why := r.decide(w.observe()); {
	case w.data != old && w.aside != old:
		return "the database of before is lost"
	case w.over && (w.lock == "" || w.paused || w.aData != fresh || w.holder == "R"):
		return fmt.Sprintf("it says that it is done, and is not: %+v", w)
	case w.over && w.lock == "R" && w.data != fresh:
		return "it says that it is done, and the database is that of before"
	case w.over:
		return ""
	case a != Refuse || why == "":
		return fmt.Sprintf("it waits for ever: %s: %+v", why, w)
	case !w.givenUp && w.holder != "A":
		return "it asks for somebody where nothing is to be decided: " + why
	}
	return ""
}

// explore returns the shortest way to a broken promise; empty when none is broken.
func explore(r *rules, start world) (story string, count int) {
	index, ends := map[world]int{start: 0}, map[world]string{}
	worlds, from, by := []world{start}, []int{-1}, []string{""}
	tell := func(i int, last, wrong string) string {
		var lines []string
		for ; i > 0; i = from[i] {
			lines = append(lines, by[i])
		}
		slices.Reverse(lines)
		return strings.Join(append(lines, last, "=> "+wrong), "\n")
	}
	for i := 0; i < len(worlds); i++ {
		w := worlds[i]
		for _, e := range w.happens(r) {
			if e.wrong != "" {
				return tell(i, e.name, e.wrong), len(worlds)
			}
			if _, known := index[e.after]; !known {
				index[e.after] = len(worlds)
				worlds, from, by = append(worlds, e.after), append(from, i), append(by, e.name)
			}
		}
		if wrong := w.rests(r, ends); wrong != "" {
			return tell(i, "nothing goes wrong any more", wrong), len(worlds)
		}
	}
	return "", len(worlds)
}

// begins is a healthy cluster in which A or R leads.
func begins(leader string) world {
	return world{
		on: true, exec: true, data: old, patroni: true, postgres: true, lock: leader, timeline: 1, aOn: true, aData: old,
		kills: 1, cuts: 1, moves: 1, humans: 1, failures: 1, second: 1,
	}
}

func TestModel(t *testing.T) {
	for _, leader := range []string{"R", "A"} {
		story, count := explore(&rules{Decide, true, true, true}, begins(leader))
		if story != "" {
			t.Fatalf("%s leads:\n%s", leader, story)
		}
		t.Logf("%s leads: %d worlds", leader, count)
	}
}
