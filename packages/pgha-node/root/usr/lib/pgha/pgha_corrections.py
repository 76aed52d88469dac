"""What Patroni has not corrected itself, or not in the releases that we ship.

A correction takes the place of one function, and only where that has the very text which the correction was written for. A
Patroni that has another one runs as it is, and the log says so.
"""

import hashlib
import inspect
import json
import socket
import sys

from patroni.dcs import etcd3
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


# Where, which, the correction, and the SHA-256 of the text that it is for, in Patroni 3.0.2 and 4.0.7. One goes with the
# last supported Patroni whose text is listed.
CORRECTIONS = [
    (etcd3, "_raise_for_data", reads_every_shape, [
        "ec5d3f32825b38b86168fbb8d5c53338ddfcbbefabad5376a052fc2f6e14003e",
        "c68add4cb0863ba994878e03eb31029717c195178b98e546be26934de65372fc",
    ]),
    (etcd3.Etcd3Client, "_prepare_request", asks_another_member, [
        "f364f4f1503a09b9330f4d1f74da70e7cf4490cb240d83b2cebde9f403b61e52",
        "b92f344c2573098bd4c515162daade41247cb2425d4a271d1f770b8634778729",
    ]),
]


def correct():
    """Puts the corrections into Patroni."""
    for owner, name, correction, texts in CORRECTIONS:
        function = getattr(owner, name, None)
        text = inspect.getsource(function) if function else ""
        if hashlib.sha256(text.encode()).hexdigest() in texts:
            setattr(owner, name, correction(function))
        else:
            print(f"pgha does not know {name} of Patroni {version}, and leaves it as it is", file=sys.stderr)
