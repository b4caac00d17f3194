"""What kind of thing an expression gives, known before it is run: the canonical records say so of their fields."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sync.canonical import Line


@dataclass(frozen=True, slots=True)
class Kind:
    """name: text, number, boolean, day, instant, null, list, or what a structure is called. item: what a list holds.

    fields: of a structure, by name.
    """

    name: str
    item: "Kind | None" = None
    fields: Mapping[str, "Kind"] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        if self.name == "list":
            return f"a list of {self.item.name}s" if self.item and self.item != NULL else "a list"
        return "null" if self is NULL else f"an {self.name}" if self.name[0] in "aio" else f"a {self.name}"

    @property
    def is_structure(self) -> bool:
        return bool(self.fields)

    @property
    def is_scalar(self) -> bool:
        return self in SCALARS


TEXT, NUMBER, BOOLEAN, DAY, INSTANT, NULL = map(Kind, ("text", "number", "boolean", "day", "instant", "null"))
SCALARS = (TEXT, NUMBER, BOOLEAN, DAY, INSTANT)
ORDERED = (TEXT, NUMBER, DAY, INSTANT)
_PLAIN = {str: TEXT, Decimal: NUMBER, bool: BOOLEAN, date: DAY, datetime: INSTANT}
_ALSO: dict[type, dict[str, Kind]] = {Line: {"item_id": TEXT}}  # properties that are worth a name


def list_of(item: Kind) -> Kind:
    return Kind("list", item)


def common(one: Kind, other: Kind) -> Kind | None:
    """The kind of something that is either; null is of every kind. None where there is none."""
    if one == other:
        return one
    if NULL in (one, other):
        return other if one == NULL else one
    if one.item and other.item and (item := common(one.item, other.item)):
        return list_of(item)
    return None


def kind_of(made: type) -> Kind:
    """Of a class of canonical records, or of one of their parts."""
    return _kind_of(made)


@cache
def _kind_of(made: Any) -> Kind:
    hints = get_type_hints(made)
    told = {one.name: _of_hint(hints[one.name]) for one in fields(made)}
    return Kind(made.__name__.lower(), fields=types.MappingProxyType(told | _ALSO.get(made, {})))


def _of_hint(hint: Any) -> Kind:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _of_hint(inner[0])
    if origin is Literal:
        return TEXT
    if origin is tuple:
        return list_of(_of_hint(inner[0]))
    return _PLAIN[hint] if hint in _PLAIN else kind_of(hint)


def is_empty(value: Any) -> bool:
    """Whether it says nothing: no value, an empty text or list, a structure of nothing else. 0 and false say something."""
    if is_dataclass(value):
        return all(is_empty(getattr(value, name)) for name in kind_of(type(value)).fields)
    return value is None or value == "" or (isinstance(value, tuple) and not value)
