"""Banks that nobody uses: noticed, given time, then removed, since Plaid bills them all the same.

Use is a person who reads the connection through the API, or a sync that goes through. What the clock reads by itself
is none. Any use ends a notice.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Greatest
from django.utils import timezone

from connections.events import EventType, event_record
from connections.models import Connection, PlaidItem
from connections.models.connection import Provider, Status
from connections.services import lifecycle
from connections.services.disconnecting import connection_disconnect
from connections.services.plaid_news import item_unproved

USE_EVERY = timedelta(hours=1)


def last_use(connection: Connection) -> datetime:
    """When somebody last had something of it."""
    times = (connection.created_at, connection.last_used_at, connection.last_sync_at)
    return max(time for time in times if time)


def connection_use(connection: Connection) -> None:
    """A person reads it. Written down at most once an hour; a notice is ended at once."""
    now = timezone.now()
    if connection.status == Status.PENDING_CLEANUP:
        kept = _keep(connection.pk)
        connection.status, connection.status_reason = kept.status, kept.status_reason
        connection.next_attempt_at, connection.wait_reason = kept.next_attempt_at, kept.wait_reason
    elif max(connection.last_used_at or connection.created_at, connection.created_at) < now - USE_EVERY:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_EVERY)
        unnoticed = Connection.objects.filter(stale, pk=connection.pk).exclude(status=Status.PENDING_CLEANUP)
        if not unnoticed.update(last_used_at=now):
            _keep(connection.pk)  # notice was given after the row was read


@transaction.atomic
def _keep(connection_id: UUID) -> Connection:
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    connection.last_used_at = timezone.now()
    if lifecycle.apply(connection, lifecycle.Event.USED):
        item_unproved(connection)
    connection.save(
        update_fields=["last_used_at", "status", "status_reason", "next_attempt_at", "wait_reason", "updated_at"]
    )
    PlaidItem.objects.filter(connection=connection).update(cleanup_notified_at=None)
    return connection


def _dormant(now: datetime) -> QuerySet[Connection]:
    """Banks that nobody has used for CLEANUP_IDLE_S."""
    banks = Connection.objects.filter(provider=Provider.PLAID, plaid_item__removed_at=None)
    used = banks.annotate(last_use=Greatest("created_at", "last_used_at", "last_sync_at"))
    return used.filter(last_use__lt=now - timedelta(seconds=settings.CLEANUP_IDLE_S))


def dormant_notice(*, limit: int = 200) -> int:
    """Give notice to the owners of banks that have become dormant. Returns how many."""
    noticed = lifecycle.TRANSITIONS[lifecycle.Event.DORMANT][0]
    dormant = _dormant(timezone.now()).filter(status__in=noticed).order_by("pk")
    return sum(_notice(pk) for pk in dormant.values_list("pk", flat=True)[:limit])


@transaction.atomic
def _notice(connection_id: UUID) -> bool:
    now = timezone.now()
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if not _dormant(now).filter(pk=connection_id).exists():
        return False  # used since
    unused_since, removed_at = last_use(connection), now + timedelta(seconds=settings.CLEANUP_GRACE_S)
    reason = f"Not used since {unused_since:%-d %B %Y}: removed on {removed_at:%-d %B %Y} unless somebody uses it"
    if not lifecycle.apply(connection, lifecycle.Event.DORMANT, reason=reason):
        return False
    connection.save(update_fields=["status", "status_reason", "updated_at"])
    PlaidItem.objects.filter(connection=connection).update(cleanup_notified_at=now)
    told = {"unused_since": unused_since, "removed_at": removed_at}
    event_record(EventType.CLEANUP_NOTICED, connection_id=connection.pk, payload=told)
    return True


def dormant_remove(*, limit: int = 50) -> int:
    """Disconnect what nobody has used since its notice, CLEANUP_GRACE_S ago. Returns how many."""
    return sum(_remove(pk) for pk in _overdue().order_by("pk").values_list("pk", flat=True)[:limit])


def _overdue() -> QuerySet[Connection]:
    over = timezone.now() - timedelta(seconds=settings.CLEANUP_GRACE_S)
    return Connection.objects.filter(status=Status.PENDING_CLEANUP, plaid_item__cleanup_notified_at__lt=over)


@transaction.atomic
def _remove(connection_id: UUID) -> bool:
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if not _overdue().filter(pk=connection_id).exists():
        return False  # used since
    connection_disconnect(connection_id=connection_id, reason=f"Not used since {last_use(connection):%-d %B %Y}")
    return True
