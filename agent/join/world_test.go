package join

import (
	"bytes"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// A world is some machines, their disks and an idealised etcd, as small as can be: it is a key of a map.
type world struct {
	nodes [5]node
	n     uint8
	// history counts the clusters that ever were; the last one's members are the nodes' seats.
	history uint8
	// lock is the holder, from 1.
	lock uint8
	// known is the generation of the specification that etcd has.
	known uint8
	// young tells that the birth window is open; proxy, that there is one; remembered, that it has seen the cluster alive.
	young, proxy, remembered bool
	// What may still go wrong.
	losses, swaps uint8
}

type node struct {
	on, running bool
	// generation is the specification's that its seed was made of.
	generation uint8
	// plan is what its agent has decided and not done yet: anything may happen in between.
	plan        Step
	epoch       uint8
	disk, other disk // other lies in a drawer
	seat        seat
}

type disk struct {
	data      kind
	epoch     uint8
	history   uint8
	promised  uint8 // epoch of a learner
	remembers bool
	// taken is a newer generation than the seed's; declared the one whose members a new log records.
	taken, declared uint8
}

type kind uint8

const (
	empty   kind = iota
	unborn       // started, nothing recorded
	newborn      // the declared members recorded, nothing agreed
	grown        // has taken part
)

// seat is a machine's place in etcd's list.
type seat struct {
	taken, voter bool
	epoch        uint8
	// acknowledged tells that it has promised something to the others; ready, that it was announced.
	acknowledged, ready bool
}

// An event is one thing that happens: its name for people, and the world after it.
type event struct {
	name  string
	after world
	// wrong says which promise it breaks.
	wrong string
}

// rules are what is being judged, and how kind the world is.
type rules struct {
	table []rule
	// assume that nobody destroys a disk of a young cluster that no proxy has seen.
	assume bool
}

// spec is the generation that the machine goes by.
func (n *node) spec() uint8 { return max(n.generation, n.disk.taken) }

var letters = [5]string{"a", "b", "c", "d", "e"}

func (w *world) live(i int) bool {
	n := &w.nodes[i]
	return n.on && n.running && n.disk.data == grown && n.disk.history == w.history && n.seat.taken && n.seat.epoch == n.disk.epoch
}

// votes counts the voters, and those of them that live.
func (w *world) votes() (voters, live int) {
	for i := range int(w.n) {
		if s := w.nodes[i].seat; s.taken && s.voter {
			voters++
			if w.live(i) {
				live++
			}
		}
	}
	return voters, live
}

func (w *world) quorum() bool {
	voters, live := w.votes()
	return voters > 0 && live >= majority(voters)
}

func memberID(i int, epoch uint8) ID { return ID(100*i + int(epoch) + 1) } //nolint:gosec // positive

// sees is what machine i observes when the answers of lost do not reach it.
func (w *world) sees(i int, lost uint8, late bool) Observation {
	me := &w.nodes[i]
	o := Observation{Self: letters[i], Remembers: me.disk.remembers, Running: me.running, Since: time.Hour, Age: time.Hour, Cluster: 1, Generation: int(me.spec()), Newest: int(me.spec())}
	if !w.young {
		o.Age += BirthWindow
	}
	if late {
		o.Starting = time.Hour
	}
	switch me.disk.data {
	case unborn:
		o.Data = Unborn
	case newborn, grown:
		o.Data, o.Member = Own, memberID(i, me.disk.epoch)
	}
	if me.disk.promised > 0 {
		o.Promised = memberID(i, me.disk.promised)
	}
	for j := range int(w.n) {
		if j != i {
			p := Peer{Name: letters[j], Silence: time.Hour}
			if lost&(1<<j) == 0 {
				p.State = w.shows(i, j)
				if p.State != Silent && !w.nodes[j].running { // its agent answers
					o.Newest = max(o.Newest, int(w.nodes[j].spec()))
				}
			}
			o.Peers = append(o.Peers, p)
		}
	}
	if w.proxy {
		o.Proxies = []Peer{{Name: "proxy", State: Fresh}}
		if lost&(1<<w.n) != 0 {
			o.Proxies[0].State = Silent
		} else if w.remembered {
			o.Proxies[0].State = Remembers
		}
	}
	// A quorum answers when one of its members does.
	heard := false
	for j := range int(w.n) {
		heard = heard || w.live(j) && (j == i || lost&(1<<j) == 0)
	}
	if !heard || !w.quorum() {
		return o
	}
	o.Etcd, o.Newest = &Etcd{ID: 1}, max(o.Newest, int(w.known))
	if w.lock > 0 {
		o.Etcd.Lock = letters[w.lock-1]
	}
	for j := range int(w.n) {
		if s := w.nodes[j].seat; s.taken {
			l := Listed{ID: memberID(j, s.epoch), Name: letters[j], Ready: s.ready, Me: j == i, Learner: !s.voter, Healthy: w.live(j) && s.ready && (j == i || lost&(1<<j) == 0), Unready: time.Hour, Silence: time.Hour}
			o.Etcd.Members = append(o.Etcd.Members, l)
		}
	}
	return o
}

// shows is what machine j tells machine i about itself.
func (w *world) shows(i, j int) State {
	p := &w.nodes[j]
	switch {
	case !p.on:
		return Silent
	case p.running && p.disk.data == grown:
		return Member
	case p.running && p.disk.declared != w.nodes[i].spec(), !p.running && p.spec() != w.nodes[i].spec():
		return Stranger
	case p.running:
		return Newborn
	case p.disk.data != empty:
		return Holds
	case p.disk.remembers:
		return Remembers
	}
	return Fresh
}

// acts does what the agent of machine i has planned, to machine j where it is to another.
func (w world) acts(i, j int) event {
	n := &w.nodes[i]
	plan, epoch := n.plan, n.epoch
	n.plan, n.epoch = Wait, 0
	e := event{name: fmt.Sprintf("%s does what it has decided: %s", letters[i], plan)}
	_, before := w.margin()
	switch plan {
	case Found, Join, joinListed:
		if n.disk.data != empty {
			e.wrong = "data is overwritten"
		}
		n.running, n.disk.data, n.disk.history, n.disk.declared = true, unborn, 0, n.spec()
		n.disk.epoch = 0
		switch plan {
		case Join:
			n.disk.epoch, n.disk.promised = n.disk.promised, 0
		case joinListed:
			n.disk.epoch = n.seat.epoch
		}
	case Start:
		n.running = n.disk.data != empty
	case Halt:
		n.running = false
	case SetAside:
		if n.disk.data == grown && n.disk.history == w.history && n.seat.taken && n.seat.epoch == n.disk.epoch {
			e.wrong = "the data of a member in good standing is set aside"
		}
		n.running, n.disk.data, n.disk.epoch, n.disk.history, n.disk.declared = false, empty, 0, 0, 0
	case Lock:
		if w.quorum() && w.lock == 0 {
			w.lock = uint8(i) + 1 //nolint:gosec // five at most
		}
	case Unlock:
		if w.quorum() && int(w.lock) == i+1 {
			w.lock = 0
		}
	case Remove:
		if w.quorum() && n.seat.taken && n.seat.epoch == epoch {
			if w.live(i) {
				e.wrong = "a living member is removed"
			}
			n.seat = seat{}
		}
	case Add, addVoter:
		if w.quorum() && (!n.seat.taken || plan == addVoter) && !w.learns() {
			number := n.newest() + 1
			if n.seat.taken { // the predecessor stays on the list: a seat that nobody sits on
				e.wrong = w.costs(before, 1)
			}
			n.seat = seat{taken: true, voter: plan == addVoter, epoch: number}
			n.plan, n.epoch = note, number // it may be cut off before it has noted the id
		}
	case note:
		n.disk.promised = epoch
	case Evict:
		voters, live := w.votes()
		// etcd itself refuses to remove a member that takes part where the others are too few (--strict-reconfig-check).
		refuses := w.live(j) && live-1 < majority(voters-1)
		if s := w.nodes[j].seat; w.quorum() && !refuses && j != i && s.taken && s.voter && !s.ready {
			w.nodes[j].seat = seat{}
			if voters, live := w.votes(); live < majority(voters) {
				e.wrong = "the quorum is given away by us"
			}
		}
	case Promote:
		if w.quorum() && n.seat.taken && w.live(i) {
			n.seat.voter = true
		}
	}
	if changes := plan == Remove || plan == Add || plan == Promote; changes && e.wrong == "" {
		e.wrong = w.costs(before, 0)
	}
	e.after = w
	return e
}

const (
	note Step = 100 + iota // the second half of Add
	// What only wrong tables do.
	addVoter
	joinListed
)

func (w *world) learns() bool {
	return slices.ContainsFunc(w.nodes[:w.n], func(n node) bool { return n.seat.taken && !n.seat.voter })
}

// margin is how many voters may fail before the quorum does.
func (w *world) margin() (quorum bool, margin int) {
	voters, live := w.votes()
	return live >= majority(voters), live - majority(voters)
}

// costs tells whether a change of ours, with more seats that nobody sits on, leaves less margin than there was.
func (w *world) costs(before, seats int) string {
	voters, live := w.votes()
	if live-majority(voters+seats) < before && before >= 0 {
		return "the quorum is given away by us"
	}
	return ""
}

// newest is the highest number that a member at this machine's address had, as far as anything still knows.
func (n *node) newest() uint8 {
	return max(n.epoch, n.seat.epoch, n.disk.epoch, n.disk.promised, n.other.epoch, n.other.promised)
}

// canonical is the same world with the numbers of members and clusters as small as can be, and the machines in an order
// that does not depend on their names.
func (w world) canonical() world {
	for i := range int(w.n) {
		n := &w.nodes[i]
		numbers := [6]*uint8{&n.epoch, &n.seat.epoch, &n.disk.epoch, &n.disk.promised, &n.other.epoch, &n.other.promised}
		var used uint64
		for _, e := range numbers {
			used |= 1 << *e
		}
		for _, e := range numbers {
			if *e > 0 { // 0 is the declared member, or none
				*e = uint8(bits.OnesCount64(used&(1<<*e-1)&^1)) + 1 //nolint:gosec // six at most
			}
		}
	}
	w.countAnew()
	var keys [5][24]byte
	for i := range int(w.n) {
		keys[i] = w.nodes[i].key(int(w.lock) == i+1)
	}
	for i := 1; i < int(w.n); i++ {
		for j := i; j > 0 && bytes.Compare(keys[j][:], keys[j-1][:]) < 0; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
			w.nodes[j], w.nodes[j-1] = w.nodes[j-1], w.nodes[j]
		}
	}
	for i := range int(w.n) {
		if keys[i][0] == 1 {
			w.lock = uint8(i) + 1 //nolint:gosec // five at most
		}
	}
	return w
}

