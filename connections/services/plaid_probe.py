"""Asking Plaid of logins that need their owner whether they still do: a repair elsewhere may come without a webhook."""

import time
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from config import correlation
from connections.errors import CausewayError
from connections.models import Connection, PlaidItem
from connections.models.connection import Status
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.services.accounts import is_any_wanted
from connections.services.plaid_items import credential_of, relink_completed
from connections.services.plaid_webhook_address import webhook_address_set
from connections.services.provider_pauses import environments_at_rest, provider_pause

log = structlog.get_logger(__name__)


def items_probe(*, deadline: float, limit: int = 200) -> int:
    """Ask about those that were not asked about for PLAID_POLL_S. Returns how many work again.

    Free at Plaid, and no use of the bank. deadline: time.monotonic() at which to leave the rest to the next tick.
    """
    repaired = 0
    before = timezone.now() - timedelta(seconds=settings.PLAID_POLL_S)
    due = PlaidItem.objects.filter(
        Q(probed_at=None) | Q(probed_at__lt=before),
        Q(reauth_needed_at=None) | Q(reauth_needed_at__lt=before),
        connection__status=Status.NEEDS_REAUTH,
        removed_at=None,
    ).exclude(connection__environment__in=environments_at_rest())
    for item_pk, probed_at in due.order_by("probed_at").values_list("pk", "probed_at")[:limit]:
        if time.monotonic() > deadline:
            break
        repaired += _probe(item_pk, probed_at)
    return repaired


def _probe(item_pk: UUID, probed_at: datetime | None) -> bool:
    """One of them, if nobody else is at it. No transaction is open over the call."""
    mine = PlaidItem.objects.filter(pk=item_pk, probed_at=probed_at)
    if not mine.exclude(connection__environment__in=environments_at_rest()).update(probed_at=timezone.now()):
        return False
    item = PlaidItem.objects.select_related("connection").get(pk=item_pk)
    with correlation.bound(None):
        try:
            access_token = credential_of(item.connection).reveal()
            client = PlaidClient(item.connection.environment, item_key=item.item_id)
            answer = client.item_get(access_token)
            told = records.item_webhook(answer)
            webhook_address_set(item=item, client=client, access_token=access_token, told=told)
            if not records.is_item_well(answer) or not _has_accounts(item, client, access_token):
                return False
        except CausewayError as error:
            log.warning("probe_failed", item=item.item_id, code=error.code, operator_detail=error.operator_detail)
            if error.is_service_wide:  # nobody gets through: it is asked about again as soon as somebody does
                provider_pause(error, environment=item.connection.environment)
                PlaidItem.objects.filter(pk=item.pk, probed_at=item.probed_at).update(probed_at=probed_at)
            return False
        except Exception as error:  # a bug over one must not keep the others
            log.exception("probe_broke", item=item.item_id, error=type(error).__name__)
            return False
        return _repaired(item)


def _has_accounts(item: PlaidItem, client: PlaidClient, access_token: str) -> bool:
    """A login without accounts is in no trouble for Plaid: only the accounts themselves say that there are some again."""
    if item.connection.error_code != "bank_no_accounts":
        return True
    return is_any_wanted(item, records.bank_accounts(client.accounts_get(access_token)))


@transaction.atomic
def _repaired(item: PlaidItem) -> bool:
    """Active again, unless it was re-linked, disconnected or repaired by other means meanwhile."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=item.connection_id)
    same = PlaidItem.objects.filter(pk=item.pk, item_id=item.item_id, removed_at=None, probed_at=item.probed_at)
    if connection.status != Status.NEEDS_REAUTH or not same.exists():
        return False
    log.info("login_works_again", connection=str(connection.pk), item=item.item_id)
    relink_completed(connection=connection, repaired_at=timezone.now())
    return True
