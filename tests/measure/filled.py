"""Figures of a server that holds many znodes: its memory, and its restart.

Here only one server is up at a time: nothing is under load, and two servers
with full memory would only be in each other's way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import jute
import machine
from load import bench, new_server
from server import Server

ROOTS, DIRECTORIES = 8, 100
SIZE = 100
RETRY = 0.002
# ZooKeeper takes connections before it serves, and leaves them without an answer for good.
# So a connection gets this long, then the next a little longer.
FIRST_PATIENCE, PATIENCE_GROWTH = 0.05, 1.1
LONGEST_START = 300.0


@dataclass
class Memory:
    """In bytes."""

    empty: int
    filled: int
    heap: int | None  # of Java, after a full collection


def fill(server: Server, znodes: int) -> Memory:
    empty = machine.settled(lambda: machine.resident(server.process.pid))
    bench(server, "--fill", znodes, "--roots", ROOTS, "--dirs", DIRECTORIES, "--size", SIZE)
    filled = machine.settled(lambda: machine.resident(server.process.pid))
    return Memory(empty, filled, java_heap(server) if server.kind == "zookeeper" else None)


def java_heap(server: Server) -> int | None:
    """Used heap after a full collection, where jcmd is there to ask."""
    pid = str(server.process.pid)
    try:
        subprocess.run(["jcmd", pid, "GC.run"], check=True, capture_output=True)
        asked = subprocess.run(
            ["jcmd", pid, "GC.heap_info"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    used = re.search(r"heap.*used (\d+)K", asked.stdout)
    return int(used[1]) * 1024 if used else None


def some_paths(znodes: int) -> list[str]:
    """The first znode of every root, and the last of all."""
    leaves = ROOTS * DIRECTORIES

    def path(number: int) -> str:
        directory = number % leaves
        return (
            f"/bench-{directory % ROOTS}/d-{directory // ROOTS:05}"
            f"/znode-of-a-fill-in-30-{number:08}"
        )

    return [path(number) for number in [*range(min(ROOTS, znodes)), znodes - 1]]


def copy(source: Path, target: Path) -> Path:
    """A copy that is on disk and in the page cache; what it replaces goes."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    os.sync()
    return target


@dataclass
class Start:
    """Seconds from the start of the process."""

    first: float  # until the first getData was answered
    every: float  # until one in each root was


def time_start(kind: str, directory: Path, znodes: int) -> Start:
    """Starts a server on a data directory and reads from it as early as it lets us."""
    server = new_server(kind, directory)
    begun = time.monotonic()
    try:
        server.start(wait=False)
        paths = some_paths(znodes)
        client = _first_read(server, paths[0], begun)
        first = time.monotonic() - begun
        for path in paths[1:]:
            _read(server, client, path)
        return Start(first, time.monotonic() - begun)
    finally:
        server.kill()


def _first_read(server: Server, path: str, begun: float) -> jute.Client:
    """Reads a znode on the first connection that lets us; returns that connection."""
    patience = FIRST_PATIENCE
    while time.monotonic() - begun < LONGEST_START:
        if not server.running:
            raise RuntimeError(f"{server.kind} ended at its start\n{server.log_tail()}")
        try:
            client = jute.Client(server.port, deadline=patience)
            _read(server, client, path)
            client.deadline = LONGEST_START
            return client
        except jute.NoAnswer:
            patience *= PATIENCE_GROWTH
        except jute.ConnectionLost:
            time.sleep(RETRY)
    raise RuntimeError(f"{server.kind} does not serve after {LONGEST_START:g} s")


def _read(server: Server, client: jute.Client, path: str) -> None:
    reply = client.call(jute.GET_DATA, jute.read_body(path))
    if reply.err or len(reply.body["data"]) != SIZE:
        raise RuntimeError(f"{server.kind} lost {path}: code {reply.err}")
