"""A store over PostgreSQL itself: one connection for one piece of work, by TLS, to an address that was looked at.

A write is one conditional statement in one transaction: what is equal or older is left alone, and the statement says
what it did. Source: PostgreSQL 18 docs (INSERT, libpq), Supabase docs "Connect to your database".
"""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import psycopg
from psycopg.sql import SQL, Composed, Identifier

from connections import bodies, budgets, egress
from connections.calls import log_call
from connections.errors import CausewayError, RateLimited, RejectedRecord, TemporaryError
from connections.providers.base import Access
from connections.providers.supabase import dsn
from connections.providers.supabase.contract import Column, Lines, Table
from connections.providers.supabase.errors import PROVIDER, Permission, classify_code, unsaid
from connections.providers.supabase.isolating import isolated
from connections.providers.supabase.records import REMOVED, Current, Key, Row
from connections.providers.supabase.rest import Outcome, may_have_happened, removal

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S, LOCK_TIMEOUT_S = 30, 5
LIMIT_S = 45.0  # for a transaction: a server that says nothing at all knows no statement_timeout
AT_ONCE = 2
SEAT_WAIT_S = 30.0
MOST_ADDRESSES = 3
_LIMITS = SQL("SET LOCAL statement_timeout = '{}s'; SET LOCAL lock_timeout = '{}s'").format(
    SQL(str(STATEMENT_TIMEOUT_S)), SQL(str(LOCK_TIMEOUT_S))
)
_MET = SQL(
    "jsonb_to_recordset(%s::jsonb) AS k(connection_id uuid, source_system text, source_id text)"
    " WHERE t.connection_id = k.connection_id AND t.source_system = k.source_system AND t.source_id = k.source_id"
    " RETURNING t.connection_id::text, t.source_system, t.source_id"
)


