#!/usr/bin/env python3
"""Kills the server again and again under load and looks for what got lost.

    crash_loop.py --rounds 50 --seed 7 [--server zookeeper]

A round: writers send pipelined batches of writes; at a random moment the
server is killed with SIGKILL (now and then stopped with SIGTERM, now and then
killed again while it recovers); it is started again and everything it holds is
compared with what the writers know. What is demanded:

  * a write that was acknowledged is there, with the acknowledged result;
  * nothing is there twice: payloads of sequential nodes are unique, and the
    setData of a counter names its version, so that a repeated one would show;
  * a write without an answer is wholly there or not at all, a multi over
    several top-level nodes (which cross partitions in Volery) included;
  * of one session's unanswered writes those that are there are a prefix of
    what it sent: a session's writes are applied in its order;
  * what the recovery settled stays settled in all later rounds;
  * nothing else is there;
  * writers get their sessions back; the ephemerals of a session that stays
    alive stay, those of a closed one are gone at once, those of a session
    whose client vanished go after its time-out.

The seed decides what is written and when the kill comes; threads and the
kernel decide the rest, so a seed repeats the load, not the exact history.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import jute
from jute import Client, ConnectionLost
from server import Server, add_server_option, poll

TICK_MS = 500
SESSION_MS = 10_000  # 20 ticks, the longest allowed: writers must survive
DOOMED_MS = 1_000  # 2 ticks, the shortest
BATCH = 12  # writes in flight of one session
ROUND_OPS = 1500  # bound on one writer's writes in a round, for the checks' sake


class Violation(Exception):
    """The server broke a promise."""


# -- what writers write -----------------------------------------------------


@dataclass
class Write:
    """One request with its effect on the model, applied if it took place.

    `creates` and `counters` say what must be there afterwards; `payload` with
    `parent` replaces the name where the server chooses it (sequential nodes).
    """

    opcode: int
    body: bytes
    creates: dict[str, str] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    counter: tuple[str, int, str] | None = None  # path, version after, data after
    parent: str | None = None
    payload: str | None = None
    fails: bool = False  # a multi built to fail: must leave no trace


@dataclass
class Writer:
    number: int
    rng: random.Random
    nodes: dict[str, str] = field(default_factory=dict)  # path -> data
    sequential: dict[str, tuple[str, str]] = field(default_factory=dict)  # payload -> parent, name
    counters: dict[str, list] = field(default_factory=dict)  # path -> [version, data]
    pending: list[Write] = field(default_factory=list)
    acknowledged: int = 0
    unknown: int = 0
    serial: int = 0
    session: int = 0
    password: bytes = b"\0" * 16
    last_zxid: int = 0
    error: BaseException | None = None

    @property
    def parents(self) -> list[str]:
        return [f"/{letter}-{self.number}" for letter in "abcd"]

    def plan(self) -> Write:
        """The next write, valid if all before it took place."""
        self.serial += 1
        tag = f"w{self.number}-{self.serial}"
        data = tag.encode()
        kind = self.rng.choice(
            ["create"] * 3
            + ["top", "seq", "seq", "shared", "set", "set", "set"]
            + ["multi", "multi", "topmulti", "badmulti", "delete", "multiset"]
        )
        planned = self._planned()
        if kind == "create":
            path = f"{self.rng.choice(self.parents)}/n-{self.serial}"
            return Write(jute.CREATE, jute.create_body(path, data), {path: tag})
        if kind == "top":
            path = f"/t-{tag}"
            return Write(jute.CREATE2, jute.create_body(path, data), {path: tag})
        if kind in ("seq", "shared"):
            parent = "/shared" if kind == "shared" else self.rng.choice(self.parents)
            body = jute.create_body(f"{parent}/s-", data, flags=jute.SEQUENTIAL)
            return Write(jute.CREATE, body, parent=parent, payload=tag)
        if kind == "set":
            path = self.rng.choice(list(self.counters))
            version = planned[path]
            body = jute.set_body(path, data, version)
            return Write(jute.SET_DATA, body, counter=(path, version + 1, tag))
        if kind == "delete" and self.nodes:
            # Only what is settled: a pending create may not be there.
            path = self.rng.choice(list(self.nodes))
            if not any(path in write.deletes for write in self.pending):
                return Write(jute.DELETE, jute.delete_body(path, 0), deletes=[path])
        if kind == "badmulti":
            paths = [f"{parent}/never-{self.serial}" for parent in self.parents[:2]]
            ops = [(jute.CREATE, jute.create_body(path, data)) for path in paths]
            ops.insert(1, (jute.CHECK, jute.check_body("/absent")))
            return Write(jute.MULTI, jute.multi_body(ops), fails=True)
        if kind == "multiset":
            path = self.rng.choice(list(self.counters))
            version = planned[path]
            node = f"{self.rng.choice(self.parents)}/v-{self.serial}"
            ops = [
                (jute.CREATE, jute.create_body(node, data)),
                (jute.SET_DATA, jute.set_body(path, data, version)),
            ]
            return Write(
                jute.MULTI, jute.multi_body(ops), {node: tag}, counter=(path, version + 1, tag)
            )
        if kind == "topmulti":
            paths = [f"/t-{tag}-{letter}" for letter in "pqr"]
        else:
            count = self.rng.randrange(2, 5)
            paths = [f"{parent}/m-{self.serial}" for parent in self.parents[:count]]
        ops = [(jute.CREATE, jute.create_body(path, data)) for path in paths]
        return Write(jute.MULTI, jute.multi_body(ops), dict.fromkeys(paths, tag))

    def _planned(self) -> dict[str, int]:
        """Version each counter will have when all pending writes are through."""
        versions = {path: version for path, (version, _) in self.counters.items()}
        for write in self.pending:
            if write.counter:
                versions[write.counter[0]] = write.counter[1]
        return versions

    def apply(self, write: Write, name: str | None = None) -> None:
        self.nodes |= write.creates
        for path in write.deletes:
            del self.nodes[path]
        if write.counter:
            path, version, data = write.counter
            self.counters[path] = [version, data]
        if write.payload:
            self.sequential[write.payload] = (write.parent, name)

    # -- the thread ---------------------------------------------------------

    def connect(self, port: int, deadline: float) -> Client:
        """Takes the session up again, or makes one; retries until deadline."""
        while True:
            try:
                client = Client(port, SESSION_MS, self.session, self.password, self.last_zxid)
                break
            except ConnectionLost:
                if time.monotonic() > deadline:
                    raise Violation(
                        f"writer {self.number}: no connection, session {self.session:#x},"
                        f" last zxid {self.last_zxid:#x}"
                    ) from None
                time.sleep(0.02)
        if client.session == 0:
            raise Violation(f"writer {self.number}: session {self.session:#x} lost")
        self.session, self.password = client.session, client.password
        return client

    def run(self, port: int) -> None:
        """Writes until the connection breaks; leaves the unanswered in pending."""
        try:
            client = self.connect(port, time.monotonic() + 30)
        except BaseException as error:
            self.error = error
            return
        try:
            count = 0
            while True:
                while len(self.pending) < BATCH and count < ROUND_OPS:
                    count += 1
                    write = self.plan()
                    self.pending.append(write)
                    client.send(write.opcode, write.body)
                if self.pending:
                    reply = client.receive()
                    self.settle(self.pending.pop(0), reply)
                else:
                    client.ping()
                    time.sleep(0.005)  # only waiting for the kill
        except ConnectionLost:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.last_zxid = client.last_zxid
            client.disconnect()

    def settle(self, write: Write, reply: jute.Reply) -> None:
        self.acknowledged += 1
        if reply.err:
            raise Violation(f"writer {self.number}: error {reply.err} for {write}")
        results = reply.body.get("results", [])
        failed = any(result["type"] == -1 for result in results)
        if failed != write.fails:
            raise Violation(f"writer {self.number}: {results} for {write}")
        if not write.fails:
            self.apply(write, reply.body.get("path"))
        if write.opcode == jute.SET_DATA:
            version = reply.body["stat"]["version"]
            if version != write.counter[1]:
                raise Violation(f"version {version} for {write}")


# -- the check --------------------------------------------------------------


def pipelined(client: Client, opcode: int, bodies: list[bytes]) -> Iterator[jute.Reply]:
    """Many reads, a window of them at a time."""
    window = 200
    for start in range(0, len(bodies), window):
        chunk = bodies[start : start + window]
        for body in chunk:
            client.send(opcode, body)
        for _ in chunk:
            yield client.receive()


class Checker:
    """Compares the server's state with all writers' models."""

    def __init__(self, writers: list[Writer]) -> None:
        self.writers = writers
        self.payloads: dict[str, str] = {}  # path -> data of sequential nodes read

    def children(self, client: Client, path: str) -> set[str]:
        reply = client.call(jute.GET_CHILDREN, jute.read_body(path))
        if reply.err:
            raise Violation(f"getChildren {path}: {reply.err}")
        prefix = path.rstrip("/")
        return {f"{prefix}/{name}" for name in reply.body["children"]}

    def data(self, client: Client, paths: list[str]) -> dict[str, tuple[str, int]]:
        bodies = [jute.read_body(path) for path in paths]
        found = {}
        for path, reply in zip(paths, pipelined(client, jute.GET_DATA, bodies)):
            if reply.err:
                raise Violation(f"listed, but getData {path}: {reply.err}")
            found[path] = (reply.body["data"].decode(), reply.body["stat"]["version"])
        return found

    def check(self, client: Client, everything: bool) -> list[str]:
        """Settles what was unanswered; returns what is wrong."""
        client.call(jute.SYNC, jute.e_string("/"))
        problems: list[str] = []
        present = {p for p in self.children(client, "/") if p.startswith("/t-")}
        shared = self.children(client, "/shared")
        parents = [parent for writer in self.writers for parent in writer.parents]
        for parent in parents:
            present |= self.children(client, parent)
        sequential = {p for p in present | shared if "/s-" in p}
        present -= sequential
        if everything:
            self.payloads.clear()
        new = sorted(sequential - self.payloads.keys())
        read = self.data(client, new)
        self.payloads |= {path: data for path, (data, _) in read.items()}
        for path in self.payloads.keys() - sequential:
            problems.append(f"gone: {path} ({self.payloads[path]})")
        counters = self.data(client, [path for writer in self.writers for path in writer.counters])

        by_payload: dict[str, list[str]] = {}
        for path, payload in self.payloads.items():
            by_payload.setdefault(payload, []).append(path)
        for payload, paths in by_payload.items():
            if len(paths) > 1:
                problems.append(f"applied twice: {payload} is in {sorted(paths)}")

        for writer in self.writers:
            problems += self.settle_unknown(writer, present, by_payload, counters)
            for path, (version, data) in writer.counters.items():
                if counters[path] != (data, version):
                    problems.append(f"{path} is {counters[path]}, not {(data, version)}")
            for payload, (parent, name) in writer.sequential.items():
                got = by_payload.pop(payload, [])
                if not got:
                    problems.append(f"lost: {payload}, created as {name}")
                elif got[0] != name or not name.startswith(parent):
                    problems.append(f"{payload} is at {got}, created as {name}")
        for payload, paths in by_payload.items():
            problems.append(f"nobody wrote {payload} in {paths}")

        expected = {path: data for w in self.writers for path, data in w.nodes.items()}
        problems += [f"lost: {path}" for path in sorted(expected.keys() - present)]
        problems += [f"not to be there: {path}" for path in sorted(present - expected.keys())]
        if everything:
            intact = sorted(expected.keys() & present)
            for path, (data, version) in self.data(client, intact).items():
                if (data, version) != (expected[path], 0):
                    problems.append(f"{path} holds {data!r} version {version}")
        return problems

    def settle_unknown(self, writer, present, by_payload, counters) -> list[str]:
        """Finds out which unanswered writes took place and completes the model."""
        problems, took_place = [], []
        for write in writer.pending:
            writer.unknown += 1
            if write.fails:
                continue  # leaves nothing; its traces would show as extra nodes
            marks = [path in present for path in write.creates]
            marks += [path not in present for path in write.deletes]
            if write.counter:
                path, version, _ = write.counter
                marks.append(counters[path][1] >= version)
            if write.payload:
                marks.append(write.payload in by_payload)
            if any(marks) and not all(marks):
                problems.append(f"half applied: {write.creates or write.deletes} {write.counter}")
            took_place.append(all(marks))
            if all(marks):
                names = by_payload.get(write.payload) or [None]
                writer.apply(write, names[0])
        if took_place != sorted(took_place, reverse=True):
            problems.append(f"writer {writer.number}: not a prefix of its order: {took_place}")
        writer.pending.clear()
        return problems


# -- ephemerals -------------------------------------------------------------


class Survivor:
    """A session that must live through all kills together with its ephemerals."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.client = Client(port, SESSION_MS)
        self.paths: list[str] = []

    def resume(self) -> None:
        old = self.client
        old.disconnect()
        self.client = Client(self.port, SESSION_MS, old.session, old.password, old.last_zxid)
        if self.client.session != old.session:
            raise Violation(f"session {old.session:#x} did not survive the restart")

    def add(self, path: str) -> None:
        reply = self.client.call(jute.CREATE, jute.create_body(path, flags=jute.EPHEMERAL))
        if reply.err:
            raise Violation(f"create {path}: {reply.err}")
        self.paths.append(path)

    def problems(self) -> list[str]:
        found = []
        for path in self.paths:
            reply = self.client.call(jute.EXISTS, jute.read_body(path))
            if reply.err:
                found.append(f"ephemeral of a living session gone: {path} ({reply.err})")
            elif reply.body["stat"]["ephemeralOwner"] != self.client.session:
                found.append(f"{path} belongs to {reply.body['stat']['ephemeralOwner']:#x}")
        return found


