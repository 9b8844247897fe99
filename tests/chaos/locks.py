"""Locks by kazoo's recipe, guarding a counter that lies in another partition.

Whoever holds the lock reads the counter, and writes it one higher in a multi with a check that the
lock's znode is there: the service itself fences. So no two may ever write the same number, the
order of the numbers must be the order of the locks' zxids, and no number may be missing but those
whose writing has an unknown result. And no two may *believe* to hold the lock at one time: a holder
that hears its connection is gone holds it no longer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import LockTimeout
from workload import LOSSES, PATIENCE, ROOTS, connect, leave

WORKERS = 3


@dataclass
class Lock:
    """One lock and what is known of its holders."""

    path: str
    counter: str
    # (number written, czxid of the lock's znode), acknowledged.
    written: list[tuple[int, int]] = field(default_factory=list)
    unknown: int = 0
    held_twice: list[str] = field(default_factory=list)
    holder: str | None = None
    guard: threading.Lock = field(default_factory=threading.Lock)

    def take(self, name: str) -> None:
        with self.guard:
            if self.holder is not None:
                self.held_twice.append(f"{self.path} by {self.holder} and {name}")
            self.holder = name

    def give_up(self, name: str) -> None:
        with self.guard:
            if self.holder == name:
                self.holder = None

    def check(self, final: int) -> None:
        """All that must be true at the end."""
        assert not self.held_twice, f"held twice: {self.held_twice[:5]}"
        numbers = [number for number, _ in self.written]
        assert len(set(numbers)) == len(numbers), "two holders wrote the same number"
        by_number = [fence for _, fence in sorted(self.written)]
        assert by_number == sorted(by_number), "a later holder has a lower zxid"
        assert len(set(by_number)) == len(by_number), "one lock counted twice"
        most = len(numbers) + self.unknown
        assert len(numbers) <= final <= most, (
            f"{self.counter} is {final}: {len(numbers)} were acknowledged, {self.unknown} unknown"
        )
        assert not numbers or max(numbers) <= final, "an acknowledged number is gone"


class Worker:
    """One that wants the lock, over and over."""

    def __init__(self, lock: Lock, name: str, addresses: list[str]) -> None:
        self.lock = lock
        self.name = name
        self.client: KazooClient = connect(addresses)
        self.connected = True
        self.client.add_listener(self._changed)

    def _changed(self, state: str) -> None:
        self.connected = state == KazooState.CONNECTED
        if not self.connected:
            self.lock.give_up(self.name)

    def turn(self) -> None:
        """Takes the lock once, counts, and gives it back."""
        recipe = self.client.Lock(self.lock.path, self.name)
        recipe.acquire(timeout=PATIENCE)
        if self.connected:
            self.lock.take(self.name)
        try:
            self._count(f"{self.lock.path}/{recipe.node}")
        finally:
            self.lock.give_up(self.name)
        recipe.release()

    def _count(self, znode: str) -> None:
        stat = self.client.exists(znode)
        if stat is None:
            return
        self.client.sync(self.lock.counter)
        number = int(self.client.get(self.lock.counter)[0]) + 1
        multi = self.client.transaction()
        multi.check(znode, -1)
        multi.set_data(self.lock.counter, str(number).encode())
        try:
            refused = [a for a in multi.commit() if isinstance(a, Exception)]
        except LOSSES:
            with self.lock.guard:
                self.lock.unknown += 1
            raise
        if not refused:
            with self.lock.guard:
                self.lock.written.append((number, stat.czxid))

    def begin_anew(self) -> None:
        """After an error nobody knows what znode there is of the old session: it goes."""
        leave(self.client)
        self.client.start(PATIENCE)


class Locks:
    """Two locks, each in another partition, and their workers."""

    def __init__(self, addresses: list[str]) -> None:
        self.locks = [
            Lock(f"{ROOTS[0]}/lock", f"{ROOTS[1]}/counted"),
            Lock("/lock", f"{ROOTS[0]}/counted"),
        ]
        self.addresses = addresses
        self.broken: list[str] = []
        self._stop = threading.Event()
        first = connect(addresses)
        for lock in self.locks:
            first.create(lock.counter, b"0", makepath=True)
            first.ensure_path(lock.path)
        leave(first)
        self.workers = [
            Worker(lock, f"{lock.path}-{n}", addresses)
            for lock in self.locks
            for n in range(WORKERS)
        ]
        self.threads = [threading.Thread(target=self._work, args=(w,)) for w in self.workers]
        for thread in self.threads:
            thread.daemon = True
            thread.start()

    def _work(self, worker: Worker) -> None:
        while not self._stop.wait(0.02):
            try:
                try:
                    worker.turn()
                except (*LOSSES, LockTimeout):
                    worker.begin_anew()
            except Exception as error:
                self.broken.append(f"{worker.name}: {type(error).__name__}: {error}")

    def counts(self) -> list[int]:
        return [len(lock.written) for lock in self.locks]

    def queues(self) -> str:
        """Who stands in line, as every server sees it: a znode of a session that nobody has any more
        is the service's fault, one of a worker's session that does not wait for it the client's."""
        sessions = {
            (worker.client.client_id or (0,))[0]: worker.name for worker in self.workers
        }
        lines = [f"sessions {({f'0x{id:x}': name for id, name in sessions.items()})}"]
        for address in self.addresses:
            client = connect([address])
            for lock in self.locks:
                client.sync(lock.path)
                for name in sorted(client.get_children(lock.path), key=lambda name: name[-10:]):
                    if stat := client.exists(f"{lock.path}/{name}"):
                        owner = sessions.get(stat.ephemeralOwner, "nobody here")
                        lines.append(f"{address} {lock.path}/{name} 0x{stat.ephemeralOwner:x} {owner}")
            leave(client)
        return "\n  ".join(lines)

    def stop(self) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join(2 * PATIENCE)
            assert not thread.is_alive(), "a worker hangs"
        for worker in self.workers:
            leave(worker.client)

    def check(self) -> str:
        client = connect(self.addresses)
        for lock in self.locks:
            client.sync(lock.counter)
            lock.check(int(client.get(lock.counter)[0]))
        leave(client)
        counts = " and ".join(map(str, self.counts()))
        unknown = sum(lock.unknown for lock in self.locks)
        return f"locks were held {counts} times, one at a time; {unknown} unknown"
