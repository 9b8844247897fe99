#!/usr/bin/env python3
"""Compiles cclient/story.c and runs it against the subject.

The connection goes through the recording proxy, only because that can cut it:
the library then renews its session and sets its watches again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "capture"))

from record import Recorder  # noqa: E402
from server import Server, add_server_option  # noqa: E402


def compile_story(target: Path) -> None:
    command = ["gcc", "-Wall", "-Wextra", "-O1", "-DTHREADED", "-o", target]
    source = HERE / "cclient" / "story.c"
    subprocess.run([*command, source, "-lzookeeper_mt", "-lpthread"], check=True)


def run_story(binary: Path, recorder: Recorder, *args: str, echo: bool = True) -> list[str]:
    """Runs the story, cutting the connection where it asks; its output lines."""
    process = subprocess.Popen(
        [binary, f"127.0.0.1:{recorder.port}", *args],
        stdout=subprocess.PIPE,
        text=True,
    )
    # Every wait in the story has a deadline; this is for a hanging library.
    watchdog = threading.Timer(150, process.kill)
    watchdog.start()
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if lines[-1] == "CUT":
            recorder.drop_connections()
        elif echo:
            print(lines[-1], flush=True)
    code = process.wait()
    watchdog.cancel()
    if code not in (0, 1):
        lines.append(f"not ok - the story ended with code {code}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "story"
        compile_story(binary)
        with Server(args.server) as server:
            recorder = Recorder(("127.0.0.1", server.port), lambda frame: None)
            lines = run_story(binary, recorder)
            recorder.close()
    passed = sum(line.startswith("ok ") for line in lines)
    failed = sum(line.startswith("not ok") for line in lines)
    if not any(line.startswith("1..") for line in lines):
        failed = failed or 1
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
