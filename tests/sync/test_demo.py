"""What `make run` connects for the demo beside its banks: through the API of a real web process, at the simulators."""

import json
import threading
import time
from collections.abc import Iterator

import pytest
from django.db import connection as database

from connections.http import Http
from connections.models import Connection
from connections.services.verifying import verifications_run
from sync.management.demo.api import Api
from sync.management.demo.linking import places_link
from sync.management.demo.places import Shop

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ["Larkspur Outfitters", "Maple & Mug", "Warehouse", "Warehouse, by PostgreSQL"]


class Killed(BaseException):
    """The start ends here, whatever was on its way."""


@pytest.fixture
def demo(alice, process, simulator, settings, tmp_path) -> dict:
    """What the demo's owner finds: an installation, simulators with a shop and a project in them."""
    settings.QUICKBOOKS_SANDBOX_URL = f"{simulator.url}/quickbooks"
    web = process("web", PUBLIC_URL="http://127.0.0.1:{port}")
    settings.PUBLIC_URL, settings.CAUSEWAY_HOME = web.url, tmp_path
    simulator.control("POST", "/woocommerce/_control/stores", {"name": "demo", "orders": 0})
    simulator.control("POST", "/supabase/_control/projects", {"name": "demo", "if_missing": True})
    shown = {"url": web.url, "simulator_url": simulator.url, "workspace": alice.workspace.slug}
    return keep(tmp_path, shown | {"user": {"token": alice.token}})


def keep(home, shown: dict) -> dict:
    (home / "demo.json").write_text(json.dumps(shown))
    return shown


@pytest.fixture
def verifier(demo) -> Iterator[None]:
    """Answers verifications as a worker does."""
    ends = threading.Event()

    def work() -> None:
        while not ends.wait(0.05):
            verifications_run(deadline=time.monotonic() + 5)
        database.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ends.set()
    thread.join()


class Start:
    """One start of the demo, killed when so many of its requests have had their effect."""

    def __init__(self, monkeypatch) -> None:
        self.left = 1_000
        request = Http.request

        def counted(http, method, *args, **kwargs):
            answer = request(http, method, *args, **kwargs)
            if http.provider == "browser" or (http.provider in ("causeway", "simulator") and method != "GET"):
                self.left -= 1
                if self.left == 0:
                    raise Killed
            return answer

        monkeypatch.setattr(Http, "request", counted)

    def is_through(self, budget: int = 1_000) -> list[str]:
        """What it said; [] where it was killed."""
        said: list[str] = []
        self.left = budget
        try:
            places_link(Api(), said.append)
        except Killed:
            return []
        return said


def shown() -> list[tuple[str, str]]:
    return sorted(Connection.objects.values_list("name", "status"))


def test_a_start_that_is_killed_over_the_demo_is_finished_by_the_next_and_changes_nothing_then(
    demo, verifier, monkeypatch, settings
):
    start = Start(monkeypatch)
    budget = 1
    while not (said := start.is_through(budget)):
        budget += 1
        assert budget < 12, shown()
    assert budget > 4
    assert shown() == [(name, "active") for name in NAMES], said
    assert said[-1] == "Warehouse, by PostgreSQL: connected."
    versions = dict(Connection.objects.values_list("pk", "config_version"))

    assert start.is_through() == [f"{name}: connected already." for name in ("Maple & Mug", NAMES[0], *NAMES[2:])]
    assert start.left == 1_000
    assert dict(Connection.objects.values_list("pk", "config_version")) == versions

    # Simulators that listen elsewhere are followed; what its owner has put to rest is left alone.
    shop, store = Connection.objects.get(provider="woocommerce"), Connection.objects.get(name="Warehouse")
    another = {"provider": "woocommerce", "name": "By hand", "environment": "sandbox", "config": shop.config}
    Api().post("connections", another | {"credentials": Shop().secrets(Api())})
    shops = Connection.objects.filter(provider="woocommerce")
    shops.update(config={"store_url": "http://127.0.0.1:9/woocommerce/demo"}, status="active")
    Connection.objects.filter(pk=store.pk).update(
        status="paused", config=store.config | {"project_url": store.config["project_url"].replace("127.0.0.1", "x")}
    )
    assert start.is_through()[0] == "Maple & Mug: connected."
    assert [one.config for one in shops] == [shop.config] * 2
    resting = dict.fromkeys([*NAMES, "By hand"], "active") | {"Warehouse": "paused"}
    assert dict(shown()) == resting

    # Nobody is there: said, and no more.
    keep(settings.CAUSEWAY_HOME, demo | {"simulator_url": "http://127.0.0.1:9"})
    refused = [line.partition(" could not be connected:")[0] for line in start.is_through()]
    assert refused == ["Maple & Mug", f"{NAMES[0]}: connected already.", "Warehouse", f"{NAMES[3]}: connected already."]
    assert dict(shown()) == resting
