"""Keeping to what QuickBooks allows a company, together with all other processes, instead of running into its 429s.

500 requests and 40 batches a minute, 10 requests a second: the settings stay below, and at most four are under way.
Source: Intuit developer docs, "API call limits and throttles".
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

from connections import budgets
from connections.errors import RateLimited
from connections.providers.quickbooks.errors import PROVIDER

PATIENCE_S = 3.0  # so long a call waits for its turn; after that its work is worth being put off
HELD_S = 130.0  # longer than any call: a seat whose holder died is free again then


@contextmanager
def turn(realm: str, *, is_batch: bool = False) -> Iterator[None]:
    """It is this call's turn for the length of the block. Raises RateLimited where that would take longer than patience."""
    ends_at = time.monotonic() + PATIENCE_S
    at_most = settings.QUICKBOOKS_PARALLEL
    with budgets.seat(PROVIDER, realm, at_most=at_most, held_s=HELD_S, wait_s=PATIENCE_S) as is_seated:
        if not is_seated:
            raise _put_off("seats", 1.0)
        if is_batch:
            _wait_for("batches", realm, ends_at, _batches)
        _wait_for("requests", realm, ends_at, _minute)
        _wait_for("requests this second", realm, ends_at, _second)
        yield


def _minute(realm: str) -> float:
    return budgets.take(PROVIDER, "requests", realm, per_minute=settings.QUICKBOOKS_PER_MINUTE)


def _batches(realm: str) -> float:
    return budgets.take(PROVIDER, "batches", realm, per_minute=settings.QUICKBOOKS_BATCHES_PER_MINUTE)


def _second(realm: str) -> float:
    return budgets.take_this_second(PROVIDER, "second", realm, per_second=settings.QUICKBOOKS_PER_SECOND)


def _wait_for(what: str, realm: str, ends_at: float, take: Callable[[str], float]) -> None:
    while wait_s := take(realm):
        if time.monotonic() + wait_s > ends_at:
            raise _put_off(what, wait_s)
        time.sleep(wait_s)


def _put_off(what: str, wait_s: float) -> RateLimited:
    return RateLimited(
        provider=PROVIDER,
        retry_after_s=wait_s,
        operator_detail=f"our own budget of {what} for this company is used up for {wait_s:.1f} s",
    )
