"""Canonical records as JSON, back again, and as one hash of what they say."""

import hashlib
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import orjson

from connections.errors import RejectedRecord
from connections.providers.base import Json
from sync.canonical.records import KINDS, Canonical

_UNHASHED = frozenset({"modified_at"})


def content_hash(record: Canonical) -> str:
    """64 hexadecimal digits that are equal if and only if the records say the same; when it was touched is not said.

    A field at its default is left out: one that is added to a kind of record later changes no hash of before.
    """
    told = orjson.dumps([record.entity, _content(record)], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()


def to_json(record: Canonical) -> Json:
    """Every field, plain: amounts as decimal text, instants and days in ISO 8601; `entity` says which kind it is."""
    return {"entity": record.entity, **{one.name: _plain(getattr(record, one.name)) for one in fields(record)}}


def from_json(told: Any) -> Canonical:
    """The record that `to_json` told; what is missing is at its default. Raises RejectedRecord with the fields' paths."""
    entity = told.get("entity") if isinstance(told, Mapping) else None
    kind = KINDS.get(entity) if isinstance(entity, str) else None
    if kind is None:
        raise _refused("entity", f"This is one of {', '.join(KINDS)}.")
    found: Canonical = _object(kind, {name: value for name, value in told.items() if name != "entity"}, "")
    return found


# --- out ---
def _content(value: Any) -> Any:
    kind = type(value)
    if kind is str or value is None:
        return value
    if kind is tuple:
        return [_content(one) for one in value]
    if kind not in _PARTS and not is_dataclass(kind):
        return _text(value)
    names, values_of, defaults = _parts(kind)
    given = zip(names, values_of(value), defaults, strict=True)
    return {name: _content(inner) for name, inner, default in given if inner is not default and inner != default}


_PARTS: dict[type, tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]] = {}


def _parts(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]:
    """Names, values and defaults of its fields: hashes are made by the ten thousand."""
    if kind not in _PARTS:
        told = [one for one in fields(kind) if one.name not in _UNHASHED]
        names = tuple(one.name for one in told)
        _PARTS[kind] = (names, attrgetter(*names), tuple(one.default for one in told))
    return _PARTS[kind]


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return [_plain(one) for one in value] if isinstance(value, tuple) else _text(value)


def _text(value: Any) -> Any:
    """Equal numbers and instants have one text, whatever digits or zone they came with."""
    if isinstance(value, Decimal):
        text = format(value, "f")
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return "0" if text == "-0" else text
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


# --- in ---
def _object(kind: type, told: Any, path: str) -> Any:
    if not isinstance(told, Mapping):
        raise _refused(path, "This is an object.")
    hints = _hints(kind)
    if unknown := next((name for name in told if name not in hints), None):
        raise _refused(_below(path, unknown), "There is no such field.")
    if missing := next((name for name in hints if name not in told and _is_needed(kind, name)), None):
        raise _refused(_below(path, missing), "This is required.")
    return kind(**{name: _value(hints[name], value, _below(path, name)) for name, value in told.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


def _is_needed(kind: type, name: str) -> bool:
    declared: Field[Any] = kind.__dataclass_fields__[name]  # type: ignore[attr-defined]
    return declared.default is MISSING


def _value(hint: Any, told: Any, path: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if told is None else _value(inner[0], told, path)
    if origin is Literal:
        return told if told in inner else _raise(path, f"This is one of {', '.join(inner)}.")
    if origin is tuple:
        return _tuple(inner, told, path)
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint, told, path)
    kind, read, words = _SCALARS[hint]
    try:
        if isinstance(told, kind) and (kind is bool or not isinstance(told, bool)):
            return read(told)
    except (ValueError, OverflowError, InvalidOperation):
        pass
    raise _refused(path, words)


def _tuple(inner: tuple[Any, ...], told: Any, path: str) -> Any:
    if not isinstance(told, list | tuple):
        raise _refused(path, "This is a list.")
    if inner[-1] is Ellipsis:
        return tuple(_value(inner[0], one, _below(path, number)) for number, one in enumerate(told))
    if len(told) != len(inner):
        raise _refused(path, f"This is a list of {len(inner)}.")
    return tuple(
        _value(hint, one, _below(path, number)) for number, (hint, one) in enumerate(zip(inner, told, strict=True))
    )


def _number(told: Any) -> Decimal:
    number = Decimal(told)
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise ValueError
    return number


def _whole(told: str) -> str:
    told.encode()  # half a character is none, and could not be hashed or stored
    return told


def _instant(told: str) -> datetime:
    moment = datetime.fromisoformat(told)
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)


_SCALARS: dict[Any, tuple[Any, Callable[[Any], Any], str]] = {
    str: (str, _whole, "This is a text."),
    bool: (bool, bool, "This is true or false."),
    Decimal: (str | int | Decimal, _number, "This is a decimal number, as a text."),
    datetime: (str, _instant, "This is an instant with its zone, in ISO 8601."),
    date: (str, date.fromisoformat, "This is a day: YYYY-MM-DD."),
}


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _raise(path: str, why: str) -> Any:
    raise _refused(path, why)


def _refused(path: str, why: str) -> RejectedRecord:
    return RejectedRecord(operator_detail=f"{path}: {why}", fields={path: [why]})
