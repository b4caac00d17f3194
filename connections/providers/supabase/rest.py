"""A store over its Data API (PostgREST): the requests that Causeway makes of it, and what a write there comes to.

One request is one transaction, and a merge writes whatever it is given, so what the store has already is read first and
only what differs is sent. Source: PostgREST 16 docs; Supabase docs "API keys", "Securing your API".
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from connections import budgets, egress, errors
from connections.errors import CausewayError, NotSent, RateLimited, TemporaryError
from connections.http import Answer, Http
from connections.providers.base import Access, Json
from connections.providers.supabase.contract import Lines, Table
from connections.providers.supabase.errors import PROVIDER, Busy, NotPrepared, StaleSchema, classify
from connections.providers.supabase.isolating import isolated
from connections.providers.supabase.records import REMOVED, Current, Key, Row, instant, verdict

TIMEOUT_S = 60.0  # the gateway's own
AT_ONCE = 4
SEAT_WAIT_S = 30.0
PAGE = 1000
MAX_QUERY = 4000  # bytes of ids in an address: gateways take 8 KB at the least

Outcome = tuple[Row, str | CausewayError]


def carried(key: str) -> dict[str, str]:
    """The headers of a key. The new ones are no JWTs: as Bearer they are refused; without Bearer a legacy one is nobody."""
    return {"apikey": key} if key.startswith("sb_") else {"apikey": key, "Authorization": f"Bearer {key}"}


@dataclass(slots=True)
class RestStore:
    """One store, for one piece of work: its key is read once."""

    http: Http
    schema: str

    @classmethod
    def of(cls, access: Access, *, timeout_s: float = TIMEOUT_S) -> "RestStore":
        """Raises Misconfigured where the key would travel readable for everybody."""
        url = str(access.config["project_url"])
        _check_scheme(url)
        http = Http(
            provider=PROVIDER,
            base_url=f"{url}/rest/v1",
            timeout_s=timeout_s,
            connection_id=str(access.connection_id),
            request_id_header="sb-request-id",
            headers=carried(access.secret("secret_key")),
            classify=classify,
        )
        return cls(http, str(access.config.get("schema") or "public"))

    def close(self) -> None:
        """Nothing is held open: connections are the process's."""

    def request(
        self, method: str, path: str, *, params: Any = None, json: Any = None, prefer: Sequence[str] = ()
    ) -> Answer:
        """The answer, if it is a good one. Raises what the table of errors says."""
        profile = "Accept-Profile" if method in ("GET", "HEAD") else "Content-Profile"
        headers = {profile: self.schema} | ({"Prefer": ",".join(prefer)} if prefer else {})
        with self._seat():
            return self.http.request(method, path, params=params, json=json, headers=headers)

    @contextmanager
    def _seat(self) -> Iterator[None]:
        key = (PROVIDER, self.http.base_url)
        with budgets.seat(*key, at_most=AT_ONCE, held_s=TIMEOUT_S + 5, wait_s=SEAT_WAIT_S) as is_seated:
            if not is_seated:
                raise RateLimited(provider=PROVIDER, retry_after_s=5.0, operator_detail="other requests keep it busy")
            yield

    # --- reading ---
    def current(self, table: Table, keys: Iterable[Key]) -> dict[Key, Current]:
        """What is there of these rows, however few rows the store gives at once."""
        found: dict[Key, Current] = {}
        for scope, ids in _by_scope(keys).items():
            for some in _chunks(ids):
                for row in self._rows(table, scope, [("source_id", _in(some))]):
                    found[(*scope, row["source_id"])] = _current(row)
        return found

    def hashes(self, table: Table, scope: tuple[str, str]) -> Iterator[tuple[str, Current]]:
        """All rows of one source, by source_id, page by page."""
        for row in self._rows(table, scope, []):
            yield row["source_id"], _current(row)

    def _rows(self, table: Table, scope: tuple[str, str], filters: list[tuple[str, str]]) -> Iterator[Json]:
        """Paged by key: a store caps its answers in silence, so fewer rows than asked for are not the end of them."""
        after: list[tuple[str, str]] = []
        while True:
            params = [
                ("select", "source_id,source_hash,source_modified_at"),
                *_scope_filters(scope),
                *filters,
                *after,
                ("order", "source_id.asc"),
                ("limit", str(PAGE)),
            ]
            answer = self.request("GET", quote(table.name), params=params, prefer=["count=exact"])
            rows = answer.json()
            yield from rows
            total = answer.headers.get("content-range", "").rpartition("/")[2]
            if not rows or (total.isdigit() and len(rows) >= int(total)):
                return
            after = [("source_id", f"gt.{rows[-1]['source_id']}")]

    # --- writing ---
    def write(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]:
        """Each row with what became of it. Raises what ends the work for all of them."""
        current = self.current(table, [row.key for row in rows])
        plan = {row.key: verdict(row, current.get(row.key)) for row in rows}
        yield from ((row, plan[row.key]) for row in rows if plan[row.key] in ("unchanged", "stale"))
        differing = sorted((row for row in rows if plan[row.key] in ("created", "updated")), key=lambda row: row.key)
        for row, error in isolated(differing, lambda some: self._send(table, some)):
            yield row, error or plan[row.key]

    def _send(self, table: Table, rows: Sequence[Row]) -> None:
        """Lines first, their document last: its hash says that all of it is there."""
        if table.lines:
            self.replace(table.lines, rows)
        try:
            self.merge(table, [row.values for row in rows])
        except TemporaryError as error:
            if not (may_have_happened(error) and self._is_written(table, rows)):
                raise

    def merge(self, table: Table, values: Sequence[Json]) -> None:
        """The upsert itself. Nothing is written by an empty one, but every permission is asked for."""
        params = {"on_conflict": ",".join(table.key), "columns": ",".join(one.name for one in table.all_columns)}
        prefer = ["resolution=merge-duplicates", "return=minimal"]
        answer = self.request("POST", quote(table.name), params=params, json=list(values), prefer=prefer)
        if "resolution=merge-duplicates" not in answer.headers.get("preference-applied", ""):
            raise NotPrepared(
                f"The table {table.name} took rows without looking for those that are there.",
                provider=PROVIDER,
                operator_detail="no resolution=merge-duplicates among the preferences that were applied",
            )

    def replace(self, lines: Lines, rows: Sequence[Row]) -> None:
        """These documents have these lines and no others. May be repeated."""
        body = {"parents": [row.parent for row in rows], "lines": [line for row in rows for line in row.lines or ()]}
        self.request("POST", f"rpc/{lines.replace}", json=body)

    def _is_written(self, table: Table, rows: Sequence[Row]) -> bool:
        """After an answer that was lost: a request is one transaction, so all rows are there or none is."""
        try:
            current = self.current(table, [row.key for row in rows])
        except CausewayError:
            return False
        return all(row.key in current and current[row.key].hash == row.hash for row in rows)

    # --- removing ---
    def bury(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]:
        """Tombstones: the rows stay, and say since when they are gone."""
        at = datetime.now(UTC).isoformat()
        yield from self._remove(table, rows, "PATCH", {"deleted_at": at, "source_hash": REMOVED})

    def delete(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]:
        """The rows and their lines go for good."""
        yield from self._remove(table, rows, "DELETE", None)

    def _remove(self, table: Table, rows: Sequence[Row], method: str, body: Json | None) -> Iterator[Outcome]:
        current = self.current(table, [row.key for row in rows])
        plan = {row.key: removal(row, current.get(row.key), is_kept=body is not None) for row in rows}
        going = [row for row in rows if plan[row.key] == "removed"]
        if going and table.lines and body is None:
            self.replace(table.lines, [_without_lines(row) for row in going])
        for scope, ids in _by_scope(row.key for row in going).items():
            for some in _chunks(ids):
                self._touch(method, table, [*_scope_filters(scope), ("source_id", _in(some))], body, at_most=len(some))
        yield from ((row, plan[row.key]) for row in rows)

    def _touch(
        self, method: str, table: Table, filters: list[tuple[str, str]], body: Json | None, *, at_most: int
    ) -> None:
        """A change by filter, which the store refuses where it would meet more rows than meant."""
        prefer = ["handling=strict", f"max-affected={at_most}", "return=minimal"]
        self.request(method, quote(table.name), params=filters, json=body, prefer=prefer)

    def may_delete(self, table: Table) -> None:
        """Raises where it may not: asked with a key that no row has."""
        nobody = [*_scope_filters(("00000000-0000-0000-0000-000000000000", "nobody")), ("source_id", "eq.")]
        self._touch("DELETE", table, nobody, None, at_most=0)


