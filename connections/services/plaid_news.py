"""What Plaid's webhooks say about a bank login, put down in its rows.

Every function here takes the connection and its Item as locked by the caller (accounts, connection, Item: in this
order), calls no provider, and changes nothing when the same news comes again. It returns one sentence: what was done,
or why nothing was. told_at: when the news came; what happened since counts more.
"""

from datetime import datetime, timedelta

from django.db.models import F
from django.utils import timezone

from config.logs import scrub
from connections.errors import CATALOGUE, AccessWithdrawn, NeedsReauth, PermanentError
from connections.events import EventType, event_record
from connections.models import Account, Connection, PlaidItem, PlaidItemAccount
from connections.services import lifecycle
from connections.services.plaid_items import item_retire, link_anew_if_repeated, readable_token, relink_completed
from connections.waking import wake

NOTICE = timedelta(days=7)  # what Plaid gives where it does not say when a consent ends
OUT_OF_ORDER = timedelta(minutes=5)  # webhooks overtake each other, and a sync that was under way may fail late


def item_mark_dirty(connection: Connection, item: PlaidItem) -> str:
    """The bank has news: a sync is due, and a back-off ends. A wait that the provider imposed stays."""
    PlaidItem.objects.filter(pk=item.pk).update(dirty_seq=F("dirty_seq") + 1, offered_until=None)
    if lifecycle.clear_backoff(connection):
        connection.save(update_fields=["next_attempt_at", "wait_reason", "updated_at"])
    wake("sync.tasks.dispatch")
    return "A sync is due."


def item_failed(
    connection: Connection, item: PlaidItem, error: NeedsReauth | PermanentError, *, told_at: datetime
) -> str:
    """The login does not work: the connection becomes what the error's class says."""
    if connection.last_sync_at and connection.last_sync_at > told_at:
        return "A sync went through since."
    if item.repaired_at and item.repaired_at > told_at:
        return "The login was repaired since."
    error = link_anew_if_repeated(item, error)
    if connection.error_code == error.code and connection.error_at and connection.error_at >= told_at:
        return "This was known already."
    if error.code == "bank_revoked":
        return permission_revoked(connection, item, provider_code=error.provider_code, told_at=told_at)
    lifecycle.record_failure(connection, error)
    connection.save()
    if isinstance(error, NeedsReauth):
        item.reauth_needed_at = item.reauth_needed_at or told_at
    item.last_sync_error = scrub(error.operator_detail)
    item.save(update_fields=["reauth_needed_at", "last_sync_error"])
    if isinstance(error, NeedsReauth):
        return "Its owner has to act at the bank."
    # A failed connection is still tried, though rarely; and only a dirty Item is.
    PlaidItem.objects.filter(pk=item.pk).update(dirty_seq=F("dirty_seq") + 1)
    failure_tell(connection)
    return "The connection has failed."


def failure_tell(connection: Connection, *, is_quiet: bool = False) -> None:
    """Whoever listens hears of it as of a failed run: of this failure there is none."""
    told = {"code": connection.error_code, "status": connection.status, "failures": connection.failure_count}
    told["is_quiet"] = is_quiet
    event_record(EventType.SYNC_FAILED, connection_id=connection.pk, payload=told)


def item_unproved(connection: Connection) -> None:
    """It became active by a person's word, and nothing shows that it works: what was wrong is looked at again, at once.

    The caller saves it. Where its access was withdrawn meanwhile there is nothing to look at: it has failed.
    """
    lifecycle.clear_backoff(connection)
    if not connection.error_code:
        return
    items = PlaidItem.objects.filter(connection=connection)
    if items.exclude(removed_at=None).exists():
        lifecycle.apply(connection, lifecycle.Event.FAILED, reason=CATALOGUE[connection.error_code].detail)
        failure_tell(connection)
    else:
        items.update(dirty_seq=F("dirty_seq") + 1, offered_until=None)
        wake("sync.tasks.dispatch")


def item_repaired(connection: Connection, item: PlaidItem, *, told_at: datetime) -> str:
    """The login works again, wherever it was repaired: active, and a sync reads accounts and consent anew."""
    if item.repaired_at and item.repaired_at > told_at:
        return "It was repaired once more since."
    if item.reauth_needed_at and item.reauth_needed_at > told_at + OUT_OF_ORDER:
        return "The bank asked for a new sign-in since."
    relink_completed(connection=connection, repaired_at=told_at)
    return "Active again; a sync is due."


