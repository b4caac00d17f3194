"""JSON whose non-integer numbers are Decimals on both ways, digit for digit."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson

PLAIN_DIGITS = 60  # beyond that a number is written with an exponent


def plain(number: Decimal) -> str:
    """The number without an exponent, unless that would take a line of zeros."""
    return f"{number:f}" if number.is_finite() and abs(number.adjusted()) < PLAIN_DIGITS else str(number)


def parse(text: bytes | str) -> Any:
    """Raises ValueError."""
    return json.loads(text, parse_float=Decimal)


def dumps(value: Any, *, newline: bool = False) -> bytes:
    return orjson.dumps(value, default=_written, option=orjson.OPT_APPEND_NEWLINE if newline else 0)


def _written(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(plain(value).encode())
    raise TypeError(type(value).__name__)
