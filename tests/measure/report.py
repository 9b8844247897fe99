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
# Operations whose target may also be reached by CPU.
READS = ("get", "exists", "mixed")


@dataclass
class LoadRow:
    """One load on both servers."""

    section: str
    operation: str
    setting: str
    point: Point
    volery: Sample
    zookeeper: Sample
    target: str = ""  # "", "throughput" or "latency"
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
        return {"throughput": f"≥ {FASTER:g} ×", "latency": "no worse"}.get(self.target, SHOWN)

    @property
    def verdict(self) -> str:
        if errors := self.volery.errors + self.zookeeper.errors:
            return f"invalid: {errors} requests failed"
        if self.target == "throughput":
            if self.ratio >= FASTER:
                return REACHED
            by_cpu = self.point.op in READS and self.cpu_ratio >= FASTER
            return BY_CPU if by_cpu and self.client_is_the_limit else MISSED
        if self.target == "latency":
            worse = [
                name
                for name, field_ in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"))
                if getattr(self.volery, field_) > LATENCY_TOLERANCE * getattr(self.zookeeper, field_)
            ]
            return f"{MISSED}: {', '.join(worse)}" if worse else REACHED
        return SHOWN

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


Row = LoadRow | ValueRow


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
        for shape in (LoadRow, ValueRow):
            chosen = [row for row in rows if row.section == section and isinstance(row, shape)]
            if chosen:
                parts += [f"### {title}"] * (f"### {title}" not in parts)
                parts.append(table(chosen))
    return "\n\n".join(parts) + "\n"
