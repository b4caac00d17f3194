"""What a pooled database connection must look like when it is handed back."""

import psycopg


def reset_connection(connection: psycopg.Connection) -> None:
    """Drop the tenant role and workspace of the last request: one round trip. If this raises, the pool closes the connection."""
    connection.execute("SELECT set_config('role', 'none', false), set_config('app.workspace_id', '', false)")
    if not connection.autocommit:
        connection.commit()
