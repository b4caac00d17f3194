"""`manage.py up` for real, in a home and on ports of its own."""

import json
import socket
import stat
from contextlib import closing

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

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


class Demo:
    """The demo's workspace as its owner sees it, and the simulators beside it."""

    KINDS = ("plaid", "plaid", "quickbooks", "supabase", "supabase", "woocommerce")

    def __init__(self, shown: dict) -> None:
        self.shown = shown
        self.headers = {"Authorization": f"Bearer {shown['user']['token']}"}

    def get(self, path: str, **params) -> dict:
        url = f"{self.shown['url']}/api/v1/{path}"
        return httpx.get(url, params=params, headers=self.headers, timeout=10).raise_for_status().json()

    def control(self, provider: str, path: str, body: dict | None = None) -> dict:
        url = f"{self.shown['simulator_url']}/{provider}/_control/{path}"
        answer = httpx.get(url) if body is None else httpx.post(url, json=body)
        return answer.raise_for_status().json()

    def connections(self) -> list[dict]:
        return self.get("connections", page_size=100)["results"]

    def told_by_intuit(self, form: str) -> list[int | str]:
        """What webhooks of this form were answered; nothing within three seconds is no answer there."""
        return [one["status"] for one in self.control("quickbooks", "webhooks")["webhooks"] if one["format"] == form]

    def is_connected(self) -> bool:
        """One of each kind is active: two banks, a shop that calls us, books, and a store by both ways."""
        active = [one["provider"] for one in self.connections() if one["status"] == "active"]
        return tuple(sorted(active)) == self.KINDS


def news(home) -> dict[str, int]:
    """By provider, how often it was told that something changed."""
    query = """SELECT provider, sum(dirty_seq)::int FROM connections_recordnews n
               JOIN connections_connection c ON c.id = n.connection_id GROUP BY provider"""
    with closing(psycopg.connect(make_conninfo(Embedded(home).superuser_dsn(), dbname="causeway"))) as database:
        return dict(database.execute(query).fetchall())


def is_told_of(demo: Demo, home, providers: set[str]) -> bool:
    """Whether what happens in the shop and in the company, now, has become news here."""
    demo.control("woocommerce", "stores/demo/advance", {"steps": 1})
    demo.control("quickbooks", "companies/9341450000000001/advance", {"steps": 1})
    return news(home).keys() >= providers


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

    ours = Demo(demo)
    assert wait_until(ours.is_connected, 60, 0.3), installation.screen()
    connected = {one["id"]: one["config_version"] for one in ours.connections()}
    assert wait_until(lambda: is_told_of(ours, installation.home, {"woocommerce", "quickbooks"}), 30, 0.3)
    (app,) = [one for one in ours.control("quickbooks", "apps")["apps"] if one["environment"] == "sandbox"]
    ours.control("quickbooks", f"apps/{app['client_id']}/webhook", {"raw": "nobody can read this"})
    assert wait_until(lambda: ours.told_by_intuit("raw") == [200], 10), ours.told_by_intuit("raw")

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
    assert wait_until(lambda: installation.screen().count(": connected already.") == 4, 30)
    assert {one["id"]: one["config_version"] for one in Demo(again).connections()} == connected


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
