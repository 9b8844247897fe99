#!/usr/bin/env python3
"""Sends the same requests to ZooKeeper and to the subject and compares replies.

    compare.py --seed 1 --rounds 40 [--steps 120] [--server zookeeper]
    compare.py --seed 1 --only 17          one round of a seed again
    compare.py --trap "order of the checks" --verbose

First come the traps (traps.py), written sequences for the places where a new
implementation usually goes wrong, and what happens on the wire beside requests
(wire.py: handshakes, lengths, four-letter words). Then rounds of random requests, made from
the seed: a few sessions with different identities work on a small tree with
valid, invalid and torn requests; watches, multis, reconnects included.

Both servers get every request, one at a time, and the answers are compared
field by field: error codes, paths, data, ACLs, Stats, results of multis,
whether the connection was closed, and the events every session got, in order.
What may differ is taken out first:

  zxids       must map one to one and in order between the two servers;
  sessions    must belong to the same client;
  times       must both be zero or both be now;
  children    are compared as sets, their order being unspecified.

What differs on purpose is in DIFFERENCES, with the reason. With the original
on both sides (--server zookeeper) nothing may differ at all: that proves the
comparison.
"""

from __future__ import annotations

import argparse
import bisect
import difflib
import pprint
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "blackbox"))

import jute  # noqa: E402
from jute import Client, ConnectionLost, NoAnswer  # noqa: E402
from server import Server, add_server_option  # noqa: E402

SUPER_SECRET = b"super:test"
CONFIG = {
    "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
    # The replies of a cached getData would hide nothing, but prove less.
    "maxResponseCacheSize": "0",
}
SESSION_MS = 30000
DEADLINE = 10.0


# -- steps ------------------------------------------------------------------


@dataclass
class Step:
    """One thing one client does.

    `paths` are the nodes it may touch: every client syncs on them afterwards,
    which is what brings the events of the step to it.
    """

    client: int
    action: str  # 'call', 'reconnect', 'renew' or 'raw'
    opcode: int = 0
    body: bytes = b""
    xid: int | None = None
    paths: list[str] = field(default_factory=list)
    note: str = ""
    restricts: bool = False  # gives some of the paths another ACL than open

    def __str__(self) -> str:
        return f"client {self.client} {self.action} {self.opcode} {self.note} {self.body.hex()}"


def call(client: int, opcode: int, body: bytes = b"", *paths: str, note: str = "") -> Step:
    return Step(client, "call", opcode, body, paths=list(paths), note=note)


class Differs(Exception):
    pass