def removal(row: Row, current: Current | None, *, is_kept: bool) -> str:
    """What removing a row would do; is_kept: as a tombstone."""
    if current is None or (is_kept and current.hash == REMOVED):
        return "unchanged"
    is_stale = row.modified_at and current.modified_at and current.modified_at > row.modified_at
    return "stale" if is_stale else "removed"


def may_have_happened(error: TemporaryError) -> bool:
    """Whether a write that ended so may be in the store all the same. What has a code of the database's is undone."""
    if isinstance(error, NotSent | RateLimited | Busy | StaleSchema):
        return False
    return not error.provider_code or error.provider_code.startswith("HTTP_")


def _without_lines(row: Row) -> Row:
    return Row(row.key, row.values, [], row.modified_at, row.operation)


def _current(row: Json) -> Current:
    return Current(row["source_hash"], instant(row["source_modified_at"]))


def _scope_filters(scope: tuple[str, str]) -> list[tuple[str, str]]:
    return [("connection_id", f"eq.{scope[0]}"), ("source_system", f"eq.{scope[1]}")]


def _by_scope(keys: Iterable[Key]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for connection_id, source_system, source_id in keys:
        found.setdefault((connection_id, source_system), []).append(source_id)
    return found


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for one in ids:
        length = len(quote(_quoted(one), safe="")) + 3
        if some and size + length > MAX_QUERY:
            yield some
            some, size = [], 0
        some.append(one)
        size += length
    if some:
        yield some


def _in(ids: Iterable[str]) -> str:
    return f"in.({','.join(map(_quoted, ids))})"


def _quoted(value: str) -> str:
    """A value in a list, where commas, brackets and quotes mean something."""
    if value.isascii() and value.replace("-", "").isalnum():
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _check_scheme(url: str) -> None:
    """A key goes over TLS, or stays in a network that an operator has opened."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return
    found = egress.resolve(parts.hostname or "", parts.port or 80)
    if not all("%" not in one and egress.is_allowed(ipaddress.ip_address(one)) for one in found):
        raise errors.Misconfigured(
            "The project's address begins with http://, so its secret key would be readable on the way. Nothing was sent.",
            code="tls_failed",
            remediation="Enter the address with https://.",
            provider=PROVIDER,
        )
