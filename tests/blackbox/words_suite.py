#!/usr/bin/env python3
"""What operators meet: four-letter words, metrics, starts that fail, the stop.

    words_suite.py [--server zookeeper] [-k part of a name]

The words are asked of the subject and of real ZooKeeper in the same situation,
and their answers must have the same shape: the same text where nothing varies,
the same keys and forms where something does. The rest is Volery's own: errors
must name the file, the place and the way out, and end with a code.
"""

from __future__ import annotations

import argparse
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import jute
from jute import Client, ConnectionLost
from server import Server, add_server_option, four_letter, free_port, poll, volery_binary

STOP_WITHIN = 3.0


def expect(what: str, condition: object, text: object = "") -> None:
    assert condition, f"{what}\n{text}" if text else what


# -- the shape of the words -------------------------------------------------

# Keys that only Volery has; `conf` shows them besides ZooKeeper's.
OWN_CONF_KEYS = ("jute.maxbuffer", "partition", "ring.", "skip.", "durability", "reads")
# What exporters and dashboards read (Telegraf, Datadog, the Prometheus exporters).
MNTR_KEYS = (
    "version server_state avg_latency max_latency min_latency packets_received packets_sent"
    " num_alive_connections outstanding_requests znode_count watch_count ephemerals_count"
    " approximate_data_size open_file_descriptor_count max_file_descriptor_count uptime"
    " global_sessions local_sessions connection_drop_probability last_client_response_size"
    " max_client_response_size min_client_response_size auth_failed_count"
).split()
WORDS = "ruok srvr stat isro conf cons envi dump wchs wchc wchp dirs srst crst gtmk".split()
MASKS = [
    (r"(?m)^(Zookeeper version: |zookeeper\.version=).*", r"\1<version>"),
    (r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \w+ \d{4}", "<date>"),
    (r"(?m)^((?:os|user|java|host)\.[\w.]+=).*", r"\1<value>"),
    (r"(?m)^(data(?:Log)?Dir=).*", r"\1<path>"),
    (r"127\.0\.0\.1:\d+", "<address>"),
    (r"0x[0-9a-f]+", "<hex>"),
    (r"lop=\w+", "lop=<op>"),
    (r"\d+(\.\d+)?", "N"),
]
# Connections that only ask a word, among them the one that asks.
PASSING = re.compile(r"(?m)^ /127\.0\.0\.1:\d+\[0\]\(.*\)\n|^\tip: \S+ sessionId: 0x0\n")


def shape(word: str, text: str) -> str:
    if word == "conf":
        lines = text.splitlines(keepends=True)
        text = "".join(line for line in lines if not line.startswith(OWN_CONF_KEYS))
    text = PASSING.sub("", text)
    if word == "dump":
        # Passing connections have buckets of their own, sessions that ended just now as well.
        head, _, tail = text.partition("Connections dump:\n")
        own = [line for line in tail.splitlines(keepends=True) if line.startswith("\t")]
        expect("buckets of connections", re.match(r"Connections Sets \(\d+\)/\(\d+\):\n", tail), tail)
        head = re.sub(r"(?m)^\d+ expire at \w{3} \w{3} .*\n(?!\t)", "", head)
        text = head + "Connections dump:\n" + "".join(own)
    for pattern, replacement in MASKS:
        text = re.sub(pattern, replacement, text)
    return text


def busy_client(server: Server) -> Client:
    """One session with an ephemeral and watches: every word has something to show."""
    client = Client(server.port, 10000)
    client.call(jute.CREATE, jute.create_body("/word", flags=jute.EPHEMERAL))
    client.call(jute.GET_DATA, jute.read_body("/word", True))
    client.call(jute.GET_CHILDREN, jute.read_body("/", True))
    return client


def shape_of_the_words(server: Server) -> None:
    with Server("zookeeper") as original:
        clients = busy_client(original), busy_client(server)
        for word in WORDS:
            wanted = shape(word, original.four_letter(word))
            got = shape(word, server.four_letter(word))
            expect(f"{word}\n--- original\n{wanted}--- subject\n{got}", got == wanted)
        nodes = [
            re.search(r"Node count: (\d+)", some.four_letter("srvr"))[1]
            for some in (original, server)
        ]
        expect(f"node counts {nodes}", nodes[0] == nodes[1])
        for client in clients:
            client.close_session()


def mntr(server: Server) -> None:
    client = busy_client(server)
    text = server.four_letter("mntr")
    values = dict(line.split("\t") for line in text.splitlines())
    missing = [key for key in MNTR_KEYS if f"zk_{key}" not in values]
    expect(f"missing in mntr: {missing}", not missing)
    expect("every key begins with zk_", all(key.startswith("zk_") for key in values), text)
    for key in set(values) - {"zk_version", "zk_server_state"}:
        expect(f"{key} is a number", re.fullmatch(r"-?\d+(\.\d+)?|NaN", values[key]), values[key])
    expect("ephemerals", values["zk_ephemerals_count"] == "1", text)
    expect("watches", values["zk_watch_count"] == "2", text)
    client.close_session()


def version_for_parsers(server: Server) -> None:
    """kazoo reads envi; go-zk wants the date of srvr as it was before 3.7."""
    envi = server.four_letter("envi")
    expect("kazoo's version", re.search(r"(?m)^zookeeper\.version=(\d+)\.(\d+)\.(\d+)", envi), envi)
    if server.kind == "volery":
        srvr = server.four_letter("srvr")
        expect("go-zk's date", re.search(r"built on \d\d/\d\d/\d{4} \d\d:\d\d \w+\n", srvr), srvr)


def only_srvr_without_a_whitelist(server: Server) -> None:
    for words in (None, "", "isro"):
        plain = Server(server.kind)
        del plain.config["4lw.commands.whitelist"]
        if words is not None:
            plain.config["4lw.commands.whitelist"] = words
        plain.start(wait=False)
        poll(lambda: "Mode:" in plain.four_letter("srvr"), 20, f"srvr with {words!r}")
        check_refusals(plain)
        plain.destroy()


def check_refusals(plain: Server) -> None:
    for word in ("stat", "mntr", "conf", "cons", "dump", "wchs", "envi"):
        answer = plain.four_letter(word)
        wanted = f"{word} is not executed because it is not in the whitelist.\n"
        expect(f"{word}: {answer!r}", answer == wanted)


def whitelist(server: Server) -> None:
    with Server(server.kind, {"4lw.commands.whitelist": "ruok, srvr, isro"}) as listed:
        check_refusals(listed)
        expect("ruok", listed.four_letter("ruok") == "imok")
        expect("isro", listed.four_letter("isro") == "rw")


def half_closing_client(server: Server) -> None:
    """nc shuts its side once it has sent; the answer comes all the same, then the end."""
    for word in (b"ruok", b"mntr", b"srvr\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
            sock.sendall(word)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := sock.recv(65536):
                answer += chunk
        expect(f"{word!r}: {answer[:80]!r}", len(answer) >= 4)


def counters_are_reset(server: Server) -> None:
    client = busy_client(server)
    def received() -> int:
        return int(re.search(r"Received: (\d+)", server.four_letter("srvr"))[1])
    expect("counted", received() >= 3)
    server.four_letter("srst")
    expect("reset", received() < 3)
    client.close_session()


# -- metrics, starts and stops (Volery's own) -------------------------------


def prometheus(server: Server) -> None:
    port = free_port()
    options = {"metricsProvider.httpPort": port, "metricsProvider.httpHost": "127.0.0.1"}
    with Server("volery", options) as measured:
        client = busy_client(measured)
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            kind, text = answer.headers["Content-Type"], answer.read().decode()
        client.close_session()
    expect(f"content type {kind}", kind.startswith("text/plain"))
    for key in ("znode_count", "num_alive_connections", "packets_received", "uptime"):
        expect(f"{key} is there", re.search(rf"(?m)^{key}(\{{.*\}})? \S+$", text), text[:2000])
    for line in text.splitlines():
        good = line.startswith("#") or re.fullmatch(r"[a-zA-Z_:][\w:]*(\{.*\})? \S+", line)
        expect(f"line {line!r}", good or not line)


class Attempt:
    """A start that is expected to fail: its code, and what it says."""

    def __init__(self, directory: Path, config: dict[str, object]) -> None:
        path = directory / "attempt.cfg"
        path.write_text("".join(f"{key}={value}\n" for key, value in config.items()))
        started = time.monotonic()
        try:
            done = subprocess.run(
                [str(volery_binary()), str(path)], capture_output=True, text=True, timeout=20
            )
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"it started, or hangs: {error.stderr}") from None
        self.code, self.seconds = done.returncode, time.monotonic() - started
        self.said = re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)

    def fails_with(self, *texts: object) -> None:
        expect(f"code {self.code}", self.code not in (0, 101, 134, -6, -11), self.said)
        expect("no panic", "panicked" not in self.said, self.said)
        for text in texts:
            expect(f"it says {str(text)!r}", str(text) in self.said, self.said)


