"""Records that PostgreSQL cannot hold: NUL characters, lone surrogates, absurd numbers.

One such record must fail neither its page nor its run. A page that PostgreSQL has refused is parsed in Python, exactly,
and the records that jsonb would refuse are taken out of it, escaped so that an operator can read them. Every page is
tried as it is first: looking through half a million bytes for what hardly ever comes would cost more than asking.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sync.merge import MAX_AMOUNT, MAX_ID_LENGTH

_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER_LIMIT = Decimal(MAX_AMOUNT)
_DEEPEST = 200


@dataclass(frozen=True, slots=True)
class Poisoned:
    """One record as received, escaped to plain ASCII, and why it was refused."""

    external_id: str
    reason: str
    payload: str


class _Number(str):
    """A JSON number, kept as its own text."""

    __slots__ = ()


def extract(raw: bytes) -> tuple[bytes, list[Poisoned]]:
    """(the page without its poison, the poison). Raises ValueError for bytes that are not JSON at all."""
    page = json.loads(
        raw.decode(errors="surrogateescape"), parse_float=_Number, parse_int=_Number, parse_constant=_Number
    )
    found: list[Poisoned] = []
    for name in ("added", "modified", "removed"):
        sound = []
        for record in page[name]:
            if reason := refusal(record):
                found.append(_poisoned(record, reason))
            else:
                sound.append(record)
        page[name] = sound
    kept = ("added", "modified", "removed", "accounts", "next_cursor", "has_more", "transactions_update_status")
    envelope = {key: page[key] for key in kept if key in page and not (key == "accounts" and refusal(page[key]))}
    return encode(envelope).encode(), found


def refusal(value: Any, depth: int = 0) -> str:
    """Why jsonb would refuse this value; "" where it would not."""
    if isinstance(value, _Number):
        return "" if _is_sane(value) else "a number is out of range"
    if isinstance(value, str):
        if "\0" in value:
            return "a text holds a NUL character"
        return "a text holds half of a surrogate pair" if _SURROGATE.search(value) else ""
    if depth > _DEEPEST:
        return "nested too deeply"
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return next((reason for part in parts if (reason := refusal(part, depth + 1))), "")


def _is_sane(number: str) -> bool:
    value = Decimal(number)
    return value.is_finite() and abs(value) <= _NUMBER_LIMIT and (value == 0 or value.adjusted() > -100)


def encode(value: Any) -> str:
    """JSON in ASCII with every number exactly as it came."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(encode(item) for item in value) + "]"
    return json.dumps(value)


def _poisoned(record: Any, reason: str) -> Poisoned:
    # json.dumps escapes to ASCII; doubling the escapes that jsonb or text refuse leaves something every column holds.
    payload = re.sub(r"\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})", r"\\\\u\1", encode(record))[:20000]
    named: Any = record.get("transaction_id") if isinstance(record, dict) else None
    is_usable = isinstance(named, str) and not isinstance(named, _Number) and 0 < len(named) <= MAX_ID_LENGTH
    if not is_usable or refusal(named):
        named = "unnamed-" + hashlib.md5(payload.encode(), usedforsecurity=False).hexdigest()
    return Poisoned(named, reason, payload)
