from connections.admin import accounts, audit, connection, event, people, plaid  # noqa: F401 - each registers its models
