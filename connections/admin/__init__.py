from connections.admin import accounts, audit, connection, event, people, plaid, provider_pause  # noqa: F401 - each registers its models
