"""Cursors for statements that Django's own would send badly: long ones that repeat, and those with large values."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection


@contextmanager
def server_side_cursor() -> Iterator[psycopg.Cursor]:
    """A cursor on Django's connection, inside its transaction, that binds parameters on the server. Raises Django's errors.

    Django's escapes every value into the text of the statement: half a megabyte of page twice over, and a plan each time.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        yield cursor
