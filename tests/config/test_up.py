"""`manage.py up` for real, in a home and on ports of its own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest

from config.embedded import Embedded
from config.processes import wait_until
from tests.conftest import call, free_port, is_answering
from tests.plugin import BASE_DIR, ENVIRONMENT


class Installation:
    """One home, started and stopped as a person would."""

    def __init__(self, home, **variables: str) -> None:
        self.home = home
        self.port, self.simulator_port = free_port(), free_port()
        ours = {*ENVIRONMENT, "CAUSEWAY_DATABASE", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"}
        self.environment = {name: value for name, value in os.environ.items() if name not in ours} | {
            "CAUSEWAY_ENV": "test",
            "CAUSEWAY_HOME": str(home),
            "PORT": str(self.port),
            "SIMULATOR_PORT": str(self.simulator_port),
            **variables,
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        with (self.home.parent / "screen").open("ab") as screen:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=BASE_DIR, env=self.environment, stdout=screen, stderr=screen
            )
        assert wait_until(lambda: self.process.poll() is not None or is_answering(f"{self.url}/readyz"), 90, 0.3)
        assert self.process.poll() is None, self.screen()

    def try_to_start(self) -> subprocess.CompletedProcess:
        command = [sys.executable, "manage.py", "up"]
        return subprocess.run(command, cwd=BASE_DIR, env=self.environment, capture_output=True, text=True, timeout=60)

    def screen(self) -> str:
        return (self.home.parent / "screen").read_text()

    def stop(self) -> float:
        """How long it took."""
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        return time.monotonic() - began


@pytest.fixture
def installation(tmp_path):
    made = Installation(tmp_path / "home")
    yield made
    made.stop()
    Embedded(made.home).remove()


def test_everything_starts_stops_and_finds_its_data_again(installation):
    installation.start()
    file = installation.home / "demo.json"
    demo = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(demo) == ["url", "simulator_url", "workspace", "user", "operator", "jobs_secret"]
    assert list(demo["user"]) == list(demo["operator"]) == ["username", "password", "token"]
    assert demo["url"] == installation.url
    assert call("GET", f"{demo['simulator_url']}/healthz")[0] == 200
    assert wait_until(lambda: "Ctrl-C stops everything." in installation.screen(), 10)
    assert demo["user"]["password"] in installation.screen()
    assert not (installation.home / "seeding").exists()

    refused = installation.try_to_start()
    assert refused.returncode == 1
    assert refused.stderr.startswith("Causeway already runs in")

    servers = Embedded(installation.home)
    assert servers.is_postgres_ready()
    assert installation.stop() < 10
    assert installation.process.returncode == 0
    assert (servers.postgres_pid, servers.valkey_pid) == (None, None)
    assert not is_answering(f"{installation.url}/healthz")

    installation.start()
    again = json.loads(file.read_text())
    assert again["user"]["password"] == demo["user"]["password"]
    assert again["user"]["token"] != demo["user"]["token"]
    assert "The demo has its banks already." in installation.screen()


def test_a_taken_port_stops_it_before_anything_is_started(installation):
    with socket.create_server(("127.0.0.1", installation.port)):
        refused = installation.try_to_start()
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("Stop that one, or set PORT to a free port.")
    assert not Embedded(installation.home).base.exists()


def test_a_bad_configuration_is_listed_and_leaves_nothing_running(tmp_path):
    installation = Installation(tmp_path / "home", DEMO="0", LEASE_S="soon")
    refused = installation.try_to_start()
    assert refused.returncode == 1
    for name in ("SECRET_KEY", "ENCRYPTION_KEYS", "LEASE_S"):
        assert name in refused.stdout
    assert refused.stderr.strip() == "Causeway cannot start with the errors above."
    servers = Embedded(installation.home)
    assert (servers.postgres_pid, servers.valkey_pid) == (None, None)
    servers.remove()
