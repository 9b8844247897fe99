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
from pathlib import Path

from server import ROOT, add_server_option

FIGURES = ROOT / "tests" / "figures"
SIDES = ("volery", "zookeeper")


def check_rows(document: dict, tables: str, printed: str) -> list[tuple[str, bool]]:
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    if parser.parse_args().server != "volery":
        print("0 passed, 0 failed, 1 skipped")  # both servers take part anyway
        return 0
    with tempfile.TemporaryDirectory() as name:
        as_json, as_markdown = Path(name) / "figures.json", Path(name) / "figures.md"
        command = [FIGURES, "--smoke", "--json", as_json, "--markdown", as_markdown]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        checks = [("it ends with 0", done.returncode == 0)]
        if as_json.exists() and as_markdown.exists():
            document = json.loads(as_json.read_text())
            checks += check_rows(document, as_markdown.read_text(), done.stdout)
        else:
            checks.append(("it writes its files", False))
    for what, good in checks:
        print(f"{'ok' if good else 'FAILED'}  {what}")
    failed = sum(not good for _, good in checks)
    print(f"{len(checks) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
