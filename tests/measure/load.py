"""Servers side by side and one load on one of them: what every row is made of.

All servers of an arena are up all the time, since a JVM that was stopped
would be cold again; only one is under load at any time. That the others
really idle is measured, not assumed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import machine
from cluster import Cluster
from server import JAVA_CLASS_PATH, Server, volery_binary

VOLERY, ZOOKEEPER = "volery", "zookeeper"
# Debian's ZooKeeper sets no heap size; this is enough for a million znodes.
HEAP = "4g"
# Of each server of a cluster: six processes share the machine's memory.
CLUSTER_HEAP = "2g"
# Of the load generator. One thread is enough for every server on two cores.
THREADS = 1
# Top-level znodes; sessions are spread over them, and they over the partitions.
ROOTS = 16
# Between two loads, for what the last one left behind: a collection, a snapshot.
PAUSE = 0.5
PACE_IS_KNOWN = 60.0

OPERATIONS = {
    "set": "setData",
    "get": "getData",
    "exists": "exists",
    "mixed": "90 % getData, 10 % setData",
    "create": "create",
    "createdelete": "create and delete in turn",
    "multi1": "multi of two setData, one partition",
    "multi2": "multi of two setData, two partitions",
    "session": "open and close a session",
}


@dataclass(frozen=True)
class Point:
    """One load."""

    op: str
    sessions: int = 64
    outstanding: int = 16
    size: int = 100
    paths: int = 2_000
    # Every session uses all roots, and so all partitions, not just one.
    cross: bool = False
    # Share of multis over two roots among setData.
    multi_percent: int = 0

    @property
    def setting(self) -> str:
        if self.op == "session":
            return f"{self.sessions} at once"
        across = ", each in all roots" if self.cross else ""
        multis = f", {self.multi_percent} % multi" if self.multi_percent else ""
        return f"{self.sessions} × {self.outstanding}, {self.size:,} B{across}{multis}"


@dataclass
class Sample:
    """What one load, or the median over rounds, came to."""

    ops: float
    p50: float
    p99: float
    p999: float
    server_cpu: float  # µs an operation
    client_cpu: float
    errors: int
    idle_servers: float = 0.0  # share of the machine
    others: float = 0.0

    @property
    def client_share(self) -> float:
        """Share of the machine that the load generator used."""
        return self.client_cpu * self.ops / 1e6 / machine.CORES

    def document(self) -> dict[str, float]:
        return {key: round(value, 4) for key, value in asdict(self).items()} | {
            "client_share": round(self.client_share, 4)
        }


def median(samples: list[Sample]) -> Sample:
    """Field by field; errors are added up."""
    fields = {
        name: statistics.median(getattr(sample, name) for sample in samples)
        for name in Sample.__dataclass_fields__
    }
    return Sample(**fields | {"errors": sum(sample.errors for sample in samples)})


@dataclass
class Subject:
    """A server, or a cluster, with a label that tells it from others of its kind."""

    label: str
    kind: str
    config: dict[str, str] = field(default_factory=dict)
    size: int = 1
    # Something else than `new_server` makes.
    make: Callable[[Path], Server | Cluster] | None = None
    server: Server | Cluster | None = None

    @property
    def pids(self) -> list[int]:
        return self.server.pids


def client_binary() -> Path:
    return volery_binary().with_name("volery")


def new_server(
    kind: str, directory: Path, config: dict[str, str] | None = None, size: int = 1
) -> Server | Cluster:
    if size > 1:
        return Cluster(kind, directory, config, size, CLUSTER_HEAP)
    return Server(kind, config, directory=directory, heap=HEAP)


def bench_command(addresses: str, *arguments: object) -> list[str]:
    """The load generator's, against these servers."""
    command = [client_binary(), "--json", "--server", addresses, "--timeout", "30s", "bench"]
    return list(map(str, [*command, "--threads", THREADS, *arguments]))


def bench(subject: Subject | Server, *arguments: object) -> dict:
    """Runs the load generator and returns its figures."""
    server = subject.server if isinstance(subject, Subject) else subject
    pids = ",".join(map(str, server.pids))
    command = bench_command(server.address, "--server-pid", pids, *arguments)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"volery bench against {server.kind} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def run(subject: Subject, point: Point, seconds: float, warmup: float) -> dict:
    roots = min(ROOTS, point.paths)
    more = ["--cross"] if point.cross else []
    more += ["--multi-percent", point.multi_percent] if point.multi_percent else []
    return bench(
        subject, *more, "--op", point.op, "--sessions", point.sessions, "--outstanding",
        point.outstanding, "--size", point.size, "--paths", point.paths, "--roots", roots,
        "--warmup", f"{round(warmup * 1000)}ms", "--duration", f"{round(seconds * 1000)}ms",
    )  # fmt: skip


