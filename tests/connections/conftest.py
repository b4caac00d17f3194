"""A broken or hostile other side, on loopback."""

from collections.abc import Callable, Iterator

import pytest

from config.environment import Environment
from connections.providers import PROVIDERS
from tests import plugin
from tests.connections.corner import Corner
from tests.connections.intuit import intuit  # noqa: F401 - a fixture
from tests.connections.peer import Peer
from tests.connections.providers.supabase.conftest import bare, kind, supabase_simulator  # noqa: F401 - simulated stores


@pytest.fixture
def private_networks_allowed(settings, monkeypatch) -> None:
    """As an operator sets it for the demo: ALLOW_PRIVATE_NETWORKS=true."""
    monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
    settings.ALLOW_PRIVATE_NETWORKS = Environment(base_dir=plugin.BASE_DIR).networks("ALLOW_PRIVATE_NETWORKS")


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """A factory of servers; see `Peer`."""
    made: list[Peer] = []

    def make(*args, **kwargs) -> Peer:
        made.append(Peer(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def corner(monkeypatch) -> Iterator[Corner]:
    """The little service, and its provider in WooCommerce's place."""
    monkeypatch.setitem(PROVIDERS, "woocommerce", "tests.connections.corner")
    made = Corner()
    yield made
    made.close()
