"""A load that runs beside what the measuring program does, and all answers that it got.

`volery bench` writes each answer with its time; who looks at an outage cuts the
times up as needed. Nothing here knows what happens to the servers.
"""

from __future__ import annotations

import csv
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import load

WARMUP = 0.5


@dataclass(frozen=True)
class Answer:
    """Times in seconds: `at` on the clock of time.time()."""

    at: float
    latency: float
    session: int
    server: int
    code: int


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def longest_gap(answers: list[Answer], begin: float, end: float) -> float:
    """The longest time between two answered writes of one session, at the session that was worst;
    from `begin` to `end`, which count as the last answer before and the first one after."""
    last: dict[int, float] = {}
    worst = 0.0
    for answer in answers:
        if answer.code or not begin <= answer.at <= end:
            continue
        worst = max(worst, answer.at - last.get(answer.session, begin))
        last[answer.session] = answer.at
    sessions = {answer.session for answer in answers}
    return max([worst, *(end - last.get(session, begin) for session in sessions)])


class Writes:
    """setData at a fixed rate, in the background, one outstanding request a session."""

    def __init__(
        self,
        directory: Path,
        addresses: list[str],
        sessions: int,
        rate: int,
        seconds: float,
        roots: int = load.ROOTS,
    ) -> None:
        self._file = directory / f"answers-{time.monotonic_ns()}.csv"
        command = load.bench_command(
            ",".join(addresses), "--op", "set", "--sessions", sessions, "--outstanding", 1,
            "--rate", rate, "--roots", roots, "--paths", 10 * roots, "--samples", self._file,
            "--warmup", f"{round(WARMUP * 1000)}ms", "--duration", f"{round(seconds * 1000)}ms",
        )  # fmt: skip
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._said: list[str] = []
        started = threading.Event()
        self._listener = threading.Thread(target=self._listen, args=(started,), daemon=True)
        self._listener.start()
        started.wait(60)
        if self._process.poll() is not None:
            raise RuntimeError("volery bench failed:\n" + "".join(self._said))
        time.sleep(WARMUP)
        # The sessions open before the warm-up begins, which takes a moment that is not counted.
        self.begun = time.time()
        self._seconds = seconds

    def _listen(self, started: threading.Event) -> None:
        for line in self._process.stderr:
            self._said.append(line)
            if "warm-up" in line:
                started.set()
        started.set()

    def finish(self) -> list[Answer]:
        """Waits for the end; returns all answers of the measured time, in their order."""
        try:
            if self._process.wait(timeout=self._seconds + 60):
                raise RuntimeError("volery bench failed:\n" + "".join(self._said))
            return sorted(self._read(), key=lambda answer: answer.at)
        finally:
            self.stop()

    def _read(self) -> list[Answer]:
        with self._file.open() as file:
            return [
                Answer(int(row["unix_us"]) / 1e6, int(row["latency_us"]) / 1e6,
                       int(row["session"]), int(row["server"]), int(row["code"]))
                for row in csv.DictReader(file)
            ]  # fmt: skip

    def stop(self) -> None:
        """Ends it, whatever it is at."""
        self._process.kill()
        self._process.wait()
        self._listener.join(5)
        self._file.unlink(missing_ok=True)
