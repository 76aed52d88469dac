"""Three members of a real etcd, and Patroni's client of them, with pgha's corrections unless "uncorrected" is said."""

import logging
import os
import subprocess
import sys
import time

sys.path.insert(0, "/usr/lib/pgha")
if "uncorrected" not in sys.argv:
    import pgha_corrections

    pgha_corrections.correct()

from patroni.dcs import etcd3, get_dcs
from patroni.version import __version__ as version

logging.disable()
URLS = {f"e{i}": f"http://127.0.0.1:{i}2380" for i in (1, 2, 3)}
CLIENTS = {name: url.replace("2380", "2379") for name, url in URLS.items()}
members = {}


def start(name):
    members[name] = subprocess.Popen(
        ["etcd", "--name", name, "--data-dir", "/run/" + name, "--enable-grpc-gateway",
         "--listen-peer-urls", URLS[name], "--initial-advertise-peer-urls", URLS[name],
         "--listen-client-urls", CLIENTS[name], "--advertise-client-urls", CLIENTS[name],
         "--initial-cluster", ",".join(f"{n}={u}" for n, u in URLS.items())],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stop(name):
    members[name].terminate()
    members[name].wait()


def healthy():
    return subprocess.run(["etcdctl", "--endpoints", ",".join(CLIENTS.values()), "endpoint", "health"],
                          env={**os.environ, "ETCDCTL_API": "3"}, capture_output=True).returncode == 0


def wait(what, holds):
    deadline = time.time() + 120
    while not holds():
        if time.time() > deadline:
            sys.exit("failed: " + what)
        time.sleep(0.1)


for name in URLS:
    start(name)
wait("etcd has no quorum", healthy)


def client(scope, name):
    """Patroni's client of etcd as a member has it."""
    return get_dcs({
        "scope": scope, "name": name, "namespace": "/service/", "ttl": 30, "loop_wait": 5, "retry_timeout": 10,
        "etcd3": {"hosts": [url.split("//")[1] for url in CLIENTS.values()]},
    })


def update(dcs):
    """One renewal of the lead. That etcd cannot be asked is an error, and no lead that is lost: failsafe_mode decides."""
    try:
        cluster = dcs.get_cluster()
        return dcs.update_leader(*([1] if version.startswith("3.") else [cluster, 1]))
    except etcd3.Etcd3Error:
        return None
