#!/usr/bin/env python3
"""Clients that are broken, hostile, slow, or only there.

    badinput_suite.py [--server zookeeper] [-k part of a name]

Every case does one bad thing and says what the server has to answer: the
documented error, or a connection closed without a word. After each of them a
client with an old session and a new client must be served at once, the
process must live, and its memory must stay within bounds: what one client
does wrong is nobody else's business.
"""

from __future__ import annotations

import argparse
import random
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jute
from jute import Client, ConnectionLost, NoAnswer, e_bool, e_buffer, e_int, e_long, e_string
from server import Server, add_server_option, four_letter, poll

AT_ONCE = 2.0  # seconds; the machine may be busy, a stuck server takes for ever
MAX_FRAME = 0xFFFFF
# A server that reserves what a length word promises goes far over it.
MEMORY_MIB = {"volery": 160, "zookeeper": 700}
MANY = 1000
BADARGUMENTS, MARSHALLING, UNIMPLEMENTED, NONODE = -8, -5, -6, -101

CLOSED = "closed"
SILENT = "silent"


# -- tools ------------------------------------------------------------------


def hello(session: int = 0, password: bytes | None = b"\0" * 16, timeout: int = 10000) -> bytes:
    body = e_int(0) + e_long(0) + e_int(timeout) + e_long(session) + e_buffer(password)
    body += e_bool(False)
    return e_int(len(body)) + body


def request(xid: int, opcode: int, body: bytes = b"") -> bytes:
    return e_int(8 + len(body)) + e_int(xid) + e_int(opcode) + body


EXISTS = request(1, jute.EXISTS, jute.read_body("/"))


