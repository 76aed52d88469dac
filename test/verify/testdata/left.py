"""Whom Patroni's own answers give to readers, when the cluster went on from timeline 1 at 1000. Prints a line for each."""

import sys
from types import SimpleNamespace

sys.path.insert(0, "/usr/lib/pgha")
from patroni.api import RestApiHandler

import pgha_corrections

pgha_corrections.correct()


def no(*_):
    return False


class Handler(RestApiHandler):
    """Answers one request, and keeps the status code."""

    def __init__(self, path, status, history):
        cluster = SimpleNamespace(history=history and SimpleNamespace(lines=history), config=None, last_lsn=0, status=SimpleNamespace(last_lsn=0))
        self.server = SimpleNamespace(patroni=SimpleNamespace(
            dcs=SimpleNamespace(cluster=cluster), noloadbalance=False,
            ha=SimpleNamespace(is_leader=lambda: "primary" in status["role"], is_paused=no, is_standby_cluster=no)))
        self.path, self.path_query, self.status = path, {}, status

    def get_postgresql_status(self, retry=False):
        return self.status

    def _write_status_code_only(self, status_code):
        self.code = status_code

    def _write_status_response(self, status_code, response):
        assert response is self.status
        self.code = status_code


HISTORY = [[1, 1000, "no recovery target specified"], [2, 3000, "no recovery target specified"]]
for what, path, timeline, replayed, role, history in [
    ("ahead of where the cluster left its timeline", "/replica", 1, 1001, "replica", HISTORY),
    ("the same, by another name", "/read-only", 1, 1001, "replica", HISTORY),
    ("the same, whether it runs", "/health", 1, 1001, "replica", HISTORY),
    ("the same, of a later one", "/replica", 2, 3001, "replica", HISTORY),
    ("just there, and about to follow", "/replica", 1, 1000, "replica", HISTORY),
    ("behind", "/replica", 1, 10, "replica", HISTORY),
    ("on the cluster's timeline", "/replica", 3, 5000, "replica", HISTORY),
    ("a cluster that never had another primary", "/replica", 1, 5000, "replica", None),
    ("the primary", "/read-only", 3, 5000, "primary", HISTORY),
    ("no answer of PostgreSQL", "/replica", None, None, "replica", HISTORY),
]:
    status = {"state": "running", "role": role, "timeline": timeline, "xlog": {"replayed_location": replayed or 0}}
    if timeline is None:
        status = {"state": "unknown", "role": role}
    codes = []
    for ask in Handler.do_OPTIONS, Handler.do_GET:
        handler = Handler(path, status, history)
        ask(handler)
        codes.append(handler.code)
    assert codes[0] == codes[1], codes
    print(f"{what}: {path} {codes[0]}")
