// Package restore decides how a restore of the whole cluster goes on, from whatever point it was cut short at.
//
// In comes what one machine sees: its own disk, etcd, and every member's Patroni; out come the next thing to do and the sentence
// that says why. It runs nothing and keeps nothing: package agent looks, and acts.
package restore

import (
	"fmt"
	"strings"
)

// Action is what the restoring machine does next. Each may be cut short at any point and done again.
type Action int

// The actions, in the order in which a restore that nothing disturbs takes them.
const (
	// Wait and look again.
	Wait Action = iota
	// Refuse to go on: somebody has to decide.
	Refuse
	// Claim the restore in etcd for this machine, and note on the disk that it was claimed.
	Claim
	// Check the backup, before anything depends on it.
	Check
	// Lead makes this machine the primary, by a switchover.
	Lead
	// Copy makes the restored database ready beside the one that serves.
	Copy
	// Discard the copy: the cluster has reached its timeline's number.
	Discard
	// Pause Patroni on all members.
	Pause
	// Stop Patroni and PostgreSQL on this machine, and keep Patroni from starting at a boot.
	Stop
	// GiveBack starts Patroni on the database of before, and ends the pause.
	GiveBack
	// Exchange the databases: that of before gets another name, the restored one its place.
	Exchange
	// Back takes an exchange back.
	Back
	// Start the restored database as the primary.
	Start
	// Order the members to copy it.
	Order
	// Resume ends the pause.
	Resume
	// Finish takes the restore out of etcd and off the disk.
	Finish
)

// Note is what the restoring machine has written on its own disk. Each is noted before the act, but Checked.
type Note struct {
	Claimed bool `json:"claimed,omitempty"`
	Checked bool `json:"checked,omitempty"`
	// Committed tells that the cluster was paused for it, or may have been: cut short, it goes on by itself.
	Committed bool `json:"committed,omitempty"`
	// Done tells that nothing is left but to take the restore out of etcd.
	Done bool `json:"done,omitempty"`
}

// Disk is what lies on the restoring machine's.
type Disk struct {
	// Data is the data directory, Staged the restored database beside it, Aside the one of before: whether each is there.
	Data, Staged, Aside bool
	// Ready tells that Staged has recovered and was shut down; Behind that the cluster has since reached the number of the restored
	// database's timeline: a replica of the database of before would pass for one of the restored one.
	Ready, Behind bool
	// Started tells that the restored database, in its place, has run: it may hold rows that nothing else has.
	Started bool
}

// placed tells that the restored database is the machine's data directory.
func (d Disk) placed() bool { return d.Data && d.Aside && !d.Staged }

// torn tells that the exchange was cut short between its two renames.
func (d Disk) torn() bool { return !d.Data && d.Aside && d.Staged }

// Observation is what the restoring machine sees at one moment.
type Observation struct {
	Self string
	Note Note
	Disk Disk
	// Etcd tells that it answers with a quorum. Without it nothing below is known, but what runs here.
	Etcd bool
	// Holder is the machine that has the restore in etcd; empty when none has.
	Holder string
	// Leader has Patroni's lock; empty when nobody has. Has is which database it has.
	Leader string
	Has    Database
	// Paused tells that Patroni is, as etcd has it; Unaware are the members that answer and have not heard of it.
	Paused  bool
	Unaware []string
	// Patroni and Postgres tell that they run here; Serves, that PostgreSQL runs as the primary under Patroni; Held, that Patroni
	// does not start by itself.
	Patroni, Postgres, Serves, Held bool
	// Open says why a member with the database of before could still take the lead if the pause ended; empty when none could.
	Open string
	// Others are the other members.
	Others []Member
}

// Database is which of the two a member has.
type Database int

// The databases.
const (
	// Unknown is for as long as the leader has not written its history into etcd.
	Unknown Database = iota
	// Before is the database that was to be left.
	Before
	// Restored is the restored one, or what has come of it.
	Restored
)

