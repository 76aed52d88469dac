package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/agent/doctor"
	"github.com/pgbake/pgbake/cluster/parameter"
	"github.com/pgbake/pgbake/render"
)

// runningSQL is what every session of this PostgreSQL begins with, by the parameter's name: not what a role, a database or this
// session has of its own. File is the text that the configuration has for it, which PostgreSQL may show in another form.
const runningSQL = `SELECT pg_catalog.json_object_agg(pg_catalog.lower(s.name), pg_catalog.json_build_object(
 'is', CASE WHEN s.own THEN coalesce(f.setting, s.boot_val) ELSE s.reset_val END, 'unit', CASE WHEN s.own THEN '' ELSE coalesce(s.unit, '') END,
 'text', coalesce(f.setting, ''), 'file', coalesce(f.sourcefile, ''), 'restart', s.context = 'postmaster'))
 FROM (SELECT *, source IN ('client', 'user', 'database', 'database user', 'session') AS own FROM pg_catalog.pg_settings) s
 LEFT JOIN (SELECT DISTINCT ON (pg_catalog.lower(name)) name, setting, sourcefile FROM pg_catalog.pg_file_settings
    WHERE applied ORDER BY pg_catalog.lower(name), seqno DESC) f ON pg_catalog.lower(f.name) = pg_catalog.lower(s.name)`

// runsWith is one parameter as PostgreSQL runs with it.
type runsWith struct {
	Is, Unit, Text, File string
	Restart              bool
}

// examineParameters compares what PostgreSQL runs with and what Patroni was asked for.
func (w *work) examineParameters(ctx context.Context, l *doctor.Look) {
	asked, _ := w.config(ctx)["postgresql"].(map[string]any)
	wanted, _ := asked["parameters"].(map[string]any)
	out, err := w.localQuestion(ctx, l, runningSQL)
	if err != nil {
		return // what keeps it from answering other checks say
	}
	var runs map[string]runsWith
	if json.Unmarshal(out, &runs) != nil {
		return
	}
	own := render.LocalNames(w.seed.Cluster)
	target := w.seed.Cluster.ParameterTarget()
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		lower := strings.ToLower(name)
		is, there := runs[lower]
		want := fmt.Sprint(wanted[name])
		if slices.Contains(own, lower) || strings.Contains(name, ".") && !there || there && is.same(target, lower, want) {
			continue
		}
		p := doctor.Parameter{Name: name, Is: strings.TrimSpace(is.Is + " " + is.Unit), Want: want, File: is.File, Restart: is.Restart, Missing: !there}
		if f := target.Judge(lower, want); f != nil {
			p.Wrong = f.Wrong
		}
		_, p.Ours = w.seed.Cluster.Postgres.Parameters[lower]
		l.Parameters = append(l.Parameters, p)
	}
}

func (r runsWith) same(t parameter.Target, name, want string) bool {
	return t.Same(name, r.Is, want) || t.Same(name, r.Text, want)
}