def make_doomed(port: int, number: int) -> str:
    """An ephemeral whose client vanishes without closing its session."""
    path = f"/dead/vanished-{number}"
    client = Client(port, DOOMED_MS)
    client.call(jute.CREATE, jute.create_body(path, flags=jute.EPHEMERAL))
    client.disconnect()
    return path


def make_closed(port: int, number: int) -> str:
    """An ephemeral whose session was closed, with an answer."""
    path = f"/dead/closed-{number}"
    client = Client(port, SESSION_MS)
    client.call(jute.CREATE, jute.create_body(path, flags=jute.EPHEMERAL))
    client.close_session()
    return path


# -- does the check find anything? -------------------------------------------


def _first(writers: list[Writer], mark: str) -> str:
    return next(path for w in writers for path in w.nodes if mark in path)


def lose_a_write(client: Client, writers: list[Writer]) -> None:
    client.call(jute.DELETE, jute.delete_body(_first(writers, "/n-")))


def tear_a_multi(client: Client, writers: list[Writer]) -> None:
    client.call(jute.DELETE, jute.delete_body(_first(writers, "/m-")))


def repeat_a_write(client: Client, writers: list[Writer]) -> None:
    payload, (parent, _) = next(iter(writers[0].sequential.items()))
    body = jute.create_body(f"{parent}/s-", payload.encode(), flags=jute.SEQUENTIAL)
    client.call(jute.CREATE, body)


