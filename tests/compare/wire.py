"""What happens on a connection before and beside requests.

Handshakes, frame lengths, four-letter words: each scenario talks to one server
and returns what it saw, in a form that does not name anything that may vary;
compare.py runs it on both servers and compares.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import jute
from jute import Client, ConnectionLost, NoAnswer, e_bool, e_buffer, e_int, e_long
from server import four_letter

ZERO = b"\0" * 16


def hello(
    session: int = 0,
    password: bytes | None = ZERO,
    zxid: int = 0,
    tail: bytes = e_bool(False),
    timeout: int = 10000,
) -> bytes:
    """A ConnectRequest with its length word."""
    body = e_int(0) + e_long(zxid) + e_int(timeout) + e_long(session)
    body += e_buffer(password) + tail
    return e_int(len(body)) + body


class Raw:
    """A socket, and how it answers."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 5)

    def send(self, data: bytes) -> "Raw":
        self.sock.sendall(data)
        return self

    def frame(self, deadline: float = 5.0) -> bytes | str:
        """The next frame, or 'closed', or 'silent'."""
        self.sock.settimeout(deadline)
        try:
            head = self._take(4)
            return self._take(struct.unpack(">i", head)[0])
        except TimeoutError:
            return "silent"
        except (EOFError, OSError):
            return "closed"

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.sock.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def session(self) -> str:
        """The answer to a handshake, without what varies."""
        frame = self.frame()
        if isinstance(frame, str):
            return frame
        r = jute.Reader(frame)
        protocol, timeout, session, password = r.int(), r.int(), r.long(), r.buffer()
        kind = "refused" if session == 0 else "session"
        zeros = "zero" if password == ZERO else "some"
        return f"{kind}, protocol {protocol}, {timeout} ms, {zeros} password of {len(password)}, {len(frame)} bytes"

    def reply(self) -> Any:
        frame = self.frame()
        if isinstance(frame, str):
            return frame
        r = jute.Reader(frame)
        xid, _zxid, err = r.int(), r.long(), r.int()
        return {"xid": xid, "err": err}


def request(xid: int, opcode: int, body: bytes = b"") -> bytes:
    return e_int(8 + len(body)) + e_int(xid) + e_int(opcode) + body


EXISTS = request(1, jute.EXISTS, jute.read_body("/"))


def handshake_forms(port: int) -> list[str]:
    forms = {
        "with readOnly": hello(),
        "without readOnly": hello(tail=b""),
        "trailing bytes": hello(tail=e_bool(False) + b"extra"),
        "read-only asked for": hello(tail=e_bool(True)),
        "empty password": hello(password=b""),
        "null password": hello(password=None),
    }
    return [f"{name}: {Raw(port).send(data).session()}" for name, data in forms.items()]


def timeouts(port: int) -> list[str]:
    return [
        f"{ms}: {Raw(port).send(hello(timeout=ms)).session()}"
        for ms in (-1, 0, 1, 3999, 4000, 12345, 40000, 40001, 2**31 - 1)
    ]


def zxid_ahead(port: int) -> str:
    return Raw(port).send(hello(zxid=1 << 60)).session()


def unknown_sessions(port: int) -> list[str]:
    client = Client(port, 10000)
    results = [
        Raw(port).send(hello(session=0x1234567, password=b"x" * 16)).session(),
        Raw(port).send(hello(session=client.session, password=b"x" * 16)).session(),
        Raw(port).send(hello(session=client.session, password=b"")).session(),
    ]
    # In Java even a refused renewal closes the session's connection, but not the session.
    try:
        after = str(client.call(jute.EXISTS, jute.read_body("/")).err)
    except ConnectionLost:
        after = "connection closed"
    results.append(f"after refused renewals: {after}")
    client = Client(port, 10000, client.session, client.password)
    results.append("session lives" if client.session else "session gone")
    client.close_session()
    results.append(
        Raw(port).send(hello(session=client.session, password=client.password)).session()
    )
    return results


