"""Throughput by the number of partitions, each on servers of its own: what S-SMR is for.

All servers share this machine, so each is a container with a small quota of CPU:
it stands for a small machine, and so many of them still fit.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import docker_suite
import load
from cluster import Cluster
from load import VOLERY, Arena, Point, Progress, Sample, Subject, median
from report import Row, ScalingRow
from server import NotReady, Server

REPLICAS = 3
# Of one core for each server: 24 of them and the client must fit.
QUOTA = 0.04
# The kernel gives at least a millisecond in each period. A short period keeps pauses short.
PERIOD_US = 25_000
ACCEPTORS = 3  # of ring 0, each at another partition where there are so many
SIZES = (100, 1_000, 10_000)
SHARES = (1, 5, 10, 50)
NUMBERS = (1, 2, 4, 8)
JUDGED = 8
SESSIONS, OUTSTANDING = 8, 16  # sessions for each partition
UP = 60.0  # planned seconds to start all servers of a number, with the settling


class Contained(Server):
    """A server in a container of its own, with a quota of CPU, on the machine's own network."""

    image = ""

    def start(self, timeout: float = 60.0, wait: bool = True) -> "Contained":
        self.data.mkdir(parents=True, exist_ok=True)
        config = self._write_config()
        self.name = f"{docker_suite.NAME}-{self.port}"
        docker_suite.run(
            "docker", "run", "-d", "--name", self.name, "--network", "host",
            "--cpu-period", str(PERIOD_US), "--cpu-quota", str(round(QUOTA * PERIOD_US)),
            "--user", f"{os.getuid()}:{os.getgid()}", "-v", f"{self.directory}:{self.directory}",
            "--entrypoint", "volery-server", self.image, config,
        )  # fmt: skip
        return self

    @property
    def pids(self) -> list[int]:
        state = self._state()
        return [state["Pid"]] if state.get("Running") else []

    @property
    def running(self) -> bool:
        return bool(self._state().get("Running"))

    def _state(self) -> dict:
        done = docker_suite.run("docker", "inspect", getattr(self, "name", "-"), check=False)
        return json.loads(done.stdout)[0]["State"] if done.returncode == 0 else {}

    def kill(self) -> None:
        docker_suite.run("docker", "rm", "-f", "-v", getattr(self, "name", "-"), check=False)

    def log_tail(self, lines: int = 40) -> str:
        done = docker_suite.run("docker", "logs", "--tail", str(lines), self.name, check=False)
        return done.stdout + done.stderr


class Scattered(Cluster):
    """Partition p lives on servers of its own, and on no other's."""

    server_type = Contained

    def __init__(self, directory: Path, partitions: int) -> None:
        hosts = [
            [p + partitions * replica + 1 for replica in range(REPLICAS)]
            for p in range(partitions)
        ]
        config = {"partitions": str(partitions), "log.level": "warn"}
        for number, servers in enumerate(hosts, 1):
            roots = range(number - 1, load.ROOTS, partitions)
            config[f"partition.{number}.prefixes"] = ",".join(f"/bench-{r}" for r in roots)
            config[f"partition.{number}.servers"] = ",".join(map(str, servers))
        if partitions > 1:
            # The first replicas of the partitions, then the second ones.
            config["ring.0.servers"] = ",".join(map(str, range(1, ACCEPTORS + 1)))
        super().__init__(VOLERY, directory, config, partitions * REPLICAS)


def points(mode) -> list[Point]:
    sizes = SIZES if mode.full else SIZES[:1]
    shares = SHARES if mode.full else (10,)
    local = [Point("set", outstanding=OUTSTANDING, size=size) for size in sizes]
    return local + [replace(local[0], multi_percent=share) for share in shares]


def numbers(mode) -> tuple[int, ...]:
    return {"full": NUMBERS, "quick": (1, 2, 8), "smoke": (1, 2)}[mode.name]


def planned(section: str, mode) -> float:
    each = mode.rounds * (mode.seconds + 2) * len(points(mode))
    return len(numbers(mode)) * (UP + mode.warmup + each)


def measure(section: str, mode, base: Path, progress: Progress) -> list[Row]:
    try:
        containers = docker_suite.Containers(*docker_suite.look_around())
    except docker_suite.Skip as why:
        progress.note(f"{section}: not possible here: {why}")
        return []
    containers.build()
    Contained.image = containers.image
    samples: dict[tuple[int, Point], list[Sample]] = {}
    try:
        for number in numbers(mode):
            samples |= measure_number(section, number, mode, base, progress)
    except NotReady as why:
        progress.note(f"{section}: not possible with this server: {why}")
    finally:
        docker_suite.run("docker", "rmi", "-f", containers.image, check=False)
    return rows(section, samples, mode)


def measure_number(
    section: str, number: int, mode, base: Path, progress: Progress
) -> dict[tuple[int, Point], list[Sample]]:
    make = lambda directory: Scattered(directory, number)  # noqa: E731
    subject = Subject(f"{VOLERY} {number}", VOLERY, make=make)
    found: dict[tuple[int, Point], list[Sample]] = {}
    with Arena(base, [subject]) as arena:
        chosen = [replace(point, sessions=SESSIONS * number) for point in points(mode)]
        load.run(subject, chosen[0], mode.warmup, 0)
        progress.step(UP + mode.warmup, f"{section}: {number} partitions are up and warm")
        for point, sized in zip(points(mode), chosen, strict=True):
            for _ in range(mode.rounds):
                sample = arena.measure(subject, sized, mode.seconds, 1.0)
                found.setdefault((number, point), []).append(sample)
                progress.step(
                    mode.seconds + 2,
                    f"{section}: {number} partitions, {point.size:,} B,"
                    f" {point.multi_percent} % multi: {sample.ops:,.0f}/s",
                )
    return found


def rows(section: str, samples: dict[tuple[int, Point], list[Sample]], mode) -> list[Row]:
    result: list[Row] = []
    for point in points(mode):
        one = median(samples[1, point]).ops if (1, point) in samples else None
        for number in numbers(mode):
            if one is None or (number, point) not in samples:
                continue
            # A command over two partitions takes the work of two.
            twice = 1 + point.multi_percent / 100 if number > 1 else 1
            local = not point.multi_percent
            result.append(
                ScalingRow(
                    section,
                    "setData" if local else f"setData, {point.multi_percent} % over two partitions",
                    f"{SESSIONS} sessions a partition × {OUTSTANDING}, {point.size:,} B",
                    number,
                    number * REPLICAS,
                    median(samples[number, point]),
                    one,
                    number * one / twice,
                    judged=local and number == JUDGED and mode.name != "smoke",
                    rounds=samples[number, point],
                )
            )
    return result
