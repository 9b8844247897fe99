"""Pytest plugin which puts our subject under kazoo's own test suite.

kazoo's harness starts Java servers from a ZooKeeper installation. Instead of
changing its code, this plugin replaces the one class the harness builds its
servers with, `kazoo.testing.common.ZookeeperCluster`, and leaves everything else as its authors wrote it. The suite hence
tests the subject with the eyes of kazoo's developers.

Tests listed in kazoo_skips.toml are skipped with the reason given there; an
entry that matches no test fails the run, so that the list cannot rot.
"""

from __future__ import annotations

import fnmatch
import os
import sys
import tomllib
import types
from pathlib import Path

import pytest

# The harness imports these to make TLS keys for Java; ours has no use for
# them, so they need not be installed.
for module in ("OpenSSL", "jks"):
    sys.modules.setdefault(module, types.ModuleType(module))

from kazoo.testing import common, harness  # noqa: E402

from server import Server, default_subject  # noqa: E402

SKIPS = Path(__file__).with_name("kazoo_skips.toml")

# The super user's password is "test", as in kazoo's own harness.
SUPER_DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


class ManagedServer:
    """The interface of kazoo's ManagedZooKeeper over our Server."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self._server = Server(
            config={
                "reconfigEnabled": "true",
                "DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
            }
        )

    @property
    def running(self) -> bool:
        return self._server.running

    @property
    def client_port(self) -> int:
        return self._server.port

    @property
    def address(self) -> str:
        return self._server.address

    @property
    def secure_address(self) -> str:
        pytest.skip("the subject runs without a TLS port")

    def run(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def reset(self) -> None:
        self.destroy()

    def destroy(self) -> None:
        self._server.destroy()

    def get_logs(self, num_lines: int = 100) -> list[str]:
        return self._server.log_tail(num_lines).splitlines(keepends=True)


class Cluster:
    """One server, where kazoo's harness has three by default.

    What needs an ensemble is in the list of skips.
    """

    def __init__(self, *args, **kwargs) -> None:
        self._servers = [ManagedServer()]

    def __getitem__(self, index: int) -> ManagedServer:
        return self._servers[index]

    def __iter__(self):
        return iter(self._servers)

    def start(self) -> None:
        for server in self:
            server.run()

    def stop(self) -> None:
        for server in self:
            server.stop()

    def terminate(self) -> None:
        for server in self:
            server.destroy()

    reset = terminate

    def get_logs(self) -> list[str]:
        return [line for server in self for line in server.get_logs()]

    def get_ssl_client_configuration(self):
        pytest.skip("the subject runs without a TLS port")


common.ZookeeperCluster = harness.ZookeeperCluster = Cluster
# Asserted on by the harness; it chooses configuration we do not use.
os.environ["ZOOKEEPER_VERSION"] = "3.9.3"


def load_skips(subject: str) -> list[tuple[str, str]]:
    """(pattern, reason) pairs which apply to this subject."""
    entries = tomllib.loads(SKIPS.read_text())["skip"]
    return [
        (pattern, entry["reason"])
        for entry in entries
        if subject in entry.get("servers", [subject])
        for pattern in entry["tests"]
    ]


def pytest_collection_modifyitems(config, items) -> None:
    skips = load_skips(default_subject())
    used = set()
    for item in items:
        # kazoo/tests/test_client.py::TestX::test_y -> test_client.py::TestX::test_y
        name = item.nodeid.rsplit("/", 1)[-1]
        for pattern, reason in skips:
            if fnmatch.fnmatchcase(name, pattern):
                used.add(pattern)
                item.add_marker(pytest.mark.skip(reason=reason))
                break
    # Only the whole suite can tell that an entry matches nothing.
    if os.environ.get("KAZOO_WHOLE_SUITE"):
        unused = [pattern for pattern, _ in skips if pattern not in used]
        if unused:
            raise pytest.UsageError(f"kazoo_skips.toml: no such tests: {unused}")


def pytest_unconfigure(config) -> None:
    """The suite's last line, in the form tests/run adds up."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or config.option.collectonly:
        return
    stats = reporter.stats
    passed = len(stats.get("passed", []))
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    skipped = len(stats.get("skipped", []))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
