package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/pgbake/pgbake/internal/libpq"
	"github.com/pgbake/pgbake/internal/run"
)

// Every client of PostgreSQL that pgha starts is made here. Whoever owns a database may put functions, operators and types
// into it; a superuser's query that finds one of them in the place of the system's own is a superuser's query of theirs.

// pgOptions is a client's environment in which a session sees pg_catalog alone, whatever the database or the role says;
// settings are more of it, "name=value".
func pgOptions(settings ...string) string {
	options := "PGOPTIONS=-c search_path="
	for _, s := range settings {
		options += " -c " + s
	}
	return options
}

// psql is the program that runs one query or many and stops at the first error. path is where it is: that of Debian's tools
// looks for the right version first.
func psql(path string, args ...string) []string {
	return append([]string{path, "-XAtqw", "-v", "ON_ERROR_STOP=1"}, args...)
}

// client is one of PostgreSQL's programs that open sessions, as PostgreSQL's user.
func (w *work) client(args ...string) run.Cmd {
	c := w.asPostgres(args...)
	c.Env = append(c.Env, pgOptions())
	return c
}

// askSQL runs one query as the superuser, in its own database, and returns its rows, their fields parted by "|".
func (w *work) askSQL(ctx context.Context, socket, query string) ([]string, error) {
	return w.askDatabase(ctx, socket, "postgres", "postgres", query)
}

// askDatabase is askSQL as another role, in another database.
func (w *work) askDatabase(ctx context.Context, socket, role, database, query string) ([]string, error) {
	args := append([]string{"-d", libpq.Database(database), "-c", query}, w.on(socket, role)...)
	out, err := w.Runner.Output(ctx, w.client(psql(w.program("psql"), args...)...))
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(out), "\n")
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}

// on is how a client program finds a server by its socket.
func (w *work) on(socket, role string) []string {
	return []string{"-h", socket, "-p", fmt.Sprint(w.seed.Cluster.Ports.Postgres), "-U", role, "-w"}
}

// amcheck checks every table and index that a server has. Its program makes the extension that it needs, in pg_catalog.
func (w *work) amcheck(socket string) run.Cmd {
	return w.client(append([]string{w.program("pg_amcheck"), "--all", "--install-missing"}, w.on(socket, "postgres")...)...)
}

// dumpAll writes the roles, and dumpOne a database.
func (w *work) dumpAll(to string) run.Cmd {
	return w.client(append([]string{w.program("pg_dumpall"), "--globals-only", "-f", to}, w.on(socketDir, "postgres")...)...)
}

func (w *work) dumpOne(database, to string) run.Cmd {
	return w.client(append([]string{w.program("pg_dump"), "--format=custom", "-f", to, "-d", libpq.Database(database)}, w.on(socketDir, "postgres")...)...)
}

func (w *work) basebackup(to string) run.Cmd {
	// Not --progress: nobody watches. A replica's WAL is streamed beside, so that none is missing at the end.
	return w.client(append([]string{w.program("pg_basebackup"), "-D", to, "--wal-method=stream", "--checkpoint=fast", "--label=pgha"}, w.on(socketDir, "postgres")...)...)
}

func (w *work) pgbackrest(args ...string) run.Cmd {
	return w.client(append([]string{"pgbackrest", "--stanza=" + w.seed.Cluster.Scope}, args...)...)
}
