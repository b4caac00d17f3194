"""QuickBooks' errors, translated by one table that is closed: what it does not name is `ProviderError`.

Decided by the fault's code; by the HTTP status where there is none, and for throttling and gateways, whose codes vary.
Source: Intuit developer docs, "Error codes" and "Handling common errors".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from config.logs import scrub
from connections import errors
from connections.errors import CausewayError, ProviderError
from connections.http import Answer
from connections.providers.quickbooks import faults
from connections.providers.quickbooks.faults import Fault, FaultError

PROVIDER = "quickbooks"
THROTTLE_WAIT_S = 60.0
REFERENCE_CODES = frozenset({"610", "2090", "2170", "2500"})  # what we know of the company's lists may be out of date


class TokenRefused(errors.NeedsReauth):
    """The access token is refused: a newer one may be taken, once."""

    default_code = "access_refused"


@dataclass(frozen=True, slots=True)
class _Policy:
    """rank: of several errors in one fault, the one with the lowest speaks."""

    kind: type[CausewayError]
    code: str = ""
    detail: str = ""
    remediation: str = ""
    retry_after_s: float | None = None
    rank: int = 5
    extra: Mapping[str, Any] = field(default_factory=dict)


_TOKEN = _Policy(TokenRefused, rank=0)
_REJECTED = _Policy(errors.RejectedRecord)
_OUTDATED = _Policy(errors.RejectedRecord, extra={"references": "outdated"})
_DUPLICATE = _Policy(errors.DuplicateRecord)
_NOT_IN_PLAN = _Policy(errors.RejectedRecord, "feature_not_enabled", rank=3)
_OUR_BUG = _Policy(errors.PermanentError, "internal_error", rank=2)
_RATE_LIMITED = _Policy(errors.RateLimited, retry_after_s=THROTTLE_WAIT_S, rank=0)
_DOWN = _Policy(errors.TemporaryError, rank=1)
_UNREADABLE = _Policy(errors.TemporaryError, "provider_malformed", rank=1)

TABLE: dict[str, _Policy] = {
    "3200": _TOKEN,
    "3201": _Policy(
        errors.NeedsReauth,
        "access_refused",
        "This installation is no longer authorised for the company in QuickBooks.",
        "Connect again, with an administrator of the company.",
        rank=0,
    ),
    "120": _Policy(
        errors.NeedsReauth,
        "access_refused",
        "Whoever connected this company is no longer one of its administrators, or may not enter it any more.",
        "Have an administrator of the company connect again, or give that person their rights back.",
        rank=0,
    ),
    "3100": _Policy(
        errors.Misconfigured,
        "connection_misconfigured",
        "QuickBooks does not let this installation's app into the company.",
        "Check that the connection's environment is that of the app's keys (development keys open sandbox companies "
        "only, production keys real ones only), then connect again.",
        rank=0,
    ),
    "3001": _RATE_LIMITED,
    "500": _REJECTED,
    "610": _OUTDATED,
    **dict.fromkeys(("2010", "2020", "2030", "2050"), _REJECTED),
    **dict.fromkeys(("2090", "2170", "2500"), _OUTDATED),
    **dict.fromkeys(("4000", "4001"), _OUR_BUG),
    "5010": _Policy(errors.StaleObject, rank=4),
    **dict.fromkeys(("5020", "5030"), _NOT_IN_PLAN),
    **dict.fromkeys(("6000", "6070", "6080", "6090", "6100", "6430", "6540"), _REJECTED),
    "6140": _DUPLICATE,
    "6240": _DUPLICATE,
    "6190": _Policy(errors.PermanentError, "subscription_ended", rank=1),
    "6210": _Policy(errors.RejectedRecord, "books_closed"),
    "10000": _DOWN,
}
_MONTHLY = re.compile(r"month|quota|coreplus", re.IGNORECASE)
_EXISTING = re.compile(r"\b(?:TxnId|Id)\s*=\s*(\d{1,20})")
_EXISTING_KIND = re.compile(r"\bTxnType\s*=\s*([A-Za-z]{1,40})")


def classify(answer: Answer) -> CausewayError | None:
    """The error that an answer means; None for one that means none. Never raises."""
    fault = faults.in_body(answer.body)
    if answer.is_success and fault is None:
        return None
    return _made(fault, answer)


def classify_fault(fault: Fault, *, request_id: str = "") -> CausewayError:
    """The error of one member of a batch."""
    return _error(fault, _leading(fault), request_id=request_id)


def _made(fault: Fault | None, answer: Answer) -> CausewayError:
    of_status = _by_status(answer.status)
    request_id = answer.request_id
    if of_status is _RATE_LIMITED:
        return _error(fault, _throttled(fault, answer), status=answer.status, request_id=request_id)
    if fault is None or (of_status is _DOWN and answer.status != 500):
        return _error(fault, of_status, status=answer.status, request_id=request_id)
    leading = _leading(fault)
    if leading is None or (leading.rank > _TOKEN.rank and answer.status == 401):
        leading = of_status
    return _error(fault, leading, status=answer.status, request_id=request_id)


def _by_status(status: int) -> _Policy | None:
    """For answers without a code that we know: a gateway's, or a fault nobody has classified."""
    if status == 429:
        return _RATE_LIMITED
    if status == 401:
        return _TOKEN
    if status >= 500:
        return _DOWN
    return _UNREADABLE if 300 <= status < 400 else None