class Skew:
    """A one-to-one, order-preserving mapping between two servers' zxids."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = [(0, 0)]

    def check(self, left: int, right: int, what: str) -> None:
        at = bisect.bisect_left(self.pairs, (left, -1))
        if at < len(self.pairs) and self.pairs[at] == (left, right):
            return
        below = self.pairs[at - 1] if at else (-1, -1)
        above = self.pairs[at] if at < len(self.pairs) else (1 << 63, 1 << 63)
        if not (below[0] < left < above[0] and below[1] < right < above[1]):
            raise Differs(
                f"{what}: zxid {left:#x} is {right:#x}, out of order with"
                f" {below[0]:#x}={below[1]:#x} and {above[0]:#x}={above[1]:#x}"
            )
        self.pairs.insert(at, (left, right))


class Side:
    """One server and the clients on it."""

    def __init__(self, kind: str, clients: int, options: dict[str, str]) -> None:
        self.server = Server(kind, CONFIG | options).start()
        self.clients: list[Client] = []
        self.owners: dict[int, int] = {}  # session -> client number
        for number in range(clients):
            self.clients.append(None)
            self.connect(number)

    def connect(self, number: int) -> None:
        client = Client(self.server.port, SESSION_MS, deadline=DEADLINE)
        self.owners[client.session] = number
        self.clients[number] = client

    def do(self, step: Step) -> dict[str, Any]:
        """Carries a step out; returns everything worth comparing."""
        client = self.clients[step.client]
        # 3.8 leaves a check outside of a multi without an answer.
        client.deadline = 1 if step.opcode == jute.CHECK else DEADLINE
        outcome: dict[str, Any] = {}
        try:
            if step.action == "reconnect":
                client.close_session()
                self.connect(step.client)
                return {}
            if step.action == "renew":
                client.disconnect()
                again = Client(
                    self.server.port, SESSION_MS, client.session, client.password,
                    client.last_zxid, deadline=DEADLINE,
                )  # fmt: skip
                self.clients[step.client] = again
                return {
                    "same session": again.session == client.session,
                    "time-out": again.timeout_ms,
                }
            if step.action == "raw":
                client.send_raw(step.body)
                client.sent.append((step.xid, step.opcode))
                reply = client.receive()
            else:
                reply = client.call(step.opcode, step.body, step.xid)
            outcome = {"xid": reply.xid, "err": reply.err, "body": reply.body}
            outcome["own events"] = events(client)
            self._check_header(reply, client, outcome)
            if reply.err in (-6, -115, -124) or step.opcode == jute.CLOSE:
                try:
                    client.receive_frame(deadline=2)
                except NoAnswer:
                    outcome["closes"] = False
        except NoAnswer:
            outcome["closes"] = "no answer"
        except ConnectionLost:
            outcome["closes"] = True
        if outcome.get("closes"):
            # What the client may still have got is not comparable any more.
            client.disconnect()
            self.connect(step.client)
        return outcome

    def _check_header(self, reply: jute.Reply, client: Client, outcome: dict) -> None:
        """The zxid of a reply never goes back and covers what the reply shows."""
        if reply.xid == -4:
            outcome["zxid zero"] = reply.zxid == 0
            return
        if reply.err == -6 and reply.zxid <= 0:
            return  # an unknown request gets -1, and the connection is closed
        last = getattr(client, "last_header", 0)
        shown = [s[f] for s in stats(reply.body) for f in ("czxid", "mzxid", "pzxid")]
        if reply.zxid < max(shown, default=0) or reply.zxid < last:
            outcome["bad header zxid"] = reply.zxid
        client.last_header = reply.zxid

    def gather(self, paths: list[str]) -> list[list[tuple]]:
        """All clients' events so far, each one having caught up with paths."""
        gathered = []
        for client in self.clients:
            for path in paths or ["/"]:
                client.call(jute.SYNC, jute.e_string(path))
            gathered.append(events(client))
        return gathered

    def wipe(self) -> None:
        """Empties the tree with the super user's rights; new sessions."""
        for client in self.clients:
            client.close_session()
        client = Client(self.server.port, SESSION_MS)
        client.auth("digest", SUPER_SECRET)

        def remove(path: str) -> None:
            reply = client.call(jute.GET_CHILDREN, jute.read_body(path))
            for name in reply.body.get("children", []):
                if (path, name) != ("/", "zookeeper"):
                    remove(f"{path.rstrip('/')}/{name}")
            if path != "/":
                client.call(jute.DELETE, jute.delete_body(path))

        remove("/")
        client.close_session()
        for number in range(len(self.clients)):
            self.connect(number)

    def destroy(self) -> None:
        for client in self.clients:
            client.disconnect()
        self.server.destroy()


def events(client: Client) -> list[tuple]:
    """Without the header's zxid: -1 up to 3.8, the transaction's since 3.9."""
    return [(e.type, e.state, e.path) for e in client.drain_events()]


def stats(body: dict) -> list[dict]:
    found = [body["stat"]] if "stat" in body else []
    return found + [r["stat"] for r in body.get("results", []) if "stat" in r]


# -- comparing --------------------------------------------------------------


