"""Wake-up calls for the outbox, the audit and what ends. Each task may come twice, late, or never: the rows decide."""

import time

import structlog
from celery import shared_task

from connections.services import (
    audit_seals,
    disconnecting,
    event_dispatch,
    idempotency,
    plaid_removal,
    shop_webhooks,
    token_refresh,
    verifying,
)
from connections.services import (
    errands as errand_work,
)

log = structlog.get_logger(__name__)

DISPATCH_S = 30
VERIFY_S = ERRANDS_S = 30  # begun after this is left to the next tick
TOKENS_S = 240


@shared_task(ignore_result=True)
def events_dispatch() -> None:
    """Hand over what is due, until nothing is or the time is up. An idle tick is one query."""
    event_dispatch.events_dispatch(deadline=time.monotonic() + DISPATCH_S)


@shared_task(ignore_result=True)
def events_purge() -> None:
    """Forget events that everybody has and that are old enough."""
    if count := event_dispatch.events_purge():
        log.info("events_purged", count=count)


@shared_task(ignore_result=True)
def withdraw() -> None:
    """Somebody disconnected: withdraw the access at the provider now. Housekeeping goes on with what fails."""
    plaid_removal.retired_items_remove()
    disconnecting.disconnects_finish()


@shared_task(ignore_result=True)
def verify() -> None:
    """Somebody asked whether a connection's settings work. An idle tick is one query."""
    verifying.verifications_run(deadline=time.monotonic() + VERIFY_S)


@shared_task(ignore_result=True)
def verifications_purge() -> None:
    """Forget old verifications that nothing rests on."""
    if count := verifying.verifications_purge():
        log.info("verifications_purged", count=count)


@shared_task(ignore_result=True)
def errands() -> None:
    """Set up at providers what became active, clear away what ends. An idle tick is one query."""
    errand_work.errands_run(deadline=time.monotonic() + ERRANDS_S)


@shared_task(ignore_result=True)
def tokens_refresh() -> None:
    """Renew the OAuth tokens that end soon. An idle tick is one query."""
    if count := token_refresh.grants_refresh(deadline=time.monotonic() + TOKENS_S):
        log.info("tokens_refreshed", count=count)


@shared_task(ignore_result=True)
def shop_webhooks_watch() -> None:
    """See to it that shops still tell us. An idle tick is one query."""
    shop_webhooks.webhooks_watch(deadline=time.monotonic() + ERRANDS_S)


@shared_task(ignore_result=True)
def audit_seal() -> None:
    """Link what was put on record into its chain. An idle tick is one query."""
    audit_seals.events_seal()


@shared_task(ignore_result=True)
def idempotency_keys_purge() -> None:
    """Forget the keys of yesterday, and the answers under them."""
    if count := idempotency.keys_purge():
        log.info("idempotency_keys_purged", count=count)
