// Package join decides what a database machine does until it is a voting member of its cluster's etcd.
//
// In comes an Observation: what lies on the machine's own disk, and what the others answered. Out comes one Action, a
// single step after which the machine looks again, so that it may be interrupted anywhere. The package only computes:
// it reads no clock (durations are part of the observation), no file and no network. The table is in table.go.
//
// What is proved (model_test.go explores every interleaving of crashes, lost disks, lost and late messages, returning
// disks and stale seeds), and on which assumptions:
//
//   - Never two clusters from one seed set. A new cluster is founded at once only when every declared machine answers
//     and none has any data. With a silent minority it is founded only past SilenceGrace, within BirthWindow, when
//     every proxy answers and nobody remembers the cluster alive. Then one assumption remains, which the model shows to
//     be needed: in a cluster without proxies nobody, within BirthWindow, destroys a disk that has taken part in it
//     while every other disk that has is switched off. The operator who orders a founding asserts the same.
//   - A disk that was taken out of a machine does not come back after all others were lost and the cluster was founded
//     again: etcd's cluster id, which follows from the declared members, would be the same. PostgreSQL's system
//     identifier still tells them apart.
//   - The machine at an address removes the member at that address, and only while it has no data. So no other machine can
//     be that member, and a member that cannot vote is no loss to the quorum. Others remove a member only when it was never
//     ready: as long as one is listed, etcd does not know which version all of them have, and Patroni does not speak to
//     it. Should it come after all, it joins anew.
//   - A machine whose specification is older than the cluster's takes the newer one before it adds, removes or founds
//     anything, as soon as it hears of one. A cluster that has grown is never founded without a silent machine: those
//     that are silent may be what it was.
//   - A voter never votes without its log. That a member was never ready is no proof that it has acknowledged nothing:
//     a machine without data is only ever added anew, as a learner, unless its disk says that it has been added and
//     was not started since.
package join

import (
	"net/netip"
	"time"
)

const (
	// SilenceGrace is how long a minority must be silent before the others may found a new cluster without it.
	SilenceGrace = time.Minute
	// BirthWindow is how long after the operator made the cluster's authority (`pgbake init`) a new cluster may be
	// founded without a silent minority. Later the silent machine is more likely to be the last survivor.
	BirthWindow = 14 * 24 * time.Hour
	// ReplaceGrace is how long a machine without data waits before it replaces the member at its address, which had
	// data: whoever put the wrong disk in has this long to see it.
	ReplaceGrace = 15 * time.Second
	// ReadyGrace is how long a founder may take to be ready where it has been silent for long before.
	ReadyGrace = 5 * time.Second
	// StartGrace is how long etcd may take from its start to its first record on the disk.
	StartGrace = 30 * time.Second
)

// ID is etcd's number of a cluster or a member.
type ID uint64

// Data is what lies in the machine's etcd data directory.
type Data uint8

// What may lie there.
const (
	None    Data = iota // nothing that etcd would start from
	Unborn              // a log with neither entry nor vote: a first start that was cut short
	Own                 // a member of this cluster
	Foreign             // a member of another one
)

// State is what another machine is.
type State uint8

// The states of other machines. A proxy is Silent, Fresh or Remembers.
const (
	Silent    State = iota // no answer
	Fresh                  // its agent answers: no data, and it has never seen the cluster alive
	Newborn                // its etcd answers: founded from the list that I have, and no member was ever ready
	Member                 // its etcd answers, and has been ready
	Holds                  // its agent answers: it has a database, or etcd data that is not started
	Remembers              // its agent answers: no data, but it has seen the cluster alive
	Stranger               // it answers, and was told of other members than I
)

// Peer is another declared machine.
type Peer struct {
	Name string
	State
	// Silence is how long it has not answered, since this agent asks.
	Silence time.Duration
	// Ordered tells that the operator has ordered a new cluster there.
	Ordered bool
}

// Etcd is what a quorum says.
type Etcd struct {
	ID      ID
	Members []Listed
	// Lock names the machine that is being replaced; empty when none is.
	Lock string
}

// Listed is one member in etcd's list.
type Listed struct {
	ID ID
	// Name is the declared one, and empty for a member that was added and never ready.
	Name    string
	Address netip.Addr
	// Ready tells that it was once: it has told the others where its clients find it.
	Ready bool
	// Me tells that it is listed under this machine's address.
	Me      bool
	Learner bool
	// Healthy tells that it answers and sees a quorum.
	Healthy bool
	// Unready is how long this agent has seen it listed and never ready; Silence, how long its address has not answered.
	Unready, Silence time.Duration
}

// Observation is what a machine knows at one moment.
type Observation struct {
	// Self is the machine's name.
	Self string
	Data Data
	// Cluster and Member are what Own or Foreign data says.
	Cluster, Member ID
	// Database tells that a PostgreSQL data directory is there; Remembers, that this machine has seen the cluster alive.
	Database, Remembers bool
	// Promised is the learner that this machine has had added and has not started; 0 when none.
	Promised ID
	// Ordered tells that the operator has ordered a new cluster here.
	Ordered bool
	// Generation is that of this machine's specification, Newest the highest that anybody has, as far as it hears: 0 where
	// seeds tell none.
	Generation, Newest int
	// Grown tells that the cluster once had other members than those declared; LeftOut, that the newest generation that
	// this machine has does not list it.
	Grown, LeftOut bool
	// Running tells that etcd runs or is on its way; Starting how long it has without data.
	Running  bool
	Starting time.Duration
	// Peers are the other declared database machines, Proxies the proxies.
	Peers, Proxies []Peer
	// Etcd is nil when no quorum answers.
	Etcd *Etcd
	// Age is how long ago the cluster's authority was made, by the fastest clock of all that answer.
	Age time.Duration
	// Since is how long this agent has been looking.
	Since time.Duration
}

// Step is what to do.
type Step uint8

// The steps. Each may be interrupted at any point.
const (
	Wait     Step = iota // look again
	Stop                 // touch nothing; a person is needed
	Settled              // a voting member of a quorum: nothing is left to do
	Start                // start etcd on the data that is there
	Found                // start etcd as one of the declared members of a new cluster
	Order                // take over the operator's order from a peer
	Lock                 // take the lock of replacements
	Unlock               // give it back
	Remove               // remove the member at this machine's address
	Add                  // add this machine as a learner, and note its id on the disk
	Join                 // take the note off the disk and start etcd as the member that it named
	Promote              // make this learner a voter
	Evict                // remove a founder that never came
	Halt                 // stop an etcd that does not come up
	SetAside             // stop etcd and rename its data; never delete
)

// Action is what to do, and why in one sentence: the cause, whose it is, what a person can do about it.
type Action struct {
	Do  Step
	Why string
	// For names the machines that are waited for.
	For []string
}
