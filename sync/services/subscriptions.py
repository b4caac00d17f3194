"""When recurring streams are due, and what becomes of subscriptions that nobody can verify any more."""

from uuid import UUID

from django.db import connection
from django.db.models import F
from django.db.models.functions import Least, Now
from django.utils import timezone

from connections.models import DomainEvent
from connections.services.provider_pauses import NOT_PAUSED
from sync.leases import SYNCABLE
from sync.models import Subscription, SubscriptionFeed

MOST_A_TICK = 200

# SQL: the streams of feed `f` of Item `i` and connection `c` are to be read now, or to be given up.
READABLE = f"""
    (f.due_at <= now() OR f.due_at IS NOT NULL AND i.recurring_changed_at IS NOT NULL)
    AND (f.not_before IS NULL OR f.not_before <= now())
    AND (f.lease_expires_at IS NULL OR f.lease_expires_at < now())
    AND (i.removed_at IS NOT NULL
         OR i.history_complete AND c.status IN {SYNCABLE} AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now())
            AND {NOT_PAUSED})
"""

_DUE = f"""
    WITH candidates AS (
        SELECT id FROM sync_subscriptionfeed WHERE due_at <= now()
        UNION
        SELECT f.id FROM connections_plaiditem i JOIN sync_subscriptionfeed f ON f.item_id = i.id
        WHERE i.recurring_changed_at IS NOT NULL
    )
    SELECT f.id FROM candidates JOIN sync_subscriptionfeed f USING (id)
    JOIN connections_plaiditem i ON i.id = f.item_id JOIN connections_connection c ON c.id = i.connection_id
    WHERE {READABLE} ORDER BY f.due_at LIMIT %(limit)s
"""


def feeds_due(*, limit: int = MOST_A_TICK) -> list[UUID]:
    """Ids of feeds to read now, longest due first: one query over what is due. Each is claimed just before its work."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"limit": limit})
        return [row[0] for row in cursor.fetchall()]


def feed_begin(connection_id: UUID) -> None:
    """The bank is linked, repaired or resumed: its streams are read as soon as its history is complete. Idempotent.

    A wait of before is over, whatever it was for: a repair may have given the consent that was missing.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_subscriptionfeed AS f (id, workspace_id, item_id, due_at, unavailable_code, failure_count,
                last_error, created_at)
            SELECT causeway_uuid7(), workspace_id, id, now(), '', 0, '', now()
            FROM connections_plaiditem WHERE connection_id = %s AND removed_at IS NULL
            ON CONFLICT (item_id) DO UPDATE SET due_at = now(), not_before = NULL, failure_count = 0
            """,
            [connection_id],
        )


def feed_refresh(connection_id: UUID) -> None:
    """A person asked for a sync: its subscriptions are looked at too, unless the bank has none to tell."""
    feeds = SubscriptionFeed.objects.filter(item__connection_id=connection_id, unavailable_code="")
    feeds.filter(due_at__isnull=False).update(due_at=Least(F("due_at"), Now()))


def subscriptions_unverify(connection_id: UUID) -> int:
    """Nobody can ask the source any more: what was verified is not. Returns how many; what had ended stays so."""
    verified = Subscription.objects.filter(connection_id=connection_id, status=Subscription.Status.VERIFIED)
    return verified.update(status=Subscription.Status.UNVERIFIED, updated_at=timezone.now())


# --- what happened below ---
def on_connection_activated(event: DomainEvent) -> None:
    if event.connection_id:
        feed_begin(event.connection_id)


def on_connection_disconnected(event: DomainEvent) -> None:
    if event.connection_id:
        SubscriptionFeed.objects.filter(item__connection_id=event.connection_id).update(due_at=None)
        subscriptions_unverify(event.connection_id)
