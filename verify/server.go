package verify

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pgbake/pgbake/cluster"
)

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
