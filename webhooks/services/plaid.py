"""Plaid's webhooks: what each kind does. The table is that of docs/explanation/webhooks.md.

A webhook says that something changed, not what: most of them only have the bank read again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection as database
from django.db.models import Q
from django.utils import timezone

from connections.errors import NeedsReauth, PermanentError
from connections.models import Account, Connection, PlaidItem, PlaidLink, RetiredPlaidItem
from connections.models.connection import Status
from connections.providers.base import Json
from connections.providers.plaid import records
from connections.providers.plaid.errors import classify_error
from connections.providers.plaid.webhooks import parse
from connections.services import plaid_links, plaid_news
from connections.waking import wake
from webhooks.inbox import ALWAYS, DISABLED, MARKS
from webhooks.models import WebhookEvent
from webhooks.services.outcomes import Outcome, ignored, processed, waits

REMATCH_EVERY = timedelta(seconds=2)
REMATCH_LATER_EVERY = timedelta(seconds=20)
NOTHING = "Nothing is done about this kind of webhook."
_CLOSED = (Status.DISCONNECTING, Status.DISCONNECTED)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who an event is about, locked: the connection, and its Item."""

    connection: Connection
    item: PlaidItem


def event_handle(event: WebhookEvent) -> Outcome:
    """Do what this kind of webhook asks for; within the caller's transaction, and harmless when it is done again.

    Sets the event's workspace and connection, where they are known now.
    """
    if event.event_type == "LINK":
        return _link(event)
    found = _item_of(event)
    if found is None:
        return _unmatched(event)
    if event.code == "USER_ACCOUNT_REVOKED" and not _accounts_locked(found):
        return waits("Its accounts are being written right now.", REMATCH_EVERY)
    subject = _locked(event, found)
    if not subject.connection.workspace.webhooks_enabled:
        return ignored(DISABLED)
    if subject.connection.status in _CLOSED or subject.item.removed_at:
        return ignored("The connection is disconnected.")
    handler = _HANDLERS.get((event.event_type, event.code))
    outcome = handler(event, subject, _payload(event)) if handler else ignored(NOTHING)
    if subject.item.last_webhook_at is None:
        PlaidItem.objects.filter(pk=subject.item.pk).update(last_webhook_at=event.received_at)
    return outcome


# --- who it is about ---
def _item_of(event: WebhookEvent) -> PlaidItem | None:
    same = Q(connection__environment=event.environment) if event.environment else Q()
    return PlaidItem.objects.filter(same, item_id=event.item_id).first() if event.item_id else None


def _unmatched(event: WebhookEvent) -> Outcome:
    """News may overtake the exchange that makes an Item ours, so it waits for a while."""
    if not event.item_id:
        return ignored("It names no Item.")
    if RetiredPlaidItem.objects.filter(item_id=event.item_id).exists():
        return ignored("The Item was replaced by another one.")
    if not event.may_still_match:
        return ignored("No connection has this Item.")
    age = timezone.now() - event.received_at
    return waits("Waits for its Item.", REMATCH_EVERY if age < timedelta(minutes=1) else REMATCH_LATER_EVERY)


