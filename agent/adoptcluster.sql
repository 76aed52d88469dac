-- What a running database says of itself as a whole: agent/adopt.Inside.
SELECT json_build_object(
  'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
  'recovery', pg_is_in_recovery(),
  'databases', (
    SELECT json_agg(json_build_object(
      'name', datname, 'provider', datlocprovider, 'collate', datcollate, 'type', datctype,
      'recorded', coalesce(datcollversion, ''), 'actual', coalesce(pg_database_collation_actual_version(oid), '')
    ) ORDER BY datname) FROM pg_database WHERE datallowconn),
  'weak', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_authid WHERE rolcanlogin AND rolpassword LIKE 'md5%'),
  'open', (
    SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_authid
    WHERE rolcanlogin AND rolpassword IS NULL AND rolname <> 'postgres'),
  'roles', (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles),
  'standbys', (
    SELECT coalesce(json_agg(format('%s as %s', coalesce(host(client_addr), 'the socket'), usename)), '[]') FROM pg_stat_replication)
);
