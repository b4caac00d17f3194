"""The fields of a data store's tables, from the contract that the store was made by."""

import re
from collections.abc import Callable
from dataclasses import fields as parts_of
from dataclasses import is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from connections.providers.supabase.contract import DEFAULTS, TYPE, Column, Table
from sync.mapping.errors import Unmet
from sync.mapping.fields import FieldTable, Takes, TargetField, refused, too_long
from sync.mapping.functions import plain, string
from sync.mapping.kinds import is_empty

TARGET = "supabase"
_IDENTITY = "By this a record is found again, so that none is doubled: Causeway sets it."
_STATE = "Causeway keeps the state of the row here."
_MONEY = "Amounts arrive as the source tells them: only so can both totals be proved equal."
_REFERENCE = "This leads to another record of the source: Causeway sets it."
_DOCUMENTS = ("orders", "refunds", "payments", "bills")
_AMOUNTS = {"subtotal", "discount_total", "shipping_total", "tax_total", "total", "balance", "unapplied"}
_LINE_AMOUNTS = {"quantity", "unit_price", "subtotal", "tax_total", "total"}
_TAKES: dict[str, Takes] = {
    "text": "text",
    "uuid": "text",
    "char": "text",
    "boolean": "boolean",
    "integer": "number",
    "bigint": "number",
    "numeric": "number",
    "date": "day",
    "timestamptz": "instant",
    "jsonb": "any",
}


def table(entity: str) -> FieldTable:
    """Raises KeyError."""
    declared = DEFAULTS[entity]
    own = {column.name for column in declared.columns}
    found = [_field(column, _reason(declared, column.name, own)) for column in declared.all_columns]
    if declared.lines:
        prefix, lines = declared.lines.field, {column.name for column in declared.lines.columns}
        found += [_field(column, _line_reason(column.name, lines), prefix) for column in declared.lines.all_columns]
    return FieldTable(
        TARGET, entity, {field.name: field for field in found}, lines=declared.lines.field if declared.lines else ""
    )


def _reason(declared: Table, name: str, own: set[str]) -> str:
    if name not in own:
        return _IDENTITY if name in declared.key else _STATE
    if name.endswith("_source_id"):
        return _REFERENCE
    is_money = name == "currency" or name in _AMOUNTS
    return _MONEY if name == "balance" or (declared.entity in _DOCUMENTS and is_money) else ""


def _line_reason(name: str, own: set[str]) -> str:
    if name not in own or name == "position":
        return _IDENTITY
    if name.endswith("_source_id"):
        return _REFERENCE
    return _MONEY if name in _LINE_AMOUNTS else ""


def _field(column: Column, read_only: str, prefix: str = "") -> TargetField:
    shape = TYPE.fullmatch(column.type)
    base = re.split(r"[( ]", column.type)[0]
    length = int(shape[3]) if shape and shape[3] else 0
    return TargetField(
        name=f"{prefix}.{column.name}" if prefix else column.name,
        type=column.type,
        takes=_TAKES[base],
        shaped=_shaper(base, column.type, length),
        max_length=length,
        is_line=bool(prefix),
        read_only=read_only,
        help=column.comment,
    )


def _shaper(base: str, declared: str, length: int) -> Callable[[Any], Any]:
    if base in ("text", "char", "uuid"):
        return lambda value: _text(value, length)
    if base in ("integer", "bigint"):
        bound = 2**31 if base == "integer" else 2**63
        return lambda value: _integer(value, bound)
    if base == "numeric":
        shape = TYPE.fullmatch(declared)
        digits, places = (int(shape[1]), int(shape[2])) if shape and shape[1] else (0, 0)
        return lambda value: _number(value, digits, places)
    return _json if base == "jsonb" else lambda value: value


def _text(value: str, length: int = 0) -> str | None:
    if "\x00" in value or any(0xD800 <= ord(char) <= 0xDFFF for char in value):
        raise Unmet("It holds a character that PostgreSQL cannot store.", "oneLine(…) leaves such characters out.")
    if length and len(value) > length:
        raise too_long(value, length)
    return value or None


def _integer(value: Decimal, bound: int) -> Decimal:
    if value != value.to_integral_value() or not -bound <= value < bound:
        raise refused(value, "This is no whole number that the column can hold.")
    return value


def _number(value: Decimal, digits: int, places: int) -> Decimal:
    if value and abs(value.adjusted()) > 300:
        raise refused(Decimal(0), "The number is too large or too small for the column.")
    if digits:
        whole, _, fraction = plain(abs(value)).partition(".")
        if len(fraction) > places:
            raise Unmet(
                f"It has {len(fraction)} decimals, and the column holds {places}.",
                f"Round it in the expression: round(…, {places}).",
            )
        if len(whole.lstrip("0")) > digits - places:
            raise Unmet(f"It has more than {digits - places} digits before the point, which is all the column holds.")
    return value


def _json(value: Any) -> Any:
    """Structures as objects without their empty parts; numbers, days and instants as texts, exactly."""
    if is_dataclass(value):
        told = {part.name: getattr(value, part.name) for part in parts_of(value)}
        return {name: _json(part) for name, part in told.items() if not is_empty(part)} or None
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if isinstance(value, str):
        return _text(value)
    return string(value) if isinstance(value, Decimal | date | datetime) else value
