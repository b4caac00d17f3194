from connections.admin import (  # noqa: F401 - each registers its models
    accounts,
    audit,
    connection,
    event,
    people,
    plaid,
    provider_pause,
    quickbooks,
    verification,
)
