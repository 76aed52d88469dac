package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pgbake/pgbake/agent/doctor"
	"github.com/pgbake/pgbake/render"
)

// localSQL is what doctor asks PostgreSQL of this machine, as one JSON object.
const localSQL = `SELECT pg_catalog.json_build_object(
 'leads', NOT pg_catalog.pg_is_in_recovery(),
 'limit', (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'),
 'slots', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', slot_name, 'active', active, 'status', coalesce(wal_status, 'lost'),
    'retained', coalesce(pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn), 0)::bigint)), '[]')
    FROM pg_catalog.pg_replication_slots WHERE restart_lsn IS NOT NULL OR wal_status = 'lost'),
 'hba', pg_catalog.current_setting('hba_file'),
 'trust', (SELECT coalesce(pg_catalog.json_agg(line_number), '[]') FROM pg_catalog.pg_hba_file_rules WHERE auth_method = 'trust'),
 'hba_errors', (SELECT coalesce(pg_catalog.json_agg(line_number || ': ' || error), '[]') FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL),
 'archive_fails', (SELECT coalesce(pg_catalog.max(last_failed_wal), '') FROM pg_catalog.pg_stat_archiver WHERE last_failed_time > coalesce(last_archived_time, '-infinity')),
 'checksums', (SELECT coalesce(pg_catalog.json_agg(coalesce(datname, 'shared objects')), '[]') FROM pg_catalog.pg_stat_database WHERE checksum_failures > 0),
 'collations', (SELECT coalesce(pg_catalog.json_agg(datname), '[]') FROM pg_catalog.pg_database WHERE datallowconn AND datcollversion <> pg_catalog.pg_database_collation_actual_version(oid)),
 'horizon', ` + horizonSQL + `)`

func (w *work) examineDatabase(ctx context.Context, l *doctor.Look) {
	out, err := w.localQuestion(ctx, l, localSQL)
	if err != nil {
		return // what keeps it from answering other checks say
	}
	d := &doctor.Database{}
	if json.Unmarshal(out, d) == nil {
		l.Database = d
	}
}

// localQuestion asks PostgreSQL of this machine, as the superuser, for one value.
func (w *work) localQuestion(ctx context.Context, l *doctor.Look, query string) ([]byte, error) {
	if w.Root != "/" {
		return nil, errors.New("this is not the machine that runs")
	}
	program := "psql" // Debian's own finds the newest
	if w.seed != nil {
		program = w.program("psql")
	}
	// setpriv becomes the program, so that nothing is left of it when it is killed.
	return w.question(ctx, []string{pgOptions("statement_timeout=3000"), "PGCONNECT_TIMEOUT=3"},
		append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"},
			psql(program, "-h", socketDir, "-p", fmt.Sprint(l.Ports.Postgres), "-U", "postgres", "-d", "postgres", "-c", query)...)...)
}

// examineSettings compares Patroni's dynamic configuration with what pgha would have made of cluster.yaml.
func (w *work) examineSettings(ctx context.Context, l *doctor.Look) {
	want, err := canonical(render.Dynamic(w.seed.Cluster))
	if err != nil {
		return
	}
	if is := w.config(ctx); is != nil {
		l.Settings = drift("", is, want)
	}
}

// config is Patroni's dynamic configuration as the first member has it that answers; nil when none does.
func (w *work) config(ctx context.Context) map[string]any {
	for _, n := range w.seed.Cluster.Nodes {
		var is map[string]any
		if w.api.do(ctx, http.MethodGet, w.api.patroni(n.Address, "/config"), nil, &is) == nil && len(is) > 0 {
			return is
		}
	}
	return nil
}

// drift lists the keys that are wanted and are otherwise. Keys that are not pgha's are left alone.
func drift(prefix string, is, want map[string]any) (all []doctor.Setting) {
	for key, w := range want {
		path := prefix + key
		value, there := is[key]
		if deeper, ok := w.(map[string]any); ok {
			inner, _ := value.(map[string]any) // absent: all of it differs
			all = append(all, drift(path+".", inner, deeper)...)
			continue
		}
		if !there || fmt.Sprint(value) != fmt.Sprint(w) {
			all = append(all, doctor.Setting{Path: path, Is: jsonText(value), Want: jsonText(w)})
		}
	}
	slices.SortFunc(all, func(a, b doctor.Setting) int { return strings.Compare(a.Path, b.Path) })
	return all
}

func jsonText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	body, _ := json.Marshal(v) // it came from JSON
	return string(body)
}
