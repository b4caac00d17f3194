"""What will happen unless somebody acts: a consent that ends, a bank that is removed for disuse.

A handler of domain events beside `alerts`, with its words for operators; the owner's are in templates/mail.
"""

from datetime import UTC, datetime

from django.utils.dateparse import parse_datetime

from connections.events import EventType
from connections.models import Connection, DomainEvent
from connections.models.connection import Provider
from diagnostics.services.alerts import (
    CONSENT_ENDS,
    alert_open,
    alerts_close,
    alerts_supersede,
    console_page,
    subject_of,
)

TYPES = (EventType.REAUTH_DUE, EventType.REAUTH_DUE_ENDED, EventType.CLEANUP_NOTICED)
CLEANUP_DUE = "cleanup_due"  # a cause; it closes with everything else when the bank is used again, or gone


def notice_on_event(event: DomainEvent) -> None:
    if event.type == EventType.REAUTH_DUE:
        _consent_ends(event)
    elif event.type == EventType.REAUTH_DUE_ENDED:
        alerts_close(subject=subject_of(event), causes=CONSENT_ENDS)
    elif event.type == EventType.CLEANUP_NOTICED:
        _cleanup_due(event)


def _consent_ends(event: DomainEvent) -> None:
    """Each of the notices is told once, and takes the place of the one before."""
    cause = f"consent_ends_{event.payload['days']}"
    alerts_supersede(subject=subject_of(event), causes=tuple(other for other in CONSENT_ENDS if other != cause))
    on = _day(event.payload["due_at"])
    is_bank = Connection.objects.filter(events=event, provider=Provider.PLAID).exists()
    place = "at the bank" if is_bank else "at the provider"
    _open(
        event,
        cause=cause,
        title=f"the bank's consent ends on {on}" if is_bank else f"its access ends on {on}",
        text=f"Its owner has to sign in {place} again before {on}. Until then everything goes on; after it nothing new "
        "is read, and what was read stays.",
    )


def _cleanup_due(event: DomainEvent) -> None:
    on = _day(event.payload["removed_at"])
    _open(
        event,
        cause=CLEANUP_DUE,
        title=f"will be removed on {on}",
        text=f"Nobody has used it since {_day(event.payload['unused_since'])}, and it is billed all the same. On {on} it "
        "is disconnected, unless somebody opens it before.",
    )


def _open(event: DomainEvent, *, cause: str, title: str, text: str) -> None:
    connection = Connection.objects.select_related("workspace").get(events=event)
    alert_open(
        subject=subject_of(event),
        cause=cause,
        title=f"{connection.name} ({connection.workspace.name}): {title}",
        text=f"{text}\n{console_page(connection)}",
        correlation_id=event.correlation_id,
        connection=connection,
        is_for_owner=True,
    )


def _day(instant: str) -> str:
    return f"{(parse_datetime(instant) or datetime.now(UTC)).astimezone(UTC):%-d %B %Y}"
