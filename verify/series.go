package verify

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

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
//
// Patroni first lets PostgreSQL wait for a replica, and only some of its loops later writes into etcd that this one may take
// over. A primary that crashes between the two is not replaced, and rightly. A client sees only the first: it must hold for a while.
func (s *series) whole(ctx context.Context, withoutDown bool) (lead string, err error) {
	calm := 4 * time.Duration(s.v.Cluster.Timers().LoopWait) * time.Second
	var since time.Time
	why := ""
	err = s.wait(ctx, "the cluster to be whole", func() bool {
		now := s.w.leader()
		if now != lead {
			lead, since = now, time.Time{}
		}
		if why = s.lacks(ctx, lead, withoutDown); why != "" {
			since = time.Time{}
			return false
		}
		if since.IsZero() {
			since = time.Now()
		}
		return withoutDown || time.Since(since) >= calm
	})
	if err != nil && why != "" {
		err = fmt.Errorf("%w: %s", err, why)
	}
	return lead, err
}

// lacks says what keeps the cluster from being whole; empty when it is.
func (s *series) lacks(ctx context.Context, lead string, withoutDown bool) string {
	if lead == "" {
		return "no primary"
	}
	if withoutDown {
		return ""
	}
	if away := s.w.away(s.v.members()); len(away) > 0 {
		return strings.Join(away, ", ") + " away"
	}
	f := finding{}
	durability(ctx, s.v, &f)
	return strings.Join(f.wrong, "; ")
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
