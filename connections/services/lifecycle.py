"""A connection's status, one machine for all providers: the table of DESIGN §3, and the only place that moves it."""

from datetime import timedelta
from enum import StrEnum
from random import uniform

import structlog
from django.conf import settings
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.errors import (
    CausewayError,
    Conflict,
    Misconfigured,
    NeedsReauth,
    PermanentError,
    RateLimited,
    TemporaryError,
)
from connections.events import EventType, event_record
from connections.models import Connection, ProviderPause
from connections.models.connection import Status, Wait

log = structlog.get_logger(__name__)

FAILURES_UNTIL_FAILED = 3
LONGEST_SPREAD_S = 3600
BANK_OUTAGE_PATIENCE = timedelta(hours=24)


class Event(StrEnum):
    VERIFIED = "verified"
    VERIFICATION_FAILED = "verification_failed"
    ACTIVATED = "activated"
    REAUTH_NEEDED = "reauth_needed"
    FAILED = "failed"
    RECOVERED = "recovered"
    PAUSED = "paused"
    RESUMED = "resumed"
    DORMANT = "dormant"
    USED = "used"
    RECONFIGURED = "reconfigured"
    DISCONNECTING = "disconnecting"
    DISCONNECTED = "disconnected"


_ALIVE = (Status.ACTIVE, Status.FAILED, Status.NEEDS_REAUTH)
TRANSITIONS: dict[Event, tuple[tuple[Status, ...], Status]] = {
    Event.VERIFIED: ((Status.DRAFT,), Status.VERIFIED),
    Event.VERIFICATION_FAILED: ((Status.DRAFT, Status.VERIFIED), Status.DRAFT),
    Event.ACTIVATED: ((Status.VERIFIED,), Status.ACTIVE),
    # What is about to be removed fails by nature: trouble does not end its notice, only use does, and a sync is one.
    Event.REAUTH_NEEDED: ((Status.ACTIVE, Status.FAILED), Status.NEEDS_REAUTH),
    Event.FAILED: ((Status.ACTIVE,), Status.FAILED),
    Event.RECOVERED: ((Status.NEEDS_REAUTH, Status.FAILED, Status.PENDING_CLEANUP), Status.ACTIVE),
    Event.PAUSED: (_ALIVE, Status.PAUSED),
    Event.RESUMED: ((Status.PAUSED,), Status.ACTIVE),
    Event.DORMANT: (_ALIVE, Status.PENDING_CLEANUP),
    Event.USED: ((Status.PENDING_CLEANUP,), Status.ACTIVE),
    Event.RECONFIGURED: ((Status.VERIFIED, Status.PAUSED, *_ALIVE), Status.DRAFT),
    Event.DISCONNECTING: (
        tuple(status for status in Status if status not in (Status.DISCONNECTING, Status.DISCONNECTED)),
        Status.DISCONNECTING,
    ),
    Event.DISCONNECTED: ((Status.DISCONNECTING,), Status.DISCONNECTED),
}


# Where a connection arrives, and what is told of it.
_TOLD = {
    Status.ACTIVE: EventType.CONNECTION_ACTIVATED,
    Status.NEEDS_REAUTH: EventType.REAUTH_REQUIRED,
    Status.DISCONNECTED: EventType.CONNECTION_DISCONNECTED,
}


def apply(connection: Connection, event: Event, *, reason: str = "") -> bool:
    """Move the connection (locked by the caller, not saved here) where the table says. False: the event changes nothing.

    Writes the domain event of it, so a stored connection is moved in a transaction.
    """
    sources, target = TRANSITIONS[event]
    if connection.status not in sources:
        return False
    if target in _TOLD and not connection._state.adding:
        told = {"was": connection.status, "reason": reason[:300], "code": connection.error_code}
        event_record(_TOLD[target], connection_id=connection.pk, payload=told)
    log.info(
        "connection_status",
        connection=str(connection.pk),
        was=connection.status,
        now=target.value,
        event_name=event.value,
    )
    connection.status, connection.status_reason = target, reason[:300]
    return True


def success_assignments() -> str:
    """The SET clause of a sync that went through: active again where it was not, every trace of trouble cleared.

    SQL, because it is part of the one statement that ends a run; the transition comes from the table above.
    """
    target = TRANSITIONS[Event.RECOVERED][1]
    return (
        f"status = CASE WHEN {recovering()} THEN '{target.value}' ELSE status END, "
        f"status_reason = CASE WHEN {recovering()} THEN '' ELSE status_reason END, "
        "last_sync_at = now(), updated_at = now(), failure_count = 0, failing_since = NULL, "
        "next_attempt_at = NULL, wait_reason = '', error_code = '', error_detail = '', error_correlation_id = '', error_at = NULL"
    )


def recovering() -> str:
    """The condition, in SQL, that a sync which goes through makes this connection active again."""
    return "status IN (" + ", ".join(f"'{status.value}'" for status in TRANSITIONS[Event.RECOVERED][0]) + ")"