class Pair:
    """The original and the subject side by side."""

    def __init__(
        self, subject: str, options: dict[str, str], verbose: bool = False, clients: int = 3
    ) -> None:
        self.verbose = verbose
        self.left = Side("zookeeper", clients, {})
        self.right = Side(subject, clients, options)
        self.skew = Skew()
        self.excused: dict[str, int] = {}
        self.restricted: set[str] = set()

    def play(self, step: Step) -> None:
        self.remember_acl(step)
        left, right = self.left.do(step), self.right.do(step)
        if self.verbose:
            print(f"{step.note or step}\n    {left}", flush=True)
        difference = self.difference(step, left, right)
        if difference:
            for known in DIFFERENCES:
                if known.applies(step, left, right):
                    self.excused[known.name] = self.excused.get(known.name, 0) + 1
                    if known.diverges:
                        raise Diverged(known.name)
                    break
            else:
                raise Differs(f"{difference}\n  original {left}\n  subject  {right}")
        left_events = self.left.gather(step.paths)
        right_events = self.right.gather(step.paths)
        if step.action == "reconnect" or step.opcode == jute.CLOSE:
            # All ephemerals go in one transaction, in no order that anybody promises.
            left_events = [sorted(some) for some in left_events]
            right_events = [sorted(some) for some in right_events]
        if self.verbose and any(left_events):
            print(f"    events {left_events}", flush=True)
        for number, (a, b) in enumerate(zip(left_events, right_events, strict=True)):
            if a != b and not self.filtered(number, a, b):
                raise Differs(
                    f"events of client {number}\n  original {left_events}\n  subject  {right_events}"
                )

    # Since 3.9.2 a client gets no event of a node it may not read.

    def remember_acl(self, step: Step) -> None:
        """Which nodes may once have been unreadable: deleted ones cannot be asked."""
        if step.restricts or (step.opcode in WITH_ACL and OPEN_ACL_BYTES not in step.body):
            self.restricted.update(step.paths)

    def unreadable(self, number: int, kind: int, path: str) -> bool:
        if kind == 2:
            return path in self.restricted
        # An xid of its own: the clients' counters must stay alike.
        reply = self.left.clients[number].call(jute.GET_DATA, jute.read_body(path), xid=-50)
        return reply.err == -102 or (reply.err == -101 and path in self.restricted)

    def filtered(self, number: int, left: list[tuple], right: list[tuple]) -> bool:
        """Whether only events which the client may not see are missing."""
        rest = iter(right)
        wanted = next(rest, None)
        for event in left:
            if event == wanted:
                wanted = next(rest, None)
            elif not self.unreadable(number, event[0], event[2]):
                return False
        if wanted is None:
            self.excused[FILTERED] = self.excused.get(FILTERED, 0) + 1
        return wanted is None

    def difference(self, step: Step, left: dict, right: dict) -> str | None:
        if step.opcode == jute.MULTI:
            right = self.with_old_types(left, right)
        try:
            for key in dict.fromkeys([*left, *right]):
                if key == "own events":
                    # Those that came before the reply, as they have to.
                    a, b = left.get(key, []), right.get(key, [])
                    if a != b and not self.filtered(step.client, a, b):
                        return f"{key}: {a!r} became {b!r}"
                elif key == "body":
                    self._body(left.get(key, {}), right.get(key, {}))
                elif left.get(key) != right.get(key):
                    return f"{key}: {left.get(key)!r} became {right.get(key)!r}"
        except Differs as difference:
            return str(difference)
        return None

    def with_old_types(self, left: dict, right: dict) -> dict:
        """Takes the Stat out of results that 3.8 gives without it, see CREATE2_IN_MULTI."""
        pairs = [o.get("body", {}).get("results", []) for o in (left, right)]
        if len(pairs[0]) != len(pairs[1]):
            return right
        results = []
        for a, b in zip(*pairs):
            if (a["type"], b["type"]) == (jute.CREATE, jute.CREATE2):
                self.excused[CREATE2_IN_MULTI] = self.excused.get(CREATE2_IN_MULTI, 0) + 1
                b = {key: b[key] for key in b if key != "stat"} | {"type": jute.CREATE}
            results.append(b)
        return right | {"body": right["body"] | {"results": results}} if results else right

    def _body(self, left: dict, right: dict) -> None:
        if left.keys() != right.keys():
            raise Differs(f"fields {sorted(left)} became {sorted(right)}")
        for key, value in left.items():
            if key == "stat":
                self._stat(value, right[key])
            elif key == "results":
                if len(value) != len(right[key]):
                    raise Differs(f"{len(value)} results became {len(right[key])}")
                for number, (a, b) in enumerate(zip(value, right[key])):
                    try:
                        self._body(a, b)
                    except Differs as difference:
                        raise Differs(f"result {number}: {difference}") from None
            elif value != right[key]:
                raise Differs(f"{key} {value!r} became {right[key]!r}")

    def _stat(self, left: dict, right: dict) -> None:
        for key, a in left.items():
            b = right[key]
            if key in ("czxid", "mzxid", "pzxid"):
                self.skew.check(a, b, key)
            elif key in ("ctime", "mtime"):
                now = time.time() * 1000
                for value in (a, b):
                    if value and not now - 3_600_000 < value < now + 60_000:
                        raise Differs(f"{key} {value} is not of today")
                if (a == 0) != (b == 0):
                    raise Differs(f"{key} {a} became {b}")
            elif key == "ephemeralOwner":
                owners = self.left.owners.get(a, a), self.right.owners.get(b, b)
                if owners[0] != owners[1]:
                    raise Differs(f"ephemeralOwner {a:#x} became {b:#x}")
            elif a != b:
                raise Differs(f"{key} {a} became {b}")

    def wipe(self) -> None:
        self.restricted.clear()
        self.left.wipe()
        self.right.wipe()

    def destroy(self) -> None:
        self.left.destroy()
        self.right.destroy()


