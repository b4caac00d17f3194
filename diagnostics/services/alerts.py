"""Alerts: opened and closed by what happens, one a subject and cause until it recovers.

A handler of domain events: it runs in a transaction of its own and writes rows. `alert_delivery` tells the channels,
and the connection's owner where only the owner can mend it.
"""

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from connections.errors import CATALOGUE, FixedBy
from connections.events import EventType
from connections.models import Connection, DomainEvent
from connections.models.connection import Provider, Status
from connections.services.consent import NOTICE_DAYS
from diagnostics.models import Alert, AlertDelivery
from diagnostics.services import owner_mail
from diagnostics.services.channels import channels

OPENING = (
    EventType.SYNC_FAILED,
    EventType.REAUTH_REQUIRED,
    EventType.PROVIDER_PAUSED,
    EventType.REMOVAL_FAILED,
    EventType.TOKEN_REFRESH_FAILED,
    EventType.WEBHOOKS_REFUSED,
)
CLOSING = (
    EventType.SYNC_SUCCEEDED,
    EventType.CONNECTION_ACTIVATED,
    EventType.CONNECTION_DISCONNECTED,
    EventType.PROVIDER_RESUMED,
    EventType.ITEM_REMOVED,
    EventType.TOKEN_ROTATED,
    EventType.WEBHOOKS_REFUSED_ENDED,
)

_LOST_ACCESS = ("rotation_unknown", "access_refused", "access_lost")  # causes that another token ends
CONSENT_ENDS = tuple(f"consent_ends_{days}" for days in NOTICE_DAYS)  # causes: one a notice


def alert_on_event(event: DomainEvent) -> None:
    """The events of a connection come in their order, so what is open here is what is wrong there."""
    if event.type == EventType.TOKEN_ROTATED:
        alerts_close(subject=subject_of(event), causes=_LOST_ACCESS)
    elif event.type in CLOSING:
        if event.type != EventType.SYNC_SUCCEEDED or event.payload.get("recovered"):
            # Work that goes on now says nothing of a consent that ends later.
            is_gone = event.type == EventType.CONNECTION_DISCONNECTED
            alerts_close(subject=subject_of(event), keeping=() if is_gone else CONSENT_ENDS)
    elif event.type == EventType.PROVIDER_PAUSED:
        _open_for_provider(event)
    elif event.type == EventType.WEBHOOKS_REFUSED:
        _open_for_webhooks(event)
    elif event.type == EventType.REMOVAL_FAILED:
        _open_for_connection(event, cause="removal_failed")
    elif _is_alarming(event):
        _open_for_connection(event)


def _is_alarming(event: DomainEvent) -> bool:
    """A connection that only a person brings back, or whose syncs wait for an operator. What is tried again is not."""
    if event.type in (EventType.REAUTH_REQUIRED, EventType.TOKEN_REFRESH_FAILED):
        return True
    told = event.payload
    return told.get("is_operators", False) or (told.get("status") == Status.FAILED and not told.get("is_quiet"))


def subject_of(event: DomainEvent) -> str:
    """An Item that is to be removed has one of its own: its connection may be in the best of health."""
    if event.type in (EventType.REMOVAL_FAILED, EventType.ITEM_REMOVED) and "item_id" in event.payload:
        return f"item:{event.payload['item_id']}"
    if event.connection_id:
        return f"connection:{event.connection_id}"
    if event.type in (EventType.WEBHOOKS_REFUSED, EventType.WEBHOOKS_REFUSED_ENDED):
        return f"webhooks:{event.payload['provider']}"
    return f"provider:{event.payload['provider']}:{event.payload['environment']}"


def _open_for_connection(event: DomainEvent, *, cause: str = "") -> None:
    connection = Connection.objects.select_related("workspace").get(events=event)
    cause = cause or event.payload.get("code") or "internal_error"
    known = CATALOGUE.get(cause, CATALOGUE["internal_error"])
    alert_open(
        subject=subject_of(event),
        cause=cause,
        title=f"{connection.name} ({connection.workspace.name}): {known.title}",
        text=f"{known.detail} {known.remediation}\n{console_page(connection)}",
        correlation_id=event.correlation_id,
        connection=connection,
        is_for_owner=event.type == EventType.REAUTH_REQUIRED or known.fixed_by == FixedBy.USER,
    )


