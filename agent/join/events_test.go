package join

import "fmt"

// happens lists all that can happen in a world.
func (w world) happens(r *rules) []event {
	var all []event
	say := func(after world, format string, args ...any) {
		all = append(all, event{fmt.Sprintf(format, args...), after, ""})
	}
	if w.young {
		after := w
		after.young = false
		say(after, "two weeks pass")
	}
	if w.lock > 0 {
		after := w
		after.lock = 0
		say(after, "the lock of %s runs out", letters[w.lock-1])
	}
	if w.proxy && !w.remembered && w.quorum() {
		after := w
		after.remembered = true
		say(after, "the proxy sees the cluster alive")
	}
	all = append(append(all, w.etcd()...), w.news()...)
	for i := range int(w.n) {
		n := &w.nodes[i]
		after := w
		a := &after.nodes[i]
		if !n.on {
			a.on, a.running = true, n.disk.data != empty // systemd starts etcd where it has data
			say(after, "%s boots", letters[i])
			all = append(all, w.disks(i, r)...)
			continue
		}
		a.on, a.running, a.plan, a.epoch = false, false, Wait, 0
		say(after, "the power of %s is cut", letters[i])
		if n.plan != Wait {
			all = append(all, w.acts(i, i))
		}
		for j := range int(w.n) {
			if n.plan == Evict && j != i {
				all = append(all, w.acts(i, j))
			}
		}
		all = append(all, w.looks(i, r)...)
	}
	return all
}

// disks is what happens to the disk of a machine that is off.
func (w world) disks(i int, r *rules) (all []event) {
	d := w.nodes[i].disk
	protected := r.assume && w.young && (!w.proxy || !w.remembered) && d.data == grown
	if protected {
		return nil
	}
	if w.losses > 0 && d != (disk{}) {
		after := w
		after.losses--
		after.nodes[i].disk = disk{}
		all = append(all, event{"the disk of " + letters[i] + " is lost", after, ""})
	}
	if w.swaps > 0 && d != w.nodes[i].other {
		after := w
		after.swaps--
		a := &after.nodes[i]
		a.disk, a.other = a.other, a.disk
		all = append(all, event{"another disk of " + letters[i] + " is put in, the last one goes into the drawer", after, ""})
	}
	return all
}

// looks is everything that machine i may observe and decide, whichever answers are lost on the way.
func (w world) looks(i int, r *rules) (all []event) {
	answers := w.n
	if w.proxy {
		answers++
	}
	seen := map[node]bool{w.nodes[i]: true}
	for lost := range uint8(1) << answers {
		if lost&(1<<i) != 0 {
			continue
		}
		for _, late := range []bool{false, true} {
			after, row, o := w.decides(i, lost, late, r)
			if seen[after.nodes[i]] {
				continue
			}
			seen[after.nodes[i]] = true
			wrong := ""
			if row.do == Found && isMinority(&o) {
				wrong = "a minority founds a cluster on silence"
			}
			if changes := row.do == Found || row.do == Add || row.do == Remove || row.do == Evict; changes && o.Newest > int(w.nodes[i].spec()) {
				wrong = "it acts on stale user-data"
			}
			name := fmt.Sprintf("%s decides to %s", letters[i], row.do)
			for j := range int(answers) {
				if lost&(1<<j) != 0 && (j == int(w.n) || w.nodes[j].on) {
					name += fmt.Sprintf(", not hearing %s", [...]string{"a", "b", "c", "d", "e", "the proxy"}[map[bool]int{true: 5, false: j}[j == int(w.n)]])
				}
			}
			all = append(all, event{name, after, wrong})
		}
	}
	return all
}

// decides is one look of machine i's agent.
func (w world) decides(i int, lost uint8, late bool, r *rules) (world, *rule, Observation) {
	o := w.sees(i, lost, late)
	row := decide(r.table, &o)
	if row == nil {
		row = &rule{do: Stop, say: starting}
	}
	n := &w.nodes[i]
	n.plan, n.epoch = row.do, 0
	switch row.do {
	case Wait, Stop, Settled:
		n.plan = Wait
	case Remove:
		n.epoch = n.seat.epoch
	}
	return w, row, o
}

