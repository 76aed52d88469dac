-- Does a write arrive? As the database's owner, through the read-write port. Written by pgbake connect.
-- It leaves nothing behind, and what it does is confirmed by a replica as every other write is. On a replica it fails,
-- as it should. (The manual makes aaa_test_connection and inserts into test_connection, which is not there.)
CREATE TABLE IF NOT EXISTS pgbake_write_test (
    id bigint GENERATED ALWAYS AS IDENTITY,
    note text,
    at timestamptz DEFAULT now()
);
INSERT INTO pgbake_write_test (note) VALUES ('written through the read-write port');
SELECT note, at, inet_server_addr() AS written_at FROM pgbake_write_test;
DROP TABLE pgbake_write_test;
