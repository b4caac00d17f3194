"""What becomes of a kept webhook: claimed under a lease, handled once, its end fenced.

A handler changes rows and nothing else; its changes and the event's end are one transaction. The order of locks is
accounts, connection, Item, event.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import orjson
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from config import correlation
from config.logs import HIDDEN, scrub
from connections.errors import NeedsReauth, PermanentError
from connections.models import Account, Connection, PlaidItem, PlaidItemAccount, PlaidLink
from connections.models.connection import Status
from connections.providers.base import Json
from connections.providers.plaid import records
from connections.providers.plaid.errors import classify_error
from connections.providers.plaid.webhooks import parse
from connections.services import lifecycle, plaid_links
from connections.services.accounts import accounts_lock
from connections.services.plaid_items import relink_completed
from connections.waking import wake
from webhooks.inbox import ALWAYS, DISABLED, MARKS
from webhooks.models import WebhookEvent

log = structlog.get_logger(__name__)

Outcome = WebhookEvent.Status
MAX_ATTEMPTS = 8
REMATCH_EVERY = timedelta(seconds=2)
REMATCH_LATER_EVERY = timedelta(seconds=20)
NOTICE = timedelta(days=7)  # what Plaid gives where it does not say when a consent ends
_CLOSED = (Status.DISCONNECTING, Status.DISCONNECTED)


class EventChanged(Exception):
    """Between claim and end another worker took over, or the same message came again: roll back, look again."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who an event is about, locked: the connection, and its Item."""

    connection: Connection
    item: PlaidItem


def events_due(*, limit: int = 200) -> list[UUID]:
    """Events that wait and that nobody holds, oldest first. One indexed query."""
    due = WebhookEvent.objects.filter(status=Outcome.RECEIVED, next_attempt_at__lte=timezone.now())
    return list(due.order_by("next_attempt_at").values_list("pk", flat=True)[:limit])


def event_process(event_id: UUID) -> bool:
    """Handle one event, if it waits and is free. False: there was nothing to do. A second call at the same time does nothing.

    What the handler raises goes to the caller, with the lease still held: `event_failed` says what happens next.
    """
    event = _claim(event_id)
    if event is None:
        return False
    with correlation.bound(event.correlation_id or None):
        try:
            _handle(event)
        except EventChanged:
            _release(event)
    return True


def event_failed(event_id: UUID, error: Exception) -> None:
    """Processing raised: back off, and after too many attempts give up and say why."""
    event = WebhookEvent.objects.get(pk=event_id)
    gives_up = event.attempts >= MAX_ATTEMPTS
    log.error("webhook_failed", event_id=str(event_id), attempts=event.attempts, gives_up=gives_up, exc_info=error)
    WebhookEvent.objects.filter(pk=event_id, status=Outcome.RECEIVED, lease_token=event.lease_token).update(
        status=Outcome.FAILED if gives_up else Outcome.RECEIVED,
        error=scrub(f"{type(error).__name__}: {error}")[:2_000],
        next_attempt_at=timezone.now() + timedelta(seconds=lifecycle.backoff_s(max(1, event.attempts))),
        processed_at=timezone.now() if gives_up else None,
        lease_token=None,
        **(_without_tokens(event) if gives_up else {}),
    )


# --- claim and end ---
def _claim(event_id: UUID) -> WebhookEvent | None:
    now, token = timezone.now(), uuid4()
    free = WebhookEvent.objects.filter(pk=event_id, status=Outcome.RECEIVED, next_attempt_at__lte=now)
    leased = {"lease_token": token, "next_attempt_at": now + timedelta(seconds=settings.LEASE_S)}
    if not free.update(attempts=F("attempts") + 1, **leased):
        return None
    return WebhookEvent.objects.filter(pk=event_id, lease_token=token).first()


@transaction.atomic
def _handle(event: WebhookEvent) -> None:
    if event.event_type == "LINK":
        outcome, why = _link_finished(event)
    elif (subject := _subject(event)) is not None:
        outcome, why = _handle_item(event, subject)
    elif event.item_id and event.may_still_match:
        age = timezone.now() - event.received_at
        wait = REMATCH_EVERY if age < timedelta(minutes=1) else REMATCH_LATER_EVERY
        _end(event, Outcome.RECEIVED, "Waits for its Item.", next_attempt_at=timezone.now() + wait, attempts=0)
        return
    else:
        outcome, why = Outcome.IGNORED, "No connection has this Item." if event.item_id else "It names no Item."
    _end(event, outcome, why, processed_at=timezone.now(), **_without_tokens(event))