def console_page(connection: Connection) -> str:
    return f"{settings.PUBLIC_URL}{reverse('admin:connections_connection_change', args=[connection.pk])}"


def _open_for_provider(event: DomainEvent) -> None:
    """One for the whole installation; no connection's state changes for it."""
    cause, place = event.payload["code"], f"{event.payload['provider'].capitalize()} ({event.payload['environment']})"
    known = CATALOGUE.get(cause, CATALOGUE["internal_error"])
    alert_open(
        subject=subject_of(event),
        cause=cause,
        title=f"{place}: {known.title}",
        text=f"{known.detail} {known.remediation}\nAll work at {place} rests, and goes on by itself when it is let through again.",
        correlation_id=event.correlation_id,
    )


def _open_for_webhooks(event: DomainEvent) -> None:
    """One a provider: a wrong secret or environment here refuses them all, and in the end it stops sending."""
    provider = Provider(event.payload["provider"]).label
    page = f"{settings.PUBLIC_URL}{reverse('admin:webhooks_webhookrefusal_changelist')}"
    alert_open(
        subject=subject_of(event),
        cause="webhook_unverified",
        title=f"{provider}: webhooks are refused, {event.payload['count']} within the hour",
        text=f"The last of them because of this: {event.payload['reason']}. A wrong secret or environment looks so, and so "
        f"does somebody who forges them. A provider that is refused for long stops sending; changes are found by looking.\n{page}",
        correlation_id=event.correlation_id,
    )


@transaction.atomic
def alert_open(
    *,
    subject: str,
    cause: str,
    title: str,
    text: str,
    correlation_id: str = "",
    connection: Connection | None = None,
    is_for_owner: bool = False,
) -> Alert:
    """The open alert of this subject and cause, made where there is none; then every channel has a message to come.

    Told again, it is only counted. is_for_owner: the connection's owner has a mail to come as well.
    """
    alert, is_new = Alert.objects.get_or_create(
        subject=subject,
        cause=cause,
        recovered_at=None,
        defaults={
            "title": title[:300],
            "text": text,
            "correlation_id": correlation_id,
            "connection": connection,
            "workspace_id": connection.workspace_id if connection else None,
        },
    )
    if is_new:
        _announce([alert], AlertDelivery.Kind.OPENED)
        if is_for_owner and connection:
            owner_mail.announce(alert)
    else:
        Alert.objects.filter(pk=alert.pk).update(occurrences=F("occurrences") + 1, last_seen_at=timezone.now())
    return alert


@transaction.atomic
def alerts_close(*, subject: str, causes: tuple[str, ...] = (), keeping: tuple[str, ...] = ()) -> int:
    """What was open about it is over, and the channels that were told will hear that too. Returns how many.

    causes: only these; none for all. keeping: none of these.
    """
    still = Alert.objects.select_for_update(no_key=True).filter(subject=subject, recovered_at=None)
    found = list((still.filter(cause__in=causes) if causes else still).exclude(cause__in=keeping))
    Alert.objects.filter(pk__in=[alert.pk for alert in found]).update(recovered_at=timezone.now())
    _announce(found, AlertDelivery.Kind.RECOVERED)
    return len(found)


@transaction.atomic
def alerts_supersede(*, subject: str, causes: tuple[str, ...]) -> None:
    """Other news takes the place of these: they are closed without a word, and what has not left yet stays here."""
    still = Alert.objects.select_for_update(no_key=True).filter(subject=subject, cause__in=causes, recovered_at=None)
    pks, now = [alert.pk for alert in still], timezone.now()
    Alert.objects.filter(pk__in=pks).update(recovered_at=now)
    waiting = AlertDelivery.objects.filter(alert__in=pks, sent_at=None, given_up_at=None)
    waiting.update(given_up_at=now, last_error="Newer news took its place.")


def _announce(alerts: list[Alert], kind: AlertDelivery.Kind) -> None:
    rows = [
        AlertDelivery(alert=alert, kind=kind, channel=channel.fingerprint, channel_name=channel.name)
        for alert in alerts
        for channel in channels().values()
    ]
    AlertDelivery.objects.bulk_create(rows, ignore_conflicts=True)
