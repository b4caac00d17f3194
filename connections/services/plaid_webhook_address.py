"""Where an Item's webhooks go: to us, also where another system linked it, or PUBLIC_URL has changed since."""

import ipaddress
from datetime import timedelta
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from connections.errors import CausewayError
from connections.models import PlaidItem
from connections.models.connection import CLOSED, Environment
from connections.providers.plaid.client import PlaidClient

log = structlog.get_logger(__name__)

ASKED_EVERY = timedelta(days=1)


def webhook_url() -> str:
    return f"{settings.PUBLIC_URL}/webhook/plaid"


def is_reachable(environment: str) -> bool:
    """Whether Plaid could call PUBLIC_URL: an address of this machine or network is one for a simulator beside us only."""
    is_production = environment == Environment.PRODUCTION
    provider = settings.PLAID_PRODUCTION_URL if is_production else settings.PLAID_SANDBOX_URL
    return _is_local(provider) or not _is_local(settings.PUBLIC_URL)


def _is_local(url: str) -> bool:
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))


def webhook_address_set(*, item: PlaidItem, client: PlaidClient, access_token: str, told: str) -> bool:
    """Set our address where Plaid has just told another one, or none. True: it was set just now.

    At most one call a day and Item, however often it is asked for. Never raises an error of the provider's: webhooks are
    hints. Called outside of any transaction.
    """
    ours = webhook_url()
    same = PlaidItem.objects.filter(pk=item.pk, item_id=item.item_id, removed_at=None)
    if told != item.webhook_url:
        same.update(webhook_url=told)
    if told == ours or not settings.PLAID_OWN_WEBHOOKS or not is_reachable(item.connection.environment):
        return False
    now = timezone.now()
    free = same.exclude(connection__status__in=CLOSED).filter(
        Q(webhook_asked_at=None) | Q(webhook_asked_at__lt=now - ASKED_EVERY)
    )
    if not free.update(webhook_asked_at=now):
        return False
    try:
        client.item_webhook_update(access_token, ours)
    except CausewayError as error:
        log.warning("webhook_address_not_set", item=item.item_id, code=error.code, detail=error.operator_detail)
        return False
    same.update(webhook_url=ours)
    log.info("webhook_address_set", item=item.item_id)
    return True
