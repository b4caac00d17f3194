"""Removing at Plaid the Items that a re-link left behind: they are billed until then."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import F
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.errors import CausewayError
from connections.models import PlaidItem, RetiredPlaidItem
from connections.providers.plaid.client import PlaidClient
from connections.services import lifecycle

log = structlog.get_logger(__name__)

# Nothing is left to remove. INVALID_ACCESS_TOKEN is not among them: it can also mean that we ask the wrong way.
_GONE = ("ITEM_NOT_FOUND", "ITEM_CONCURRENTLY_DELETED", "USER_PERMISSION_REVOKED")


def retired_items_remove(*, limit: int = 5) -> int:
    """Ask Plaid to remove what is due; what fails is tried again later, for as long as it takes. Returns how many are gone.

    One that has no token left is not due: only a person can remove it, on Plaid's dashboard.
    """
    due = RetiredPlaidItem.objects.filter(
        status=RetiredPlaidItem.Status.PENDING, ciphertext__isnull=False, next_attempt_at__lte=timezone.now()
    )
    return sum(_remove(pk) for pk in due.order_by("next_attempt_at").values_list("pk", flat=True)[:limit])


def _remove(retired_id: UUID) -> bool:
    """One of them, if nobody else is at it. No transaction is open over the call."""
    now = timezone.now()
    pending = RetiredPlaidItem.objects.filter(
        pk=retired_id, status=RetiredPlaidItem.Status.PENDING, ciphertext__isnull=False
    )
    lease = now + timedelta(seconds=settings.PLAID_TIMEOUT_S + settings.LEASE_S)
    if not pending.filter(next_attempt_at__lte=now).update(next_attempt_at=lease, attempts=F("attempts") + 1):
        return False
    retired = RetiredPlaidItem.objects.get(pk=retired_id)
    mine = pending.filter(attempts=retired.attempts)  # whoever claims it later counts on
    with correlation.bound(retired.correlation_id or None):
        try:
            _ask(retired)
        except Exception as error:  # one that cannot be removed must not keep the others
            log.exception("retired_item_not_removed", item=retired.item_id, attempts=retired.attempts)
            mine.update(**_later(retired, error))
            return False
        log.info("retired_item_removed", item=retired.item_id, attempts=retired.attempts)
        done = {"status": RetiredPlaidItem.Status.REMOVED, "removed_at": timezone.now()}
        return bool(mine.update(ciphertext=None, key_id="", last_error="", **done))


def _ask(retired: RetiredPlaidItem) -> None:
    """Done where this returns."""
    if PlaidItem.objects.filter(item_id=retired.item_id, removed_at=None).exists():
        return  # linked once more since: it is read, and must stay
    try:
        PlaidClient(retired.environment, item_key=retired.item_id).item_remove(retired.reveal())
    except CausewayError as error:
        if error.provider_code not in _GONE:
            raise


def _later(retired: RetiredPlaidItem, error: Exception) -> dict[str, Any]:
    known = error if isinstance(error, CausewayError) else None
    wait_s = max((known and known.retry_after_s) or 0, lifecycle.backoff_s(retired.attempts))
    said = known.operator_detail if known else f"{type(error).__name__}: {error}"
    return {"next_attempt_at": timezone.now() + timedelta(seconds=wait_s), "last_error": scrub(said)[:2_000]}
