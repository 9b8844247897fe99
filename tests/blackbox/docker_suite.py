#!/usr/bin/env python3
"""The container image: built, started by docker-compose, used, stopped, started again.

The image is the Dockerfile's target `binary`, made of the release binaries, on
a base image out of Debian packages (docker/make-base), so no registry is
needed. BASE_IMAGE names another base. Without a Docker daemon, or without the
means to make a base image, the suite is skipped and says so.

Everything it makes has a name of its own, and is removed again; only the base
image stays, as it takes a minute to make.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from server import ROOT, add_server_option, four_letter, free_port, poll, volery_binary

DOCKER = ROOT / "docker"
LOCAL_BASE = "volery-base:bookworm"
BASES = (LOCAL_BASE, "debian:bookworm-slim", "debian:bookworm")
NAME = f"volery-test-{os.getpid()}"
STOP_SECONDS = 5.0


class Skip(Exception):
    """This machine cannot run the suite; says why."""


def run(*command: str | Path, check: bool = True, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, **options
    )
    if check and done.returncode:
        words = " ".join(map(str, command))
        raise AssertionError(f"{words}: code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


# -- what is there ----------------------------------------------------------


def compose_command() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if run("docker", "compose", "version", check=False).returncode == 0:
        return ["docker", "compose"]
    raise Skip("neither docker-compose nor `docker compose` is there")


def base_image() -> str:
    if given := os.environ.get("BASE_IMAGE"):
        return given
    for image in BASES:
        if run("docker", "image", "inspect", image, check=False).returncode == 0:
            return image
    if os.geteuid() != 0:
        raise Skip(f"there is no base image, and docker/make-base needs root ({LOCAL_BASE})")
    if not shutil.which("debootstrap"):
        raise Skip("there is no base image, and no debootstrap to make one")
    print("making a base image", flush=True)
    run(DOCKER / "make-base", LOCAL_BASE)
    return LOCAL_BASE


def look_around() -> tuple[list[str], str]:
    if not shutil.which("docker"):
        raise Skip("docker is not installed")
    answer = run("docker", "version", check=False)
    if answer.returncode:
        raise Skip(f"no Docker daemon answers: {answer.stderr.strip().splitlines()[-1]}")
    return compose_command(), base_image()


# -- the subject ------------------------------------------------------------


class Containers:
    """One compose project, and what else the suite starts."""

    def __init__(self, compose: list[str], base: str) -> None:
        self.base = base
        self.image = f"{NAME}:latest"
        self.port = free_port()
        self.metrics = free_port()
        self.compose_command = [*compose, "-p", NAME, "-f", str(DOCKER / "docker-compose.yml")]
        self.environment = os.environ | {
            "VOLERY_IMAGE": self.image,
            "VOLERY_CLIENTS": f"127.0.0.1:{self.port}",
            "VOLERY_METRICS": f"127.0.0.1:{self.metrics}",
        }

    def build(self) -> None:
        """The context is a copy: the binaries never lie in the source tree."""
        with tempfile.TemporaryDirectory(prefix="docker-suite-") as context:
            target = Path(context) / "docker"
            (target / "binaries").mkdir(parents=True)
            for name in ("Dockerfile", "entrypoint", "health"):
                shutil.copy(DOCKER / name, target / name)
            for name in ("volery", "volery-server"):
                shutil.copy(volery_binary().with_name(name), target / "binaries" / name)
            run(
                "docker", "build", "--target", "binary", "--build-arg", f"BASE_IMAGE={self.base}",
                "-t", self.image, "-f", target / "Dockerfile", context,
            )  # fmt: skip

    def compose(self, *command: str, **variables: str) -> str:
        environment = self.environment | variables
        return run(*self.compose_command, *command, env=environment, cwd=ROOT).stdout

    def up(self, **variables: str) -> None:
        self.compose("up", "-d", "--no-build", **variables)

    @property
    def container(self) -> str:
        return self.compose("ps", "-q", "volery").strip()

    def state(self, container: str | None = None) -> dict:
        text = run("docker", "inspect", container or self.container).stdout
        return json.loads(text)[0]["State"]

    def wait_healthy(self, container: str | None = None) -> None:
        container = container or self.container

        def healthy() -> bool:
            state = self.state(container)
            if state["Status"] != "running":
                raise AssertionError(f"{state['Status']}\n{self.logs(container)}")
            return state["Health"]["Status"] == "healthy"

        try:
            poll(healthy, 60, "the container is healthy", interval=0.2)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.logs(container)}") from None

    def logs(self, container: str) -> str:
        done = run("docker", "logs", "--tail", "40", container, check=False)
        return done.stdout + done.stderr

    def cli(self, *command: str) -> str:
        """The CLI of this machine, through the published port."""
        binary = volery_binary().with_name("volery")
        return run(binary, "-s", f"127.0.0.1:{self.port}", *command).stdout

    def inside(self, *command: str) -> str:
        return self.compose("exec", "-T", "volery", *command)

    def remove(self) -> None:
        run(*self.compose_command, "down", "-v", "--timeout", "5", env=self.environment,
            cwd=ROOT, check=False)  # fmt: skip
        run("docker", "rm", "-f", "-v", f"{NAME}-own", check=False)
        run("docker", "rmi", "-f", self.image, check=False)


# -- the tests, in order ----------------------------------------------------


def test_build(containers: Containers) -> None:
    containers.build()


def test_up_and_healthy(containers: Containers) -> None:
    containers.up()
    containers.wait_healthy()
    assert containers.inside("id", "-u").strip() == "1000", "not the user 1000"
    process = containers.inside("cat", "/proc/1/comm").strip()
    assert process == "volery-server", f"process 1 is {process}, who passes signals on?"


def test_cli(containers: Containers) -> None:
    containers.cli("create", "/from-outside", "one")
    containers.inside("volery", "create", "/from-inside", "two")
    assert containers.inside("volery", "get", "/from-outside").strip() == "one"
    assert containers.cli("get", "/from-inside").strip() == "two"


def test_kazoo_over_a_restart(containers: Containers) -> None:
    from kazoo.client import KazooClient

    logging.getLogger("kazoo").setLevel(logging.CRITICAL)  # it will lose its connection
    client = KazooClient(f"127.0.0.1:{containers.port}", timeout=20)
    client.start(timeout=20)
    try:
        client.create("/kazoo/a/b", b"three", makepath=True)
        client.create("/kazoo/here", ephemeral=True)
        session = client.client_id
        containers.compose("restart")
        containers.wait_healthy()
        poll(lambda: client.connected, 20, "kazoo is connected again")
        assert client.get("/kazoo/a/b")[0] == b"three"
        assert client.client_id == session, "the session did not survive"
        assert client.exists("/kazoo/here"), "the ephemeral did not survive"
    finally:
        client.stop()
        client.close()


def test_new_container_with_other_variables(containers: Containers) -> None:
    before = containers.container
    containers.up(
        ZOO_CFG_EXTRA="minSessionTimeout=3000 jute.maxbuffer=2000000",
        ZOO_4LW_COMMANDS_WHITELIST="conf",
    )
    assert containers.container != before, "the same container"
    containers.wait_healthy()
    assert containers.cli("get", "/from-outside").strip() == "one"
    conf = four_letter(containers.port, "conf").splitlines()
    for line in ("minSessionTimeout=3000", "jute.maxbuffer=2000000", "dataLogDir=/datalog"):
        assert line in conf, f"{line} is not in {conf}"
    assert "not in the whitelist" in four_letter(containers.port, "mntr")


def test_own_config_as_root(containers: Containers) -> None:
    """A zoo.cfg of one's own, read-only; started as root, which is given up."""
    name = f"{NAME}-own"
    with tempfile.TemporaryDirectory(prefix="docker-suite-") as directory:
        text = "dataDir=/data\nclientPort=2500\n4lw.commands.whitelist=ruok\n"
        (Path(directory) / "zoo.cfg").write_text(text)
        os.chmod(directory, 0o755)
        run("docker", "run", "-d", "--name", name, "--user", "root", "-e", "ZOO_TICK_TIME=1",
            "-v", f"{directory}:/conf:ro", containers.image)  # fmt: skip
        containers.wait_healthy(name)
        assert (Path(directory) / "zoo.cfg").read_text() == text
        owner = run("docker", "exec", name, "stat", "-c", "%u", "/proc/1").stdout.strip()
        assert owner == "1000", f"the server runs as {owner}"
        answer = run("docker", "exec", name, "volery", "-s", "127.0.0.1:2500", "4lw", "ruok")
        assert answer.stdout.strip() == "imok"
        run("docker", "rm", "-f", "-v", name)


