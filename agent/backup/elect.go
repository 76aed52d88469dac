package backup

import (
	"fmt"
	"slices"
	"time"
)

// Action is what a machine does next about a backup that is due.
type Action int

// The actions.
const (
	// Wait and look again.
	Wait Action = iota
	// Claim the lease in etcd; whether it was got the next look tells.
	Claim
	// Take the backup.
	Take
	// Leave it: it has been taken.
	Leave
)

// Grace is how long a machine leaves the work to one that comes before it and does not begin.
const Grace = 2 * time.Minute

// Member is a database machine as it answers.
type Member struct {
	Name string
	// Primary leads; Replica streams from it. Neither when it does not answer, or does not run.
	Primary, Replica bool
}

// Observation is what a machine sees when a backup is due.
type Observation struct {
	Self    string
	Members []Member // in the specification's order
	// Etcd tells that it answers; without it there is no lease.
	Etcd bool
	// Holder has the lease in etcd; empty when nobody has.
	Holder string
	// Restore says which restore is about to exchange the cluster's database; empty when none is.
	Restore string
	// Last is the cluster's newest good backup.
	Last Done
	// Due is when this backup should begin, Now the clock, Waited for how long this machine has been looking.
	Due, Now time.Time
	Waited   time.Duration
}

// Decide says what to do and why. Nothing depends on the lease for safety: two machines that both believe they have it
// write under names of their own. It only keeps the work to one.
func Decide(o Observation) (Action, string) {
	// What seems to come from the future came from a clock that was wrong.
	if !o.Last.At.Before(o.Due) && !o.Last.At.After(o.Now.Add(time.Hour)) {
		return Leave, fmt.Sprintf("%s has taken one at %s", o.Last.Machine, o.Last.At.Format(time.DateTime))
	}
	order := Order(o.Members, o.Last.Machine)
	rank := slices.Index(order, o.Self)
	switch {
	case o.Restore != "":
		return Wait, "the cluster is restored: " + o.Restore
	case o.Holder == o.Self && rank >= 0:
		return Take, "this machine has the lease"
	case o.Holder != "" && o.Holder != o.Self:
		return Wait, o.Holder + " takes it"
	case len(order) == 0:
		return Wait, "no member of the cluster says that its PostgreSQL runs"
	case rank < 0:
		return Wait, fmt.Sprintf("it is for %s, not for this machine", order[0])
	case !o.Etcd && rank == 0:
		return Take, "etcd does not answer: this machine is the first that could, and takes it without a lease"
	case !o.Etcd:
		return Wait, fmt.Sprintf("etcd does not answer, and it is for %s", order[0])
	case o.Waited < time.Duration(rank)*Grace:
		return Wait, fmt.Sprintf("%s comes first", order[rank-1])
	}
	return Claim, "nobody else takes it"
}

// Order lists who may take a backup, the first one first: replicas, and the primary only when there is none. Who took
// the last one goes on, so that the backups lie together.
func Order(members []Member, last string) (names []string) {
	for _, m := range members {
		if m.Replica {
			names = append(names, m.Name)
		}
	}
	if i := slices.Index(names, last); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, last)
	}
	if len(names) > 0 {
		return names
	}
	for _, m := range members {
		if m.Primary {
			names = append(names, m.Name)
		}
	}
	return names
}

// Due is the last time before now that the clock showed at, "HH:MM", in now's time zone; every day, or on the last such Sunday.
func Due(at string, weekly bool, now time.Time) time.Time {
	var hour, minute int
	_, _ = fmt.Sscanf(at, "%d:%d", &hour, &minute) // the specification was valid
	day := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 0, 0, now.Location())
	for day.After(now) || weekly && day.Weekday() != time.Sunday {
		day = day.AddDate(0, 0, -1)
	}
	return day
}
