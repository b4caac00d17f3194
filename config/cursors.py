"""Cursors for statements that Django's own would send badly: long ones that repeat, and those with large values."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection

from config.roles import dsn_of


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

    def rows(self, values: Mapping[str, Any], *, own: "OwnConnection | None" = None) -> list[tuple[Any, ...]]:
        """Its rows, on Django's connection and inside its transaction, or on `own`. Raises Django's errors."""
        given = [values[name] for name in self._names]
        with connection.wrap_database_errors:
            if own is not None:
                return own.rows(self._sql, given)
            connection.ensure_connection()
            return psycopg.RawCursor(connection.connection).execute(self._sql, given, prepare=True).fetchall()


class OwnConnection:
    """A connection beside Django's, for statements that commit by themselves and never change who asks.

    So there is nothing to check before, and nothing to reset after each: what is broken is noticed, and opened anew.
    For one thread at a time.
    """

    def __init__(self) -> None:
        self._connection: psycopg.Connection | None = None
        self._pid = 0

    def rows(self, sql: bytes, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Sends a statement that may be repeated: a connection that broke may have taken it."""
        was_open = self._connection is not None and self._pid == os.getpid()
        try:
            return self._rows(sql, values)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self.close()
            if not was_open:
                raise
            return self._rows(sql, values)

    def close(self) -> None:
        if self._connection is not None and self._pid == os.getpid():  # a parent's stays the parent's
            self._connection.close()
        self._connection = None

    def _rows(self, sql: bytes, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._connection is None or self._pid != os.getpid():
            options = connection.settings_dict["OPTIONS"]
            self._connection = psycopg.connect(
                dsn_of(connection.settings_dict),
                autocommit=True,
                connect_timeout=options["connect_timeout"],
                application_name=options["application_name"],
            )
            self._pid = os.getpid()
        return psycopg.RawCursor(self._connection).execute(sql, values, prepare=True).fetchall()
