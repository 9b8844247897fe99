#!/usr/bin/env python3
"""Three servers, clients that record what they see, and faults; then everything is judged.

    chaos.py                          every fault once and the stories: about four minutes
    chaos.py --seed 7 --minutes 30    faults by the seed's choice, for so long
    chaos.py --only isolate,flap      these faults or stories only
    chaos.py --containers             on three containers instead of three processes
    chaos.py --list                   the faults and the stories

The seed gives the faults, their order, their victims and what the clients ask for; when things
happen is the machine's. A failure keeps the history and the servers' logs and says where; a
history can be judged again with linear.py. Clocks jump only where libfaketime is installed.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "blackbox"))

from hosts import Hosts, Namespaces, Unable, enter  # noqa: E402
from linear import check  # noqa: E402
from locks import Locks  # noqa: E402
from nemesis import FAULTS, Arena, Fault  # noqa: E402
from server import add_server_option  # noqa: E402
from stories import STORIES  # noqa: E402
from workload import MAP, Workload  # noqa: E402

# Small segments and frequent snapshots: both come around while faults do.
CONFIG = {"tickTime": 500, "initLimit": 10, "syncLimit": 5, "snapCount": 2000, "preAllocSize": 2048}

# The others do nothing to a container that they do not do to a process.
ON_CONTAINERS = [
    "kill_the_busiest", "pause", "isolate", "cut_two", "roll", "fill_the_disk",
    "cli_finds_another_server",
]  # fmt: skip


class Results:
    """What passed, what failed, and how it is said."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def run(self, name: str, test, *args) -> bool:
        began = time.monotonic()
        try:
            said = test(*args)
        except Unable as why:
            self.skipped += 1
            print(f"skip   {name}: {why}", flush=True)
            return True
        except Exception as error:  # whatever it is, it is a failure, and the others go on
            self.failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
            if not isinstance(error, (AssertionError, TimeoutError)):
                traceback.print_exc()
            return False
        self.passed += 1
        note = f"  {said}" if said else ""
        print(f"ok     {name} ({time.monotonic() - began:.1f} s){note}", flush=True)
        return True


def keep(hosts: Hosts, workload: Workload) -> None:
    """What is needed to find out why."""
    directory = Path(tempfile.mkdtemp(prefix="chaos-kept-"))
    workload.history.save(directory / "history")
    for host in hosts.hosts:
        host.keep_log()
        shutil.copy(host.log_path, directory / f"server-{host.number}.log")
    print(f"history and logs are kept in {directory}", flush=True)


def with_pause(fault: Fault):
    """Runs a fault and says for how long nobody's write was acknowledged, or one client's."""

    def run(arena: Arena) -> str:
        began = time.monotonic()
        said = fault(arena)
        work, ended = arena.workload, time.monotonic()
        pause, wait = work.longest_pause(began, ended), work.longest_wait(began, ended)
        figures = f"no write for {pause:.2f} s, one client waited for {wait:.2f} s"
        return figures + (f"; {said}" if said else "")

    return run


def chosen(args: argparse.Namespace, every: list) -> list:
    """Those that were asked for, in the order of the list; containers have fewer by default."""
    names = set(args.only.split(",")) if args.only else {test.__name__ for test in every}
    if args.containers and not args.only:
        names = set(ON_CONTAINERS)
    return [test for test in every if test.__name__ in names]


def faults_of(args: argparse.Namespace) -> Iterator[Fault]:
    """The faults one after the other: all once, or by the seed's choice until time is up."""
    faults = chosen(args, FAULTS)
    if args.minutes is None or not faults:
        yield from faults
        return
    rng = random.Random(args.seed)
    until = time.monotonic() + args.minutes * 60
    while time.monotonic() < until:
        yield rng.choice(faults)


def same_everywhere(hosts: Hosts, workload: Workload) -> str:
    """Reads everything at every server; the history is judged with these reads in it."""
    found = [workload.read_all(host.address) for host in hosts.hosts]
    for host, other in zip(hosts.hosts[1:], found[1:], strict=True):
        different = [key for key in found[0] if found[0][key] != other[key]]
        assert not different, f"server {host.number} has others: {different[:5]}"
    return f"{len(found[0])} znodes"


def judge(results: Results, arena: Arena) -> None:
    workload, locks = arena.workload, arena.locks

    def ended() -> None:
        workload.stop()
        locks.stop()
        broken = workload.broken + locks.broken
        assert not broken, f"{len(broken)} answers that nobody expects: {broken[:3]}"

    results.run("the clients end", ended)
    results.run("all servers hold the same", same_everywhere, arena.hosts, workload)
    results.run("the history is linearizable", lambda: check(workload.history))
    results.run("no lock is held twice", locks.check)


def make_hosts(args: argparse.Namespace) -> Hosts:
    """Raises Unable where this machine has not what it takes."""
    config = CONFIG | (MAP if args.server == "volery" else {})
    if not args.containers:
        return Namespaces(args.server, config)
    if args.server != "volery":
        raise Unable("the image is Volery's")
    from containers import Compose, Skip  # only where Docker is asked for

    try:
        return Compose(config | {"maxClientCnxns": 0})
    except Skip as why:
        raise Unable(str(why)) from None


def break_things(args: argparse.Namespace, hosts: Hosts, results: Results) -> None:
    addresses = [host.address for host in hosts.hosts]
    arena = Arena(hosts, Workload(args.seed, addresses), Locks(addresses), args.seed)
    arena.go_on()
    for fault in faults_of(args):
        name = fault.__name__.replace("_", " ")
        if results.run(name, with_pause(fault), arena):
            continue
        print("\n".join(f"  server {h.number}: {h.log_tail(4)}" for h in hosts.hosts))
        if not results.run(f"mended after {name}", arena.back):
            break
    judge(results, arena)
    if results.failed or args.keep:
        keep(hosts, arena.workload)
    if results.failed:
        print(f"repeat it with: {' '.join(sys.argv)}", flush=True)


def run(args: argparse.Namespace) -> int:
    results = Results()
    hosts = make_hosts(args)
    try:
        hosts.start()
        if chosen(args, FAULTS):
            break_things(args, hosts, results)
        # The tool is Volery's, and so are its words.
        if args.minutes is None and args.server == "volery":
            for story in chosen(args, STORIES):
                if not results.run(story.__name__.replace("_", " "), story, hosts):
                    hosts.heal()
                    hosts.start()
    finally:
        hosts.destroy()
    print(f"{results.passed} passed, {results.failed} failed, {results.skipped} skipped")
    return 1 if results.failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_server_option(parser)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--only", help="names of faults and stories, separated by commas")
    parser.add_argument("--keep", action="store_true", help="history and logs, also of a success")
    parser.add_argument("--containers", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    every = FAULTS + STORIES
    if args.list:
        for test in every:
            print(f"{test.__name__:28}{test.__doc__.splitlines()[0]}")
        return 0
    unknown = set(args.only.split(",") if args.only else []) - {test.__name__ for test in every}
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}; --list has them all")
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # lost connections are the point
    try:
        if not args.containers:
            enter()
        return run(args)
    except Unable as why:
        print(f"skipped: {why}\n0 passed, 0 failed, 1 skipped")
        return 0


if __name__ == "__main__":
    sys.exit(main())
