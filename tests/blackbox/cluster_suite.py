#!/usr/bin/env python3
"""Three server processes form a cluster; kazoo works on it while servers die.

    cluster_suite.py [--server zookeeper] [--seed N] [-k part of a name]

Every test begins and ends with all three up. What was acknowledged must be
there afterwards, at every server, once; and the survivors must go on within
the time that a client's retries bridge.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry
from server import Server, add_server_option, free_port, poll, volery_binary

SERVERS = 3
# Far above what a failover takes here on an idle machine (0.1 to 0.5 s).
PATIENCE = 20.0


class Cluster:
    """Three servers, numbered from 1."""

    def __init__(self, kind: str, **options: str | int) -> None:
        lines = {f"server.{n}": self.new_line() for n in range(1, SERVERS + 1)}
        limits = {"tickTime": 500, "initLimit": 10, "syncLimit": 5, "snapCount": 500}
        self.servers = [Server(kind, lines | limits | options) for _ in lines]
        for number, server in enumerate(self.servers, 1):
            self.write_id(number, server)

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(self, error: type | None, *rest) -> None:
        if error is not None:
            tell(self)
        for server in self.servers:
            server.destroy()

    @staticmethod
    def new_line() -> str:
        return f"127.0.0.1:{free_port()}:{free_port()}"

    @staticmethod
    def write_id(number: int, server: Server) -> None:
        server.data.mkdir(parents=True, exist_ok=True)
        (server.data / "myid").write_text(f"{number}\n")

    def start(self) -> None:
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            server.wait_ready()

    def client(self, *servers: Server, timeout: float = 4.0) -> KazooClient:
        """A started client of these servers, or of all."""
        hosts = ",".join(server.address for server in servers or self.servers)
        retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5, deadline=PATIENCE)
        client = KazooClient(hosts, timeout=timeout, connection_retry=retry, command_retry=retry)
        client.start(PATIENCE)
        return client

    def modes(self) -> list[str]:
        def mode(server: Server) -> str:
            lines = server.four_letter("srvr").splitlines()
            return next((line[6:] for line in lines if line.startswith("Mode: ")), "")

        return [mode(server) for server in self.servers]

    def leader(self) -> Server:
        """The server that coordinates ring 0."""

        def found() -> Server | None:
            modes = self.modes()
            leads = [s for s, mode in zip(self.servers, modes, strict=True) if mode == "leader"]
            return leads[0] if len(leads) == 1 else None

        return poll(found, PATIENCE, "one server leads")


def tree(client: KazooClient, path: str = "/") -> dict[str, tuple[bytes, int]]:
    """Every znode but ZooKeeper's own: path → data and version."""
    client.sync(path)
    found = {}
    for name in client.get_children(path):
        below = f"{path.rstrip('/')}/{name}"
        if below == "/zookeeper":
            continue
        data, stat = client.get(below)
        found[below] = (data, stat.version)
        if stat.numChildren:
            found |= tree(client, below)
    return found


def same_everywhere(cluster: Cluster) -> dict[str, tuple[bytes, int]]:
    trees = []
    for server in cluster.servers:
        client = cluster.client(server)
        trees.append(tree(client))
        client.stop()
        client.close()
    for other in trees[1:]:
        assert other == trees[0], f"{set(other.items()) ^ set(trees[0].items())}"
    return trees[0]


class Writers:
    """Threads that create unique znodes in several partitions until told to stop."""

    def __init__(self, cluster: Cluster, count: int = 3) -> None:
        self.acknowledged: list[str] = []
        self.longest = 0.0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        clients = [cluster.client() for _ in range(count)]
        self.threads = [
            threading.Thread(target=self._write, args=(number, client), daemon=True)
            for number, client in enumerate(clients)
        ]
        for thread in self.threads:
            thread.start()

    def _write(self, number: int, client: KazooClient) -> None:
        for root in range(4):
            client.ensure_path(f"/w{root}")
        at = 0
        while not self._stop.is_set():
            path = f"/w{at % 4}/n-{number}-{os.getpid()}-{id(self)}-{at}"
            began = time.monotonic()
            try:
                client.create(path, b"x")
            except (KazooException, KazooTimeoutError):
                # Unknown: it may be there or not.
                pass
            else:
                with self._lock:
                    self.acknowledged.append(path)
            with self._lock:
                self.longest = max(self.longest, time.monotonic() - began)
            at += 1
        client.stop()
        client.close()

    def count(self) -> int:
        with self._lock:
            return len(self.acknowledged)

    def go_on(self, more: int = 50) -> None:
        """Waits until so many more writes are acknowledged."""
        goal = self.count() + more
        poll(lambda: self.count() >= goal, PATIENCE, f"{more} more writes are acknowledged")

    def stop(self) -> list[str]:
        self._stop.set()
        for thread in self.threads:
            thread.join(PATIENCE * 2)
            assert not thread.is_alive(), "a writer hangs"
        return self.acknowledged


