"""Wake-up calls for whoever processes the inbox. Each may come twice, late, or never: the rows decide what happens."""

import time
from uuid import UUID

from celery import shared_task

from webhooks.services import process as processing
from webhooks.services import refusals, retention

LIMIT_S = 30  # then the next tick goes on


@shared_task
def process(event_id: str) -> None:
    """Process one event, if it waits and nobody else does."""
    processing.event_process(UUID(event_id))


@shared_task
def sweep() -> None:
    """Process whatever waits. An idle tick is one query."""
    deadline = time.monotonic() + LIMIT_S
    while due := processing.events_due():
        for event_id in due:
            if time.monotonic() > deadline:
                return
            processing.event_process(event_id)


@shared_task
def purge() -> int:
    """Delete what is older than the retention, and tell where refusals have ended. Safe to repeat."""
    refusals.refusals_end()
    return retention.events_purge()
