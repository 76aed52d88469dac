"""Has Patroni's own pg_rewind run on a member that has only been the primary: what is there of the archive for it?

The source does not answer; what matters comes before."""

import logging
import subprocess
import sys

sys.path.insert(0, "/usr/lib/pgha")
from patroni.postgresql import Postgresql
from patroni.postgresql.rewind import Rewind

import pgha_corrections

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
bin_dir, command = sys.argv[1], '/usr/bin/pgha archive-get shop %f "%p" || exit 1'
data = "/var/lib/postgresql/rewind"
subprocess.run([bin_dir + "/initdb", "-D", data, "--no-sync"], check=True, stdout=subprocess.DEVNULL)
config = {
    "name": "db1", "scope": "shop", "data_dir": data, "bin_dir": bin_dir, "listen": "127.0.0.1:5432", "pgpass": "/tmp/pgpass",
    "connect_address": "127.0.0.1:5432", "retry_timeout": 10, "loop_wait": 10, "ttl": 30,
    "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "replicator"}},
    "parameters": {"wal_log_hints": "on"}, "recovery_conf": {"restore_command": command},
}
try:
    from patroni.postgresql.mpp import get_mpp
    postgresql = Postgresql(config, get_mpp({}))
except ImportError:
    postgresql = Postgresql(config)
postgresql.set_role("primary")
postgresql.config.write_postgresql_conf()  # as when it was started
print("before: [%s]" % postgresql.get_guc_value("restore_command"))
pgha_corrections.correct()
Rewind(postgresql).pg_rewind({"host": "127.0.0.1", "port": "1", "user": "rewind", "dbname": "postgres"})
print("after: [%s]" % postgresql.get_guc_value("restore_command"))
