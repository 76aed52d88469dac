package join

import (
	"fmt"
	"strings"
	"time"
)

// The sentences of the table's rows: what a person reads on the console, in the journal and in `pgha status`.

// sentence says why, and names the machines that are waited for.
type sentence struct {
	why string
	on  []string
}

const orderHint = "\n      hint: when no machine of this cluster has any data that is needed: pgha bootstrap --i-know-that-no-data-exists"

func say(format string, args ...any) sentence { return sentence{why: fmt.Sprintf(format, args...)} }

func sayOf(on []Peer, format string, args ...any) sentence {
	s := say(format, args...)
	for _, p := range on {
		s.on = append(s.on, p.Name)
	}
	return s
}

func foreignData(o *Observation) sentence {
	return say("foreign data: the etcd data on this machine is of cluster %x, not of this one; it is left alone\n"+
		"      hint: give this machine its own disk back, or, when it is to begin without that data: pgha member set-aside etcd", o.Cluster)
}

func wasRemoved(o *Observation) sentence {
	return say("member %x, whose data is here, was removed from the cluster", o.Member)
}

func leftOut(o *Observation) sentence {
	return say("%s is not in the newest generation of the specification, %d: it joins nothing, and its data is kept\n"+
		"      hint: to take it in again, put it into cluster.yaml, run `pgbake seed`, and boot this machine with the user-data made then", o.Self, o.Generation)
}

func takesNewer(o *Observation) sentence {
	s := say("stale user-data: this machine has generation %d of the specification, and the cluster is at %d, which it takes first\n"+
		"      hint: where it does not, `pgha status` says why; `pgbake seed` makes its user-data anew", o.Generation, o.Newest)
	s.on = []string{o.Self}
	return s
}

func grownBefore(o *Observation) sentence {
	return sayOf(o.silent(), "no answer from %s; the cluster once had other members, and those that are silent may have its data%s", names(o.silent()), orderHint)
}

func hasData(*Observation) sentence { return say("this machine has the data of its member") }

func learns(o *Observation) sentence {
	return say("%s is a learner, and becomes a voter when it has caught up", o.Self)
}

func isVoter(o *Observation) sentence { return say("%s is a voter", o.Self) }

func catchesUp(*Observation) sentence {
	return say("the others have a quorum; this machine's etcd catches up with them")
}

func noQuorum(o *Observation) sentence {
	empty := append(only(o.Peers, Fresh), only(o.Peers, Remembers)...)
	switch silent := o.silent(); {
	case len(silent) > 0:
		return sayOf(append(silent, empty...), "no quorum yet, no answer from %s%s", names(silent), without(empty))
	case len(empty) > 0:
		return sayOf(empty, "no quorum%s\n      hint: bring one of their disks back", without(empty))
	}
	return sayOf(o.Peers, "no quorum yet, though every member answers")
}

func neverCame(o *Observation) sentence {
	return say("%s was declared, and was never there", o.Ghost().label())
}

func readySoon(o *Observation) sentence {
	var on []Peer
	for _, m := range o.Etcd.Members {
		if unready(m) {
			on = append(on, Peer{Name: m.label()})
		}
	}
	return sayOf(on, "%s was never ready; the others go on without it after %s", names(on), SilenceGrace)
}

func cutShort(*Observation) sentence {
	return say("etcd's first start on this machine was cut short before it knew anything")
}

func stuck(*Observation) sentence {
	return say("etcd has not come up in %s; see `journalctl -u etcd`", StartGrace)
}

func starting(*Observation) sentence { return say("etcd starts") }

func addressTaken(o *Observation) sentence {
	return say("this machine's address is member %s of the running cluster, not %s: its seed is not of this cluster's present members\n"+
		"      hint: give it the seed that `pgbake seed` makes of the cluster.yaml in use", o.me().Name, o.Self)
}

func wasAdded(o *Observation) sentence { return say("%s was added as learner %x", o.Self, o.Promised) }

func votersSick(o *Observation) sentence {
	var sick []Peer
	for _, m := range o.Etcd.Members {
		if !m.Learner && !m.Me && !m.Healthy {
			sick = append(sick, Peer{Name: m.label()})
		}
	}
	return sayOf(sick, "the member at this machine's address has lost its data and can be replaced only while more than half of the members are healthy: %s is not", names(sick))
}

func replacesSoon(*Observation) sentence {
	return say("this machine has no data, and the member at its address had some: it is replaced after %s; switch this machine off if its disk is the wrong one", ReplaceGrace)
}

