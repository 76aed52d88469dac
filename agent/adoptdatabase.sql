-- What a running database says of one of its databases: its collations that have changed below it, and its extensions.
SELECT json_build_object(
  'stale', (
    SELECT coalesce(json_agg(collname ORDER BY collname), '[]') FROM pg_collation
    WHERE collversion <> pg_collation_actual_version(oid)),
  'unlogged', (
    SELECT coalesce(json_agg(oid::regclass::text ORDER BY 1), '[]') FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r'),
  'extensions', (SELECT coalesce(json_agg(extname ORDER BY extname), '[]') FROM pg_extension)
);
