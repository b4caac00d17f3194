"""The Data API: one request in, one transaction as the caller's role, one answer out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import psycopg

from . import exact, supabase_query, supabase_sql
from .supabase_errors import ApiError, from_database
from .supabase_keys import Caller
from .supabase_query import Field, Preferences, Query, Selected
from .supabase_schema import Table
from .supabase_sql import Statement, quoted
from .wire import Request, Response

if TYPE_CHECKING:
    from .supabase_projects import Live, Project

SINGULAR = "application/vnd.pgrst.object+json"
ACCEPTED = ("*/*", "application/json", "application/*", SINGULAR)
JSON = "application/json; charset=utf-8"
VERBS = {"GET": "read", "HEAD": "read", "POST": "insert", "PATCH": "update", "DELETE": "delete"}


@dataclass(slots=True)
class Outcome:
    """What a statement gave: the rows as JSON text, how many, and the third column of its kind."""

    body: str = "[]"
    rows: int = 0
    more: int | None = None


@dataclass
class Call:
    """One request to the Data API."""

    project: Project
    live: Live
    request: Request
    caller: Caller
    path: str  # below /rest/v1
    request_id: str = ""
    prefer: Preferences = field(default_factory=Preferences)
    query: Query = field(default_factory=lambda: supabase_query.parse([]))
    schema: str = "public"
    rows: int | None = None  # for the log

    def answer(self) -> Response:
        """Raises ApiError."""
        self.live.schema.listen(hears_ddl=self.project.switches["auto_reload"])
        self.schema = self._profile()
        accept = self._accepted()
        self.prefer = Preferences.parse(self.request.headers.get("prefer", ""))
        pairs = parse_qsl(self.request.query_string, keep_blank_values=True)
        if self.path in ("", "/"):
            return self._root()
        target = self.path.strip("/").encode("latin-1").decode("utf-8", "replace")
        if target.startswith("rpc/"):
            return self._rpc(target.removeprefix("rpc/"), pairs, accept)
        if "/" in target:
            raise ApiError("PGRST125", "Invalid path specified in request URL")
        verb = VERBS.get(self.request.method)
        if verb is None:
            raise ApiError("PGRST117", f"Unsupported HTTP method: {self.request.method}")
        self.query = supabase_query.parse(pairs)
        table = self.live.schema.table(self.schema, target)
        return getattr(self, f"_{verb}")(table, accept)

    # --- headers ---

    def _profile(self) -> str:
        exposed = self.project.exposed_schemas
        name = "accept-profile" if self.request.method in ("GET", "HEAD") else "content-profile"
        schema = self.request.headers.get(name) or exposed[0]
        if schema not in exposed:
            hint = f"Only the following schemas are exposed: {', '.join(exposed)}"
            raise ApiError("PGRST106", f"Invalid schema: {schema}", hint=hint)
        return schema

    def _accepted(self) -> str:
        given = [part.split(";")[0].strip() for part in self.request.headers.get("accept", "*/*").split(",")]
        for kind in given:
            if kind in ACCEPTED:
                return kind
        raise ApiError("PGRST107", f"None of these media types are available: {', '.join(given)}")

    def _window(self) -> tuple[int, int | None]:
        """First row and number of rows, from Range and from limit and offset, the narrower of both."""
        first, limit = self.query.offset, self.query.limit
        if (found := re.fullmatch(r"(\d+)-(\d*)", self.request.headers.get("range", ""))) and self._reads():
            low, high = int(found[1]), found[2]
            if high and int(high) < low:
                details = "The lower boundary must be lower than or equal to the upper boundary in the Range header."
                raise ApiError("PGRST103", "Requested range not satisfiable", details=details)
            first = max(first, low)
            if high:
                wide = int(high) - first + 1
                limit = wide if limit is None else min(limit, wide)
        return first, limit

    def _reads(self) -> bool:
        return self.request.method in ("GET", "HEAD")

    # --- rows ---

    def _read(self, table: Table, accept: str) -> Response:
        statement = Statement.on(table)
        return self._page(statement, accept, is_read_only=True)

    def _page(self, statement: Statement, accept: str, *, is_read_only: bool) -> Response:
        first, asked = self._window()
        self.query.offset = first
        limit = self.project.max_rows if asked is None else min(asked, self.project.max_rows)
        count = self.prefer.count
        with self._transaction(is_read_only=is_read_only) as cursor:
            text = statement.read(self.query, limit=limit, counts=count == "exact")
            found = self._run(cursor, text, statement)
            total = found.more
            if count in ("planned", "estimated"):
                total = self._estimated(cursor, statement, found.rows + first)
            self._require_single(accept, found.rows)
        return self._paged(found, first, total, accept)

    def _estimated(self, cursor: Any, statement: Statement, seen: int) -> int:
        plan = Statement(statement.relation, statement.source)
        plan.values = list(statement.values) if statement.source != statement.relation else []
        cursor.execute(plan.planned(self.query), plan.values)
        guess = cursor.fetchone()[0][0]["Plan"]["Plan Rows"]
        if self.prefer.count == "planned":
            return guess
        if guess > self.project.max_rows:
            return max(guess, seen)
        exactly = Statement(statement.relation, statement.source)
        exactly.values = list(statement.values) if statement.source != statement.relation else []
        text = f"SELECT count(*) FROM {exactly.source}{exactly.where(self.query.filters)}"
        return cursor.execute(text, exactly.values).fetchone()[0]

    def _paged(self, found: Outcome, first: int, total: int | None, accept: str) -> Response:
        if total is not None and first and first > total:
            details = f"An offset of {first} was requested, but there are only {total} rows."
            raise ApiError(
                "PGRST103",
                "Requested range not satisfiable",
                details=details,
                headers=[("Content-Range", f"*/{total}")],
            )
        shown = f"{first}-{first + found.rows - 1}" if found.rows else "*"
        status = 200 if total is None or found.rows >= total else 206
        headers = [("Content-Range", f"{shown}/{'*' if total is None else total}")]
        return self._shown(status, found, accept, headers + self.prefer.applied("count", "handling"))

    def _shown(self, status: int, found: Outcome, accept: str, headers: list[tuple[str, str]]) -> Response:
        if accept == SINGULAR:
            return Response(status, found.body.strip()[1:-1].encode(), f"{SINGULAR}; charset=utf-8", headers)
        return Response(status, found.body.encode(), JSON, headers)

    def _insert(self, table: Table, accept: str) -> Response:
        body, names, is_empty = self._payload(table)
        conflict = self.query.on_conflict
        if conflict is None and self.prefer.resolution and table.key:
            conflict = table.key
        resolves = conflict is not None and self.prefer.resolution is not None
        target = conflict if resolves else None
        statement = Statement.on(table)
        with self._transaction() as cursor:
            if is_empty and not names:
                text = statement.insert_nothing(target)
            else:
                text = statement.insert(
                    table,
                    names,
                    body,
                    returning=self._returning(statement, table),
                    conflict=target,
                    merges=self.prefer.resolution == "merge-duplicates",
                    fills_defaults=self.prefer.missing == "default",
                )
            found = self._run(cursor, text, statement)
            self._require_single(accept, found.rows)
        applied = ["missing", "return", "count", "handling", *(["resolution"] if resolves else [])]
        headers = [("Content-Range", f"*/{found.rows if self.prefer.count else '*'}"), *self.prefer.applied(*applied)]
        merged_only = self.prefer.resolution == "merge-duplicates" and not found.more
        return self._mutated(200 if is_empty or merged_only else 201, found, table, accept, headers)

    def _update(self, table: Table, accept: str) -> Response:
        body, names, is_empty = self._payload(table)
        self._require_filter("UPDATE")
        statement = Statement.on(table)
        found = Outcome()
        with self._transaction() as cursor:
            if names and not is_empty:
                returning = self._returning(statement, table)
                found = self._run(
                    cursor, statement.update(table, names, body, self.query, returning=returning), statement
                )
            self._require_few(found.rows)
            self._require_single(accept, found.rows)
        shown = f"0-{found.rows - 1}" if found.rows else "*"
        return self._changed(found, table, accept, shown)

    def _delete(self, table: Table, accept: str) -> Response:
        self._require_filter("DELETE")
        statement = Statement.on(table)
        with self._transaction() as cursor:
            text = statement.delete(self.query, returning=self._returning(statement, table))
            found = self._run(cursor, text, statement)
            self._require_few(found.rows)
            self._require_single(accept, found.rows)
        return self._changed(found, table, accept, "*")

    def _changed(self, found: Outcome, table: Table, accept: str, shown: str) -> Response:
        headers = [("Content-Range", f"{shown}/{found.rows if self.prefer.count else '*'}")]
        headers += self.prefer.applied("return", "count", "handling", "max-affected", "missing")
        status = 200 if self.prefer.returning == "representation" else 204
        return self._mutated(status, found, table, accept, headers)

    def _mutated(
        self, status: int, found: Outcome, table: Table, accept: str, headers: list[tuple[str, str]]
    ) -> Response:
        self.rows = found.rows
        if self.prefer.returning == "representation":
            return self._shown(status, found, accept, headers)
        if self.prefer.returning == "headers-only" and table.key and found.rows:
            first = json.loads(found.body)[0]
            key = "&".join(f"{quote(name)}=eq.{quote(str(first[name]))}" for name in table.key)
            headers = [*headers, ("Location", f"/{quote(table.name)}?{key}")]
        return Response(status, b"", JSON, headers)

    def _returning(self, statement: Statement, table: Table) -> str:
        if self.prefer.returning == "representation":
            return statement.selected(self.query.select)
        if self.prefer.returning == "headers-only" and table.key:
            return statement.selected([Selected(Field(name)) for name in table.key])
        return "1"

    # --- the body ---

    def _json(self) -> tuple[str, Any]:
        """The body as text and parsed. Raises ApiError PGRST102."""
        kind = self.request.headers["content-type"].split(";")[0].strip() or "application/json"
        if kind not in ("application/json", SINGULAR):
            raise ApiError("PGRST102", f"Content-Type not acceptable: {kind}")
        try:
            text = self.request.body.decode()
            return text, exact.parse(text)
        except (ValueError, RecursionError) as error:
            raise ApiError("PGRST102", "Empty or invalid json") from error

    def _payload(self, table: Table) -> tuple[str, list[str], bool]:
        """The body as an array's text, the columns it is written to, and whether there is no row in it."""
        text, body = self._json()
        if isinstance(body, dict):
            text, body = f"[{text}]", [body]
        if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
            raise ApiError(
                "PGRST102", "Empty or invalid json" if not isinstance(body, list) else "All object keys must match"
            )
        names = self.query.columns
        if names is None:
            names = list(body[0]) if body else []
            if any(row.keys() != body[0].keys() for row in body):
                raise ApiError("PGRST102", "All object keys must match")
        for name in names:
            if name not in table.columns:
                message = f"Could not find the '{name}' column of '{table.name}' in the schema cache"
                raise ApiError("PGRST204", message)
        return text, names, not body

    # --- functions ---

    def _rpc(self, name: str, pairs: list[tuple[str, str]], accept: str) -> Response:
        if self.request.method not in ("GET", "HEAD", "POST"):
            raise ApiError("PGRST117", f"Unsupported HTTP method: {self.request.method}")
        self.query = supabase_query.parse(pairs, is_call=True)
        if self._reads():
            text, body = json.dumps(self.query.arguments), self.query.arguments
        else:
            text, body = self._json() if self.request.body else ("{}", {})
        given = list(body) if isinstance(body, dict) else []
        function = self.live.schema.function(self.schema, name, set(given))
        statement = supabase_sql.call(function, given, text)
        is_read_only = self._reads() or function.volatility != "v"
        if function.returns == "void":
            with self._transaction(is_read_only=is_read_only) as cursor:
                self._run(cursor, f"SELECT '', 0, NULL FROM {statement.source}", statement)
            return Response(204, b"", JSON)
        if not function.is_composite:
            return self._scalar(statement, is_set=function.is_set, is_read_only=is_read_only)
        if function.is_set:
            return self._page(statement, accept, is_read_only=is_read_only)
        with self._transaction(is_read_only=is_read_only) as cursor:
            found = self._run(cursor, statement.read(self.query, limit=1, counts=False), statement)
        found.body = found.body.strip()[1:-1]
        return self._shown(200, found, "application/json", self.prefer.applied("handling"))

    def _scalar(self, statement: Statement, *, is_set: bool, is_read_only: bool) -> Response:
        shown = "coalesce(json_agg(pgrst_scalar), '[]')" if is_set else "json_agg(pgrst_scalar) -> 0"
        text = f"SELECT coalesce(({shown})::text, 'null'), count(*), NULL::int FROM {statement.source}"
        with self._transaction(is_read_only=is_read_only) as cursor:
            found = self._run(cursor, text, statement)
        return self._shown(200, found, "application/json", self.prefer.applied("handling"))

    # --- guards ---

    def _require_single(self, accept: str, rows: int) -> None:
        if accept == SINGULAR and rows != 1 and (self._reads() or self.prefer.returning == "representation"):
            details = f"The result contains {rows} rows"
            raise ApiError("PGRST116", "Cannot coerce the result to a single JSON object", details=details)

    def _require_few(self, rows: int) -> None:
        if self.prefer.max_affected is not None and rows > self.prefer.max_affected:
            details = f"The query affects {rows} rows"
            raise ApiError("PGRST124", "Query result exceeds max-affected preference constraint", details=details)

    def _require_filter(self, verb: str) -> None:
        if self.project.switches["safeupdate"] and not self.query.filters:
            raise ApiError("21000", f"{verb} requires a WHERE clause", status=400)

    # --- the database ---

    def _transaction(self, *, is_read_only: bool = False) -> Transaction:
        return Transaction(self, is_read_only=is_read_only)

    def _run(self, cursor: Any, text: str, statement: Statement) -> Outcome:
        cursor.execute(text, statement.values)
        body, rows, more = cursor.fetchone()
        self.rows = rows
        return Outcome(body, rows, more)

    def _root(self) -> Response:
        """The description of what there is; for secret keys only."""
        if self.caller.role != "service_role":
            raise ApiError("PGRST301", "Access to the schema is restricted to secret keys", status=401)
        paths: dict[str, Any] = {f"/{name}": {} for schema, name in self.live.schema.tables if schema == self.schema}
        return Response(
            body=exact.dumps({"swagger": "2.0", "info": {"title": "standard public schema"}, "paths": paths})
        )