def _accounts_locked(item: PlaidItem) -> bool:
    """Accounts are locked before connections. A merge may hold them for long, so this does not queue behind it."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [f"accounts:{item.pk}"])
        is_free = cursor.fetchone()[0]
    if is_free:
        list(Account.objects.filter(connection_id=item.connection_id).order_by("pk").select_for_update(no_key=True))
    return is_free


def _locked(event: WebhookEvent, found: PlaidItem) -> Subject:
    connection = Connection.objects.select_for_update(no_key=True).get(pk=found.connection_id)
    item = PlaidItem.objects.select_for_update(no_key=True).get(pk=found.pk)
    event.workspace_id, event.connection_id = connection.workspace_id, connection.pk
    return Subject(connection, item)


def _payload(event: WebhookEvent) -> Json:
    return parse(bytes(event.body)).payload or {}


# --- TRANSACTIONS ---
def _updates(event: WebhookEvent, subject: Subject, _payload: Json) -> Outcome:
    """The Item was marked as the webhook came in; here only where it was unknown or held by somebody then."""
    if MARKS[event.event_type, event.code] != ALWAYS and subject.item.last_synced_at is not None:
        return ignored("Synced already: SYNC_UPDATES_AVAILABLE tells the same.")
    if event.is_marked:
        return processed("A sync is due since it came in.")
    return processed(plaid_news.item_mark_dirty(subject.connection, subject.item))


def _recurring(event: WebhookEvent, subject: Subject, _payload: Json) -> Outcome:
    return processed(plaid_news.recurring_changed(subject.item, told_at=event.received_at))


def _removed(_event: WebhookEvent, _subject: Subject, _payload: Json) -> Outcome:
    return ignored("A sync delivers what was removed.")


# --- ITEM ---
def _error(event: WebhookEvent, subject: Subject, payload: Json) -> Outcome:
    """What needs a person, or cannot be mended, is believed at once; anything else the next sync finds out for itself."""
    found = payload.get("error")
    error = classify_error(found if isinstance(found, dict) else {})
    if isinstance(error, NeedsReauth | PermanentError):
        note = plaid_news.item_failed(subject.connection, subject.item, error, told_at=event.received_at)
        return processed(note)
    plaid_news.item_mark_dirty(subject.connection, subject.item)
    return processed(f"{error.provider_code or 'Unknown error'}: left to the next sync.")


def _repaired(event: WebhookEvent, subject: Subject, _payload: Json) -> Outcome:
    return processed(plaid_news.item_repaired(subject.connection, subject.item, told_at=event.received_at))


def _consent_ends(event: WebhookEvent, subject: Subject, payload: Json) -> Outcome:
    ends_at = records.instant(payload.get("consent_expiration_time")) or records.instant(payload.get("disconnect_time"))
    note = plaid_news.consent_ending(subject.connection, subject.item, ends_at=ends_at, told_at=event.received_at)
    return processed(note)


def _revoked(event: WebhookEvent, subject: Subject, _payload: Json) -> Outcome:
    note = plaid_news.permission_revoked(
        subject.connection, subject.item, provider_code=event.code, told_at=event.received_at
    )
    return processed(note)


def _account_revoked(event: WebhookEvent, subject: Subject, payload: Json) -> Outcome:
    account_id = records.identifier(payload.get("account_id"))
    note = plaid_news.account_revoked(
        subject.connection, subject.item, plaid_account_id=account_id, told_at=event.received_at
    )
    return processed(note)


def _new_accounts(event: WebhookEvent, subject: Subject, _payload: Json) -> Outcome:
    return processed(plaid_news.accounts_offered(subject.connection, subject.item, told_at=event.received_at))


def _address_confirmed(event: WebhookEvent, subject: Subject, payload: Json) -> Outcome:
    if isinstance(payload.get("error"), dict):
        return processed("Plaid reports an error with the address, which has received this nevertheless.")
    url = payload.get("new_webhook_url")
    note = plaid_news.webhook_confirmed(
        subject.item, url=url if isinstance(url, str) else "", told_at=event.received_at
    )
    return processed(note)


_HANDLERS: dict[tuple[str, str], Callable[[WebhookEvent, Subject, Json], Outcome]] = {
    **dict.fromkeys(MARKS, _updates),
    ("TRANSACTIONS", "RECURRING_TRANSACTIONS_UPDATE"): _recurring,
    ("TRANSACTIONS", "TRANSACTIONS_REMOVED"): _removed,
    ("ITEM", "ERROR"): _error,
    ("ITEM", "LOGIN_REPAIRED"): _repaired,
    ("ITEM", "PENDING_EXPIRATION"): _consent_ends,
    ("ITEM", "PENDING_DISCONNECT"): _consent_ends,
    ("ITEM", "USER_PERMISSION_REVOKED"): _revoked,
    ("ITEM", "USER_ACCOUNT_REVOKED"): _account_revoked,
    ("ITEM", "NEW_ACCOUNTS_AVAILABLE"): _new_accounts,
    ("ITEM", "WEBHOOK_UPDATE_ACKNOWLEDGED"): _address_confirmed,
}


# --- LINK ---
def _link(event: WebhookEvent) -> Outcome:
    """A Hosted Link session ended: its result is fetched at once instead of at the next poll."""
    if event.code != "SESSION_FINISHED":
        return ignored(NOTHING)
    link = PlaidLink.objects.select_related("workspace").filter(digest=event.link_digest).first()
    if link is None:
        return ignored("No Link session of ours.")
    event.workspace_id, event.connection_id = link.workspace_id, link.connection_id
    if not link.workspace.webhooks_enabled:
        return ignored(DISABLED)
    if not plaid_links.link_hint(digest=link.digest):
        return processed("The session had ended already.")
    wake("sync.tasks.poll_links")
    return processed("The session is looked at now.")
