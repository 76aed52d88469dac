package join

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// explored is every world that can come to be, each with the one before it.
type explored struct {
	rules  *rules
	worlds []world
	from   []int32
	index  map[world]int32
	// ends are the verdicts on where a world comes to rest, by index.
	ends map[world]string
}

// explore goes through the worlds breadth first, up to a number of them, and returns the shortest way to a broken promise;
// empty when none is broken. all tells whether there was nothing left to explore.
func explore(r *rules, limit int, starts ...world) (found string, count int, all bool) {
	x := explored{rules: r, index: map[world]int32{}, ends: map[world]string{}}
	for _, w := range starts {
		x.add(w, -1)
	}
	for i := 0; i < len(x.worlds); i++ {
		if len(x.worlds) > limit {
			return "", len(x.worlds), false
		}
		w := x.worlds[i]
		for _, e := range w.happens(r) {
			if e.wrong != "" {
				return x.story(i, e.name, e.wrong), len(x.worlds), true
			}
			x.add(e.after, i)
		}
		if wrong := x.rests(w); wrong != "" {
			return x.story(i, "nothing goes wrong any more, and every message arrives", wrong), len(x.worlds), true
		}
	}
	return "", len(x.worlds), true
}

func (x *explored) add(w world, from int) {
	w = w.canonical()
	if _, ok := x.index[w]; ok {
		return
	}
	x.index[w] = int32(len(x.worlds))                                   //nolint:gosec // bounded by the limit
	x.worlds, x.from = append(x.worlds, w), append(x.from, int32(from)) //nolint:gosec // as above
}

// story tells how the world came to be, for a person.
func (x *explored) story(i int, last, wrong string) string {
	var way []int
	for at := int32(i); at >= 0; at = x.from[at] { //nolint:gosec // bounded by the limit
		way = append(way, int(at))
	}
	slices.Reverse(way)
	var b strings.Builder
	w := x.worlds[way[0]]
	for step, at := range way[1:] {
		// The machines keep their names, which in what was explored they do not.
		all := w.happens(x.rules)
		e := all[slices.IndexFunc(all, func(e event) bool { return e.after.canonical() == x.worlds[at] })]
		fmt.Fprintf(&b, "%3d. %s\n", step+1, e.name)
		w = e.after
	}
	fmt.Fprintf(&b, "%3d. %s\n%s => %s\n", len(way), last, w.String(), wrong)
	return b.String()
}

// rests follows the world while nothing goes wrong and every message arrives, and says what is wrong with where it
// comes to rest: empty when it is a healthy cluster, or waits for somebody who is to blame.
func (x *explored) rests(w world) string {
	var way []world
	on := map[world]bool{}
	for {
		w = w.canonical()
		if end, ok := x.ends[w]; ok {
			return x.settle(way, end)
		}
		if on[w] {
			return x.settle(way, "it goes round in circles")
		}
		way, on[w] = append(way, w), true
		e, ok := w.next(x.rules)
		switch {
		case !ok:
			return x.settle(way, w.verdict(x.rules))
		case e.wrong != "":
			return x.settle(way, e.wrong+" ("+e.name+")")
		}
		w = e.after
	}
}

func (x *explored) settle(way []world, end string) string {
	for _, w := range way {
		x.ends[w] = end
	}
	return end
}

// next is what happens first when all goes well; false when nothing does.
func (w world) next(r *rules) (event, bool) {
	if etcd := w.etcd(); len(etcd) > 0 {
		return etcd[len(etcd)-1], true
	}
	if news := w.news(); len(news) > 0 {
		return news[len(news)-1], true
	}
	if w.lock > 0 && !w.nodes[w.lock-1].on {
		w.lock = 0
		return event{after: w}, true
	}
	for _, late := range []bool{false, true} {
		for i := range int(w.n) {
			n := &w.nodes[i]
			if !n.on {
				continue
			}
			if n.plan != Wait {
				for j := range int(w.n) { // a founder that never came, where one is to be removed
					if s := w.nodes[j].seat; n.plan == Evict && s.taken && s.voter && !s.ready {
						return w.acts(i, j), true
					}
				}
				return w.acts(i, i), true
			}
			if after, _, _ := w.decides(i, 0, late, r); after != w {
				return event{after: after}, true
			}
		}
	}
	return event{}, false
}