// countAnew calls the present cluster 1, or 2 while a disk of an earlier one is left.
func (w *world) countAnew() {
	present, earlier := w.history, uint8(0)
	disks := func(f func(*disk)) {
		for i := range int(w.n) {
			for _, d := range []*disk{&w.nodes[i].disk, &w.nodes[i].other} {
				if d.data == grown {
					f(d)
				}
			}
		}
	}
	disks(func(d *disk) {
		if d.history < present {
			earlier = 1
		}
	})
	disks(func(d *disk) {
		if d.history == present {
			d.history = earlier + 1
		} else {
			d.history = 1
		}
	})
	if present > 0 {
		w.history = earlier + 1
	}
}

// key is the machine as bytes that compare.
func (n *node) key(holds bool) [24]byte {
	bit := func(b bool) byte {
		if b {
			return 1
		}
		return 0
	}
	d, o, s := &n.disk, &n.other, &n.seat
	return [24]byte{
		bit(holds), bit(n.on), bit(n.running), n.generation, byte(n.plan), n.epoch,
		byte(d.data), d.epoch, d.history, d.promised, bit(d.remembers), d.taken, d.declared,
		byte(o.data), o.epoch, o.history, o.promised, bit(o.remembers), o.taken, o.declared,
		bit(s.taken)<<1 | bit(s.voter), s.epoch, bit(s.acknowledged), bit(s.ready),
	}
}

