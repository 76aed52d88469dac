package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pgbake/pgbake/agent/monitor"
	"github.com/pgbake/pgbake/internal/run"
)

const (
	// elsewhereSQL is what a primary elsewhere says of this cluster's slot, to the role that streams: every role may see both views.
	elsewhereSQL = `SELECT pg_catalog.json_build_object(
 'limit_mb', (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'),
 'there', (SELECT pg_catalog.json_build_object('name', slot_name, 'active', active, 'lost', coalesce(wal_status = 'lost', false),
   'retained_bytes', coalesce(greatest(0, pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn)), 0)::bigint)
  FROM pg_catalog.pg_replication_slots WHERE slot_name = :'slot'))`
	// receivedSQL is how far this machine is behind what was sent to it last; negative when nothing comes.
	receivedSQL = `SELECT coalesce((SELECT greatest(0, pg_catalog.pg_wal_lsn_diff(latest_end_lsn, pg_catalog.pg_last_wal_replay_lsn()))::bigint FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming'), -1)`
	// elsewhereTrustFile is the monitor's own.
	elsewhereTrustFile = "/run/pgha/monitor-remote-ca.crt"
)

// elsewhere is what the slot of this cluster holds back on the primary that it follows; nil on others than the member that
// streams from there. The connection is the one that `pgbake adopt` has asked for.
func (m *watcher) elsewhere(ctx context.Context) *monitor.Elsewhere {
	c, self := m.seed.Cluster, m.seed.Machine
	if !c.BeginsElsewhere() {
		return nil
	}
	if member, err := m.api.member(ctx, self.Address); err != nil || !member.leadsStandby() {
		return nil // Patroni that does not answer is another problem
	}
	e := &monitor.Elsewhere{Host: c.Adopt.Remote.Host, Slot: c.RemoteSlot(), Behind: -1, Limit: -1}
	if out, err := ask(ctx, m.postgres(), receivedSQL, psql(filepath.Join(c.BinDir(), "psql"), "--host="+socketDir, fmt.Sprintf("--port=%d", c.Ports.Postgres), "--dbname=postgres")...); err == nil {
		_ = json.Unmarshal(out, &e.Behind) // it is one number
	}
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	w := &work{Agent: m.Agent, seed: m.seed}
	out, err := w.askRemoteTrusting(ctx, elsewhereTrustFile, elsewhereSQL)
	if err == nil {
		err = json.Unmarshal(out, e)
	}
	if err != nil {
		said := err.Error()
		if failed := (*run.Error)(nil); errors.As(err, &failed) && failed.Tail != "" {
			said = failed.Tail // without the command line
		}
		e.Error = strings.Join(strings.Fields(said), " ")
	}
	return e
}