def own(server: Server, **changes: object) -> dict[str, object]:
    config = {
        "dataDir": server.data, "clientPort": free_port(), "clientPortAddress": "127.0.0.1",
        "metricsProvider.httpPort": 0, "partitions": server.config["partitions"],
    }  # fmt: skip
    return config | {key.replace("_", "."): value for key, value in changes.items()}


def second_server_on_the_directory(server: Server) -> None:
    Attempt(server.directory, own(server)).fails_with(server.data)
    expect("the first goes on", server.four_letter("ruok") == "imok")


def second_server_on_the_port(server: Server) -> None:
    other = server.directory / "other"
    config = own(server, clientPort=server.port, dataDir=other)
    Attempt(server.directory, config).fails_with(server.port, "clientPort")
    expect("the first goes on", server.four_letter("ruok") == "imok")


def configuration_that_is_wrong(server: Server) -> None:
    place = server.directory / "attempt.cfg"
    Attempt(server.directory, own(server, tickTime="2s")).fails_with(f"{place}:", "tickTime=2s")
    Attempt(server.directory, {"clientPort": 1}).fails_with("dataDir")
    missing = subprocess.run(
        [str(volery_binary()), "/nonexistent/zoo.cfg"], capture_output=True, text=True, timeout=20
    )
    expect("a missing file", missing.returncode not in (0, 101), missing.stderr)
    expect("it names the file", "/nonexistent/zoo.cfg" in missing.stderr, missing.stderr)


