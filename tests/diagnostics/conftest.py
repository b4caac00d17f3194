from tests.sync.conftest import link  # noqa: F401 - banks at the simulator