class Diverged(Exception):
    """A difference on purpose, after which the two trees are not the same."""


@dataclass
class Difference:
    name: str
    reason: str
    applies: Any  # (step, left outcome, right outcome) -> bool
    diverges: bool = False


FILTERED = "events of unreadable nodes"
# 3.8 forgets the kind of a create inside a multi and answers all but containers
# and TTL nodes as a plain create (ZOOKEEPER-4026); since it was mended, and in
# Volery, whoever sends create2 or createContainer gets the Stat he asked for.
CREATE2_IN_MULTI = "create2 in a multi gives a Stat"
OPEN_ACL_BYTES = jute.e_acl(jute.OPEN_ACL)
WITH_ACL = (jute.CREATE, jute.CREATE2, jute.CREATE_CONTAINER, jute.CREATE_TTL, jute.SET_ACL)

# The reference is 3.8.0, the newest in Debian 12; Volery follows 3.9.
DIFFERENCES = [
    Difference(
        "exists needs READ",
        "since 3.9.2 exists answers NOAUTH without READ",
        lambda s, a, b: s.opcode == jute.EXISTS and b.get("err") == -102 and not s.body[-1],
    ),
    Difference(
        "exists needs READ to watch",
        "as above; here the original has set a watch and the subject has not",
        lambda s, a, b: s.opcode == jute.EXISTS and b.get("err") == -102,
        diverges=True,
    ),
    Difference(
        "check at top level",
        "since 3.9.3 a check outside a multi is an unknown request (-6, closed)",
        lambda s, a, b: s.opcode == jute.CHECK and b.get("err") == -6 and b.get("closes") is True,
        diverges=True,
    ),
    Difference(
        "watcher types 4 and 5",
        "3.9.0 added the types persistent and recursive; 3.8 answers -5",
        lambda s, a, b: (
            s.opcode in (jute.CHECK_WATCHES, jute.REMOVE_WATCHES)
            and s.body[-4:] in (jute.e_int(4), jute.e_int(5))
            and a.get("err") == -5
        ),
        diverges=True,
    ),
    Difference(
        "checkWatches asks for one's own",
        "3.8 says yes if anybody watches the path (ZOOKEEPER-4625, mended in 3.9)",
        lambda s, a, b: (
            s.opcode == jute.CHECK_WATCHES and a.get("err") == 0 and b.get("err") == -121
        ),
    ),
    Difference(
        "removeWatches leaves other modes",
        "since 3.9.0 the types data and children remove one-shot watches only",
        lambda s, a, b: (
            s.opcode == jute.REMOVE_WATCHES
            and s.client == WATCHER
            and (a.get("err"), b.get("err")) == (0, -121)
        ),
        diverges=True,
    ),
    Difference(
        "create flags in a multi",
        "3.8 answers flags that do not exist as the operation's own error, 3.9 refuses"
        " the whole multi (-5); nothing is done either way",
        lambda s, a, b: (
            s.opcode == jute.MULTI
            and b.get("err") == -5
            and any(r.get("code") == -8 for r in a.get("body", {}).get("results", []))
        ),
    ),
    Difference(
        "the root below the empty path",
        "Java keeps the root under two keys and counts one as the other's child",
        lambda s, a, b: (
            s.opcode == jute.GET_ALL_CHILDREN_NUMBER
            and s.body == jute.e_string("")
            and a["body"].get("count") == b["body"].get("count", 0) + 1
        ),
    ),
    Difference(
        "quota statistics",
        "Volery does not keep them yet: a subtree may span partitions",
        lambda s, a, b: s.opcode == jute.GET_DATA and b"/zookeeper_stats" in s.body,
    ),
    Difference(
        "deleteContainer from a client",
        "Java lets any client delete any empty node with opcode 20, without ACL; Volery refuses it",
        lambda s, a, b: s.opcode == jute.DELETE_CONTAINER and b.get("err") == -6,
        diverges=True,
    ),
    Difference(
        "body after an error",
        "3.8 sends an empty multi's end after the error of a bad multi; clients"
        " read nothing behind an error",
        lambda s, a, b: (
            s.opcode in (jute.MULTI, jute.MULTI_READ)
            and a.get("err") == b.get("err") == -5
            and not b.get("body")
        ),
    ),
    Difference(
        "TTL record without TTL flags",
        "Java accepts createTTL with flags 0-4 and a negative ttl and then fails to"
        " apply it; Volery answers -8",
        lambda s, a, b: (
            s.opcode == jute.CREATE_TTL
            and int.from_bytes(s.body[-12:-8], "big") < 5
            and s.body[-8] & 0x80
            and b.get("err") == -8
        ),
        diverges=True,
    ),
]