def unknown_keys(server: Server) -> None:
    with Server("volery", {"foo.bar": "1", "ticktime": "5", "peerType": "participant"}) as odd:
        log = re.sub(r"\x1b\[\d*m", "", odd.log_path.read_text())
    for key in ("foo.bar", "ticktime", "peerType"):
        warned = [line for line in log.splitlines() if f": {key} " in line and "WARN" in line]
        expect(f"one warning for {key}: {warned}", len(warned) == 1, log)
    expect("a slip of the pen is named", "did you mean tickTime" in log, log)


def changed_partition_map(server: Server) -> None:
    with Server("volery", {"partitions": "4"}) as first:
        first.stop()
        changed = Attempt(first.directory, own(first, partitions=8))
        changed.fails_with("partitions: stored 4, configured 8")
        first.start()  # and as it was it starts


def stop(server: Server) -> None:
    """SIGTERM: exit 0 and quickly, with clients connected, and everything is there again."""
    with Server(server.kind) as stopped:
        clients = [Client(stopped.port) for _ in range(20)]
        clients[0].call(jute.CREATE, jute.create_body("/kept", b"data"))
        watcher = clients[1]
        watcher.call(jute.EXISTS, jute.read_body("/never", True))
        for sign in (signal.SIGTERM, signal.SIGINT):
            process = stopped.process
            started = time.monotonic()
            process.send_signal(sign)
            code = process.wait(20)
            took = time.monotonic() - started
            expect(f"code {code} after {took:.1f} s", took < STOP_WITHIN)
            if server.kind == "volery":
                expect(f"code {code}", code == 0, stopped.log_tail())
            stopped.start()
        again = Client(stopped.port, 30000, clients[0].session, clients[0].password)
        expect("the session lives", again.session == clients[0].session)
        expect("the data", again.call(jute.GET_DATA, jute.read_body("/kept")).body["data"] == b"data")


