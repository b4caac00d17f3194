"""What a provider's hint leads to, one way for all: its entity has news, and the next pull reads them."""

from collections.abc import Iterable

from connections.models import Connection
from connections.models.connection import CLOSED
from connections.services.record_news import record_news_mark
from sync.flows.pairs import ENTITIES
from webhooks.inbox import DISABLED
from webhooks.models import WebhookEvent
from webhooks.services.outcomes import Outcome, ignored


def refusal(connection: Connection) -> Outcome | None:
    """Why nothing is done about a webhook of this connection, if that is so."""
    if not connection.workspace.webhooks_enabled:
        return ignored(DISABLED)
    if connection.status in CLOSED:
        return ignored("The connection is disconnected.")
    return None


def news_mark(event: WebhookEvent, connection: Connection, entities: Iterable[str]) -> list[str]:
    """Count the event as news of each of these, and say of which: of what no flow carries, nobody reads news.

    In the order of their names, so that two workers wait for each other in one direction only.
    """
    known = sorted({*entities}.intersection(ENTITIES))
    for entity in known:
        record_news_mark(connection, entity, told_at=event.last_received_at)
    return known
