"""What expressions can call. Every function is also a method of its first argument: `cut(x, 9)` and `x.cut(9)` are one.

docs/reference/expressions.md is made from this table.
"""

import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import cache
from typing import Any

from connections.providers.quickbooks.validation import is_email
from sync.canonical import rounded
from sync.mapping.errors import Unmet
from sync.mapping.kinds import BOOLEAN, DAY, INSTANT, NUMBER, TEXT, Kind, common, is_empty, list_of
from sync.mapping.limits import DIGITS, MAX_PLACES, MAX_TEXT

# What does not come out exactly is an error: nothing is rounded unless a rule says how.
EXACT = Context(prec=DIGITS, Emin=-DIGITS, Emax=DIGITS, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_WIDE = Context(prec=DIGITS * 4, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])


@dataclass(frozen=True, slots=True)
class Function:
    """takes: the kinds of its arguments; "…" at an end: one or more of these. gives: a kind; "same": that of the arguments.

    takes_nothing: it is also called where an argument is null.
    """

    name: str
    takes: tuple[str, ...]
    gives: str
    run: Callable[..., Any]
    help: str
    example: tuple[str, str] = ("", "")
    takes_nothing: bool = False

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(self.takes)})"

    def result(self, given: list[Kind]) -> Kind | None:
        """What it gives of these; None where it does not take them."""
        wanted = self.takes
        if wanted[-1].endswith("…"):
            wanted = (*wanted[:-1], *[wanted[-1][:-1]] * (len(given) - len(wanted) + 1))
        if len(wanted) != len(given) or not given or not all(map(_fits, wanted, given)):
            return None
        return _all_of(given) if self.gives == "same" else _KINDS[self.gives]


_KINDS = {
    "text": TEXT,
    "number": NUMBER,
    "boolean": BOOLEAN,
    "day": DAY,
    "instant": INSTANT,
    "list of texts": list_of(TEXT),
    "list of numbers": list_of(NUMBER),
}


def _fits(wanted: str, given: Kind) -> bool:
    if wanted == "any" or given.name == "null":
        return True
    if wanted == "list":
        return given.item is not None
    if wanted == "value":
        return given.is_scalar
    return common(_KINDS[wanted], given) is not None


def _all_of(given: list[Kind]) -> Kind | None:
    found: Kind | None = given[0]
    for kind in given[1:]:
        found = common(found, kind) if found else None
    return found