// Member is another member of the cluster.
type Member struct {
	Name  string
	State State
}

// State is how far a member is with its copy of the restored database.
type State int

// The states.
const (
	// Old has the database of before, or none that it could use, and was not told to copy.
	Old State = iota
	// Copying copies, recovers, or waits for its turn to stream.
	Copying
	// Follows streams from the primary, or leads.
	Follows
	// Left does not answer, or has not moved for so long that nobody waits for it any more.
	Left
)

// Decide says what comes next, and why where that is for a person.
func Decide(o Observation) (Action, string) {
	switch {
	case o.Note.Done:
		return Finish, ""
	case !o.Etcd:
		return Wait, "etcd does not answer"
	case o.Holder != "" && o.Holder != o.Self:
		return Refuse, o.Holder + " restores the cluster at this moment"
	case o.Holder == "" && o.Note.Claimed:
		return Refuse, "it was given up on another machine meanwhile"
	case o.Holder == "" || !o.Note.Claimed:
		return Claim, ""
	case o.Disk.placed():
		return o.placed()
	case o.Disk.torn():
		return o.stopped(Exchange, "")
	case o.Disk.Aside || !o.Disk.Data:
		return Refuse, "somebody has put another database in the place of the one that was to be restored"
	}
	return o.before()
}

// before is what comes before the exchange: the database of before is in its place.
func (o Observation) before() (Action, string) {
	elsewhere := o.Leader != "" && o.Leader != o.Self
	switch {
	case !o.Note.Checked:
		return Check, ""
	case elsewhere && (o.Paused || !o.Patroni):
		return GiveBack, o.Leader + " leads now"
	case elsewhere:
		return Lead, ""
	case !o.Disk.Ready:
		return Copy, ""
	case o.Disk.Behind:
		return Discard, "the cluster has failed over since the copy was made"
	case !o.Paused || len(o.Unaware) > 0:
		return Pause, ""
	}
	return o.stopped(Exchange, "")
}

// stopped is an action during which nothing may run on the databases, or what comes before it.
func (o Observation) stopped(a Action, why string) (Action, string) {
	if o.Patroni || o.Postgres || !o.Held {
		return Stop, why
	}
	return a, why
}

// placed is what comes after the exchange.
func (o Observation) placed() (Action, string) {
	elsewhere := o.Leader != "" && o.Leader != o.Self
	switch {
	case elsewhere && o.Has == Unknown:
		return Wait, o.Leader + " leads now, and etcd does not say yet with which database"
	case elsewhere && o.Has == Before && !o.Disk.Started:
		return o.stopped(Back, o.Leader+" leads now, with the database of before")
	case !o.Disk.Started && o.Disk.Behind:
		return o.stopped(Back, "the cluster has failed over since the copy was made")
	case elsewhere && o.Has == Before:
		return Refuse, fmt.Sprintf("%s leads with the database of before, and applications may have written to the restored one as well", o.Leader)
	case elsewhere: // a failover to a member that has copied it
	case o.Leader == o.Self && o.Serves:
	case !o.Disk.Started && (!o.Paused || len(o.Unaware) > 0):
		return Pause, ""
	case o.Disk.Started && !o.Paused && o.Patroni:
		return Wait, "Patroni starts the restored database, or a member that has copied it takes over"
	default:
		return Start, ""
	}
	var old, copying []string
	for _, m := range o.Others {
		switch m.State {
		case Old:
			old = append(old, m.Name)
		case Copying:
			copying = append(copying, m.Name)
		case Follows, Left:
		}
	}
	switch {
	case o.Open != "" && o.Paused:
		return Wait, o.Open
	case len(old) > 0:
		return Order, strings.Join(old, ", ")
	case o.Paused:
		return Resume, ""
	case len(copying) > 0:
		return Wait, strings.Join(copying, " and ") + " copy it"
	}
	return Finish, ""
}
