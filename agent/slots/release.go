package slots

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/pgbake/pgbake/internal/libpq"
)

// Primary is where a replica streams from, and as whom.
type Primary struct {
	At             netip.AddrPort
	User, Password string
	// TLS judges the server's certificate.
	TLS *tls.Config
}

// releaseTime is how long it may take: two answers of a server on this machine.
const releaseTime = 10 * time.Second

// What the server says of a slot that there is not, and of one that somebody streams from: neither keeps rows for a member that is
// away. https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	noSuchSlot = "42704"
	slotInUse  = "55006"
)

// ReleaseRows takes the oldest transaction out of a slot, and leaves its WAL: it streams by the slot for a moment, as its member
// would, and says that there are no queries.
func ReleaseRows(ctx context.Context, p Primary, slot string) error {
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	conn, err := connect(ctx, p)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // what matters has been answered
	results, err := conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	if err != nil {
		return err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 3 {
		return errors.New("IDENTIFY_SYSTEM: not the answer of a PostgreSQL")
	}
	var said *pgconn.PgError
	err = sayNoQueries(ctx, conn, slot, string(results[0].Rows[0][2]))
	if errors.As(err, &said) && (said.Code == noSuchSlot || said.Code == slotInUse) {
		return nil
	}
	return err
}

func connect(ctx context.Context, p Primary) (*pgconn.PgConn, error) {
	// What the environment of this process says about PostgreSQL is not for this connection.
	c, err := pgconn.ParseConfig("sslmode=disable host=localhost user=postgres password=x")
	if err != nil {
		return nil, err
	}
	c.Host, c.Port, c.User, c.Password, c.Database = p.At.Addr().String(), p.At.Port(), p.User, p.Password, ""
	c.TLSConfig, c.Fallbacks, c.ValidateConnect, c.AfterConnect = p.TLS, nil, nil, nil
	c.RuntimeParams = map[string]string{"replication": "true", "application_name": "pgha"}
	return pgconn.ConnectConfig(ctx, c)
}

// sayNoQueries streams by the slot from a place in the WAL on, as text, tells the feedback of a replica without queries, and waits until
// the server has read it. Nothing is said of what was received: the slot keeps its WAL.
func sayNoQueries(ctx context.Context, conn *pgconn.PgConn, slot, from string) error {
	front := conn.Frontend()
	front.SendQuery(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION SLOT %s PHYSICAL %s", libpq.Ident(slot), from)})
	if err := front.Flush(); err != nil {
		return err
	}
	var refused error
	for {
		message, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pgproto3.CopyBothResponse:
			front.Send(&pgproto3.CopyData{Data: noQueries()})
			front.Send(&pgproto3.CopyDone{})
			if err := front.Flush(); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			refused = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery: // it comes after everything that was sent was read
			return refused
		}
	}
}

// noQueries is the hot standby feedback of a replica whose queries need nothing: no oldest transaction of its own, and none of the
// catalogs. https://www.postgresql.org/docs/current/protocol-replication.html (Hot standby feedback message)
func noQueries() []byte {
	body := []byte{'h'}
	body = binary.BigEndian.AppendUint64(body, uint64(time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds())) //nolint:gosec // since 2000
	return append(body, make([]byte, 4*4)...)
}
