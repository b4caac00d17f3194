"""From the parsed request to one SQL statement: names quoted, values bound, types left to the columns they meet."""

from __future__ import annotations

import re
from typing import Any

from .supabase_query import IS_VALUES, OPERATORS, Field, Filter, Logic, Order, Query, Selected, split, unquoted
from .supabase_schema import Column, Function, Table

COUNTER = "pgrst.inserted"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """A constant of ours; what a client sent is bound instead."""
    return "'" + value.replace("'", "''") + "'"


class Statement:
    """One statement about one relation. Bound values are of unknown type, so that PostgreSQL reads them as the column does."""

    def __init__(self, relation: str, source: str | None = None):
        self.relation = relation  # as columns are qualified with it
        self.source = source or relation  # as FROM has it
        self.values: list[Any] = []

    @classmethod
    def on(cls, table: Table) -> Statement:
        return cls(f"{quoted(table.schema)}.{quoted(table.name)}")

    def bind(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    # --- parts ---

    def column(self, given: Field) -> str:
        made = f"{self.relation}.{'*' if given.name == '*' else quoted(given.name)}"
        if given.path:
            made = f"to_jsonb({made})"
        for arrow, key in given.path:
            made += arrow + (key if re.fullmatch(r"-?\d+", key) else f"{self.bind(key)}::text")
        return made

    def selected(self, given: list[Selected]) -> str:
        return ", ".join(self._selected(one) for one in given)

    def _selected(self, one: Selected) -> str:
        made = self.column(one.field)
        if one.cast:
            made = f"CAST({made} AS {one.cast})"
        name = one.alias or (one.field.path[-1][1] if one.field.path else one.field.name if one.cast else None)
        return f"{made} AS {quoted(name)}" if name else made

    def where(self, filters: list[Filter | Logic]) -> str:
        return f" WHERE {' AND '.join(self._condition(one) for one in filters)}" if filters else ""

    def _condition(self, one: Filter | Logic) -> str:
        if isinstance(one, Logic):
            inner = f" {one.joiner} ".join(self._condition(part) for part in one.parts)
            return f"{'NOT ' if one.is_negated else ''}({inner})"
        made = f"{self.column(one.field)} {self._comparison(one)}"
        return f"NOT {made}" if one.is_negated else made

    def _comparison(self, one: Filter) -> str:
        if one.operator == "is":
            return f"IS {IS_VALUES[one.value.lower()]}"
        if one.operator == "in":
            parts = [unquoted(part) for part in split(one.value[1:-1])]
            escaped = (re.sub(r'(["\\])', r"\\\1", part) for part in parts)
            array = ",".join(f'"{part}"' for part in escaped)
            return f"= ANY ({self.bind('{' + array + '}')})"
        value = one.value.replace("*", "%") if one.operator in ("like", "ilike") else one.value
        return f"{OPERATORS[one.operator]} {self.bind(value)}"

    def ordered(self, given: list[Order]) -> str:
        terms = (f"{self.column(one.field)} {one.direction} {one.nulls}".strip() for one in given)
        return f" ORDER BY {', '.join(terms)}" if given else ""

    # --- statements; each answers one row: body, number of rows, and what its kind adds ---

    def read(self, query: Query, *, limit: int | None, counts: bool) -> str:
        """Adds the total number of rows, null where nobody counts."""
        rows = f"SELECT {self.selected(query.select)} FROM {self.source}{self.where(query.filters)}{self.ordered(query.order)}"
        rows += f" LIMIT {limit}" if limit is not None else ""
        rows += f" OFFSET {query.offset}" if query.offset else ""
        total = "NULL::bigint"
        if counts:
            total = f"(SELECT count(*) FROM (SELECT 1 FROM {self.source}{self.where(query.filters)}) counted)"
        return f"WITH source AS ({rows}) SELECT {BODY}, count(*), {total} FROM (SELECT * FROM source) r"

    def planned(self, query: Query) -> str:
        return f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {self.source}{self.where(query.filters)}"

    def insert(
        self,
        table: Table,
        names: list[str],
        body: str,
        *,
        returning: str,
        conflict: list[str] | None,
        merges: bool,
        fills_defaults: bool,
    ) -> str:
        """Adds how many rows are new. conflict: the columns that decide; None: no ON CONFLICT at all."""
        target = f"({', '.join(map(quoted, names))})" if names else ""
        shown = ", ".join(f"_body.{quoted(name)}" for name in names)
        payload = self._payload(table, names, body, fills_defaults=fills_defaults)
        made = f"INSERT INTO {self.relation}{target} SELECT {shown} FROM {payload} _body WHERE {_counted('+')} <> '0'"
        if conflict is not None:
            made += f" ON CONFLICT ({', '.join(map(quoted, conflict))}) DO "
            changes = ", ".join(f"{quoted(name)} = EXCLUDED.{quoted(name)}" for name in names)
            made += f"UPDATE SET {changes} WHERE {_counted('-')} <> '-1'" if merges and names else "NOTHING"
        inserted = f"nullif(current_setting({text_literal(COUNTER)}, true), '')::int"
        return self._wrapped(f"{made} RETURNING {returning}", inserted)

    def insert_nothing(self, conflict: list[str] | None) -> str:
        """What an empty body without columns does: it asks for the permission, and no more."""
        made = f"INSERT INTO {self.relation} SELECT WHERE false"
        made += f" ON CONFLICT ({', '.join(map(quoted, conflict))}) DO NOTHING" if conflict else ""
        return self._wrapped(f"{made} RETURNING 1", "NULL::int")

    def update(self, table: Table, names: list[str], body: str, query: Query, *, returning: str) -> str:
        changes = ", ".join(f"{quoted(name)} = _body.{quoted(name)}" for name in names)
        payload = self._payload(table, names, body, fills_defaults=False)
        made = f"UPDATE {self.relation} SET {changes} FROM (SELECT * FROM {payload} p LIMIT 1) _body"
        return self._wrapped(f"{made}{self.where(query.filters)} RETURNING {returning}", "NULL::int")

    def delete(self, query: Query, *, returning: str) -> str:
        made = f"DELETE FROM {self.relation}{self.where(query.filters)} RETURNING {returning}"
        return self._wrapped(made, "NULL::int")

    @staticmethod
    def _wrapped(made: str, more: str) -> str:
        return f"WITH source AS ({made}) SELECT {BODY}, count(*), {more} FROM (SELECT * FROM source) r"

    def _payload(self, table: Table, names: list[str], body: str, *, fills_defaults: bool) -> str:
        """The body's objects as rows of the table's own types. PostgreSQL reads the JSON, digit for digit."""
        if not names:
            return f"(SELECT FROM json_array_elements({self.bind(body)}::json))"
        known: dict[str, Column] = table.columns
        types = ", ".join(f"{quoted(name)} {known[name].type}" for name in names)
        defaults = [(name, known[name].default) for name in names if known[name].default]
        if fills_defaults and defaults:
            filled = ", ".join(f"{text_literal(name)}, {default}" for name, default in defaults)
            objects = f"SELECT jsonb_build_object({filled}) || o FROM jsonb_array_elements({self.bind(body)}::jsonb) o"
            array = f"(SELECT coalesce(jsonb_agg(x), '[]') FROM ({objects}) d(x))"
            return f"(SELECT * FROM jsonb_to_recordset({array}) AS _({types}))"
        return f"(SELECT * FROM json_to_recordset({self.bind(body)}::json) AS _({types}))"


BODY = "coalesce(json_agg(r), '[]')::text"


def _counted(sign: str) -> str:
    """Count one row up or down while it passes; needs no permission to read the table, as xmax would."""
    name = text_literal(COUNTER)
    return f"set_config({name}, (coalesce(nullif(current_setting({name}, true), '')::int, 0) {sign} 1)::text, true)"


def call(function: Function, given: list[str], body: str) -> Statement:
    """The statement that reads from a function's result, called with the body's arguments."""
    name = f"{quoted(function.schema)}.{quoted(function.name)}"
    made = Statement('"pgrst_call"')
    if function.takes_whole_body and "" not in given:
        arguments = f"{made.bind(body)}::{function.arguments['']}"
        source = f"{name}({arguments})"
    elif given:
        types = ", ".join(f"{quoted(arg)} {function.arguments[arg]}" for arg in given)
        named = ", ".join(f"{quoted(arg)} := a.{quoted(arg)}" for arg in given)
        record = f"(SELECT * FROM json_to_record({made.bind(body)}::json) AS _({types})) a"
        made.source = f'{record}, LATERAL {name}({named}) AS "pgrst_call"'
        return _scalar(made, function)
    else:
        source = f"{name}()"
    made.source = f'{source} AS "pgrst_call"'
    return _scalar(made, function)


def _scalar(made: Statement, function: Function) -> Statement:
    """A function that returns no rows of columns is one unnamed column."""
    if not function.is_composite:
        made.source = made.source.removesuffix('"pgrst_call"') + '"pgrst_call"("pgrst_scalar")'
    return made
