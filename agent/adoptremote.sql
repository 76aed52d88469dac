-- What a primary elsewhere says of itself to the role that streams from it: agent/adopt.Remote.
SELECT json_build_object(
  'major', current_setting('server_version_num')::int / 10000 || '',
  'control', json_build_object(
    'Database cluster state', CASE WHEN pg_is_in_recovery() THEN 'in archive recovery' ELSE 'in production' END,
    'Database system identifier', (SELECT system_identifier::text FROM pg_control_system()),
    'Latest checkpoint''s TimeLineID', (SELECT timeline_id::text FROM pg_control_checkpoint()),
    'wal_level setting', current_setting('wal_level'),
    'Data page checksum version', CASE current_setting('data_checksums') WHEN 'on' THEN '1' ELSE '0' END),
  'bytes', (SELECT sum(pg_database_size(oid)) FROM pg_database),
  'tablespaces', (SELECT coalesce(json_agg(pg_tablespace_location(oid)), '[]') FROM pg_tablespace WHERE spcname !~ '^pg_'),
  'slots', (SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_replication_slots WHERE slot_name <> :'slot'),
  'prepared', (SELECT count(*) FROM pg_prepared_xacts),
  'parameters', (
    SELECT coalesce(json_object_agg(name, current_setting(name)), '{}') FROM pg_settings
    WHERE source IN ('configuration file', 'command line')),
  'inside', json_build_object(
    'superuser', EXISTS (SELECT FROM pg_roles WHERE rolname = 'postgres' AND rolsuper),
    'recovery', pg_is_in_recovery(),
    'databases', (
      SELECT json_agg(json_build_object(
        'name', datname, 'provider', datlocprovider, 'collate', datcollate, 'type', datctype,
        'recorded', coalesce(datcollversion, ''), 'actual', coalesce(pg_database_collation_actual_version(oid), '')
      ) ORDER BY datname) FROM pg_database WHERE datallowconn),
    'roles', (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles WHERE rolname <> current_user),
    'standbys', (
      SELECT coalesce(json_agg(format('%s as %s', coalesce(host(client_addr), 'the socket'), usename)), '[]') FROM pg_stat_replication
      WHERE usename <> current_user))
);
