"""What a target's records consist of, as rules see it: which fields there are, what they hold, and whose they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from sync.mapping.errors import Unmet
from sync.mapping.functions import string
from sync.mapping.kinds import Kind

Takes = Literal["text", "number", "boolean", "day", "instant", "address", "any"]


@dataclass(frozen=True, slots=True)
class TargetField:
    """One field. name: as rules name it, with its list's name before that of a line's: `Line.Description`.

    takes: the kind of value that goes in. shaped: the value as the target has it, None where nothing is left of it;
    raises Unmet where the target would refuse it. read_only: why no rule may set it, or "".
    documents: of the target's kinds of record, those that have it; () for all of them.
    """

    name: str
    type: str
    takes: Takes
    shaped: Callable[[Any], Any]
    max_length: int = 0
    choices: tuple[str, ...] = ()
    is_required: bool = False
    is_line: bool = False
    read_only: str = ""
    documents: tuple[str, ...] = ()
    help: str = ""

    @property
    def key(self) -> str:
        """Its own name, in the record or in the line."""
        return self.name.rpartition(".")[2] if self.is_line else self.name

    def refusal(self, given: Kind) -> str:
        """Why a value of this kind cannot go in, or ""."""
        if self.takes == "any" or given.name in (self.takes, "null"):
            return ""
        if self.takes == "text" and given.is_scalar:
            return f"This field holds a text, and the expression gives {given}: put string(…) around it."
        if self.takes == "day" and given.name == "instant":
            return "This field holds a day, and the expression gives an instant: use day(…, time zone)."
        if self.takes == "instant" and given.name == "day":
            return "This field holds an instant, and the expression gives a day: put instant(…) around it."
        return f"This field holds {_article(self.takes)}, and the expression gives {given}."

    def told(self, value: Any) -> Any:
        """A default, or a value of a lookup table, as JSON has it. Raises Unmet."""
        try:
            read = _READERS[self.takes](value)
        except (KeyError, ValueError, TypeError, ArithmeticError):
            raise Unmet(_WORDS.get(self.takes, "No fixed value can be given here, only an expression.")) from None
        return self.shaped(read)


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The fields of one entity at one kind of target. any_of: at least one of these has to have a value.

    lines: the name of the list that its lines are in, or "".
    """

    target: str
    entity: str
    fields: Mapping[str, TargetField]
    any_of: tuple[str, ...] = ()
    lines: str = ""

    @property
    def settable(self) -> list[TargetField]:
        return [field for field in self.fields.values() if not field.read_only]


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aio" else f"a {name}"


# --- fixed values ---
def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any) -> Decimal:
    number = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    if number is None or not number.is_finite() or abs(number.adjusted()) > 60:
        raise ValueError
    return number


def _instant(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)


_READERS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "number": _number,
    "boolean": _boolean,
    "day": lambda value: date.fromisoformat(_text(value)),
    "instant": _instant,
    "any": _text,
}
_WORDS = {
    "text": "This is a text.",
    "number": 'This is a decimal number, as a text: "12.50".',
    "boolean": "This is true or false.",
    "day": "This is a day: YYYY-MM-DD.",
    "instant": "This is an instant with its zone, in ISO 8601.",
    "any": "This is a text.",
}


def too_long(value: str, most: int) -> Unmet:
    return Unmet(
        f"It has {len(value)} characters, and the field holds {most}.",
        f"Shorten it in the expression: cut(…, {most}) keeps the first of them, last(…, {most}) the last.",
    )


def refused(value: Any, why: str) -> Unmet:
    shown = string(value)[:60] if isinstance(value, str | Decimal | bool | date) else "This"
    return Unmet(f"{shown!r}: {why}" if isinstance(value, str) else f"{shown}: {why}")
