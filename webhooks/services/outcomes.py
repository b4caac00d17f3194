"""What a handler makes of an event."""

from dataclasses import dataclass
from datetime import timedelta

from webhooks.models import WebhookEvent


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an event ends, and what was done or why nothing was. RECEIVED: it waits, and is looked at again after `again_in`."""

    status: WebhookEvent.Status
    note: str
    again_in: timedelta = timedelta()


def processed(note: str) -> Outcome:
    return Outcome(WebhookEvent.Status.PROCESSED, note)


def ignored(note: str) -> Outcome:
    return Outcome(WebhookEvent.Status.IGNORED, note)


def waits(note: str, again_in: timedelta) -> Outcome:
    return Outcome(WebhookEvent.Status.RECEIVED, note, again_in)
