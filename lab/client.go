package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/pgbake/pgbake/internal/run"
)

// Login is how a client of the cluster connects.
type Login struct {
	User, Password, Database string
	// CA is the cluster's certificate, PEM.
	CA []byte
	// ReadOnly leads psql to the port of the replicas.
	ReadOnly bool
}

// Psql is the command that opens psql (or runs it with args) through the proxy, from the host's
// side of the network. The password lies in a file beside the disks, for root only.
func (l *Lab) Psql(in Login, args ...string) (run.Cmd, error) {
	if err := l.needNetwork(); err != nil {
		return run.Cmd{}, err
	}
	if _, err := exec.LookPath("psql"); err != nil {
		return run.Cmd{}, errors.New("open psql: not found\n      hint: apt-get install postgresql-client")
	}
	hosts, ports, session := l.entries(in.ReadOnly)
	ca, pass := filepath.Join(l.dir, "ca.crt"), filepath.Join(l.dir, "pgpass")
	if err := write(ca, string(in.CA), 0o600); err != nil {
		return run.Cmd{}, err
	}
	// https://www.postgresql.org/docs/current/libpq-pgpass.html
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	line := strings.Join([]string{"*", "*", escape.Replace(in.Database), escape.Replace(in.User), escape.Replace(in.Password)}, ":")
	if err := write(pass, line+"\n", 0o600); err != nil {
		return run.Cmd{}, err
	}
	return run.Cmd{
		Args: l.net.inside(append([]string{"psql"}, args...)...),
		Env: []string{
			"PGHOST=" + hosts, "PGPORT=" + ports, "PGUSER=" + in.User, "PGDATABASE=" + in.Database,
			"PGTARGETSESSIONATTRS=" + session, "PGCONNECT_TIMEOUT=10", "PGPASSFILE=" + pass, "PGSSLMODE=verify-full", "PGSSLROOTCERT=" + ca,
			"PGCHANNELBINDING=require",
		},
	}, nil
}

// entries are the hosts and ports that libpq tries in turn, and what the one it takes must be able to: without
// proxies the clients look for the primary themselves.
func (l *Lab) entries(readOnly bool) (hosts, ports, session string) {
	session = "any"
	if len(l.c.Proxies) == 0 && readOnly {
		session = "prefer-standby"
	} else if len(l.c.Proxies) == 0 {
		session = "read-write"
	}
	var h, p []string
	for _, e := range l.c.Entries() {
		port := int(e.Port())
		if readOnly && len(l.c.Proxies) > 0 {
			port = l.c.Ports.ReadOnly
		}
		h, p = append(h, e.Addr().String()), append(p, strconv.Itoa(port))
	}
	return strings.Join(h, ","), strings.Join(p, ","), session
}

// Connect opens a connection to an address in the lab's network, with TLS, verified.
func (l *Lab) Connect(ctx context.Context, to netip.AddrPort, in Login) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(in.CA) {
		return nil, errors.New("connect: the CA is no certificate")
	}
	c.Host, c.Port, c.User, c.Password, c.Database = to.Addr().String(), to.Port(), in.User, in.Password, in.Database
	c.TLSConfig = &tls.Config{RootCAs: roots, ServerName: to.Addr().String(), MinVersion: tls.VersionTLS12}
	c.Fallbacks = nil
	c.DialFunc = l.Dial
	return pgx.ConnectConfig(ctx, c)
}

// Dial connects to an address in the lab's network, a number, from the host's side of it.
func (l *Lab) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := l.needNetwork(); err != nil {
		return nil, err
	}
	return dialIn(ctx, l.net.file(), network, addr)
}

// FirstWrite returns when a row could be written where clients connect. The deadline is ctx's.
func (l *Lab) FirstWrite(ctx context.Context, in Login) error {
	return every(ctx, l.pause(), "write", func() (err error) {
		for _, entry := range l.c.Entries() {
			if err = l.writeRow(ctx, entry, in); err == nil {
				return nil
			}
		}
		return err
	})
}

func (l *Lab) writeRow(ctx context.Context, to netip.AddrPort, in Login) error {
	ctx, cancel := context.WithTimeout(ctx, max(l.askTime(), connectTime)) // three commits are in it
	defer cancel()
	conn, err := l.Connect(ctx, to, in)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the answer counts
	for _, sql := range []string{
		"CREATE TABLE IF NOT EXISTS pgbake_first_write (at timestamptz DEFAULT now())",
		"INSERT INTO pgbake_first_write DEFAULT VALUES", // the commit counts
		"DROP TABLE pgbake_first_write",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("write through %s: %w", to, err)
		}
	}
	return nil
}

// Become replaces this process by the command, which so has the terminal and the signals to itself.
func Become(c run.Cmd) error {
	path, err := exec.LookPath(c.Args[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", run.Line(c.Args), syscall.Exec(path, c.Args, append(os.Environ(), c.Env...)))
}

// Logs writes what the machine's console showed and, while its power is on, its journal since boot.
func (l *Lab) Logs(ctx context.Context, machine string, w io.Writer) error {
	m, err := l.Machine(machine)
	if err != nil {
		return err
	}
	console, err := os.Open(m.Console())
	if err != nil {
		return fmt.Errorf("read the console: %w", err)
	}
	defer console.Close() //nolint:errcheck // only read
	if _, err := io.Copy(w, console); err != nil {
		return err
	}
	if !m.Alive() {
		return nil
	}
	c, err := m.Command("journalctl", "--boot", "--no-pager", "--no-hostname", "--output=short-monotonic")
	if err != nil {
		return err
	}
	c.Log = w
	return l.host.Run.Run(ctx, c)
}
