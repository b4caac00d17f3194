from connections.admin import accounts, connection, people, plaid  # noqa: F401 - each registers its models
