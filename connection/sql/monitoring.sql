-- How the cluster is, asked of any of its members. Written by pgbake connect. Nothing is changed; runs in psql and DBeaver.
--
-- An ordinary user sees only its own sessions, and of the replicas only their names. To see all, once, on the primary, as its superuser:
--   GRANT pg_monitor TO "the user"

-- Who answers: through the read-write port always the primary.
SELECT
    inet_server_addr() AS connected_to,
    pg_is_in_recovery() AS is_replica,
    current_database() AS database,
    current_user AS "user";

-- The replicas as the primary sees them (on a replica: those that stream from it). sync_state is quorum or sync for
-- those that confirm writes. A lag in time is empty when nothing is written: bytes are what counts.
SELECT
    application_name,
    client_addr,
    state,
    sync_state,
    pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
        replay_lsn) AS lag_bytes,
    write_lag,
    flush_lag,
    replay_lag
FROM pg_stat_replication
ORDER BY application_name;

-- A replica's own view. behind is empty on the primary, and 0 when everything received is replayed, however long ago
-- the last transaction was: without that a cluster at rest seems to fall behind.
SELECT
    pg_last_wal_receive_lsn() AS received,
    pg_last_wal_replay_lsn() AS replayed,
    CASE
        WHEN NOT pg_is_in_recovery() THEN NULL
        WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN interval '0'
        ELSE now() - pg_last_xact_replay_timestamp()
    END AS behind;

-- Slots that hold WAL back: a member that stays away fills the disk, up to max_slot_wal_keep_size.
SELECT
    slot_name,
    active,
    wal_status,
    pg_size_pretty(pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
        restart_lsn)) AS held
FROM pg_replication_slots
ORDER BY restart_lsn;

-- What is being done, the longest first; not this question itself.
SELECT
    datname,
    usename,
    application_name,
    client_addr,
    state,
    wait_event_type,
    now() - query_start AS running_for,
    query
FROM pg_stat_activity
WHERE state <> 'idle'
  AND datname IS NOT NULL
  AND pid <> pg_backend_pid()
ORDER BY query_start;

-- Who waits for whom.
SELECT
    pid,
    usename,
    pg_blocking_pids(pid) AS blocked_by,
    now() - query_start AS waits_for,
    query
FROM pg_stat_activity
WHERE cardinality(pg_blocking_pids(pid)) > 0;

-- The roles. Not "passwd IS NOT NULL" of pg_user: that view shows ******** for everybody, with a password or without.
SELECT
    rolname,
    rolsuper,
    rolcreatedb,
    rolcreaterole,
    rolreplication,
    rolvaliduntil
FROM pg_roles
WHERE rolcanlogin
ORDER BY rolname;