def nothing_lost(cluster: Cluster, acknowledged: list[str]) -> None:
    there = same_everywhere(cluster)
    lost = [path for path in acknowledged if path not in there]
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged writes are gone: {lost[:5]}"


# -- the tests ---------------------------------------------------------------


def test_all_serve_one_tree(cluster: Cluster) -> None:
    first, second, third = (cluster.client(server) for server in cluster.servers)
    first.create("/one", b"1")
    second.sync("/one")
    assert second.get("/one")[0] == b"1"
    seen = threading.Event()
    third.sync("/one")
    third.get("/one", watch=lambda event: seen.set())
    second.set("/one", b"2")
    assert seen.wait(PATIENCE), "a watch at another server does not fire"
    with third.transaction() as multi:
        multi.check("/one", 1)
        multi.create("/two", b"")
        multi.create("/three", b"")
    first.sync("/two")
    assert first.exists("/two") and first.exists("/three")
    for client in (first, second, third):
        client.stop()
        client.close()
    assert sorted(cluster.modes()) == ["follower", "follower", "leader"], cluster.modes()


def test_kill_any_server_under_load(cluster: Cluster) -> None:
    writers = Writers(cluster)
    for round_number in range(6):
        writers.go_on()
        victim = cluster.leader() if round_number % 2 else random.choice(cluster.servers)
        victim.kill()
        writers.go_on()
        victim.start()
    acknowledged = writers.stop()
    print(f"  {len(acknowledged)} writes; the longest took {writers.longest:.2f} s")
    nothing_lost(cluster, acknowledged)


def test_a_hung_server(cluster: Cluster) -> None:
    writers = Writers(cluster)
    writers.go_on()
    victim = cluster.leader()
    victim.process.send_signal(signal.SIGSTOP)
    try:
        writers.go_on(200)
    finally:
        victim.process.send_signal(signal.SIGCONT)
    writers.go_on()
    nothing_lost(cluster, writers.stop())


def test_all_die_at_once(cluster: Cluster) -> None:
    writers = Writers(cluster)
    writers.go_on(100)
    for server in cluster.servers:
        server.kill()
    cluster.start()
    writers.go_on()
    nothing_lost(cluster, writers.stop())


def test_an_empty_disk(cluster: Cluster) -> None:
    """A server comes back without anything, and learns it all from the others."""
    writers = Writers(cluster)
    writers.go_on(100)
    victim = random.choice(cluster.servers)
    number = cluster.servers.index(victim) + 1
    victim.kill()
    shutil.rmtree(victim.data)
    Cluster.write_id(number, victim)
    # More than the others keep in memory and log, so that values alone do not bring it back.
    load(*others(cluster, victim), size=100_000, seconds=5)
    victim.start(wait=False)
    if victim.kind == "volery":
        poll(lambda: lines(victim, "snapshot received"), PATIENCE, "a snapshot arrives")
    victim.wait_ready()
    writers.go_on()
    nothing_lost(cluster, writers.stop())


def test_back_after_a_long_absence(kind: str) -> None:
    """A server misses more than the others keep in memory, and less than their logs hold."""
    with Cluster(kind, snapCount=1_000_000) as cluster:
        writers = Writers(cluster)
        writers.go_on(100)
        victim = cluster.servers[1]
        victim.kill()
        load(*others(cluster, victim), size=100_000, seconds=5)
        victim.start()
        writers.go_on()
        nothing_lost(cluster, writers.stop())
        if kind == "volery":
            helped = [s for s in others(cluster, victim) if lines(s, "reading the log for")]
            assert helped, "memory was enough: the test wrote too little"
            assert not lines(victim, "receiving a snapshot"), "the log was not enough"


