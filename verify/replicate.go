package verify

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgbake/pgbake/cluster"
)

// schemaPrefix begins the name of everything that is left in a database: one schema for each verification.
const schemaPrefix = "pgbake_verify_"

// newSchema is a name that no other verification has: two may run at the same time.
func newSchema(now time.Time) string {
	b := make([]byte, 3)
	_, _ = rand.Read(b) // it never fails: crypto/rand
	return fmt.Sprintf("%s%s_%x", schemaPrefix, now.UTC().Format("20060102t150405"), b)
}

// Schema is what the verification calls its own in the first database.
func (v *Verifier) Schema() string { return v.schema }

func (v *Verifier) table(name string) string { return pgx.Identifier{v.schema, name}.Sanitize() }

// make makes the schema, once.
func (v *Verifier) makeSchema(ctx context.Context, conn *pgx.Conn) error {
	if v.made {
		return nil
	}
	v.made = true // also when the answer is lost
	name := pgx.Identifier{v.schema}.Sanitize()
	for _, sql := range []string{
		"CREATE SCHEMA " + name,
		"COMMENT ON SCHEMA " + name + " IS 'made by pgbake verify, which removes it at its end'",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("make schema %s: %s", v.schema, why(err))
		}
	}
	return nil
}

// closeTime is how long Close waits for somebody who takes writes: a failover that was given up may be half done.
const closeTime = 90 * time.Second

