"""What Patroni has not corrected itself, or not in the releases that we ship.

A correction takes the place of one function, and only where that has the very text which the correction was written for. A
Patroni that has another one runs as it is, and the log says so.
"""

import ast
import base64
import functools
import hashlib
import inspect
import json
import re
import socket
import sys
import time

from patroni.api import RestApiHandler
from patroni.dcs import catch_return_false_exception, etcd3
from patroni.ha import Ha, logger
from patroni.postgresql.rewind import Rewind
from patroni.version import __version__ as version

# The codes by which etcd has judged a request: https://grpc.io/docs/guides/status-codes. All others, as "unknown",
# "cancelled", "unavailable" and "internal", say only that it did not: a member that stops, one that sees no leader, a
# stream cut short.
VERDICTS = {3, 5, 6, 7, 9, 11, 12, 16}


def verdict(said):
    """The gRPC code and the words of an answer of etcd, both None where it holds none.

    It comes in these shapes: {"error": "…", "code": 5} from etcd 3.4; {"message": "…", "code": 5} from 3.5 as Debian 13
    builds it; and for a stream, as of a lease that is kept alive, {"error": {"message": "…", "grpc_code": 5}} and
    {"error": {"message": "…", "code": 5}} from the two.
    """
    error = said.get("error")
    if isinstance(error, dict):
        said, error = error, None
    return said.get("grpc_code", said.get("code")), said.get("message") or error


def reads_every_shape(raise_for_data):
    """Patroni reads the first and the third shape alone.

    To it a lease that etcd 3.5 does not have ("requested lease not found") is some error without words, and a member
    without leader ("unavailable", in a stream) an "unknown" one: https://github.com/patroni/patroni/issues/3572. Patroni
    4.0.8 reads them.
    """

    def read(data, status_code=None):
        code, words = verdict(data) if isinstance(data, dict) else (None, None)
        if code is not None:
            data = {"error": words, "code": code}
        return raise_for_data(data, status_code)

    return read


def asks_another_member(prepare_request):
    """A member of etcd that did not answer is no reason to give up the lead: another is asked, as after a timeout.

    Patroni does so only when the member says "unavailable", and takes every other error for a refusal. When etcd stops
    with a request for the lease under way ("malformed header: missing HTTP content-type" from 3.5, "transport: missing
    content-type field" from 3.4), the primary says "failed to update leader lock" and stops PostgreSQL at once,
    failsafe_mode or not. Seen with 3.0.2 and 4.0.7.
    """

    def prepare(self, *args, **kwargs):
        ask = prepare_request(self, *args, **kwargs)

        def answered(method, url, **kwargs):
            response = ask(method, url, **kwargs)
            if url.endswith("/watch"):
                return response  # goes on for as long as it is watched
            try:
                said = json.loads(response.data)
            except ValueError:  # as a stream that breaks off: an answer, and an error after it
                said = None
            if not isinstance(said, dict):
                said = {"error": response.data}
            if "error" in said or response.status >= 400:
                code, words = verdict(said)
                if code not in VERDICTS:
                    raise socket.timeout(f"no answer: {words} (code {code}, HTTP status {response.status})")
            return response

        return answered

    return prepare


# The key in which stands who has taken the lead last, beside Patroni's own. It goes with the leader's key in one transaction.
LAST = "pgha_leader"


def take(dcs, leads, retry):
    """Creates the leader's key, unless there is one; returns whether it has.

    A member whose PostgreSQL is a primary already (leads) gets it only while nobody else has led since: neither by LAST
    nor, where the other's Patroni is not corrected, by /sync, which a synchronous cluster's new leader takes before it
    promotes. Raises what Patroni's client of etcd raises.
    """

    def ask(method, fields):
        return dcs._client.call_rpc(method, fields, retry)

    leader, last, sync = (etcd3.base64_encode(path) for path in (dcs.leader_path, dcs.client_path(LAST), dcs.sync_path))
    name = etcd3.base64_encode(dcs._name)
    compare = [{"key": leader, "target": "CREATE", "create_revision": "0"}]
    if leads:
        for key, whose in (last, lambda text: text), (sync, lambda text: json.loads(text).get("leader")):
            found = (ask("/kv/range", {"key": key}).get("kvs") or [{"mod_revision": "0"}])[0]
            try:
                other = whose(base64.b64decode(found["value"]).decode()) if "value" in found else None
            except ValueError:
                other = "nobody knows who"
            if other and other != dcs._name:
                logger.warning("%s has led since: this primary does not take the lead", other)
                return False
            compare.append({"key": key, "target": "MOD", "mod_revision": found["mod_revision"]})
    put = [{"request_put": {"key": leader, "value": name, "lease": dcs._lease}}, {"request_put": {"key": last, "value": name}}]
    return bool(ask("/kv/txn", {"compare": compare, "success": put}).get("succeeded"))