class Raw:
    """A socket that sends anything."""

    def __init__(self, server: Server, receive_buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(5)
        self.sock.connect(("127.0.0.1", server.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> Raw:
        try:
            self.sock.sendall(data)
        except OSError:
            pass  # the server may close in the middle of it; what it answered counts
        return self

    def frame(self, deadline: float = 5.0) -> bytes | str:
        self.sock.settimeout(deadline)
        try:
            head = self._take(4)
            return self._take(struct.unpack(">i", head)[0])
        except TimeoutError:
            return SILENT
        except (EOFError, OSError):
            return CLOSED

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.sock.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def error(self, deadline: float = 5.0) -> int | str:
        """The error code of the next reply, or how the connection ended."""
        frame = self.frame(deadline)
        return frame if isinstance(frame, str) else struct.unpack_from(">i", frame, 12)[0]

    def connected(self, timeout: int = 10000) -> Raw:
        self.send(hello(timeout=timeout))
        assert not isinstance(self.frame(), str), "no session"
        return self

    def close(self) -> None:
        self.sock.close()


@contextmanager
def raw(server: Server) -> Iterator[Raw]:
    connection = Raw(server)
    try:
        yield connection
    finally:
        connection.close()


def rss_mib(server: Server) -> float:
    with open(f"/proc/{server.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def connections(server: Server) -> int:
    for line in server.four_letter("srvr").splitlines():
        if line.startswith("Connections: "):
            return int(line.split()[1])
    return -1


def expect(what: str, got, wanted) -> None:
    allowed = wanted if isinstance(wanted, tuple) else (wanted,)
    assert got in allowed, f"{what}: expected {wanted}, got {got!r}"


def java(server: Server) -> bool:
    return server.kind == "zookeeper"


# -- frames -----------------------------------------------------------------


def lengths_instead_of_a_handshake(server: Server) -> None:
    for length in (0, -1, -2, 3, MAX_FRAME + 1, 0x7FFFFFFF, -(2**31)):
        with raw(server) as r:
            expect(f"length {length}", r.send(e_int(length) + b"abc").frame(), CLOSED)


def lengths_of_requests(server: Server) -> None:
    for length in (0, -1, 3, 7, MAX_FRAME + 1, 0x7FFFFFFF, -(2**31)):
        with raw(server) as r:
            r.connected().send(e_int(length) + b"abcdefg")
            expect(f"length {length}", r.frame(), CLOSED)


def torn_handshakes(server: Server) -> None:
    whole = hello()[4:]
    for size in range(0, 28):
        with raw(server) as r:
            expect(f"{size} bytes", r.send(e_int(size) + whole[:size]).frame(), CLOSED)


def handshakes_with_bad_passwords(server: Server) -> None:
    head = e_int(0) + e_long(0) + e_int(10000) + e_long(0)
    for length in (-2, 17, 0x7FFFFFFF):
        body = head + e_int(length) + b"\0" * 16
        with raw(server) as r:
            expect(f"length {length}", r.send(e_int(len(body)) + body).frame(), CLOSED)


def a_second_handshake(server: Server) -> None:
    """It is read as a request: xid 0, opcode 0."""
    with raw(server) as r:
        r.connected().send(hello())
        expect("reply", r.error(), UNIMPLEMENTED)
        expect("then", r.frame(), CLOSED)


def noise(server: Server) -> None:
    rng = random.Random(1)
    for _ in range(100):
        with raw(server) as r:
            if rng.random() < 0.5:
                r.connected()
            r.send(rng.randbytes(rng.randrange(1, 400)))


def another_protocol(server: Server) -> None:
    # The first four bytes of each are a length far over the limit.
    for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"):
        with raw(server) as r:
            expect(repr(text[:4]), r.send(text).frame(), CLOSED)


# -- requests ---------------------------------------------------------------


def unknown_opcodes(server: Server) -> None:
    # 0, -10 and -1 are internal, 13 belongs into a multi, 71 and 500 are of other servers.
    opcodes = [10, 23, 71, 99, 108, 500, -2, -100, 2**31 - 1, -(2**31)]
    if not java(server):  # 3.8 answers some of these otherwise
        opcodes += [0, -1, -10, 13, 20]
    for opcode in opcodes:
        with raw(server) as r:
            r.connected().send(request(7, opcode, e_string("/")))
            expect(f"opcode {opcode}", r.error(), UNIMPLEMENTED)
            expect(f"opcode {opcode}, then", r.frame(), CLOSED)


def torn_bodies(server: Server) -> None:
    """-5, and the connection goes on."""
    acl = jute.e_acl(jute.OPEN_ACL)
    bodies = {
        jute.CREATE: jute.create_body("/torn", b"data"),
        jute.CREATE_TTL: jute.create_body("/torn", b"data", flags=5, ttl=10000),
        jute.DELETE: jute.delete_body("/torn"),
        jute.EXISTS: jute.read_body("/torn"),
        jute.SET_DATA: jute.set_body("/torn", b"data"),
        jute.SET_ACL: e_string("/torn") + acl + e_int(-1),
        jute.MULTI: jute.multi_body([(jute.DELETE, jute.delete_body("/torn"))]),
        jute.SET_WATCHES: e_long(0) + jute.e_vector([e_string("/torn")]) * 3,
        jute.ADD_WATCH: e_string("/torn") + e_int(0),
    }
    for opcode, body in bodies.items():
        with raw(server) as r:
            r.connected()
            for size in range(len(body)):
                expect(
                    f"opcode {opcode}, {size} of {len(body)} bytes",
                    r.send(request(1, opcode, body[:size])).error(),
                    MARSHALLING,
                )
            expect(f"after opcode {opcode}", r.send(EXISTS).error(), 0)


def hostile_lengths_in_bodies(server: Server) -> None:
    """Lengths and counts that promise gigabytes in a frame of a few bytes."""
    huge = (0x7FFFFFFF, 0x10000000, -2, -(2**31))
    for length in huge:
        word = e_int(length)
        bodies = [
            (jute.GET_DATA, word + b"/x"),
            (jute.CREATE, e_string("/x") + word + b"data"),
        ]
        if not java(server):  # which allocates by count, and fails in its own ways
            bodies += [
                (jute.AUTH, e_int(0) + e_string("digest") + word),
                (jute.CREATE, e_string("/x") + e_buffer(b"") + word),
                (jute.SET_WATCHES, e_long(0) + word),
                (jute.SET_WATCHES2, e_long(0) + word * 5),
            ]
        with raw(server) as r:
            r.connected()
            for opcode, body in bodies:
                r.send(request(1, opcode, body))
                expect(f"opcode {opcode}, length {length}", r.error(), MARSHALLING)
            expect("afterwards", r.send(EXISTS).error(), 0)


def bad_paths(server: Server) -> None:
    """ZOOKEEPER.md 2.2: what each operation makes of them."""
    client = Client(server.port)
    bad = ["/x\x01", "/x\x7f", "/x\x80", "/x\ue000", "/x\uffff", "/\U0001f600", "/.", "/a/..",
           "/x/", "//"]  # fmt: skip
    for path in bad:
        made = client.call(jute.CREATE, jute.create_body(path)).err
        # Below a parent that is not there the parent is missed first.
        missing = path in ("/a/..", "/x/", "//")
        expect(f"create {path!r}", made, (BADARGUMENTS, NONODE) if missing else BADARGUMENTS)
        expect(
            f"setData {path!r}",
            client.call(jute.SET_DATA, jute.set_body(path, b"")).err,
            BADARGUMENTS,
        )
        expect(f"getData {path!r}", client.call(jute.GET_DATA, jute.read_body(path)).err, NONODE)
    for raw_path in (b"/\xff\xfe", b"/\xc3", b"/\xed\xa0\x80", b"/a\0b"):
        made = client.call(jute.CREATE, jute.create_body(raw_path)).err
        expect(f"create {raw_path!r}", made, BADARGUMENTS)
    expect("long", client.call(jute.GET_DATA, jute.read_body("/" + "x" * 900_000)).err, NONODE)
    expect("deep", client.call(jute.GET_DATA, jute.read_body("/x" * 400_000)).err, NONODE)
    client.close_session()


def large_multis(server: Server) -> None:
    """As many operations as a frame holds; the first one fails, so that all do."""
    delete = (jute.DELETE, jute.delete_body("/none"))
    count = MAX_FRAME // (len(delete[1]) + 9) - 2
    client = Client(server.port)
    reply = client.call(jute.MULTI, jute.multi_body([delete] * count))
    expect("error", reply.err, 0)
    expect("results", len(reply.body["results"]), count)
    expect("first", reply.body["results"][0]["code"], NONODE)
    client.close_session()


def multis_without_an_end(server: Server) -> None:
    op = e_int(jute.DELETE) + e_bool(False) + e_int(-1) + jute.delete_body("/none")
    with raw(server) as r:
        r.connected()
        for body in (b"", op, op * 100, op + e_int(99) + e_bool(False) + e_int(-1)):
            expect("multi", r.send(request(1, jute.MULTI, body)).error(), MARSHALLING)


def failed_authentication(server: Server) -> None:
    for scheme in ("bogus", ""):
        with raw(server) as r:
            body = e_int(0) + e_string(scheme) + e_buffer(b"x")
            expect("auth", r.connected().send(request(-4, jute.AUTH, body)).error(), -115)
            expect("then", r.frame(), CLOSED)


# -- slow, silent, and many -------------------------------------------------


def a_byte_at_a_time(server: Server) -> None:
    with raw(server) as r:
        for byte in hello() + EXISTS:
            r.send(bytes([byte]))
        expect("handshake", isinstance(r.frame(), bytes), True)
        expect("reply", r.error(), 0)


def silent_from_the_start(server: Server) -> None:
    """A connection without a session is closed after ten seconds."""
    silent = [Raw(server) for _ in range(20)]
    torn = [Raw(server).send(hello()[:9]) for _ in range(20)]
    check_health(server, "while they are silent")
    started = time.monotonic()
    for connection in silent + torn:
        expect("silent connection", connection.frame(deadline=25), CLOSED)
        connection.close()
    took = time.monotonic() - started
    assert took < 20, f"closed after {took:.0f} s"


def half_open(server: Server) -> None:
    """Clients that vanish: the session goes after its time-out, the connection with it."""
    before = connections(server)
    gone = [Raw(server).connected(timeout=1000) for _ in range(10)]
    expect("the session ends", [r.frame(deadline=15) for r in gone], [CLOSED] * len(gone))
    poll(lambda: connections(server) <= before, 10, "connections are gone")


def never_reads(server: Server) -> None:
    """It asks for a gigabyte and takes nothing: only it waits."""
    client = Client(server.port)
    client.call(jute.CREATE, jute.create_body("/large", b"x" * 1_000_000))
    before = connections(server)
    greedy = Raw(server, receive_buffer=4096)
    greedy.send(hello(timeout=1000))
    greedy.frame()
    greedy.sock.settimeout(1)
    read = request(1, jute.GET_DATA, jute.read_body("/large"))
    greedy.send(read * 1000)
    check_health(server, "while it takes nothing")
    if not java(server):
        # Its session ends, and then it is cut off, whatever waits for it.
        poll(lambda: connections(server) <= before, 30, "it is cut off", interval=0.2)
    greedy.close()
    client.call(jute.DELETE, jute.delete_body("/large"))
    client.close_session()


def writes_without_reading(server: Server) -> None:
    """Two hundred megabytes of writes in flight: read only as fast as they are done."""
    count = 10 if java(server) else 200  # Java holds all of it, and would die of it here
    writer = Client(server.port)
    writer.call(jute.CREATE, jute.create_body("/w"))
    frame = request(1, jute.SET_DATA, jute.set_body("/w", b"y" * 1_000_000))
    writer.sock.settimeout(60)
    for _ in range(count):
        writer.sock.sendall(frame)
    check_health(server, "while it writes")
    for _ in range(count):
        expect("err", struct.unpack_from(">i", writer.receive_frame(), 12)[0], 0)
    writer.call(jute.DELETE, jute.delete_body("/w"))
    writer.close_session()


def gone_in_the_middle(server: Server) -> None:
    """Clients that leave with requests and replies under way, politely or by a reset."""
    for number in range(60):
        r = Raw(server).connected()
        r.send(request(1, jute.CREATE, jute.create_body("/gone", flags=jute.EPHEMERAL)) + EXISTS * 50)
        if number % 2:
            r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        r.close()


def words_with_more_behind(server: Server) -> None:
    for tail in (b"\n", b"\r\n", b"ruok", b"\0" * 100):
        with raw(server) as r:
            r.send(b"ruok" + tail)
            r.sock.settimeout(5)
            expect(f"ruok and {tail!r}", r.sock.recv(4), b"imok")


def words_in_pieces(server: Server) -> None:
    with raw(server) as r:
        for byte in b"ruok":
            r.send(bytes([byte]))
        r.sock.settimeout(5)
        expect("ruok", r.sock.recv(100), b"imok")


def words_that_are_none(server: Server) -> None:
    for word in (b"nope", b"RUOK", b"ruo\0"):
        with raw(server) as r:
            expect(repr(word), r.send(word).frame(), CLOSED)


def many_connections(server: Server) -> None:
    before = connections(server)
    crowd = [Raw(server).send(hello(timeout=40000)) for _ in range(MANY)]
    for r in crowd:
        expect("handshake", isinstance(r.frame(20), bytes), True)
    check_health(server, "with a thousand sessions")
    for r in crowd:
        r.send(EXISTS)
    for r in crowd:
        expect("reply", r.error(20), 0)
    assert connections(server) >= before + MANY
    for r in crowd:
        r.send(request(2, jute.CLOSE))
    for r in crowd:
        r.close()
    poll(lambda: connections(server) <= before, 20, "connections are gone")


CASES: list[Callable[[Server], None]] = [
    lengths_instead_of_a_handshake, lengths_of_requests, torn_handshakes,
    handshakes_with_bad_passwords, a_second_handshake, noise, another_protocol, unknown_opcodes,
    torn_bodies, hostile_lengths_in_bodies, bad_paths, large_multis, multis_without_an_end,
    failed_authentication, a_byte_at_a_time, silent_from_the_start, half_open, never_reads,
    writes_without_reading, gone_in_the_middle, words_with_more_behind, words_in_pieces,
    words_that_are_none, many_connections,
]  # fmt: skip


# -- running ----------------------------------------------------------------

OLD: list[Client] = []  # one client whose session lives through all of it


def check_health(server: Server, when: str) -> None:
    assert server.running, f"{when}: the server is gone\n{server.log_tail()}"
    started = time.monotonic()
    expect(f"{when}: ruok", four_letter(server.port, "ruok"), "imok")
    new = Client(server.port, deadline=AT_ONCE)
    for client, path in ((OLD[0], "/old"), (new, "/new")):
        client.deadline = AT_ONCE
        expect(f"{when}: {path}", client.call(jute.EXISTS, jute.read_body(path)).err, NONODE)
        made = client.call(jute.CREATE, jute.create_body(path, flags=jute.EPHEMERAL)).err
        expect(f"{when}: create {path}", made, 0)
        expect(f"{when}: delete", client.call(jute.DELETE, jute.delete_body(path)).err, 0)
    new.close_session()
    took = time.monotonic() - started
    assert took < AT_ONCE, f"{when}: served after {took:.1f} s"
    memory = rss_mib(server)
    assert memory < MEMORY_MIB[server.kind], f"{when}: {memory:.0f} MiB of memory"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("-k", default="", help="only cases whose name contains this")
    args = parser.parse_args()
    passed = failed = 0
    # Ticks of half a second, so that sessions of a second are allowed; no sync, since what is
    # tested is not the disk.
    config = {"tickTime": "500", "forceSync": "no", "maxSessionTimeout": "40000"}
    with Server(args.server, config) as server:
        for case in CASES:
            name = case.__name__.replace("_", " ")
            if args.k not in name:
                continue
            started = time.monotonic()
            try:
                if not OLD or not server.running:
                    server.start()
                    OLD[:] = [Client(server.port, 40000)]
                case(server)
                check_health(server, "afterwards")
                passed += 1
                verdict = "ok"
            except (AssertionError, ConnectionLost, NoAnswer, TimeoutError, OSError) as error:
                failed += 1
                OLD.clear()
                verdict = f"FAILED: {type(error).__name__}: {error}"
            memory = rss_mib(server) if server.running else 0
            seconds = time.monotonic() - started
            print(f"{name:32} {seconds:5.1f} s {memory:5.0f} MiB  {verdict}", flush=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
