#!/usr/bin/env python3
"""Captures tests/vectors/*.txt anew from real clients and real ZooKeeper.

    tests/.venv/bin/python tests/blackbox/capture/regenerate.py [kazoo|java|c ...]

Needs the tests' virtual environment (kazoo), a JDK (java) and gcc with
libzookeeper-mt-dev (c). Not part of the test run: the files are committed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from cclient_suite import compile_story, run_story  # noqa: E402
from record import Frame, Recorder, format_frame  # noqa: E402
from server import JAVA_CLASS_PATH, ROOT, Server, poll  # noqa: E402

VECTORS = ROOT / "tests" / "vectors"

HEADER = """\
# Frames exchanged by a real client ({client})
# and a real server (ZooKeeper 3.8.0, standalone, extendedTypesEnabled=true).
# Written by tests/blackbox/capture/regenerate.py; do not edit.
#
# One frame a line, in the order seen by a proxy between the two:
#
#   direction opcode xid hex
#
#   direction  > from the client, < from the server
#   opcode     of the request, on its reply too; 'connect' for ConnectRequest
#              and ConnectResponse; 0 for a watch notification
#   xid        decimal, '-' for the handshake
#   hex        the frame without its 4-byte length word
#
# '# connection N' starts a new TCP connection. A request whose body was seen
# before (same opcode and same bytes after the xid) is left out with its reply.
"""


def drive_kazoo(recorder: Recorder) -> None:
    from kazoo.client import KazooClient
    from kazoo.exceptions import BadVersionError, KazooException, NoNodeError
    from kazoo.security import make_digest_acl

    def expect(error, call, *args, **kwargs):
        try:
            call(*args, **kwargs)
        except error:
            return
        raise AssertionError(f"{call} did not fail")

    zk = KazooClient(f"127.0.0.1:{recorder.port}", timeout=20)
    zk.start(30)
    watch = lambda event: None  # noqa: E731
    zk.create("/k", b"hello")
    zk.create("/k/empty", b"", include_data=True)
    zk.create("/k/seq-", b"x", sequence=True)
    zk.create("/k/eph", b"x", ephemeral=True, include_data=True)
    zk.create("/k/eseq-", b"x", ephemeral=True, sequence=True)
    zk.create("/k/\u00fc\u4e16", "\u00fc".encode())
    zk.exists("/k", watch=watch)
    zk.exists("/absent", watch=watch)
    zk.get("/k", watch=watch)
    zk.set("/k", b"world", version=0)
    expect(BadVersionError, zk.set, "/k", b"", version=9)
    zk.get_children("/k", watch=watch)
    zk.get_children("/k", include_data=True)
    zk.create("/k/child")
    zk.delete("/k/child", version=0)
    expect(NoNodeError, zk.delete, "/k/child")
    zk.get_acls("/k")
    zk.add_auth("digest", "user:password")
    zk.set_acls("/k/empty", [make_digest_acl("user", "password", all=True)], 0)
    zk.get_acls("/k/empty")
    zk.sync("/k")
    txn = zk.transaction()
    txn.check("/k", 1)
    txn.create("/k/m", b"1")
    txn.set_data("/k/m", b"2")
    txn.delete("/k/m", 1)
    txn.commit()
    txn = zk.transaction()
    txn.create("/k/n", b"1")
    txn.delete("/nowhere")
    txn.set_data("/k", b"")
    txn.commit()
    zk.set("/k", b"again")
    zk.get("/k", watch=watch)
    zk.get_children("/k", watch=watch)
    expect(KazooException, zk.reconfig, "server.2=127.0.0.1:1:2;3", None, None)
    # A cut connection brings the renewal and setWatches.
    lost, back = threading.Event(), threading.Event()
    zk.add_listener(lambda state: back.set() if state == "CONNECTED" else lost.set() and None)
    recorder.drop_connections()
    assert lost.wait(20) and back.wait(20)
    zk.set("/k", b"after")
    zk.stop()
    zk.close()


def drive_java(recorder: Recorder) -> None:
    process = subprocess.Popen(
        [
            "java",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            # Otherwise the client asks for SASL when a JAAS file is about.
            "-Dzookeeper.sasl.client=false",
            "-cp",
            f"{JAVA_CLASS_PATH}:/usr/share/java/zookeeper-jute.jar",
            str(HERE / "Drive.java"),
            f"127.0.0.1:{recorder.port}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    done = False
    for line in process.stdout:
        if line.strip() == "CUT":
            recorder.drop_connections()
        done = done or line.strip() == "DONE"
    if process.wait(60) or not done:
        raise RuntimeError("Drive.java failed")


def drive_c(recorder: Recorder) -> None:
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "story"
        compile_story(binary)
        run_story(binary, recorder, "capture", echo=False)


DRIVERS = {
    "kazoo": (drive_kazoo, "kazoo 2.11.0, Python"),
    "java": (drive_java, "org.apache.zookeeper 3.8.0, Java"),
    "c": (drive_c, "libzookeeper_mt 3.8.0, C"),
}


def deduplicate(frames: list[Frame]) -> list[Frame]:
    """Leaves out requests seen before, and the replies to them."""
    seen: set[tuple[str, bytes]] = set()
    dropped: set[tuple[int, str, int | None]] = set()
    kept = []
    for frame in frames:
        if frame.opcode == "connect":
            kept.append(frame)
        elif frame.opcode == "0":
            # Body only: the zxid in the header is -1 or varies.
            key = ("event", frame.payload[16:])
            if key not in seen:
                seen.add(key)
                kept.append(frame)
        elif frame.direction == ">":
            key = (frame.opcode, frame.payload[4:])
            if key in seen:
                dropped.add((frame.connection, frame.opcode, frame.xid))
            else:
                seen.add(key)
                kept.append(frame)
        else:
            reply_to = (frame.connection, frame.opcode, frame.xid)
            if reply_to in dropped:
                dropped.discard(reply_to)
            else:
                kept.append(frame)
    return kept


def capture(name: str) -> None:
    driver, client = DRIVERS[name]
    frames: list[Frame] = []
    with Server("zookeeper") as server:
        recorder = Recorder(("127.0.0.1", server.port), frames.append)
        try:
            driver(recorder)
            # The reply to closeSession may still be on its way through.
            poll(
                lambda: frames and frames[-1].opcode == "-11",
                5,
                "the last frame is the end of the session",
            )
        finally:
            recorder.close()
    lines, connection = [], 0
    for frame in deduplicate(frames):
        if frame.connection != connection:
            connection = frame.connection
            lines.append(f"# connection {connection}")
        lines.append(format_frame(frame))
    VECTORS.mkdir(exist_ok=True)
    target = VECTORS / f"{name}.txt"
    target.write_text(HEADER.format(client=client) + "\n".join(lines) + "\n")
    opcodes = sorted({int(f.opcode) for f in frames if f.opcode != "connect"})
    print(f"{target.name}: {len(lines)} lines, opcodes {opcodes}")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or DRIVERS:
        capture(chosen)
