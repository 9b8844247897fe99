"""The faults: each breaks something, sees that the service goes on, mends it, sees it again.

A fault takes the arena, and leaves all servers running and the network whole. What it must see is
in its words: `go_on` fails if the clients get nowhere for longer than their patience.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from hosts import Host, Hosts
from locks import Locks
from server import poll
from workload import PATIENCE, SESSION_TIMEOUT, Workload, connect, leave

DISK_FAILED = 74  # the exit code that the README promises


class Arena:
    """What a fault may touch."""

    def __init__(self, hosts: Hosts, workload: Workload, locks: Locks, seed: int) -> None:
        self.hosts = hosts
        self.workload = workload
        self.locks = locks
        self.random = random.Random(seed)

    def go_on(self, writes: int = 40, holders: int = 2) -> None:
        """Waits until the clients got so much further, each of them, and the locks went around."""
        since = time.monotonic()
        before = self.locks.counts()
        missing = ["everything"]

        def further() -> bool:
            held = [b - a for a, b in zip(before, self.locks.counts(), strict=True)]
            written = self.workload.writes_done(since)
            counts = {client.number: 0 for client in self.workload.clients}
            for operation in written:
                counts[operation.client] += 1
            missing[0] = f"writes by client {counts}, locks held {held}"
            return min(held) >= holders and len(written) >= writes and min(counts.values()) >= 2

        try:
            poll(further, PATIENCE, "", interval=0.1)
        except TimeoutError:
            what = f"{missing[0]}\n  {self.locks.queues()}"
            raise TimeoutError(f"no progress in {PATIENCE:g} s: {what}") from None

    def endure(self, least: float = 1.0, most: float = 3.0) -> None:
        """The clients go on while the fault lasts, at its beginning and at its end."""
        self.go_on()
        self.last(least, most)
        self.go_on()

    def last(self, least: float = 1.0, most: float = 3.0) -> None:
        """How long a fault lasts once the service goes on."""
        time.sleep(self.random.uniform(least, most))

    def victim(self) -> Host:
        """Most often the server that matters most."""
        if self.random.random() < 0.6:
            return self.hosts.busiest()
        return self.random.choice(self.hosts.hosts)

    def back(self) -> None:
        """All servers run, the network is whole, and the clients go on."""
        self.hosts.heal()
        self.hosts.start()
        self.go_on()


# -- processes ---------------------------------------------------------------


def kill_the_busiest(arena: Arena) -> None:
    """kill -9 of the server that coordinates most rings."""
    victim = arena.hosts.busiest()
    victim.kill()
    arena.go_on()
    arena.back()


def kill_any(arena: Arena) -> None:
    """kill -9 of one of the three, whichever."""
    victim = arena.random.choice(arena.hosts.hosts)
    victim.kill()
    arena.last(0, 2)
    arena.go_on()
    arena.back()


def kill_one_after_the_other(arena: Arena) -> None:
    """Each is killed as soon as the one before serves again."""
    for victim in arena.random.sample(arena.hosts.hosts, len(arena.hosts.hosts)):
        victim.kill()
        arena.last(0, 1)
        victim.start()
    arena.back()


def kill_all(arena: Arena) -> None:
    """All at once: what was acknowledged is on the disks."""
    for host in arena.hosts.hosts:
        host.kill()
    arena.back()


def pause(arena: Arena) -> None:
    """SIGSTOP of the busiest, for longer than a session lives: it wakes up in another age."""
    victim = arena.hosts.busiest()
    victim.pause()
    arena.go_on()
    arena.last(SESSION_TIMEOUT, SESSION_TIMEOUT + 2)
    victim.resume()
    arena.go_on()
    arena.back()


def stutter(arena: Arena) -> None:
    """Short stops of all, one after the other: suspected and back."""
    for _ in range(8):
        victim = arena.victim()
        victim.pause()
        arena.last(0.05, 0.8)
        victim.resume()
        arena.last(0.05, 0.3)
    arena.back()


def roll(arena: Arena) -> str:
    """A rolling restart by SIGTERM: no session is lost."""
    before = sum(client.sessions_lost for client in arena.workload.clients)
    since = time.monotonic()
    pauses = []
    for host in arena.hosts.hosts:
        began = time.monotonic()
        host.stop()
        host.start()
        arena.go_on(20, 1)
        pauses.append(arena.workload.longest_pause(began, time.monotonic()))
    lost = sum(client.sessions_lost for client in arena.workload.clients) - before
    assert not lost, f"{lost} sessions were lost"
    operations = [op for op in list(arena.workload.history.operations) if op.began >= since]
    unknown = sum(op.note != "" for op in operations)
    return f"{unknown} of {len(operations)} operations met a closed connection"


# -- the network -------------------------------------------------------------


def cut_two(arena: Arena) -> None:
    """Two servers do not reach each other; the third reaches both."""
    one = arena.victim()
    other = arena.random.choice(arena.hosts.others(one))
    arena.hosts.cut_both(one, other)
    arena.endure(SESSION_TIMEOUT, SESSION_TIMEOUT + 2)
    arena.back()


def cut_one_way(arena: Arena) -> None:
    """Nothing gets from one server to another; the other way is open."""
    one = arena.victim()
    other = arena.random.choice(arena.hosts.others(one))
    arena.hosts.cut(*arena.random.sample([one, other], 2))
    arena.endure()
    arena.back()


def isolate(arena: Arena) -> None:
    """One server reaches no other; its clients still reach it, and have to move."""
    victim = arena.hosts.busiest()
    for other in arena.hosts.others(victim):
        arena.hosts.cut_both(victim, other)
    arena.endure(SESSION_TIMEOUT, SESSION_TIMEOUT + 2)
    arena.back()


def make_deaf(arena: Arena) -> None:
    """One server hears no other, and is heard."""
    victim = arena.victim()
    for other in arena.hosts.others(victim):
        arena.hosts.cut(other, victim)
    arena.endure()
    arena.back()


def make_dumb(arena: Arena) -> None:
    """One server is heard by no other, and hears."""
    victim = arena.victim()
    for other in arena.hosts.others(victim):
        arena.hosts.cut(victim, other)
    arena.endure()
    arena.back()


def flap(arena: Arena) -> None:
    """Links come and go faster than anybody decides."""
    for _ in range(8):
        one, other = arena.random.sample(arena.hosts.hosts, 2)
        arena.hosts.cut(one, other)
        arena.last(0.05, 1.0)
        arena.hosts.heal()
        arena.last(0, 0.3)
    arena.back()


def take_the_clients(arena: Arena) -> None:
    """The clients do not reach one server, which knows nothing of it: they go to others."""
    victim = arena.victim()
    arena.hosts.cut(None, victim)
    arena.endure()
    arena.back()


def kill_in_a_cut(arena: Arena) -> None:
    """Two servers do not reach each other, and the third dies: nobody has a majority until it is
    back, and then goes on across the cut."""
    one, other, third = arena.random.sample(arena.hosts.hosts, 3)
    arena.hosts.cut_both(one, other)
    arena.go_on(20, 1)
    third.kill()
    arena.last(0.5, 2)
    third.start(wait=False)
    arena.go_on(20, 1)
    arena.back()


# -- the disk and the clock --------------------------------------------------


def fill_the_disk(arena: Arena) -> str:
    """One server's disk is full: it ends and says why, the others go on; with room it is back."""
    victim = arena.hosts.with_small_disk
    filler = connect([host.address for host in arena.hosts.others(victim)])
    filler.ensure_path("/filler")
    victim.fill_disk()
    try:
        began = time.monotonic()
        while not victim.has_ended and time.monotonic() < began + PATIENCE:
            filler.set("/filler", b"x" * 200_000)
        code = victim.wait_end(1)
        said = victim.log_tail(20)
        if victim.kind == "volery":
            assert code == DISK_FAILED, f"exit code {code}\n{said}"
            assert "No space left on device" in said, said
        arena.go_on()
    finally:
        leave(filler)
        victim.make_room()
    arena.back()
    lines = [line for line in said.splitlines() if "No space" in line]
    return lines[-1].strip() if lines else f"code {code}"


def jump_the_clock(arena: Arena) -> None:
    """One server's wall clock jumps ahead, back, and home; the server was restarted for that."""
    victim = arena.victim()
    victim.stop()
    victim.start_with_clock()
    arena.go_on()
    for seconds in (30, -30, 0):
        victim.set_clock(seconds)
        # The library looks at its file once in a second.
        arena.last(1.5, 2)
        arena.go_on()
    victim.stop()
    arena.back()


Fault = Callable[[Arena], str | None]

FAULTS: list[Fault] = [
    kill_the_busiest,
    cut_two,
    pause,
    isolate,
    roll,
    cut_one_way,
    kill_one_after_the_other,
    make_deaf,
    fill_the_disk,
    make_dumb,
    stutter,
    take_the_clients,
    flap,
    kill_in_a_cut,
    kill_all,
    kill_any,
    jump_the_clock,
]
