"""A history: who asked for what, when, and what came back.

Recorded by the workload, judged by `linear`, and kept as a file with one line for each operation,
so that a failure can be judged again. It decides nothing.

Keys are paths. An operation is one call as a client sees it; a read is a sync and a get together.
Results are lists, so that a file gives back what was written to it:

    ["ok", what each part of the operation answered...]    or    [name of ZooKeeper's error]
"""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

# What the client was told nothing of: it may take effect at any later time, or never.
UNKNOWN = None


@dataclass
class Operation:
    """One call. Times are of this machine's monotonic clock, in seconds."""

    client: int
    # Each part is [what, key, value, version]: a multi has several, all others one.
    parts: list[list]
    began: float
    ended: float = math.inf
    result: list | None = UNKNOWN
    # Where the answer came from, for whoever reads a failure.
    note: str = ""

    @property
    def keys(self) -> list[str]:
        return [part[1] for part in self.parts]

    @property
    def known(self) -> bool:
        return self.result is not UNKNOWN

    @property
    def writes(self) -> bool:
        return any(part[0] in ("set", "create", "delete") for part in self.parts)

    def __str__(self) -> str:
        end = f"{self.ended:.4f}" if self.known else "never"
        parts = "; ".join(" ".join("-" if x is None else str(x) for x in p) for p in self.parts)
        answer = self.result if self.known else "unknown"
        return f"client {self.client} {self.began:.4f}..{end} {parts} -> {answer} {self.note}"


@dataclass
class History:
    """Operations of many threads."""

    operations: list[Operation] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, client: int, parts: list[list]) -> Operation:
        operation = Operation(client, parts, time.monotonic())
        with self._lock:
            self.operations.append(operation)
        return operation

    @staticmethod
    def end(operation: Operation, result: list, note: str = "") -> None:
        operation.ended = time.monotonic()
        operation.result = result
        operation.note = note

    def counts(self) -> tuple[int, int]:
        """How many are known and how many are not."""
        with self._lock:
            known = sum(operation.known for operation in self.operations)
            return known, len(self.operations) - known

    def save(self, path: Path) -> None:
        with open(path, "w") as file:
            for operation in self.operations:
                line = asdict(operation)
                if not operation.known:
                    del line["ended"]
                file.write(json.dumps(line) + "\n")

    @classmethod
    def load(cls, path: Path) -> History:
        with open(path) as file:
            return cls([Operation(**json.loads(line)) for line in file])
