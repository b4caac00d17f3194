from tests.contract.conftest import intuit  # noqa: F401 - the simulated Intuit, our clients pointed at it
