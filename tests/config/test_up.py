"""`manage.py up` for real, in a home and on ports of its own."""

import json
import socket
import stat

import pytest

from config.embedded import Embedded
from config.processes import wait_until
from tests.conftest import call, is_answering
from tests.installation import Installation


@pytest.fixture
def installation(tmp_path):
    made = Installation(tmp_path / "home")
    yield made
    made.stop()
    Embedded(made.home).remove()


def supabase_projects(demo: dict) -> list[dict]:
    return call("GET", f"{demo['simulator_url']}/supabase/_control/projects")[1]["projects"]


def test_everything_starts_stops_and_finds_its_data_again(installation):
    installation.start()
    file = installation.home / "demo.json"
    demo = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(demo) == ["url", "simulator_url", "workspace", "user", "operator", "jobs_secret"]
    assert list(demo["user"]) == list(demo["operator"]) == ["username", "password", "token"]
    assert demo["url"] == installation.url
    assert call("GET", f"{demo['simulator_url']}/healthz")[0] == 200
    (project,) = supabase_projects(demo)
    assert (project["name"], project["state"]) == ("demo", "active")
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
    assert supabase_projects(demo) == [project]


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
