package join

import "slices"

// What the table's rows ask.

func always(*Observation) bool { return true }

func itIsAnother(o *Observation) bool { return o.Etcd.ID != o.Cluster }

func isDown(o *Observation) bool { return !o.Running }

func starts(o *Observation) bool { return o.Running }

func startsTooLong(o *Observation) bool { return o.Running && o.Starting > StartGrace }

func lockIsMine(o *Observation) bool { return o.Etcd.Lock == o.Self }

func lockIsFree(o *Observation) bool { return o.Etcd.Lock == "" }

func lockIsTaken(o *Observation) bool { return o.Etcd.Lock != "" && o.Etcd.Lock != o.Self }

func lagsBehind(o *Observation) bool { return !o.me().Healthy }

// Ghost is a founder that never came; nil when there is none, and while those that came could not agree without it.
func (o *Observation) Ghost() *Listed {
	voters, healthy := o.voters()
	if healthy < majority(voters-1) {
		return nil
	}
	for i, m := range o.Etcd.Members {
		long := m.Unready > SilenceGrace || m.Unready > ReadyGrace && m.Silence > SilenceGrace
		if unready(m) && !m.Me && long {
			return &o.Etcd.Members[i]
		}
	}
	return nil
}

func unready(m Listed) bool { return !m.Learner && !m.Ready && !m.Healthy }

func ghostWithLock(o *Observation) bool { return o.Ghost() != nil && lockIsMine(o) && !isStale(o) }

func ghostWithoutLock(o *Observation) bool { return o.Ghost() != nil && lockIsFree(o) && !isStale(o) }

func isStale(o *Observation) bool { return o.Newest > o.Generation }

func isLeftOut(o *Observation) bool { return o.LeftOut }

func hasGrown(o *Observation) bool { return o.Grown }

func someoneIsNotReady(o *Observation) bool { return slices.ContainsFunc(o.Etcd.Members, unready) }

func takenByAnother(o *Observation) bool { return o.me().Name != "" && o.me().Name != o.Self }

func isPromised(o *Observation) bool { return o.me().ID == o.Promised && !o.me().Ready }

// wouldCostQuorum tells that the voters could not agree without this machine. Where they can, they still can when the
// member that this machine was is off the list: there is one voter fewer, and none of those that answer.
func wouldCostQuorum(o *Observation) bool {
	voters, healthy := o.voters()
	if o.me().Healthy {
		healthy--
	}
	return healthy < majority(voters)
}

// voters counts those that are listed, and those of them that are healthy.
func (o *Observation) voters() (voters, healthy int) {
	for _, m := range o.Etcd.Members {
		if m.Learner {
			continue
		}
		voters++
		if m.Healthy {
			healthy++
		}
	}
	return voters, healthy
}

func predecessorIsNews(o *Observation) bool { return o.me().Ready && o.Since < ReplaceGrace }

func anotherLearns(o *Observation) bool {
	return slices.ContainsFunc(o.Etcd.Members, func(m Listed) bool { return m.Learner && !m.Me })
}

// anotherLearnsWithoutLock tells that the lock ran out for a machine that had been added: it gets it back, or both would
// wait for each other.
func anotherLearnsWithoutLock(o *Observation) bool { return anotherLearns(o) && lockIsMine(o) }

func someoneIs(s State) func(*Observation) bool {
	return func(o *Observation) bool {
		return slices.ContainsFunc(o.Peers, func(p Peer) bool { return p.State == s })
	}
}

func hasDatabase(o *Observation) bool { return o.Database }

func orderIsNews(o *Observation) bool {
	return !o.Ordered && slices.ContainsFunc(o.Peers, func(p Peer) bool { return p.Ordered })
}

// isMinority tells that etcd could not agree on anything with those that are here.
func isMinority(o *Observation) bool {
	return len(o.Peers)-len(o.silent())+1 < majority(len(o.Peers)+1)
}

// everyoneIsOrdered waits for the order to have reached every agent that is here: one that has started etcd can no longer say it.
func everyoneIsOrdered(o *Observation) bool {
	return o.Ordered && !slices.ContainsFunc(o.Peers, func(p Peer) bool {
		return !p.Ordered && (p.State == Fresh || p.State == Remembers)
	})
}

func someoneRemembers(o *Observation) bool {
	remembers := func(p Peer) bool { return p.State == Remembers }
	return o.Remembers || slices.ContainsFunc(o.Peers, remembers) || slices.ContainsFunc(o.Proxies, remembers)
}

func everyoneIsHere(o *Observation) bool { return len(o.silent()) == 0 }

func aProxyIsSilent(o *Observation) bool {
	return slices.ContainsFunc(o.Proxies, func(p Peer) bool { return p.State == Silent })
}

// isTooOld also refuses a clock from before the authority was made, which knows nothing.
func isTooOld(o *Observation) bool { return o.Age < 0 || o.Age > BirthWindow }

func silenceIsNews(o *Observation) bool {
	return slices.ContainsFunc(o.Peers, func(p Peer) bool { return p.State == Silent && p.Silence < SilenceGrace })
}

// IsListed tells whether this machine's address is in etcd's list.
func (o *Observation) IsListed() bool { return o.me() != nil }

// me is how this machine's address is listed; nil when it is not.
func (o *Observation) me() *Listed {
	if o.Etcd == nil {
		return nil
	}
	i := slices.IndexFunc(o.Etcd.Members, func(m Listed) bool { return m.Me })
	if i < 0 {
		return nil
	}
	return &o.Etcd.Members[i]
}

// silent are the peers that do not answer.
func (o *Observation) silent() (silent []Peer) { return only(o.Peers, Silent) }

func only(peers []Peer, s State) (some []Peer) {
	for _, p := range peers {
		if p.State == s {
			some = append(some, p)
		}
	}
	return some
}

func majority(n int) int { return n/2 + 1 }