@dataclass(slots=True)
class PostgresStore:
    """One store, for one piece of work. Connects when it is first asked for something; `close` it."""

    place: dsn.Dsn
    schema: str
    is_verified: bool
    ca_pem: str
    connection_id: str
    connection: psycopg.Connection[Any] | None = None

    @classmethod
    def of(cls, access: Access) -> "PostgresStore":
        place = dsn.parsed(access.secret("dsn"))
        is_verified = place.is_verified or access.config.get("tls") != "require"
        return cls(
            place,
            str(access.config.get("schema") or "public"),
            is_verified,
            _optional(access, "ca_pem") if is_verified else "",
            str(access.connection_id),
        )

    def close(self) -> None:
        if self.connection is not None:
            with suppress(psycopg.Error):
                self.connection.close()

    # --- the connection ---
    def connect(self) -> "psycopg.Connection[Any]":
        """Raises NotSent where there is no way to the server, NeedsReauth where it does not know the login."""
        if self.connection is not None and not self.connection.closed:
            return self.connection
        place, started = self.place, time.monotonic()
        error: CausewayError | None = None
        try:
            addresses = egress.checked_addresses(place.host, place.port, ports=egress.POSTGRES_PORTS)[:MOST_ADDRESSES]
            with _ca_file(self.ca_pem) as ca_file:
                self.connection = psycopg.connect(
                    **self._parameters(addresses, ca_file),
                    autocommit=True,
                    prepare_threshold=place.prepare_threshold,
                )
        except psycopg.Error as fault:
            error = unsaid(str(fault))
            raise error from fault
        except CausewayError as refused:
            refused.provider, error = PROVIDER, refused
            raise
        finally:
            self._log("CONNECT", "", started, error)
        return self.connection

    def _parameters(self, addresses: Sequence[str], ca_file: str) -> dict[str, Any]:
        """All of libpq's that count, so that nothing is left to files or variables of whoever runs this."""
        count = len(addresses)
        return {
            "host": ",".join([self.place.host] * count),
            "hostaddr": ",".join(addresses),
            "port": ",".join([str(self.place.port)] * count),
            "user": self.place.user,
            "password": self.place.password,
            "dbname": self.place.dbname,
            "sslmode": "verify-full" if self.is_verified else "require",
            # A file that exists would make libpq verify, in part, where somebody chose not to.
            "sslrootcert": ca_file if self.is_verified else "/nowhere",
            "sslcertmode": "disable",
            "gssencmode": "disable",
            "require_auth": "!password",  # whoever is on the way would read it, where nothing is verified
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "Causeway",
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": round(LIMIT_S * 1000),
        }

    @contextmanager
    def transaction(self, what: str, table: str = "", *, is_kept: bool = True) -> "Iterator[psycopg.Cursor[Any]]":
        """One transaction, bounded in time, and its line in the log. Raises what the table of errors says."""
        started, error = time.monotonic(), None
        with self._seat():
            connection = self.connect()
            try:
                with _deadline(connection), connection.transaction(force_rollback=not is_kept):
                    cursor = connection.cursor()
                    cursor.execute(_LIMITS)
                    yield cursor
            except psycopg.Error as fault:
                error = translated(fault)
                raise error from fault
            finally:
                self._log(what, table, started, error)

    @contextmanager
    def _seat(self) -> Iterator[None]:
        key = (PROVIDER, f"{self.place.host}:{self.place.port}/{self.place.dbname}")
        with budgets.seat(*key, at_most=AT_ONCE, held_s=LIMIT_S + CONNECT_TIMEOUT_S, wait_s=SEAT_WAIT_S) as is_seated:
            if not is_seated:
                raise RateLimited(provider=PROVIDER, retry_after_s=5.0, operator_detail="others keep its connections")
            yield

    def _log(self, what: str, table: str, started: float, error: CausewayError | None) -> None:
        log_call(
            provider=PROVIDER,
            connection_id=self.connection_id,
            method=what,
            url=f"postgresql://{self.place.host}:{self.place.port}/{self.schema}/{table}",
            status=0,
            duration_ms=round((time.monotonic() - started) * 1000),
            request_bytes=0,
            response_bytes=0,
            error=error,
        )

    def at(self, name: str) -> Identifier:
        return Identifier(self.schema, name)

    # --- reading ---
    def current(self, table: Table, keys: Iterable[Key]) -> dict[Key, Current]:
        with self.transaction("SELECT", table.name) as cursor:
            return self._current(cursor, table, keys)

    def hashes(self, table: Table, scope: tuple[str, str]) -> Iterator[tuple[str, Current]]:
        """All rows of one source, by source_id, page by page."""
        after = ""
        while True:
            with self.transaction("SELECT", table.name) as cursor:
                cursor.execute(
                    SQL(
                        "SELECT source_id, source_hash, source_modified_at FROM {} WHERE connection_id = %s"
                        " AND source_system = %s AND source_id > %s ORDER BY source_id LIMIT 1000"
                    ).format(self.at(table.name)),
                    [*scope, after],
                )
                rows = cursor.fetchall()
            if not rows:
                return
            yield from ((row[0], Current(row[1], row[2])) for row in rows)
            after = rows[-1][0]

    def _current(self, cursor: "psycopg.Cursor[Any]", table: Table, keys: Iterable[Key]) -> dict[Key, Current]:
        cursor.execute(
            SQL(
                "SELECT t.connection_id::text, t.source_system, t.source_id, t.source_hash, t.source_modified_at FROM {} t"
                " JOIN jsonb_to_recordset(%s::jsonb) AS k(connection_id uuid, source_system text, source_id text)"
                " USING (connection_id, source_system, source_id)"
            ).format(self.at(table.name)),
            [_json([_parent(key) for key in keys])],
        )
        return {(row[0], row[1], row[2]): Current(row[3], row[4]) for row in cursor}

    # --- writing ---
    def write(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]:
        """Each row with what became of it. Raises what ends the work for all of them."""
        outcomes: dict[Key, str | CausewayError] = {}
        for row, error in isolated(
            sorted(rows, key=lambda row: row.key), lambda some: outcomes.update(self._send(table, some))
        ):
            yield row, error or outcomes[row.key]

    def _send(self, table: Table, rows: Sequence[Row]) -> dict[Key, str | CausewayError]:
        outcomes: dict[Key, str | CausewayError] = {}
        try:
            with self.transaction("UPSERT", table.name) as cursor:
                outcomes = self.upsert(cursor, table, rows)
        except TemporaryError as error:
            written = [row for row in rows if outcomes.get(row.key) in ("created", "updated")]
            if not (written and may_have_happened(error) and self._is_written(table, written)):
                raise
        return outcomes

    def upsert(
        self, cursor: "psycopg.Cursor[Any]", table: Table, rows: Sequence[Row]
    ) -> dict[Key, str | CausewayError]:
        """The statement, within a transaction: what is not equal and not older is written, with its lines."""
        cursor.execute(self._statement(table), [_json([row.values for row in rows])])
        outcomes: dict[Key, str | CausewayError] = {
            (row[0], row[1], row[2]): "created" if row[3] else "updated" for row in cursor
        }
        written = [row for row in rows if row.key in outcomes]
        if table.lines and written:
            self._replace(cursor, table.lines, written)
        left = [row for row in rows if row.key not in outcomes]
        seen = self._current(cursor, table, [row.key for row in left]) if left else {}
        return outcomes | {row.key: _left_alone(row, seen.get(row.key), table) for row in left}

    def _statement(self, table: Table) -> Composed:
        columns = [column.name for column in table.all_columns]
        return SQL(
            "INSERT INTO {at} AS cur ({columns}) SELECT {columns} FROM jsonb_to_recordset(%s::jsonb) AS given({typed})"
            " ON CONFLICT ({key}) DO UPDATE SET {changed}"
            " WHERE cur.source_hash IS DISTINCT FROM excluded.source_hash AND (cur.source_modified_at IS NULL"
            " OR excluded.source_modified_at IS NULL OR cur.source_modified_at <= excluded.source_modified_at)"
            " RETURNING cur.connection_id::text, cur.source_system, cur.source_id, (cur.xmax = 0)"
        ).format(
            at=self.at(table.name),
            columns=_names(columns),
            typed=_typed(table.all_columns),
            key=_names(table.key),
            changed=SQL(", ").join(
                SQL("{0} = excluded.{0}").format(Identifier(name)) for name in columns if name not in table.key
            ),
        )

    def _replace(self, cursor: "psycopg.Cursor[Any]", lines: Lines, rows: Sequence[Row]) -> None:
        given = [row.parent for row in rows], [line for row in rows for line in row.lines or ()]
        call = SQL("SELECT {}(%s::jsonb, %s::jsonb)").format(self.at(lines.replace))
        cursor.execute(call, [_json(part) for part in given])

    def _is_written(self, table: Table, rows: Sequence[Row]) -> bool:
        """After a COMMIT whose answer was lost: all rows are there or none is."""
        try:
            current = self.current(table, [row.key for row in rows])
        except CausewayError:
            return False
        return all(row.key in current and current[row.key].hash == row.hash for row in rows)

    # --- removing ---
    def bury(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]:
        """Tombstones: the rows stay, and say since when they are gone."""
        yield from self._remove(table, rows, is_kept=True)

    def delete(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]:
        """The rows and their lines go for good."""
        yield from self._remove(table, rows, is_kept=False)

    def _remove(self, table: Table, rows: Sequence[Row], *, is_kept: bool) -> Iterator[Outcome]:
        with self.transaction("TOMBSTONE" if is_kept else "DELETE", table.name) as cursor:
            current = self._current(cursor, table, [row.key for row in rows])
            plan: dict[Key, str | CausewayError] = {
                row.key: removal(row, current.get(row.key), is_kept=is_kept) for row in rows
            }
            going = [row for row in rows if plan[row.key] == "removed"]
            gone = self._gone(cursor, table, going, is_kept=is_kept) if going else set()
            if table.lines and going and not is_kept:
                cursor.execute(
                    SQL("SELECT {}(%s::jsonb, '[]'::jsonb)").format(self.at(table.lines.replace)),
                    [_json([row.parent for row in going])],
                )
            plan |= {row.key: _hidden(table, "changed") for row in going if row.key not in gone}
            plan |= self._unseen(cursor, table, [row for row in rows if row.key not in current])
        yield from ((row, plan[row.key]) for row in rows)

    def _gone(self, cursor: "psycopg.Cursor[Any]", table: Table, rows: Sequence[Row], *, is_kept: bool) -> set[Key]:
        """Those that it met. Row security lets the others stand without a word, so they are counted."""
        statement = (
            SQL("UPDATE {} t SET deleted_at = now(), source_hash = {} FROM {}").format(
                self.at(table.name), REMOVED, _MET
            )
            if is_kept
            else SQL("DELETE FROM {} t USING {}").format(self.at(table.name), _MET)
        )
        cursor.execute(statement, [_json([row.parent for row in rows])])
        return {(row[0], row[1], row[2]) for row in cursor}

    def _unseen(
        self, cursor: "psycopg.Cursor[Any]", table: Table, rows: Sequence[Row]
    ) -> dict[Key, str | CausewayError]:
        """Rows that were written once and are not seen now, where row security may be why."""
        known = [row for row in rows if any(record.external_id for record in row.records)]
        if not known:
            return {}
        cursor.execute("SELECT row_security_active(%s::regclass)", [self.at(table.name).as_string(cursor)])
        found = cursor.fetchone()
        return {row.key: _hidden(table, "seen") for row in known} if found and found[0] else {}