def within(retry):
    """What is left of the time for this operation, as retry's own deadline; less than a second is too little to go on."""
    retry.deadline = retry.stoptime - time.time()
    if retry.deadline < 1:
        raise etcd3.Etcd3Error("no time is left")


def asking(retry):
    """Calls a method of Patroni's client of etcd, again and again where it is not answered, until retry's deadline."""

    def ask(method, *args, **kwargs):
        return retry(method, *args, retry=retry, **kwargs)

    return ask


def leads_on_only_as_the_last(update_leader):
    """A primary whose lease has run out leads on only when nobody else has led since.

    With a new lease, Patroni 3.0.2 puts the leader's key whatever is there (patroni #2689, #2693), and 4.0.7 creates it
    where there is none, without a look at who has led since. A machine that hung, and wakes up while the successor's key is
    away for a moment, then leads with the older history, and the others are rewound to it: rows that were acknowledged are
    lost. That moment is made by etcd: a leader of etcd that hung with it revokes leases by its own clock (etcd #15247).
    """

    @catch_return_false_exception
    def update(self, leader=None):
        retry = self._retry.copy()
        ask = asking(retry)
        self._run_and_handle_exceptions(self._do_refresh_lease, True, retry=ask)
        leader = leader or self.cluster and self.cluster.leader
        if self._lease and (leader and leader.session) != self._lease:
            within(retry)
            fields = {"key": etcd3.base64_encode(self.leader_path), "value": etcd3.base64_encode(self._name), "lease": self._lease}
            own = {"key": fields["key"], "target": "VALUE", "value": fields["value"]}
            txn = {"compare": [own], "success": [{"request_put": fields}]}

            def renew(retry):
                return bool(self._client.call_rpc("/kv/txn", dict(txn), retry).get("succeeded"))

            # Once more at the end: of a transaction that was not answered nobody knows whether it took place.
            return any(self._run_and_handle_exceptions(step, retry=ask) for step in (renew, functools.partial(take, self, True), renew))
        return bool(self._lease)

    return update


def takes_the_lead(attempt):
    """Who takes the lead says so in LAST, and a primary takes it only when nobody else has led since: see the one above."""

    def acquire(self, retry):
        ask = asking(retry)
        leads = getattr(self, "pgha_leads", False)
        try:
            return ask(take, self, leads)
        except etcd3.LeaseNotFound:
            logger.error("Our lease disappeared from Etcd. Will try to get a new one and retry attempt")
            self._lease = None
            within(retry)
            ask(self._do_refresh_lease)
            within(retry)
            return ask(take, self, leads)

    return acquire


def says_whether_it_leads(acquire_lock):
    """Tells the client of etcd whether this member's PostgreSQL is a primary. In pause it is a person who decides."""

    def acquire(self):
        primary = getattr(self.state_handler, "is_primary", None) or self.state_handler.is_leader  # its name before 4.0
        self.dcs.pgha_leads = primary() and not self.is_paused()
        return acquire_lock(self)

    return acquire


def rewinds_with_the_archive(pg_rewind):
    """pg_rewind reads restore_command in postgresql.conf, where Patroni writes it for a replica alone.

    A member that has only ever been the primary is therefore rewound without the archive, and for good not at all when its
    own pg_wal has no longer all that pg_rewind needs.
    """

    def rewind(self, *args, **kwargs):
        config = self._postgresql.config
        command = (config.get("recovery_conf") or {}).get("restore_command")
        if command and not config._recovery_params.get("restore_command"):
            config._recovery_params["restore_command"] = command  # until Patroni starts a replica with what is its own
            config.write_postgresql_conf()
        return pg_rewind(self, *args, **kwargs)

    return rewind


# What the paths hold at which Patroni says who is good for readers.
READERS = ("replica", "read-only", "sync", "quorum")


def has_left(status, history):
    """Whether a replica has replayed WAL that the cluster's history does not have.

    The status is as Patroni's get_postgresql_status has it; each line of the history begins with a timeline and the place,
    in bytes, where the next one begins.
    """
    replayed = (status.get("xlog") or {}).get("replayed_location") or 0
    return status.get("role") == "replica" and any(line[0] == status.get("timeline") and replayed > line[1] for line in history)


def keeps_readers_from_what_was_left(do_get):
    """A replica that has left the cluster's history is none for readers.

    It was the primary, or followed one, when another was promoted. Until pg_rewind has taken back what it has, and for good
    where that fails, Patroni says 200 at /replica, and readers are led to rows that no other member has.
    """

    def get(self, write_status_code_only=False):
        cluster = self.server.patroni.dcs.cluster
        history = cluster and cluster.history and cluster.history.lines
        if history and any(word in self.path for word in READERS):
            status = self.get_postgresql_status()
            if has_left(status, history):
                return self._write_status_code_only(503) if write_status_code_only else self._write_status_response(503, status)
        return do_get(self, write_status_code_only)

    return get


