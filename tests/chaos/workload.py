"""kazoo clients that read and write znodes together, and record what they see.

Every second there are new znodes, so that operations without a known result do not pile up on one
of them: four in pairs over two partitions each, and one alone. What a client's operations are comes
from the seed; when they happen does not. Values are unique.
"""

from __future__ import annotations

import random
import threading
import time

from history import History, Operation
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (
    BadVersionError,
    CancelledError,
    ConnectionClosedError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

PATIENCE = 30.0
SESSION_TIMEOUT = 4.0
CLIENTS = 5
EPOCH_SECONDS = 1.0
# Between two operations of a client: the machine has other things to do than to be a client.
PAUSE_SECONDS = 0.008

# What the servers answered; the operation is over.
ANSWERS = (NoNodeError, NodeExistsError, BadVersionError)
# Nobody knows whether the operation was done.
LOSSES = (
    CancelledError,
    ConnectionClosedError,
    ConnectionLoss,
    OperationTimeoutError,
    SessionExpiredError,
    KazooTimeoutError,
)

# The partitions that ROOTS lie in, whatever else the map says. The children of the root are spread
# over all of them, and to make or delete one takes two partitions.
ROOTS = ("/two", "/three")
MAP = {"partition.2.prefixes": ROOTS[0], "partition.3.prefixes": ROOTS[1]}


def connect(addresses: list[str], timeout: float = SESSION_TIMEOUT) -> KazooClient:
    """A client that comes back for as long as it takes, and repeats nothing by itself."""
    retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.3)
    client = KazooClient(",".join(addresses), timeout=timeout, connection_retry=retry)
    client.start(PATIENCE)
    return client


def leave(client: KazooClient) -> None:
    client.stop()
    client.close()


def pairs_of(epoch: int) -> list[tuple[str, str]]:
    """Znodes that multis name together."""
    return [
        (f"{ROOTS[0]}/a{epoch}", f"{ROOTS[1]}/b{epoch}"),
        (f"/c{epoch}", f"{ROOTS[0]}/d{epoch}"),
    ]


def keys_of(epoch: int) -> list[str]:
    return [key for pair in pairs_of(epoch) for key in pair] + [f"{ROOTS[1]}/e{epoch}"]


class Client:
    """One client and its thread's work."""

    def __init__(self, number: int, seed: int, history: History, addresses: list[str]) -> None:
        self.number = number
        self.history = history
        self.random = random.Random(f"{seed}/{number}")
        self.kazoo = connect(addresses)
        self.sessions_lost = 0
        self.kazoo.add_listener(self._changed)
        self.at = 0
        # Key → version as last seen, to write with.
        self.versions: dict[str, int] = {}

    def _changed(self, state: str) -> None:
        self.sessions_lost += state == KazooState.LOST

    def step(self, epoch: int) -> None:
        """One operation."""
        operation = self.history.begin(self.number, self._choose(epoch))
        try:
            result = self._call(operation)
        except LOSSES as error:
            operation.note = type(error).__name__
            return
        except ANSWERS as error:
            result = [type(error).__name__]
        self.history.end(operation, result)
        if result[0] == "ok":
            self._learn(operation, result)

    def _choose(self, epoch: int) -> list[list]:
        rng = self.random
        self.at += 1
        value = f"{self.number}.{self.at}"
        chosen = rng.random()
        if chosen < 0.7:
            key = rng.choice(keys_of(epoch))
            known = self.versions.get(key, 0)
            if chosen < 0.3:
                return [["read", key, None, -1]]
            if chosen < 0.4 or key not in self.versions:
                return [["create", key, value, -1]]
            if chosen < 0.45:
                return [["delete", key, None, rng.choice([-1, known])]]
            return [["set", key, value, rng.choice([-1, known])]]
        one, other = rng.sample(rng.choice(pairs_of(epoch)), 2)
        if chosen < 0.85:
            return [["set", one, value, -1], ["set", other, value, -1]]
        if chosen < 0.95:
            check = ["check", one, None, self.versions.get(one, 0)]
            return [check, ["set", other, value, self.versions.get(other, 0)]]
        return [["delete", one, None, -1], ["create", other, value, -1]]

    def _call(self, operation: Operation) -> list:
        if len(operation.parts) > 1:
            return self._multi(operation.parts)
        what, key, value, version = operation.parts[0]
        if what == "read":
            self.kazoo.sync(key)
            try:
                data, stat = self.kazoo.get(key)
            except NoNodeError:
                return ["ok", None]
            return ["ok", [data.decode(), stat.version]]
        if what == "set":
            return ["ok", self.kazoo.set(key, value.encode(), version).version]
        if what == "delete":
            self.kazoo.delete(key, version)
            return ["ok", None]
        self.kazoo.create(key, value.encode())
        return ["ok", 0]

    def _multi(self, parts: list[list]) -> list:
        multi = self.kazoo.transaction()
        for what, key, value, version in parts:
            if what == "set":
                multi.set_data(key, value.encode(), version)
            elif what == "create":
                multi.create(key, value.encode())
            elif what == "delete":
                multi.delete(key, version)
            else:
                multi.check(key, version)
        found = multi.commit()
        for answer in found:
            if isinstance(answer, LOSSES + ANSWERS):
                raise answer
        if any(isinstance(answer, Exception) for answer in found):
            kinds = [type(answer) for answer in found]
            assert set(kinds) <= {RolledBackError, RuntimeInconsistency}, kinds
            raise AssertionError(f"a multi that failed without a reason: {kinds}")
        answers = {"set": lambda stat: stat.version, "create": lambda path: 0}
        results = zip(parts, found, strict=True)
        return ["ok", *(answers.get(part[0], lambda _: None)(answer) for part, answer in results)]

    def _learn(self, operation: Operation, result: list) -> None:
        for part, answer in zip(operation.parts, result[1:], strict=True):
            if part[0] == "delete" or (part[0] == "read" and answer is None):
                self.versions.pop(part[1], None)
            elif part[0] == "read":
                self.versions[part[1]] = answer[1]
            elif part[0] != "check":
                self.versions[part[1]] = answer


