package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
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

// series are trials on one cluster, one after the other.
type series struct {
	v        *Verifier
	w        *watch
	fault    Fault
	patience time.Duration
	note     func(string)
	table    string
	// lost are rows that are known to be.
	lost map[int]bool
	// down is the machine that has crashed and is not back; broken tells that a trial did not end whole.
	down   string
	broken bool
}

// left says what stays broken.
func (s *series) left() error {
	if s.down == "" {
		return nil
	}
	return fmt.Errorf("%s was made to crash and is not back: switch it on, and it joins the cluster by itself", s.down)
}

// enough is how many rows show that an application works.
const enough = 50

func (s *series) try(ctx context.Context, t *Trial, limit time.Duration) {
	t.Began = time.Now()
	err := s.run(ctx, t)
	t.Ended = time.Now()
	if err != nil {
		s.broken = true
		t.Wrong = append(t.Wrong, oneLine(err))
	}
	s.judge(ctx, t, limit)
}

func (s *series) run(ctx context.Context, t *Trial) error {
	lead, err := s.whole(ctx, t.Test == Return)
	if err != nil {
		return err
	}
	t.Began = time.Now()
	if err := s.rows(ctx, t.Began, "an application that writes"); err != nil {
		return err
	}
	t.Machine = lead
	switch t.Test {
	case Crash:
		s.down = lead
	case Return:
		t.Machine = s.down
	}
	s.w.note(order(t.Test, t.Machine))
	if err := s.fault(ctx, t.Test, t.Machine); err != nil {
		return fmt.Errorf("%s of %s: %w", t.Test, t.Machine, err)
	}
	if t.Test != Return {
		err = s.wait(ctx, "another member to lead than "+lead, func() bool {
			now := s.w.leader()
			return now != "" && now != lead
		})
		if err == nil {
			err = s.rows(ctx, time.Now(), "writes, with "+s.w.leader()+" as the primary")
		}
		if err != nil || t.Test == Crash {
			return err
		}
	}
	if err := s.back(ctx, t); err != nil {
		return err
	}
	s.down = ""
	return s.rows(ctx, time.Now(), "writes, with every member there")
}

// order is how a timeline names what was done on purpose.
func order(do Action, machine string) string { return string(do) + " of " + machine }

// back waits until the machine is a replica that has everything that was acknowledged.
func (s *series) back(ctx context.Context, t *Trial) error {
	err := s.wait(ctx, t.Machine+" to be a replica", func() bool { return s.w.state(t.Machine) == replica })
	if err != nil {
		return err
	}
	rows := s.w.account()
	var missing []int
	err = s.wait(ctx, t.Machine+" to have every row", func() bool {
		for _, d := range s.v.members() {
			if d.name == t.Machine {
				there, err := s.there(ctx, func(ctx context.Context) (*pgx.Conn, error) { return s.v.connect(ctx, d, s.v.login) })
				missing = rows.Lost(there)
				return err == nil && len(missing) == len(s.lost)
			}
		}
		return false
	})
	if err == nil {
		t.Found = append(t.Found, t.Machine+" is a replica, and has every row that was acknowledged")
	}
	return err
}

// whole waits until the cluster could stand a failure: everybody is there (but the one that is down), and a replica
// confirms writes. It returns who leads.
func (s *series) whole(ctx context.Context, withoutDown bool) (lead string, err error) {
	why := ""
	err = s.wait(ctx, "the cluster to be whole", func() bool {
		lead = s.w.leader()
		away := s.w.away(s.v.members())
		if lead == "" {
			why = "no primary"
			return false
		}
		if withoutDown {
			return true
		}
		if len(away) > 0 {
			why = strings.Join(away, ", ") + " away"
			return false
		}
		f := finding{}
		durability(ctx, s.v, &f)
		why = strings.Join(f.wrong, "; ")
		return why == ""
	})
	if err != nil && why != "" {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return lead, err
}

// rows waits until enough were acknowledged since a moment.
func (s *series) rows(ctx context.Context, since time.Time, what string) error {
	return s.wait(ctx, what, func() bool { return len(s.w.account().Since(since)) >= enough })
}

func (s *series) wait(ctx context.Context, what string, holds func() bool) error {
	s.note("waits for " + what)
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	return until(ctx, func() error {
		if holds() {
			return nil
		}
		return fmt.Errorf("waited %s for %s in vain", s.patience, what)
	})
}

// there are the numbers that a member has.
func (s *series) there(ctx context.Context, connect func(context.Context) (*pgx.Conn, error)) (map[int]bool, error) {
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(conn)
	rows, err := conn.Query(ctx, "SELECT n FROM "+s.table)
	if err != nil {
		return nil, err
	}
	numbers, err := pgx.CollectRows(rows, pgx.RowTo[int])
	there := make(map[int]bool, len(numbers))
	for _, n := range numbers {
		there[n] = true
	}
	return there, err
}

// judge fills in what the watch has seen in the time of a trial.
func (s *series) judge(ctx context.Context, t *Trial, limit time.Duration) {
	account := s.w.account()
	rows := account.Since(t.Began).Until(t.Ended)
	outage, since := rows.Outage()
	t.Outage, t.OutageSince, t.Acknowledged = outage.Seconds(), since, len(rows)
	s.trim(t, since)
	t.Events = s.w.between(t.Began, t.Ended)
	t.PerTick = perTick(rows, t.Began, t.Ended)

	there, err := s.there(ctx, s.v.primary)
	if err != nil {
		t.Wrong = append(t.Wrong, "which rows are there cannot be told: "+oneLine(err))
	} else {
		for _, n := range account.Until(t.Ended).Lost(there) {
			if !s.lost[n] {
				s.lost[n] = true
				t.Lost++
			}
		}
	}
	switch {
	case t.Lost > 0:
		t.Wrong = append(t.Wrong, fmt.Sprintf("%s of %d are lost that were acknowledged", plural(t.Lost, "row"), t.Acknowledged))
	case err == nil:
		t.Found = append(t.Found, fmt.Sprintf("%s acknowledged, none lost", plural(t.Acknowledged, "row")))
	}
	if two := s.w.twoLed(); two != "" {
		t.Wrong = append(t.Wrong, two+" were primaries at the same time")
	}
	if outage > limit {
		t.Wrong = append(t.Wrong, fmt.Sprintf("no row was acknowledged for %s, and %s is the limit", seconds(outage), seconds(limit)))
	} else if len(rows) > 1 {
		t.Found = append(t.Found, fmt.Sprintf("the longest time without an acknowledged row: %s", seconds(outage)))
	}
	if len(t.Wrong) > 0 {
		t.Verdict = Failed
	}
}

const (
	// calm is how much of the time before the first thing that happened a timeline shows.
	calm = 3 * time.Second
	// hesitation is how long a person may take to act without the timeline leaving it out.
	hesitation = 30 * time.Second
)

// trim leaves out the time in which a person had not acted yet.
func (s *series) trim(t *Trial, gap time.Time) {
	first := gap
	if all := s.w.between(t.Began, t.Ended); len(all) > 1 && (first.IsZero() || all[1].At.Before(first)) { // all[0] is the order
		first = all[1].At
	}
	if first.Sub(t.Began) > hesitation {
		t.Began = first.Add(-calm)
	}
}

// perTick counts rows by tenths of a second.
func perTick(rows Account, from, to time.Time) []int {
	counts := make([]int, int(to.Sub(from)/tickTime)+1)
	for _, r := range rows.Since(from) {
		if i := int(r.At.Sub(from) / tickTime); i < len(counts) {
			counts[i]++
		}
	}
	return counts
}
