package render

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/pgbake/pgbake/cluster"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// Dynamic is Patroni's dynamic configuration, which lives in etcd and is one for the whole cluster.
//
// config.yml holds it below bootstrap.dcs, where Patroni reads it only while it makes the cluster. A later change of
// the specification reaches a running cluster by PATCH /config with what differs from GET /config.
// Keys that are absent here are not pgbake's: `patronictl edit-config` may hold them.
func Dynamic(c *cluster.Cluster) map[string]any {
	t := c.Timers()
	synchronous := c.SynchronousMode() != "false"
	d := map[string]any{
		"ttl":           t.TTL,
		"loop_wait":     t.LoopWait,
		"retry_timeout": t.RetryTimeout,
		// A standby on an older timeline must not win the election.
		"check_timeline": true,
		// A hung shutdown must not hold up the failover. A large primary's is short all the same: `systemctl stop patroni`, and so a reboot,
		// begins with a checkpoint, and so does Patroni's own switchover.
		"primary_stop_timeout":    30,
		"synchronous_mode":        synchronousMode(c),
		"synchronous_mode_strict": synchronous && c.Replication.Strict,
		"postgresql": map[string]any{
			"use_pg_rewind": true,
			"use_slots":     true,
			"parameters":    parameters(c),
		},
	}
	if synchronous {
		d["synchronous_node_count"] = c.SynchronousNodes()
		// No acknowledged write is lost by leaving a crashed primary early.
		d["primary_start_timeout"] = 30
		// Every acknowledged row is on a replica that /sync names, whatever its lag in bytes, and nobody else may be promoted. A
		// limit leaves no leader for good when the primary dies in a large load that nobody has committed (patroni #3703).
		d["maximum_lag_on_failover"] = 1 << 40
	} else {
		// Waiting for the primary's recovery loses nothing, a failover may; a limit that is too tight leaves no leader under
		// load. While no replica is within it, nobody leads until the old primary is back, or a person decides: `patronictl failover`.
		d["primary_start_timeout"] = 300
		d["maximum_lag_on_failover"] = 32 * mebibyte
	}
	if c.Patroni4() {
		// An etcd outage does not demote a healthy primary. 3.0.2 knows the key, but demotes all the same after a
		// second outage (patroni #2803), and so did 4.0 until 4.0.7 (#3403).
		d["failsafe_mode"] = true
		// A member that is away for a weekend finds the WAL that it needs: what its slot keeps is limited by the room on the disk, and
		// no rows are kept for it once it is away (Agent.Follow).
		d["member_slots_ttl"] = "7d"
	}
	return d
}

// Bootstrap is the dynamic configuration that a cluster begins with. One that begins as a copy of a primary elsewhere
// follows it, until `pgha cutover` takes standby_cluster out.
func Bootstrap(c *cluster.Cluster) map[string]any {
	d := Dynamic(c)
	if c.BeginsElsewhere() {
		d["standby_cluster"] = map[string]any{
			"host": c.Adopt.Remote.Host, "port": c.Adopt.Remote.Port, "primary_slot_name": c.RemoteSlot(),
			"create_replica_methods": []any{"pgha_remote"},
		}
	}
	return d
}

// synchronousMode has the type that Patroni wants: a boolean, or the word quorum.
func synchronousMode(c *cluster.Cluster) any {
	switch mode := c.SynchronousMode(); mode {
	case "true":
		return true
	case "false":
		return false
	default:
		return mode
	}
}

// parameters are PostgreSQL's, for the whole cluster; the specification's own win.
func parameters(c *cluster.Cluster) map[string]any {
	p := map[string]any{
		"wal_level":             "replica",
		"hot_standby":           "on",
		"hot_standby_feedback":  "on",
		"wal_log_hints":         "on",
		"synchronous_commit":    "on",
		"max_connections":       100,
		"max_wal_senders":       20,
		"max_replication_slots": 20,
		"wal_keep_size":         "1GB",
		// Turning archiving on later needs a restart; until there is a repository the command succeeds and keeps nothing.
		"archive_mode":    "on",
		"archive_command": "/bin/true",
		// A dead peer is noticed in tens of seconds, not after the kernel's two hours.
		"tcp_keepalives_idle":          60,
		"tcp_keepalives_interval":      10,
		"tcp_keepalives_count":         3,
		"tcp_user_timeout":             "30s",
		"wal_sender_timeout":           "30s",
		"wal_receiver_timeout":         "30s",
		"wal_receiver_status_interval": "1s",
		// A replica whose slot is not there yet, or whose primary has just changed, asks again after a second, not five.
		"wal_retrieve_retry_interval":         "1s",
		"idle_in_transaction_session_timeout": "10min",
		"password_encryption":                 "scram-sha-256",
		// One syncfs instead of an fsync for each file: crash recovery starts at once.
		"recovery_init_sync_method": "syncfs",
	}
	if c.Backup.Repository.Named() {
		p["archive_command"] = "pgbackrest --stanza=" + c.Scope + " archive-push %p"
		// What a quiet cluster has written is in the repository a minute later, not when its segment of 16 MB is full. A segment
		// that is mostly empty costs some kilobytes there; none is written while nothing happens.
		p["archive_timeout"] = "60s"
	}
	if c.Postgres.Version >= 17 {
		// What ALTER SYSTEM sets differs between the members and nobody sees it.
		p["allow_alter_system"] = "off"
	}
	for name, value := range c.Postgres.Parameters {
		p[name] = value
	}
	return p
}

