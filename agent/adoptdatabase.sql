-- What a running database says of one of its databases: its collations that have changed below it, and its extensions.
SELECT pg_catalog.json_build_object(
  'stale', (
    SELECT coalesce(pg_catalog.json_agg(collname ORDER BY collname), '[]') FROM pg_catalog.pg_collation
    WHERE collversion <> pg_catalog.pg_collation_actual_version(oid)),
  'unlogged', (
    SELECT coalesce(pg_catalog.json_agg(oid::pg_catalog.regclass::pg_catalog.text ORDER BY 1), '[]') FROM pg_catalog.pg_class WHERE relpersistence = 'u' AND relkind = 'r'),
  'extensions', (SELECT coalesce(pg_catalog.json_agg(extname ORDER BY extname), '[]') FROM pg_catalog.pg_extension)
);