# -- random requests --------------------------------------------------------

PATHS = ["/a", "/b", "/c", "/a/x", "/a/y", "/b/x", "/b/y", "/a/x/p", "/a/x/q", "/b/x/p"]
BAD_PATHS = [
    "", "a", "a/b", "//", "/a//x", "/a/", "/a/.", "/a/../b", "/a/./x", "/nope/x",
    "/nope//x", "/a/x\0y", "/a/\x01", "/a/\u0080", "/a/\ud7ff", "/a/\uf8ff", "/a/\ufff0",
    "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", None,
]  # fmt: skip
GOOD_IDS = {0: None, 1: b"alice:secret", 2: b"bob:hidden"}
ALICE = "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E="
ACLS = [
    [(31, "auth", "")],
    [(31, "digest", ALICE)],
    [(1, "world", "anyone")],
    [(31, "world", "anyone"), (31, "world", "anyone")],
    [(1, "world", "anyone"), (31, "digest", ALICE)],
    [(31, "ip", "127.0.0.1")],
    [(31, "ip", "10.0.0.0/8")],
    [(15, "world", "anyone")],
    [(16, "world", "anyone")],
    [(0, "world", "anyone")],
    [(4 + 8, "world", "anyone"), (3, "auth", "ignored")],
    [(31, "world", "somebody")],
    [(31, "super", "x")],
    [(31, "digest", "nocolon")],
    [(31, "bogus", "x")],
    [(31, "ip", "not.an.ip")],
    [],
    None,
]


# Up to 3.8 a second mode of watch on the same path and connection replaces the
# first, since 3.9 they add up. So one client sets persistent watches only, of
# one mode a path, and the others one-shot watches only.
WATCHER = 2


def mode_of(path: str) -> int:
    return PATHS.index(path) % 2


