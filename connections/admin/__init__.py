from connections.admin import accounts, connection, event, people, plaid  # noqa: F401 - each registers its models