class Cluster:
    """A compose file of several servers, as a project of its own."""

    def __init__(self, containers: Containers, name: str, servers: int) -> None:
        self.containers = containers
        self.servers = range(1, servers + 1)
        file = DOCKER / f"docker-compose.{name}.yml"
        self.command = [*containers.compose_command[:-4], "-p", f"{NAME}-{name}", "-f", str(file)]
        ports = {f"VOLERY_CLIENTS{n}": f"127.0.0.1:{free_port()}" for n in self.servers}
        self.environment = containers.environment | ports
        self.ids: dict[int, str] = {}

    def __enter__(self) -> "Cluster":
        try:
            self.compose("up", "-d", "--no-build")
            self.ids = {n: self.compose("ps", "-q", f"volery{n}").strip() for n in self.servers}
            for container in self.ids.values():
                self.containers.wait_healthy(container)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, failed: type | None, *_: object) -> None:
        if failed:
            print(self.compose("logs", "--tail", "20", check=False))
        self.compose("down", "-v", "-t", "2", check=False)

    def compose(self, *words: str, check: bool = True) -> str:
        return run(*self.command, *words, env=self.environment, cwd=ROOT, check=check).stdout

    def volery(self, number: int, *words: str) -> str:
        """The CLI in one of the containers, through its own server."""
        return self.inside(number, f"volery{number}:2181", *words)

    def anywhere(self, number: int, *words: str) -> str:
        """The same; the client tries the other servers while one is away."""
        return self.inside(number, ",".join(f"volery{n}:2181" for n in self.servers), *words)

    def inside(self, number: int, hosts: str, *words: str) -> str:
        command = ["docker", "exec", self.ids[number], "timeout", "20", "volery", "-s", hosts]
        return run(*command, *words).stdout.strip()

    def each_away(self, away: str, back: str) -> Iterator[int]:
        """Each server in turn is away while the caller does something; then it is back."""
        for number, container in self.ids.items():
            run("docker", away, container)
            yield number
            run("docker", back, container)
            self.containers.wait_healthy(container)


