#!/usr/bin/env python3
"""A TCP proxy that writes down every frame between clients and a server.

The vectors in tests/vectors come from it: real clients, real server, real
bytes, so that the codec is tested against what is sent in the field and not
against itself.

    record.py --upstream 127.0.0.1:2181 --listen 2182 --out frames.txt

`drop_connections()` lets a driver cut all connections, which is how clients
are brought to send a session renewal and setWatches.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Callable


@dataclass
class Frame:
    """One frame; payload is without the 4-byte length word."""

    connection: int
    direction: str  # '>' from the client, '<' from the server
    opcode: str  # number of the request, also on its reply; 'connect'
    xid: int | None
    payload: bytes


@dataclass
class _Connection:
    number: int
    client: socket.socket
    server: socket.socket
    # Replies do not name their opcode: they come in request order.
    pending: deque[tuple[int, int]] = field(default_factory=deque)
    closed: bool = False

    def close(self) -> None:
        self.closed = True
        for sock in (self.client, self.server):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


class Recorder:
    """Forwards connections to `upstream`, hands each frame to `sink` in order."""

    def __init__(
        self,
        upstream: tuple[str, int],
        sink: Callable[[Frame], None],
        listen_port: int = 0,
    ) -> None:
        self._upstream = upstream
        self._sink = sink
        self._lock = threading.Lock()
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", listen_port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def drop_connections(self) -> None:
        for connection in self._connections:
            connection.close()

    def close(self) -> None:
        self._listener.close()
        self.drop_connections()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            server = socket.create_connection(self._upstream)
            connection = _Connection(number, client, server)
            self._connections.append(connection)
            for source, target, direction in (
                (client, server, ">"),
                (server, client, "<"),
            ):
                threading.Thread(
                    target=self._pump,
                    args=(connection, source, target, direction),
                    daemon=True,
                ).start()

    def _pump(
        self,
        connection: _Connection,
        source: socket.socket,
        target: socket.socket,
        direction: str,
    ) -> None:
        first = True
        try:
            while True:
                head = _read_exactly(source, 4)
                (length,) = struct.unpack(">i", head)
                payload = _read_exactly(source, length)
                self._record(connection, direction, payload, first)
                first = False
                target.sendall(head + payload)
        except (OSError, EOFError):
            connection.close()

    def _record(self, connection: _Connection, direction: str, payload: bytes, first: bool) -> None:
        with self._lock:
            if first:
                opcode, xid = "connect", None
            elif direction == ">":
                xid, number = struct.unpack_from(">ii", payload)
                connection.pending.append((xid, number))
                opcode = str(number)
            else:
                (xid,) = struct.unpack_from(">i", payload)
                opcode = "0"  # a notification, unless it answers a request
                if xid != -1:
                    for index, (asked, number) in enumerate(connection.pending):
                        if asked == xid:
                            opcode = str(number)
                            del connection.pending[index]
                            break
            self._sink(Frame(connection.number, direction, opcode, xid, payload))


def _read_exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = sock.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def format_frame(frame: Frame) -> str:
    xid = "-" if frame.xid is None else str(frame.xid)
    return f"{frame.direction} {frame.opcode} {xid} {frame.payload.hex()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", default="127.0.0.1:2181")
    parser.add_argument("--listen", type=int, default=0)
    parser.add_argument("--out", type=argparse.FileType("w"), default=sys.stdout)
    args = parser.parse_args()
    host, port = args.upstream.rsplit(":", 1)

    def sink(frame: Frame) -> None:
        print(frame.connection, format_frame(frame), file=args.out, flush=True)

    recorder = Recorder((host, int(port)), sink, args.listen)
    print(f"listening on 127.0.0.1:{recorder.port}", file=sys.stderr, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        recorder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