def renewal(port: int) -> list[str]:
    """The newer connection wins; the older one is closed, silently."""
    old = Client(port, 10000)
    renewed = Raw(port).send(hello(session=old.session, password=old.password, timeout=20000))
    results = [renewed.session()]
    try:
        old.call(jute.EXISTS, jute.read_body("/"))
        results.append("the old connection still answers")
    except NoAnswer:
        results.append("the old connection is silent")
    except ConnectionLost:
        results.append("the old connection is closed")
    results.append(renewed.send(EXISTS).reply())
    return results


def refused_renewal_is_closed(port: int) -> list[Any]:
    raw = Raw(port).send(hello(session=77, password=b"x" * 16))
    return [raw.session(), raw.frame()]


def pipelined_behind_the_handshake(port: int) -> list[Any]:
    raw = Raw(port).send(
        hello() + EXISTS + request(-2, jute.PING) + request(2, jute.SYNC, jute.e_string("/"))
    )
    return [raw.session(), raw.reply(), raw.reply(), raw.reply()]


def byte_by_byte(port: int) -> list[Any]:
    raw = Raw(port)
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in hello() + EXISTS:
        raw.send(bytes([byte]))
    return [raw.session(), raw.reply()]


def lengths(port: int) -> list[Any]:
    results = []
    for length in (0, -1, 0xFFFFF + 1, 0x7FFFFFFF, 3):
        results.append(["as handshake", length, Raw(port).send(e_int(length) + b"abc").frame()])
        raw = Raw(port).send(hello())
        raw.frame()
        results.append(["as request", length, raw.send(e_int(length) + b"abc").frame(2)])
    return results


def largest_frame(port: int) -> list[Any]:
    """A frame of exactly jute.maxbuffer passes, one byte more does not."""
    limit = 0xFFFFF
    results = []
    for excess in (0, 1):
        raw = Raw(port).send(hello())
        raw.frame()
        empty = request(1, jute.CREATE, jute.create_body("/large", b"", flags=1))
        data = b"x" * (limit + excess - (len(empty) - 4))
        try:
            raw.send(request(1, jute.CREATE, jute.create_body("/large", data, flags=1)))
        except OSError:
            pass
        reply = raw.reply()
        results.append([excess, reply])
        raw.sock.close()
    return results


def close_session(port: int) -> list[Any]:
    raw = Raw(port).send(hello())
    raw.frame()
    raw.send(request(9, jute.CLOSE))
    return [raw.reply(), raw.frame()]


def expiry(port: int) -> list[Any]:
    """A silent session ends after its time-out, and its connection with it."""
    watcher = Client(port, 20000)
    silent = Client(port, 4000)
    silent.call(jute.CREATE, jute.create_body("/mortal", flags=jute.EPHEMERAL))
    watcher.call(jute.EXISTS, jute.read_body("/mortal", True))
    started = time.monotonic()
    seen = []
    while time.monotonic() - started < 12 and not seen:
        watcher.ping()
        seen = watcher.drain_events()
        time.sleep(0.1)
    took = time.monotonic() - started
    results: list[Any] = [
        [(event.type, event.path) for event in seen],
        "in time" if 3.5 < took < 8.5 else f"after {took:.1f} s",
    ]
    try:
        silent.receive_frame(deadline=3)
    except NoAnswer:
        results.append("its connection stays")
    except ConnectionLost:
        results.append("its connection is closed")
    results.append(
        Raw(port).send(hello(session=silent.session, password=silent.password)).session()
    )
    watcher.close_session()
    return results


def _labels(text: str, separator: str) -> list[str]:
    return [line.split(separator)[0] for line in text.splitlines() if separator in line]