// localParameters are one machine's own, in its config.yml, where they win over the dynamic ones. What the specification
// sets for the whole cluster is therefore left out here; TLS is not to be switched off that way.
func localParameters(c *cluster.Cluster, in Input) map[string]any {
	p := map[string]any{
		"shared_buffers":         sharedBuffers(in.Memory),
		"max_slot_wal_keep_size": slotLimit(in),
		"max_wal_size":           walLimit(in),
		// Java's drivers on old machines know nothing newer.
		"ssl_min_protocol_version": "TLSv1.2",
	}
	maps.DeleteFunc(p, func(name string, _ any) bool {
		_, set := c.Postgres.Parameters[name]
		return set
	})
	maps.Copy(p, map[string]any{
		"unix_socket_directories": cluster.SocketDir,
		"ssl":                     "on",
		"ssl_cert_file":           cluster.PatroniTLS + "/postgres.crt",
		"ssl_key_file":            cluster.PatroniTLS + "/postgres.key",
	})
	return p
}

// LocalNames are the parameters that each machine has of its own, whatever Patroni's dynamic configuration says.
func LocalNames(c *cluster.Cluster) []string {
	return slices.Sorted(maps.Keys(localParameters(c, Input{})))
}

// sharedBuffers is a quarter of the memory. What a machine reports moves by some kilobytes from kernel to kernel, and
// each change would want a restart of PostgreSQL: hence the steps of 32 MB. PostgreSQL's own default when unknown.
func sharedBuffers(memory uint64) string {
	const step = 128 * mebibyte
	return fmt.Sprintf("%dMB", max(128, (memory+step/2)/step*32))
}

// slotLimit is how much WAL a replication slot may keep: 30 % of the disk, so that a dead member's slot cannot fill it, and never more
// than half of what the data leaves for WAL. The other half is for what PostgreSQL writes until its next checkpoint drops the slot's
// claim, and for what the data grows by until pgha-room.service comes round. The limit that is there stays while it is about right:
// what is free moves all the time, and each change costs a reload. 10 GB when nothing is known.
func slotLimit(in Input) string {
	if in.Disk == 0 {
		return "10GB"
	}
	limit := in.Disk / 10 * 3
	if in.WALRoom > 0 {
		limit = min(limit, in.WALRoom/2)
	}
	if had := in.SlotLimit; had >= limit/5*4 && had <= limit/4*5 {
		limit = had
	}
	if limit >= 10*gibibyte {
		return fmt.Sprintf("%dGB", limit/gibibyte)
	}
	return fmt.Sprintf("%dMB", max(64, limit/mebibyte))
}

// walLimit is how much is written until PostgreSQL forces a checkpoint: a twentieth of the disk, and never more than an eighth of what
// the data leaves for WAL. PostgreSQL's own 1 GB forces one after another while much is written, and each makes the WAL larger: the
// first change of a page after it is logged as the whole page. Above 16 GB the recovery after a crash is what takes long. A power of
// two, and the one that is there stays while it is about right: what is free moves all the time.
func walLimit(in Input) string {
	limit := min(max(in.Disk/20, gibibyte), 16*gibibyte)
	if in.WALRoom > 0 {
		limit = max(min(limit, in.WALRoom/8), 64*mebibyte)
	}
	if had := in.WALLimit; had == 0 || had > limit/4*5 || limit > had/2*5 {
		limit = 1 << (bits.Len64(limit) - 1)
	} else {
		limit = had
	}
	return fmt.Sprintf("%dMB", limit/mebibyte)
}

// processes are how many of pgBackRest's a backup may have, beside a database that serves, and a restore, which somebody waits for.
// More than 16 bring nothing: a repository takes no more at a time.
func processes(processors int) (backup, restore int) {
	const most = 16
	return min(max(processors/2, 1), most), min(max(processors, 1), most)
}
