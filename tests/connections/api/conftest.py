from tests.connections.api.scene import *  # noqa: F403 - fixtures
from tests.sync.conftest import link  # noqa: F401 - banks at the simulator
