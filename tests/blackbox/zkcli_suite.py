#!/usr/bin/env python3
"""Stories for zkCli.sh: what the original tool prints must not change.

    zkcli_suite.py [--server zookeeper] [story ...]
    zkcli_suite.py --regenerate [story ...]     from real ZooKeeper

A story is a text file in zkcli/: lines beginning with "$ " are commands, the
lines after them are what zkCli.sh printed, with volatile values replaced
(zxids, times, session ids). "#" lines are comments. A story runs in one JVM
on a fresh server; `{address}` in a command is the server's address.

Watch events are printed by another thread than the commands' output. They are
hence taken out of the stream and shown as "event: ..." lines at the end of the
command that caused them: the runner waits until as many came as are expected.
"""

from __future__ import annotations

import argparse
import difflib
import os
import queue
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from server import JAVA_CLASS_PATH, Server, add_server_option

STORIES = Path(__file__).with_name("zkcli")
ZKCLI = "/usr/share/zookeeper/bin/zkCli.sh"
MARK = re.compile(r"^Node does not exist: /--mark-(\d+)$")
EVENT = re.compile(r"^WatchedEvent state:(\w+) type:(\w+) path:(.*)$")
DEADLINE = 20.0
# How long to wait for events nobody knows of yet, when regenerating.
QUIET = 0.4

# The stories show dozens of lines of it otherwise, which only name zkCli's
# own commands.
USAGE = re.compile(r"^ZooKeeper -server host:port|^\t")


# What Java prints in the order of a hash table.
UNORDERED = ("whoami",)

# What Volery does not have yet: the lines which show it, and why. A command that
# differs in nothing else counts as skipped.
NOT_YET = {
    re.compile(r"^Output stat for |^count=\d+,bytes=\d+$|^\[Warning\]: the (count|bytes) quota"): (
        "statistics of quotas are not kept"
    )
}


def unordered(command: str, output: list[str]) -> list[str]:
    return sorted(output) if command.split(" ")[0] in UNORDERED else output


def not_yet(expected: list[str], output: list[str]) -> str | None:
    """Why the two may differ, if they differ only in lines that NOT_YET names."""
    for lines, reason in NOT_YET.items():
        without = [[line for line in some if not lines.search(line)] for some in (expected, output)]
        if without[0] == without[1]:
            return reason
    return None


@dataclass
class Step:
    command: str
    expected: list[str] = field(default_factory=list)


@dataclass
class Story:
    """Comments are kept with their place, so that a regeneration keeps them."""

    path: Path
    parts: list[str | Step]

    @classmethod
    def load(cls, path: Path) -> "Story":
        parts: list[str | Step] = []
        for line in path.read_text().splitlines():
            if line.startswith("$ "):
                parts.append(Step(line[2:]))
            elif line.startswith("#") or not line or not parts or isinstance(parts[-1], str):
                parts.append(line)
            else:
                parts[-1].expected.append(line)
        return cls(path, parts)

    @property
    def steps(self) -> list[Step]:
        return [part for part in self.parts if isinstance(part, Step)]

    def save(self) -> None:
        lines = []
        for part in self.parts:
            if isinstance(part, str):
                lines.append(part)
            else:
                lines += [f"$ {part.command}", *part.expected]
        self.path.write_text("\n".join(lines) + "\n")


