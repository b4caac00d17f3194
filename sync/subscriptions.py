"""Reading an Item's recurring streams: a whole snapshot at a time, beside the cursor sync and never in its way.

1. Claim the Item's feed, if it is due. The Item itself stays free for its transactions.
2. Ask Plaid. No database transaction is open over the call.
3. One transaction makes the subscriptions equal to the answer; its last statement lets go of the claim, if it is still ours.

Whatever Plaid says is put down with the feed and nowhere else: the connection's state is the cursor sync's business, and
a bank or a contract without the product is nobody's trouble. docs/explanation/subscriptions.md tells why.
"""

import random
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection, transaction

from config import correlation
from config.logs import scrub
from connections import vault
from connections.errors import CausewayError, LeaseLost, PermanentError, RateLimited
from connections.models import Connection, PlaidItem
from connections.models.connection import CLOSED
from connections.providers.base import RecurringStream
from connections.providers.plaid import records
from connections.providers.plaid.client import CALL_TIMEOUT_S, PlaidClient
from connections.services.lifecycle import backoff_s
from connections.services.plaid_items import ACCESS_TOKEN
from connections.services.provider_pauses import provider_pause
from sync.services.subscriptions import READABLE, subscriptions_unverify
from sync.subscription_merge import Merged, merge_streams

log = structlog.get_logger(__name__)

# Not paid for, not offered by the bank, or not agreed to: nothing is wrong, there is just nothing to read.
UNAVAILABLE = ("feature_not_enabled", "bank_consent_required", "bank_not_supported")
UNAVAILABLE_PERIODS = 7  # so many times rarer such a bank is asked again
SPREAD = (0.8, 1.0)  # of a period: Items that were linked together do not stay together


class Outcome(StrEnum):
    NOTHING = "nothing"  # not due, or somebody else's
    READ = "read"
    UNAVAILABLE = "unavailable"
    WAITS = "waits"  # asked again later
    GONE = "gone"  # the access was withdrawn: nothing is read any more
    LOST = "lost"  # another worker has taken over, or the bank was linked anew meanwhile


@dataclass(frozen=True, slots=True)
class _Claim:
    feed_id: UUID
    token: UUID
    workspace_id: UUID
    item_id: UUID
    failure_count: int
    connection_id: UUID
    plaid_item_id: str
    changed_at: datetime | None
    is_gone: bool
    environment: str
    credential_id: UUID | None
    key_id: str
    ciphertext: bytes | memoryview | None

    def access_token(self) -> str:
        """The plaintext. Raises CredentialUnreadable, PermanentError where there is none."""
        if self.credential_id is None:
            raise PermanentError(code="connection_not_active", operator_detail="the connection has no access token")
        place = f"connections_credential:{self.credential_id}:{ACCESS_TOKEN}"
        return vault.decrypt(bytes(self.ciphertext or b""), key_id=self.key_id, place=place).decode()


_CLAIM = f"""
    WITH claimed AS (
        UPDATE sync_subscriptionfeed f
        SET lease_token = %(token)s, lease_expires_at = now() + %(lease_s)s * interval '1 second'
        FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id
        WHERE f.id = %(feed)s AND i.id = f.item_id AND {READABLE}
        RETURNING f.id, f.lease_token, f.workspace_id, f.item_id, f.failure_count, i.connection_id, i.item_id AS plaid_item_id,
            i.recurring_changed_at, i.removed_at IS NOT NULL, c.environment
    )
    SELECT claimed.*, k.id, coalesce(k.key_id, ''), k.ciphertext FROM claimed
    LEFT JOIN connections_credential k ON k.connection_id = claimed.connection_id AND k.name = '{ACCESS_TOKEN}'
"""


def streams_read(feed_id: UUID | str) -> Outcome:
    """Read one Item's streams if they are due and free. Whatever goes wrong at Plaid is a later try, never an error.

    Raises bugs only.
    """
    held = _claim(feed_id)
    if held is None:
        return Outcome.NOTHING
    with correlation.bound(correlation.accept(None)):
        try:
            return _gone(held) if held.is_gone else _apply(held, *_ask(held))
        except LeaseLost:
            log.warning("subscriptions_lost", item=str(held.item_id))
            return Outcome.LOST
        except CausewayError as error:
            return _put_off(held, error)
        except Exception as bug:
            _put_off(held, CausewayError(operator_detail=f"{type(bug).__name__}: {bug}"))
            raise


def _claim(feed_id: UUID | str) -> _Claim | None:
    lease_s = CALL_TIMEOUT_S + settings.LEASE_S  # one call and one transaction: it need not be renewed
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"feed": str(feed_id), "token": uuid4(), "lease_s": lease_s})
        row = cursor.fetchone()
    return _Claim(*row) if row else None


