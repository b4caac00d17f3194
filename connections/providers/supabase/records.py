"""TargetRecord → the row that a store keeps. Pure: what could not be stored exactly is refused here, by its field."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from connections import bodies
from connections.errors import RejectedRecord
from connections.providers.base import Json, Operation, TargetRecord
from connections.providers.supabase.contract import TYPE, Column, Lines, Table
from connections.providers.supabase.errors import PROVIDER

Key = tuple[str, str, str]  # connection_id, source_system, source_id
REMOVED = "removed"  # the hash of a tombstone: the record's own, once it is back, differs
MAX_BYTES = 1 << 20
MAX_ROWS = 500


@dataclass(slots=True)
class Row:
    """One row to write, its values as JSON takes them. records: those that it answers, the last of which it was made of."""

    key: Key
    values: Json
    lines: list[Json] | None
    modified_at: datetime | None
    operation: Operation
    records: list[TargetRecord] = field(default_factory=list)
    size: int = 0

    @property
    def hash(self) -> str:
        return str(self.values["source_hash"])

    @property
    def parent(self) -> Json:
        return dict(zip(("connection_id", "source_system", "source_id"), self.key, strict=True))


@dataclass(frozen=True, slots=True)
class Current:
    """What the store has of a row now."""

    hash: str | None
    modified_at: datetime | None


def rows(table: Table, records: Iterable[TargetRecord]) -> Iterator[Row | tuple[list[TargetRecord], RejectedRecord]]:
    """A row for each key, made of the last record that has it; or the records and why they cannot be one."""
    by_key: dict[Any, list[TargetRecord]] = {}
    for record in records:
        by_key.setdefault(_group(record), []).append(record)
    for same in by_key.values():
        try:
            row = row_of(table, same[-1])
        except RejectedRecord as error:
            yield same, error
            continue
        row.records = same
        yield row


def _group(record: TargetRecord) -> Any:
    try:
        return key_of(record)
    except RejectedRecord:
        return record.key


def row_of(table: Table, record: TargetRecord) -> Row:
    """The row of one record. Raises RejectedRecord."""
    try:
        return _row(table, record)
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused("values", "They cannot be written as JSON.") from error


def _row(table: Table, record: TargetRecord) -> Row:
    key = key_of(record)
    known = {column.name for column in table.all_columns} | ({table.lines.field} if table.lines else set())
    if unknown := sorted(set(record.values) - known):
        raise _refused(unknown[0], f"The table {table.name} has no such column.")
    given = {**record.values, "connection_id": key[0], "source_system": key[1], "source_id": key[2], "deleted_at": None}
    values = {column.name: _value(column, given.get(column.name)) for column in table.all_columns}
    lines = _lines(table.lines, key, record.values.get(table.lines.field)) if table.lines else None
    values["source_hash"] = _hash(values, lines)
    row = Row(key, values, lines, record.values.get("source_modified_at"), record.operation)
    row.size = _size(values) + sum(map(_size, lines or ()))
    return row


def key_of(record: TargetRecord) -> Key:
    """Whose record it is. Raises RejectedRecord where that is not said."""
    scope = (_text_of(record, "connection_id"), _text_of(record, "source_system"))
    if not any(scope) and record.external_id.count("/") >= 2:
        connection, system, _source_id = record.external_id.split("/", 2)  # as `external_id` told it
        scope = (connection, system)
    try:
        connection_id = str(UUID(scope[0]))
    except ValueError:
        raise _refused("connection_id", "This is not the id of a connection.") from None
    if not scope[1] or not record.key:
        raise _refused("source_id" if scope[1] else "source_system", "A record without it cannot be found again.")
    return connection_id, _text("source_system", scope[1]), _text("source_id", record.key)


def external_id(key: Key) -> str:
    return "/".join(key)


def verdict(row: Row, current: Current | None) -> str:
    """What writing the row would do: created, updated, unchanged, or stale where the store has a newer state."""
    if current is None:
        return "created"
    if current.hash == row.hash:
        return "unchanged"
    is_stale = row.modified_at and current.modified_at and current.modified_at > row.modified_at
    return "stale" if is_stale else "updated"


def batches(given: Iterable[Row]) -> Iterator[list[Row]]:
    """As many rows at once as a request takes; one that is larger goes alone."""
    batch: list[Row] = []
    size = 0
    for row in given:
        if batch and (len(batch) == MAX_ROWS or size + row.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row.size
    if batch:
        yield batch


def instant(text: str | None) -> datetime | None:
    """A timestamp as PostgreSQL writes it in JSON."""
    return datetime.fromisoformat(text) if text else None


# --- values ---
def _lines(declared: Lines, key: Key, given: Any) -> list[Json]:
    """The rows of a document's lines, of each line_id the last."""
    if not isinstance(given, list | tuple | None):
        raise _refused(declared.field, "Not a list of lines.")
    known = {column.name for column in declared.columns} | {"line_id"}
    found: dict[str, Json] = {}
    for number, line in enumerate(given or ()):
        path = f"{declared.field}.{number}"
        if unknown := sorted(set(line) - known):
            raise _refused(f"{path}.{unknown[0]}", f"The table {declared.name} has no such column.")
        if not line.get("line_id"):
            raise _refused(f"{path}.line_id", "A line without its id cannot be found again.")
        whole = {**line, "connection_id": key[0], "source_system": key[1], declared.parent: key[2]}
        row = {column.name: _value(column, whole.get(column.name), path) for column in declared.all_columns}
        found[row["line_id"]] = row
    return list(found.values())