class Arena:
    """Fresh servers, side by side on one file system."""

    def __init__(self, base: Path, subjects: list[Subject]) -> None:
        self.subjects = subjects
        self._directory = tempfile.TemporaryDirectory(prefix="figures-", dir=base)

    def __enter__(self) -> "Arena":
        try:
            return self._start()
        except BaseException:
            self.__exit__()
            raise

    def _start(self) -> "Arena":
        root = Path(self._directory.name)
        for subject in self.subjects:
            directory = root / subject.label.replace(" ", "-")
            make = subject.make or (
                lambda at, of=subject: new_server(of.kind, at, of.config, of.size)
            )
            subject.server = make(directory)
            subject.server.start()
        return self

    def __exit__(self, *exc) -> None:
        for subject in self.subjects:
            if subject.server:
                # Frees the memory of a server that may have been filled; nobody reads its data.
                subject.server.kill()
        self._directory.cleanup()

    def warm(self, points: list[Point], seconds: float, progress) -> None:
        """Keeps each server busy with the operations that will be measured."""
        operations = {point.op: point for point in reversed(points)}
        share = seconds / len(operations)
        for subject in self.subjects:
            for point in operations.values():
                run(subject, replace(point, sessions=64), share, 0)
            progress.step(seconds, f"warmed {subject.label} for {seconds:g} s")

    def measure(self, subject: Subject, point: Point, seconds: float, warmup: float) -> Sample:
        time.sleep(PAUSE)
        idle = [pid for other in self.subjects if other is not subject for pid in other.pids]
        meter = machine.UsageMeter(subject.pids, idle)
        figures = run(subject, point, seconds, warmup)
        usage = meter.stop()
        latency = figures["latencyUs"]
        return Sample(
            ops=figures["operationsPerSecond"],
            p50=latency["p50"],
            p99=latency["p99"],
            p999=latency["p99.9"],
            server_cpu=figures["serverCpuUsPerOp"],
            client_cpu=figures["clientCpuUsPerOp"],
            errors=sum(figures["errors"].values()) + figures["lost"],
            idle_servers=usage.idle_servers,
            others=usage.others,
        )


class Progress:
    """Lines on stderr, with the time that is left as the plan and the pace so far have it."""

    def __init__(self, planned: float) -> None:
        self._planned, self._done, self._begun = planned, 0.0, time.monotonic()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Something to say beside the figures; it stands above the tables too."""
        self.notes.append(text)
        print(text, file=sys.stderr, flush=True)

    def step(self, planned: float, text: str) -> None:
        self._done += planned
        elapsed = time.monotonic() - self._begun
        # As planned for the first minute, more and more as it really goes after that.
        pace = (elapsed + PACE_IS_KNOWN) / (self._done + PACE_IS_KNOWN)
        left = max(0.0, self._planned - self._done) * pace
        unit = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        print(f"[{elapsed:5.0f} s, about {unit} left] {text}", file=sys.stderr, flush=True)


def zookeeper_version() -> str:
    """Debian's, with its patches."""
    query = ["dpkg-query", "-W", "-f", "${Version}", "zookeeper"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
        return f"ZooKeeper {done.stdout} (Debian)"
    except (OSError, subprocess.CalledProcessError):
        return "ZooKeeper"


def versions() -> dict[str, str]:
    """Of both servers and of Java; fails where one is missing."""
    try:
        volery = subprocess.run([volery_binary(), "--version"], capture_output=True, text=True)
        java = subprocess.run(["java", "-version"], capture_output=True, text=True)
    except OSError as error:
        raise SystemExit(f"cannot measure: {error}") from None
    if not os.access(client_binary(), os.X_OK):
        raise SystemExit(f"cannot measure: no {client_binary()}")
    jar = Path(JAVA_CLASS_PATH.split(":")[0])
    if not jar.exists():
        raise SystemExit(f"cannot measure: no {jar} (Debian's package zookeeper)")
    return {
        "volery": volery.stdout.strip(),
        "zookeeper": zookeeper_version(),
        "java": java.stderr.splitlines()[0],
    }
