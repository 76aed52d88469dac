// Package slots sees to it that a member that is away costs its cluster WAL, and nothing else.
//
// A member's replication slot keeps the WAL that it needs when it comes back; how much, max_slot_wal_keep_size says. By
// hot_standby_feedback the slot also keeps every version of a row that a query on the member might still read, in all databases: no
// vacuum takes them away, as if a transaction were open. Nobody queries a member that is away.
package slots

import "time"

// AwayTime is how long a member does not stream before its slot keeps no rows any more. A reboot is over by then. One that is cut off
// and still answers queries may have to cancel some of them when it is back, as any replica without feedback.
const AwayTime = 2 * time.Minute

// Away knows since when members have not streamed from this primary. The zero value knows nobody.
type Away map[string]*absence

type absence struct {
	since    time.Time
	released bool
}

// Due are the members whose slots are to keep no rows any more, of those that should stream from this machine. Whoever is not the
// primary asks with none: what it knew counts no more.
func (a *Away) Due(members []string, streams func(member string) bool, now time.Time) (due []string) {
	known := *a
	*a = Away{}
	for _, m := range members {
		if streams(m) {
			continue
		}
		at := known[m]
		if at == nil {
			at = &absence{since: now}
		}
		(*a)[m] = at
		if !at.released && now.Sub(at.since) >= AwayTime {
			due = append(due, m)
		}
	}
	return due
}

// Released notes that it was done: once is enough for each absence.
func (a *Away) Released(member string) {
	if at := (*a)[member]; at != nil {
		at.released = true
	}
}
