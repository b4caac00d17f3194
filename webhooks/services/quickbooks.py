"""QuickBooks' webhooks: what each does. It says which record changed, and its values are never believed: they are read.

News are counted by connection and entity and wait for the next pull of it. Of the lists that forms refer to, what is
known is forgotten.
"""

from datetime import timedelta

from django.utils import timezone

from connections.models import Connection
from connections.models.connection import Provider, Status
from connections.providers.quickbooks import reference_data
from connections.providers.quickbooks.auth import REALM
from connections.providers.quickbooks.entities import FLOW_ENTITY_OF
from webhooks.models import WebhookEvent
from webhooks.services.news import news_mark, refusal
from webhooks.services.outcomes import Outcome, ignored, processed, waits

REMATCH_EVERY = timedelta(seconds=20)
LISTS = {*reference_data.KINDS, "Preferences", "TaxAgency"}


def event_handle(event: WebhookEvent) -> Outcome:
    """Do what the event asks for; within the caller's transaction, and harmless when it is done again."""
    if not event.item_id:
        return ignored("It names no company; it is kept as it came.")
    connection = _connection_of(event)
    if connection is None:
        return _unmatched(event)
    event.workspace_id, event.connection_id = connection.workspace_id, connection.pk
    event.environment = connection.environment
    if refused := refusal(connection):
        return refused
    if event.event_type in LISTS:
        reference_data.forget_realm(connection.environment, event.item_id)
        return processed("The company's lists are read anew at their next use.")
    if not (known := news_mark(event, connection, [FLOW_ENTITY_OF.get(event.event_type, "")])):
        return ignored("Nothing is done about this kind of record.")
    return processed(f"Kept for the next pull of {known[0]}.")


def _connection_of(event: WebhookEvent) -> Connection | None:
    of_realm = Connection.objects.filter(provider=Provider.QUICKBOOKS, **{f"facts__{REALM}": event.item_id})
    found = of_realm.exclude(status=Status.DISCONNECTED).select_related("workspace")
    return found.order_by("-created_at").first()


def _unmatched(event: WebhookEvent) -> Outcome:
    """News may overtake the sign-in that makes the company ours, so they wait for a while."""
    if not event.may_still_match:
        return ignored("No connection has this company.")
    age = timezone.now() - event.received_at
    return waits("Waits for its company.", timedelta(seconds=2) if age < timedelta(minutes=1) else REMATCH_EVERY)
