"""A minimal ZooKeeper client on raw frames, independent of our Rust codec.

Two users: the comparison (tests/compare), which must send what no client
library would and see every field of every reply, and the crash loop, which
needs to know exactly which requests were acknowledged. Written from the
protocol's description, blocking, without threads or reconnects: whoever uses
it decides what a lost connection means.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

# opcodes
NOTIFICATION, CREATE, DELETE, EXISTS, GET_DATA, SET_DATA = 0, 1, 2, 3, 4, 5
GET_ACL, SET_ACL, GET_CHILDREN, SYNC, PING, GET_CHILDREN2 = 6, 7, 8, 9, 11, 12
CHECK, MULTI, CREATE2, RECONFIG, CHECK_WATCHES, REMOVE_WATCHES = 13, 14, 15, 16, 17, 18
CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = 19, 20, 21, 22
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER = 100, 101, 102, 103, 104
SET_WATCHES2, ADD_WATCH, WHO_AM_I, CLOSE = 105, 106, 107, -11

# create flags
PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, TTL_SEQUENTIAL = range(7)

ALL = 31
OPEN_ACL = [(ALL, "world", "anyone")]

STAT_FIELDS = (
    "czxid mzxid ctime mtime version cversion aversion ephemeralOwner dataLength numChildren pzxid"
).split()
_STAT = struct.Struct(">qqqqiiiqiiq")


class ConnectionLost(Exception):
    """The server closed the connection."""


class NoAnswer(ConnectionLost):
    """Nothing came in time, but the connection was not closed."""


# -- encoding ---------------------------------------------------------------


def e_int(value: int) -> bytes:
    return struct.pack(">i", value)


def e_long(value: int) -> bytes:
    return struct.pack(">q", value)


def e_bool(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def e_buffer(value: bytes | None) -> bytes:
    return e_int(-1) if value is None else e_int(len(value)) + value


def e_string(value: str | bytes | None) -> bytes:
    return e_buffer(value.encode() if isinstance(value, str) else value)


def e_vector(items: list[bytes] | None) -> bytes:
    return e_int(-1) if items is None else e_int(len(items)) + b"".join(items)


def e_acl(acl: list[tuple] | None) -> bytes:
    if acl is None:
        return e_int(-1)
    return e_vector([e_int(p) + e_string(s) + e_string(i) for p, s, i in acl])


def create_body(path, data=b"", acl=OPEN_ACL, flags: int = 0, ttl: int | None = None):
    """CreateRequest, or CreateTTLRequest if a ttl is given."""
    body = e_string(path) + e_buffer(data) + e_acl(acl) + e_int(flags)
    return body if ttl is None else body + e_long(ttl)


def delete_body(path, version: int = -1) -> bytes:
    return e_string(path) + e_int(version)


check_body = delete_body


def set_body(path, data, version: int = -1) -> bytes:
    return e_string(path) + e_buffer(data) + e_int(version)


def read_body(path, watch: bool = False) -> bytes:
    return e_string(path) + e_bool(watch)


def multi_body(ops: list[tuple[int, bytes]]) -> bytes:
    parts = [e_int(op) + e_bool(False) + e_int(-1) + body for op, body in ops]
    return b"".join(parts) + e_int(-1) + e_bool(True) + e_int(-1)


# -- decoding ---------------------------------------------------------------


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def _unpack(self, fmt: str) -> Any:
        (value,) = struct.unpack_from(fmt, self.data, self.at)
        self.at += struct.calcsize(fmt)
        return value

    def int(self) -> int:
        return self._unpack(">i")

    def long(self) -> int:
        return self._unpack(">q")

    def bool(self) -> bool:
        return self._unpack("B") != 0

    def buffer(self) -> bytes | None:
        length = self.int()
        if length < 0:
            return None
        if self.at + length > len(self.data):
            raise ValueError("buffer runs past the end of the frame")
        self.at += length
        return self.data[self.at - length : self.at]

    def string(self) -> str | None:
        raw = self.buffer()
        return None if raw is None else raw.decode("utf-8", "surrogatepass")

    def strings(self) -> list[str | None]:
        return [self.string() for _ in range(self.int())]

    def acl(self) -> list[tuple]:
        return [(self.int(), self.string(), self.string()) for _ in range(self.int())]

    def stat(self) -> dict[str, int]:
        values = _STAT.unpack_from(self.data, self.at)
        self.at += _STAT.size
        return dict(zip(STAT_FIELDS, values))

    def rest(self) -> bytes:
        rest, self.at = self.data[self.at :], len(self.data)
        return rest


def _d_multi(r: Reader) -> list[dict]:
    results = []
    while True:
        kind, done, err = r.int(), r.bool(), r.int()
        if done:
            if (kind, err) != (-1, -1):
                raise ValueError("bad end of multi")
            return results
        result: dict[str, Any] = {"type": kind, "err": err}
        if kind == -1:
            result["code"] = r.int()
        else:
            result |= decode_body(kind, r)
        results.append(result)


def decode_body(opcode: int, r: Reader) -> dict[str, Any]:
    """The fields of a successful reply (or of one result in a multi)."""
    match opcode:
        case 1 | 9:
            return {"path": r.string()}
        case 15 | 19 | 21:
            return {"path": r.string(), "stat": r.stat()}
        case 3 | 5 | 7:
            return {"stat": r.stat()}
        case 4 | 16:
            return {"data": r.buffer(), "stat": r.stat()}
        case 6:
            return {"acl": r.acl(), "stat": r.stat()}
        case 8:
            return {"children": sorted(r.strings())}
        case 12:
            return {"children": sorted(r.strings()), "stat": r.stat()}
        case 14 | 22:
            return {"results": _d_multi(r)}
        case 102:
            return {"token": r.buffer()}
        case 103:
            return {"ephemerals": sorted(r.strings())}
        case 104:
            return {"count": r.int()}
        case 106:
            return {"code": r.int()}
        case 107:
            return {"ids": sorted((r.string(), r.string()) for _ in range(r.int()))}
        case _:
            return {}


# -- the connection ---------------------------------------------------------


@dataclass
class Event:
    zxid: int
    type: int
    state: int
    path: str | None


@dataclass
class Reply:
    xid: int
    zxid: int
    err: int
    body: dict[str, Any] = field(default_factory=dict)


class Client:
    """One connection. Replies must come in the order of the requests."""

    def __init__(
        self,
        port: int,
        timeout_ms: int = 30000,
        session: int = 0,
        password: bytes | None = b"\0" * 16,
        last_zxid: int = 0,
        read_only: bool | None = False,
        deadline: float = 20.0,
    ) -> None:
        self.deadline = deadline
        self.events: list[Event] = []
        self.sent: list[tuple[int, int]] = []
        self._xid = 0
        self._buffer = b""
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), deadline)
        except OSError as error:
            raise ConnectionLost(str(error)) from None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = e_int(0) + e_long(last_zxid) + e_int(timeout_ms) + e_long(session)
        hello += e_buffer(password)
        if read_only is not None:
            hello += e_bool(read_only)
        self.send_frame(hello)
        self.hello = self.receive_frame()
        r = Reader(self.hello)
        self.protocol, self.timeout_ms, self.session = r.int(), r.int(), r.long()
        self.password = r.buffer()
        self.last_zxid = last_zxid

    # raw frames

    def send_frame(self, payload: bytes) -> None:
        self.send_raw(e_int(len(payload)) + payload)

    def send_raw(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise ConnectionLost(str(error)) from None

    def receive_frame(self, deadline: float | None = None) -> bytes:
        until = time.monotonic() + (self.deadline if deadline is None else deadline)
        head = self._take(4, until)
        return self._take(struct.unpack(">i", head)[0], until)

    def _take(self, count: int, until: float) -> bytes:
        while len(self._buffer) < count:
            left = until - time.monotonic()
            if left <= 0:
                raise NoAnswer("no answer in time")
            self.sock.settimeout(left)
            try:
                chunk = self.sock.recv(65536)
            except TimeoutError:
                raise NoAnswer("no answer in time") from None
            except OSError as error:
                raise ConnectionLost(str(error)) from None
            if not chunk:
                raise ConnectionLost("closed by the server")
            self._buffer += chunk
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    # requests

    def send(self, opcode: int, body: bytes = b"", xid: int | None = None) -> int:
        if xid is None:
            xid = self._xid = self._xid + 1
        self.sent.append((xid, opcode))
        self.send_frame(e_int(xid) + e_int(opcode) + body)
        return xid

    def receive(self) -> Reply:
        """The next reply; notifications on the way go to self.events."""
        while True:
            r = Reader(self.receive_frame())
            xid, zxid, err = r.int(), r.long(), r.int()
            if xid == -1:
                self.events.append(Event(zxid, r.int(), r.int(), r.string()))
                continue
            asked, opcode = self.sent.pop(0)
            if asked != xid:
                raise AssertionError(f"reply to xid {xid}, expected {asked}")
            if zxid > 0:
                self.last_zxid = max(self.last_zxid, zxid)
            reply = Reply(xid, zxid, err)
            if err == 0:
                reply.body = decode_body(opcode, r)
            if rest := r.rest():
                reply.body["rest"] = rest
            return reply

    def call(self, opcode: int, body: bytes = b"", xid: int | None = None) -> Reply:
        self.send(opcode, body, xid)
        return self.receive()

    def ping(self) -> Reply:
        return self.call(PING, xid=-2)

    def auth(self, scheme: str, secret: bytes) -> Reply:
        return self.call(AUTH, e_int(0) + e_string(scheme) + e_buffer(secret), xid=-4)

    def drain_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def close_session(self) -> None:
        try:
            self.call(CLOSE)
        except ConnectionLost:
            pass
        self.disconnect()

    def disconnect(self) -> None:
        self.sock.close()