def _leading(fault: Fault) -> _Policy | None:
    """What the fault means: of its errors that we know, the one that weighs most."""
    known = [TABLE[error.code] for error in fault.errors if error.code in TABLE]
    return min(known, key=lambda policy: policy.rank, default=None)


def _throttled(fault: Fault | None, answer: Answer) -> _Policy:
    """A minute, or what it says; until the next month where the allowance of the whole installation is used up."""
    told = " ".join(error.told for error in fault.errors) if fault else ""
    if _MONTHLY.search(told):
        return _Policy(errors.RateLimited, "provider_credits_exhausted", retry_after_s=_until_next_month())
    return _Policy(errors.RateLimited, retry_after_s=_retry_after(answer.headers.get("retry-after", "")))


def _retry_after(told: str) -> float:
    if told.strip().isdigit():
        return min(max(float(told), 1.0), 3600.0)
    try:
        wait_s = (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return THROTTLE_WAIT_S
    return min(max(wait_s, 1.0), 3600.0)


def _until_next_month() -> float:
    now = datetime.now(UTC)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = first.replace(year=now.year + (now.month == 12), month=now.month % 12 + 1)
    return (following - now).total_seconds()


def _error(fault: Fault | None, policy: _Policy | None, *, status: int = 200, request_id: str = "") -> CausewayError:
    told = fault.errors if fault else ()
    asked_for = f" (intuit_tid {request_id})" if request_id else ""  # what Intuit's support asks for
    facts: dict[str, Any] = {
        "provider": PROVIDER,
        "provider_code": _provider_code(told, policy, status),
        "provider_type": scrub(fault.type)[:64] if fault else "",
        "request_id": scrub(request_id),
        "operator_detail": scrub(_summary(told, status))[:1000] + asked_for,
        "extra": {"errors": [_shown(error) for error in told]} if told else {},
    }
    if policy is None:
        return ProviderError(**facts)
    facts["extra"] |= policy.extra
    if issubclass(policy.kind, errors.RejectedRecord):
        facts["fields"] = _fields(told)
    made = policy.kind(
        policy.detail,
        code=policy.code,
        remediation=policy.remediation,
        retry_after_s=policy.retry_after_s,
        **facts,
    )
    if isinstance(made, errors.DuplicateRecord):
        made.existing_id, made.existing_entity = _existing(told)
    return made


def _provider_code(told: tuple[FaultError, ...], policy: _Policy | None, status: int) -> str:
    """The code of the error that speaks, or the status of an answer without one."""
    leading = next((error for error in told if TABLE.get(error.code) is policy), told[0] if told else None)
    return scrub(leading.code)[:64] if leading and leading.code else f"HTTP_{status}"


def _summary(told: tuple[FaultError, ...], status: int) -> str:
    if not told:
        return f"HTTP {status} without a fault"
    return "; ".join(f"{error.code} {error.element} {error.told}".replace("  ", " ") for error in told)


def _shown(error: FaultError) -> dict[str, str]:
    return {"code": scrub(error.code)[:64], "field": scrub(error.element)[:200], "told": scrub(error.told)[:500]}


def _fields(told: tuple[FaultError, ...]) -> dict[str, list[str]]:
    """By field, as problems have them; "" for what is not about one field."""
    found: dict[str, list[str]] = {}
    for error in told:
        found.setdefault(scrub(error.element)[:200], []).append(scrub(error.told)[:500])
    return found


def _existing(told: tuple[FaultError, ...]) -> tuple[str, str]:
    """(id, kind) of the record that is in the way, where QuickBooks tells."""
    for error in told:
        if found := _EXISTING.search(error.detail):
            kind = _EXISTING_KIND.search(error.detail)
            return found[1], kind[1] if kind else ""
    return "", ""