def _ask(held: _Claim) -> tuple[list[RecurringStream], bool]:
    """The streams, and whether all of the answer could be read."""
    client = PlaidClient(held.environment, item_key=held.plaid_item_id)
    answer = client.recurring_get(held.access_token())
    streams = records.recurring_streams(answer)
    return streams, len(streams) == sum(len(answer[name]) for name in records.STREAMS)


@transaction.atomic
def _apply(held: _Claim, streams: list[RecurringStream], is_whole: bool) -> Outcome:
    """The snapshot, and the time of the next one; or nothing, where the Item is not read any more. Raises LeaseLost."""
    Connection.objects.select_for_update(no_key=True).get(pk=held.connection_id)
    item = PlaidItem.objects.filter(pk=held.item_id, item_id=held.plaid_item_id, removed_at=None)
    if not item.exclude(connection__status__in=CLOSED).exists():
        _fence(held, "")
        return Outcome.LOST
    merged = merge_streams(
        streams,
        workspace=held.workspace_id,
        connection=held.connection_id,
        item=held.item_id,
        source=held.plaid_item_id,
        is_whole=is_whole,
    )
    _news_seen(held)
    assignments = "read_at = now(), not_before = NULL, unavailable_code = '', failure_count = 0, last_error = '', "
    _fence(held, assignments + _due_in("due_at"), {"wait_s": _period_s()})
    _tell(held, merged)
    return Outcome.READ


def _tell(held: _Claim, merged: Merged) -> None:
    counts = {"told": merged.told, "skipped": merged.skipped, "created": merged.created, "updated": merged.updated}
    log.info("subscriptions_read", item=str(held.item_id), **counts, cancelled=merged.cancelled)


@transaction.atomic
def _gone(held: _Claim) -> Outcome:
    subscriptions_unverify(held.connection_id)
    _fence(held, "due_at = NULL, ")
    return Outcome.GONE


def _put_off(held: _Claim, error: CausewayError) -> Outcome:
    """Try again later: soon where that may help, rarely where the product is not there."""
    is_unavailable = error.code in UNAVAILABLE
    log.info("subscriptions_put_off", item=str(held.item_id), code=error.code, provider_code=error.provider_code)
    if error.is_service_wide:
        provider_pause(error, environment=held.environment)
    try:
        _unavailable(held, error) if is_unavailable else _wait(held, error)
    except LeaseLost:
        return Outcome.LOST
    return Outcome.UNAVAILABLE if is_unavailable else Outcome.WAITS


@transaction.atomic
def _unavailable(held: _Claim, error: CausewayError) -> None:
    """What was read while it was available cannot be verified any more. News would show that it is available again."""
    subscriptions_unverify(held.connection_id)
    _news_seen(held)
    assignments = "unavailable_code = %(code)s, not_before = NULL, failure_count = 0, last_error = %(said)s, "
    values = {"code": error.code, "said": _said(error), "wait_s": _period_s() * UNAVAILABLE_PERIODS}
    _fence(held, assignments + _due_in("due_at"), values)


def _wait(held: _Claim, error: CausewayError) -> None:
    is_counted = not (isinstance(error, RateLimited) or error.is_service_wide)
    failures = held.failure_count + is_counted
    if isinstance(error, RateLimited):
        wait_s = (error.retry_after_s or settings.RATE_LIMIT_WAIT_S) * random.uniform(1, 1.2)  # noqa: S311 - jitter
    else:
        wait_s = backoff_s(max(failures, 1), base_s=max(error.retry_after_s or 0, settings.BACKOFF_BASE_S))
    assignments = "failure_count = %(failures)s, last_error = %(said)s, " + _due_in("due_at") + _due_in("not_before")
    _fence(held, assignments, {"failures": failures, "said": _said(error), "wait_s": wait_s})


def _said(error: CausewayError) -> str:
    return scrub(f"{error.code}: {error.operator_detail or error.detail}")[:2_000]


def _period_s() -> float:
    return settings.PLAID_RECURRING_S * random.uniform(*SPREAD)  # noqa: S311 - jitter, not a secret


def _due_in(column: str) -> str:
    """SQL. A feed that was ended meanwhile stays so."""
    return f"{column} = CASE WHEN due_at IS NOT NULL THEN now() + %(wait_s)s * interval '1 second' END, "


def _news_seen(held: _Claim) -> None:
    """Clear the mark of a webhook, unless another one came since the claim."""
    if held.changed_at:
        marked = PlaidItem.objects.filter(pk=held.item_id, recurring_changed_at=held.changed_at)
        marked.update(recurring_changed_at=None)


def _fence(held: _Claim, assignments: str, values: dict[str, Any] | None = None) -> None:
    """The last statement of claimed work: let go of the feed, if it is still ours. Raises LeaseLost."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE sync_subscriptionfeed SET {assignments} lease_token = NULL, lease_expires_at = NULL "
            "WHERE id = %(feed)s AND lease_token = %(token)s",
            {"feed": held.feed_id, "token": held.token, **(values or {})},
        )
        if cursor.rowcount != 1:
            raise LeaseLost
