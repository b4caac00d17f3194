"""`provider_call`: the one log line of every call to a provider, whosever transport made it."""

import logging
import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import orjson
import structlog

from config.logs import HIDDEN, scrub
from connections.errors import CausewayError

log = structlog.get_logger(__name__)

MAX_BODY_SHOWN = 16 << 10
_SECRET_NAME = re.compile(
    r"secret|token|signature|password|key|nonce|auth|credential|session|^code$|^state$", re.IGNORECASE
)
_MAIL = re.compile(r"[^@\s]@[^@\s]")


def log_call(
    *,
    provider: str,
    method: str,
    url: str,
    status: int,
    duration_ms: int,
    request_bytes: int,
    response_bytes: int,
    connection_id: str = "",
    request_id: str = "",
    error: CausewayError | None = None,
) -> None:
    """Write the line. status: 0 where no answer came. request_id: the provider's name for this call, as it told it."""
    log.info(
        "provider_call",
        provider=provider,
        connection=connection_id or None,
        method=method,
        host=_split(url).hostname,
        path=shown_path(url),
        status=status,
        duration_ms=duration_ms,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        request_id=request_id or None,
        error=error.code if error else None,
        provider_code=(error.provider_code or None) if error else None,
    )


def log_bodies(*, provider: str, url: str, sent: bytes, received: bytes) -> None:
    """What was said, without secrets; only where somebody has asked for debug lines."""
    if (sent or received) and log.isEnabledFor(logging.DEBUG):
        log.debug(
            "provider_call_bodies",
            provider=provider,
            path=shown_path(url),
            sent=_shown(sent),
            received=_shown(received),
        )


def shown_path(url: str) -> str:
    """Path and query for people: a value whose name says secret, or that holds a mail address, is hidden."""
    parts = _split(url)
    if not parts.query:
        return parts.path
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    shown = [(name, HIDDEN if _SECRET_NAME.search(name) or _MAIL.search(value) else value) for name, value in pairs]
    return f"{parts.path}?{urlencode(shown, quote_via=quote, safe='[]:,()*')}"


def shown_url(url: str) -> str:
    """The whole URL, as `shown_path` shows its path."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{shown_path(url)}"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # whoever was to be called by it refuses it; the line is written all the same
        return urlsplit("")


def _shown(raw: bytes) -> Any:
    """A body by its structure, so that names beside values count; too long a one by its beginning."""
    if len(raw) <= MAX_BODY_SHOWN:
        try:
            return scrub(orjson.loads(raw))
        except orjson.JSONDecodeError:
            pass
    text = raw[:MAX_BODY_SHOWN].decode(errors="replace")
    return scrub(unquote(text)) if "=" in text and "<" not in text else scrub(text)