// news are the ways of newer specifications: members put theirs into etcd, and whoever hears of a newer one takes it. Its
// agent begins anew then.
func (w world) news() (all []event) {
	take := func(i int, number uint8, from string) {
		after := w
		n := &after.nodes[i]
		n.disk.taken, n.plan, n.epoch = number, Wait, 0
		all = append(all, event{fmt.Sprintf("%s takes generation %d from %s", letters[i], number, from), after, ""})
	}
	for i := range int(w.n) {
		n := &w.nodes[i]
		if !n.on {
			continue
		}
		if w.quorum() && w.live(i) && n.spec() > w.known {
			after := w
			after.known = n.spec()
			all = append(all, event{fmt.Sprintf("%s puts generation %d into etcd", letters[i], n.spec()), after, ""})
		}
		if w.quorum() && w.known > n.spec() {
			take(i, w.known, "etcd")
		}
		for j := range int(w.n) {
			if p := &w.nodes[j]; p.on && p.spec() > n.spec() {
				take(i, p.spec(), letters[j])
			}
		}
	}
	return all
}

// etcd is what the members do among themselves.
func (w world) etcd() (all []event) {
	for i := range int(w.n) {
		n := &w.nodes[i]
		if !n.on || !n.running {
			continue
		}
		after := w
		a := &after.nodes[i]
		switch {
		case n.disk.data == unborn && n.disk.epoch == 0:
			a.disk.data = newborn
			all = append(all, event{"etcd of " + letters[i] + " writes the declared members down", after, ""})
		case (n.disk.data == newborn || n.disk.data == unborn) && w.reaches(i):
			wrong := ""
			if n.seat.acknowledged {
				wrong = "a member that has lost its log takes part as if it had it"
			}
			a.disk.data, a.disk.history, a.disk.declared, a.seat.acknowledged = grown, w.history, 0, true
			all = append(all, event{"etcd of " + letters[i] + " takes part", after, wrong})
		case w.live(i) && w.quorum() && (!n.seat.ready || !n.disk.remembers && n.seat.voter):
			a.seat.ready, a.disk.remembers = true, n.disk.remembers || n.seat.voter
			all = append(all, event{"etcd of " + letters[i] + " is ready", after, ""})
		}
	}
	return append(all, w.foundings()...)
}

// reaches tells whether machine i, which takes part for the first time, finds enough of the others.
func (w *world) reaches(i int) bool {
	s := w.nodes[i].seat
	if w.history == 0 || !s.taken || s.epoch != w.nodes[i].disk.epoch {
		return false
	}
	voters, live := w.votes()
	if s.voter {
		live++
	}
	return live > 0 && live >= majority(voters)
}

// foundings are the new clusters that may come to be: by more than half of the declared members, each with a new log.
// That one of them was ready is part of it: a cluster in which none was has served nobody.
func (w world) foundings() (all []event) {
	for set := range uint8(1) << w.n {
		after, count, who := w, 0, ""
		var generations uint8
		possible := true
		for i := range int(w.n) {
			n, a := &w.nodes[i], &after.nodes[i]
			if set&(1<<i) == 0 {
				continue
			}
			count++
			who += letters[i]
			generations |= 1 << n.disk.declared
			possible = possible && n.on && n.running && n.disk.data == newborn
			a.disk.data, a.disk.history, a.disk.declared = grown, w.history+1, 0
		}
		if !possible || count < majority(int(w.n)) || generations&(generations-1) != 0 {
			continue
		}
		wrong := ""
		for i := range int(w.n) {
			if w.nodes[i].disk.data == grown {
				wrong = "a second cluster is founded while " + letters[i] + " has the data of the first"
			}
			after.nodes[i].seat = seat{taken: true, voter: true, acknowledged: set&(1<<i) != 0}
			// No agent's step lasts from the loss of a whole cluster to the next one.
			if w.history > 0 {
				after.nodes[i].plan, after.nodes[i].epoch = Wait, 0
			}
			// The second assumption of the package.
			if after.nodes[i].other.data == grown {
				after.nodes[i].other = disk{}
			}
		}
		after.history++
		after.lock, after.known = 0, 0
		for i := range int(w.n) {
			if set&(1<<i) != 0 {
				ready := after
				ready.nodes[i].seat.ready = true
				all = append(all, event{"a new cluster is founded by " + who + ", " + letters[i] + " is ready", ready, wrong})
			}
		}
	}
	return all
}
