from connections.admin import (  # noqa: F401 - each registers its models
    accounts,
    audit,
    connection,
    event,
    oauth,
    people,
    plaid,
    provider_pause,
    quickbooks,
    verification,
)
