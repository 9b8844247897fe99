"""What clients see of a server that dies or hangs: how long they wait for their writes.

Both clusters are up all the time; only one is under load. A server that was
taken away is back, and has caught up, before the next one goes.
"""

from __future__ import annotations

import random
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import load
from answers import Answer, Writes, longest_gap, percentile
from cluster import Cluster
from load import VOLERY, ZOOKEEPER, Arena, Point, Progress, Subject
from report import MISSED, REACHED, SHOWN, Row, ValueRow
from server import Server, poll

SESSIONS, RATE = 24, 2_000
# Of the load before the server goes; the moment itself is random within as much again.
BEFORE = 1.0
# Whoever was not answered for so long at the end of the load has not come back.
STILL_OUT = 0.5
KILL_SECONDS = 8.0
# ZooKeeper's followers give a silent leader up after syncLimit, ten seconds by default.
HANG_SECONDS = {VOLERY: 8.0, ZOOKEEPER: 30.0}
KILL_MEDIAN, KILL_WORST = 0.3, 1.0
HANG_WORST = 2.0
OTHERS_WORSE = 2.0
# For the partitions that a dead server did not coordinate.
BESIDE_BEFORE, BESIDE_AFTER = 5.0, 3.0
SHUFFLES = 10


@dataclass
class Outage:
    """Seconds."""

    usual: float  # longest gap of a session before
    survivors: float  # longest gap of a session at a server that lives
    victims: float  # of one at the server that went, which has to find another
    over: bool  # all sessions wrote again before the load ended


def away(cluster: Cluster, victim: Server, hang: bool, seconds: float, directory: Path) -> Outage:
    """Takes a server away under load, and brings it back after it."""
    survivors = cluster.others(victim)
    # Clients of a server that hangs would have to notice that by themselves.
    servers = survivors if hang else [*survivors, victim]
    writes = Writes(directory, [s.address for s in servers], SESSIONS, RATE, seconds)
    try:
        time.sleep(BEFORE * (1 + random.random()))
        victim.process.send_signal(signal.SIGSTOP if hang else signal.SIGKILL)
        gone = time.time()
        answers = writes.finish()
    finally:
        writes.stop()
        if hang:
            victim.process.send_signal(signal.SIGCONT)
        else:
            victim.kill()
            victim.start(wait=False)
    cluster.back(victim)
    first, last = answers[0].at, max(answers[-1].at, writes.begun + seconds)

    def gap(chosen: Callable[[int], bool], begin: float, end: float) -> float:
        mine = [answer for answer in answers if chosen(answer.session % len(servers))]
        return longest_gap(mine, begin, end)

    return Outage(
        usual=gap(lambda server: True, first, gone),
        # The last answers before belong to the gap.
        survivors=gap(lambda server: server < len(survivors), gone - 0.1, last),
        victims=gap(lambda server: server >= len(survivors), gone - 0.1, last) if not hang else 0,
        over=longest_gap(answers, last - STILL_OUT, last) < STILL_OUT,
    )


def pair(config: dict[str, str] | None = None) -> list[Subject]:
    return [Subject(VOLERY, VOLERY, config or {}, 3), Subject(ZOOKEEPER, ZOOKEEPER, {}, 3)]


def measure(section: str, mode, base: Path, progress: Progress) -> list[Row]:
    hang = section == "cluster-hang"
    outages: dict[str, list[Outage]] = {VOLERY: [], ZOOKEEPER: []}
    rounds = mode.hangs if hang else mode.kills
    with Arena(base, pair()) as arena:
        progress.step(START, f"{section}: {len(arena.subjects)} clusters are up")
        arena.warm([Point("set")], mode.warmup, progress)
        for number in range(rounds):
            for subject in arena.subjects:
                cluster = subject.server
                victim = cluster.coordinator()
                rings = ", ".join(map(str, sorted(cluster.leads(victim))))
                seconds = HANG_SECONDS[subject.kind] if hang else kill_seconds(mode)
                outage = away(cluster, victim, hang, seconds, victim.directory)
                outages[subject.kind].append(outage)
                if not outage.over:
                    progress.note(f"{section}: {subject.kind}: one outage was longer than the load")
                progress.step(
                    seconds + RETURN,
                    f"{section}: round {number + 1} of {rounds}, {subject.kind}, who led {rings}:"
                    f" {outage.survivors:.3f} s, its own clients {outage.victims:.3f} s",
                )
    return hang_rows(outages) if hang else kill_rows(outages)


