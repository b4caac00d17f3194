"""A store over its Data API is verified: what no request can tell (row security), the contract's own function does."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from connections.errors import CausewayError, NeedsReauth, ProviderError
from connections.http import Answer
from connections.providers.base import Access, Check
from connections.providers.supabase.contract import Column, Lines, Table, wanted
from connections.providers.supabase.ddl import CONTRACT, SERVICE_ROLE, names
from connections.providers.supabase.errors import NotPrepared, Permission
from connections.providers.supabase.rest import RestStore
from connections.providers.supabase.verification import (
    RUN_THE_SQL,
    Clock,
    grant_sql,
    key_sql,
    skew_check,
    version_check,
)

TIMEOUT_S = 12.0  # a person may be waiting
_GONE = (
    "See in Supabase's dashboard whether the project is paused or was deleted, and whether the address is its"
    " project URL."
)


@dataclass(slots=True)
class _Found:
    """What the verification has learned so far. lacking: by table, its privileges that are missing."""

    access: Access
    store: RestStore
    tables: list[Table]
    clock: Clock = field(default_factory=Clock)
    first: Answer | None = None
    missing_tables: list[str] = field(default_factory=list)
    missing_columns: dict[str, list[str]] = field(default_factory=dict)
    lacking: dict[str, set[str]] = field(default_factory=dict)

    def usable(self) -> Iterator[Table]:
        return (table for table in self.tables if table.name not in self.missing_tables)

    def whole(self) -> Iterator[Table]:
        """Those that can be written to as far as their columns go."""
        return (table for table in self.usable() if table.name not in self.missing_columns)


def verify(access: Access) -> Iterator[Check]:
    clock = Clock()
    try:
        store = RestStore.of(access, timeout_s=TIMEOUT_S)
    except ProviderError as error:  # nothing was sent: the key would be readable, or there is no such host
        name, remediation = ("tls" if error.code == "tls_failed" else "reachable"), error.remediation
        yield clock.check(name, "failed", error.detail, _GONE if error.code == "host_not_found" else remediation)
        return
    found = _Found(access, store, wanted(access.config))
    for step in (_reach, _tables, _keys_and_grants, _lines, _inside):
        is_good = True
        for check in step(found):
            yield check
            is_good = is_good and check.status != "failed"
        if not is_good and step is _reach:
            return


# --- is it there, does it know the key, is the schema exposed ---
def _reach(found: _Found) -> Iterator[Check]:
    error = _asked(lambda: _first(found))
    clock = found.clock
    if error is None:
        yield clock.check("reachable")
        yield _tls(found)
        yield clock.check("authentication")
        yield clock.check("schema")
        return
    name, cause, remediation = _where(found, error)
    for passed in ("reachable", "tls", "authentication"):
        if passed == name:
            break
        yield _tls(found) if passed == "tls" else clock.check(passed)
    yield clock.check(name, "failed", cause, remediation)


def _first(found: _Found) -> None:
    table = found.tables[0]
    params = [("select", found.tables[0].key[0]), ("limit", "0")]
    try:
        found.first = found.store.request("GET", quote(table.name), params=params)
    except ProviderError as error:
        if _is_about_the_table(error):
            return  # the store has understood us: what it lacks is asked for below
        raise


def _where(found: _Found, error: CausewayError) -> tuple[str, str, str]:
    """The question that an error answers, the cause and what to do."""
    schema = found.store.schema
    if error.code == "tls_failed":
        return "tls", error.detail, error.remediation
    if isinstance(error, NeedsReauth):
        return "authentication", error.detail, error.remediation
    if error.provider_code == "PGRST106":
        told = f"The schema {schema} is not among those that the Data API shows."
        return "schema", told, f"Add {schema} under Project settings › Data API › Exposed schemas."
    if error.provider_code == "42501":
        told = f"The key's role may not use the schema {schema}. {error.detail}"
        return "schema", told, f'grant usage on schema "{schema}" to {SERVICE_ROLE}; {RUN_THE_SQL}'
    if error.code == "host_not_found":
        return "reachable", error.detail, _GONE
    return "reachable", error.detail, error.remediation


def _tls(found: _Found) -> Check:
    if found.store.http.base_url.startswith("https://"):
        return found.clock.check("tls")
    told = "The store is reached without TLS, within a network that the operator has opened."
    return found.clock.check(
        "tls", "warning", told, "Give the store a certificate, and enter its address with https://."
    )


# --- what it has ---
def _tables(found: _Found) -> Iterator[Check]:
    for table in found.tables:
        for name, columns in _asked_of(table):
            _ask_columns(found, name, columns)
    told = [f"There is no table {name}." for name in found.missing_tables]
    yield found.clock.verdict("tables", told, f"{RUN_THE_SQL} If that was done, run: notify pgrst, 'reload schema';")
    told = [f"The table {name} has no column {', '.join(lost)}." for name, lost in found.missing_columns.items()]
    yield found.clock.verdict("columns", told, f"{RUN_THE_SQL} If that was done, run: notify pgrst, 'reload schema';")


def _asked_of(table: Table) -> Iterator[tuple[str, tuple[Column, ...]]]:
    yield table.name, table.all_columns
    if table.lines:
        yield table.lines.name, table.lines.all_columns


def _ask_columns(found: _Found, name: str, columns: tuple[Column, ...]) -> None:
    """A store names one missing column at a time, so it is asked without it again."""
    left = [column.name for column in columns]
    while left:
        params = [("select", ",".join(left)), ("limit", "0")]
        error = _asked(partial(found.store.request, "GET", quote(name), params=params))
        if error is None:
            return
        if error.provider_code in ("42P01", "PGRST205"):
            found.missing_tables.append(name)
            return
        if isinstance(error, Permission):
            found.lacking.setdefault(name, set()).add("select")
            return
        if error.provider_code not in ("42703", "PGRST204") or not (lost := _named(left, error.operator_detail)):
            raise error
        found.missing_columns.setdefault(name, []).append(lost)
        left.remove(lost)


def _named(columns: Iterable[str], told: str) -> str:
    words = re.split(r"[^a-z0-9_]+", told.partition(": ")[2])
    return next((name for name in columns if name in words), "")


# --- what it may do there ---
def _keys_and_grants(found: _Found) -> Iterator[Check]:
    keyless: list[Table] = []
    for table in found.whole():
        _ask_writing(found, table, keyless)
    told = [f"The table {table.name} has no unique key over {', '.join(table.key)}." for table in keyless]
    mend = " ".join(key_sql(found.store.schema, table.name, table.key) for table in keyless)
    yield found.clock.verdict("unique_key", told, mend)
    told = [f"{SERVICE_ROLE} may not {', '.join(sorted(lost))} on {name}." for name, lost in found.lacking.items()]
    yield found.clock.verdict("grants", told, grant_sql(found.store.schema, found.lacking, SERVICE_ROLE))


def _ask_writing(found: _Found, table: Table, keyless: list[Table]) -> None:
    """By what is asked for: an insert of nothing, an upsert of nothing, a deletion of what nobody has."""
    store, path = found.store, quote(table.name)
    error = _asked(lambda: store.request("POST", path, json=[], prefer=["return=minimal"]))
    _note(found, table.name, "insert", error)
    if not isinstance(error, Permission) and "select" not in found.lacking.get(table.name, ()):
        error = _asked(lambda: store.merge(table, []))
        if error is not None and error.provider_code == "42P10":
            keyless.append(table)
        else:
            _note(found, table.name, "update", error)
    params = {**_nobody(table), "select": table.key[0]}
    patch = _asked(lambda: store.request("PATCH", path, params=params, json={"deleted_at": None}, prefer=_NONE))
    _note(found, table.name, "update", patch)
    _note(found, table.name, "delete", _asked(lambda: store.request("DELETE", path, params=params, prefer=_NONE)))


_NONE = ("handling=strict", "max-affected=0", "return=minimal")


def _nobody(table: Table) -> dict[str, str]:
    """A filter that no row passes: a record without an id is refused before it is written."""
    return dict(zip(table.key, ("eq.00000000-0000-0000-0000-000000000000", "eq.nobody", "eq."), strict=True))


def _note(found: _Found, name: str, privilege: str, error: CausewayError | None) -> None:
    if isinstance(error, Permission):
        found.lacking.setdefault(name, set()).add(privilege)
    elif error is not None and error.provider_code == "PGRST122":
        raise NotPrepared(
            "The Data API does not know the preference max-affected, by which a removal is kept from taking too many rows.",
            remediation="Update PostgREST.",
            provider=error.provider,
            provider_code=error.provider_code,
        )
    elif error is not None:
        raise error


def _lines(found: _Found) -> Iterator[Check]:
    """The functions that replace lines are there, may be called, and may do what they do."""
    told = []
    for lines in (table.lines for table in found.whole() if table.lines):
        if lines.name in found.missing_tables or lines.name in found.missing_columns:
            continue
        if sentence := _ask_lines(found, lines):
            told.append(sentence)
    yield found.clock.verdict("functions", told, f"{RUN_THE_SQL} If that was done, run: notify pgrst, 'reload schema';")


def _ask_lines(found: _Found, lines: Lines) -> str:
    error = _asked(lambda: found.store.replace(lines, []))
    if error is None:
        return ""
    if error.provider_code in ("PGRST202", "42883"):
        return f"There is no function {lines.replace}(parents, lines)."
    if isinstance(error, Permission):
        return f"{SERVICE_ROLE} may not replace lines with {lines.replace}. {error.detail}"
    raise error


# --- what it tells of itself ---
def _inside(found: _Found) -> Iterator[Check]:
    """permission_write is what the checks before it come to."""
    clock = found.clock
    lacks = bool(found.lacking or found.missing_tables or found.missing_columns)
    if lacks:
        yield clock.check("permission_write", "skipped", "Asked once tables and grants are there.")
    else:
        yield clock.check("permission_write")
    answers: list[Any] = []
    error = _asked(lambda: answers.append(found.store.request("POST", f"rpc/{CONTRACT}", json={}).json()))
    told = answers[0] if answers and isinstance(answers[0], dict) else {}
    if not told:
        cause = "The store does not tell whether its rows are closed to others: the contract's function is missing."
        yield clock.check("row_security", "warning", cause if error else "", RUN_THE_SQL)
    else:
        yield _row_security(found, told)
        yield version_check(clock, int(told.get("server_version_num") or 0))
    yield _skew(found, told)


def _row_security(found: _Found, told: dict[str, Any]) -> Check:
    secured = told.get("row_security") or {}
    there = [name for name in names(found.tables) if name not in found.missing_tables]
    open_ = [name for name in there if secured.get(name) is False]
    sentences = [
        f"Row security of the table {name} is off: whoever has a grant there reads all of it." for name in open_
    ]
    schema = found.store.schema
    mend = " ".join(f'alter table "{schema}"."{name}" enable row level security;' for name in open_)
    return found.clock.verdict("row_security", sentences, mend)


def _skew(found: _Found, told: dict[str, Any]) -> Check:
    if text := told.get("time"):
        return skew_check(found.clock, datetime.fromisoformat(str(text)))
    try:
        return skew_check(found.clock, parsedate_to_datetime(found.first.headers["date"]))  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError):
        return found.clock.check("clock_skew", "skipped", "The store did not tell the time.")


def _asked(ask: Callable[[], object]) -> CausewayError | None:
    try:
        ask()
    except ProviderError as error:
        return error
    return None


def _is_about_the_table(error: CausewayError) -> bool:
    """As opposed to the schema: a grant on a schema that is missing is told by the same code."""
    if error.provider_code == "42501":
        return "schema" not in error.operator_detail.partition(".")[0]
    return error.provider_code in ("42P01", "PGRST205", "42703", "PGRST204")