def repeat_a_set(client: Client, writers: list[Writer]) -> None:
    path, (_, data) = next(iter(writers[0].counters.items()))
    client.call(jute.SET_DATA, jute.set_body(path, data.encode()))


def resurrect(client: Client, writers: list[Writer]) -> None:
    client.call(jute.CREATE, jute.create_body(f"{writers[0].parents[0]}/never-1"))


SABOTAGE = {
    "lose": lose_a_write,
    "tear": tear_a_multi,
    "double": repeat_a_write,
    "double-set": repeat_a_set,
    "resurrect": resurrect,
}


# -- the loop ---------------------------------------------------------------


def end_server(server: Server, rng: random.Random) -> str:
    """Ends it one of three ways and starts it again."""
    way = rng.choices(["kill", "kill during recovery", "stop"], [8, 1, 1])[0]
    if way == "stop":
        server.stop()
    else:
        server.kill()
    if way == "kill during recovery":
        server.start(wait=False)
        time.sleep(rng.uniform(0, 0.4))
        server.kill()
    server.start()
    return way


def setup(server: Server, writers: list[Writer]) -> None:
    client = Client(server.port, SESSION_MS)
    paths = ["/shared", "/dead", "/live"]
    for writer in writers:
        paths += writer.parents
        counters = [f"/counter-{writer.number}-{n}" for n in range(3)]
        writer.counters = {path: [0, ""] for path in counters}
        paths += counters
    for path in paths:
        reply = client.call(jute.CREATE, jute.create_body(path))
        if reply.err:
            raise Violation(f"create {path}: {reply.err}")
    client.close_session()


