#!/usr/bin/env python3
"""Server processes that form one cluster, of either kind: who leads, who lags.

Nothing here measures. A cluster can be handed out where one server can: it has
the same `address`, `pids`, `start` and `kill`. Run directly it starts one for
experiments by hand:

    tests/measure/cluster.py volery -o partitions=1
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "blackbox"))

from server import SUBJECTS, Server, free_port, poll, volery_binary  # noqa: E402

# As in the configuration that ZooKeeper comes with; Volery takes them without effect.
LIMITS = {"initLimit": 10, "syncLimit": 5}
PATIENCE = 120.0
COORDINATOR = re.compile(r"^zk_volery_ring_(\d+)_coordinator\t(\d+)$", re.MULTILINE)
EXECUTED = re.compile(r"^zk_volery_partition_(\d+)_executed_zxid\t(\d+)$", re.MULTILINE)
ZXID = re.compile(r"^Zxid: 0x([0-9a-f]+)$", re.MULTILINE)


class Cluster:
    """Servers numbered from 1, each on a directory below `directory`."""

    server_type = Server

    def __init__(
        self,
        kind: str,
        directory: Path,
        config: dict[str, str] | None = None,
        size: int = 3,
        heap: str = "2g",
    ) -> None:
        self.kind = kind
        lines = {
            f"server.{number}": f"127.0.0.1:{free_port()}:{free_port()}"
            for number in range(1, size + 1)
        }
        settings = lines | LIMITS | (config or {})
        self.servers = [
            self.server_type(kind, settings, directory=directory / str(number), heap=heap)
            for number in range(1, size + 1)
        ]
        for number, server in enumerate(self.servers, 1):
            server.data.mkdir(parents=True, exist_ok=True)
            (server.data / "myid").write_text(f"{number}\n")

    # -- as one server --------------------------------------------------------

    def start(self) -> "Cluster":
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            server.wait_ready(PATIENCE)
        poll(self.all_led, PATIENCE, "every ring has a coordinator")
        return self

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    @property
    def address(self) -> str:
        return ",".join(server.address for server in self.servers)

    @property
    def pids(self) -> list[int]:
        return [pid for server in self.servers for pid in server.pids]

    # -- who leads ------------------------------------------------------------

    def leads(self, server: Server) -> set[int]:
        """The rings that a server coordinates. ZooKeeper's one order of all writes is ring 0."""
        if self.kind == "zookeeper":
            return {0} if "Mode: leader" in server.four_letter("srvr") else set()
        me = self.servers.index(server) + 1
        rings = COORDINATOR.findall(server.four_letter("mntr"))
        return {int(ring) for ring, coordinator in rings if int(coordinator) == me}

    def all_led(self) -> bool:
        rings = 1 + (int(self.servers[0].config["partitions"]) if self.kind == "volery" else 0)
        return len(set().union(*map(self.leads, self.servers))) == rings

    def coordinator(self) -> Server:
        """The server that coordinates most rings; ZooKeeper's leader."""
        poll(self.all_led, PATIENCE, "every ring has a coordinator")
        return max(self.servers, key=lambda server: len(self.leads(server)))

    def others(self, server: Server) -> list[Server]:
        return [other for other in self.servers if other is not server]

    # -- who lags -------------------------------------------------------------

    def executed(self, server: Server) -> dict[str, int]:
        """How far a server has come, in each of its partitions; nothing if it does not answer."""
        if self.kind == "zookeeper":
            return {"": int(zxid, 16) for zxid in ZXID.findall(server.four_letter("srvr"))}
        return {part: int(zxid) for part, zxid in EXECUTED.findall(server.four_letter("mntr"))}

    def back(self, server: Server) -> None:
        """Waits until a server, started or woken, has executed all that the others have now."""
        goal: dict[str, int] = {}
        for other in self.others(server):
            for part, zxid in self.executed(other).items():
                goal[part] = max(zxid, goal.get(part, 0))
        server.wait_ready(PATIENCE)

        def caught_up() -> bool:
            here = self.executed(server)
            return all(here.get(part, 0) >= zxid for part, zxid in goal.items())

        poll(caught_up, PATIENCE, "a server that was away has caught up")
        poll(self.all_led, PATIENCE, "every ring has a coordinator")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", choices=SUBJECTS)
    parser.add_argument("-o", "--option", action="append", default=[], metavar="K=V")
    parser.add_argument("--dir", default="/var/tmp", help="on a disk (default: %(default)s)")
    args = parser.parse_args()
    options = dict(option.split("=", 1) for option in args.option)
    with tempfile.TemporaryDirectory(prefix="cluster-", dir=args.dir) as directory:
        cluster = Cluster(args.server, Path(directory), options).start()
        for server in cluster.servers:
            leads = sorted(cluster.leads(server))
            print(f"pid {server.pids[0]} on {server.address} leads {leads}, log {server.log_path}")
        pids = ",".join(map(str, cluster.pids))
        print(f"{volery_binary().with_name('volery')} --server {cluster.address} bench --op set"
              f" --paths 2000 --roots 16 --server-pid {pids}", flush=True)  # fmt: skip
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            cluster.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