def consent_ending(connection: Connection, item: PlaidItem, *, ends_at: datetime | None, told_at: datetime) -> str:
    """The access ends soon unless the person signs in again: until when, is shown with the connection."""
    if item.repaired_at and item.repaired_at > told_at:
        return "The login was repaired since."
    known = item.consent_expires_at if item.consent_expires_at and item.consent_expires_at > told_at else None
    ends_at = ends_at or known or told_at + NOTICE
    if item.consent_expires_at == connection.reauth_due_at == ends_at:
        return "This was known already."
    PlaidItem.objects.filter(pk=item.pk).update(consent_expires_at=ends_at)
    connection.reauth_due_at = ends_at
    connection.save(update_fields=["reauth_due_at", "updated_at"])
    return "The connection shows until when to sign in again."


def permission_revoked(connection: Connection, item: PlaidItem, *, provider_code: str, told_at: datetime) -> str:
    """The person took the access back: nothing is asked of this Item any more but its removal at Plaid, which ends billing.

    History and connection stay; linking the bank again goes on with both. A worker that reads it now loses its claim.
    """
    if item.repaired_at and item.repaired_at > told_at:
        return "The login was repaired since."
    detail = "the person withdrew the access at Plaid or the bank"
    error = AccessWithdrawn(provider="plaid", provider_code=provider_code, operator_detail=detail)
    access_end(connection, item_id=item.item_id, error=error)
    PlaidItem.objects.filter(pk=item.pk).update(
        removed_at=timezone.now(),
        last_sync_error=detail,
        lease_token=None,
        lease_expires_at=None,
        offered_until=None,
        consent_expires_at=None,
        account_selection_at=None,
    )
    failure_tell(connection, is_quiet=provider_code == "ITEM_CONCURRENTLY_DELETED")
    return "Syncs have ended; the Item is removed at Plaid, and the bank can be linked again."


def access_end(connection: Connection, *, item_id: str, error: AccessWithdrawn) -> None:
    """The connection fails for good, and its Item is put down for removal. The caller marks the Item as removed."""
    lifecycle.record_failure(connection, error)
    lifecycle.clear_backoff(connection)  # there is nothing to wait for
    connection.reauth_due_at = None
    connection.save()
    item_retire(connection, item_id=item_id, access_token=readable_token(connection))


def account_revoked(connection: Connection, item: PlaidItem, *, plaid_account_id: str, told_at: datetime) -> str:
    """One account is no longer shared. The caller holds `accounts_lock`; the next sync reads which ones still are."""
    if item.details_at and item.details_at > told_at:
        return "The accounts were read since."
    meant = PlaidItemAccount.objects.filter(item=item, plaid_account_id=plaid_account_id, replaced_at=None)
    gone = Account.objects.filter(pk__in=list(meant.values_list("account_id", flat=True)), status=Account.Status.ACTIVE)
    gone.update(status=Account.Status.MISSING, updated_at=timezone.now())
    return accounts_offered(connection, item, told_at=told_at)


def accounts_offered(connection: Connection, item: PlaidItem, *, told_at: datetime) -> str:
    """Other accounts can be chosen at the bank: Link's update mode offers them, and the next sync reads those shared now."""
    PlaidItem.objects.filter(pk=item.pk).update(details_at=None)
    if not item.repaired_at or item.repaired_at < told_at:
        PlaidItem.objects.filter(pk=item.pk).update(account_selection_at=told_at)
    item_mark_dirty(connection, item)
    return "Accounts can be chosen anew; a sync is due."


def recurring_changed(item: PlaidItem, *, told_at: datetime) -> str:
    """The recurring streams are to be read again. Whoever reads them clears the mark, where it has not moved meanwhile."""
    later = PlaidItem.objects.filter(pk=item.pk).exclude(recurring_changed_at__gte=told_at)
    return "The recurring streams are due." if later.update(recurring_changed_at=told_at) else "This was known already."


def webhook_confirmed(item: PlaidItem, *, url: str, told_at: datetime) -> str:
    """Proof that the address works: the acknowledgement itself came through it."""
    later = PlaidItem.objects.filter(pk=item.pk).exclude(webhook_confirmed_at__gte=told_at)
    is_news = later.update(webhook_confirmed_at=told_at, webhook_url=scrub(url)[:500])
    return "The address is confirmed." if is_news else "This was known already."
