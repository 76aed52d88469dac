package e2e

import (
	"bufio"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/pgbake/pgbake/verify"
)

// passwords are the application users', as the operator has them.
func (l *lab) passwords() map[string]string {
	l.Helper()
	body, err := os.ReadFile(filepath.Join(filepath.Dir(l.spec), "secrets", "secrets.yaml"))
	if err != nil {
		l.Fatal(err)
	}
	var s struct{ Users map[string]string }
	if err := yaml.Unmarshal(body, &s); err != nil {
		l.Fatal(err)
	}
	return s.Users
}

func (l *lab) password(user string) string {
	l.Helper()
	p, ok := l.passwords()[user]
	if !ok {
		l.Fatalf("no password for %s", user)
	}
	return p
}

// addresses of the machines by name.
func (l *lab) addresses() map[string]string {
	l.Helper()
	a := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(l.pgbake("show"))); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 3 && (f[1] == "db" || f[1] == "proxy") {
			a[f[0]] = f[2]
		}
	}
	return a
}

// entry is the address that applications connect to.
func (l *lab) entry() string {
	l.Helper()
	var c struct {
		VirtualAddress string `json:"virtual_address"`
		Proxies        []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(l.pgbake("show", "--json")), &c); err != nil {
		l.Fatal(err)
	}
	if c.VirtualAddress != "" {
		return c.VirtualAddress
	}
	return c.Proxies[0].Address
}

// write starts an application that writes the ledger, an empty one, through the proxy until stop is called.
func (l *lab) write() (stop func(), file string) {
	l.Helper()
	l.sql("CREATE TABLE IF NOT EXISTS ledger(n bigint PRIMARY KEY); TRUNCATE ledger")
	return l.writeTo(l.dsn(l.entry() + ":5000"))
}

// dsn is the application's own way to a server, which it wants to be the cluster's.
func (l *lab) dsn(host string) url.URL {
	l.Helper()
	user := l.sql("SELECT current_user")
	return url.URL{
		Scheme: "postgres", User: url.UserPassword(user, l.password(user)), Host: host, Path: l.sql("SELECT current_database()"),
		RawQuery: "sslmode=verify-full&connect_timeout=3&sslrootcert=" + filepath.Join(filepath.Dir(l.spec), "secrets", "ca.crt"),
	}
}

// writeTo does so at an address of its own, where the table is there.
func (l *lab) writeTo(dsn url.URL) (stop func(), file string) {
	l.Helper()
	stop, file = l.writer(dsn, busy)
	l.eventually("a hundred rows", 30*time.Second, func() bool { return len(l.account(file).acknowledged) > 100 })
	return stop, file
}

// writer starts an application that writes where it can.
func (l *lab) writer(dsn url.URL, pause time.Duration) (stop func(), file string) {
	l.Helper()
	disk, err := watchedDisk()
	if err != nil {
		l.Fatal(err)
	}
	file = filepath.Join(l.TempDir(), "ledger")
	self, err := os.Executable()
	if err != nil {
		l.Fatal(err)
	}
	cmd := exec.CommandContext(l.Context(), "nsenter", "--net=/run/netns/pgbake-"+l.scope, "--", self)
	cmd.Env = append(os.Environ(), "PGBAKE_LEDGER_URL="+dsn.String(), "PGBAKE_LEDGER_FILE="+file, "PGBAKE_LEDGER_PAUSE="+pause.String())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	disk.ledgers(1)
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		disk.ledgers(-1)
	})
	l.Cleanup(stop)
	return stop, file
}

func (l *lab) account(file string) account {
	a, err := readLedger(file)
	if err != nil && !os.IsNotExist(err) {
		l.Fatal(err)
	}
	return a
}

// calm complains about a pause that could be a restart or a failover: beside thirty other programs a write took 0.7 s. The time
// for which this host's own disk stood still is not the cluster's.
func (l *lab) calm(a verify.Account) {
	l.Helper()
	disk, err := watchedDisk()
	if err != nil {
		l.Fatal(err)
	}
	const most = 3 * time.Second
	pause, since := a.Outage()
	l.Logf("the longest pause was %.1f s, and this host's disk stood still for %.1f s of it", pause.Seconds(), disk.stood(since, since.Add(pause)).Seconds())
	// Each pause, not only the longest: that one may be the disk's alone.
	for i := 1; i < len(a); i++ {
		from, to := a[i-1].At, a[i].At
		if to.Sub(from) <= most {
			continue
		}
		if stood := disk.stood(from, to); to.Sub(from)-stood > most {
			l.Errorf("no row was written for %.1f s from %s on, and this host's disk stood still for %.1f s of it",
				to.Sub(from).Seconds(), from.Format(time.StampMilli), stood.Seconds())
		}
	}
}

// keptAll complains about acknowledged rows that are not in the table.
func (l *lab) keptAll(a account) {
	l.Helper()
	if lost := l.lost(a, "ledger"); lost > 0 {
		l.Errorf("%d of %d acknowledged rows are lost", lost, len(a.acknowledged))
	}
}

// lost is how many acknowledged rows are not in the table.
func (l *lab) lost(a account, table string) int {
	l.Helper()
	there := map[int]bool{}
	for _, n := range strings.Fields(l.sql("SELECT n FROM " + table)) {
		number, err := strconv.Atoi(n)
		if err != nil {
			l.Fatal(err)
		}
		there[number] = true
	}
	return len(a.Lost(there))
}
