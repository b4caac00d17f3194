"""A town: a web process for all scenarios, people, and banks that they link through the API."""

from collections.abc import Iterator

import pytest

from tests import plugin
from tests.conftest import Process, free_port, gunicorn, is_answering
from tests.scenarios.town import Town


@pytest.fixture(scope="session")
def town_web(django_db_setup, _simulators) -> Iterator[Process]:
    """gunicorn for every scenario: starting one takes longer than most of them."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = dict.fromkeys(("PLAID_SANDBOX_URL", "PLAID_PRODUCTION_URL"), f"{_simulators.url}/plaid")
    log = plugin.HOME / "logs" / f"town-web-{port}.log"
    made = Process("web", gunicorn(port), log, environment | {"PUBLIC_URL": url})
    made.url = url
    made.wait_until(lambda: is_answering(f"{url}/healthz"))
    yield made
    made.stop()


@pytest.fixture
def town(transactional_db, town_web, simulator, settings) -> Town:
    settings.PUBLIC_URL = town_web.url
    return Town(town_web.url, simulator)
