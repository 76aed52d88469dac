-- What a primary elsewhere says of itself to the role that streams from it: agent/adopt.Remote.
SELECT pg_catalog.json_build_object(
  'major', pg_catalog.current_setting('server_version_num')::int / 10000 || '',
  'control', pg_catalog.json_build_object(
    'Database cluster state', CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'in archive recovery' ELSE 'in production' END,
    'Database system identifier', (SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()),
    'Latest checkpoint''s TimeLineID', (SELECT timeline_id::pg_catalog.text FROM pg_catalog.pg_control_checkpoint()),
    'wal_level setting', pg_catalog.current_setting('wal_level'),
    'Data page checksum version', CASE pg_catalog.current_setting('data_checksums') WHEN 'on' THEN '1' ELSE '0' END),
  'bytes', (SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database),
  'tablespaces', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.pg_tablespace_location(oid)), '[]') FROM pg_catalog.pg_tablespace WHERE spcname !~ '^pg_'),
  'slots', (SELECT coalesce(pg_catalog.json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_catalog.pg_replication_slots WHERE slot_name <> :'slot'),
  'prepared', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts),
  'parameters', (
    SELECT coalesce(pg_catalog.json_object_agg(name, pg_catalog.current_setting(name)), '{}') FROM pg_catalog.pg_settings
    WHERE source IN ('configuration file', 'command line')),
  'inside', pg_catalog.json_build_object(
    'superuser', EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'postgres' AND rolsuper),
    'recovery', pg_catalog.pg_is_in_recovery(),
    'databases', (
      SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
        'name', datname, 'provider', datlocprovider, 'collate', datcollate, 'type', datctype,
        'recorded', coalesce(datcollversion, ''), 'actual', coalesce(pg_catalog.pg_database_collation_actual_version(oid), '')
      ) ORDER BY datname) FROM pg_catalog.pg_database WHERE datallowconn),
    'roles', (SELECT pg_catalog.json_agg(rolname ORDER BY rolname) FROM pg_catalog.pg_roles WHERE rolname <> current_user),
    'standbys', (
      SELECT coalesce(pg_catalog.json_agg(pg_catalog.format('%s as %s', coalesce(pg_catalog.host(client_addr), 'the socket'), usename)), '[]') FROM pg_catalog.pg_stat_replication
      WHERE usename <> current_user))
);
