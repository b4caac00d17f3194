"""What a store answers, translated by one table that is closed: what it does not name is `ProviderError`.

Both kinds end here: PostgREST passes PostgreSQL's SQLSTATEs on and has codes of its own (PGRST…); gateways have neither.
Source: PostgREST 16 "Errors", PostgreSQL appendix A, Supabase "HTTP status codes".
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.logs import scrub
from connections import errors
from connections.errors import CausewayError, ProviderError, RejectedRecord
from connections.http import Answer

PROVIDER = "supabase"
NOT_PREPARED = "store_not_prepared"


class ParentMissing(RejectedRecord):
    """The record may be written once another one is there."""

    default_code = "store_parent_missing"


class ValueTaken(RejectedRecord):
    """Another row has a value that this record needs for itself: a person has to look."""

    default_code = "store_value_taken"


class Busy(errors.TemporaryError):
    """Fewer rows at once may get through."""


class StaleSchema(errors.TemporaryError):
    """A table, column or function is missing, or the API has not seen it yet: once more after a minute, then it is missing."""

    default_code = NOT_PREPARED


class NotPrepared(errors.PermanentError):
    """A table, column, unique key or permission is missing."""

    default_code = NOT_PREPARED


class Permission(NotPrepared):
    """A grant is missing, or row security lets the row not pass."""


@dataclass(frozen=True, slots=True)
class _Policy:
    kind: type[CausewayError]
    code: str = ""
    retry_after_s: float | None = None


_REJECTED = _Policy(RejectedRecord)
_OUR_BUG = _Policy(errors.PermanentError, "internal_error")
_KEY = _Policy(errors.NeedsReauth, "store_key_refused")
_NOT_PREPARED = _Policy(NotPrepared)
_STALE = _Policy(StaleSchema, retry_after_s=60)
_BUSY = _Policy(Busy)
_AWAY = _Policy(errors.TemporaryError)
_SLOWLY = _Policy(errors.TemporaryError, retry_after_s=120)
PAUSED = _Policy(errors.TemporaryError, "store_paused", 1800)
RESTRICTED = _Policy(errors.TemporaryError, "store_restricted", 3600)

TABLE: dict[str, _Policy] = {
    # PostgREST
    **dict.fromkeys(("PGRST000", "PGRST001", "PGRST002"), _AWAY),
    "PGRST003": _BUSY,
    **dict.fromkeys(("PGRST100", "PGRST102", "PGRST107", "PGRST108", "PGRST116", "PGRST122"), _OUR_BUG),
    "PGRST106": _NOT_PREPARED,
    "PGRST124": _Policy(errors.PermanentError, "store_touches_too_much"),
    **dict.fromkeys(("PGRST202", "PGRST204", "PGRST205"), _STALE),
    "PGRST203": _NOT_PREPARED,
    **dict.fromkeys(("PGRST301", "PGRST302", "PGRST303"), _KEY),
    # the record's values. A cast that fails, too big a number, a day that is none, too long a text, NULL, a check
    **dict.fromkeys(("22P02", "22003", "22007", "22008", "22001", "23502", "23514", "P0001"), _REJECTED),
    "23503": _Policy(ParentMissing),
    "23505": _Policy(ValueTaken),
    # the table. Every record would fail as the first one did, so none is set aside
    **dict.fromkeys(("42703", "42P10", "42P01", "42883", "3F000"), _NOT_PREPARED),
    "42501": _Policy(Permission),
    "25006": _Policy(errors.TemporaryError, "store_read_only", 900),
    # the moment
    **dict.fromkeys(("40001", "40P01", "55P03", "57014", "53400"), _BUSY),
    **dict.fromkeys(("57P01", "57P02", "57P03", "25P03"), _AWAY),
    # the login
    **dict.fromkeys(("28P01", "28000", "3D000"), _KEY),
    # our own statement
    **dict.fromkeys(("21000", "42601", "26000"), _OUR_BUG),
}
CLASSES: dict[str, _Policy] = {  # by the first two characters, where the whole code is not in the table
    "08": _AWAY,
    "53": _AWAY,
    "22": _REJECTED,
    "23": _REJECTED,
    "54": _REJECTED,  # too large for an index or a row
    "PT": _REJECTED,  # the owner's own trigger or function says no
}
STATUSES: dict[int, _Policy] = {  # answers without a code: a gateway's
    401: _KEY,
    402: RESTRICTED,
    403: _KEY,
    404: _Policy(errors.PermanentError, "store_api_missing"),
    413: _BUSY,
    540: PAUSED,
    544: _Policy(errors.TemporaryError, "provider_timeout", 120),
    **dict.fromkeys(range(520, 525), _SLOWLY),
    **dict.fromkeys((500, 502, 503, 504), _AWAY),
}


def classify(answer: Answer) -> CausewayError | None:
    """The error that an answer of the Data API means; None where it is a good one. Never raises, whatever the body is."""
    if answer.is_success:
        return None
    told = _object(answer.body)
    facts: dict[str, Any] = {"provider_type": f"HTTP {answer.status}", "request_id": answer.request_id}
    if code := told.get("code"):
        given = {name: str(told.get(name) or "") for name in ("message", "hint")}
        error = classify_code(str(code), **given, retry_after_s=_retry_after_s(answer), **facts)
        is_anonymous = isinstance(error, Permission) and answer.status == 401
        return _made(_KEY, str(code), given["message"], **facts) if is_anonymous else error
    return _without_code(answer, str(told.get("message") or told.get("error") or ""), facts)


def classify_code(
    code: str, *, message: str = "", hint: str = "", retry_after_s: float | None = None, **facts: Any
) -> CausewayError:
    """The same from a code, of PostgREST or of PostgreSQL."""
    policy = TABLE.get(code) or CLASSES.get(code[:2])
    if code.startswith("PGRST") and code not in TABLE:
        policy = None
    if code.startswith("22"):
        message = re.sub(r':\s*".*', "", message, flags=re.DOTALL)  # quotes the value that it could not read
    told = " ".join(part for part in (message, hint) if part)
    if policy is None:
        return ProviderError(**_facts(code, told, **facts))
    return _made(policy, code, told, retry_after_s=retry_after_s, **facts)


def unsaid(fault: str) -> ProviderError:
    """Where PostgreSQL's library has told only words: what came of connecting. fault: them, without a password."""
    text = fault.lower()
    facts = _facts("", fault)
    for pattern, kind, code, detail in _CONNECT:
        if re.search(pattern, text):
            return kind(detail, code=code, **facts)
    return errors.NotSent(**facts)