func oneAtATime(o *Observation) sentence {
	return sayOf([]Peer{{Name: o.Etcd.Lock}}, "%s joins or is replaced at this moment; one machine at a time", o.Etcd.Lock)
}

func joins(o *Observation) sentence { return say("%s joins the running cluster", o.Self) }

func lostData(o *Observation) sentence {
	return say("member %x at this machine's address has lost its data", o.me().ID)
}

func learnerFirst(o *Observation) sentence {
	var learners []Peer
	for _, m := range o.Etcd.Members {
		if m.Learner {
			learners = append(learners, Peer{Name: m.label()})
		}
	}
	return sayOf(learners, "%s has been added and is no voter yet; one machine at a time", names(learners))
}

func notListed(o *Observation) sentence { return say("%s is not in the cluster's list", o.Self) }

func otherSeeds(o *Observation) sentence {
	others := only(o.Peers, Stranger)
	return sayOf(others, "%s was told of other members of this cluster than this machine was\n"+
		"      hint: give all machines the seeds of one cluster.yaml", names(others))
}

func membersAlone(o *Observation) sentence {
	members, silent := only(o.Peers, Member), o.silent()
	if len(silent) > 0 {
		return sayOf(silent, "the cluster exists on %s, which alone is no quorum: no answer from %s", names(members), names(silent))
	}
	return sayOf(members, "the cluster exists on %s, which alone is no quorum, and no other machine has its data\n"+
		"      hint: bring the disk of one of the others back", names(members))
}

func databaseHere(o *Observation) sentence {
	s := sayOf(o.silent(), "this machine has a database, but no etcd data, and there is no quorum that it belongs to%s\n"+
		"      hint: when the cluster is to begin without this database: pgha member set-aside postgres", but(o.silent()))
	s.on = append(s.on, o.Self)
	return s
}

func dataThere(o *Observation) sentence {
	holders := only(o.Peers, Holds)
	return sayOf(holders, "%s has data that no running cluster belongs to: see `pgha status` there", names(holders))
}

func ordered(*Observation) sentence { return say("the operator has ordered a new cluster") }

func minority(o *Observation) sentence {
	return sayOf(o.silent(), "no answer from %s; half of the members or fewer never begin a cluster", names(o.silent()))
}

func remembered(o *Observation) sentence {
	var who []Peer
	if o.Remembers {
		who = append(who, Peer{Name: o.Self})
	}
	who = append(append(who, only(o.Peers, Remembers)...), only(o.Proxies, Remembers)...)
	return sayOf(append(who, o.silent()...), "%s has seen this cluster alive, and its data is on no machine that answers%s%s", names(who), but(o.silent()), orderHint)
}

func allFresh(*Observation) sentence {
	return say("every declared machine is here, and none has any data")
}

func proxiesFirst(o *Observation) sentence {
	on := append(o.silent(), only(o.Proxies, Silent)...)
	return sayOf(on, "no answer from %s; to begin without a member, every proxy must say that it has never seen this cluster alive%s", names(on), orderHint)
}

func tooOld(o *Observation) sentence {
	why := fmt.Sprintf("the cluster's authority was made %d days ago: a silent machine may be the one that still has the data", o.Age/(24*time.Hour))
	if o.Age < 0 {
		why = "by this machine's clock the cluster's authority is not made yet"
	}
	return sayOf(o.silent(), "no answer from %s, and %s%s", names(o.silent()), why, orderHint)
}

func foundsSoon(o *Observation) sentence {
	return sayOf(o.silent(), "no answer from %s; the others begin without it after %s", names(o.silent()), SilenceGrace)
}

func mostFresh(o *Observation) sentence {
	return say("more than half of the members are here without any data, nobody has ever seen this cluster alive, and %s has been silent for %s", names(o.silent()), SilenceGrace)
}

// names lists machines for a sentence.
func names(peers []Peer) string {
	words := make([]string, len(peers))
	for i, p := range peers {
		words[i] = p.Name
	}
	switch len(words) {
	case 0:
		return "nobody"
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// without ends a sentence with those that are here and have lost what a quorum needs.
func without(empty []Peer) string {
	if len(empty) == 0 {
		return ""
	}
	return "; no data on " + names(empty)
}

func but(silent []Peer) string {
	if len(silent) == 0 {
		return ""
	}
	return "; no answer from " + names(silent)
}

func (m Listed) label() string {
	if m.Name != "" {
		return m.Name
	}
	if m.Address.IsValid() {
		return "the member at " + m.Address.String()
	}
	return fmt.Sprintf("member %x", m.ID)
}