def record_failure(connection: Connection, error: CausewayError) -> None:
    """A sync failed: the class of the error is the policy (style §5). The caller holds the row and saves it.

    Rate limits and our own misconfiguration wait without counting as failures; whatever needs a person stops; the
    rest backs off exponentially, and is failed at the third failure in a row or the first permanent one. A failed
    connection is still tried: where the provider is away, as soon as that may be over; else every BACKOFF_MAX_S.
    """
    if isinstance(error, RateLimited):
        wait_s = error.retry_after_s or settings.RATE_LIMIT_WAIT_S
        if not error.provider_code:
            _wait(connection, Wait.RATE_LIMIT, wait_s)
            return  # our own pacing: nothing is wrong
        # All banks of a client meet its limit together; they must not come back together. Never sooner than told, nor
        # much later: the wait may be for the next month.
        _wait(connection, Wait.RATE_LIMIT, wait_s + uniform(0, min(wait_s * 0.2, LONGEST_SPREAD_S)))  # noqa: S311
    connection.error_code, connection.error_at = error.code, timezone.now()
    connection.error_detail = scrub(error.operator_detail or str(error))
    connection.error_correlation_id = correlation.current()
    if isinstance(error, RateLimited):
        return
    if isinstance(error, Misconfigured):
        _wait(connection, Wait.CONFIGURATION, min(settings.BACKOFF_MAX_S, settings.BACKOFF_BASE_S * 10))
        return
    if isinstance(error, NeedsReauth) and connection.status == Status.PENDING_CLEANUP:
        _wait(connection, Wait.BACKOFF, settings.BACKOFF_MAX_S)  # still tried: it may be repaired in time
        return
    if isinstance(error, NeedsReauth):
        apply(connection, Event.REAUTH_NEEDED, reason=error.detail)
        connection.next_attempt_at, connection.wait_reason = None, Wait.NONE
        return
    connection.failing_since = connection.failing_since or timezone.now()
    connection.failure_count += 1
    base_s = max(error.retry_after_s or 0, settings.BACKOFF_BASE_S)
    wait_s = backoff_s(connection.failure_count, base_s=base_s, max_s=_longest_wait_s(error))
    if isinstance(error, PermanentError) or (
        connection.failure_count >= FAILURES_UNTIL_FAILED and not _is_patient_with(connection, error)
    ):
        apply(connection, Event.FAILED, reason=error.detail)
        if not isinstance(error, TemporaryError):
            wait_s = settings.BACKOFF_MAX_S
    _wait(connection, Wait.BACKOFF, wait_s)


def _wait(connection: Connection, reason: Wait, seconds: float) -> None:
    connection.wait_reason, connection.next_attempt_at = reason, timezone.now() + timedelta(seconds=seconds)


def _is_patient_with(connection: Connection, error: CausewayError) -> bool:
    """A bank that is down for hours is the bank's trouble: nobody is alarmed until syncs have failed for a day.

    When it was last read says nothing: one without news is read once a day.
    """
    since = connection.failing_since
    return error.code == "bank_unavailable" and since is not None and timezone.now() - since < BANK_OUTAGE_PATIENCE


def _longest_wait_s(error: CausewayError) -> float:
    """A provider that is away is back within minutes or hours, and then all its banks are late; a bank takes its time."""
    is_outage = isinstance(error, TemporaryError) and error.code != "bank_unavailable"
    return min(settings.BACKOFF_OUTAGE_MAX_S if is_outage else settings.BACKOFF_MAX_S, settings.BACKOFF_MAX_S)


def backoff_s(failures: int, *, base_s: float | None = None, max_s: float | None = None) -> float:
    """Exponential from base_s (BACKOFF_BASE_S), never more than max_s (BACKOFF_MAX_S).

    With jitter, also at the longest, so that many do not come back at once.
    """
    max_s = max_s or settings.BACKOFF_MAX_S
    jittered = (base_s or settings.BACKOFF_BASE_S) * 2 ** min(failures - 1, 20) * uniform(0.8, 1.2)  # noqa: S311
    return jittered if jittered < max_s else max_s * uniform(0.8, 1)  # noqa: S311 - jitter, not a secret


def clear_backoff(connection: Connection) -> bool:
    """News or a person's wish ends a back-off at once; waits that the provider imposed stay. True: something was cleared."""
    if connection.wait_reason != Wait.BACKOFF:
        return False
    connection.next_attempt_at, connection.wait_reason = None, Wait.NONE
    return True


def forget_troubles(connection: Connection) -> None:
    """Whatever was wrong, or is waited for, is over (not saved here). When the access ends is another matter."""
    connection.failure_count, connection.failing_since = 0, None
    connection.next_attempt_at, connection.wait_reason = None, Wait.NONE
    connection.error_code = connection.error_detail = connection.error_correlation_id = ""
    connection.error_at = None


def refuse_unless_syncable(connection: Connection) -> None:
    """Raise the Conflict that says why no sync can start now: paused, not active, reauth needed, or the provider's."""
    if connection.status == Status.PAUSED:
        raise Conflict(code="connection_paused")
    if connection.status == Status.NEEDS_REAUTH:
        code = connection.error_code if connection.error_code.startswith(("bank_", "access_")) else "reauth_required"
        raise Conflict(code=code)
    if not connection.is_syncable:
        raise Conflict(f"This connection is {connection.get_status_display().lower()}.", code="connection_not_active")
    at_rest = ProviderPause.objects.filter(provider=connection.provider, environment=connection.environment)
    if cause := at_rest.values_list("code", flat=True).first():
        raise Conflict(code=cause)
    refused = {
        Wait.RATE_LIMIT: "rate_limit_wait",
        Wait.CONFIGURATION: connection.error_code or "provider_misconfigured",
    }
    until, why = connection.next_attempt_at, refused.get(Wait(connection.wait_reason))
    if why and until and until > timezone.now():
        raise Conflict(code=why, extra={"next_attempt_at": until.isoformat()})
