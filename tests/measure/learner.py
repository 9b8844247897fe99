"""A server that was away while a great many commands were decided catches up: how long it takes,
and what the clients of the others notice of it.

The commands are creates, so that the server that comes back lacks a large tree and
not just a long log.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import load
from answers import Answer, Writes, percentile
from cluster import Cluster
from load import VOLERY, ZOOKEEPER, Arena, Point, Progress
from outage import START, pair
from report import MISSED, REACHED, Row, ValueRow
from server import Server

SESSIONS, RATE = 16, 1_000
USUAL_SECONDS = 10.0
# The load goes on for so long after the start of the server; what it takes longer is not seen.
DURING_SECONDS = {"full": 60.0, "quick": 20.0, "smoke": 4.0}
WORSE = 1.5
DIRECTORIES = 100
CREATES_A_SECOND = 10_000  # planned; the slower server's


def planned(section: str, mode) -> float:
    each = mode.warmup + mode.behind / CREATES_A_SECOND + 2 * USUAL_SECONDS + 10
    return START + 2 * (each + DURING_SECONDS[mode.name])


def measure(section: str, mode, base: Path, progress: Progress) -> list[Row]:
    found: dict[str, dict[str, float]] = {}
    with Arena(base, pair()) as arena:
        progress.step(START, f"{section}: {len(arena.subjects)} clusters are up")
        arena.warm([Point("set")], mode.warmup, progress)
        for subject in arena.subjects:
            figures = found[subject.kind] = catch_up(subject.server, mode)
            progress.step(
                planned(section, mode) / 2,
                f"{section}: {subject.kind}: back after {figures['seconds']:.1f} s; p99 "
                + ", ".join(f"{k} {v:.2f}" for k, v in figures.items() if k != "seconds"),
            )
    return rows(section, mode, found)


def catch_up(cluster: Cluster, mode) -> dict[str, float]:
    """Seconds to catch up, and the other servers' p99 in milliseconds."""
    victim = min(cluster.servers, key=lambda server: len(cluster.leads(server)))
    others = cluster.others(victim)

    def writes(seconds: float) -> Writes:
        return Writes(victim.directory, [s.address for s in others], SESSIONS, RATE, seconds)

    usual = p99(writes(USUAL_SECONDS).finish())
    victim.stop()
    load.bench(others[0], "--fill", mode.behind, "--roots", load.ROOTS, "--dirs", DIRECTORIES)
    away = p99(writes(USUAL_SECONDS).finish())
    background = writes(DURING_SECONDS[mode.name])
    try:
        begun = time.time()
        victim.start(wait=False)
        ended: list[float] = []
        waiter = threading.Thread(target=lambda: ended.append(back(cluster, victim)), daemon=True)
        waiter.start()
        answers = background.finish()
        waiter.join()
    finally:
        background.stop()
    during = [answer for answer in answers if begun <= answer.at <= ended[0]]
    return {
        "usual": usual,
        "away": away,
        "during": p99(during),
        "longest during": max(answer.latency for answer in during) * 1e3,
        "seconds": ended[0] - begun,
    }


def back(cluster: Cluster, victim: Server) -> float:
    cluster.back(victim)
    return time.time()


def p99(answers: list[Answer]) -> float:
    return percentile([answer.latency for answer in answers if not answer.code], 0.99) * 1e3


def rows(section: str, mode, found: dict[str, dict[str, float]]) -> list[Row]:
    ours, theirs = found[VOLERY], found[ZOOKEEPER]
    verdict = REACHED if ours["during"] <= WORSE * ours["usual"] else MISSED
    target = f"≤ {WORSE:g} × usual"

    def row(what: str, figure: str, unit: str, *judged: str) -> ValueRow:
        return ValueRow(section, what, unit, round(ours[figure], 3), round(theirs[figure], 3), *judged)

    return [
        row(f"a server {mode.behind:,} creates behind, until it has caught up", "seconds", "s"),
        row("p99 of writes at the others, all three up", "usual", "ms"),
        row("p99 while it was away", "away", "ms"),
        row("p99 while it caught up", "during", "ms", target, verdict),
        row("longest of them while it caught up", "longest during", "ms"),
    ]
