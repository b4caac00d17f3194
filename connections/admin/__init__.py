from connections.admin import accounts, audit, connection, event, people, plaid, provider_pause, verification  # noqa: F401 - each registers its models
