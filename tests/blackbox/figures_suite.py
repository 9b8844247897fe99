#!/usr/bin/env python3
"""That tests/figures works: its shortest run, and the files it writes.

It says nothing about speed: a few tenths of a second on a machine that is
busy with tests are no measurement.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from server import ROOT, add_server_option

FIGURES = ROOT / "tests" / "figures"
SIDES = ("volery", "zookeeper")
Checks = list[tuple[str, bool]]


def check_rows(document: dict, tables: str, printed: str) -> Checks:
    rows = document["rows"]
    return [
        ("two loads", [row["operation"] for row in rows] == ["setData", "getData"]),
        ("both servers did something", all(row[s]["ops"] > 0 for row in rows for s in SIDES)),
        ("no request failed", all(row[s]["errors"] == 0 for row in rows for s in SIDES)),
        ("percentiles rise", all(
            0 < row[s]["p50"] <= row[s]["p99"] <= row[s]["p999"] for row in rows for s in SIDES
        )),
        ("nothing is judged", all(row["verdict"] == "–" for row in rows)),
        ("the tables say how little it was", "Smoke run" in tables),
        ("the tables are what was printed", tables == printed),
    ]  # fmt: skip


def check_cluster(document: dict, tables: str, printed: str) -> Checks:
    loads = [row for row in document["rows"] if row["section"] == "cluster-latency"]
    values = [row for row in document["rows"] if row["section"] == "cluster-outage"]
    return [
        ("three servers: loads", all(row[s]["ops"] > 0 for row in loads for s in SIDES) and loads),
        ("three servers: no request failed", all(
            row[s]["errors"] == 0 for row in loads for s in SIDES
        )),
        ("a kill is noticed, and writes go on", len(values) > 0 and all(
            0 < row[s] < 60 for row in values for s in SIDES
        )),
        ("the tables hold both", all(
            f"### {title}" in tables
            for title in ("Three servers: latency without queueing", "Three servers: one is killed")
        )),
    ]  # fmt: skip


def run(options: list[str], check: Callable[[dict, str, str], Checks]) -> Checks:
    with tempfile.TemporaryDirectory() as name:
        as_json, as_markdown = Path(name) / "figures.json", Path(name) / "figures.md"
        command = [FIGURES, "--smoke", *options, "--json", as_json, "--markdown", as_markdown]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        checks: Checks = [("it ends with 0", done.returncode == 0)]
        if not (as_json.exists() and as_markdown.exists()):
            return [*checks, ("it writes its files", False)]
        document = json.loads(as_json.read_text())
        return checks + check(document, as_markdown.read_text(), done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    if parser.parse_args().server != "volery":
        print("0 passed, 0 failed, 1 skipped")  # both servers take part anyway
        return 0
    checks = run([], check_rows) + run(["--only", "cluster-latency,cluster-outage"], check_cluster)
    for what, good in checks:
        print(f"{'ok' if good else 'FAILED'}  {what}")
    failed = sum(not good for _, good in checks)
    print(f"{len(checks) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
