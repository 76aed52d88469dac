"""Holds the lead as Patroni does, by its own code, while the members of etcd end and come back.

Prints what it saw, one word or more a line; "failed: " begins those that should not be there.
"""

import logging
import socket
import sys
import threading
from types import SimpleNamespace

import etcds
from etcds import URLS, client, etcd3, healthy, start, stop, update, wait

if "uncorrected" not in sys.argv:
    etcds.pgha_corrections.correct()  # what is there now is not the text that it knows


class Kept(logging.Handler):
    """Keeps what Patroni's client has said last, for each thread."""

    said = threading.local()

    def emit(self, record):
        self.said.last = self.format(record)


logging.disable(logging.NOTSET)
logging.getLogger().handlers = [Kept(logging.ERROR)]

# What etcd says, in the shapes that were seen, and what Patroni must make of it: an answer, a refusal, or nothing, which is asked elsewhere.
ANSWERS = [
    (200, '{"result":{"header":{"revision":"4"},"ID":"7587","TTL":"30"}}', "answer"),
    (200, '{"result":{"ID":"7587","TTL":"30"}}\n{"error":{"grpc_code":14,"message":"server closed the stream"}}', "nothing"),
    (200, '{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader"}}', "nothing"),
    (200, '{"result":{"ID":"75', "nothing"),
    (200, "", "nothing"),
    (500, '{"error":{"code":2,"message":"malformed header: missing HTTP content-type"}}', "nothing"),
    (500, '{"error":"OK: HTTP status code 200; transport: missing content-type field","code":2}', "nothing"),
    (503, '{"error":"etcdserver: no leader","code":14}', "nothing"),
    (503, '{"code":14,"message":"etcdserver: request timed out"}', "nothing"),
    (429, '{"code":8,"message":"etcdserver: too many requests"}', "nothing"),
    (404, "404 page not found", "nothing"),
    (404, '{"error":"etcdserver: requested lease not found","code":5}', "LeaseNotFound"),
    (404, '{"code":5,"message":"etcdserver: requested lease not found"}', "LeaseNotFound"),
    (400, '{"error":{"grpc_code":3,"message":"etcdserver: user name is empty"}}', "UserEmpty"),
    (401, '{"error":{"code":16,"message":"etcdserver: invalid auth token"}}', "InvalidAuthToken"),
]


def made_of(status, body):
    """What Patroni's client makes of an answer."""
    response = SimpleNamespace(status=status, data=body.encode())
    client = etcd3.Etcd3Client.__new__(etcd3.Etcd3Client)
    client.http = SimpleNamespace(urlopen=lambda *args, **kwargs: response, clear=lambda: None)
    client._check_cluster_raft_term = lambda *args: None
    try:
        ask = client._prepare_request({"headers": {}}, {})
        client._handle_server_response(ask("POST", "http://127.0.0.1:2379/v3/lease/keepalive"))
        return "answer"
    except socket.timeout:
        return "nothing"
    except Exception as error:
        return type(error).__name__


for status, body, want in ANSWERS:
    if made_of(status, body) != want:
        print(f"failed: {status} {body!r} is {made_of(status, body)}, want {want}")


def lead(number):
    """One of several Patronis that lead a cluster of their own each."""
    dcs = client(f"lead{number}", "db1")
    wait("nobody leads", dcs.attempt_to_acquire_leader)
    return dcs


ended = threading.Event()
updates, lost = [], []


def renew(dcs):
    while not ended.is_set():
        updates.append(dcs)
        if update(dcs) is False:
            lost.append(getattr(Kept.said, "last", "nothing was said"))


leaders = [lead(i) for i in range(12)]
threads = [threading.Thread(target=renew, args=[dcs]) for dcs in leaders]
for t in threads:
    t.start()
for _ in range(3):
    for name in URLS:
        stop(name)
        start(name)
        wait("etcd is not whole", healthy)
ended.set()
for t in threads:
    t.join()
print(f"failed: lost the lead {len(lost)} times" if lost else "lead kept", "in", len(updates), "updates", *lost[:1])

dcs = leaders[0]
try:
    dcs._client.put("/x", "y", lease="4711")
    print("failed: a lease that there is not")
except etcd3.LeaseNotFound:
    print("a lease that there is not is not found")
except Exception as error:
    print("failed: a lease that there is not:", repr(error))

stop("e2"), stop("e3")
print("failed: without a quorum the lead is lost" if update(dcs) is False else "without a quorum nobody says that the lead is lost")
stop("e1")
