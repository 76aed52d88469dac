-- Written by pgbake. To change it, change /etc/pgha/cluster.yaml and run `pgha apply`.
-- Run once, as the superuser, by the member that makes the cluster; running it again does no harm.

-- Whoever may make functions in this database makes none that the superuser calls.
SET search_path = '';

-- No password reaches a log, the statistics, nor the terminal with an error message.
\set ECHO none
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_duration_sample = -1;
SET log_transaction_sample_rate = 0;
SET log_min_error_statement = 'panic';
-- Where the library is not loaded, this is a word that nobody reads.
SET pg_stat_statements.track_utility = off;
SET password_encryption = 'scram-sha-256';
-- What is granted already need not be said.
SET client_min_messages = 'warning';
-- There may be no replica yet that could confirm anything.
SET synchronous_commit = 'local';

-- Replication
SELECT 'CREATE ROLE "replicator"' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'replicator') \gexec
ALTER ROLE "replicator" LOGIN REPLICATION PASSWORD 'hidden';

-- pg_rewind: reads the primary's files. And pgha: begins a checkpoint before a planned pause, and sees how far a copy is.
SELECT 'CREATE ROLE "rewind"' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rewind') \gexec
ALTER ROLE "rewind" LOGIN PASSWORD 'hidden';
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO "rewind";
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO "rewind";
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO "rewind";
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO "rewind";
GRANT pg_checkpoint, pg_read_all_stats TO "rewind";
