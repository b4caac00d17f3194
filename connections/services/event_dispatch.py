"""Handing events to their handlers: in order in each line, at least once, and never held up for ever.

1. The head of each line that is due and free is claimed, under a lease.
2. Each handler gets the event in a transaction of its own, which also marks its delivery.
3. When all have it the event is dispatched, and the next one of the line is its head. When one fails, the line waits
   and those that failed are tried again; after EVENT_ATTEMPTS what they did not take is parked, and the line goes on.

docs/explanation/events-and-audit.md says why.
"""

import time
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.audit import Action
from connections.errors import Conflict
from connections.events import handlers_of
from connections.models import DomainEvent, EventDelivery, User
from connections.services.audit import security_event_record
from connections.services.lifecycle import backoff_s
from connections.waking import wake

log = structlog.get_logger(__name__)

BATCH = 50

# One probe of the index a line, however many events wait behind each head.
_CLAIM = """
    WITH RECURSIVE heads AS (
        (SELECT line, id FROM connections_domainevent WHERE dispatched_at IS NULL ORDER BY line, sequence LIMIT 1)
        UNION ALL
        SELECT next.line, next.id FROM heads, LATERAL (
            SELECT line, id FROM connections_domainevent WHERE dispatched_at IS NULL AND line > heads.line
            ORDER BY line, sequence LIMIT 1
        ) next
    ), due AS (
        SELECT e.id FROM connections_domainevent e JOIN heads USING (id)
        WHERE e.dispatched_at IS NULL AND (e.next_attempt_at IS NULL OR e.next_attempt_at <= now())
          AND (e.lease_expires_at IS NULL OR e.lease_expires_at < now())
        ORDER BY e.occurred_at LIMIT %(limit)s
        FOR NO KEY UPDATE OF e SKIP LOCKED
    )
    UPDATE connections_domainevent e
    SET lease_token = %(token)s, lease_expires_at = now() + %(lease_s)s * interval '1 second'
    FROM due WHERE e.id = due.id RETURNING e.*
"""


def events_dispatch(*, deadline: float, limit: int = BATCH) -> int:
    """Hand over what is due until nothing is, or until `deadline` (of time.monotonic()). Returns how many events.

    Any number of dispatchers may run at once. With nothing due it is one query.
    """
    count = 0
    while claimed := _claim(limit):
        for event in claimed:
            if time.monotonic() > deadline:
                _give_back(event.lease_token)
                return count
            with correlation.bound(event.correlation_id or None):
                count += _dispatch(event)
    return count


def _claim(limit: int) -> list[DomainEvent]:
    values = {"limit": limit, "token": uuid4(), "lease_s": settings.LEASE_S}
    return list(DomainEvent.objects.raw(_CLAIM, values))


def _give_back(token: UUID | None) -> None:
    DomainEvent.objects.filter(lease_token=token, dispatched_at=None).update(lease_token=None, lease_expires_at=None)


def _dispatch(event: DomainEvent) -> bool:
    """One claimed event. False: somebody else has claimed it since. Attempts are counted before the work is begun, so
    that one which kills its worker is parked as well."""
    mine = DomainEvent.objects.filter(pk=event.pk, lease_token=event.lease_token, dispatched_at=None)
    handlers = handlers_of(event.type)
    if not handlers and not event.attempts:
        return bool(mine.update(dispatched_at=timezone.now(), lease_token=None, lease_expires_at=None))
    lease = timezone.now() + timedelta(seconds=settings.LEASE_S)
    if not mine.update(attempts=F("attempts") + 1, lease_expires_at=lease):
        return False
    event.attempts += 1
    shares = [EventDelivery(event=event, workspace_id=event.workspace_id, handler=name) for name in handlers]
    EventDelivery.objects.bulk_create(shares, ignore_conflicts=True)
    if event.attempts <= settings.EVENT_ATTEMPTS:
        for delivery in _open(event):
            _deliver(event, delivery)
    _settle(event)
    return True