def translated(fault: psycopg.Error) -> CausewayError:
    """The error that a fault of the database or of the way to it means."""
    if fault.sqlstate:
        diag = fault.diag
        return classify_code(fault.sqlstate, message=diag.message_primary or "", hint=diag.message_hint or "")
    if isinstance(fault, psycopg.DataError):
        return RejectedRecord(provider=PROVIDER, operator_detail=type(fault).__name__)
    return TemporaryError(provider=PROVIDER, operator_detail=f"{type(fault).__name__}: {str(fault)[:300]}")


def _left_alone(row: Row, current: Current | None, table: Table) -> str | CausewayError:
    if current is None:
        return _hidden(table, "seen")
    return "unchanged" if current.hash == row.hash else "stale"


def _hidden(table: Table, verb: str) -> Permission:
    return Permission(
        f"The row cannot be {verb} by this login: row security of the table {table.name} hides it.",
        provider=PROVIDER,
        operator_detail=f"row security hides rows of {table.name}",
    )


def _names(names: Iterable[str]) -> Composed:
    return SQL(", ").join(map(Identifier, names))


def _typed(columns: Iterable[Column]) -> Composed:
    return SQL(", ").join(SQL("{} " + column.type).format(Identifier(column.name)) for column in columns)


def _parent(key: Key) -> dict[str, str]:
    return dict(zip(("connection_id", "source_system", "source_id"), key, strict=True))


def _json(value: Any) -> str:
    return bodies.to_json(value).decode()


def _optional(access: Access, name: str) -> str:
    try:
        return access.secret(name)
    except CausewayError:
        return ""


@contextmanager
def _ca_file(pem: str) -> Iterator[str]:
    """libpq reads authorities from files only. Without one of its own, a server's is one that everybody trusts."""
    if not pem:
        yield certifi.where()
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
        file.write(pem)
    try:
        yield file.name
    finally:
        Path(file.name).unlink(missing_ok=True)


@contextmanager
def _deadline(connection: "psycopg.Connection[Any]") -> Iterator[None]:
    """Ends the wait for a server that keeps the connection and says nothing."""
    timer = threading.Timer(LIMIT_S, _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: "psycopg.Connection[Any]") -> None:
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
