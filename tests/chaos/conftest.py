import time

import pytest

from tests import plugin
from tests.chaos.world import World
from tests.sync.conftest import bank, link  # noqa: F401 - banks at the simulator


@pytest.fixture
def world(request):
    """A whole installation to be shot at. `indirect` parametrization gives it environment variables."""
    made = World(
        plugin.HOME / f"chaos-{plugin.WORKER or 'main'}-{time.monotonic_ns()}", **getattr(request, "param", {})
    )
    try:
        made.start()
        yield made
    finally:
        made.end()
