"""What becomes of a kept webhook: claimed under a lease, handled once, its end fenced.

A handler changes rows and nothing else; its changes and the event's end are one transaction. The order of locks is
accounts, connection, Item, event.
"""

from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.services import lifecycle
from webhooks.models import WebhookEvent
from webhooks.services import handlers
from webhooks.services.outcomes import Outcome

log = structlog.get_logger(__name__)

Status = WebhookEvent.Status
MAX_ATTEMPTS = 8


class EventChanged(Exception):
    """Between claim and end another worker took over, or the same message came again: roll back, look again."""


def events_due(*, limit: int = 200) -> list[UUID]:
    """Events that wait and that nobody holds, oldest first. One indexed query."""
    due = WebhookEvent.objects.filter(status=Status.RECEIVED, next_attempt_at__lte=timezone.now())
    return list(due.order_by("next_attempt_at").values_list("pk", flat=True)[:limit])


def event_process(event_id: UUID) -> bool:
    """Handle one event, if it waits and is free. False: there was nothing to do. A second call at the same time does nothing.

    What a handler raises ends here: the event is tried again later, and one event must not keep the others waiting.
    """
    event = _claim(event_id)
    if event is None:
        return False
    with correlation.bound(event.correlation_id or None):
        try:
            _handle(event)
        except EventChanged:
            _release(event)
        except Exception as error:  # noqa: BLE001 - see above
            _failed(event, error)
    return True


def _failed(event: WebhookEvent, error: Exception) -> None:
    """Processing raised: back off, and after too many attempts give up and say why. Nothing where the claim was lost."""
    gives_up = event.attempts >= MAX_ATTEMPTS
    log.error("webhook_failed", event_id=str(event.pk), attempts=event.attempts, gives_up=gives_up, exc_info=error)
    WebhookEvent.objects.filter(pk=event.pk, status=Status.RECEIVED, lease_token=event.lease_token).update(
        status=Status.FAILED if gives_up else Status.RECEIVED,
        note=broken(error),
        next_attempt_at=timezone.now() + timedelta(seconds=lifecycle.backoff_s(max(1, event.attempts))),
        processed_at=timezone.now() if gives_up else None,
        lease_token=None,
    )


def broken(error: Exception) -> str:
    """What an event's note says where its handler raised."""
    return scrub(f"{type(error).__name__}: {error}")[:2_000]


# --- claim and end ---
def _claim(event_id: UUID) -> WebhookEvent | None:
    now, token = timezone.now(), uuid4()
    free = WebhookEvent.objects.filter(pk=event_id, status=Status.RECEIVED, next_attempt_at__lte=now)
    leased = {"lease_token": token, "next_attempt_at": now + timedelta(seconds=settings.LEASE_S)}
    if not free.update(attempts=F("attempts") + 1, **leased):
        return None
    return WebhookEvent.objects.filter(pk=event_id, lease_token=token).first()


@transaction.atomic
def _handle(event: WebhookEvent) -> None:
    outcome = handlers.event_handle(event)
    if outcome.status == Status.RECEIVED:
        waits = {"next_attempt_at": timezone.now() + outcome.again_in, "attempts": F("attempts") - 1}
        return _end(event, outcome, **waits)
    return _end(event, outcome, processed_at=timezone.now())


def _end(event: WebhookEvent, outcome: Outcome, **fields: object) -> None:
    """The last statement of the work, conditional on the claim and on no delivery since. Raises EventChanged."""
    mine = WebhookEvent.objects.filter(
        pk=event.pk, lease_token=event.lease_token, status=Status.RECEIVED, deliveries=event.deliveries
    )
    matched = {
        "workspace_id": event.workspace_id,
        "connection_id": event.connection_id,
        "environment": event.environment,
    }
    if not mine.update(status=outcome.status, note=outcome.note, lease_token=None, **matched, **fields):
        raise EventChanged
    name = f"{event.event_type}.{event.code}"
    log.info("webhook_ended", event_id=str(event.pk), code=name, status=outcome.status, note=outcome.note)


def _release(event: WebhookEvent) -> None:
    held = WebhookEvent.objects.filter(pk=event.pk, lease_token=event.lease_token, status=Status.RECEIVED)
    held.update(next_attempt_at=timezone.now(), lease_token=None)
