package agent

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/pgbake/pgbake/agent/adopt"
	"github.com/pgbake/pgbake/internal/libpq"
	"github.com/pgbake/pgbake/internal/run"
)

// strangeLibraries are the libraries of the configuration that PostgreSQL's own package does not bring.
func (w *work) strangeLibraries(ctx context.Context, s adopt.Settings) (strange []string, err error) {
	for _, name := range []string{"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"} {
		for library := range strings.SplitSeq(s.Get(name, ""), ",") {
			library = strings.TrimSuffix(strings.Trim(library, ` "`), ".so")
			if library == "" {
				continue
			}
			from, err := w.packageOf(ctx, fmt.Sprintf("/usr/lib/postgresql/%d/lib/%s.so", w.seed.Cluster.Postgres.Version, filepath.Base(library)))
			if err != nil {
				return nil, err
			}
			if from != "" {
				strange = append(strange, library+" ("+from+")")
			}
		}
	}
	return strange, nil
}

// packageOf names the Debian package that a file is of; empty when it is PostgreSQL's own.
func (w *work) packageOf(ctx context.Context, path string) (string, error) {
	out, err := w.Runner.Output(ctx, run.Command("dpkg-query", "--search", path))
	if run.ExitCode(err) == 1 {
		return "of no package", nil
	}
	name, _, _ := strings.Cut(string(out), ":")
	if name == fmt.Sprintf("postgresql-%d", w.seed.Cluster.Postgres.Version) {
		return "", err
	}
	return name, err
}

// What the database says of itself, each answer one JSON object. The second is asked in every database.
var (
	//go:embed adoptcluster.sql
	askCluster string
	//go:embed adoptdatabase.sql
	askDatabase string
)

// lookInside asks the running database, as its superuser on its own socket.
func (w *work) lookInside(ctx context.Context, f *adopt.Found) (*adopt.Inside, error) {
	var in adopt.Inside
	if err := w.awaitAnswers(ctx, f); err != nil {
		return nil, err
	}
	if err := w.ask(ctx, f, "postgres", askCluster, &in); err != nil {
		return nil, err
	}
	for i := range in.Databases {
		d := &in.Databases[i]
		var more struct {
			Stale      []string `json:"stale"`
			Unlogged   []string `json:"unlogged"`
			Extensions []string `json:"extensions"`
		}
		if err := w.ask(ctx, f, d.Name, askDatabase, &more); err != nil {
			return nil, err
		}
		d.Stale, d.Unlogged = more.Stale, more.Unlogged
		for _, name := range more.Extensions {
			from, err := w.packageOf(ctx, fmt.Sprintf("/usr/share/postgresql/%d/extension/%s.control", w.seed.Cluster.Postgres.Version, name))
			if err != nil {
				return nil, err
			}
			if from != "" {
				d.Strange = append(d.Strange, name+" ("+from+")")
			}
		}
	}
	return &in, nil
}

// startTime is how long a database that is just being started, as at boot, may take before it is asked.
const startTime = time.Minute

// awaitAnswers waits until a starting database takes sessions.
func (w *work) awaitAnswers(ctx context.Context, f *adopt.Found) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var err error
	waited := w.await(ctx, "the database to adopt", condition{
		holds: func(ctx context.Context) bool {
			err = w.Runner.Run(ctx, run.Command("pg_isready", "--quiet", "--host="+f.Socket(), "--port="+f.Port()))
			return err == nil
		},
		why: func(context.Context) string { return fmt.Sprintf("%s does not take sessions: %v", f.Unit, err) },
	})
	if waited != nil {
		return fmt.Errorf("look into the database to adopt: %w\n      hint: see `journalctl -u %s`", waited, f.Unit)
	}
	return nil
}

func (w *work) ask(ctx context.Context, f *adopt.Found, database, query string, answer any) error {
	out, err := w.Runner.Output(ctx, w.adopted(f, database, query))
	if err != nil {
		return fmt.Errorf("look into the database to adopt: %w\n      hint: its pg_hba.conf must let postgres in by the socket (local all postgres peer), its database postgres must be there", err)
	}
	return decode(out, answer, "psql")
}

// adopted is a query on the socket of a cluster of Debian's tools.
func (w *work) adopted(f *adopt.Found, database, query string) run.Cmd {
	return run.Cmd{
		Args: append([]string{"runuser", "-u", "postgres", "--"},
			psql("psql", "--host="+f.Socket(), "--port="+f.Port(), "--dbname="+libpq.Database(database))...),
		Env: []string{"PGCONNECT_TIMEOUT=10", pgOptions()}, Stdin: strings.NewReader(query), Dir: "/",
	}
}

// sayCollations says which indexes may be corrupt in a database that did not run before it was adopted.
func (w *work) sayCollations(ctx context.Context) {
	port := adopt.Setting{Value: fmt.Sprint(w.seed.Cluster.Ports.Postgres)}
	in, err := w.lookInside(ctx, &adopt.Found{Unit: "patroni.service", Settings: adopt.Settings{"port": port}})
	if err != nil {
		w.Say("its collations were not looked at: %v", err)
		return
	}
	for _, f := range in.Collations() {
		w.Say("%s\n      hint: %s", f.Text, f.Hint)
	}
}