class Transaction:
    """A transaction as the caller's role. Entering gives the cursor; every database error leaves as an ApiError."""

    def __init__(self, call: Call, *, is_read_only: bool):
        self.call = call
        self.mode = "READ ONLY" if is_read_only else ""  # else as the database has it

    def __enter__(self) -> psycopg.Cursor:
        self._lease = self.call.live.pool.connection()
        self.connection = self._lease.__enter__()
        try:
            self.cursor = self.connection.cursor()
            self.cursor.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED {self.mode}")
            self.cursor.execute(*self._context())
        except psycopg.Error as error:
            self._leave(error)
        return self.cursor

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if error is None:
            try:
                self.connection.execute("COMMIT")
            except psycopg.Error as late:
                self._leave(late)
            self._lease.__exit__(None, None, None)
            return
        self._leave(error)

    def _leave(self, error: BaseException) -> None:
        try:
            if not self.connection.closed:
                self.connection.execute("ROLLBACK")
        except psycopg.Error:
            self.connection.close()
        self._lease.__exit__(None, None, None)
        if isinstance(error, psycopg.DataError) and error.sqlstate is None:  # NUL: refused before it was sent
            raise ApiError("22021", 'invalid byte sequence for encoding "UTF8": 0x00') from None
        if isinstance(error, psycopg.Error):
            caller = self.call.caller
            raise from_database(
                error,
                role=caller.role,
                is_anonymous=caller.is_anonymous,
                prefix=self.call.project.prefix,
                schema=self.call.schema,
            ) from None
        raise error

    def _context(self) -> tuple[str, list[str]]:
        """What every request sets, for its own transaction: role, claims, search path, time limit."""
        call = self.call
        schemas = dict.fromkeys([call.schema, "public"])
        values = {
            "search_path": ", ".join(map(quoted, schemas)),
            "statement_timeout": str(call.project.statement_timeout_ms[call.caller.role]),
            "request.method": call.request.method,
            "request.path": call.path,
            "request.jwt.claims": json.dumps(call.caller.claims or {"role": call.caller.role}),
            "request.headers": json.dumps(
                {name: text for name, text in call.request.headers.items() if name not in ("apikey", "authorization")}
            ),
            "role": call.project.role(call.caller.role),
        }
        parts = [f"set_config('{name}', ${number}, true)" for number, name in enumerate(values, 1)]
        return f"SELECT {', '.join(parts)}", list(values.values())
