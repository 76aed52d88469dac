package verify

import (
	"context"
	"time"
)

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
