"""Who may lead after a lease has run out, by Patroni's own client of a real etcd. Prints what is not as it should be, and "end"."""

import json
import os
import subprocess

from etcds import CLIENTS, client, version, wait

DB1, DB2 = client("woken", "db1"), client("woken", "db2")
LEADER, LAST, SYNC = (f"/service/woken/{key}" for key in ("leader", "pgha_leader", "sync"))


def etcdctl(*args):
    return subprocess.run(["etcdctl", "--endpoints", ",".join(CLIENTS.values()), *args],
                          env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True, text=True, check=True).stdout


def leader():
    return etcdctl("get", "--print-value-only", LEADER).strip()


def hung(dcs):
    """Lets a lease run out, as that of a machine which hangs, and all keys with it; the member knows nothing of it."""
    etcdctl("lease", "revoke", f"{int(dcs._lease):x}")


def renew(dcs):
    """Renews the lead by what the member has last read, as one that wakes up does; returns whether it leads."""
    leads = bool(dcs.update_leader(*([1] if version.startswith("3.") else [dcs.cluster, 1])))
    if leads:
        dcs.get_cluster()
    return leads


def takes(dcs, primary):
    """Takes the lead, if it may, with a PostgreSQL that is a primary already or not."""
    dcs.pgha_leads = primary
    took = bool(dcs.attempt_to_acquire_leader())
    if took:
        dcs.get_cluster()
    return took


def case(what, got, want):
    if got != want:
        print(f"failed: {what}: {got}, want {want}")


wait("db1 does not lead", lambda: takes(DB1, False))
case("db1 leads", renew(DB1), True)
hung(DB1)
case("db1's lease ran out, and nobody has led since", (renew(DB1), leader()), (True, "db1"))

hung(DB1)
case("db2 takes the lead", (takes(DB2, False), leader()), (True, "db2"))
case("db1 wakes up, and db2 leads", (renew(DB1), leader()), (False, "db2"))
hung(DB2)
case("db1 wakes up while db2's key is away", (renew(DB1), leader()), (False, ""))
case("db1, a primary, takes part in the race", (takes(DB1, True), leader()), (False, ""))
case("db2 leads on", (renew(DB2), leader()), (True, "db2"))

# A successor without the corrections leaves no note; in a synchronous cluster it takes /sync.
hung(DB2)
etcdctl("del", LAST)
etcdctl("put", SYNC, json.dumps({"leader": "db2", "sync_standby": "db3"}))
case("db1 wakes up, and db2 has left no note", (renew(DB1), leader()), (False, ""))
case("db1, a primary, takes part in that race", (takes(DB1, True), leader()), (False, ""))

case("db1, a replica by now, takes the lead", (takes(DB1, False), leader()), (True, "db1"))
case("db2, still a primary, wakes up", (renew(DB2), leader()), (False, "db1"))
print("end")