# -- damage -----------------------------------------------------------------


def filled(options: dict[str, object], count: int) -> Server:
    """A stopped server whose directory holds something."""
    server = Server("volery", options).start()
    client = Client(server.port)
    for number in range(count):
        client.send(jute.CREATE, jute.create_body(f"/n{number}", b"x" * 300))
    for _ in range(count):
        client.receive()
    return server


def flip(path: Path, offset: int) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x40]))


def offset_said(text: str) -> int:
    found = re.search(r"at offset (\d+)", text)
    expect("an offset is named", found, text)
    return int(found[1])


def damaged_log(server: Server) -> None:
    damaged = filled({}, 500)
    damaged.stop()
    wal = min((damaged.data / "wal").iterdir())
    flip(wal, 20_000)
    attempt = Attempt(damaged.directory, own(damaged))
    attempt.fails_with(wal)
    offset = offset_said(attempt.said)
    expect(f"offset {offset}, the damage is at 20000", 0 <= 20_000 - offset < 4000, attempt.said)
    flip(wal, 20_000)
    damaged.start()  # nothing was changed by the failed start
    damaged.destroy()


def torn_log(server: Server) -> None:
    """What a crash leaves behind is no damage: it is cut, and told."""
    torn = filled({}, 50)
    torn.kill()
    wal = min((torn.data / "wal").iterdir())
    content = wal.read_bytes()
    end = len(content.rstrip(b"\0"))
    with open(wal, "r+b") as file:
        file.seek(end - 10)
        file.write(b"\0" * 10)
    torn.start()
    expect("it is told", "torn" in torn.log_path.read_text(), torn.log_tail())
    torn.destroy()


def damaged_snapshot(server: Server) -> None:
    damaged = filled({"snapCount": "100", "partitions": "1"}, 1500)
    snapshots = damaged.data / "snapshots"

    def written() -> list[Path]:
        places = [path for path in damaged.data.rglob("*") if "snap" in str(path)]
        return sorted(path for path in places if path.is_file() and path.stat().st_size > 5000)

    poll(lambda: "snapshot written" in damaged.log_path.read_text(), 20, "a snapshot is written")
    damaged.stop()
    files = written()
    expect(f"a snapshot in {snapshots}", files)
    for file in files:
        flip(file, 3000)
    attempt = Attempt(damaged.directory, own(damaged))
    attempt.fails_with("snapshot", "damaged")
    expect("the file is named", any(str(file) in attempt.said for file in files), attempt.said)
    offset_said(attempt.said)
    for file in files:
        flip(file, 3000)
    damaged.start()
    damaged.destroy()


BOTH: list[Callable[[Server], None]] = [
    shape_of_the_words, mntr, version_for_parsers, only_srvr_without_a_whitelist, whitelist,
    half_closing_client, counters_are_reset, stop,
]  # fmt: skip
OWN: list[Callable[[Server], None]] = [
    prometheus, second_server_on_the_directory, second_server_on_the_port,
    configuration_that_is_wrong, unknown_keys, changed_partition_map, damaged_log, torn_log,
    damaged_snapshot,
]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    parser.add_argument("-k", default="", help="only cases whose name contains this")
    args = parser.parse_args()
    cases = BOTH + (OWN if args.server == "volery" else [])
    passed = failed = 0
    with Server(args.server) as server:
        for case in cases:
            name = case.__name__.replace("_", " ")
            if args.k not in name:
                continue
            started = time.monotonic()
            try:
                case(server)
                passed += 1
                verdict = "ok"
            except Exception as error:
                failed += 1
                verdict = f"FAILED: {type(error).__name__}: {error}"
            print(f"{name:32} {time.monotonic() - started:5.1f} s  {verdict}", flush=True)
    skipped = 0 if args.server == "volery" else len(OWN)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