# --- texts ---
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def limited(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise Unmet(f"A text longer than {MAX_TEXT:,} characters would come of this.")
    return text


def string(value: Any) -> str:
    """Equal values have one text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)


def plain(number: Decimal) -> str:
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _replace(text: str, old: str, new: str) -> str:
    if not old:
        return text
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_TEXT:
        raise Unmet(f"A text longer than {MAX_TEXT:,} characters would come of this.")
    return text.replace(old, new)


def _join(texts: tuple[str, ...], between: str = "") -> str:
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_TEXT:
        raise Unmet(f"A text longer than {MAX_TEXT:,} characters would come of this.")
    return between.join(texts)


def _split(text: str, at: str) -> tuple[str, ...]:
    return tuple(text.split(at)) if at else tuple(text)


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def count(number: Decimal, most: int = MAX_TEXT) -> int:
    """A whole number, to count with."""
    if number != number.to_integral_value() or not 0 <= number <= most:
        raise Unmet(f"{plain(number)[:40]} is no whole number from 0 to {most:,}.")
    return int(number)


def _last(text: str, most: Decimal) -> str:
    return text[-size:] if (size := count(most)) else ""


def _substring(text: str, start: Decimal, end: Decimal | None = None) -> str:
    begin, stop = count(start), len(text) if end is None else count(end)
    if not begin <= stop <= len(text):
        raise Unmet(
            f"This text has {len(text)} characters: there is none from {begin} to {stop}. Use cut(…) or last(…)."
        )
    return text[begin:stop]


# --- numbers ---
def _number(text: str) -> Decimal:
    digits = text.strip().removeprefix("-").replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= DIGITS):
        raise Unmet(f"{text[:40]!r} is no number.")
    return Decimal(text.strip())


def _short(number: Decimal) -> Decimal:
    if number and (abs(number.adjusted()) > DIGITS or len(number.as_tuple().digits) > DIGITS):
        raise Unmet(f"A number here has more than {DIGITS} digits.")
    return number


def _round(number: Decimal, places: Decimal = Decimal(0)) -> Decimal:
    return rounded(_short(number), count(places, MAX_PLACES))


def _divide(number: Decimal, by: Decimal, places: Decimal) -> Decimal:
    """Rounded once, from the exact quotient: it is worked out to twice the digits and so much more."""
    if not by:
        raise Unmet("Nothing can be divided by 0.")
    return rounded(_WIDE.divide(_short(number), _short(by)), count(places, MAX_PLACES))


def _sum(numbers: tuple[Decimal, ...]) -> Decimal:
    found = Decimal(0)
    for number in numbers:
        found = EXACT.add(found, number)
    return found


def exactly(number: Decimal) -> Decimal:
    return EXACT.plus(number)


# --- days ---
@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _day(moment: datetime, zone: str) -> date:
    if zone not in _zones():
        raise Unmet(f"{zone[:60]!r} is no time zone such as America/Edmonton.")
    return moment.astimezone(zoneinfo.ZoneInfo(zone)).date()


def _day_told(text: str) -> date:
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise Unmet(f"{text[:40]!r} is no day: YYYY-MM-DD.")


def _instant(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _add_days(day: date, days: Decimal) -> date:
    if days != days.to_integral_value() or abs(days) > 100_000:
        raise Unmet(f"{plain(_short(days))[:40]} is no number of days that can be added.")
    return day + timedelta(days=int(days))


def _first(*values: Any) -> Any:
    return next((value for value in values if not is_empty(value)), values[-1])


_F = Function
FUNCTIONS: tuple[Function, ...] = (
    _F("first", ("any…",), "same", _first, "The first that says something: not null, not empty.", ("first('', 'b')", "b"), True),
    _F("string", ("value",), "text", string, "The value as text; numbers without idle zeros.", ("string(1.50)", "1.5")),
    _F("size", ("text",), "number", lambda text: Decimal(len(text)), "Its characters.", ("size('Zoë')", "3")),
    _F("size", ("list",), "number", lambda items: Decimal(len(items)), "How many it holds.", ("size([1, 2])", "2")),
    _F("cut", ("text", "number"), "text", lambda text, most: text[: count(most)], "At most so many characters, from the left.", ("'WC-1234'.cut(2)", "WC")),
    _F("last", ("text", "number"), "text", _last, "At most so many characters, from the right.", ("'WC-1234'.last(4)", "1234")),
    _F("substring", ("text", "number"), "text", _substring, "From this character on, counted from 0; an error beyond the end.", ("'WC-1234'.substring(3)", "1234")),
    _F("substring", ("text", "number", "number"), "text", _substring, "From this character to before that one.", ("'WC-1234'.substring(0, 2)", "WC")),
    _F("replace", ("text", "text", "text"), "text", _replace, "Every occurrence of the second, replaced by the third.", ("'a:b'.replace(':', '-')", "a-b")),
    _F("trim", ("text",), "text", str.strip, "Without white space around it.", ("' a '.trim()", "a")),
    _F("oneLine", ("text",), "text", _one_line, "Without line breaks, tabs and characters that nobody sees.", ("'a\\n  b'.oneLine()", "a b")),
    _F("lowerAscii", ("text",), "text", lambda text: text.translate(_LOWER), "A to Z in small letters.", ("'DE'.lowerAscii()", "de")),
    _F("upperAscii", ("text",), "text", lambda text: text.translate(_UPPER), "a to z in capitals.", ("'de'.upperAscii()", "DE")),
    _F("split", ("text", "text"), "list of texts", _split, "The parts between the second.", ("'a,b'.split(',')[1]", "b")),
    _F("join", ("list of texts",), "text", _join, "All of them together.", ("['a', 'b'].join()", "ab")),
    _F("join", ("list of texts", "text"), "text", _join, "All of them, with the second in between.", ("['a', 'b'].join('+')", "a+b")),
    _F("contains", ("text", "text"), "boolean", lambda text, part: part in text, "Whether the second is in the first.", ("'coupon'.contains('up')", "true")),
    _F("startsWith", ("text", "text"), "boolean", lambda text, part: text.startswith(part), "Whether it begins so.", ("'WC-1'.startsWith('WC')", "true")),
    _F("endsWith", ("text", "text"), "boolean", lambda text, part: text.endswith(part), "Whether it ends so.", ("'WC-1'.endsWith('1')", "true")),
    _F("isEmail", ("text",), "boolean", lambda text: bool(text) and is_email(text), "Whether QuickBooks would take it as an e-mail address.", ("isEmail('ana@example.com')", "true")),
    _F("number", ("text",), "number", _number, "The number that the text writes.", ("number('12.50') * 2", "25")),
    _F("round", ("number",), "number", _round, "To a whole number; half of one goes away from zero.", ("round(2.5)", "3")),
    _F("round", ("number", "number"), "number", _round, "To so many decimals; half of one goes away from zero.", ("round(1.005, 2)", "1.01")),
    _F("divide", ("number", "number", "number"), "number", _divide, "The first by the second, to so many decimals.", ("divide(10, 3, 2)", "3.33")),
    _F("abs", ("number",), "number", lambda number: exactly(number.copy_abs()), "Without its sign.", ("abs(-4)", "4")),
    _F("least", ("number…",), "number", min, "The smallest.", ("least(3, 2)", "2")),
    _F("greatest", ("number…",), "number", max, "The largest.", ("greatest(3, 2)", "3")),
    _F("sum", ("list of numbers",), "number", _sum, "All of them added up.", ("sum([1.1, 2.2])", "3.3")),
    _F("day", ("instant", "text"), "day", _day, "The day it is then, in this time zone.", ("day(instant(day('2026-05-12')), 'America/Edmonton')", "2026-05-11")),
    _F("day", ("text",), "day", _day_told, "The day that the text writes.", ("day('2026-05-12')", "2026-05-12")),
    _F("instant", ("day",), "instant", _instant, "The first instant of the day, in UTC.", ("instant(day('2026-05-12'))", "2026-05-12T00:00:00Z")),
    _F("addDays", ("day", "number"), "day", _add_days, "So many days later, or earlier.", ("day('2026-05-12').addDays(30)", "2026-06-11")),
)  # fmt: skip
BY_NAME: dict[str, list[Function]] = {}
for _function in FUNCTIONS:
    BY_NAME.setdefault(_function.name, []).append(_function)
