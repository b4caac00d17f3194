from tests.connections.api.scene import *  # noqa: F403 - rows to ask for
