"""What the books refer to: accounts, tax codes and rates, terms, ways of paying, classes. Read once an hour, not at every record.

Kept in the shared cache, so that all processes read it once. Reads may be an hour old; writes may not rest on that: a
refused reference, or news of a list, has the lists forgotten, whatever is being read at that moment included.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import structlog
from django.core.cache import cache
from redis.exceptions import RedisError

from connections.providers.base import Access, Json
from connections.providers.quickbooks.auth import REALM
from connections.providers.quickbooks.client import QuickBooksClient
from connections.providers.quickbooks.company import client_of
from connections.providers.quickbooks.query import MAX_RESULTS, select

log = structlog.get_logger(__name__)

KINDS = ("Account", "TaxCode", "TaxRate", "Term", "PaymentMethod", "Class", "Department")
FRESH_S = 3600
# What whoever maps onto them asks about; the rest of an account, its balance above all, is not kept.
_KEPT = (
    "Id", "Name", "FullyQualifiedName", "Active", "AccountType", "AccountSubType", "Classification", "CurrencyRef",
    "Type", "Taxable", "TaxGroup", "Description", "SalesTaxRateList", "RateValue",
)  # fmt: skip


def listed(access: Access, kind: str, *, is_fresh: bool = False) -> list[Json]:
    """All records of the list, inactive ones too. is_fresh: read now, whatever is known."""
    if kind not in KINDS:
        raise ValueError(f"{kind} is no reference data.")
    round_ = _round(access)
    place = f"quickbooks:{_whose(access)}:{round_}:{kind}"
    if round_ and not is_fresh and (known := _get(place)) is not None:
        return known
    found = [{name: row[name] for name in _KEPT if name in row} for row in _read(client_of(access), kind)]
    if round_:
        _set(place, found, FRESH_S)
    return found


def forget(access: Access) -> None:
    """Whatever is known of the company's lists is read anew at its next use."""
    _set(_round_key(_whose(access)), uuid4().hex, None)


def forget_realm(environment: str, realm: str) -> None:
    """The same, by news of the company."""
    _set(_round_key(f"{environment}:{realm}"), uuid4().hex, None)


def _read(client: QuickBooksClient, kind: str) -> Sequence[Json]:
    found: list[Json] = []
    while True:
        page = client.query(select(kind, order_by="Id", start=len(found) + 1)).records
        found += page
        if len(page) < MAX_RESULTS:
            return found


def _round(access: Access) -> str:
    """Names what is known now: whoever began to read before it was forgotten keeps it under the former name."""
    key = _round_key(_whose(access))
    known = _get(key)
    if known is None:
        try:
            known = cache.get_or_set(key, uuid4().hex, None)
        except RedisError:
            return ""
    return str(known)


def _whose(access: Access) -> str:
    return f"{access.environment}:{access.facts.get(REALM, '')}"


def _round_key(whose: str) -> str:
    return f"quickbooks:{whose}:round"


def _get(key: str) -> Any:
    try:
        return cache.get(key)
    except RedisError as error:
        log.warning("reference_data_uncached", error=type(error).__name__)
        return None


def _set(key: str, value: Any, timeout_s: int | None) -> None:
    try:
        cache.set(key, value, timeout_s)
    except RedisError as error:
        log.warning("reference_data_uncached", error=type(error).__name__)
