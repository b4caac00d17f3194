"""Bodies on the wire: JSON with exact numbers, and answers that are unpacked no further than they may be long."""

import json
import zlib
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

MAX_EXPONENT = 400  # beyond any number that a provider means; written out, a larger one would fill the memory


class Unreadable(ValueError):
    """The body is not what it says it is, or too much of it. The text says which, without quoting it."""


def to_json(value: Any) -> bytes:
    """The value as JSON; a Decimal is a number, digit for digit. Equal values in equal order give equal bytes."""
    return orjson.dumps(value, default=_exact)


def from_json(raw: bytes) -> Any:
    """The value, each of its numbers a Decimal. Raises Unreadable."""
    try:
        return json.loads(raw, parse_float=_number, parse_int=_number, parse_constant=_number)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error


def unpacked(parts: Iterable[bytes], encoding: str, *, at_most: int) -> bytes:
    """The body, decoded. Reads no further than `at_most` bytes, packed or unpacked. Raises Unreadable."""
    packings = [name for name in map(str.strip, encoding.lower().split(",")) if name not in ("", "identity")]
    if not packings:
        return _joined(parts, at_most)
    if packings not in (["gzip"], ["x-gzip"], ["deflate"]):
        raise Unreadable("packed in a way that was not asked for")
    return _joined(_inflated(parts, at_most, is_gzip=packings != ["deflate"]), at_most)


def _joined(parts: Iterable[bytes], at_most: int) -> bytes:
    body = bytearray()
    for part in parts:
        body += part
        if len(body) > at_most:
            raise Unreadable(f"more than {at_most} bytes")
    return bytes(body)


def _inflated(parts: Iterable[bytes], at_most: int, *, is_gzip: bool) -> Iterable[bytes]:
    """Small pieces, so that the counting stops a bomb early. zlib's own limit counts, not the pieces on the wire."""
    unpacker, taken = None, 0
    for part in parts:
        taken += len(part)
        if taken > at_most:
            raise Unreadable(f"more than {at_most} bytes, packed")
        while part:
            if unpacker is None:
                unpacker = zlib.decompressobj(31 if is_gzip else _deflate_window(part))
            try:
                yield unpacker.decompress(part, 1 << 20)
            except zlib.error as error:
                raise Unreadable("packed wrongly") from error
            part = unpacker.unconsumed_tail
            if unpacker.eof:  # gzip files may follow each other
                part, unpacker = (unpacker.unused_data if is_gzip else b""), None
    if unpacker is not None:
        yield from _rest(unpacker)


def _rest(unpacker: Any) -> Iterable[bytes]:
    """What the last piece left in the unpacker. An end that is not there means a body that was cut off."""
    try:
        yield unpacker.flush(1 << 20)
    except zlib.error as error:
        raise Unreadable("packed wrongly") from error
    if not unpacker.eof:
        raise Unreadable("cut off")


def _deflate_window(start: bytes) -> int:
    """`deflate` is zlib's format by the standard, and a bare stream from servers that read it otherwise."""
    is_zlib = start[0] & 0x0F == 8 and (len(start) < 2 or int.from_bytes(start[:2]) % 31 == 0)
    return zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise ValueError("a number beyond all bounds") from error
    if not number.is_finite() or (abs(number.adjusted()) > MAX_EXPONENT and number):
        raise ValueError("a number beyond all bounds")
    return number


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"{type(value).__name__} has no form in JSON")