def is_on_another_history(timeline, mine, history):
    """Whether a member's way to its timeline is not the cluster's: where both left a timeline, they left it at another place.

    Each line of the two histories begins with a timeline and the place, in bytes, where the next one begins.
    """
    left = {line[0]: line[1] for line in mine}
    return bool(left) and any(line[0] < timeline and left.get(line[0]) != line[1] for line in history)


def leads_only_the_clusters_history(healthiest):
    """A member whose database is not the one that the cluster went on with does not take the lead.

    check_timeline compares numbers alone: with that of the history's last line and one. A cluster that was taken back to a
    backup of timeline 1 has the history "1", whatever timelines were there before, and a member that has still the
    database of before, on timeline 4, counts as newer.
    """

    def is_healthiest(self, *args, **kwargs):
        history = self.cluster.history and self.cluster.history.lines
        if history and self.check_timeline() and not self.is_standby_cluster():
            timeline = self.state_handler.replica_cached_timeline(self.cluster.timeline)
            if timeline and is_on_another_history(timeline, self.state_handler.get_history(timeline) or [], history):
                logger.info("My timeline %s is not of the cluster's history", timeline)
                return False
        return healthiest(self, *args, **kwargs)

    return is_healthiest


def remembers_who_has_it_all(enforce_primary_role):
    """Keeps what /sync said before a promotion: Patroni then writes there that this member alone has all acknowledged rows.

    For a promotion that fails, that is not so: nobody has written since, and those who had them have them. What is kept is for
    the very next promotion alone.
    """

    def enforce(self, *args, **kwargs):
        if self.state_handler.role not in ("primary", "master", "promoted"):
            self.pgha_before = self.cluster.sync
        return enforce_primary_role(self, *args, **kwargs)

    return enforce


def fails_over_when_it_cannot_be_promoted(recover):
    """A leader whose PostgreSQL ends whenever it is promoted keeps the lead for ever, and nobody takes writes.

    That is what a full disk does (patroni #1732, #2997): a new timeline needs a new file. Patroni starts PostgreSQL read-only,
    promotes it, and starts it again. primary_start_timeout counts only a start that does not end. 4.0.7 does so when it is
    started with such a PostgreSQL; one that ended while it ran it starts as a primary, and that fails at once.
    """

    def again(self):
        if not (self.has_lock() and self.state_handler.role == "promoted" and self.update_lock()):
            return recover(self)
        if self.state_handler.controldata().get("Database cluster state") != "in archive recovery":
            return recover(self)  # it was a primary, and may have acknowledged rows
        before, now = getattr(self, "pgha_before", None), self.cluster.sync
        if self.is_synchronous_mode() and before and before.leader and now.leader == self.state_handler.name and not now.members:
            said = [before.leader, before.members] + ([before.quorum] if hasattr(before, "quorum") else [])
            self.dcs.write_sync_state(*said, now.version if hasattr(now, "version") else now.index)
            self.load_cluster_from_dcs()
        before_4 = "members" in inspect.signature(self.is_failover_possible).parameters
        if self.is_failover_possible(*[self.cluster.members] if before_4 else []):
            self.watchdog.disable()
            self.demote("immediate")
            return "failed over, since PostgreSQL ended when it was promoted"
        return recover(self)

    return again


