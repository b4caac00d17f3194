"""Structured logs: one event a line, with the correlation id, and without a secret."""

import re
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from config import correlation

# What a value looks like when it must not be written down, wherever it turns up.
_SECRET_VALUE = re.compile(
    r"(access|public|link|processor|user|assets)-(sandbox|production|development)-[\w-]+"  # Plaid tokens
    r"|cwt_[\w-]+"  # our own bearer tokens
    r"|(?<=Bearer )[\w.~+/=-]+"
    r"|(?<=Basic )[\w+/=-]+"
    r"|eyJ[\w-]+\.[\w-]+\.[\w-]*"  # JWTs
    r"|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"  # userinfo in a URL
    r"|\b(ck|cs)_[0-9a-f]{20,}"  # WooCommerce keys
    r"|(?<=Failing row contains )\(.*"  # PostgreSQL quotes the whole row
)
# A name beside its value within a text: password=…, "client_secret": "…", escaped once more inside of JSON or not.
_NAME = r"(?:secret|password|passwd|token|api_?key)[\w-]{0,40}"
_SECRET_PAIR = re.compile(
    rf"""({_NAME}(?:=|\\*["']\s*:\s*)\\*["'])(?!\[hidden\])[^"'\\]+|({_NAME}=)(?!\\*["']|\[hidden\])[^\s&"'\\,;)}}\]]+""",
    re.IGNORECASE,
)
# Without one of these in it a text matches neither. Most have none, and looking for them takes a tenth of the time.
_VALUE_MARKS = (
    *("-sandbox-", "-production-", "-development-"),
    *("cwt_", "ck_", "cs_", "eyJ", "://", "Bearer ", "Basic ", "Failing row contains "),
)
_PAIR_MARKS = ("secret", "password", "passwd", "token", "api")
_SECRET_NAME = re.compile(
    r"secret|password|token(?!_prefix)|authorization|cookie|credential|api_key|dsn|private", re.IGNORECASE
)
_NAME_MARKS = (*_PAIR_MARKS, "authorization", "cookie", "credential", "dsn", "private")
HIDDEN = "[hidden]"
_SHORTEST = 8  # a shorter one would turn up in ordinary words
_known: list[re.Pattern[str]] = []
_known_texts: list[str] = []


def keep_secret(secrets: Iterable[str]) -> None:
    """Hide the installation's own secrets wherever they turn up, whatever they look like."""
    found = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
    _known[:] = [re.compile("|".join(map(re.escape, found)))] if found else []
    _known_texts[:] = found


def storable(text: str) -> str:
    """The text without what UTF-8 or PostgreSQL cannot hold: NUL characters and halves of surrogate pairs."""
    return text.replace("\0", "").encode(errors="replace").decode()


def scrub(value: Any, *, name: str = "") -> Any:
    """The same structure with every secret replaced, judged by key name and by what the text looks like."""
    if name and value and _SECRET_NAME.search(name) and not isinstance(value, bool | int | float):
        return HIDDEN
    if isinstance(value, str):
        return _without_secrets(storable(value))
    if isinstance(value, bytes):
        return _without_secrets(storable(value.decode(errors="replace")))
    if isinstance(value, dict):
        return {scrub(key): scrub(item, name=str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item) for item in value]
    return value


def scrub_bytes(raw: bytes) -> bytes:
    """The bytes, whatever they are, without what looks like a secret."""
    return _without_secrets(raw.decode("latin-1")).encode("latin-1")


def is_plain(raw: bytes) -> bool:
    """Whether nothing would be hidden in these bytes, nor in what they say as JSON. False: one has to look closely.

    Most of what providers send is plain, and to look once costs a tenth of looking at every name and text in it.
    """
    if not raw.isascii() or b"\\" in raw:  # what is escaped is not what it looks like
        return False
    text = raw.decode()
    folded = text.lower()
    for secret in _known_texts:
        if secret in text:
            return False
    for mark in _VALUE_MARKS:
        if mark in text:
            return False
    for mark in _NAME_MARKS:  # loops, as a generator would take longer than what it looks for  # noqa: SIM110
        if mark in folded:
            return False
    return True


def _without_secrets(text: str) -> str:
    for known in _known:
        text = known.sub(HIDDEN, text)
    if any(mark in text for mark in _VALUE_MARKS):
        text = _SECRET_VALUE.sub(HIDDEN, text)
    folded = text.casefold()
    return _SECRET_PAIR.sub(rf"\1\2{HIDDEN}", text) if any(mark in folded for mark in _PAIR_MARKS) else text


def _with_correlation(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if correlation_id := correlation.current():
        event["correlation_id"] = correlation_id
    return event


def _scrubbed(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {key: value if key.startswith("_") else scrub(value, name=key) for key, value in event.items()}


def _line_scrubbed(_logger: Any, _method: str, line: str) -> str:
    """The line as it leaves: whatever object a renderer turned into text is in it as well."""
    return _without_secrets(line)


def configuration(*, level: str, form: str) -> dict:
    """Django's LOGGING; also sets structlog up, so that its loggers and the standard library's come out alike."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_correlation,
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
    )
    final = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _scrubbed,
        renderer,
        _line_scrubbed,
    ]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "event": {"()": structlog.stdlib.ProcessorFormatter, "foreign_pre_chain": shared, "processors": final}
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "event"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django.server": {"handlers": [], "propagate": True},
            "django.security": {"level": "CRITICAL"},  # what it refuses is in a line of config.problems
            "django.security.csrf": {"level": "WARNING"},  # except for this
            "plaid.rest": {"level": "WARNING"},  # at DEBUG it prints response bodies, access tokens included
            "urllib3": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
        },
    }