_CONNECT: tuple[tuple[str, type[ProviderError], str, str], ...] = (
    (
        r"does not match host name",
        errors.NotSent,
        "tls_failed",
        "The server's certificate is for another name than the connection string's host. Nothing was sent.",
    ),
    (
        r"certificate verify failed|unable to get local issuer|root certificate",
        errors.NotSent,
        "tls_failed",
        "The server's certificate was not issued by the authority that this connection trusts. Nothing was sent.",
    ),
    (r"ssl|tls", errors.NotSent, "tls_failed", "The server offers no TLS, or breaks it off. Nothing was sent."),
    (
        r"tenant or user not found|tenant identifier",
        errors.NeedsReauth,
        "store_key_refused",
        "The pooler does not know this user: it is postgres.<project>, or the project is paused or deleted.",
    ),
    (r"password authentication failed|no password|authentication", errors.NeedsReauth, "store_key_refused", ""),
    (r'(role|database) ".*" does not exist', errors.NeedsReauth, "store_key_refused", ""),
    (r"max ?client|too many (clients|connections)|remaining connection slots", Busy, "", ""),
    (r"timeout|timed out", errors.NotSent, "provider_timeout", ""),
    (r"starting up|shutting down|recovery mode|circuit breaker", errors.NotSent, "", ""),
)


def _made(policy: _Policy, code: str, told: str, *, retry_after_s: float | None = None, **facts: Any) -> CausewayError:
    given = _facts(code, told, retry_after_s=retry_after_s or policy.retry_after_s, **facts)
    return policy.kind(_for_people(policy, told), code=policy.code, **given)


def _facts(code: str, told: str, **facts: Any) -> dict[str, Any]:
    return {
        "provider": PROVIDER,
        "provider_code": scrub(code)[:100],
        "operator_detail": scrub(f"{code}: {told}" if code else told)[:500],
        **facts,
    }


def _for_people(policy: _Policy, told: str) -> str:
    """What the owner's own database says is told in its words: it names the column, the grant, the constraint.

    Its `details` never come this far: they quote the row.
    """
    is_theirs = issubclass(policy.kind, RejectedRecord | NotPrepared | StaleSchema)
    return f"The store answered: {scrub(told)[:300]}" if is_theirs and told else ""


def _without_code(answer: Answer, message: str, facts: Mapping[str, Any]) -> CausewayError:
    kind = answer.headers.get("content-type", "no type").partition(";")[0][:60]
    told = f"HTTP {answer.status} with {len(answer.body)} bytes of {kind}, without a code {message[:200]}".rstrip()
    code = f"HTTP_{answer.status}"
    if answer.status == 429:
        return errors.RateLimited(**_facts(code, told, retry_after_s=_retry_after_s(answer), **facts))
    if 300 <= answer.status < 400:
        return _made(STATUSES[404], code, told, **facts)
    policy = STATUSES.get(answer.status) or (_AWAY if answer.status >= 500 else None)
    if policy is None:
        return ProviderError(**_facts(code, told, **facts))
    return _made(policy, code, told, retry_after_s=_retry_after_s(answer), **facts)


def _retry_after_s(answer: Answer) -> float | None:
    given = answer.headers.get("retry-after", "").strip()
    return float(given) if re.fullmatch(r"\d{1,6}", given) else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
