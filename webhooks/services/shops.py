"""WooCommerce's webhooks: each is a hint that a record changed, counted as news for whoever pulls.

Nothing is read here: whoever pulls from the shop finds the change by its date, and news only tell that there is one. What
a shop does not tell (a destroyed order, a deleted refund) the nightly comparison finds.
"""

from connections.models import Connection
from connections.providers.base import InboundEvent
from connections.providers.woocommerce.webhooks import POLL, TOPIC, entity_of, parse
from webhooks.models import WebhookEvent
from webhooks.services.news import news_mark, refusal
from webhooks.services.outcomes import Outcome, ignored, processed

KEPT = "kept for the next pull"


def event_handle(event: WebhookEvent) -> Outcome:
    """Mark what it is news of; within the caller's transaction, and harmless when it is done again."""
    connection = Connection.objects.select_related("workspace").get(webhook_events=event)
    if refused := refusal(connection):
        return refused
    found = _told(event)
    if not news_mark(event, connection, (hint.entity for hint in found)):
        return ignored("Nothing is read because of this kind of webhook.")
    return processed(f"{', '.join(map(_named, found))}: {KEPT}.")


def _told(event: WebhookEvent) -> list[InboundEvent]:
    """What it hints at; where nobody can read it, that something of its kind changed."""
    topic = f"{event.event_type}.{event.code}"
    try:
        return parse(bytes(event.body), {TOPIC: topic})
    except ValueError:
        return [InboundEvent(entity, "", POLL, event.dedupe_key)] if (entity := entity_of(topic)) else []


def _named(hint: InboundEvent) -> str:
    return f"{hint.entity} (which, it does not say)" if hint.action == POLL else f"{hint.entity} {hint.external_id}"
