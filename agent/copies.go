package agent

import (
	"fmt"
	"slices"
)

// others are a cluster's replicas but for one member, which is about to go or to be copied anew.
type others struct {
	// streaming is how many follow the primary, ready how many of them may take over from it without loss.
	streaming, ready int
	// soon tells that one which streams is about to count as ready: Patroni has not come round to it.
	soon bool
}

func (s survey) others(but string) (o others) {
	for _, r := range s.replicas() {
		if r.name == but || s.streams(r) != "" {
			continue
		}
		o.streaming++
		if s.confirmWant == 0 || slices.Contains(s.confirm, r.name) {
			o.ready++
		} else {
			o.soon = len(s.confirm) < s.confirmWant
		}
	}
	return o
}

// isStreamed tells whether the primary sends a member its log at this moment. The member itself need not answer for that.
func (s survey) isStreamed(name string) bool {
	p, none := s.primary()
	return none == "" && slices.Contains(p.Replication, standby{name, "streaming"})
}

const evenLast = "--even-the-last-copy"

// mayReinit says why a member's data must stay; empty when it need not. passes tells that it may soon: another replica
// streams, and does not count yet.
func (s survey) mayReinit(name string, last bool) (why string, passes bool) {
	p, none := s.primary()
	m, known := s.member(name)
	left := s.others(name)
	anyway := ", or: pgha reinit " + name + " " + evenLast
	switch {
	case !known:
		return "the cluster has no such member", false
	case none != "":
		return none + ", so there is nothing to copy from, and this may be the newest copy\n      hint: pgha doctor", false
	case name == p.name:
		return "it is the primary: its data is the cluster's\n      hint: pgha switchover, and then once more", false
	case m.err != nil:
		return fmt.Sprintf("its Patroni does not answer: %s\n      hint: on %s: pgha doctor", short(m.err), name), false
	case last, m.State == "creating replica": // its own data is gone already
		return "", false
	case s.streams(m) == "" && left.ready == 0:
		return "until it is copied no other replica could take over: if " + p.name + " is lost meanwhile, so is the database\n" +
			"      hint: bring the other replicas back first (pgha doctor)" + anyway, left.soon
	case s.streams(m) != "" && left.streaming == 0:
		return "no replica streams, so what " + name + " has may be the only copy beside " + p.name + "'s, if an old one: if " + p.name +
			" is lost before the new copy is whole, so is the database\n      hint: take a backup first (pgha backup)" + anyway, false
	}
	return "", false
}

// mayRemove says why a member must stay in the cluster: with it would go the last replica that could take over. Empty when it need
// not. passes tells that it may go soon. A member that does not stream takes nothing with it.
func (s survey) mayRemove(name string, last bool) (why string, passes bool) {
	p, none := s.primary()
	left := s.others(name)
	anyway := ", or: pgha member remove " + name + " " + evenLast
	switch {
	case last:
		return "", false
	case none != "":
		return none + ", so nobody knows whether its data is the newest copy\n      hint: pgha doctor" + anyway, false
	case !s.isStreamed(name) || left.ready > 0:
		return "", false
	case left.streaming == 0:
		return "it is the last replica that streams: without it the only copy of the database is that of " + p.name + "\n" +
			"      hint: bring another replica up first (pgha doctor)" + anyway, false
	}
	return "of the replicas that would be left none may take over without loss\n" +
		"      hint: pgha doctor on " + p.name + " says what they lack" + anyway, left.soon
}
