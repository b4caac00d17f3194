"""What a pooled database connection must look like when it is handed back."""

import psycopg


def reset_connection(connection: psycopg.Connection) -> None:
    """Drop the tenant role and workspace of the last request. If this raises, the pool closes the connection."""
    with connection.transaction():
        connection.execute("RESET ROLE")
        connection.execute("SELECT set_config('app.workspace_id', '', false)")
