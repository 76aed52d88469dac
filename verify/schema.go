package verify

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
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

// makeSchema makes the schema, once.
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