def _open(event: DomainEvent) -> list[EventDelivery]:
    return list(EventDelivery.objects.filter(event=event, delivered_at=None, parked_at=None).order_by("pk"))


def _deliver(event: DomainEvent, delivery: EventDelivery) -> None:
    """One handler's share. Where another dispatcher is at it, it is left to that one."""
    try:
        with transaction.atomic():
            mine = EventDelivery.objects.select_for_update(skip_locked=True, no_key=True, of=("self",)).filter(
                pk=delivery.pk, delivered_at=None, parked_at=None, event__lease_token=event.lease_token
            )
            if mine.first() is None:
                return
            handler = handlers_of(event.type).get(delivery.handler)
            if handler is None:
                raise LookupError(f"no handler of {event.type} is called {delivery.handler}")
            handler(event)
            EventDelivery.objects.filter(pk=delivery.pk).update(delivered_at=timezone.now(), last_error="")
    except Exception as error:  # one handler's trouble is not its neighbours'
        log.exception("event_not_delivered", event_id=str(event.pk), type=event.type, handler=delivery.handler)
        said = scrub(f"{type(error).__name__}: {error}")[:2_000]
        EventDelivery.objects.filter(pk=delivery.pk, delivered_at=None).update(
            attempts=F("attempts") + 1, last_error=said
        )


@transaction.atomic
def _settle(event: DomainEvent) -> None:
    """Dispatched where everybody has it; else it waits, or is parked. Nothing where the claim was lost."""
    mine = DomainEvent.objects.select_for_update(no_key=True).filter(pk=event.pk, lease_token=event.lease_token)
    if (found := mine.filter(dispatched_at=None).first()) is None:
        return
    now, left = timezone.now(), EventDelivery.objects.filter(event=event, delivered_at=None, parked_at=None)
    is_last = event.attempts >= settings.EVENT_ATTEMPTS
    found.lease_token = found.lease_expires_at = None
    if is_last and left.update(parked_at=now):
        found.parked_at = found.dispatched_at = now
        log.error("event_parked", event_id=str(event.pk), type=event.type, attempts=event.attempts)
    elif is_last or not left.exists():
        found.dispatched_at = now
    else:
        wait_s = backoff_s(event.attempts, base_s=settings.EVENT_BACKOFF_S)
        found.next_attempt_at = now + timedelta(seconds=wait_s)
    found.save(update_fields=["lease_token", "lease_expires_at", "parked_at", "dispatched_at", "next_attempt_at"])


@transaction.atomic
def event_retry(*, event_id: UUID, actor: User) -> DomainEvent:
    """Offer a parked event once more to those that did not take it, before what else waits in its line.

    Events that came after it were told meanwhile. Raises Conflict where it is not parked.
    """
    event = DomainEvent.objects.select_for_update(no_key=True).get(pk=event_id)
    if event.parked_at is None:
        raise Conflict("This event is not parked.")
    event.deliveries.filter(delivered_at=None).update(parked_at=None, attempts=0)
    event.parked_at = event.dispatched_at = event.next_attempt_at = None
    event.attempts = 0
    event.save(update_fields=["parked_at", "dispatched_at", "next_attempt_at", "attempts"])
    security_event_record(Action.EVENT_RETRIED, actor=actor, workspace_id=event.workspace_id, subject=event)
    wake("connections.tasks.events_dispatch")
    return event


def events_purge(*, limit: int = 5_000) -> int:
    """Forget events that everybody got EVENT_DAYS ago. Returns how many; parked ones stay until somebody looks."""
    before = timezone.now() - timedelta(days=settings.EVENT_DAYS)
    total = 0
    while True:
        old = DomainEvent.objects.filter(dispatched_at__lt=before, parked_at=None).order_by("dispatched_at")
        ids = list(old.values_list("pk", flat=True)[:limit])
        if not ids:
            return total
        EventDelivery.objects.filter(event_id__in=ids).delete()
        DomainEvent.objects.filter(pk__in=ids).delete()
        total += len(ids)
