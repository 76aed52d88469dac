package join

// quorum tells whether one answers, listed what it lists this machine's address as.
type (
	quorum uint8
	listed uint8
)

const (
	no quorum = 1 << iota
	yes
	either = no | yes
)

const (
	nowhere listed = 1 << iota
	learner
	voter
	member   = learner | voter
	seatless = nowhere | voter // not on the one seat that there is for learners
	anything = nowhere | member
)

// rule is one row: it applies when all of it does.
type rule struct {
	data   Data
	quorum quorum
	listed listed
	when   func(*Observation) bool
	do     Step
	say    func(*Observation) sentence
}

// THE TABLE. The first row that applies decides.
var table = []rule{
	// my data, a quorum answers, lists me as, and when  do        because
	{Foreign, either, anything, always, Stop, foreignData},
	{Own, yes, anything, itIsAnother, Stop, foreignData},
	{Own, yes, nowhere, isLeftOut, Stop, leftOut},
	{Own, yes, nowhere, isStale, Wait, takesNewer},
	{Own, yes, nowhere, always, SetAside, wasRemoved},
	{Own, either, anything, isDown, Start, hasData},
	{Own, yes, learner, always, Promote, learns},
	{Own, yes, voter, lagsBehind, Wait, catchesUp},
	{Own, yes, voter, ghostWithLock, Evict, neverCame},
	{Own, yes, voter, ghostWithoutLock, Lock, neverCame},
	{Own, yes, voter, lockIsMine, Unlock, isVoter},
	{Own, yes, voter, someoneIsNotReady, Wait, readySoon},
	{Own, yes, voter, always, Settled, isVoter},
	{Own, no, anything, always, Wait, noQuorum},

	{Unborn, either, anything, isDown, SetAside, cutShort},
	{Unborn, either, anything, startsTooLong, Halt, stuck},
	{Unborn, either, anything, always, Wait, starting},

	{None, either, anything, startsTooLong, Halt, stuck},
	{None, either, anything, starts, Wait, starting},

	{None, either, anything, isLeftOut, Stop, leftOut},
	{None, either, anything, isStale, Wait, takesNewer},

	{None, yes, member, takenByAnother, Stop, addressTaken},
	{None, yes, learner, isPromised, Join, wasAdded},
	{None, yes, voter, wouldCostQuorum, Wait, votersSick},
	{None, yes, voter, predecessorIsNews, Wait, replacesSoon},
	{None, yes, seatless, anotherLearnsWithoutLock, Unlock, learnerFirst},
	{None, yes, seatless, anotherLearns, Wait, learnerFirst},
	{None, yes, anything, lockIsTaken, Wait, oneAtATime},
	{None, yes, anything, lockIsFree, Lock, joins},
	{None, yes, member, always, Remove, lostData},
	{None, yes, nowhere, always, Add, notListed},

	{None, no, nowhere, someoneIs(Stranger), Wait, otherSeeds},
	{None, no, nowhere, someoneIs(Member), Wait, membersAlone},
	{None, no, nowhere, hasDatabase, Wait, databaseHere},
	{None, no, nowhere, someoneIs(Holds), Wait, dataThere},
	{None, no, nowhere, orderIsNews, Order, ordered},
	{None, no, nowhere, isMinority, Wait, minority},
	{None, no, nowhere, everyoneIsOrdered, Found, ordered},
	{None, no, nowhere, someoneRemembers, Wait, remembered},
	{None, no, nowhere, everyoneIsHere, Found, allFresh},
	{None, no, nowhere, hasGrown, Wait, grownBefore},
	{None, no, nowhere, aProxyIsSilent, Wait, proxiesFirst},
	{None, no, nowhere, isTooOld, Wait, tooOld},
	{None, no, nowhere, silenceIsNews, Wait, foundsSoon},
	{None, no, nowhere, always, Found, mostFresh},
}

// Decide returns the next step of a machine that has observed this.
func Decide(o Observation) Action {
	r := decide(table, &o)
	if r == nil {
		return Action{Do: Stop, Why: "pgha's table has no row for what this machine sees\n      hint: a mistake in pgha: report it with `journalctl -u pgha-apply`"}
	}
	return r.action(&o)
}

// decide returns the row that applies; nil when none does.
func decide(table []rule, o *Observation) *rule {
	q, l := no, nowhere
	if o.Etcd != nil {
		q = yes
	}
	switch m := o.me(); {
	case m == nil:
	case m.Learner:
		l = learner
	default:
		l = voter
	}
	for i := range table {
		r := &table[i]
		if r.data == o.Data && r.quorum&q != 0 && r.listed&l != 0 && r.when(o) {
			return r
		}
	}
	return nil
}

func (r *rule) action(o *Observation) Action {
	s := r.say(o)
	return Action{Do: r.do, Why: s.why, For: s.on}
}