def test_a_server_is_replaced(kind: str) -> None:
    """Another machine takes a server's number: an empty disk, another address."""
    with Cluster(kind, clusterId="the-same") as cluster:
        writers = Writers(cluster)
        writers.go_on(100)
        number = random.randrange(1, SERVERS + 1)
        old = cluster.servers[number - 1]
        old.kill()
        line = cluster.new_line()
        for server in cluster.servers:
            server.config[f"server.{number}"] = line
        new = Server(kind, dict(old.config), port=old.port)
        Cluster.write_id(number, new)
        cluster.servers[number - 1] = new
        new.start(wait=False)
        # The others learn the address one after the other.
        for server in others(cluster, new):
            server.restart()
        new.wait_ready()
        writers.go_on()
        nothing_lost(cluster, writers.stop())


def test_a_transfer_that_breaks_off(kind: str) -> None:
    """Receiver and sender of a large snapshot are killed in the middle, while all others go on and
    write newer ones; the rest follows."""
    if kind != "volery":
        return
    options = {"transfer.bytesPerSecond": 3_000_000}
    with Cluster(kind, **options) as cluster:
        victim = cluster.servers[2]
        victim.kill()
        shutil.rmtree(victim.data)
        Cluster.write_id(3, victim)
        load(*others(cluster, victim), size=100_000, paths=400, seconds=8)
        writers = Writers(cluster)
        victim.start(wait=False)

        def far(server: Server, words: str) -> list[re.Match]:
            """The lines that tell of the middle of a large snapshot: whose or to whom, and where."""
            found = (re.search(r"(?:from|to)=(\d) .*(?:have|from)=(\d+)", line)
                     for line in lines(server, words))  # fmt: skip
            return [match for match in found if match and int(match[2]) > 4_000_000]

        def arriving() -> list[re.Match]:
            return far(victim, "receiving a snapshot")

        first = poll(arriving, 3 * PATIENCE, "some of it arrives")[0]
        sender = cluster.servers[int(first[1]) - 1]
        victim.kill()
        # Whatever the others' next snapshots are, it is this one that goes on.
        writers.go_on(300)
        before = len(arriving())
        victim.start(wait=False)
        again = poll(lambda: arriving()[before:], PATIENCE, "it goes on")[0]
        assert again[1] == first[1], "another one is asked, and what was there is lost"
        sender.kill()
        sender.start(wait=False)
        poll(lambda: far(sender, "sending a snapshot"), PATIENCE, "the sender goes on")
        poll(lambda: lines(victim, "snapshot received"), 6 * PATIENCE, "the snapshot arrives")
        victim.wait_ready(6 * PATIENCE)
        sender.wait_ready()
        writers.go_on()
        nothing_lost(cluster, writers.stop())


def others(cluster: Cluster, but: Server) -> list[Server]:
    return [server for server in cluster.servers if server is not but]


def lines(server: Server, words: str) -> list[str]:
    """The lines of a server's log with these words."""
    text = server.log_path.read_text(errors="replace")
    return [line for line in text.splitlines() if words in line]


def load(*servers: Server, size: int, seconds: int, paths: int = 100) -> None:
    """setData as fast as it goes, on one subtree."""
    hosts = ",".join(server.address for server in servers)
    command = [volery_binary().with_name("volery"), "bench", "--server", hosts, "--op", "set"]
    command += ["--size", str(size), "--sessions", "8", "--outstanding", "4", "--warmup", "0s"]
    command += ["--paths", str(paths), "--duration", f"{seconds}s"]
    subprocess.run(command, check=True, capture_output=True, timeout=4 * PATIENCE)


def test_no_majority_no_writes(cluster: Cluster) -> None:
    leader = cluster.leader()
    others = [server for server in cluster.servers if server is not leader]
    for server in others:
        server.kill()
    poll(lambda: "Mode:" not in leader.four_letter("srvr"), PATIENCE,
         "a server without a majority says that it is not serving")  # fmt: skip
    client = KazooClient(leader.address, timeout=2.0)
    try:
        client.start(3.0)
    except KazooTimeoutError:
        pass
    else:
        raise AssertionError("a session was opened without a majority")
    finally:
        client.stop()
        client.close()
    for server in others:
        server.start(wait=False)
    for server in others:
        server.wait_ready()
    client = cluster.client(leader)
    client.create("/again", b"")
    client.stop()
    client.close()