def run(args: argparse.Namespace) -> tuple[int, int]:
    rng = random.Random(args.seed)
    config = {"tickTime": TICK_MS, "snapCount": 2000}
    config |= dict(option.split("=", 1) for option in args.option)
    server = Server(args.server, config)
    server.start()
    writers = [Writer(n, random.Random(rng.random())) for n in range(args.writers)]
    setup(server, writers)
    checker = Checker(writers)
    survivor = Survivor(server.port)
    doomed: list[str] = []
    closed: list[str] = []
    passed = 0
    for number in range(1, args.rounds + 1):
        started = time.monotonic()
        threads = [threading.Thread(target=w.run, args=(server.port,)) for w in writers]
        for thread in threads:
            thread.start()
        survivor.add(f"/live/{number}")
        doomed.append(make_doomed(server.port, number))
        closed.append(make_closed(server.port, number))
        time.sleep(rng.uniform(0.02, args.load))  # the random moment
        way = end_server(server, rng)
        recovered = time.monotonic()
        for thread in threads:
            thread.join()
        problems = [f"{w.error}" for w in writers if w.error]
        client = Client(server.port, SESSION_MS)
        if args.sabotage and number == args.rounds:
            SABOTAGE[args.sabotage](client, writers)
        unanswered = sum(len(w.pending) for w in writers)
        last = number == args.rounds
        problems += checker.check(client, everything=last or number % 10 == 0)
        survivor.resume()
        problems += survivor.problems()
        dead = checker.children(client, "/dead")
        problems += [f"ephemeral of a closed session: {p}" for p in dead & set(closed)]
        if last or number % 10 == 0:
            # Restarts start the timers afresh, so only now may one insist.
            try:
                poll(
                    lambda: not checker.children(client, "/dead"),
                    DOOMED_MS / 1000 + 10 * TICK_MS / 1000,
                    "ephemerals of vanished clients are gone",
                    interval=0.1,
                )
            except TimeoutError as error:
                problems.append(f"{error}: {sorted(checker.children(client, '/dead'))}")
            # Waiting for it kept the survivor's session without a ping.
            survivor.client.ping()
        client.close_session()
        acknowledged = sum(w.acknowledged for w in writers)
        print(
            f"round {number:3}: {way:20} {acknowledged:7} acknowledged,"
            f" {unanswered:3} unanswered, checked in {time.monotonic() - recovered:.2f} s"
            f" ({time.monotonic() - started:.2f} s)",
            flush=True,
        )
        if problems:
            print(f"FAILED in round {number}, --seed {args.seed}:")
            for problem in problems[:30]:
                print(f"  {problem}")
            if len(problems) > 30:
                print(f"  ... and {len(problems) - 30} more")
            print(server.log_tail(30))
            return passed, 1
        passed += 1
    server.destroy()
    return passed, 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--writers", type=int, default=6)
    parser.add_argument("--load", type=float, default=0.6, help="longest load in a round, s")
    parser.add_argument(
        "--sabotage",
        choices=SABOTAGE,
        help="do the server's worst by hand before a check: it must be found (exit code 0 if so)",
    )
    parser.add_argument("-o", "--option", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    print(f"{args.server}, {args.rounds} rounds, seed {args.seed}", flush=True)
    try:
        passed, failed = run(args)
    except (Violation, ConnectionLost, TimeoutError) as error:
        print(f"FAILED, --seed {args.seed}: {error}")
        passed, failed = 0, 1
    if args.sabotage:
        print("sabotage " + ("found" if failed else "NOT found"))
        return 0 if failed else 1
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
