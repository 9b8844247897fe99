"""Three servers in containers: docker/docker-compose.three.yml, with its network to be cut.

The log of the third lies on a small tmpfs. Rules go into a container's network
namespace from outside (nsenter). All of it is removed at the end.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from docker_suite import DOCKER, Containers, Skip, look_around  # noqa: F401
from docker_suite import run as command
from hosts import NO_CUTS, SERVERS, SMALL_DISK, Hosts, run
from server import four_letter, free_port, poll

OVERRIDE = f"""
version: "2.4"
volumes:
  datalog3:
    driver: local
    driver_opts:
      type: tmpfs
      device: tmpfs
      o: "size={SMALL_DISK},uid=1000,gid=1000"
"""


class Container:
    """One server; what `hosts.Host` is for a process."""

    kind = "volery"

    def __init__(self, number: int, identity: str, port: int) -> None:
        self.number = number
        self.identity = identity
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.frozen = False
        self.log_path = Path(tempfile.mkdtemp(prefix=f"chaos-{number}-")) / "server.log"

    def docker(self, *words: object) -> str:
        return run("docker", *words, self.identity)

    @property
    def state(self) -> dict:
        return json.loads(self.docker("inspect"))[0]

    @property
    def host(self) -> str:
        """Its address between the servers."""
        networks = self.state["NetworkSettings"]["Networks"]
        return next(iter(networks.values()))["IPAddress"]

    @property
    def running(self) -> bool:
        return self.state["State"]["Running"]

    def start(self, wait: bool = True) -> None:
        if not self.running:
            self.docker("start")
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 60.0) -> None:
        def ready() -> bool:
            return "Mode:" in self.four_letter("srvr")

        poll(ready, timeout, f"container {self.number} serves", interval=0.1)

    def kill(self) -> None:
        self.docker("kill")
        self.frozen = False

    def stop(self) -> None:
        self.docker("stop", "--time", "20")

    def pause(self) -> None:
        self.docker("pause")
        self.frozen = True

    def resume(self) -> None:
        if self.frozen:
            self.docker("unpause")
            self.frozen = False

    def nft(self, commands: str) -> None:
        state = self.state["State"]
        # A container that is away has no network to be cut, and begins with a whole one.
        if state["Running"] and state["Pid"]:
            run("nsenter", "-t", state["Pid"], "-n", "nft", "-f", "-", text=commands)

    def four_letter(self, word: str) -> str:
        return four_letter(self.port, word)

    def log_tail(self, lines: int = 40) -> str:
        done = command("docker", "logs", "--tail", str(lines), self.identity, check=False)
        return done.stdout + done.stderr

    def keep_log(self) -> None:
        self.log_path.write_text(self.log_tail(10_000))

    # -- the disk ----------------------------------------------------------------

    def fill_disk(self) -> None:
        self.began = str(time.time())
        self._inside("cat /dev/zero >/datalog/filler || true")

    def make_room(self) -> None:
        self._inside("rm -f /datalog/filler")

    def _inside(self, script: str) -> None:
        # By another container: it works whatever the server does.
        run("docker", "run", "--rm", "--volumes-from", self.identity, "--entrypoint", "sh",
            self.state["Config"]["Image"], "-c", script)  # fmt: skip

    def _ends(self) -> list[str]:
        """The exit codes of its processes so far. Docker starts one that ended by itself again."""
        shown = "{{.Actor.Attributes.exitCode}}"
        words = ["--since", self.began, "--until", str(time.time()), "--format", shown]
        chosen = ["--filter", f"container={self.identity}", "--filter", "event=die"]
        return run("docker", "events", *words, *chosen).split()

    @property
    def has_ended(self) -> bool:
        return self.state["RestartCount"] > 0

    def wait_end(self, timeout: float) -> int:
        """Waits until the server ends by itself; its exit code."""
        poll(lambda: self.has_ended, timeout, f"container {self.number} ends")
        return int(poll(self._ends, timeout, "Docker tells of it")[0])


class Compose(Hosts):
    """The compose file's project, under a name of its own."""

    kind = "volery"

    def __init__(self, config: dict[str, object]) -> None:
        """Raises docker_suite.Skip where there is no Docker."""
        self.containers = Containers(*look_around())
        self.directory = Path(tempfile.mkdtemp(prefix="chaos-compose-"))
        override = self.directory / "override.yml"
        override.write_text(OVERRIDE)
        project = f"volery-chaos-{os.getpid()}"
        files = ["-f", DOCKER / "docker-compose.three.yml", "-f", override]
        self.command = [*self.containers.compose_command[:-4], "-p", project, *map(str, files)]
        ports = [free_port() for _ in range(SERVERS)]
        self.environment = self.containers.environment | {
            **{f"VOLERY_CLIENTS{n}": f"127.0.0.1:{port}" for n, port in enumerate(ports, 1)},
            "ZOO_CFG_EXTRA": " ".join(f"{key}={value}" for key, value in config.items()),
            "ZOO_4LW_COMMANDS_WHITELIST": "*",
        }
        self.hosts = []
        self.containers.build()
        self._compose("up", "-d", "--no-build")
        for number, port in enumerate(ports, 1):
            identity = self._compose("ps", "-q", f"volery{number}").strip()
            self.hosts.append(Container(number, identity, port))
        # Keeps the small disk while its server is away.
        self.holder = run(
            "docker", "run", "-d", "--rm", "--volumes-from", self.hosts[-1].identity,
            "--entrypoint", "sleep", self.containers.image, "7200",
        ).strip()  # fmt: skip
        networks = self.hosts[0].state["NetworkSettings"]["Networks"]
        self.clients = next(iter(networks.values()))["Gateway"]
        for host in self.hosts:
            host.nft(NO_CUTS)

    def _compose(self, *words: str) -> str:
        return command(*self.command, *words, env=self.environment).stdout

    def destroy(self) -> None:
        command("docker", "rm", "-f", "-v", self.holder, check=False)
        command(*self.command, "down", "-v", "-t", "2", env=self.environment, check=False)
        self.containers.remove()