class Workload:
    """The clients at work, until they are stopped."""

    def __init__(self, seed: int, addresses: list[str]) -> None:
        self.history = History()
        self.began = time.monotonic()
        self.epochs = 0
        self.broken: list[str] = []
        self._stop = threading.Event()
        first = connect(addresses)
        for root in ROOTS:
            first.ensure_path(root)
        leave(first)
        self.clients = [Client(n, seed, self.history, addresses) for n in range(CLIENTS)]
        self.threads = [threading.Thread(target=self._work, args=(c,)) for c in self.clients]
        for thread in self.threads:
            thread.daemon = True
            thread.start()

    def _work(self, client: Client) -> None:
        while not self._stop.wait(client.random.random() * 2 * PAUSE_SECONDS):
            epoch = int((time.monotonic() - self.began) / EPOCH_SECONDS)
            self.epochs = max(self.epochs, epoch + 1)
            try:
                client.step(epoch)
            except Exception as error:  # an answer that is none of those above
                self.broken.append(f"client {client.number}: {type(error).__name__}: {error}")

    def writes_done(self, since: float = 0.0) -> list[Operation]:
        """The writes that were acknowledged, as they were."""
        done = [
            op
            for op in list(self.history.operations)
            if op.known and op.writes and op.result[0] == "ok" and op.ended >= since
        ]
        return sorted(done, key=lambda op: op.ended)

    def longest_pause(self, since: float, until: float) -> float:
        """The longest time in between without an acknowledged write of anybody."""
        ends = [op.ended for op in self.writes_done(since) if op.ended <= until]
        moments = [since, *ends, until]
        return max(b - a for a, b in zip(moments, moments[1:], strict=False))

    def longest_wait(self, since: float, until: float) -> float:
        """The longest that one client waited for the end of an operation, whatever it was."""
        longest = 0.0
        for client in self.clients:
            mine = [op for op in list(self.history.operations) if op.client == client.number]
            starts = [op.began for op in mine if since <= op.began <= until] + [until]
            longest = max([longest, *(b - a for a, b in zip(starts, starts[1:], strict=False))])
        return longest

    def stop(self) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client hangs"
        for client in self.clients:
            leave(client.kazoo)

    def read_all(self, address: str) -> dict[str, list | None]:
        """Reads every znode once more, at one server, into the history."""
        kazoo = connect([address])
        keys = [key for epoch in range(self.epochs) for key in keys_of(epoch)]
        reads = [self.history.begin(-1, [["read", key, None, -1]]) for key in keys]
        kazoo.sync("/")
        found = {}
        waiting = [kazoo.get_async(key) for key in keys]
        for operation, answer in zip(reads, waiting, strict=True):
            try:
                data, stat = answer.get(timeout=PATIENCE)
                seen = [data.decode(), stat.version]
            except NoNodeError:
                seen = None
            self.history.end(operation, ["ok", seen])
            found[operation.keys[0]] = seen
        leave(kazoo)
        return found
