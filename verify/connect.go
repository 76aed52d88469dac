package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgbake/pgbake/cluster"
)

// door is one place where PostgreSQL answers.
type door struct {
	name string
	at   netip.AddrPort
}

func (d door) String() string { return fmt.Sprintf("%s:%d", d.name, d.at.Port()) }

func doorOf(n cluster.Node, port int) door {
	return door{n.Name, netip.AddrPortFrom(n.Address, uint16(port))} //nolint:gosec // validated 1..65535
}

// members are the doors of the database machines, the proxies passed by.
func (v *Verifier) members() (all []door) {
	for _, n := range v.Cluster.Nodes {
		all = append(all, doorOf(n, v.Cluster.Ports.Postgres))
	}
	return all
}

// proxies are the doors of one port on every proxy, and on the virtual address.
func (v *Verifier) proxies(port int) (all []door) {
	for _, n := range v.Cluster.Proxies {
		all = append(all, doorOf(n, port))
	}
	if v.Cluster.VirtualAddress.IsValid() {
		all = append(all, doorOf(cluster.Node{Name: v.Cluster.VirtualAddress.String(), Address: v.Cluster.VirtualAddress}, port))
	}
	return all
}

// entries are where applications write; without proxies one of them at a time takes it.
func (v *Verifier) entries() (all []door) {
	for _, e := range v.Cluster.Entries() {
		all = append(all, door{v.nameOf(e.Addr()), e})
	}
	return all
}

// nameOf is a machine's name; the address itself where it is no machine's.
func (v *Verifier) nameOf(a netip.Addr) string {
	all := v.Cluster.Machines()
	i := slices.IndexFunc(all, func(m cluster.Machine) bool { return m.Address == a })
	if i < 0 {
		return a.String()
	}
	return all[i].Name
}

// connectTime is how long PostgreSQL may take to let somebody in, or to refuse.
const connectTime = 5 * time.Second

// connect logs in with TLS, verified against the cluster's authority and the address that is dialled.
func (v *Verifier) connect(ctx context.Context, to door, as login) (*pgx.Conn, error) {
	return v.connectWith(ctx, to, as, v.tls(to.at.Addr().String()))
}

// connectWith logs in with these ideas of TLS; nil is plain text.
func (v *Verifier) connectWith(ctx context.Context, to door, as login, encryption *tls.Config) (*pgx.Conn, error) {
	// What the environment of this process says about PostgreSQL (PGSSLMODE, PGOPTIONS, …) is not for this cluster.
	c, err := pgx.ParseConfig("sslmode=disable host=localhost user=postgres password=x")
	if err != nil {
		return nil, err
	}
	c.Host, c.Port, c.User, c.Password, c.Database = to.at.Addr().String(), to.at.Port(), as.user, as.password, as.database
	c.TLSConfig, c.Fallbacks, c.ValidateConnect, c.AfterConnect = encryption, nil, nil, nil
	if encryption != nil {
		c.ChannelBinding = "require" // a stolen proxy is not told the password, as for any other client
	}
	c.RuntimeParams = map[string]string{"application_name": "pgbake verify"}
	if as.streams {
		c.RuntimeParams["replication"] = "true"
	}
	c.DialFunc = v.Dial
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	if a, err := netip.ParseAddrPort(conn.PgConn().Conn().LocalAddr().String()); err == nil {
		local := a.Addr().Unmap()
		v.local.Store(&local)
	}
	return conn, nil
}

// primary logs in where applications write: at all entries at the same time, for a dead one says nothing for long. The first
// session that takes writes is it.
func (v *Verifier) primary(ctx context.Context) (*pgx.Conn, error) {
	doors := v.entries()
	conns, errs := make(chan *pgx.Conn, len(doors)), make([]error, len(doors))
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i, d := range doors {
		wg.Go(func() {
			conn, err := v.connect(ctx, d, v.login)
			if err == nil {
				if err = pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn.PgConn()); err == nil {
					conns <- conn
					return
				}
				hangUp(conn)
			}
			errs[i] = fmt.Errorf("%s: %s", d, why(err))
		})
	}
	go func() {
		wg.Wait()
		close(conns)
	}()
	conn, ok := <-conns
	cancel()
	if !ok {
		return nil, errors.Join(errs...)
	}
	go func() {
		for late := range conns {
			hangUp(late)
		}
	}()
	return conn, nil
}

// ask connects, asks one question with one row for an answer, and hangs up.
func (v *Verifier) ask(ctx context.Context, to door, as login, query string, answer ...any) error {
	conn, err := v.connect(ctx, to, as)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	return conn.QueryRow(ctx, query).Scan(answer...)
}

// hangUp closes a connection that may be dead.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nobody needs it any more
}

// why is the cause in an error of a connection, without the many words around it.
func why(err error) string {
	var server *pgconn.PgError
	var wire *net.OpError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &server):
		return server.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.As(err, &wire):
		return wire.Err.Error()
	}
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	last := lines[len(lines)-1]
	if i := strings.LastIndex(last, "failed to connect to"); i >= 0 {
		if _, cause, ok := strings.Cut(last[i:], ": "); ok {
			return cause
		}
	}
	return last
}

// code is PostgreSQL's number for what went wrong; empty when it was not PostgreSQL that refused.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func code(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return ""
}

const (
	// notAllowed is what pg_hba.conf says.
	notAllowed = "28000"
	// wrongWord is what a wrong password ends with.
	wrongWord = "28P01"
)