START, RETURN = 15.0, 4.0  # planned seconds


def planned(section: str, mode) -> float:
    if section == "cluster-partition":
        return 2 * mode.warmup + START + 2 * mode.kills * (BESIDE_BEFORE + BESIDE_AFTER + RETURN)
    warm = START + 2 * mode.warmup
    if section == "cluster-hang":
        return warm + mode.hangs * (sum(HANG_SECONDS.values()) + 2 * RETURN)
    return warm + mode.kills * 2 * (kill_seconds(mode) + RETURN)


def kill_seconds(mode) -> float:
    return KILL_SECONDS / 2 if mode.name == "smoke" else KILL_SECONDS


def value_row(
    section: str, what: str, values: dict[str, list[float]], of: Callable[[list[float]], float],
    target: str = SHOWN, limit: float | None = None, unit: str = "s",
) -> ValueRow:  # fmt: skip
    ours, theirs = (round(of(values[kind]), 4) for kind in (VOLERY, ZOOKEEPER))
    verdict = SHOWN if limit is None else REACHED if ours <= limit else MISSED
    rounds = {kind: [round(value, 4) for value in all_] for kind, all_ in values.items()}
    return ValueRow(section, what, unit, ours, theirs, target, verdict, rounds)


def of_each(outages: dict[str, list[Outage]], figure: str) -> dict[str, list[float]]:
    return {kind: [getattr(one, figure) for one in all_] for kind, all_ in outages.items()}


def kill_rows(outages: dict[str, list[Outage]]) -> list[Row]:
    section, median = "cluster-outage", statistics.median
    what = f"kill -9 of the server that coordinates most, {len(outages[VOLERY])} times"
    survivors, victims = of_each(outages, "survivors"), of_each(outages, "victims")
    return [
        value_row(section, f"{what}: no write acknowledged, median", survivors, median,
                  f"≤ {KILL_MEDIAN:g} s", KILL_MEDIAN),
        value_row(section, "the longest of them", survivors, max,
                  f"≤ {KILL_WORST:g} s", KILL_WORST),
        value_row(section, "the same for clients of the killed server, median", victims, median),
        value_row(section, "the longest of them, ", victims, max),
        value_row(section, "longest pause of a session before the kill, median",
                  of_each(outages, "usual"), median),
    ]  # fmt: skip


def hang_rows(outages: dict[str, list[Outage]]) -> list[Row]:
    section = "cluster-hang"
    what = f"SIGSTOP of the server that coordinates most, {len(outages[VOLERY])} times"
    survivors = of_each(outages, "survivors")
    return [
        value_row(section, f"{what}: no write acknowledged, median", survivors, statistics.median),
        value_row(section, "the longest of them", survivors, max,
                  f"≤ {HANG_WORST:g} s", HANG_WORST),
    ]  # fmt: skip


# -- partitions whose coordinator lives ---------------------------------------

TWO_PARTITIONS = {
    "partitions": "2",
    **{
        f"partition.{number}.prefixes": ",".join(
            f"/bench-{root}" for root in range(number - 1, load.ROOTS, 2)
        )
        for number in (1, 2)
    },
}