def four_letter_words(port: int) -> dict[str, Any]:
    client = Client(port, 10000)
    client.call(jute.CREATE, jute.create_body("/word", flags=jute.EPHEMERAL))
    client.call(jute.GET_DATA, jute.read_body("/word", True))
    dump = four_letter(port, "dump")
    wchs = four_letter(port, "wchs")
    seen = {
        "ruok": four_letter(port, "ruok"),
        "isro": four_letter(port, "isro"),
        "srvr": _labels(four_letter(port, "srvr"), ": "),
        "srvr mode": re.findall("^Mode: (.*)$", four_letter(port, "srvr"), re.M),
        "stat": _labels(four_letter(port, "stat").replace(" /127.0.0.1:", "\0"), ": "),
        "conf": sorted(set(_labels(four_letter(port, "conf"), "=")) - OWN_CONF_KEYS),
        "dirs": _labels(four_letter(port, "dirs"), ": "),
        "wchs": re.sub(r"\d+", "N", wchs),
        "wchp": bool(re.search(r"^/word\n\t0x", four_letter(port, "wchp"), re.M)),
        "wchc": bool(re.search(r"^0x\w+\n\t/word", four_letter(port, "wchc"), re.M)),
        "dump": [
            "SessionTracker dump:" in dump,
            "ephemeral nodes dump:" in dump,
            f"0x{client.session:x}" in dump,
            "\t/word" in dump,
        ],
        "cons": bool(
            re.search(
                r"^ /127\.0\.0\.1:\d+\[\d\]\(queued=\d+,recved=\d+,sent=\d+,sid=0x\w+,lop=\w+,"
                r"est=\d+,to=10000,lcxid=0x\w+,lzxid=0x\w+,lresp=\d+,llat=\d+,minlat=\d+,"
                r"avglat=\d+,maxlat=\d+\)$",
                four_letter(port, "cons"),
                re.M,
            )
        ),
        # What dashboards and exporters read.
        "mntr": [
            key
            for key in MNTR_KEYS
            if not re.search(rf"^{key}\t\S+", four_letter(port, "mntr"), re.M)
        ],
        "unknown": four_letter(port, "nope", timeout=1.0),
        "with newline": _send_text(port, b"ruok\r\n"),
        "srst": four_letter(port, "srst"),
        "crst": four_letter(port, "crst"),
    }
    client.close_session()
    # Behind a handshake it is only a length, and too large.
    raw = Raw(port).send(hello())
    seen["behind a handshake"] = [raw.session(), raw.send(b"ruok").frame()]
    return seen


# Keys that only Volery has; `conf` shows them besides ZooKeeper's.
OWN_CONF_KEYS = {
    "durability", "jute.maxbuffer", "partition.spread", "partitions", "reads", "ring.window",
    "skip.aheadUs", "skip.along",
}

MNTR_KEYS = (
    "zk_version zk_server_state zk_avg_latency zk_max_latency zk_min_latency zk_packets_received"
    " zk_packets_sent zk_num_alive_connections zk_outstanding_requests zk_znode_count"
    " zk_watch_count zk_ephemerals_count zk_approximate_data_size zk_open_file_descriptor_count"
    " zk_max_file_descriptor_count zk_uptime zk_global_sessions zk_local_sessions"
).split()


def _send_text(port: int, text: bytes) -> str:
    raw = Raw(port).send(text)
    raw.sock.shutdown(socket.SHUT_WR)  # as nc does
    raw.sock.settimeout(2)
    try:
        return raw.sock.recv(1000).decode()
    except OSError as error:
        return type(error).__name__


# Differences on purpose: name, scenario, what the original gives, what the subject gives.
ON_PURPOSE = [
    (
        # Java closes a session's connection for anybody who knows its id; Volery looks at the
        # password first.
        "a refused renewal closes nobody's connection",
        "unknown sessions",
        "after refused renewals: connection closed",
        "after refused renewals: 0",
    ),
]

SCENARIOS: dict[str, Callable[[int], Any]] = {
    function.__name__.replace("_", " "): function
    for function in (
        handshake_forms, timeouts, zxid_ahead, unknown_sessions, renewal,
        refused_renewal_is_closed, pipelined_behind_the_handshake, byte_by_byte, lengths,
        largest_frame, close_session, expiry, four_letter_words,
    )
}  # fmt: skip
