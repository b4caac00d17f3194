from tests.connections.conftest import corner  # noqa: F401 - a little service and its provider
from tests.sync.conftest import link  # noqa: F401 - banks at the simulator
