package agent

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

const (
	haproxySocket = cluster.HAProxySocket
	// readWrite is the backend of the read-write port, as haproxy.cfg names it.
	readWrite = "postgres_rw"
	// readOnly is that of the read-only port.
	readOnly = "postgres_ro"
)

func (w *work) startHAProxy(ctx context.Context) error { return w.bring(ctx, "haproxy.service", false) }

func (w *work) startKeepalived(ctx context.Context) error {
	if !w.seed.Cluster.VirtualAddress.IsValid() {
		return nil
	}
	return w.bring(ctx, "keepalived.service", false)
}

// awaitPrimary waits until HAProxy leads writers to one.
func (w *work) awaitPrimary(ctx context.Context) error {
	err := w.await(ctx, "a primary", condition{
		holds: func(ctx context.Context) bool {
			up, err := writersGoTo(ctx)
			return err == nil && len(up) == 1
		},
		why: func(ctx context.Context) string {
			if _, err := writersGoTo(ctx); err != nil {
				return "HAProxy does not answer yet; see `journalctl -u haproxy`"
			}
			if silent := w.silent(ctx, w.api.patroniAnswers); silent != "" {
				return "no member leads yet, no answer from " + silent
			}
			if r := w.seed.Cluster.Adopt.Remote; w.stillFollows(ctx) {
				return fmt.Sprintf("the cluster follows the primary at %s: `pgha cutover` on a member ends that", r.Host)
			}
			return "no member leads yet, though Patroni answers everywhere"
		},
	})
	if err != nil {
		return err
	}
	var problem error
	return w.await(ctx, "a primary", condition{
		holds: func(ctx context.Context) bool { problem = w.remember(ctx); return problem == nil },
		why:   func(context.Context) string { return problem.Error() },
	})
}

// writersGoTo names the servers that the read-write port leads to.
func writersGoTo(ctx context.Context) ([]string, error) {
	return serversUp(ctx, readWrite)
}

// serversUp names the servers of a backend that take traffic.
func serversUp(ctx context.Context, backend string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", haproxySocket)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // only read from
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := fmt.Fprintf(conn, "show stat %s 4 -1\n", backend); err != nil { // 4: servers
		return nil, err
	}
	return parseUp(conn)
}

// parseUp reads HAProxy's CSV: px=0, svname=1, status=17.
func parseUp(r io.Reader) ([]string, error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord = -1
	var up []string
	for {
		row, err := rows.Read()
		if err == io.EOF {
			return up, nil
		}
		if err != nil {
			return nil, err
		}
		if len(row) > 17 && strings.HasPrefix(row[17], "UP") {
			up = append(up, row[1])
		}
	}
}