func (s Step) String() string {
	words := map[Step]string{Wait: "wait", Stop: "stop", Settled: "settled", Start: "start etcd", Found: "found a new cluster", Order: "order",
		Lock: "take the lock", Unlock: "give the lock back", Remove: "remove the member at its address", Add: "add itself as a learner",
		Join: "start as the learner it was promised to be", Promote: "become a voter", Halt: "stop etcd", Evict: "remove a founder that never came", SetAside: "set its data aside",
		note: "note its new member id", addVoter: "add itself as a voter", joinListed: "start as the member that is listed"}
	return words[s]
}

func (w *world) String() string {
	var b strings.Builder
	for i := range int(w.n) {
		n := &w.nodes[i]
		power := "off"
		if n.on {
			power = "on "
		}
		data := [...]string{"no data", "an empty log", "a new log", fmt.Sprintf("data of cluster %d", n.disk.history)}[n.disk.data]
		if n.disk.remembers {
			data += ", memory"
		}
		listed := "not listed"
		if n.seat.taken {
			listed = map[bool]string{true: "voter", false: "learner"}[n.seat.voter]
		}
		fmt.Fprintf(&b, "    %s %s %s, %s, generation %d", letters[i], power, data, listed, n.spec())
		if n.plan != Wait {
			fmt.Fprintf(&b, ", about to %s", n.plan)
		}
		b.WriteString("\n")
	}
	return b.String()
}
