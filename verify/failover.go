package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Action is what is done to the cluster on purpose.
type Action string

// The actions, in the order of the manual's tests.
const (
	// Switchover lets another member lead, in order.
	Switchover Action = "switchover"
	// Crash takes the primary's power, or the like.
	Crash Action = "crash"
	// Return gives it back.
	Return Action = "return"
)

// Fault makes an action happen to a machine: the primary, or the one that was. It may return before it has happened.
type Fault func(ctx context.Context, do Action, machine string) error

// Trial is one failover test.
type Trial struct {
	Test    Action   `json:"test"`
	Title   string   `json:"title"`
	Machine string   `json:"machine"`
	Verdict Verdict  `json:"verdict"`
	Found   []string `json:"found,omitempty"`
	Wrong   []string `json:"wrong,omitempty"`
	// Began and Ended are of the time that was watched.
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Outage is the longest time without an acknowledged row, and OutageSince when it began.
	Outage      float64   `json:"outage_seconds"`
	OutageSince time.Time `json:"outage_since,omitzero"`
	// Acknowledged is how many rows were, of which Lost are not there.
	Acknowledged int     `json:"acknowledged"`
	Lost         int     `json:"lost"`
	Events       []Event `json:"events"`
	// PerTick is how many rows were acknowledged in each tenth of a second since Began.
	PerTick []int `json:"rows_per_100ms"`
}

// tickTime is what one bar of a timeline stands for.
const tickTime = 100 * time.Millisecond

// trials are the manual's chapter "Тестирование отказоустойчивости". Its first one, `systemctl stop patroni`, is a
// shutdown in order, which gives the lead away as a switchover does: here the primary really crashes.
var trials = []struct {
	do    Action
	title string
	// members is how many there must be; ttls how long the outage may be, in Patroni's ttl.
	members, ttls int
}{
	{Switchover, "another member takes over in order, and the primary stays as a replica", 2, 1},
	{Crash, "the primary crashes, and another member takes over by itself", 3, 2},
	{Return, "the crashed machine comes back as a replica, and nobody notices", 3, 1},
}

// Failover makes the trials, each on a cluster that is whole again. Patience is for one wait: for a person to act and the
// cluster to heal. note hears what is waited for. Its error is ctx's end, or that it could not begin.
func (v *Verifier) Failover(ctx context.Context, r *Report, fault Fault, patience time.Duration, note func(string)) error {
	conn, err := v.primary(ctx)
	if err != nil {
		return fmt.Errorf("begin the failover tests: %s", oneLine(err))
	}
	table := v.table("ledger")
	if err = v.makeSchema(ctx, conn); err == nil {
		_, err = conn.Exec(ctx, "CREATE TABLE "+table+" (n bigint PRIMARY KEY)")
	}
	hangUp(conn)
	if err != nil {
		return fmt.Errorf("begin the failover tests: %s", why(err))
	}

	w := &watch{states: map[string]state{}}
	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() { stop(); wg.Wait() }()
	for _, d := range v.members() {
		wg.Go(func() { w.follow(running, v, d) })
	}
	wg.Go(func() { Ledger{Connect: v.primary, Table: table}.Write(running, w.acknowledged) })

	s := series{v: v, w: w, fault: fault, patience: patience, note: note, table: table, lost: map[int]bool{}}
	for _, plan := range trials {
		t := Trial{Test: plan.do, Title: plan.title, Verdict: Passed}
		switch {
		case len(v.Cluster.Nodes) < plan.members:
			t.Verdict, t.Found = Skipped, []string{fmt.Sprintf("it takes %d members", plan.members)}
		case s.broken:
			t.Verdict, t.Found = Skipped, []string{"the cluster is not whole after the test before"}
		default:
			s.try(ctx, &t, time.Duration(plan.ttls*v.Cluster.Timers().TTL)*time.Second)
		}
		r.Trials = append(r.Trials, t)
		r.Passed = r.Passed && t.Verdict != Failed
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), s.left())
		}
	}
	r.Ended = time.Now()
	if left := s.left(); left != nil {
		last := &r.Trials[len(r.Trials)-1]
		last.Wrong = append(last.Wrong, oneLine(left))
		last.Verdict, r.Passed = Failed, false
	}
	return nil
}
