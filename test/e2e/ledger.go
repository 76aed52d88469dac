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

	"github.com/pgbake/pgbake/verify"
)

// ledger is the product's own (verify.Ledger) in a process of its own, which can be killed: it writes through url for at most
// an hour, and puts a line into the file for each row that the server has acknowledged: its number and when, in Unix
// nanoseconds. Between two rows there is at least pause, between two sessions ten times that.
func ledger(url, file string, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a line that is lost counts as not acknowledged
	rows, sessions := time.NewTicker(pause), time.NewTicker(10*pause)
	defer rows.Stop()
	defer sessions.Stop()
	l := verify.Ledger{Table: "ledger", Connect: func(ctx context.Context) (*pgx.Conn, error) {
		<-sessions.C
		return pgx.Connect(ctx, url)
	}}
	l.Write(ctx, func(r verify.Row) {
		fmt.Fprintln(f, r.N, r.At.UnixNano())
		<-rows.C
	})
	return nil
}

// busy is the pause of an application that writes alone, as the product's ledger does; many is that of each of several. Seven busy
// ones keep a processor busy, most of all those that a replica refuses, with a new session each time.
const busy, many = 20 * time.Millisecond, 100 * time.Millisecond

// account is what a ledger's file says.
type account struct {
	verify.Account
	acknowledged []int
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
		a.acknowledged, a.Account = append(a.acknowledged, n), append(a.Account, verify.Row{N: n, At: time.Unix(0, ns)})
	}
	return a, nil
}

// outage is the longest time between two acknowledged rows.
func (a account) outage() time.Duration {
	longest, _ := a.Outage()
	return longest
}

// after counts the rows acknowledged since t.
func (a account) after(t time.Time) int { return len(a.Since(t)) }