class Generator:
    """Random steps; only the seed decides."""

    def __init__(self, rng: random.Random, clients: int) -> None:
        self.rng = rng
        self.clients = clients

    def path(self) -> str | None:
        return self.rng.choice(BAD_PATHS if self.rng.random() < 0.06 else PATHS)

    def data(self) -> bytes | None:
        return self.rng.choice([None, b"", b"v", b"value-%d" % self.rng.randrange(100)])

    def acl(self) -> list[tuple] | None:
        return jute.OPEN_ACL if self.rng.random() < 0.8 else self.rng.choice(ACLS)

    def version(self) -> int:
        return self.rng.choice([-1, -1, -1, 0, 1, 2, 3])

    def create(self, opcode: int, flags: int | None = None) -> tuple[bytes, str | None]:
        path = self.path()
        if flags is None:
            flags = self.rng.choices([0, 1, 2, 3, 4, 5, 6, 7, -1], [8, 4, 3, 2, 1, 1, 1, 1, 1])[0]
        if opcode == jute.CREATE_TTL:
            flags = self.rng.choice([5, 6])
            ttl = self.rng.choice([3_600_000, 1 << 39, 0, -1, (1 << 40) - 1, 1 << 40])
            if path is None and not 0 < ttl < 1 << 40:
                path = "/a"  # which of two such faults is named does not matter
            return jute.create_body(path, self.data(), self.acl(), flags, ttl), path
        if path is None and flags not in range(5):
            path = "/a"  # as above
        return jute.create_body(path, self.data(), self.acl(), flags), path

    def write_op(self) -> tuple[int, bytes, str | None]:
        """One operation for a multi."""
        kind = self.rng.choice("ccccddss.")
        if kind == "c":
            opcode = self.rng.choice([1, 1, 15, 19, 21])
            # With other flags 3.8 makes no container of a createContainer.
            flags = 4 if opcode == 19 else self.rng.choice([0, 0, 0, 1, 2, 4])
            body, path = self.create(opcode, flags)
            return opcode, body, path
        path = self.path()
        if kind == "d":
            return jute.DELETE, jute.delete_body(path, self.version()), path
        if kind == "s":
            return jute.SET_DATA, jute.set_body(path, self.data(), self.version()), path
        return jute.CHECK, jute.check_body(path, self.version()), path

    def step(self) -> Step:
        rng = self.rng
        who = rng.randrange(self.clients)
        kinds = {
            "create": 24, "delete": 12, "setData": 12, "read": 16, "multi": 8,
            "multiRead": 2, "setACL": 4, "getACL": 3, "watch": 6, "unwatch": 4,
            "setWatches": 2, "info": 4, "auth": 2, "renew": 1, "reconnect": 1,
            "torn": 1, "check": 0,
        }  # fmt: skip
        kind = rng.choices(list(kinds), list(kinds.values()))[0]
        path = self.path()
        match kind:
            case "create":
                opcode = rng.choice([1, 1, 15, 15, 19, 21])
                body, path = self.create(opcode)
                return call(who, opcode, body, *_near(path), note=f"create {path!r}")
            case "delete":
                body = jute.delete_body(path, self.version())
                return call(who, jute.DELETE, body, *_near(path), note=f"delete {path!r}")
            case "setData":
                body = jute.set_body(path, self.data(), self.version())
                return call(who, jute.SET_DATA, body, *_near(path), note=f"setData {path!r}")
            case "read":
                opcode = rng.choice([3, 3, 4, 4, 8, 12])
                body = jute.read_body(path, who != WATCHER and rng.random() < 0.4)
                return call(who, opcode, body, note=f"read {path!r}")
            case "multi":
                ops = [self.write_op() for _ in range(rng.randrange(0, 5))]
                if rng.random() < 0.1:
                    ops.append((jute.GET_DATA, jute.read_body("/a"), "/a"))
                body = jute.multi_body([(opcode, body) for opcode, body, _ in ops])
                paths = [near for _, _, path in ops for near in _near(path)]
                note = " ".join(f"{opcode}:{path!r}" for opcode, _, path in ops)
                step = call(who, jute.MULTI, body, *dict.fromkeys(paths), note=f"multi {note}")
                step.restricts = any(
                    opcode in WITH_ACL and OPEN_ACL_BYTES not in body for opcode, body, _ in ops
                )
                return step
            case "multiRead":
                ops = [
                    (rng.choice([4, 8]), jute.read_body(self.path(), rng.random() < 0.5))
                    for _ in range(rng.randrange(0, 4))
                ]
                return call(who, jute.MULTI_READ, jute.multi_body(ops), note="multiRead")
            case "setACL":
                acl = rng.choice(ACLS) if rng.random() < 0.5 else jute.OPEN_ACL
                body = jute.e_string(path) + jute.e_acl(acl) + jute.e_int(self.version())
                return call(who, jute.SET_ACL, body, *_near(path), note=f"setACL {path!r} {acl}")
            case "getACL":
                return call(who, jute.GET_ACL, jute.e_string(path), note=f"getACL {path!r}")
            case "watch":
                path = rng.choice(PATHS)
                # Mode 2 does not exist.
                mode = 2 if rng.random() < 0.1 else mode_of(path)
                body = jute.e_string(path) + jute.e_int(mode)
                return call(WATCHER, jute.ADD_WATCH, body, note=f"addWatch {mode} {path}")
            case "unwatch":
                opcode = rng.choice([jute.CHECK_WATCHES, jute.REMOVE_WATCHES])
                # Of persistent watches 3.8 and 3.9 remove different ones but with type any.
                kind = rng.choice([3, 3, 9] if who == WATCHER else [1, 2, 3, 3, 9])
                body = jute.e_string(rng.choice(PATHS)) + jute.e_int(kind)
                return call(who, opcode, body, note="check/removeWatches")
            case "setWatches":
                # Only all or nothing is new since: zxids differ between sides.
                since = rng.choice([0, 1 << 62])
                lists = [rng.sample(PATHS, rng.randrange(0, 3)) for _ in range(3)]
                opcode = rng.choice([jute.SET_WATCHES, jute.SET_WATCHES2])
                if who == WATCHER:
                    opcode, some = jute.SET_WATCHES2, rng.sample(PATHS, rng.randrange(0, 4))
                    lists = [[], [], [], *([p for p in some if mode_of(p) == m] for m in (0, 1))]
                elif opcode == jute.SET_WATCHES2:
                    lists += [[], []]
                body = jute.e_long(since)
                for paths in lists:
                    body += jute.e_vector([jute.e_string(path) for path in paths])
                return Step(who, "call", opcode, body, xid=-8, note=f"setWatches {lists}")
            case "info":
                opcode = rng.choice(
                    [jute.WHO_AM_I, jute.GET_EPHEMERALS, jute.GET_ALL_CHILDREN_NUMBER]
                )
                if opcode == jute.WHO_AM_I:
                    return call(who, opcode, note="whoAmI")
                if opcode == jute.GET_EPHEMERALS:
                    path = rng.choice([None, "", "/", "/a", "/a/", "/b/x", "nothing"])
                return call(who, opcode, jute.e_string(path), note=f"info {path!r}")
            case "auth":
                secret = GOOD_IDS[who] or b"carol:open"
                body = jute.e_int(0) + jute.e_string("digest") + jute.e_buffer(secret)
                return Step(who, "call", jute.AUTH, body, xid=-4, note="auth")
            case "torn":
                body = jute.create_body("/a", b"data")[: rng.randrange(0, 12)]
                return call(who, rng.choice([1, 2, 4, 5, 7, 14]), body, note="torn body")
            case _:
                return Step(who, kind, paths=list(PATHS[:3]), note=kind)