# Where, which, the correction, the SHA-256 of the texts that it is for (Patroni 3.0.2, 4.0.7 and those named), and from which Patroni on
# none is needed. One goes with the last supported Patroni whose text is listed.
CORRECTIONS = [
    (etcd3, "_raise_for_data", reads_every_shape, [
        "3f48e38956899cde51f5a66aec62879c72789e58bffdef7772e0930fe87a2255",
        "2af9f042f246806866ef601aa6052f258465d438bafd6619915e7edae213e513",
    ], "4.0.8"),
    (etcd3.Etcd3Client, "_prepare_request", asks_another_member, [
        "306f529828c0ac6925ac53a2f060b98816fb3cabea3786d515819bd2e3a780d4",
        "1b9258642fc1a8e5020a620b1ae04e5c0b31ee893ccb15feb84a4cda1535486e",
    ], None),
    (etcd3.Etcd3, "_update_leader", leads_on_only_as_the_last, [
        "88db3c77ae09b90bbfb741d328e3736ecd01b1dd4a5b27173e447265d017d8a2",
        "2c2c352279bc08bf2b2a9b74ecb4f4903ae5a281c98bea6bcc42b0148929ccd4",
    ], None),
    (etcd3.Etcd3, "_do_attempt_to_acquire_leader", takes_the_lead, [
        "c4151aacf95773d127c814fa54d86cce78037e7ca76d86c9947572dcd8ba95ac",
        "f44a6ddfb349c67f3519440e116be22bc0eed24fd53fa453f1870117735843cb",
    ], None),
    (Ha, "acquire_lock", says_whether_it_leads, [
        "6c3096b2fa00a18ac0cb61881af8d69c1369f23073219ffb6ccc975e005b8749",
        "3552faf7126aca1cec89ae855c1fa292d4ff55bc9b4d30333ed15e8ce8f0d403",
    ], None),
    (Rewind, "pg_rewind", rewinds_with_the_archive, [
        "5fd33a5b8c50e4125a8d6ae59c762d812c337ed9411b52b4ca826efac3543091",
        "62ddf918c86da60e469384d61ffc07a7dbeb7acc7d4ae573952e8db5e9c14a20",
    ], None),
    (RestApiHandler, "do_GET", keeps_readers_from_what_was_left, [
        "e69e2946db70972ae8a5290a8a694ff43ea80bae41416c018821ff788e0a82e7",
        "33bbc836c3fa34d3ff1a54c7c9659872b948aa0dcf0c2b9f4aaab25f2e0862e1",
        "3024aa32bae9eda214454036919135a52100d674004078a2c72776490819eab3",  # 4.1
    ], None),
    (Ha, "_is_healthiest_node", leads_only_the_clusters_history, [
        "4c4dcaa89dff9d28a31270efd1167cd9d8ae56aebc972a88763b8c7075b625ca",
        "c87a7dc73b376d887023b90f4d93899044c7a39e24cdfa4c3b243a2b85a801ad",
        "d165a661703fb381953933ee321bd3e8785750c41df9f0f392885d3e25a1bb2a",  # 4.0.8
    ], None),
    (Ha, "enforce_primary_role", remembers_who_has_it_all, [
        "8aba0d99ae0a2d0111731b373f946c3c227600d3f4701b65d9885d43786a1959",
        "aef6ec843ef5756db3ca21b26ba31964272c3b053a0bce80020bf83af7553343",
        "39e1a0ecc0b66b179a35fdfd49341066587d8c1ca5e588269fea2fa8848503ec",  # 4.0.8
        "7753efc780e90c4fb99b6d7b8e58fb43713525bf10a25d2ff59b076ccf5d4f8f",  # 4.1.0
        "755cfde7f0a303dce7c51ffd2f04548c949e82b931b2fff6408d4359d3726f2a",  # 4.1.4
    ], None),
    (Ha, "recover", fails_over_when_it_cannot_be_promoted, [
        "3c4492bb026988956b6592291a911d5dbc83b72b559fbb28ef8005b78ee6fd14",
        "05b277da0128429f5975d30809cbe6a2daa5ae7ffc047cfde84be253916096c9",
        "60058acb2e831a4fb60a73f0e7466f1b148d26d10e4dfaa81dac676a3de98b66",  # 4.0.10
        "8ed899208cb9542021c683c6e50a08295220f825a62e84b4a714d8c113e87db2",  # 4.1.0
        "b907162ca2748a1a81e4874e83ff060d8392687f7da303cb9e2f7c197b145698",  # 4.1.4
    ], None),
]


def text(owner, name):
    """The text of a function as its module or class has it, without decorators; empty where there is none, or no longer."""
    if getattr(getattr(owner, name, None), "corrected", False):
        return ""
    source = inspect.getsource(owner)
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == name)
    node = next(found, None)
    return ast.get_source_segment(source, node) if node else ""


def known(owner, name, texts):
    return hashlib.sha256(text(owner, name).encode()).hexdigest() in texts


def release(number):
    """A version that compares: "4.0.8" is [4, 0, 8]."""
    return [int(n) for n in re.findall(r"\d+", number)]


def unknown():
    """The names of the functions that need a correction, and that Patroni has other than they are known here."""
    return [name for owner, name, _, texts, corrected in CORRECTIONS
            if not known(owner, name, texts) and not (corrected and release(version) >= release(corrected))]


def correct():
    """Puts the corrections into Patroni."""
    for name in unknown():
        print(f"pgha does not know {name} of Patroni {version}, and leaves it as it is", file=sys.stderr)
    for owner, name, correction, texts, _ in CORRECTIONS:
        if known(owner, name, texts):
            corrected = correction(getattr(owner, name))
            corrected.corrected = True
            setattr(owner, name, corrected)


if __name__ == "__main__":  # pgha doctor asks
    print(version, *unknown())
