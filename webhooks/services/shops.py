"""WooCommerce's webhooks: each is a hint that a record changed, and kept until somebody reads it.

Nothing is read here: whoever pulls from the shop finds the change by its date, and these events tell sooner that there
is one. What a shop does not tell (a destroyed order, a deleted refund) the nightly comparison finds.
"""

from connections.models import Connection
from connections.models.connection import Status
from connections.providers.base import InboundEvent
from connections.providers.woocommerce.webhooks import POLL, TOPIC, parse
from webhooks.inbox import DISABLED
from webhooks.models import WebhookEvent
from webhooks.services.outcomes import Outcome, ignored, processed

KEPT = "kept for the next pull"


def event_handle(event: WebhookEvent) -> Outcome:
    """Say what it is news of; within the caller's transaction. Changes nothing but the event."""
    connection = Connection.objects.select_related("workspace").get(webhook_events=event)
    if not connection.workspace.webhooks_enabled:
        return ignored(DISABLED)
    if connection.status in (Status.DISCONNECTING, Status.DISCONNECTED):
        return ignored("The connection is disconnected.")
    if not event.body:
        return ignored("It cannot be read; the next pull finds out what changed.")
    found = parse(bytes(event.body), {TOPIC: f"{event.event_type}.{event.code}"})
    if not found:
        return ignored("Nothing is read because of this kind of webhook.")
    return processed(f"{', '.join(map(_named, found))}: {KEPT}.")


def _named(hint: InboundEvent) -> str:
    return f"{hint.entity} (which, it does not say)" if hint.action == POLL else f"{hint.entity} {hint.external_id}"
