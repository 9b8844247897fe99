"""What people type, through the death of servers: zkCli.sh and Volery's own `volery`."""

from __future__ import annotations

import subprocess
import time
from types import SimpleNamespace

from hosts import Host, Hosts
from server import poll, volery_binary
from zkcli_suite import ZkCli

PATIENCE = 20.0
# A command finds another server within so long, whatever is wrong with the first of its list.
COMMAND_SECONDS = 5.0


def all_addresses(hosts: Hosts, first: Host | None = None) -> str:
    """As a client's list of servers, which tries them in this order."""
    ordered = ([first] if first else []) + hosts.others(*([first] if first else []))
    return ",".join(host.address for host in ordered)


def zkcli_through_kills(hosts: Hosts) -> None:
    """One zkCli.sh keeps its session and its ephemeral while every server is killed once."""
    client = ZkCli(SimpleNamespace(address=all_addresses(hosts), port=2181))

    def answers(command: str, wanted: str) -> None:
        # While it looks for a server a command ends with ConnectionLoss.
        poll(lambda: wanted in "\n".join(client.run(command, 0)), PATIENCE, f"{command}: {wanted}")

    try:
        answers("create /zkcli 0", "Created /zkcli")
        answers("create -e /zkcli/here x", "Created /zkcli/here")
        for number, host in enumerate(hosts.hosts, 1):
            host.kill()
            # A version, as nobody knows whether the last try was done.
            change = f"set -v {number - 1} /zkcli {number}\nget -s /zkcli"
            answers(change, f"dataVersion = {number}")
            answers("stat /zkcli/here", "ephemeralOwner = ")
            host.start()
        answers("get /zkcli", str(len(hosts.hosts)))
    finally:
        client.process.kill()
        client.process.wait()


def volery(servers: str, *arguments: str) -> subprocess.CompletedProcess:
    binary = volery_binary().with_name("volery")
    return subprocess.run(
        [binary, "-s", servers, *arguments], capture_output=True, text=True, timeout=PATIENCE
    )


def command(servers: str, *arguments: str) -> str:
    """Runs one command, which must succeed, and soon."""
    began = time.monotonic()
    done = volery(servers, *arguments)
    seconds = time.monotonic() - began
    words = " ".join(arguments)
    assert done.returncode == 0, f"volery {words}: code {done.returncode}: {done.stderr.strip()}"
    assert seconds < COMMAND_SECONDS, f"volery {words}: {seconds:.1f} s"
    return done.stdout.strip()


def cli_finds_another_server(hosts: Hosts) -> str:
    """`volery` works with the first server of its list dead, hung, or cut off from the others."""

    def kill(host: Host) -> None:
        host.kill()

    def pause(host: Host) -> None:
        host.pause()

    def hide(host: Host) -> None:
        hosts.cut(None, host)

    def cut_off(host: Host) -> None:
        for other in hosts.others(host):
            hosts.cut_both(host, other)

    command(all_addresses(hosts), "create", "/cli", "0")
    slowest = 0.0
    for number, (what, fault) in enumerate(
        [("dead", kill), ("hung", pause), ("unreachable", hide), ("cut off", cut_off)], 1
    ):
        victim = hosts.busiest()
        servers = all_addresses(hosts, victim)
        fault(victim)
        began = time.monotonic()
        try:
            command(servers, "set", "/cli", str(number))
            slowest = max(slowest, time.monotonic() - began)
            assert command(servers, "get", "/cli") == str(number)
            made = [f"/cli/{number}", f"/m{number}"]
            command(servers, "multi", "create", made[0], "x", "--", "create", made[1], "y")
            assert str(number) in command(servers, "ls", "/cli").split()
        except AssertionError as error:
            raise AssertionError(f"with the first server {what}: {error}") from None
        finally:
            hosts.heal()
            hosts.start()
    return f"the slowest first command took {slowest:.1f} s"


def cli_watches_through_kills(hosts: Hosts) -> None:
    """`volery watch` goes on at another server, and says so."""
    servers = all_addresses(hosts)
    command(servers, "create", "/watched", "0")
    binary = volery_binary().with_name("volery")
    watching = subprocess.Popen(
        [binary, "-s", servers, "watch", "/watched"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert "watching" in watching.stdout.readline()
        for number, host in enumerate(hosts.hosts, 1):
            host.kill()
            command(servers, "set", "/watched", str(number))
            host.start()
        command(servers, "delete", "/watched")
        seen = ""
        while "deleted" not in seen.lower():
            line = watching.stdout.readline()
            assert line, f"it ended:\n{seen}"
            seen += line
        assert "again" in seen or "reconnected" in seen.lower(), seen
    finally:
        watching.kill()
        watching.wait()


def cli_says_what_is_wrong(hosts: Hosts) -> None:
    """Without a majority, and without any server, a command ends in time and says why."""
    one, other, last = hosts.hosts
    servers = all_addresses(hosts)
    one.kill()
    other.kill()
    poll(lambda: "Mode:" not in last.four_letter("srvr"), PATIENCE, "the last one serves nobody")
    for alive in (True, False):
        if not alive:
            last.kill()
        began = time.monotonic()
        done = volery(servers, "--timeout", "3s", "get", "/")
        seconds = time.monotonic() - began
        assert done.returncode == 3, f"code {done.returncode}: {done.stderr}"
        assert seconds < 2 * COMMAND_SECONDS, f"{seconds:.1f} s"
        assert "refused" in done.stderr and one.address in done.stderr, done.stderr
        if alive:
            assert "not serving" in done.stderr, done.stderr
    hosts.start()


STORIES = [
    zkcli_through_kills,
    cli_finds_another_server,
    cli_watches_through_kills,
    cli_says_what_is_wrong,
]
