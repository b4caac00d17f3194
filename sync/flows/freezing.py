"""Records to write, as text that says exactly the same when it is read again: what an intent keeps until it is confirmed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from connections.providers.base import TargetRecord

_MARK = "$"  # stands before what JSON has no word for, and before objects that have such a key themselves


@dataclass(frozen=True, slots=True)
class Member:
    """One record of an intent. content_hash, modified_at, currency: what its link will say.

    is_new: nothing of it was at the target when this was decided.
    """

    record: TargetRecord
    content_hash: str
    modified_at: datetime | None
    is_new: bool
    currency: str = ""


def freeze(members: Sequence[Member]) -> str:
    """ASCII, the same for the same members."""
    return json.dumps([_told(_frozen(member)) for member in members], sort_keys=True, separators=(",", ":"))


def thaw(text: str) -> list[Member]:
    return [_member(_read(told)) for told in json.loads(text)]


def _frozen(member: Member) -> dict[str, Any]:
    return {
        **{one.name: getattr(member, one.name) for one in fields(member)},
        "record": {one.name: getattr(member.record, one.name) for one in fields(member.record)},
    }


def _member(told: dict[str, Any]) -> Member:
    return Member(**{**told, "record": TargetRecord(**told["record"])})


_TAGS: dict[type, tuple[str, Callable[[Any], str]]] = {
    Decimal: ("decimal", str),
    datetime: ("instant", datetime.isoformat),
    date: ("day", date.isoformat),
    UUID: ("uuid", str),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "decimal": Decimal,
    "instant": datetime.fromisoformat,
    "day": date.fromisoformat,
    "uuid": UUID,
}


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        told = {name: _told(inner) for name, inner in value.items()}
        return {_MARK: "object", "is": told} if _MARK in told else told
    if isinstance(value, list | tuple):
        return [_told(inner) for inner in value]
    if type(value) in _TAGS:
        tag, write = _TAGS[type(value)]
        return {_MARK: tag, "is": write(value)}
    if value is None or isinstance(value, str | int | bool):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be frozen")


def _read(told: Any) -> Any:
    if isinstance(told, list):
        return [_read(inner) for inner in told]
    if not isinstance(told, dict):
        return told
    tag = told.get(_MARK)
    if tag is None:
        return {name: _read(inner) for name, inner in told.items()}
    if tag == "object":
        return {name: _read(inner) for name, inner in told["is"].items()}
    return _READ[tag](told["is"])