def _value(column: Column, value: Any, path: str = "") -> Any:
    """As it stands in JSON: numbers of a table as text, which PostgreSQL reads exactly."""
    name = f"{path}.{column.name}" if path else column.name
    if value is None:
        return None
    if isinstance(value, float):
        raise _refused(name, "A binary fraction is not exact.")
    if column.type == "jsonb":
        return _json(name, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, Decimal | int):
        return _number(name, column.type, Decimal(value))
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _refused(name, "A time without its zone means nothing elsewhere.")
        return value.isoformat()
    if isinstance(value, date | UUID):
        return str(value)
    if isinstance(value, str):
        return _number(name, column.type, _decimal(name, value)) if column.type[:7] == "numeric" else _text(name, value)
    raise _refused(name, f"A {type(value).__name__} is nothing that a column holds.")


def _decimal(name: str, value: str) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:
        raise _refused(name, "Not a number.") from None


def _number(name: str, kind: str, value: Decimal) -> str:
    """Exact, or not at all: PostgreSQL would round it to the column's decimals without a word."""
    if not value.is_finite() or (value and abs(value.adjusted()) > bodies.MAX_EXPONENT):
        raise _refused(name, "Not a number that can be kept.")
    shape = TYPE.fullmatch(kind)
    if shape and shape[2] and -_exponent(value) > int(shape[2]):
        raise _refused(name, f"It has more than {shape[2]} decimals, which would be lost.")
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _exponent(value: Decimal) -> int:
    """Of the last digit that counts: -2 for 1.20 and 1.25 alike would be wrong for the former."""
    exponent = value.as_tuple().exponent
    digits = "".join(map(str, value.as_tuple().digits))
    return int(exponent) + len(digits) - len(digits.rstrip("0")) if value else 0


def _text(name: str, value: str) -> str:
    if "\x00" in value:
        raise _refused(name, "It holds a NUL, which no text of PostgreSQL can hold.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refused(name, "It holds half of a character.") from None
    return value


def _json(name: str, value: Any) -> Any:
    """Whatever JSON and PostgreSQL can both hold; numbers stay numbers, digit for digit."""
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, Mapping):
        return {_text(name, str(key)): _json(name, inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(name, inner) for inner in value]
    if isinstance(value, datetime | date | UUID):
        return value.isoformat() if isinstance(value, date) else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(name, "Not a number that can be kept.")
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        number = Decimal(value)
        if not number.is_finite() or (number and abs(number.adjusted()) > bodies.MAX_EXPONENT):
            raise _refused(name, "Not a number that can be kept.")
        return number
    if value is None or isinstance(value, bool | float):
        return value
    raise _refused(name, f"A {type(value).__name__} is nothing that JSON holds.")


def _hash(values: Json, lines: list[Json] | None) -> str:
    """Equal if and only if what would be written is; when the source last touched it is not part of that."""
    content = {name: value for name, value in values.items() if name not in ("source_modified_at", "source_hash")}
    told = json.dumps([content, lines], sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()


def _plain(value: Any) -> str:
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _size(values: Json) -> int:
    return len(bodies.to_json(values))


def _text_of(record: TargetRecord, name: str) -> str:
    value = record.values.get(name)
    return str(value) if isinstance(value, str | UUID) else ""


def _refused(name: str, reason: str) -> RejectedRecord:
    return RejectedRecord(f"{name}: {reason}", fields={name: [reason]}, provider=PROVIDER)