def _end(event: WebhookEvent, status: Outcome, why: str, **fields: object) -> None:
    """The last statement of the work, conditional on the claim and on no delivery since. Raises EventChanged."""
    mine = WebhookEvent.objects.filter(
        pk=event.pk, lease_token=event.lease_token, status=Outcome.RECEIVED, deliveries=event.deliveries
    )
    matched = {"workspace_id": event.workspace_id, "connection_id": event.connection_id}
    if not mine.update(status=status, error=why, lease_token=None, **matched, **fields):
        raise EventChanged
    log.info("webhook_ended", event_id=str(event.pk), code=f"{event.event_type}.{event.code}", status=status, why=why)


def _without_tokens(event: WebhookEvent) -> dict[str, object]:
    """Link's messages carry tokens that still open something; once nobody needs them, the row forgets them."""
    return {"body": orjson.dumps(event.payload)} if event.event_type == "LINK" else {}


def _release(event: WebhookEvent) -> None:
    held = WebhookEvent.objects.filter(pk=event.pk, lease_token=event.lease_token, status=Outcome.RECEIVED)
    held.update(next_attempt_at=timezone.now(), lease_token=None)


def _subject(event: WebhookEvent) -> Subject | None:
    """The event's connection and Item, both locked; matched now, where they were not known as it came in."""
    same = Q(connection__environment=event.environment) if event.environment else Q()
    found = PlaidItem.objects.filter(same, item_id=event.item_id).first() if event.item_id else None
    if found is None:
        return None
    if (event.event_type, event.code) == ("ITEM", "USER_ACCOUNT_REVOKED"):  # accounts are locked before connections
        accounts_lock(found.pk)
        list(_revoked_accounts(found, _payload(event)).select_for_update(no_key=True))
    connection = Connection.objects.select_for_update(no_key=True).get(pk=found.connection_id)
    item = PlaidItem.objects.select_for_update(no_key=True).get(pk=found.pk)
    event.workspace_id, event.connection_id = connection.workspace_id, connection.pk
    return Subject(connection, item)


# --- Items ---
def _handle_item(event: WebhookEvent, subject: Subject) -> tuple[Outcome, str]:
    if not subject.connection.workspace.webhooks_enabled:
        return Outcome.IGNORED, DISABLED
    if subject.connection.status in _CLOSED or subject.item.removed_at:
        return Outcome.IGNORED, "The connection is disconnected."
    handler = _HANDLERS.get((event.event_type, event.code))
    if event.event_type == "TRANSACTIONS":
        handler = _transactions
    if handler is None:
        return Outcome.IGNORED, "Nothing is done about this kind of webhook."
    why = handler(event, subject, _payload(event))
    if subject.item.last_webhook_at is None:
        PlaidItem.objects.filter(pk=subject.item.pk).update(last_webhook_at=event.received_at)
    return Outcome.PROCESSED, why


def _payload(event: WebhookEvent) -> Json:
    """As it came: the column shows it without its tokens."""
    return parse(bytes(event.body)).payload or {}


def _transactions(event: WebhookEvent, subject: Subject, _payload: Json) -> str:
    """The Item was marked as the webhook came in; here only where it was unknown or held by somebody then."""
    marks = MARKS.get((event.event_type, event.code))
    if not event.is_marked and (marks == ALWAYS or (marks and subject.item.last_synced_at is None)):
        _mark_dirty(subject)
    return ""


def _mark_dirty(subject: Subject) -> None:
    PlaidItem.objects.filter(pk=subject.item.pk).update(dirty_seq=F("dirty_seq") + 1, offered_until=None)
    if lifecycle.clear_backoff(subject.connection):
        subject.connection.save(update_fields=["next_attempt_at", "wait_reason", "updated_at"])
    wake("sync.tasks.dispatch")


def _item_error(event: WebhookEvent, subject: Subject, payload: Json) -> str:
    """What needs a person, or cannot be mended, is believed at once; anything else the next sync finds out for itself."""
    found = payload.get("error")
    error = classify_error(found if isinstance(found, dict) else {})
    if not isinstance(error, NeedsReauth | PermanentError):
        _mark_dirty(subject)
        return f"{error.provider_code or 'Unknown error'}: left to the next sync."
    return _stop(event, subject, error)


