// Package e2e boots whole clusters with the real pgbake, as a user does, and looks at them from outside:
// one scenario per file. Its tests need root and are left out by -short.
package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ledger writes rows through url, one transaction each, until it is killed or ten minutes are over, and puts a line into the file
// for each that the server has acknowledged: its number and when, in Unix nanoseconds.
// A row that was not acknowledged is not written again: its number is spent, whether it arrived or not.
func ledger(url, file string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a line that is lost counts as not acknowledged
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if conn == nil {
			dial, cancel := context.WithTimeout(ctx, 3*time.Second)
			conn, err = pgx.Connect(dial, url)
			cancel()
			if err != nil {
				conn = nil
				continue
			}
		}
		write, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := conn.Exec(write, "INSERT INTO ledger VALUES ($1)", n)
		cancel()
		if err != nil {
			_ = conn.Close(ctx)
			conn = nil
			continue
		}
		fmt.Fprintln(f, n, time.Now().UnixNano())
	}
}

// account is what a ledger's file says.
type account struct {
	acknowledged []int
	times        []time.Time
}

func readLedger(file string) (account, error) {
	var a account
	f, err := os.Open(file)
	if err != nil {
		return a, err
	}
	defer f.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		number, nanos, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			return a, err
		}
		ns, err := strconv.ParseInt(nanos, 10, 64)
		if err != nil {
			continue // the line that is being written
		}
		a.acknowledged, a.times = append(a.acknowledged, n), append(a.times, time.Unix(0, ns))
	}
	return a, nil
}

// outage is the longest time between two acknowledged rows.
func (a account) outage() (longest time.Duration) {
	for i := 1; i < len(a.times); i++ {
		longest = max(longest, a.times[i].Sub(a.times[i-1]))
	}
	return longest
}

// after counts the rows acknowledged since t.
func (a account) after(t time.Time) (n int) {
	for _, at := range a.times {
		if at.After(t) {
			n++
		}
	}
	return n
}