def _near(path: str | None) -> list[str]:
    """The node and its parent, where they are sane: both may have watchers."""
    if not path or not path.startswith("/"):
        return []
    return [path, path.rsplit("/", 1)[0] or "/"]


# -- running ----------------------------------------------------------------


def on_purpose(name: str, left: Any, right: Any) -> str | None:
    """The name of the difference in wire.ON_PURPOSE that is the only one here."""
    from wire import ON_PURPOSE

    for purpose, scenario, original, subject in ON_PURPOSE:
        swapped = [subject if item == original else item for item in left]
        if name == scenario and isinstance(left, list) and swapped == right:
            return purpose
    return None


class Run:
    """Keeps the pair of servers over many sequences, renewing it when needed."""

    def __init__(self, subject: str, options: dict[str, str], verbose: bool) -> None:
        self.subject, self.options, self.verbose = subject, options, verbose
        self.pair: Pair | None = None
        self.passed = self.failed = 0
        self.excused: dict[str, int] = {}

    def sequence(self, name: str, steps) -> None:
        if self.pair is None:
            self.pair = Pair(self.subject, self.options, self.verbose)
        else:
            self.pair.wipe()
        if self.verbose:
            print(f"--- {name}")
        history: list[Step] = []
        try:
            for step in steps:
                history.append(step)
                self.pair.play(step)
            self.passed += 1
        except Diverged as known:
            self.passed += 1
            self._renew()
            del known
        except (Differs, ConnectionLost, AssertionError) as difference:
            self.failed += 1
            print(f"FAILED {name}, step {len(history)}: {type(difference).__name__}: {difference}")
            for step in history[-6:]:
                print(f"    {step}")
            self._renew()

    def wire(self, name: str, scenario) -> None:
        """A scenario of wire.py; sessions it leaves behind do not matter."""
        if self.pair is None:
            self.pair = Pair(self.subject, self.options, self.verbose)
        sides = self.pair.left, self.pair.right
        seen = []
        for side in sides:
            try:
                seen.append(scenario(side.server.port))
            except (ConnectionLost, AssertionError, OSError) as error:
                seen.append(f"{type(error).__name__}: {error}")
        if self.verbose:
            print(f"--- wire {name}\n    {seen[0]}")
        if seen[0] != seen[1] and (purpose := on_purpose(name, *seen)):
            self.excused[purpose] = self.excused.get(purpose, 0) + 1
            seen[1] = seen[0]
        if seen[0] == seen[1]:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED wire {name!r}")
        for line in difflib.unified_diff(
            pprint.pformat(seen[0], width=90).splitlines(),
            pprint.pformat(seen[1], width=90).splitlines(),
            "original", "subject", lineterm="", n=0,
        ):  # fmt: skip
            print(f"    {line}")

    def _renew(self) -> None:
        for name, count in self.pair.excused.items():
            self.excused[name] = self.excused.get(name, 0) + count
        self.pair.destroy()
        self.pair = None

    def finish(self) -> None:
        if self.pair:
            self._renew()

    def report(self) -> None:
        for name, count in self.excused.items():
            print(f"{count:4} times differing on purpose: {name}")