// Close removes what the verification has made, also after Ctrl-C.
func (v *Verifier) Close(ctx context.Context) error {
	if !v.made {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	drop := "DROP SCHEMA IF EXISTS " + pgx.Identifier{v.schema}.Sanitize() + " CASCADE"
	err := until(ctx, func() error {
		conn, err := v.primary(ctx)
		if err != nil {
			return err
		}
		defer hangUp(conn)
		_, err = conn.Exec(ctx, drop)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove what the verification made: %s\n      hint: in database %s, as %s: %s", oneLine(err), v.login.database, v.login.user, drop)
	}
	v.made = false
	return nil
}

// until tries again and again until it works, or ctx ends; the error is the last one.
func until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// replicateTime is how long a row may take to every replica.
const replicateTime = 20 * time.Second

func replication(ctx context.Context, v *Verifier, f *finding) {
	conn, err := v.primary(ctx)
	if err != nil {
		f.bad("nobody takes writes: %s", oneLine(err))
		return
	}
	defer hangUp(conn)
	if err := v.makeSchema(ctx, conn); err != nil {
		f.bad("%s", err)
		return
	}
	_, replicas := v.look(ctx, func(d door, err error) { f.bad("%s: %s", d, why(err)) })
	if len(replicas) == 0 && len(v.Cluster.Nodes) == 1 {
		f.skip("a lone member has no replica")
		return
	}
	probe := v.table("probe")
	began := time.Now()
	if _, err := conn.Exec(ctx, "CREATE TABLE "+probe+" AS SELECT 1 AS n"); err != nil {
		f.bad("write through %s: %s", v.entries()[0], why(err))
		return
	}
	acknowledged := time.Now()
	f.good("written, and acknowledged, in %s", milliseconds(acknowledged.Sub(began)))
	ctx, cancel := context.WithTimeout(ctx, replicateTime)
	defer cancel()
	found := make([]finding, len(replicas))
	together(len(replicas), func(i int) {
		reader, err := v.connect(ctx, replicas[i], v.login)
		if err != nil {
			found[i].bad("%s: %s", replicas[i], why(err))
			return
		}
		defer hangUp(reader)
		for {
			var n int
			err := reader.QueryRow(ctx, "SELECT n FROM "+probe).Scan(&n)
			if err == nil && n == 1 {
				found[i].good("on %s at most %s after that", replicas[i].name, milliseconds(time.Since(acknowledged)))
				return
			}
			select {
			case <-ctx.Done():
				found[i].bad("%s has not got it after %s: %s", replicas[i].name, replicateTime, why(err))
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	for _, one := range found {
		f.found, f.wrong = append(f.found, one.found...), append(f.wrong, one.wrong...)
	}
}

// standbyNames reads PostgreSQL's synchronous_standby_names: how many of which.
// https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES
func standbyNames(value string) (wait int, names []string) {
	if value == "" {
		return 0, nil
	}
	wait = 1
	if m := counted.FindStringSubmatch(value); m != nil {
		wait, _ = strconv.Atoi(m[1]) // the expression takes digits only
		value = m[2]
	}
	for _, name := range strings.Split(value, ",") {
		names = append(names, strings.Trim(strings.TrimSpace(name), `"`))
	}
	return wait, names
}

var counted = regexp.MustCompile(`^(?i:(?:any|first)\s+)?(\d+)\s*\((.*)\)$`)

func durability(ctx context.Context, v *Verifier, f *finding) {
	conn, err := v.primary(ctx)
	if err != nil {
		f.bad("%s", oneLine(err))
		return
	}
	defer hangUp(conn)
	var standbys, commit string
	if err := conn.QueryRow(ctx, "SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit')").Scan(&standbys, &commit); err != nil {
		f.bad("%s", why(err))
		return
	}
	if v.Cluster.SynchronousMode() == "false" {
		f.skip("writes wait for nobody, as the specification says (replication: async, or a lone member): a failover may lose the last ones")
		return
	}
	if commit == "off" || commit == "local" {
		f.bad("synchronous_commit is %s for %s: its writes wait for no replica", commit, v.login.user)
	}
	wait, names := standbyNames(standbys)
	if wait < v.Cluster.SynchronousNodes() {
		f.bad("a write waits for %d of [%s], and the specification says %d: a replica is away, or has only just come back", wait, standbys, v.Cluster.SynchronousNodes())
		return
	}
	for _, name := range names {
		if _, ok := v.Cluster.Machine(name); !ok && name != "*" {
			f.bad("a write may wait for ever for %q, which is no member of this cluster (synchronous_standby_names: %s)", name, standbys)
		}
	}
	f.good("a write waits for %d of %s (synchronous_commit: %s)", wait, strings.Join(names, ", "), commit)
}

func settings(ctx context.Context, v *Verifier, f *finding) {
	for _, d := range v.members() {
		var version, sums, tls string
		var number int
		err := v.ask(ctx, d, v.login, "SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_setting('data_checksums'), current_setting('ssl')",
			&version, &number, &sums, &tls)
		switch {
		case err != nil:
			f.bad("%s: %s", d, why(err))
			continue
		case number/10000 != v.Cluster.Postgres.Version:
			f.bad("%s runs PostgreSQL %s, and the specification says %d", d.name, version, v.Cluster.Postgres.Version)
		case sums != "on" && v.Cluster.Adopt == (cluster.Adopt{}):
			f.bad("%s has no checksums on its data", d.name)
		case tls != "on":
			f.bad("%s has TLS switched off", d.name)
		default:
			f.good("%s: PostgreSQL %s, checksums %s", d.name, version, sums)
		}
	}
}

// clockTolerance is how far two clocks may be apart: what a log of two machines is still readable with.
const clockTolerance = time.Second

func clocks(ctx context.Context, v *Verifier, f *finding) {
	doors := v.members()
	type reading struct{ ahead, blur time.Duration }
	readings, errs := make([]reading, len(doors)), make([]error, len(doors))
	together(len(doors), func(i int) {
		conn, err := v.connect(ctx, doors[i], v.login)
		if errs[i] = err; err != nil {
			return
		}
		defer hangUp(conn)
		var there time.Time
		began := time.Now()
		errs[i] = conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there)
		blur := time.Since(began) / 2
		readings[i] = reading{there.Sub(began.Add(blur)), blur}
	})
	for i, d := range doors {
		if errs[i] != nil {
			f.bad("%s: %s", d, why(errs[i]))
			return
		}
	}
	for i, r := range readings[1:] {
		apart := (r.ahead - readings[0].ahead).Abs()
		if apart > clockTolerance+r.blur+readings[0].blur {
			f.bad("the clocks of %s and %s are %s apart", doors[0].name, doors[i+1].name, seconds(apart))
		}
	}
	f.good("%s: within %s of each other", strings.Join(names(doors), ", "), clockTolerance)
	if off := readings[0].ahead.Abs(); off > 5*time.Second {
		f.good("this host's own clock is %s away from theirs", seconds(off))
	}
}

func leftovers(ctx context.Context, v *Verifier, f *finding) {
	conn, err := v.primary(ctx)
	if err != nil {
		f.bad("%s", oneLine(err))
		return
	}
	defer hangUp(conn)
	rows, err := conn.Query(ctx, "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1) AND nspname <> $2 ORDER BY 1", schemaPrefix, v.schema)
	if err != nil {
		f.bad("%s", why(err))
		return
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	switch {
	case err != nil:
		f.bad("%s", why(err))
	case len(others) > 0:
		f.skip("in database %s: %s: of verifications that run now, or were killed\n      when none runs: DROP SCHEMA … CASCADE", v.login.database, strings.Join(others, ", "))
	default:
		f.good("none")
	}
}
