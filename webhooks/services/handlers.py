"""Who knows what a kept webhook means, by its provider."""

from collections.abc import Callable

from connections.models.connection import Provider
from webhooks.models import WebhookEvent
from webhooks.services import plaid, quickbooks, shops
from webhooks.services.outcomes import Outcome

_HANDLERS: dict[str, Callable[[WebhookEvent], Outcome]] = {
    Provider.PLAID: plaid.event_handle,
    Provider.QUICKBOOKS: quickbooks.event_handle,
    Provider.WOOCOMMERCE: shops.event_handle,
}


def event_handle(event: WebhookEvent) -> Outcome:
    """Do what it asks for, within the caller's transaction; harmless when it is done again."""
    return _HANDLERS[event.provider](event)