def test_linearizable_reads(cluster: Cluster) -> None:
    """With `reads=linearizable` a server shows what others were answered, without a sync."""
    first, second, _ = cluster.servers
    if second.kind != "volery":
        return  # ZooKeeper has no such option
    second.config["reads"] = "linearizable"
    second.restart()
    writer, reader = cluster.client(first), cluster.client(second)
    paths = [f"/linear-{n}" for n in range(4)]
    for path in paths:
        writer.create(path, b"")
    for number in range(300):
        path, data = paths[number % 4], str(number).encode()
        writer.set(path, data)
        assert reader.get(path)[0] == data, f"{path} is not {number} yet"
    for client in (writer, reader):
        client.stop()
        client.close()
    del second.config["reads"]
    second.restart()


def test_one_lock_at_a_time(cluster: Cluster) -> None:
    """A lock by ephemeral sequential znodes, while its holders' servers die."""
    held: list[str] = []
    violations: list[list[str]] = []
    fences: list[int] = []
    stop = threading.Event()
    guard = threading.Lock()

    def worker(name: str) -> None:
        client = cluster.client()
        lost = threading.Event()
        client.add_listener(lambda state: lost.set() if state == "LOST" else None)
        while not stop.is_set():
            lost.clear()
            lock = client.Lock("/lock", name)
            try:
                if not lock.acquire(timeout=PATIENCE):
                    continue
                fence = client.exists(f"/lock/{lock.node}").czxid
                with guard:
                    if not lost.is_set():
                        held.append(name)
                        fences.append(fence)
                        if len(held) > 1:
                            violations.append(list(held))
                time.sleep(0.005)
                with guard:
                    if name in held:
                        held.remove(name)
                lock.release()
            except (KazooException, KazooTimeoutError, AttributeError):
                with guard:
                    if name in held:
                        held.remove(name)
        client.stop()
        client.close()

    workers = [threading.Thread(target=worker, args=(f"w{n}",), daemon=True) for n in range(4)]
    for thread in workers:
        thread.start()
    for _ in range(3):
        goal = len(fences) + 30
        poll(lambda goal=goal: len(fences) >= goal, 2 * PATIENCE, "the lock goes around")
        victim = cluster.leader()
        victim.kill()
        goal = len(fences) + 30
        poll(lambda goal=goal: len(fences) >= goal, 2 * PATIENCE, "it goes around without one")
        victim.start()
    stop.set()
    for thread in workers:
        thread.join(3 * PATIENCE)
    assert not violations, f"held twice: {violations[:3]}"
    assert fences == sorted(fences), "fencing numbers went back"


# Of these each has a cluster of its own.
ALONE: list[Callable[[str], None]] = [
    test_a_server_is_replaced,
    test_back_after_a_long_absence,
    test_a_transfer_that_breaks_off,
]
TESTS: list[Callable[[Cluster], None]] = [
    test_all_serve_one_tree,
    test_kill_any_server_under_load,
    test_a_hung_server,
    test_all_die_at_once,
    test_an_empty_disk,
    test_no_majority_no_writes,
    test_linearizable_reads,
    test_one_lock_at_a_time,
]


def tell(cluster: Cluster) -> None:
    for server in cluster.servers:
        print(f"--- {server.address} (running: {server.running})\n{server.log_tail(15)}")


def tell_and_mend(cluster: Cluster) -> None:
    """What the servers said last; then all of them run again."""
    tell(cluster)
    for server in cluster.servers:
        server.start(wait=False)
    for server in cluster.servers:
        server.wait_ready()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("--seed", type=int, default=1, help="chooses the victims")
    parser.add_argument("-k", default="", help="only tests with this in their names")
    args = parser.parse_args()
    random.seed(args.seed)
    passed = failed = 0
    shared = [test for test in TESTS if args.k in test.__name__]
    cluster = Cluster(args.server)
    if shared:
        cluster.start()
    for test in [*shared, *(test for test in ALONE if args.k in test.__name__)]:
        began = time.monotonic()
        try:
            test(cluster if test in TESTS else args.server)
        except Exception as error:  # every failure is reported, and the next test runs
            failed += 1
            print(f"FAILED {test.__name__}: {type(error).__name__}: {error}", flush=True)
            if test in TESTS:
                tell_and_mend(cluster)
        else:
            passed += 1
            print(f"ok {test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
