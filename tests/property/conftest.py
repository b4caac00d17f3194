from tests.connections.conftest import (
    corner,  # noqa: F401 - a little service and its provider
    private_networks_allowed,  # noqa: F401 - for loopback's sake
)
from tests.connections.providers.supabase.conftest import (  # noqa: F401 - simulated stores
    bare,
    kind,
    project,
    supabase_simulator,
)
from tests.sync.conftest import link  # noqa: F401 - banks at the simulator
