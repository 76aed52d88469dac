-- What a running database says of itself as a whole: agent/adopt.Inside.
SELECT pg_catalog.json_build_object(
  'superuser', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
  'recovery', pg_catalog.pg_is_in_recovery(),
  'databases', (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
      'name', datname, 'provider', datlocprovider, 'collate', datcollate, 'type', datctype,
      'recorded', coalesce(datcollversion, ''), 'actual', coalesce(pg_catalog.pg_database_collation_actual_version(oid), '')
    ) ORDER BY datname) FROM pg_catalog.pg_database WHERE datallowconn),
  'weak', (SELECT coalesce(pg_catalog.json_agg(rolname ORDER BY rolname), '[]') FROM pg_catalog.pg_authid WHERE rolcanlogin AND rolpassword LIKE 'md5%'),
  'open', (
    SELECT coalesce(pg_catalog.json_agg(rolname ORDER BY rolname), '[]') FROM pg_catalog.pg_authid
    WHERE rolcanlogin AND rolpassword IS NULL AND rolname <> 'postgres'),
  'roles', (SELECT pg_catalog.json_agg(rolname ORDER BY rolname) FROM pg_catalog.pg_roles),
  'standbys', (
    SELECT coalesce(pg_catalog.json_agg(pg_catalog.format('%s as %s', coalesce(pg_catalog.host(client_addr), 'the socket'), usename)), '[]') FROM pg_catalog.pg_stat_replication)
);
