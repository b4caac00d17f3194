"""A store over PostgreSQL is verified: by its catalogue, and by a row that is written and rolled back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Cursor

from connections.errors import CausewayError, Misconfigured, NeedsReauth, ProviderError
from connections.providers.base import Access, Check, TargetRecord
from connections.providers.supabase.contract import Column, Table, wanted
from connections.providers.supabase.ddl import quoted
from connections.providers.supabase.postgres import PostgresStore
from connections.providers.supabase.records import row_of
from connections.providers.supabase.verification import (
    RUN_THE_SQL,
    Clock,
    grant_sql,
    key_sql,
    skew_check,
    version_check,
)

PRIVILEGES = ("select", "insert", "update", "delete")
_NOBODY = {"connection_id": UUID(int=0), "source_system": "causeway_probe"}
_TYPES = {"char": "character", "timestamptz": "timestamp with time zone"}
_IPV6 = "db.<project>.supabase.co has an IPv6 address only: take the string of the session pooler instead."
_TLS = (
    "Download the certificate under Project settings › Database › SSL, and paste all of it into the connection."
    " Take the connection string's host as the dashboard shows it."
)


@dataclass(slots=True)
class _Found:
    """What the verification has learned so far."""

    store: PostgresStore
    tables: list[Table]
    clock: Clock = field(default_factory=Clock)
    role: str = ""
    number: int = 0
    time: datetime | None = None
    has_schema: bool = True
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    is_ready: bool = True


def verify(access: Access) -> Iterator[Check]:
    found = _Found(PostgresStore.of(access), wanted(access.config))
    try:
        for step in (_reach, _tables, _grants, _row_security, _write):
            is_good = True
            for check in step(found):
                yield check
                is_good = is_good and check.status != "failed"
            found.is_ready = found.is_ready and is_good
            if not is_good and step in (_reach, _tables):
                return
    finally:
        found.store.close()


# --- is it there, is it the right one, does it know the login ---
def _reach(found: _Found) -> Iterator[Check]:
    clock = found.clock
    try:
        _look(found)
    except (ProviderError, Misconfigured) as error:
        yield from _unreached(found, error)
        return
    yield clock.check("reachable")
    yield _tls(found)
    yield clock.check("authentication")
    yield version_check(clock, found.number)
    if found.time:
        yield skew_check(clock, found.time)
    schema = found.store.schema
    mend = f"grant usage on schema {quoted(schema)} to {quoted(found.role)}; {RUN_THE_SQL}"
    yield clock.verdict("schema", [] if found.has_schema else [f"{found.role} may not use a schema {schema}."], mend)


def _look(found: _Found) -> None:
    with found.store.transaction("SELECT") as cursor:
        cursor.execute(
            "SELECT current_user, current_setting('server_version_num')::int, clock_timestamp(),"
            " coalesce((SELECT has_schema_privilege(n.oid, 'usage') FROM pg_namespace n WHERE n.nspname = %s), false)",
            [found.store.schema],
        )
        found.role, found.number, found.time, found.has_schema = cursor.fetchone() or ("", 0, None, False)


def _unreached(found: _Found, error: CausewayError) -> Iterator[Check]:
    clock = found.clock
    if error.code == "tls_failed":
        yield clock.check("reachable")
        yield clock.check("tls", "failed", error.detail, _TLS)
    elif isinstance(error, NeedsReauth):
        yield clock.check("reachable")
        yield _tls(found)
        yield clock.check("authentication", "failed", error.detail, error.remediation)
    else:
        is_direct = found.store.place.host.startswith("db.") and error.code != "address_not_allowed"
        yield clock.check(
            "reachable", "failed", error.detail, f"{error.remediation} {_IPV6}" if is_direct else error.remediation
        )


def _tls(found: _Found) -> Check:
    if found.store.is_verified:
        return found.clock.check("tls")
    told = "The connection is encrypted, but nobody knows with whom: the server's certificate is not verified."
    return found.clock.check("tls", "warning", told, f"Choose a verified certificate. {_TLS}")


# --- what it has ---
def _tables(found: _Found) -> Iterator[Check]:
    with found.store.transaction("SELECT") as cursor:
        found.columns = _columns(cursor, found.store.schema)
        keyless = [sentence for name, _, key in _asked(found) if (sentence := _keyless(cursor, found, name, key))]
        lost = _lost_functions(cursor, found)
    asked = list(_asked(found))
    told = [f"There is no table {name}." for name, _, _ in asked if name not in found.columns]
    yield found.clock.verdict("tables", told, RUN_THE_SQL)
    told = [
        sentence for name, columns, _ in asked if name in found.columns for sentence in _lacking(found, name, columns)
    ]
    yield found.clock.verdict("columns", told, RUN_THE_SQL)
    mend = " ".join(
        key_sql(found.store.schema, name, key) for name, _, key in asked if any(name in one for one in keyless)
    )
    yield found.clock.verdict("unique_key", keyless, mend)
    told = [f"There is no function {name}(parents, lines)." for name in lost]
    yield found.clock.verdict("functions", told, RUN_THE_SQL)


def _asked(found: _Found) -> Iterator[tuple[str, tuple[Column, ...], tuple[str, ...]]]:
    for table in found.tables:
        yield table.name, table.all_columns, table.key
        if table.lines:
            yield table.lines.name, table.lines.all_columns, table.lines.key


def _columns(cursor: "Cursor[Any]", schema: str) -> dict[str, dict[str, str]]:
    cursor.execute(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p')",
        [schema],
    )
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in cursor:
        found.setdefault(table, {})[column] = kind
    return found


def _lacking(found: _Found, name: str, columns: tuple[Column, ...]) -> Iterator[str]:
    there = found.columns[name]
    if missing := [column.name for column in columns if column.name not in there]:
        yield f"The table {name} has no column {', '.join(missing)}."
    for column in columns:
        if column.name in there and there[column.name] != (its_type := _type(column)):
            yield f"The column {name}.{column.name} is {there[column.name]}, not {its_type}."


def _type(column: Column) -> str:
    """As PostgreSQL itself writes it."""
    name, bracket, rest = column.type.partition("(")
    return _TYPES.get(name, name) + bracket + rest


def _keyless(cursor: "Cursor[Any]", found: _Found, name: str, key: tuple[str, ...]) -> str:
    """Why rows could not be found by their key: no unique index of exactly these columns, or NULL in one of them."""
    if name not in found.columns or set(key) - set(found.columns[name]):
        return ""
    cursor.execute(
        "SELECT bool_and(a.attnotnull) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)"
        " WHERE n.nspname = %s AND c.relname = %s AND i.indisunique AND i.indisvalid AND i.indimmediate"
        " AND i.indpred IS NULL AND i.indexprs IS NULL"
        " GROUP BY i.indexrelid HAVING array_agg(a.attname::text ORDER BY a.attname::text) = %s::text[]",
        [found.store.schema, name, sorted(key)],
    )
    rows = cursor.fetchall()
    if not rows:
        return f"The table {name} has no unique key over {', '.join(key)}."
    return "" if any(row[0] for row in rows) else f"In the table {name}, {', '.join(key)} may be NULL."


def _lost_functions(cursor: "Cursor[Any]", found: _Found) -> list[str]:
    names = [table.lines.replace for table in found.tables if table.lines]
    cursor.execute(
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = %s AND p.proname = ANY(%s) AND p.pronargs = 2 AND has_function_privilege(p.oid, 'execute')",
        [found.store.schema, names],
    )
    there = {row[0] for row in cursor}
    return [name for name in names if name not in there]


# --- what it may do there ---
def _grants(found: _Found) -> Iterator[Check]:
    lacking: dict[str, set[str]] = {}
    with found.store.transaction("SELECT") as cursor:
        for name, _, _ in _asked(found):
            at = found.store.at(name).as_string(cursor)
            cursor.execute(
                "SELECT p FROM unnest(%s::text[]) p WHERE NOT has_table_privilege(%s, p)", [[*PRIVILEGES], at]
            )
            if lost := {row[0] for row in cursor}:
                lacking[name] = lost
    told = [f"{found.role} may not {', '.join(sorted(lost))} on {name}." for name, lost in lacking.items()]
    yield found.clock.verdict("grants", told, grant_sql(found.store.schema, lacking, found.role))


def _row_security(found: _Found) -> Iterator[Check]:
    """On, so that nobody else reads the rows; and passed by this login, by ownership, BYPASSRLS or a policy."""
    off, closed, schema = [], [], found.store.schema
    with found.store.transaction("SELECT") as cursor:
        for name, _, _ in _asked(found):
            at = found.store.at(name).as_string(cursor)
            cursor.execute(
                "SELECT c.relrowsecurity, NOT row_security_active(c.oid) OR EXISTS (SELECT FROM pg_policy p"
                " WHERE p.polrelid = c.oid AND p.polpermissive AND (p.polroles = '{0}'"
                " OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE r <> 0 AND pg_has_role(r, 'usage'))))"
                " FROM pg_class c WHERE c.oid = %s::regclass",
                [at],
            )
            is_on, passes = cursor.fetchone() or (True, True)
            off += [] if is_on else [name]
            closed += [] if passes else [name]
    told = [f"Row security of the table {name} is off: whoever has a grant there reads all of it." for name in off]
    told += [f"Row security of the table {name} hides its rows from {found.role}." for name in closed]
    mend = [f"alter table {quoted(schema)}.{quoted(name)} enable row level security;" for name in off]
    mend += [
        f"create policy causeway on {quoted(schema)}.{quoted(name)} to {quoted(found.role)} using (true) with check (true);"
        for name in closed
    ]
    yield found.clock.verdict("row_security", told, " ".join(mend))


def _write(found: _Found) -> Iterator[Check]:
    """A row that no source has, written and rolled back: the owner's triggers and constraints are asked, too."""
    if not found.is_ready:
        yield found.clock.check("permission_write", "skipped", "Asked once tables, keys and grants are there.")
        return
    told = []
    for table in found.tables:
        try:
            with found.store.transaction("PROBE", table.name, is_kept=False) as cursor:
                found.store.upsert(cursor, table, [row_of(table, TargetRecord(table.entity, "probe", dict(_NOBODY)))])
        except ProviderError as error:
            told.append(f"{table.name}: {error.detail}")
    mend = "See which trigger, constraint or policy of the table asks for more than the contract's columns."
    yield found.clock.verdict("permission_write", told, mend)
