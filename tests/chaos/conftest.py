from tests.sync.conftest import bank, link  # noqa: F401 - banks at the simulator