def random_steps(seed: int, number: int, count: int, clients: int = 3):
    rng = random.Random(f"{seed}/{number}")
    generator = Generator(rng, clients)
    for _ in range(count):
        yield generator.step()


def main() -> int:
    from traps import TRAPS
    from wire import SCENARIOS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--only", type=int, help="only this round")
    parser.add_argument("--traps-only", action="store_true")
    parser.add_argument("--trap", help="only traps whose name contains this")
    parser.add_argument(
        "-o", "--option", action="append", default=[], metavar="KEY=VALUE",
        help="of the subject's zoo.cfg",
    )  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="print every answer")
    args = parser.parse_args()
    print(f"zookeeper against {args.server}, seed {args.seed}", flush=True)
    options = dict(option.split("=", 1) for option in args.option)
    run = Run(args.server, options, args.verbose)
    if args.only is None:
        for name, steps in TRAPS.items():
            if not args.trap or args.trap in name:
                run.sequence(f"trap {name!r}", steps)
        for name, scenario in SCENARIOS.items():
            if not args.trap or args.trap in name:
                run.wire(name, scenario)
        # Sessions left behind would expire in the middle of what follows.
        run.finish()
        print(f"traps and wire: {run.passed} passed, {run.failed} failed", flush=True)
    if not args.traps_only and not args.trap:
        rounds = range(1, args.rounds + 1) if args.only is None else [args.only]
        for number in rounds:
            run.sequence(
                f"--seed {args.seed} --only {number}",
                random_steps(args.seed, number, args.steps),
            )
        print(f"{len(rounds)} random rounds of {args.steps} requests", flush=True)
    run.finish()
    run.report()
    print(f"{run.passed} passed, {run.failed} failed, 0 skipped")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
