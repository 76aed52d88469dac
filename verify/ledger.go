package verify

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Ledger is an application that writes one row after the other, and knows which of them the cluster has acknowledged:
// these must never be lost, whatever fails.
type Ledger struct {
	// Connect opens a session that takes writes.
	Connect func(context.Context) (*pgx.Conn, error)
	// Table is where the rows go, quoted; it has a column n, a number.
	Table string
}

// Row is one that was acknowledged: its number, and when.
type Row struct {
	N  int
	At time.Time
}

const (
	// rowPause is between two rows: five in a tenth of a second.
	rowPause = 20 * time.Millisecond
	// dialTime and writeTime are how patient the application is.
	dialTime, writeTime = 3 * time.Second, 5 * time.Second
)

// Write writes rows, one transaction each, until ctx ends, and calls acknowledged for each that the server has
// acknowledged. One that was not is not written again: its number is spent, whether it arrived or not.
func (l Ledger) Write(ctx context.Context, acknowledged func(Row)) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			hangUp(conn)
		}
	}()
	tick := time.NewTicker(rowPause)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if conn == nil {
			dial, cancel := context.WithTimeout(ctx, dialTime)
			fresh, err := l.Connect(dial)
			cancel()
			if err != nil {
				continue
			}
			conn = fresh
		}
		write, cancel := context.WithTimeout(ctx, writeTime)
		_, err := conn.Exec(write, "INSERT INTO "+l.Table+" VALUES ($1)", n)
		cancel()
		if err != nil {
			hangUp(conn)
			conn = nil
			continue
		}
		acknowledged(Row{n, time.Now()})
	}
}

// Account is what a ledger's application was promised, in the order of time.
type Account []Row

// Outage is the longest time between two acknowledged rows, and when it began; none with fewer than two.
func (a Account) Outage() (longest time.Duration, since time.Time) {
	for i := 1; i < len(a); i++ {
		if gap := a[i].At.Sub(a[i-1].At); gap > longest {
			longest, since = gap, a[i-1].At
		}
	}
	return longest, since
}

// Since are the rows acknowledged after t.
func (a Account) Since(t time.Time) Account {
	for i, r := range a {
		if r.At.After(t) {
			return a[i:]
		}
	}
	return nil
}

// Until are the rows acknowledged no later than t.
func (a Account) Until(t time.Time) Account { return a[:len(a)-len(a.Since(t))] }

// Lost are the rows that are not there, of those that were acknowledged.
func (a Account) Lost(there map[int]bool) (lost []int) {
	for _, r := range a {
		if !there[r.N] {
			lost = append(lost, r.N)
		}
	}
	return lost
}
