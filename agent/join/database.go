package join

import (
	"strings"
	"time"
)

// ReservedGrace is how long a cluster may be reserved for a first database that nobody seems to make. Patroni says that it
// is at work some moments after it has reserved, on a busy machine many seconds.
const ReservedGrace = 30 * time.Second

// Initialize is what Patroni keeps in etcd about the cluster's database.
type Initialize uint8

// What it may be.
const (
	Nobody   Initialize = iota // no database was ever made
	Reserved                   // some member makes the first one, or was switched off while it did
	Made                       // there is one, with a system identifier
)

// Database is what a machine knows before it lets Patroni start.
type Database struct {
	// There tells that the data directory is not empty; System is its system identifier, empty when it has none.
	There  bool
	System string
	// Unfinished tells that Patroni began with an empty directory here and that PostgreSQL was never seen to run since;
	// Copied, that the directory is a base backup whose first start is not done.
	Unfinished, Copied bool
	Initialize         Initialize
	// Cluster is the cluster's system identifier, where it is made.
	Cluster string
	// Adoptee is the machine whose database the specification has adopted; empty where the cluster begins with an empty one.
	// Mine tells that it is this machine, Remembers that this machine has seen the cluster alive.
	Adoptee         string
	Mine, Remembers bool
	// AtWork tells that some other machine's Patroni makes the first database at this moment, or leads; Idle, for how long none does.
	AtWork bool
	Idle   time.Duration
}

// Reservation is one that was seen, and since when nobody has worked on it. Another may take its place between two looks: how long the
// one lay idle says nothing of the other.
type Reservation struct {
	revision uint64
	since    time.Time
}

// Idle is for how long nobody has worked on the reservation that was seen now, whose key etcd changed last at the revision.
func (r *Reservation) Idle(d Database, revision uint64, now time.Time) time.Duration {
	switch {
	case d.Initialize != Reserved || d.AtWork:
		*r = Reservation{}
		return 0
	case r.since.IsZero() || r.revision != revision:
		*r = Reservation{revision, now}
	}
	return now.Sub(r.since)
}

// DatabaseStep is what to do about it.
type DatabaseStep uint8

// The steps.
const (
	LetPatroni     DatabaseStep = iota // start, clone or make: Patroni knows which
	AwaitPatroni                       // another one is at work
	Refuse                             // touch nothing; a person is needed
	AsideDatabase                      // rename what was begun and not finished
	ReleaseReserve                     // nobody makes the first database: let others
	AdoptDatabase                      // make the database that is here the cluster's first one
)

type databaseRule struct {
	initialize []Initialize
	when       func(*Database) bool
	do         DatabaseStep
	why        string
}

const asideHint = "\n      hint: give this machine its own disk back, or, when it is to begin without this database: pgha member set-aside postgres"

const adoptHint = "\n      hint: put the data there, or take adopt out of cluster.yaml on every machine, and the cluster begins with an empty one"

// Patroni itself runs initdb only in an empty directory and only while nothing is reserved or made.
var databaseTable = []databaseRule{
	// Patroni's word, and when                          do             because
	{[]Initialize{Nobody, Reserved}, wasBegun, AsideDatabase, "the making of this database was cut short before anybody could use it"},
	{[]Initialize{Made}, wasHalfCopied, AsideDatabase, "the copying of this database was cut short"},
	{[]Initialize{Reserved}, isGivenUpByAdoption, ReleaseReserve, "nobody may make an empty database: that of {adoptee} is adopted"},
	{[]Initialize{Reserved}, isAdoption, AwaitPatroni, "somebody has begun to make an empty database, and that of {adoptee} is adopted"},
	{[]Initialize{Nobody}, isMineToAdopt, AdoptDatabase, "the database on this machine is older than the cluster, and becomes its first one"},
	{[]Initialize{Nobody}, isMineAndGone, Refuse, "the cluster begins with the database of this machine (adopt in cluster.yaml), and its data directory is empty" + adoptHint},
	{[]Initialize{Nobody}, isAwaited, AwaitPatroni, "the cluster begins with the database of {adoptee}, which does not lead yet"},
	{[]Initialize{Nobody, Reserved}, isThere, Refuse, "this machine has a database, and the cluster has none that it belongs to; it is left alone" + asideHint},
	{[]Initialize{Made}, isOfAnother, Refuse, "the database on this machine is of another cluster: another system identifier; it is left alone" + asideHint},
	{[]Initialize{Reserved}, isGivenUp, ReleaseReserve, "the machine that was making the first database was switched off"},
	{[]Initialize{Reserved}, isBeingMade, LetPatroni, "another machine makes the first database"},
	{[]Initialize{Reserved}, isNotMade, AwaitPatroni, "the machine that was making the first database does not answer"},
	{[]Initialize{Nobody, Made}, isFine, LetPatroni, ""},
}

// wasBegun is only asked while Patroni does not run here. Nobody has a copy of a database that is not made yet.
func wasBegun(d *Database) bool { return d.There && d.Unfinished }

// wasHalfCopied is only asked of what has never run here: a base backup that was started once is this member's own.
func wasHalfCopied(d *Database) bool {
	return d.There && d.Unfinished && (d.Copied || d.System != d.Cluster)
}

// isMineToAdopt leaves alone what a member has had before: a copy of the cluster's, whose etcd has lost everything.
func isMineToAdopt(d *Database) bool { return d.Mine && d.There && !d.Remembers }
func isMineAndGone(d *Database) bool { return d.Mine && !d.There }
func isAdoption(d *Database) bool    { return d.Adoptee != "" }
func isAwaited(d *Database) bool     { return isAdoption(d) && !d.There }

func isGivenUpByAdoption(d *Database) bool { return isAdoption(d) && isGivenUp(d) }

func isThere(d *Database) bool     { return d.There }
func isOfAnother(d *Database) bool { return d.There && d.System != d.Cluster }
func isGivenUp(d *Database) bool   { return !d.AtWork && d.Idle > ReservedGrace }
func isBeingMade(d *Database) bool { return d.AtWork }
func isNotMade(*Database) bool     { return true }
func isFine(*Database) bool        { return true }

// DecideDatabase returns the step, and why.
func DecideDatabase(d Database) (DatabaseStep, string) {
	for _, r := range databaseTable {
		for _, i := range r.initialize {
			if i == d.Initialize && r.when(&d) {
				return r.do, strings.ReplaceAll(r.why, "{adoptee}", d.Adoptee)
			}
		}
	}
	return AwaitPatroni, "" // the last rows always apply
}
