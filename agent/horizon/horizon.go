// Package horizon judges how old a database's transaction ids are, and who keeps them from being frozen.
//
// In comes what a primary says of its ids, of the oldest snapshot and of the prepared transactions; out come findings, each with
// the commands that mend it. It only computes. The horizon is PostgreSQL's word for the oldest transaction that anybody may still
// have to see: what is newer can be neither removed nor frozen.
package horizon

import (
	"fmt"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

// Facts are what a primary says, at one moment. Ages are numbers of transactions.
type Facts struct {
	// TransactionIDs is the oldest datfrozenxid of all databases, Multixacts the oldest datminmxid.
	TransactionIDs Oldest `json:"transaction_ids"`
	Multixacts     Oldest `json:"multixacts"`
	// Holder is who holds the horizon back furthest; nil when nobody does.
	Holder *Holder `json:"holder,omitempty"`
	// Prepared is how many transactions are prepared, First the oldest of them; nil when none is.
	Prepared int       `json:"prepared"`
	First    *Prepared `json:"first,omitempty"`
}

// Oldest is the database whose ids are the oldest.
type Oldest struct {
	Database string `json:"database"`
	Age      int64  `json:"age"`
	// FreezeMax is autovacuum_freeze_max_age, or that of multixacts: from that age on autovacuum freezes tables for their age alone.
	FreezeMax int64 `json:"freeze_max"`
	// Closed tells that the database takes no connections, as template0 does.
	Closed bool `json:"closed,omitempty"`
}

// Kind is what a holder is.
type Kind string

// The kinds of holders.
const (
	Session     Kind = "session"
	Standby     Kind = "standby"
	Slot        Kind = "slot"
	Transaction Kind = "prepared"
)

// Holder holds the horizon back. What its kind does not have is empty. User, Application and Name may be any text.
type Holder struct {
	Kind Kind  `json:"kind"`
	Age  int64 `json:"age"`
	// Seconds is how long the transaction has lasted; negative where PostgreSQL does not know, as of slots and standbys.
	Seconds     float64 `json:"seconds"`
	PID         int     `json:"pid,omitempty"`
	User        string  `json:"user,omitempty"`
	Application string  `json:"application,omitempty"`
	Database    string  `json:"database,omitempty"`
	// State is pg_stat_activity.state of a session.
	State string `json:"state,omitempty"`
	// Name is a slot's or a prepared transaction's.
	Name string `json:"name,omitempty"`
	// Active tells that somebody reads from the slot.
	Active bool `json:"active,omitempty"`
}

// Prepared is a transaction that was prepared to be committed in two phases.
type Prepared struct {
	// GID is the name that its client gave it: any text of at most 200 bytes.
	GID      string  `json:"gid"`
	Owner    string  `json:"owner"`
	Database string  `json:"database"`
	Seconds  float64 `json:"seconds"`
}

const (
	// wrap is the age at which an id would be in its own future. PostgreSQL stops giving out ids stopBefore it, and warns in its
	// log from warnsBefore on: SetTransactionIdLimit in access/transam/varsup.c, SetMultiXactIdLimit in multixact.c.
	wrap        = 1<<31 - 1
	stopBefore  = 3_000_000
	warnsBefore = 40_000_000
	// failsafe is the default of vacuum_failsafe_age and of vacuum_multixact_failsafe_age: the age at which VACUUM leaves out
	// everything that is not freezing. https://www.postgresql.org/docs/current/runtime-config-vacuum.html
	failsafe = 1_600_000_000
	// HeldAge is how many transactions somebody may hold back the horizon before it is worth a word: a twentieth of
	// autovacuum_freeze_max_age's default, 200 million.
	HeldAge = 10_000_000
	// HeldTime is for how long somebody may, and both must be over: a dump of an idle database lasts for hours and holds back nothing.
	HeldTime = time.Hour
	// PreparedTime is how long a transaction may stay prepared. Who commits in two phases does the second one within seconds.
	PreparedTime = 5 * time.Minute
)

// Critical is the age from which on it is for now: VACUUM's own last measure has begun, at the latest when PostgreSQL warns.
// Where autovacuum_freeze_max_age was raised beyond it, VACUUM's measure begins at 105 % of that.
func (o Oldest) Critical() int64 { return min(max(failsafe, o.FreezeMax/100*105), wrap-warnsBefore) }

// Warning is the age from which on autovacuum does not keep up: it has begun at FreezeMax, and a quarter of the way to
// Critical is behind it. With PostgreSQL's defaults that is 550 million for transaction ids, 700 million for multixacts.
func (o Oldest) Warning() int64 { return o.FreezeMax + (o.Critical()-o.FreezeMax)/4 }

// Finding is one thing that is wrong.
type Finding struct {
	// Topic is what it is about, and stays the same as long as it lasts.
	Topic Topic
	// Critical tells that it is for now.
	Critical bool
	// Timed tells that it has lasted for long already; one that has not is worth a word when it is seen for HeldTime.
	Timed bool
	// What is wrong, and Why: what comes of it. Neither has a line break.
	What, Why string
	Mend      []Command
}

// Topic is what a finding is about.
type Topic string

// The topics.
const (
	TransactionIDs Topic = "transaction-ids"
	Multixacts     Topic = "multixacts"
	Held           Topic = "xmin"
	TwoPhase       Topic = "prepared"
)

// Command is one that a person types.
type Command struct {
	// On is the member that it is for; empty when it is the primary.
	On   string
	Line string
	// When says what must be known first; empty when nothing has to.
	When string
}

// Place is what findings need to know of the cluster.
type Place struct {
	Ports cluster.Ports
	// Members are the names of the database machines.
	Members []string
}

// Judge says what is wrong. It is a pure function.
func Judge(f Facts, in Place) (found []Finding) {
	found = append(found, in.ids(f, TransactionIDs, f.TransactionIDs, "transaction ids")...)
	found = append(found, in.ids(f, Multixacts, f.Multixacts, "multixact ids")...)
	if h := f.Holder; h != nil && h.Age > HeldAge && (h.Seconds < 0 || h.Seconds > HeldTime.Seconds()) {
		found = append(found, Finding{
			Topic: Held, Timed: h.Seconds >= 0,
			What: fmt.Sprintf("%s holds back the oldest xmin by %s transactions", in.called(*h), millions(h.Age)),
			Why:  "what was updated or deleted since then VACUUM cannot remove: tables and indexes grow, and queries become slower",
			Mend: in.end(*h),
		})
	}
	if p := f.First; p != nil && p.Seconds > PreparedTime.Seconds() {
		f := Finding{
			Topic: TwoPhase, Timed: true,
			What: fmt.Sprintf("the transaction %s of %s in the database %s is prepared for %s, and neither committed nor rolled back", shown(p.GID), shown(p.Owner), shown(p.Database), span(p.Seconds)),
			Why:  "it holds its locks and the oldest xmin, also after a restart and a failover; was its coordinator lost? What it has written only that one knows: it may have committed its other half",
			Mend: in.settle(p.GID, p.Database),
		}
		found = append(found, f)
	}
	if f.Prepared > 1 && len(found) > 0 && found[len(found)-1].Topic == TwoPhase {
		last := &found[len(found)-1]
		last.What += fmt.Sprintf("; %d are prepared altogether", f.Prepared)
		last.Mend = append([]Command{{Line: in.Ports.Psql() + ` -c "SELECT gid, prepared, owner, database FROM pg_catalog.pg_prepared_xacts ORDER BY prepared"`, When: "lists all of them"}}, last.Mend...)
	}
	return found
}

// ids judges one kind of them.
func (in Place) ids(f Facts, topic Topic, o Oldest, name string) []Finding {
	if o.FreezeMax <= 0 || o.Age < o.Warning() { // 0: it was not asked
		return nil
	}
	d := Finding{
		Topic: topic, Timed: true, Critical: o.Age >= o.Critical(),
		What: fmt.Sprintf("the oldest %s of the database %s are %s transactions old, and autovacuum does not keep up: it freezes them from %s on", name, shown(o.Database), millions(o.Age), millions(o.FreezeMax)),
		Why:  fmt.Sprintf("after %s more PostgreSQL gives out no more, and nobody can write", millions(wrap-stopBefore-o.Age)),
	}
	if o.Age >= wrap-stopBefore {
		d.Why = "PostgreSQL gives out no more: nobody can write"
	}
	if h := f.Holder; h != nil && h.Age > HeldAge {
		d.Why += "; nothing is frozen that " + in.called(*h) + " holds back: that ends first"
		d.Mend = in.end(*h)
	} else {
		d.Why += "; is autovacuum off, for a table at least, or too slow? A temporary table of a session that never ends counts as well"
	}
	d.Mend = append(d.Mend, in.freeze(o)...)
	return []Finding{d}
}

// millions is a number of transactions for people.
func millions(n int64) string {
	if n < 1_000_000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%.0f million", float64(n)/1e6)
}

func span(seconds float64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
