"""Rows with a verdict, and the tables that show them.

A verdict is computed from the measured medians only; nothing is rounded in
favour of anybody but the tolerance of latencies, which is stated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import machine
from load import THREADS, Point, Sample

REACHED = "reached"
BY_CPU = "reached by CPU: client is the limit"
MISSED = "missed"
SHOWN = "–"  # no target

FASTER = 3.0  # times ZooKeeper's operations a second
RESTART_FASTER = 5.0
BYTES_A_ZNODE = 260
# Latencies of two runs of the very same server differ by about this much.
LATENCY_TOLERANCE = 1.05
NUMBERS = re.compile(r"[\d,./% –]+$")
# Operations whose target may also be reached by CPU, where one server is measured.
READS = ("get", "exists", "mixed")
# Of a cluster's p99, in ZooKeeper's.
P99_AT_MOST = 0.5
SCALES_AT_LEAST = 7.0 / 8.0
TARGETS = {
    "throughput": f"≥ {FASTER:g} ×",
    "latency": "no worse",
    "cluster": f"≥ {FASTER:g} ×, p99 ≤ half",
    "cluster-latency": "p50 no worse",
}


@dataclass
class LoadRow:
    """One load on both servers."""

    section: str
    operation: str
    setting: str
    point: Point
    volery: Sample
    zookeeper: Sample
    target: str = ""  # a key of TARGETS, or ""
    rounds: dict[str, list[Sample]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.volery.ops / self.zookeeper.ops

    @property
    def cpu_ratio(self) -> float:
        """ZooKeeper's CPU an operation in Volery's."""
        return self.zookeeper.server_cpu / self.volery.server_cpu if self.volery.server_cpu else 0.0

    @property
    def client_is_the_limit(self) -> bool:
        """Whether a server with a third of ZooKeeper's CPU could not be three times as fast,
        because the load generator needs its share of the cores too."""
        client, server = self.volery.client_cpu, self.zookeeper.server_cpu / FASTER
        most = min(machine.CORES / (client + server), THREADS / client) * 1e6
        return most < FASTER * self.zookeeper.ops

    @property
    def target_text(self) -> str:
        return TARGETS.get(self.target, SHOWN)

    @property
    def verdict(self) -> str:
        if errors := self.volery.errors + self.zookeeper.errors:
            return f"invalid: {errors} requests failed"
        match self.target:
            case "throughput":
                return self._fast_enough(self.point.op in READS)
            case "cluster":
                fast = self._fast_enough(True)
                if self.volery.p99 <= P99_AT_MOST * self.zookeeper.p99:
                    return fast
                return f"{MISSED}: p99" if fast != MISSED else f"{MISSED}: operations and p99"
            case "latency":
                return self._no_worse(("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))
            case "cluster-latency":
                return self._no_worse(("p50", "p50"))
        return SHOWN

    def _fast_enough(self, by_cpu: bool) -> str:
        if self.ratio >= FASTER:
            return REACHED
        by_cpu = by_cpu and self.cpu_ratio >= FASTER
        return BY_CPU if by_cpu and self.client_is_the_limit else MISSED

    def _no_worse(self, *fields: tuple[str, str]) -> str:
        worse = [
            name
            for name, field_ in fields
            if getattr(self.volery, field_) > LATENCY_TOLERANCE * getattr(self.zookeeper, field_)
        ]
        return f"{MISSED}: {', '.join(worse)}" if worse else REACHED

    def document(self) -> dict:
        return {
            "section": self.section,
            "operation": self.operation,
            "setting": self.setting,
            "volery": self.volery.document(),
            "zookeeper": self.zookeeper.document(),
            "ratio": round(self.ratio, 3),
            "cpuRatio": round(self.cpu_ratio, 3),
            "target": self.target_text,
            "verdict": self.verdict,
            "rounds": {
                name: [sample.document() for sample in samples]
                for name, samples in self.rounds.items()
            },
        }

    HEADINGS = (
        "operation", "setting", "Volery ops/s", "ZooKeeper ops/s", "ratio",
        "Volery p50 / p99 / p99.9 µs", "ZooKeeper p50 / p99 / p99.9 µs",
        "Volery CPU µs/op", "ZooKeeper CPU µs/op", "ratio", "client's CPU", "target", "verdict",
    )  # fmt: skip

    def cells(self) -> list[str]:
        def latencies(sample: Sample) -> str:
            return " / ".join(f"{value:,.0f}" for value in (sample.p50, sample.p99, sample.p999))

        return [
            self.operation,
            self.setting,
            f"{self.volery.ops:,.0f}",
            f"{self.zookeeper.ops:,.0f}",
            f"{self.ratio:.2f}",
            latencies(self.volery),
            latencies(self.zookeeper),
            f"{self.volery.server_cpu:.2f}",
            f"{self.zookeeper.server_cpu:.2f}",
            f"{self.cpu_ratio:.2f}",
            f"{self.volery.client_share:.0%}, {self.zookeeper.client_share:.0%}",
            self.target_text,
            self.verdict,
        ]


@dataclass
class ValueRow:
    """One value of each server; less is better unless the ratio says otherwise."""

    section: str
    operation: str
    unit: str
    volery: float
    zookeeper: float | None
    target_text: str = SHOWN
    verdict: str = SHOWN
    rounds: dict[str, list[float]] = field(default_factory=dict)

    HEADINGS = ("what", "unit", "Volery", "ZooKeeper", "ZooKeeper / Volery", "target", "verdict")

    @property
    def ratio(self) -> float | None:
        return self.zookeeper / self.volery if self.zookeeper and self.volery else None

    def document(self) -> dict:
        return {
            "section": self.section,
            "operation": self.operation,
            "unit": self.unit,
            "volery": self.volery,
            "zookeeper": self.zookeeper,
            "ratio": self.ratio and round(self.ratio, 3),
            "target": self.target_text,
            "verdict": self.verdict,
            "rounds": self.rounds,
        }

    def cells(self) -> list[str]:
        def number(value: float | None) -> str:
            if value is None:
                return SHOWN
            return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"

        return [
            self.operation, self.unit, number(self.volery), number(self.zookeeper),
            number(self.ratio), self.target_text, self.verdict,
        ]  # fmt: skip


@dataclass
class ScalingRow:
    """One number of partitions, each on servers of its own; ZooKeeper has none to compare."""

    section: str
    operation: str
    setting: str
    partitions: int
    servers: int
    sample: Sample
    one: float  # operations a second of one partition under the same load
    ideal: float  # the same times the partitions, less what work on two of them takes twice
    judged: bool = False
    rounds: list[Sample] = field(default_factory=list)

    HEADINGS = (
        "operation", "setting", "partitions", "servers", "ops/s", "times one partition", "ideal",
        "of it", "p50 / p99 / p99.9 µs", "CPU µs/op", "client's CPU", "target", "verdict",
    )  # fmt: skip

    @property
    def target_text(self) -> str:
        return f"≥ {SCALES_AT_LEAST * self.partitions:g} ×" if self.judged else SHOWN

    @property
    def verdict(self) -> str:
        if self.sample.errors:
            return f"invalid: {self.sample.errors} requests failed"
        if not self.judged:
            return SHOWN
        enough = self.sample.ops >= SCALES_AT_LEAST * self.partitions * self.one
        return REACHED if enough else MISSED

    def document(self) -> dict:
        return {
            "section": self.section,
            "operation": self.operation,
            "setting": self.setting,
            "partitions": self.partitions,
            "servers": self.servers,
            "volery": self.sample.document(),
            "timesOne": round(self.sample.ops / self.one, 3),
            "ideal": round(self.ideal, 1),
            "target": self.target_text,
            "verdict": self.verdict,
            "rounds": [sample.document() for sample in self.rounds],
        }

    def cells(self) -> list[str]:
        sample = self.sample
        return [
            self.operation,
            self.setting,
            str(self.partitions),
            str(self.servers),
            f"{sample.ops:,.0f}",
            f"{sample.ops / self.one:.2f}",
            f"{self.ideal:,.0f}",
            f"{sample.ops / self.ideal:.0%}",
            " / ".join(f"{value:,.0f}" for value in (sample.p50, sample.p99, sample.p999)),
            f"{sample.server_cpu:.2f}",
            f"{sample.client_share:.0%}",
            self.target_text,
            self.verdict,
        ]


Row = LoadRow | ValueRow | ScalingRow


def table(rows: list[Row]) -> str:
    """A Markdown table with aligned columns, so that it reads well as text too."""
    lines = [list(rows[0].HEADINGS), *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    numeric = [all(NUMBERS.match(line[i]) for line in lines[1:]) for i in range(len(widths))]

    def join(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, numeric)
        )
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric)
    ]
    return "\n".join([join(lines[0]), f"| {' | '.join(rule)} |", *map(join, lines[1:])])


def markdown(about: list[str], titles: dict[str, str], rows: list[Row]) -> str:
    parts = ["\n".join(f"- {line}" for line in about)]
    for section, title in titles.items():
        for shape in (LoadRow, ValueRow, ScalingRow):
            chosen = [row for row in rows if row.section == section and isinstance(row, shape)]
            if chosen:
                parts += [f"### {title}"] * (f"### {title}" not in parts)
                parts.append(table(chosen))
    return "\n\n".join(parts) + "\n"
