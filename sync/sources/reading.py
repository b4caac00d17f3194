"""Payloads read field by field, suspiciously: whatever stands there, either it is understood or its path is noted."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from html import unescape
from typing import Any

from connections.errors import RejectedRecord
from sync.canonical import ZERO, is_currency

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?", re.ASCII)
_PLAIN = re.compile(r"-?\d{1,12}(?:\.\d{1,10})?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}", re.ASCII)
_UNSTORABLE = dict.fromkeys([*(code for code in range(32) if chr(code) not in "\t\n\r"), 127])
_BREAK = re.compile(r"<br ?/?>|</(?:p|div|li|tr|h[1-6])>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_HOLDERS = (str, list, tuple, dict)
MAX_DIGITS, MAX_DECIMALS = 15, 10  # of an amount: more is no money, and sums stay exact below it
MAX_WRITTEN = 40  # digits of a number that stands for a text
_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


class Reader:
    """One object of a payload. Readers of one payload share their `errors`; `finish` refuses the record if there are any."""

    __slots__ = ("errors", "is_object", "path", "payload")

    def __init__(self, payload: Any, path: str = "", errors: dict[str, list[str]] | None = None) -> None:
        self.payload: Mapping[str, Any] = payload if isinstance(payload, Mapping) else {}
        self.path = path
        self.errors: dict[str, list[str]] = {} if errors is None else errors
        self.is_object = isinstance(payload, Mapping)
        if not self.is_object:
            self.refuse("", "This is not an object.")

    def refuse(self, name: str, why: str) -> None:
        if name and not self.is_object:
            return  # said once
        self.errors.setdefault(self._path(name), []).append(why)

    def finish(self, provider: str) -> None:
        """Raises RejectedRecord with everything that was not understood."""
        if self.errors:
            told = "; ".join(f"{path}: {' '.join(why)}" for path, why in self.errors.items())
            raise RejectedRecord(
                provider=provider, operator_detail=f"not understood: {told}"[:1000], fields=self.errors
            )

    # --- texts ---
    def text(self, name: str) -> str:
        """As it stands there, without space around it and characters that no store keeps; numbers are texts, too."""
        value = self.payload.get(name)
        if isinstance(value, str):
            return clean(value)
        if is_nothing(value):
            return ""
        if not (digits := _digits(value)):
            self.refuse(name, "This is not a text.")
        return digits

    def words(self, name: str) -> str:
        """A text for people, as they would read it: `&amp;` is an ampersand."""
        text = self.text(name)
        return clean(unescape(text)) if "&" in text else text

    def prose(self, name: str) -> str:
        """A text for people that is marked up, without its marks."""
        text = _TAG.sub("", _BREAK.sub("\n", self.text(name)))
        lines = (line.strip() for line in clean(unescape(text)).splitlines())
        return "\n".join(line for line in lines if line)

    def id(self, name: str, *, is_needed: bool = False) -> str:
        """An id; "" where there is none, or where it is 0, as shops write that."""
        value = self.payload.get(name)
        value = _digits(value) or value
        if is_nothing(value) or (isinstance(value, str) and value == "0"):
            if is_needed:
                self.refuse(name, "This is required.")
            return ""
        if isinstance(value, str) and _ID.fullmatch(value):
            return value
        self.refuse(name, "This is not an id.")
        return ""

    def currency(self, name: str, default: str = "") -> str:
        code = self.text(name) or default
        if not is_currency(code):
            self.refuse(name, "This is not a currency's code." if code else "This is required.")
        return code

    # --- numbers ---
    def number(self, name: str) -> Decimal | None:
        """Exact, or None where there is none."""
        value = self.payload.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        number = _exact(value)
        if number is None:
            self.refuse(name, "This is not an exact number.")
        return number

    def amount(self, name: str) -> Decimal:
        """Of money; 0 where there is none."""
        return self.number(name) or ZERO

    def needed_amount(self, name: str) -> Decimal:
        number = self.number(name)
        if number is None and self._path(name) not in self.errors:
            self.refuse(name, "This is required.")
        return number or ZERO

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.payload.get(name)
        if isinstance(value, bool):
            return value
        if value is None or value == "":
            return default
        found = _WORDS.get(str(value).lower()) if isinstance(value, str | int | Decimal) else None
        if found is None:
            self.refuse(name, "This is neither true nor false.")
        return bool(found)

    # --- times ---
    def instant(self, name: str) -> datetime | None:
        """UTC; a time that says no zone is UTC already."""
        value = self._time(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.refuse(name, "This is not a time.")
            return None

    def day(self, name: str) -> date | None:
        """The day of a date, or of a time in whatever zone it is told in."""
        value = self._time(name)
        if value is None:
            return None
        try:
            return date.fromisoformat(value[:10])
        except ValueError:
            self.refuse(name, "This is not a day.")
            return None

    def _time(self, name: str) -> str | None:
        value = self.payload.get(name)
        if is_nothing(value):
            return None
        if not isinstance(value, str):
            self.refuse(name, "This is not a time.")
            return None
        return None if value.startswith("0000") else value

    # --- what is in it ---
    def one(self, name: str) -> "Reader":
        """The object there; an empty one where there is none."""
        value = self.payload.get(name)
        return Reader({} if is_nothing(value) else value, self._path(name), self.errors)

    def many(self, name: str) -> list["Reader"]:
        """The objects of the list there. A list with holes comes as an object with numbers for names."""
        value = self.payload.get(name)
        if is_nothing(value):
            return []
        if isinstance(value, Mapping) and all(isinstance(key, str) and key.isdecimal() for key in value):
            value = list(value.values())
        if not isinstance(value, list | tuple):
            self.refuse(name, "This is not a list.")
            return []
        path = self._path(name)
        return [Reader(one, f"{path}.{number}", self.errors) for number, one in enumerate(value)]

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}".strip(".") or "payload"


def is_nothing(value: Any) -> bool:
    """None, and whatever else PHP's plugins write for it."""
    return value is None or value is False or (isinstance(value, _HOLDERS) and not value)


def clean(text: str) -> str:
    """Without control characters, halves of characters, and space around it."""
    if not text.isprintable():
        text = text.translate(_UNSTORABLE).encode(errors="ignore").decode()
    return text.strip()


def _digits(value: Any) -> str:
    """A number as a text, written out; "" for one that is too long for that, and for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return ""
    number = Decimal(value)
    return f"{number:f}" if number.is_finite() and abs(number.adjusted()) <= MAX_WRITTEN else ""


def _exact(value: Any) -> Decimal | None:
    if isinstance(value, str):
        if _PLAIN.fullmatch(value):  # nearly all of them
            return Decimal(value)
        text = value.strip()
        value = Decimal(text) if len(text) <= 60 and _NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    if not number.is_finite():
        return None
    if not number:
        return ZERO
    if number.adjusted() >= MAX_DIGITS:
        return None
    return number if _has_few_decimals(number) else None


def _has_few_decimals(number: Decimal) -> bool:
    """Zeros at the end are not counted."""
    _sign, digits, exponent = number.as_tuple()
    too_many = -int(exponent) - MAX_DECIMALS
    return too_many <= 0 or not any(digits[-too_many:])