// verdict judges a world in which nothing happens any more.
func (w world) verdict(r *rules) string {
	for i := range int(w.n) {
		if s := w.nodes[i].seat; w.quorum() && s.taken && s.voter && !s.ready {
			return "etcd waits for ever for the version of " + letters[i] + ", and Patroni for etcd"
		}
	}
	settled, blameless := true, w.quorum() || w.history == 0 && !w.remembered
	for i := range int(w.n) {
		n := &w.nodes[i]
		// A machine that began to found a cluster with other members than are declared now needs a person.
		stranded := (n.disk.data == unborn || n.disk.data == newborn) && n.disk.declared != n.spec()
		blameless = blameless && n.on && !stranded && (w.quorum() || !n.disk.remembers && n.disk.data != grown)
		if !n.on {
			settled = false
			continue
		}
		_, row, o := w.decides(i, 0, true, r)
		a := row.action(&o)
		settled = settled && a.Do == Settled
		switch a.Do {
		case Settled, Stop:
		case Wait:
			if problem := w.blames(i, a); problem != "" {
				return problem
			}
		default:
			return letters[i] + " never gets to " + a.Do.String()
		}
	}
	if blameless && !settled {
		return "every machine is there, and they do not become a cluster"
	}
	return ""
}

// blames checks whom a waiting machine names: each must be off, waiting itself, or the one who remembers.
func (w world) blames(i int, a Action) string {
	if len(a.For) == 0 {
		return fmt.Sprintf("%s waits and names nobody: %s", letters[i], a.Why)
	}
	for _, name := range a.For {
		if name == "proxy" {
			if !w.remembered {
				return fmt.Sprintf("%s waits for a proxy that is there and remembers nothing: %s", letters[i], a.Why)
			}
			continue
		}
		j := slices.Index(letters[:], strings.TrimPrefix(name, "member "))
		if j >= 0 && w.live(j) && w.quorum() && w.nodes[j].seat.voter {
			return fmt.Sprintf("%s waits for %s, which is well: %s", letters[i], name, a.Why)
		}
	}
	return ""
}

// fresh is n machines that were never switched on.
func fresh(n int, change func(*world)) world {
	w := world{n: uint8(n)} //nolint:gosec // three or five
	change(&w)
	return w
}

// grownUp is a healthy cluster of n machines.
func grownUp(t *testing.T, n int) world {
	t.Helper()
	w := fresh(n, func(w *world) {
		for i := range n {
			w.nodes[i].on = true
		}
	})
	for e, ok := w.next(&assuming); ok; e, ok = w.next(&assuming) {
		w = e.after
	}
	if _, live := w.votes(); live != n {
		t.Fatalf("%d machines do not become a cluster:\n%s", n, &w)
	}
	return w
}

// stale is a healthy cluster at a newer generation than the user-data of one machine, which is about to lose its disk.
func stale(t *testing.T) world {
	w := grownUp(t, 3)
	for i := range 3 {
		w.nodes[i].generation = 1
	}
	w.nodes[2].generation, w.nodes[2].disk.taken = 0, 1
	w.known, w.losses = 1, 1
	return w
}

// assuming are the table's rules in a world in which the package's assumptions hold.
var assuming = rules{table, true}

// TestModel goes through everything that three machines, and one, may live to see.
func TestModel(t *testing.T) {
	// In short each fault comes alone; together they make ten times as many worlds.
	losses, both := uint8(1), uint8(0)
	if !testing.Short() {
		losses, both = 2, 1
	}
	for name, start := range map[string]world{
		"old, lost disks":            fresh(3, func(w *world) { w.losses, w.swaps = losses, both }),
		"old, other disks":           fresh(3, func(w *world) { w.losses, w.swaps = both, 1 }),
		"young":                      fresh(3, func(w *world) { w.young, w.losses = true, losses }),
		"young with a proxy":         fresh(3, func(w *world) { w.young, w.proxy, w.losses = true, true, losses }),
		"one stale seed":             fresh(3, func(w *world) { w.young, w.losses, w.nodes[2].generation = true, both, 1 }),
		"a stale machine comes back": stale(t),
		"three seeds":                fresh(3, func(w *world) { w.young, w.nodes[1].generation, w.nodes[2].generation = true, 1, 2 }),
		"alone":                      fresh(1, func(w *world) { w.young = true }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Each way that a specification may take to each machine makes many more worlds: in short not all of them.
			limit, some := 20_000_000, testing.Short() && strings.Contains(name, "seed")
			if some {
				limit = 50_000
			}
			story, count, all := explore(&assuming, limit, start)
			t.Logf("%d worlds", count)
			if story != "" || !all && !some {
				t.Error(story)
			}
		})
	}
}

// TestModelOfFive goes as far as time allows: from the beginning, and from a healthy cluster that is to lose disks.
func TestModelOfFive(t *testing.T) {
	limit := 30_000
	if !testing.Short() {
		limit = 1_500_000
	}
	begin := fresh(5, func(w *world) { w.young = true })
	healthy := grownUp(t, 5)
	healthy.losses = 2
	for name, start := range map[string]world{"begins": begin, "loses disks": healthy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story, count, all := explore(&assuming, limit, start)
			t.Logf("%d worlds, all of them: %t", count, all)
			if story != "" {
				t.Error(story)
			}
		})
	}
}
