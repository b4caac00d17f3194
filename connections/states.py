"""What a connection's row says to a person: its state, and one sentence on what happens next."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from config.states import CONNECTION, State, state
from connections.errors import CATALOGUE
from connections.models import Connection
from connections.models.connection import Provider, Status, Wait

GRACE = timedelta(minutes=15)  # a sync this late is not worth anybody's attention yet


def late_since(now: datetime | None = None) -> datetime:
    """Banks whose last sync is older than this are late: every active one is looked at within PLAID_POLL_S."""
    return (now or timezone.now()) - timedelta(seconds=settings.PLAID_POLL_S) - GRACE


def late() -> Q:
    """The question of `is_late`, for the database."""
    since = late_since()
    return Q(status=Status.ACTIVE, provider=Provider.PLAID) & (
        Q(last_sync_at__lt=since) | Q(last_sync_at=None, created_at__lt=since)
    )


def is_late(connection: Connection) -> bool:
    """Whether an active bank has not been read for longer than its cadence allows."""
    if connection.status != Status.ACTIVE or connection.provider != Provider.PLAID:
        return False
    return (connection.last_sync_at or connection.created_at) < late_since()


def connection_state(connection: Connection, *, is_syncing: bool = False) -> State:
    """The one state shown. `is_syncing`: a run of it is under way, which the row itself does not say."""
    if is_syncing and connection.is_syncable:
        return CONNECTION["syncing"]
    if is_late(connection):
        return CONNECTION["late"]
    return state(CONNECTION, connection.status)


def next_step(connection: Connection) -> str:
    """One sentence for an operator: the cause where there is trouble, and what happens or has to be done next."""
    entry = CATALOGUE.get(connection.error_code)
    match connection.status:
        case Status.DRAFT:
            was_active = " What was active before is kept until then." if connection.good else ""
            return f"A draft: nothing is synced until it is tested and activated.{was_active}"
        case Status.VERIFIED:
            return "Verified; it syncs once it is activated."
        case Status.NEEDS_REAUTH:
            if connection.provider == Provider.PLAID:
                return "Its owner has to act at the bank before the next sync. What was synced before is safe."
            label = connection.get_provider_display()
            return f"{label} does not let us in any more: reconnect it. What was synced before is safe."
        case Status.PAUSED:
            return f"{connection.status_reason or 'Paused'}. Nothing is synced until it is resumed."
        case Status.PENDING_CLEANUP:
            return (
                f"{connection.status_reason or 'Nobody has used it for long; it will be removed unless somebody does'}."
            )
        case Status.DISCONNECTING if connection.error_code:
            return "Access at the provider could not be withdrawn yet, so it may still be billed. It is tried again."
        case Status.DISCONNECTING:
            return "Access at the provider is being withdrawn; the history stays."
        case Status.DISCONNECTED:
            return "The credential is destroyed; the history stays."
    waits = connection.next_attempt_at is not None and connection.next_attempt_at > timezone.now()
    if waits and connection.wait_reason == Wait.RATE_LIMIT:
        return "The provider asked us to slow down. The sync continues by itself."
    if connection.status == Status.FAILED:
        cause = connection.error_detail or (entry.detail if entry else connection.status_reason)
        return f"Syncs fail; what was synced before is safe. {cause}".strip()
    if entry:
        return entry.detail
    if is_late(connection):
        return "It has not been read for longer than its cadence allows."
    if connection.provider != Provider.PLAID and not connection.last_sync_at:
        return "Ready for flows."
    return "Up to date." if connection.last_sync_at else "Its first sync has not finished yet."