class Masks:
    """Replaces what differs from run to run; equal values stay equal."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: dict[str, dict[str, int]] = {"zxid": {}, "session": {}}

    def _number(self, kind: str, value: str) -> str:
        numbers = self.seen[kind]
        return f"<{kind} {numbers.setdefault(value, len(numbers) + 1)}>"

    def apply(self, line: str) -> str:
        line = line.replace(f"127.0.0.1:{self.port}", "<address>")
        line = re.sub(r"^([cm]time) = .*", r"\1 = <time>", line)
        line = re.sub(
            r"^([cmp]Zxid) = (0x(?!0$)\w+)",
            lambda m: f"{m[1]} = {self._number('zxid', m[2])}",
            line,
        )
        return re.sub(
            r"^(ephemeralOwner) = (0x(?!0$)\w+)",
            lambda m: f"{m[1]} = {self._number('session', m[2])}",
            line,
        )


class ZkCli:
    """One zkCli.sh fed over stdin, output cut into commands by markers."""

    def __init__(self, server: Server) -> None:
        environment = os.environ | {
            # The tool's own logger would be silent but for three lines.
            "CLIENT_JVMFLAGS": "-Xmx128m -Dorg.slf4j.simpleLogger.defaultLogLevel=off"
            " -Dfile.encoding=UTF-8 -Dstdout.encoding=UTF-8 -Dstderr.encoding=UTF-8"
            f" -cp {JAVA_CLASS_PATH}",
            "LC_ALL": "C.UTF-8",
        }
        self.process = subprocess.Popen(
            [ZKCLI, "-server", server.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.marks = 0
        self.masks = Masks(server.port)
        threading.Thread(target=self._read, daemon=True).start()
        self.run("", 0)  # until connected

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def run(self, command: str, events_expected: int | None) -> list[str]:
        """Runs one command; None for the events: wait until it is quiet."""
        self.marks += 1
        mark = self.marks
        self.process.stdin.write(f"{command}\nget /--mark-{mark}\n")
        self.process.stdin.flush()
        output: list[str] = []
        events: list[str] = []
        marked = False
        deadline = time.monotonic() + DEADLINE
        while True:
            if marked and events_expected is not None and len(events) >= events_expected:
                break
            quiet = QUIET if marked and events_expected is None else None
            left = deadline - time.monotonic()
            try:
                line = self.lines.get(timeout=quiet or max(left, 0.01))
            except queue.Empty:
                if not marked:
                    output.append("(no answer in time)")
                break
            if line is None:
                output.append("(zkCli.sh ended)")
                break
            if found := MARK.match(line):
                marked = marked or int(found[1]) == mark
            elif found := EVENT.match(line):
                state, kind, path = found.groups()
                if kind != "None":  # of the connection's state, not of a node
                    events.append(f"event: {kind} {path}")
            elif line.strip() and line != "WATCHER::" and not USAGE.match(line):
                output.append(self.masks.apply(line.rstrip()))
            # After the mark only events are waited for, and not for long.
            if marked:
                deadline = min(deadline, time.monotonic() + 5)
        return unordered(command, output) + events

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def play(story: Story, server_kind: str, regenerate: bool) -> tuple[int, int, int]:
    """Runs a story; returns how many commands went as expected, not, and were left out."""
    passed = failed = skipped = 0
    with Server(server_kind) as server:
        cli = ZkCli(server)
        try:
            for step in story.steps:
                expected = [line for line in step.expected if line.startswith("event: ")]
                command = step.command.replace("{address}", server.address)
                output = cli.run(command, None if regenerate else len(expected))
                if regenerate:
                    step.expected = output
                elif output == unordered(command, step.expected):
                    passed += 1
                elif server_kind == "volery" and (reason := not_yet(step.expected, output)):
                    skipped += 1
                    print(f"{story.path.name}: $ {step.command}: skipped, {reason}")
                else:
                    failed += 1
                    print(f"{story.path.name}: $ {step.command}")
                    diff = difflib.unified_diff(
                        step.expected, output, "expected", "got", lineterm="", n=9
                    )
                    print("\n".join(f"    {line}" for line in list(diff)[2:]))
        finally:
            cli.close()
    if regenerate:
        story.save()
    return passed, failed, skipped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("--regenerate", action="store_true")
    parser.add_argument("stories", nargs="*", help="names, e.g. acl (default: all)")
    args = parser.parse_args()
    kind = "zookeeper" if args.regenerate else args.server
    total_passed = total_failed = total_skipped = 0
    for path in sorted(STORIES.glob("*.txt")):
        if args.stories and path.stem not in args.stories:
            continue
        passed, failed, skipped = play(Story.load(path), kind, args.regenerate)
        if args.regenerate:
            print(f"{path.name}: written")
        else:
            print(f"{path.name}: {passed} as expected, {failed} not", flush=True)
        total_passed += passed
        total_failed += failed
        total_skipped += skipped
    if not args.regenerate:
        print(f"{total_passed} passed, {total_failed} failed, {total_skipped} skipped")
    return 1 if total_failed else 0


if __name__ == "__main__":
    sys.exit(main())
