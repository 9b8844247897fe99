"""Starts, stops and kills the server under test, whichever it is.

Every black-box suite talks to a *subject*: Volery's server, or the original
ZooKeeper from the Debian packages. That the same suite runs on both is what
makes it trustworthy: a suite which is green on the original describes
ZooKeeper, not our idea of it.

There is no sleeping to synchronise: a start waits until the four-letter word
`ruok` is answered with `imok` and `srvr` no longer says that it is not
serving, polling with a deadline, and gives up at once if the process died.

Run directly it is a small foreground server for experiments:

    tests/blackbox/server.py --server zookeeper
    tests/blackbox/server.py --server volery -o partitions=4
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ("volery", "zookeeper")

# Debian splits the server over many jars; zookeeper.jar's manifest names all
# of them but a logger, and slf4j-simple logs to stderr without configuration.
JAVA_CLASS_PATH = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar"

# Properties which ZooKeeper reads only as JVM properties under their full
# name; in a zoo.cfg it would silently ignore them.
JVM_ONLY = ("jute.maxbuffer", "readonlymode.enabled", "znode.container.")

DEFAULT_CONFIG = {
    "tickTime": "2000",
    "maxClientCnxns": "0",
    "4lw.commands.whitelist": "*",
    "extendedTypesEnabled": "true",
    "admin.enableServer": "false",
}

# For Volery only. Several partitions, since one would hide what crosses them;
# no fixed metrics port, since suites run side by side.
VOLERY_CONFIG = {"partitions": "4", "metricsProvider.httpPort": "0"}


class NotReady(Exception):
    """The server died or did not answer in time; carries the end of its log."""


def default_subject() -> str:
    return os.environ.get("VOLERY_TEST_SERVER", "volery")


def volery_binary() -> Path:
    """The server binary; VOLERY_BIN_DIR points elsewhere than target/release."""
    directory = os.environ.get("VOLERY_BIN_DIR") or ROOT / "target" / "release"
    return Path(directory) / "volery-server"


def free_port() -> int:
    """A port nobody listens on, below the kernel's range for outgoing sockets.

    Taking the port from bind(0) would give one out of the ephemeral range,
    where a client's own outgoing connection may take it between the probe and
    the server's start, or between a kill and the restart.
    """
    while True:
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def four_letter(port: int, word: str, timeout: float = 2.0) -> str:
    """Sends a four-letter word and returns the whole answer ('' if none)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as sock:
            sock.settimeout(timeout)
            sock.sendall(word.encode())
            chunks = []
            while chunk := sock.recv(65536):
                chunks.append(chunk)
            return b"".join(chunks).decode("utf-8", "replace")
    except OSError:
        return ""


def poll(condition, timeout: float, what: str, interval: float = 0.02):
    """Returns the first true value of condition(), or fails at the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(interval)


class Server:
    """One server process on a data directory which outlives the process."""

    def __init__(
        self,
        kind: str | None = None,
        config: dict[str, str] | None = None,
        port: int | None = None,
        directory: str | Path | None = None,
        heap: str = "256m",
    ) -> None:
        self.kind = kind or default_subject()
        if self.kind not in SUBJECTS:
            raise ValueError(f"unknown server {self.kind!r}, one of {SUBJECTS}")
        self.port = port or free_port()
        self.heap = heap  # ZooKeeper's -Xmx
        self.config = DEFAULT_CONFIG | (VOLERY_CONFIG if self.kind == "volery" else {})
        if self.kind == "volery":
            options = os.environ.get("VOLERY_TEST_OPTIONS", "").split()
            self.config |= dict(option.split("=", 1) for option in options)
        self.config |= {key: str(value) for key, value in (config or {}).items()}
        self._own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="blackbox-"))
        self.data = self.directory / "data"
        self.log_path = self.directory / "server.log"
        self.process: subprocess.Popen | None = None
        atexit.register(self.destroy)

    # -- life ---------------------------------------------------------------

    def start(self, timeout: float = 60.0, wait: bool = True) -> "Server":
        if self.running:
            return self
        self.data.mkdir(parents=True, exist_ok=True)
        command = self._command(self._write_config())
        with open(self.log_path, "ab") as log:
            log.write(f"--- {' '.join(map(str, command))}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
            )
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 60.0) -> None:
        def ready() -> bool:
            if not self.running:
                raise NotReady(f"{self.kind} exited at start\n{self.log_tail()}")
            return four_letter(self.port, "ruok") == "imok" and "Mode:" in four_letter(
                self.port, "srvr"
            )

        try:
            poll(ready, timeout, f"{self.kind} answers ruok and srvr")
        except TimeoutError as error:
            raise NotReady(f"{error}\n{self.log_tail()}") from None

    def stop(self, timeout: float = 20.0) -> None:
        """An orderly stop (SIGTERM); falls back to SIGKILL at the deadline."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """kill -9: what the page cache got stays, what the process held goes."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def restart(self, timeout: float = 60.0) -> None:
        self.stop()
        self.start(timeout)

    def destroy(self) -> None:
        """Ends the process and removes what it wrote (KEEP_LOGS=1 keeps it)."""
        self.kill()
        if self._own_directory and not os.environ.get("KEEP_LOGS"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *exc) -> None:
        self.destroy()

    # -- looking at it ------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pids(self) -> list[int]:
        """As a cluster has several."""
        return [self.process.pid] if self.process else []

    def four_letter(self, word: str) -> str:
        return four_letter(self.port, word)

    def log_tail(self, lines: int = 40) -> str:
        try:
            text = self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    # -- the command --------------------------------------------------------

    def _write_config(self) -> Path:
        path = self.directory / "zoo.cfg"
        entries = dict(self.config)
        if self.kind == "zookeeper":
            entries = {k: v for k, v in entries.items() if not k.startswith(JVM_ONLY)}
        entries |= {
            "dataDir": str(self.data),
            "clientPort": str(self.port),
            "clientPortAddress": "127.0.0.1",
        }
        path.write_text("".join(f"{k}={v}\n" for k, v in entries.items()))
        return path

    def _command(self, config: Path) -> list[str]:
        if self.kind == "volery":
            return [str(volery_binary()), str(config)]
        flags = [
            f"-D{key}={value}" for key, value in self.config.items() if key.startswith(JVM_ONLY)
        ]
        return [
            "java",
            f"-Xmx{self.heap}",
            "-Dfile.encoding=UTF-8",
            # Only warnings: connection chatter would bury them.
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *flags,
            "-cp",
            JAVA_CLASS_PATH,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(config),
        ]


def add_server_option(parser: argparse.ArgumentParser) -> None:
    """The switch every suite has."""
    parser.add_argument(
        "--server",
        choices=SUBJECTS,
        default=default_subject(),
        help="the subject (default: %(default)s, from VOLERY_TEST_SERVER)",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("-o", "--option", action="append", default=[], metavar="K=V")
    parser.add_argument("--port", type=int)
    args = parser.parse_args()
    options = dict(option.split("=", 1) for option in args.option)
    with Server(args.server, options, port=args.port) as server:
        print(f"{server.kind} pid {server.process.pid} on {server.address}", flush=True)
        print(f"log {server.log_path}", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            server.process.wait()
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
