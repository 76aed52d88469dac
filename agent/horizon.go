package agent

// horizonSQL is an expression: what a primary says of its transaction ids, agent/horizon.Facts, as one JSON object; NULL on a
// replica, whose ids are the primary's. It reads shared memory and one row for each database, no table.
//
// An invalid database, which a DROP DATABASE has left, counts for nobody: vac_truncate_clog in commands/vacuum.c. A VACUUM and
// a slot that is lost hold back nothing. A standby with a slot holds by the slot, and is not in pg_stat_replication.backend_xmin.
const horizonSQL = `CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE (SELECT pg_catalog.json_build_object(
 'transaction_ids', (SELECT pg_catalog.json_build_object('database', datname, 'age', pg_catalog.age(datfrozenxid), 'closed', NOT datallowconn,
    'freeze_max', pg_catalog.current_setting('autovacuum_freeze_max_age')::bigint)
   FROM pg_catalog.pg_database WHERE datconnlimit <> -2 ORDER BY pg_catalog.age(datfrozenxid) DESC, datname LIMIT 1),
 'multixacts', (SELECT pg_catalog.json_build_object('database', datname, 'age', pg_catalog.mxid_age(datminmxid), 'closed', NOT datallowconn,
    'freeze_max', pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::bigint)
   FROM pg_catalog.pg_database WHERE datconnlimit <> -2 ORDER BY pg_catalog.mxid_age(datminmxid) DESC, datname LIMIT 1),
 'holder', (SELECT pg_catalog.json_build_object('kind', kind, 'age', held, 'seconds', coalesce(seconds, -1), 'pid', coalesce(pid, 0), 'user', coalesce(usr, ''),
    'application', coalesce(application, ''), 'database', coalesce(datname, ''), 'state', coalesce(state, ''), 'name', coalesce(name, ''), 'active', active)
   FROM (
    SELECT 'session' AS kind, greatest(pg_catalog.age(backend_xid), pg_catalog.age(backend_xmin)) AS held,
      extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(xact_start, backend_start)) AS seconds, pid, usename::text AS usr,
      application_name AS application, datname::text, state, NULL::text AS name, false AS active
     FROM pg_catalog.pg_stat_activity WHERE (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) AND leader_pid IS NULL
      AND backend_type <> 'walsender' AND pid <> pg_catalog.pg_backend_pid() AND pid NOT IN (SELECT v.pid FROM pg_catalog.pg_stat_progress_vacuum AS v)
    UNION ALL SELECT 'standby', pg_catalog.age(backend_xmin), NULL, pid, usename::text, application_name, NULL, NULL, NULL, true
     FROM pg_catalog.pg_stat_replication WHERE backend_xmin IS NOT NULL
    UNION ALL SELECT 'slot', greatest(pg_catalog.age(xmin), pg_catalog.age(catalog_xmin)), NULL, active_pid, NULL, NULL, database::text, NULL, slot_name::text, active
     FROM pg_catalog.pg_replication_slots WHERE (xmin IS NOT NULL OR catalog_xmin IS NOT NULL) AND wal_status IS DISTINCT FROM 'lost'
    UNION ALL SELECT 'prepared', pg_catalog.age(transaction), extract(epoch FROM pg_catalog.clock_timestamp() - prepared), NULL, owner::text, NULL, database::text, NULL, gid, false
     FROM pg_catalog.pg_prepared_xacts) AS holders
   ORDER BY held DESC, kind LIMIT 1),
 'prepared', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts),
 'first', (SELECT pg_catalog.json_build_object('gid', gid, 'owner', owner, 'database', database,
    'seconds', extract(epoch FROM pg_catalog.clock_timestamp() - prepared))
   FROM pg_catalog.pg_prepared_xacts ORDER BY prepared LIMIT 1))) END`
