"""Three servers on hosts of their own: network namespaces with a bridge between them.

The driver goes into namespaces of its own first (`enter`): for processes, mounts and the network.
Nothing in there reaches anything outside, and all of it is gone with the driver, however it ends.
Needs root, iproute2 and nftables.

A host has a disk of its own where it is asked for: a small tmpfs, to be filled.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from server import Server, poll

INSIDE = "VOLERY_CHAOS_INSIDE"
BRIDGE = "10.77.0.254"  # where the clients are
SERVERS = 3
TOOLS = ("unshare", "ip", "nft", "mount")
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
# Room for a log of several small segments and some snapshots.
SMALL_DISK = "96m"
# Where rules stand that drop packets as they come in. It comes with every command, and changes
# nothing where it is there already: a container that was started again has a new network, without.
CUTS = """
add table ip cuts
add chain ip cuts in { type filter hook input priority 0; }
"""
NO_CUTS = f"{CUTS}flush chain ip cuts in\n"


class Unable(Exception):
    """This machine cannot do it; says why."""


def run(*command: object, text: str | None = None) -> str:
    done = subprocess.run(list(map(str, command)), input=text, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def enter() -> None:
    """Starts this program anew in namespaces of its own, unless it is there already."""
    if os.environ.get(INSIDE):
        return
    if os.geteuid() != 0:
        raise Unable("network namespaces need root")
    for tool in TOOLS:
        if not shutil.which(tool):
            raise Unable(f"{tool} is not installed (apt-get install iproute2 nftables)")
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        raise Unable("this machine allows no namespaces")
    sys.stdout.flush()
    os.environ[INSIDE] = "1"
    os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])


class Host(Server):
    """One server on its host."""

    def __init__(self, number: int, kind: str, config: dict, disk: str | None) -> None:
        self.number = number
        self.name = f"s{number}"
        self.frozen = False
        directory = Path(tempfile.mkdtemp(prefix=f"chaos-{number}-"))
        self.clock_file = directory / "clock"
        wrapper = ("ip", "netns", "exec", self.name)
        super().__init__(kind, config, 2181, directory, host=f"10.77.0.{number}", wrapper=wrapper)
        self._own_directory = True
        self.data.mkdir()
        self.has_disk = disk is not None
        if disk:
            run("mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", self.data)
        self.write_id()

    def write_id(self) -> None:
        (self.data / "myid").write_text(f"{self.number}\n")

    def destroy(self) -> None:
        self.resume()
        self.kill()
        if self.has_disk:
            subprocess.run(["umount", self.data], capture_output=True)
            self.has_disk = False
        super().destroy()

    def kill(self) -> None:
        super().kill()
        self.frozen = False

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True

    def resume(self) -> None:
        if self.frozen:
            self.process.send_signal(signal.SIGCONT)
            self.frozen = False

    def nft(self, commands: str) -> None:
        run("ip", "netns", "exec", self.name, "nft", "-f", "-", text=commands)

    def keep_log(self) -> None:
        """A process writes it into a file anyway."""

    # -- the disk and the clock ----------------------------------------------

    @property
    def filler(self) -> Path:
        return self.data / "filler"

    def fill_disk(self) -> None:
        """Leaves no room on it."""
        with open(self.filler, "wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while file.write(b"\1" * size) == size:
                        pass
                except OSError:
                    pass

    def make_room(self) -> None:
        self.filler.unlink(missing_ok=True)

    @property
    def has_ended(self) -> bool:
        return not self.running

    def wait_end(self, timeout: float) -> int:
        """Waits until the server ends by itself; its exit code."""
        code = self.process.wait(timeout)
        self.process = None
        return code

    def start_with_clock(self) -> None:
        """Starts it with a wall clock that `set_clock` moves; the next start is as usual."""
        if not FAKETIME.exists():
            self.start()
            raise Unable("libfaketime is not installed")
        self.set_clock(0)
        usual = self.wrapper
        self.wrapper += (
            "env", f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={self.clock_file}",
            "FAKETIME_CACHE_DURATION=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
        )  # fmt: skip
        try:
            self.start()
        finally:
            self.wrapper = usual

    def set_clock(self, seconds: int) -> None:
        """Moves the host's wall clock away from the true time."""
        new = self.clock_file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.rename(self.clock_file)


class Hosts:
    """All hosts, and the network between them."""

    kind: str
    hosts: list[Host]
    # Where packets of the clients come from, as the hosts see them.
    clients: str

    @property
    def with_small_disk(self) -> Host:
        return self.hosts[-1]

    def others(self, *without: Host) -> list[Host]:
        return [host for host in self.hosts if host not in without]

    def start(self) -> None:
        """Starts those that do not run, and waits until all serve."""
        for host in self.hosts:
            host.resume()
            host.start(wait=False)
        for host in self.hosts:
            host.wait_ready()

    def destroy(self) -> None:
        for host in self.hosts:
            host.destroy()

    # -- the network -----------------------------------------------------------

    def cut(self, source: Host | None, target: Host) -> None:
        """From now on no packet goes from `source` (None: the clients) to `target`."""
        address = source.host if source else self.clients
        target.nft(f"{CUTS}add rule ip cuts in ip saddr {address} drop\n")

    def cut_both(self, one: Host, other: Host) -> None:
        self.cut(one, other)
        self.cut(other, one)

    def heal(self) -> None:
        for host in self.hosts:
            host.nft(NO_CUTS)

    # -- who does what ---------------------------------------------------------

    def coordinated(self, host: Host) -> int:
        """How many rings the server coordinates, by what it says itself; ZooKeeper: its mode."""
        if self.kind == "zookeeper":
            return int("Mode: leader" in host.four_letter("srvr"))
        lines = host.four_letter("mntr").splitlines()
        return sum(line.split("\t")[0].endswith("_coordinator") for line in lines)

    def busiest(self) -> Host:
        """The server that coordinates most rings."""

        def found() -> Host | None:
            counts = {host.number: self.coordinated(host) for host in self.hosts}
            best = max(counts.values())
            return next((h for h in self.hosts if best and counts[h.number] == best), None)

        return poll(found, 20, "some server coordinates something")


class Namespaces(Hosts):
    """Processes, each in a network namespace."""

    clients = BRIDGE

    def __init__(self, kind: str, config: dict[str, object]) -> None:
        self.kind = kind
        os.makedirs("/run/netns", exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "addr", "add", f"{BRIDGE}/24", "dev", "br0")
        run("ip", "link", "set", "br0", "up")
        lines = {f"server.{n}": f"10.77.0.{n}:2888:3888" for n in range(1, SERVERS + 1)}
        self.hosts = []
        for number in range(1, SERVERS + 1):
            self._connect(number)
            disk = SMALL_DISK if number == SERVERS else None
            self.hosts.append(Host(number, kind, config | lines, disk))
        self.heal()

    @staticmethod
    def _connect(number: int) -> None:
        name = f"s{number}"
        run("ip", "netns", "add", name)
        peer = ("type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "add", f"v{number}", *peer)
        run("ip", "link", "set", f"v{number}", "master", "br0", "up")
        run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "set", "eth0", "up")
