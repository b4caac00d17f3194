"""Cursors for statements that Django's own would send badly: long ones that repeat, and those with large values."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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


class Prepared:
    """A statement that is sent often: planned once a session, and taken apart once, not at every call.

    sql: with named placeholders, `%(name)s`, and no other per cent sign.
    """

    def __init__(self, sql: str) -> None:
        self._names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
        self._sql = re.sub(r"%\((\w+)\)s", lambda found: f"${self._names.index(found[1]) + 1}", sql).encode()

    def execute(self, values: Mapping[str, Any]) -> psycopg.RawCursor:
        """The cursor with its rows, on Django's connection and inside its transaction. Raises Django's errors."""
        connection.ensure_connection()
        with connection.wrap_database_errors:
            cursor = psycopg.RawCursor(connection.connection)
            return cursor.execute(self._sql, [values[name] for name in self._names], prepare=True)
