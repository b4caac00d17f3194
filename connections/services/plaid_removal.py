"""Removing Items at Plaid, those of connections that end and those that a re-link left behind: billed until then."""

from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.audit import Action
from connections.errors import CausewayError, Conflict, RequestError
from connections.events import EventType, event_record
from connections.models import Connection, PlaidItem, RetiredPlaidItem, User
from connections.models.connection import CLOSED, Status
from connections.providers.plaid.client import PlaidClient
from connections.services import lifecycle
from connections.services.audit import security_event_record
from connections.services.disconnecting import disconnect_finish
from connections.services.plaid_items import credential_of
from connections.services.provider_pauses import environments_at_rest, provider_pause

log = structlog.get_logger(__name__)

FAILURES_UNTIL_TOLD = 3
# Nothing is left to remove. INVALID_ACCESS_TOKEN is not among them: it can also mean that we ask the wrong way.
_GONE = ("ITEM_NOT_FOUND", "ITEM_CONCURRENTLY_DELETED", "USER_PERMISSION_REVOKED")
# The Item of a connection that ends is opened by that connection's credential, one left behind by its own token.
_HAS_TOKEN = Q(ciphertext__isnull=False) | Q(
    connection__status=Status.DISCONNECTING, connection__plaid_item__item_id=F("item_id")
)


def retired_items_remove(*, limit: int = 5) -> int:
    """Ask Plaid to remove what is due; what fails is tried again later, for as long as it takes. Returns how many are gone.

    One that has no token left is not due: only a person can remove it, on Plaid's dashboard.
    """
    due = _pending().filter(_HAS_TOKEN, next_attempt_at__lte=timezone.now())
    due = due.exclude(environment__in=environments_at_rest())
    return sum(_remove(pk) for pk in due.order_by("next_attempt_at").values_list("pk", flat=True)[:limit])


def _pending() -> QuerySet[RetiredPlaidItem]:
    return RetiredPlaidItem.objects.filter(status=RetiredPlaidItem.Status.PENDING)


def _remove(retired_id: UUID) -> bool:
    """One of them, if nobody else is at it. No transaction is open over the call."""
    now = timezone.now()
    pending = _pending().filter(pk=retired_id)
    lease = now + timedelta(seconds=settings.PLAID_TIMEOUT_S + settings.LEASE_S)
    due = pending.filter(next_attempt_at__lte=now).exclude(environment__in=environments_at_rest())
    if not due.update(next_attempt_at=lease, attempts=F("attempts") + 1):
        return False
    retired = RetiredPlaidItem.objects.select_related("connection").get(pk=retired_id)
    with correlation.bound(retired.correlation_id or None):
        try:
            _ask(retired)
        except Exception as error:  # one that cannot be removed must not keep the others
            log.exception("retired_item_not_removed", item=retired.item_id, attempts=retired.attempts)
            if isinstance(error, CausewayError) and error.is_service_wide:
                _rests(retired, error)
            else:
                _failed(retired, error)
            return False
        log.info("retired_item_removed", item=retired.item_id, attempts=retired.attempts)
        return _gone(retired)


def _ask(retired: RetiredPlaidItem) -> None:
    """Done where this returns."""
    linked = PlaidItem.objects.filter(item_id=retired.item_id, removed_at=None)
    if linked.exclude(connection__status__in=CLOSED).exists():
        return  # linked once more since: it is read, and must stay
    # The credential as it is now: a rotation may have replaced it since the removal was asked for.
    access_token = retired.reveal() if retired.key_id else credential_of(retired.connection).reveal()
    try:
        PlaidClient(retired.environment, item_key=retired.item_id).item_remove(access_token)
    except CausewayError as error:
        if error.provider_code not in _GONE:
            raise


@transaction.atomic
def _gone(retired: RetiredPlaidItem) -> bool:
    """Its token is destroyed, and with the last one its connection ends. False: somebody claimed it since."""
    Connection.objects.select_for_update(no_key=True).get(pk=retired.connection_id)
    mine = _pending().filter(pk=retired.pk, attempts=retired.attempts)  # whoever claims it later counts on
    done = {"status": RetiredPlaidItem.Status.REMOVED, "removed_at": timezone.now()}
    if not mine.update(ciphertext=None, key_id="", last_error="", **done):
        return False
    told = {"item_id": retired.item_id, "attempts": retired.attempts}
    event_record(EventType.ITEM_REMOVED, connection_id=retired.connection_id, payload=told)
    disconnect_finish(retired.connection_id)
    return True


@transaction.atomic
def _rests(retired: RetiredPlaidItem, error: CausewayError) -> None:
    """Nobody gets through, so this is no trouble of this Item's: it is asked for again as soon as somebody does."""
    provider_pause(error, environment=retired.environment)
    said = scrub(error.operator_detail or error.detail)[:2_000]
    mine = _pending().filter(pk=retired.pk, attempts=retired.attempts)
    mine.update(next_attempt_at=timezone.now(), last_error=said)


@transaction.atomic
def _failed(retired: RetiredPlaidItem, error: Exception) -> None:
    """Try later, say so with the connection that cannot end, and from the third time on tell whoever listens."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=retired.connection_id)
    known = (
        error if isinstance(error, CausewayError) else CausewayError(operator_detail=f"{type(error).__name__}: {error}")
    )
    said = scrub(known.operator_detail or known.detail)[:2_000]
    wait_s = max(known.retry_after_s or 0, lifecycle.backoff_s(retired.attempts))
    next_attempt_at = timezone.now() + timedelta(seconds=wait_s)
    mine = _pending().filter(pk=retired.pk, attempts=retired.attempts)
    if not mine.update(next_attempt_at=next_attempt_at, last_error=said):
        return
    if connection.status == Status.DISCONNECTING:
        connection.failure_count, connection.next_attempt_at = retired.attempts, next_attempt_at
        connection.error_code, connection.error_detail = known.code, said
        connection.error_correlation_id, connection.error_at = correlation.current(), timezone.now()
        connection.save()
    if retired.attempts >= FAILURES_UNTIL_TOLD:
        told = {"item_id": retired.item_id, "code": known.code, "attempts": retired.attempts}
        told |= {"status": connection.status, "next_attempt_at": next_attempt_at}
        event_record(EventType.REMOVAL_FAILED, connection_id=connection.pk, payload=told)


@transaction.atomic
def retired_item_settle(*, retired_id: UUID, reason: str, actor: User) -> RetiredPlaidItem:
    """A person removed it on Plaid's dashboard, since we could not: believed, with their name on record.

    Raises Conflict where it is removed already.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise RequestError("Say how you know that it is removed.", fields={"reason": ["This field is required."]})
    found = RetiredPlaidItem.objects.get(pk=retired_id)
    Connection.objects.select_for_update(no_key=True).get(pk=found.connection_id)
    done = {"status": RetiredPlaidItem.Status.REMOVED, "removed_at": timezone.now()}
    said = scrub(f"Removed by hand, says {actor.get_username()}: {reason}")[:2_000]
    if not _pending().filter(pk=retired_id).update(ciphertext=None, key_id="", last_error=said, **done):
        raise Conflict("This Item is removed already.")
    security_event_record(
        Action.ITEM_SETTLED, actor=actor, workspace_id=found.workspace_id, subject=found, item_id=found.item_id
    )
    told = {"item_id": found.item_id, "attempts": found.attempts, "by": actor.get_username()}
    event_record(EventType.ITEM_REMOVED, connection_id=found.connection_id, payload=told)
    disconnect_finish(found.connection_id)
    return RetiredPlaidItem.objects.get(pk=retired_id)