def measure_beside(section: str, mode, base: Path, progress: Progress) -> list[Row]:
    """One server dies that coordinates one of two partitions and not ring 0: the writes of the
    other partition. ZooKeeper has no partitions: a follower dies, and all writes count."""
    usual: dict[str, list[float]] = {VOLERY: [], ZOOKEEPER: []}
    around: dict[str, list[float]] = {VOLERY: [], ZOOKEEPER: []}
    with Arena(base, pair(TWO_PARTITIONS)) as arena:
        progress.step(START, f"{section}: {len(arena.subjects)} clusters are up")
        arena.warm([Point("set")], mode.warmup, progress)
        for number in range(mode.kills):
            for subject in arena.subjects:
                before, after = beside(subject.server)
                usual[subject.kind].append(before)
                around[subject.kind].append(after)
                progress.step(
                    BESIDE_BEFORE + BESIDE_AFTER + RETURN,
                    f"{section}: round {number + 1} of {mode.kills}, {subject.kind}: p99"
                    f" {before * 1e3:.2f} ms, around the kill {after * 1e3:.2f} ms",
                )
    median = statistics.median
    ratios = {kind: [a / u for a, u in zip(around[kind], usual[kind], strict=True)]
              for kind in usual}  # fmt: skip
    milliseconds = lambda values: {kind: [v * 1e3 for v in all_] for kind, all_ in values.items()}  # noqa: E731
    return [
        value_row(section, "p99 of writes, median", milliseconds(usual), median, unit="ms"),
        value_row(
            section, f"p99 in the {BESIDE_AFTER:g} s from the kill -9 of a server that leads one"
            f" other partition (ZooKeeper: a follower), median of {mode.kills}",
            milliseconds(around), median, unit="ms",
        ),
        value_row(section, "the one in the other, median", ratios, median,
                  f"≤ {OTHERS_WORSE:g} ×", OTHERS_WORSE, unit="×"),
    ]  # fmt: skip


def beside(cluster: Cluster) -> tuple[float, float]:
    """p99 in seconds, before and from the kill on, of writes that the victim did not order."""
    if cluster.kind == VOLERY:
        victim = leads_one(cluster)
        (ring,) = cluster.leads(victim)
    else:
        victim, ring = next(s for s in cluster.servers if not cluster.leads(s)), None
    one, two = (server.address for server in cluster.others(victim))
    # Session n writes to partition n mod 2 + 1; each server gets sessions of both.
    writes = Writes(victim.directory, [one, two, two, one], SESSIONS, RATE,
                    BESIDE_BEFORE + BESIDE_AFTER + 0.5)  # fmt: skip
    try:
        time.sleep(BESIDE_BEFORE)
        victim.kill()
        gone = time.time()
        answers = writes.finish()
    finally:
        writes.stop()
        victim.kill()
        victim.start(wait=False)
    cluster.back(victim)

    def p99(chosen: Callable[[Answer], bool]) -> float:
        # Sent then, not answered then: a write that waits long counts where its wait began.
        mine = (a for a in answers if ring is None or a.session % 2 + 1 != ring)
        return percentile([a.latency for a in mine if chosen(a) and not a.code], 0.99)

    def since(answer: Answer) -> float:
        return answer.at - answer.latency - gone

    before = p99(lambda answer: since(answer) < -0.2)
    return before, p99(lambda answer: -0.01 <= since(answer) < BESIDE_AFTER)


def leads_one(cluster: Cluster) -> Server:
    """A server that coordinates exactly one ring, and not ring 0. Who it is changes with every
    failover; where there is none, leadership is shuffled by another one."""
    for _ in range(SHUFFLES):
        poll(cluster.all_led, 60, "every ring has a coordinator")
        for server in cluster.servers:
            rings = cluster.leads(server)
            if len(rings) == 1 and 0 not in rings:
                return server
        busiest = cluster.coordinator()
        busiest.kill()
        busiest.start(wait=False)
        cluster.back(busiest)
    raise RuntimeError("no server leads one partition alone")