def _permission_revoked(event: WebhookEvent, subject: Subject, _payload: Json) -> str:
    detail = "the person withdrew the access at Plaid or the bank"
    error = PermanentError(code="bank_revoked", provider="plaid", provider_code=event.code, operator_detail=detail)
    return _stop(event, subject, error)


def _stop(event: WebhookEvent, subject: Subject, error: NeedsReauth | PermanentError) -> str:
    connection, item = subject.connection, subject.item
    if connection.last_sync_at and connection.last_sync_at > event.received_at:
        return "A sync went through since."
    lifecycle.record_failure(connection, error)
    connection.save()
    if isinstance(error, NeedsReauth):
        item.reauth_needed_at = item.reauth_needed_at or timezone.now()
    item.last_sync_error = scrub(error.operator_detail)
    item.save(update_fields=["reauth_needed_at", "last_sync_error"])
    return ""


def _login_repaired(_event: WebhookEvent, subject: Subject, _payload: Json) -> str:
    relink_completed(connection=subject.connection)
    return ""


def _consent_ends(_event: WebhookEvent, subject: Subject, payload: Json) -> str:
    """The access ends soon unless the person signs in again: when, is shown with the connection."""
    ends_at = records.instant(payload.get("consent_expiration_time")) or records.instant(payload.get("disconnect_time"))
    ends_at = ends_at or timezone.now() + NOTICE
    PlaidItem.objects.filter(pk=subject.item.pk).update(consent_expires_at=ends_at)
    subject.connection.reauth_due_at = ends_at
    subject.connection.save(update_fields=["reauth_due_at", "updated_at"])
    return ""


def _account_revoked(_event: WebhookEvent, subject: Subject, payload: Json) -> str:
    """That account is no longer shared; a sync reads what still is."""
    gone = _revoked_accounts(subject.item, payload).filter(status=Account.Status.ACTIVE)
    gone.update(status=Account.Status.MISSING, updated_at=timezone.now())
    return _new_accounts(_event, subject, payload)


def _revoked_accounts(item: PlaidItem, payload: Json) -> QuerySet[Account]:
    meant = PlaidItemAccount.objects.filter(
        item=item, plaid_account_id=records.identifier(payload.get("account_id")), replaced_at=None
    )
    return Account.objects.filter(pk__in=list(meant.values_list("account_id", flat=True)))


def _new_accounts(_event: WebhookEvent, subject: Subject, _payload: Json) -> str:
    """What the bank shares has changed: the next sync reads the accounts again."""
    PlaidItem.objects.filter(pk=subject.item.pk).update(details_at=None)
    _mark_dirty(subject)
    return ""


def _noted(_event: WebhookEvent, _subject: Subject, _payload: Json) -> str:
    return ""


_HANDLERS: dict[tuple[str, str], Callable[[WebhookEvent, Subject, Json], str]] = {
    ("ITEM", "ERROR"): _item_error,
    ("ITEM", "LOGIN_REPAIRED"): _login_repaired,
    ("ITEM", "PENDING_EXPIRATION"): _consent_ends,
    ("ITEM", "PENDING_DISCONNECT"): _consent_ends,
    ("ITEM", "USER_PERMISSION_REVOKED"): _permission_revoked,
    ("ITEM", "USER_ACCOUNT_REVOKED"): _account_revoked,
    ("ITEM", "NEW_ACCOUNTS_AVAILABLE"): _new_accounts,
    ("ITEM", "WEBHOOK_UPDATE_ACKNOWLEDGED"): _noted,
}


# --- Link ---
def _link_finished(event: WebhookEvent) -> tuple[Outcome, str]:
    """A Hosted Link session ended: its result is fetched at once instead of at the next poll."""
    if event.code != "SESSION_FINISHED":
        return Outcome.IGNORED, "Nothing is done about this kind of webhook."
    token = str(_payload(event).get("link_token") or "")
    if token == HIDDEN:
        return Outcome.PROCESSED, "It came again; its tokens are erased since the first time."
    link = PlaidLink.objects.select_related("workspace").filter(digest=plaid_links.digest(token)).first()
    if link is None:
        return Outcome.IGNORED, "No Link session of ours."
    event.workspace_id, event.connection_id = link.workspace_id, link.connection_id
    if not link.workspace.webhooks_enabled:
        return Outcome.IGNORED, DISABLED
    if plaid_links.link_hint(link_token=token):
        wake("sync.tasks.poll_links")
    return Outcome.PROCESSED, ""
