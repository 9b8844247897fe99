"""What the machine is and what it is doing: CPU, memory, disk, from /proc.

Nothing here knows of servers or figures. Other processes on the machine spoil
figures silently, so their share of the CPU is measured along with everything.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CORES = len(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")
# Of the first line of /proc/stat; guests are contained in user and nice.
IDLE_FIELDS = (3, 4)
COUNTED_FIELDS = 8


def process_cpu(pid: int) -> float:
    """Seconds of CPU of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no VmRSS of process {pid}")


def busy_cpu() -> float:
    """Seconds of CPU that the whole machine has used, stolen time included."""
    fields = [int(f) for f in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    fields = fields[:COUNTED_FIELDS]
    return (sum(fields) - sum(fields[i] for i in IDLE_FIELDS)) / TICKS


def children_cpu() -> float:
    """Seconds of CPU of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@dataclass
class Usage:
    """Shares of the machine (1.0: all cores) within a stretch of time."""

    idle_servers: float
    others: float


class UsageMeter:
    """Who used the CPU while one server, or the servers of one cluster, were under load."""

    def __init__(self, loaded: list[int], idle: list[int]) -> None:
        self._loaded, self._idle = loaded, idle
        self._before = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        idle = sum(process_cpu(pid) for pid in self._idle)
        own = sum(process_cpu(pid) for pid in self._loaded) + idle + children_cpu()
        return time.monotonic(), idle, own, busy_cpu()

    def stop(self) -> Usage:
        wall, idle, own, busy = (b - a for a, b in zip(self._before, self._now()))
        capacity = wall * CORES
        return Usage(idle / capacity, max(0.0, busy - own) / capacity)


def settled(figure, tolerance: float = 0.005, alike: int = 4, limit: float = 60.0):
    """Samples a figure each second until it stands still; returns the last."""
    last = [figure()]
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        time.sleep(1)
        last = [*last, figure()][-alike:]
        if len(last) == alike and max(last) - min(last) <= tolerance * max(last):
            break
    return last[-1]


def file_system(directory: Path) -> str:
    """The type of the file system a directory is on."""
    best, kind = "", "unknown"
    path = str(directory.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, type_, *_ = line.split()
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, type_
    return kind


def sync_micros(directory: Path, times: int = 200) -> float:
    """Median µs of writing 4 KiB into a preallocated file and fdatasync: both servers' logs
    preallocate, so that is what a write waits for at least."""
    took = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        block = bytes(4096)
        file.write(block * times)
        os.fsync(file.fileno())
        for number in range(times):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), block, number * len(block))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e6


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def describe(directory: Path) -> dict[str, object]:
    return {
        "cpu": cpu_model(),
        "cores": CORES,
        "memoryGiB": round(memory_gib(), 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "fileSystem": file_system(directory),
        "fdatasyncUs": round(sync_micros(directory)),
    }
