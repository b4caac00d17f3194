"""Reading what a shop answers: JSON, if need be from behind a byte order mark or PHP's notices. Pure functions."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import structlog

from connections import bodies
from connections.http import Answer

log = structlog.get_logger(__name__)

_BOM = b"\xef\xbb\xbf"
_MAX_STARTS = 64  # so many brackets may stand in the notices before the JSON


def body_of(answer: Answer) -> Any:
    """The JSON that the body is, or ends with: a list or a dict, its numbers Decimal; None where there is none."""
    raw = answer.body.removeprefix(_BOM).strip()
    found = _read(raw)
    if found is None and not is_page(answer) and (found := _behind_notices(raw)) is not None:
        log.warning("shop_answer_mended", url=answer.url, status=answer.status)
    return found


def is_page(answer: Answer) -> bool:
    """Whether it is a page for people: no shop's API sends one."""
    start = answer.body.removeprefix(_BOM).lstrip()[:200].lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def date_of(answer: Answer) -> datetime | None:
    """What the shop's clock showed, to the second."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("date", ""))
    except (TypeError, ValueError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def total_of(answer: Answer) -> int | None:
    """How many records there are in all, if a cache in between has left the header."""
    given = answer.headers.get("x-wp-total", "").strip()
    return int(given) if re.fullmatch(r"\d{1,12}", given) else None


def _read(raw: bytes) -> Any:
    if raw[:1] not in (b"[", b"{"):
        return None
    try:
        return bodies.from_json(raw)
    except bodies.Unreadable:
        return None


def _behind_notices(raw: bytes) -> Any:
    """Notices end with a tag or a line, and the JSON goes to the very end. What begins as JSON has none before it."""
    if raw[:1] in (b"[", b"{") or raw[-1:] not in (b"]", b"}"):
        return None
    for match, _ in zip(re.finditer(rb"(?<=[>\n])[\[{]", raw), range(_MAX_STARTS), strict=False):
        if (found := _read(raw[match.start() :])) is not None:
            return found
    return None