def test_three_servers(containers: Containers) -> None:
    """A cluster goes on without any one of its servers, killed or hung."""
    with Cluster(containers, "three", 3) as cluster:
        cluster.volery(1, "create", "/from-1", "one")
        assert cluster.anywhere(3, "get", "/from-1") == "one"
        for away, back in (("kill", "start"), ("pause", "unpause")):
            for number in cluster.each_away(away, back):
                cluster.anywhere(number % 3 + 1, "create", f"/{away}-{number}", "x")
        found = cluster.anywhere(2, "ls", "/").split()
        wanted = {f"{away}-{n}" for away in ("kill", "pause") for n in cluster.servers}
        assert wanted <= set(found), f"{wanted - set(found)} are gone"


def test_six_servers_share_four_partitions(containers: Containers) -> None:
    """Every server serves the whole tree, whichever partitions it holds, and goes on doing so
    while any one server is away: names below the root are spread over all partitions."""
    names = [f"name{n}" for n in range(12)]
    with Cluster(containers, "six", 6) as cluster:
        for at, name in enumerate(names):
            cluster.volery(at % 6 + 1, "create", f"/{name}", name)
        for number in cluster.servers:
            cluster.volery(number, "sync", "/")
            for name in names:
                assert cluster.volery(number, "get", f"/{name}") == name, f"{name} at {number}"
        for number in cluster.each_away("kill", "start"):
            for at, name in enumerate(names):
                witness = (number + at % 5) % 6 + 1
                cluster.anywhere(witness, "set", f"/{name}", f"{name} without {number}")
                assert cluster.anywhere(witness, "get", f"/{name}") == f"{name} without {number}"
        for number in cluster.servers:
            cluster.volery(number, "sync", "/")
            found = {name: cluster.volery(number, "get", f"/{name}") for name in names}
            assert found == {name: f"{name} without 6" for name in names}, f"{number}: {found}"


def test_servers_without_a_partition_are_refused(containers: Containers) -> None:
    servers = " ".join(f"server.{n}=127.0.0.{n}:2888:3888;2181" for n in (1, 2, 3))
    placed = "partitions=2 partition.1.servers=1,2 partition.2.servers=1,2"
    done = run("docker", "run", "--rm", "-e", f"ZOO_SERVERS={servers}", "-e", "ZOO_MY_ID=1",
               "-e", f"ZOO_CFG_EXTRA={placed}", containers.image, check=False)  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 1, f"code {done.returncode}\n{said}"
    assert "server 3 is in no partition.N.servers" in said, said


def test_stop(containers: Containers) -> None:
    container = containers.container
    started = time.monotonic()
    run("docker", "stop", "--time", "30", container)
    seconds = time.monotonic() - started
    assert seconds < STOP_SECONDS, f"{seconds:.1f} s, so it was not the signal"
    code = containers.state(container)["ExitCode"]
    assert code == 0, f"exit code {code}\n{containers.logs(container)}"


TESTS = [
    test_build,
    test_up_and_healthy,
    test_cli,
    test_kazoo_over_a_restart,
    test_new_container_with_other_variables,
    test_own_config_as_root,
    test_three_servers,
    test_six_servers_share_four_partitions,
    test_servers_without_a_partition_are_refused,
    test_stop,
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_server_option(parser)
    args = parser.parse_args()
    try:
        if args.server != "volery":
            raise Skip("the image is Volery's")
        containers = Containers(*look_around())
    except Skip as why:
        print(f"skipped: {why}")
        print(f"0 passed, 0 failed, {len(TESTS)} skipped")
        return 0
    passed = failed = skipped = 0
    try:
        for test in TESTS:
            name = test.__name__.removeprefix("test_")
            if failed:  # each builds on the one before
                print(f"skip   {name}")
                skipped += 1
                continue
            started = time.monotonic()
            try:
                test(containers)
                passed += 1
                print(f"ok     {name} ({time.monotonic() - started:.1f} s)", flush=True)
            except Exception as error:  # noqa: BLE001 whatever it is, it is a failure
                failed += 1
                print(f"FAILED {name}: {error}", flush=True)
    finally:
        containers.remove()
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
