"""The Data API's little language: select lists, filters, orders and preferences, from text to values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .supabase_errors import ApiError

OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "LIKE",
    "ilike": "ILIKE",
    "match": "~",
    "imatch": "~*",
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
    "isdistinct": "IS DISTINCT FROM",
    "in": "IN",
    "is": "IS",
}
IS_VALUES = {"null": "NULL", "not_null": "NOT NULL", "true": "TRUE", "false": "FALSE", "unknown": "UNKNOWN"}
RESERVED = frozenset({"select", "columns", "order", "limit", "offset", "on_conflict", "apikey"})
LOGIC = {"and": (False, "AND"), "or": (False, "OR"), "not.and": (True, "AND"), "not.or": (True, "OR")}
CAST = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\[\])?")
PREFERENCES = {
    "resolution": ("merge-duplicates", "ignore-duplicates"),
    "return": ("minimal", "representation", "headers-only"),
    "count": ("exact", "planned", "estimated"),
    "missing": ("default", "null"),
    "handling": ("strict", "lenient"),
    "tx": ("commit", "rollback"),
}


def refused(what: str, text: str, expected: str) -> ApiError:
    shown = f'"failed to parse {what} ({text})" (line 1, column 1)'
    return ApiError("PGRST100", shown, details=f"unexpected {text[:1]!r} expecting {expected}" if text else None)


@dataclass(slots=True)
class Field:
    """A column, or what lies in it: `data->a->>b` is Field("data", [("->", "a"), ("->>", "b")])."""

    name: str
    path: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Selected:
    field: Field  # its name is * for all
    alias: str | None = None
    cast: str | None = None


@dataclass(slots=True)
class Filter:
    field: Field
    operator: str
    value: str
    is_negated: bool


@dataclass(slots=True)
class Logic:
    joiner: str
    is_negated: bool
    parts: list[Any]


@dataclass(slots=True)
class Order:
    field: Field
    direction: str = ""
    nulls: str = ""


@dataclass(slots=True)
class Preferences:
    """What Prefer asks for, each value checked; `unknown` are the words nobody knows."""

    resolution: str | None = None
    returning: str | None = None
    count: str | None = None
    missing: str | None = None
    handling: str | None = None
    max_affected: int | None = None
    unknown: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, header: str) -> Preferences:
        """Raises ApiError PGRST122 for an unknown word where handling=strict."""
        found = cls()
        for word in filter(None, (part.strip() for part in re.split(r"[,;]", header))):
            name, _, value = word.partition("=")
            attribute = "returning" if name == "return" else name
            if name == "max-affected" and value.isdigit():
                found.max_affected = int(value)
            elif value not in PREFERENCES.get(name, ()) and name != "timezone":
                found.unknown.append(word)
            elif attribute not in ("tx", "timezone") and getattr(found, attribute) is None:
                setattr(found, attribute, value)
        if found.handling == "strict" and found.unknown:
            details = f"Invalid preferences: {', '.join(found.unknown)}"
            raise ApiError("PGRST122", "Invalid preferences given with handling=strict", details=details)
        if found.handling != "strict":
            found.max_affected = None
        return found

    def applied(self, *names: str) -> list[tuple[str, str]]:
        """The response header for those of the preferences that were given."""
        words = []
        for name in ("resolution", "missing", "return", "count", "handling", "max-affected"):
            value = getattr(self, {"return": "returning", "max-affected": "max_affected"}.get(name, name))
            if name in names and value is not None:
                words.append(f"{name}={value}")
        return [("Preference-Applied", ", ".join(words))] if words else []


@dataclass(slots=True)
class Query:
    """A parsed query string."""

    select: list[Selected]
    filters: list[Filter | Logic]
    order: list[Order]
    limit: int | None
    offset: int
    columns: list[str] | None
    on_conflict: list[str] | None
    arguments: dict[str, str]  # of a function called by GET


def parse(pairs: list[tuple[str, str]], *, is_call: bool = False) -> Query:
    """The query of a request. is_call: a parameter that is no filter is an argument. Raises ApiError PGRST100."""
    found = Query([Selected(Field("*"))], [], [], None, 0, None, None, {})
    for name, value in pairs:
        if name == "select":
            found.select = _select(value)
        elif name == "order":
            found.order = [_order(term) for term in split(value)]
        elif name in ("limit", "offset"):
            number = _whole(name, value)
            found.limit, found.offset = (number, found.offset) if name == "limit" else (found.limit, number)
        elif name in ("columns", "on_conflict"):
            setattr(found, name, [unquoted(part.strip()) for part in split(value)])
        elif name in LOGIC:
            found.filters.append(_logic(name, value))
        elif name not in RESERVED:
            _take_filter(found, name, value, is_call=is_call)
    return found


def _take_filter(found: Query, name: str, value: str, *, is_call: bool) -> None:
    if is_call and not re.match(rf"(not\.)?({'|'.join(OPERATORS)})(\.|\()", value):
        found.arguments[name] = value
    else:
        found.filters.append(_filter(name, value))


def _whole(name: str, value: str) -> int:
    if not value.isdigit():
        raise refused(f"{name} parameter", value, "a whole number")
    return int(value)


def split(text: str, separator: str = ",") -> list[str]:
    """Parts at the separators that stand neither in quotes nor in brackets."""
    parts, depth, is_quoted, start, index = [], 0, False, 0, 0
    while index < len(text):
        letter = text[index]
        if letter == "\\" and is_quoted:
            index += 1
        elif letter == '"':
            is_quoted = not is_quoted
        elif not is_quoted and letter in "({[":
            depth += 1
        elif not is_quoted and letter in ")}]":
            depth -= 1
        elif letter == separator and not is_quoted and depth == 0:
            parts.append(text[start:index])
            start = index + 1
        index += 1
    parts.append(text[start:])
    return parts if text else []


def unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


def _field(text: str) -> Field:
    parts = re.split(r"(->>|->)", text.strip())
    name = unquoted(parts[0])
    if not name or "\x00" in text:
        raise refused("filter", text, "a field name")
    return Field(name, list(zip(parts[1::2], parts[2::2], strict=True)))


def _select(text: str) -> list[Selected]:
    return [_selected(part.strip()) for part in split(text)]


def _selected(text: str) -> Selected:
    if "(" in text and not text.startswith('"'):
        name = re.split(r"[!(:]", text)[-2] if ":" in text else re.split(r"[!(]", text)[0]
        message = f"Could not find a relationship between the table and '{name}' in the schema cache"
        raise ApiError("PGRST200", message, details="This simulator embeds no other tables.")
    found = re.fullmatch(r'(?:(?P<alias>"[^"]+"|[^:"]+):(?!:))?(?P<field>.+?)(?:::(?P<cast>[^:]+))?', text)
    if not found:
        raise refused("select parameter", text, "field name or *")
    if found["cast"] and not CAST.fullmatch(found["cast"]):
        raise refused("select parameter", text, "a type's name")
    return Selected(_field(found["field"]), unquoted(found["alias"]) if found["alias"] else None, found["cast"])


def _order(text: str) -> Order:
    name, *rest = split(text.strip(), ".")
    found = Order(_field(name))
    for word in rest:
        if word in ("asc", "desc") and not found.direction:
            found.direction = word.upper()
        elif word in ("nullsfirst", "nullslast") and not found.nulls:
            found.nulls = f"NULLS {word[5:].upper()}"
        else:
            raise refused("order", text, '"asc", "desc", "nullsfirst" or "nullslast"')
    return found


def _logic(name: str, text: str) -> Logic:
    is_negated, joiner = LOGIC[name]
    if not (text.startswith("(") and text.endswith(")")):
        raise refused("logic tree", text, '"("')
    return Logic(joiner, is_negated, [_term(part.strip()) for part in split(text[1:-1])])


def _term(text: str) -> Filter | Logic:
    for name in sorted(LOGIC, key=len, reverse=True):
        if text.startswith(f"{name}("):
            return _logic(name, text[len(name) :])
    head, *rest = split(text, ".")
    if not rest:
        raise refused("logic tree", text, "a filter")
    made = _filter(head, text[len(head) + 1 :])
    if made.operator not in ("in", "is"):
        made.value = unquoted(made.value)
    return made


def _filter(name: str, text: str) -> Filter:
    is_negated = text.startswith("not.")
    rest = text[4:] if is_negated else text
    operator, dot, value = rest.partition(".")
    if operator not in OPERATORS or not dot:
        raise refused("filter", text, f'"not" or operator ({", ".join(OPERATORS)})')
    if operator == "in" and not (value.startswith("(") and value.endswith(")")):
        raise refused("filter", text, '"("')
    if operator == "is" and value.lower() not in IS_VALUES:
        raise refused("filter", text, "null, not_null, true, false or unknown")
    if "\x00" in text:
        raise refused("filter", text, "text without NUL")
    return Filter(_field(name), operator, value, is_negated)
