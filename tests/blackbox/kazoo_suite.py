#!/usr/bin/env python3
"""Runs the test suite of kazoo, the Python client, against the subject.

    kazoo_suite.py [--server zookeeper] [pytest arguments, e.g. -k lock -x]

The tests come with the installed kazoo package; kazoo_plugin.py puts our
server under them and kazoo_skips.toml says what is left out and why.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from server import add_server_option

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    args, rest = parser.parse_known_args()
    environment = os.environ | {
        "VOLERY_TEST_SERVER": args.server,
        "PYTHONPATH": str(HERE),
    }
    if not rest:
        environment["KAZOO_WHOLE_SUITE"] = "1"
    command = [
        sys.executable, "-m", "pytest", "-p", "kazoo_plugin",
        "--pyargs", "kazoo.tests", "-p", "no:cacheprovider",
        "--quiet", "--disable-warnings", "-rsf", "--timeout", "120", *rest,
    ]  # fmt: skip
    return subprocess.run(command, env=environment, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
