"""Recurring streams, found among the rows that an Item's generator made regular."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from .plaid_data import money_text, opaque, patterns
from .plaid_items import Item

FREQUENCIES = {7: "WEEKLY", 14: "BIWEEKLY", 30: "MONTHLY", 365: "ANNUALLY"}


def streams(item: Item, account_ids: list[str] | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(inflow, outflow): a snapshot. Hold the Item's lock."""
    rows: dict[int, list[int]] = {}
    for index, which in sorted(item.data.regular.items()):
        if item.log.is_live(index):
            rows.setdefault(which, []).append(index)
    inflow: list[dict[str, Any]] = []
    outflow: list[dict[str, Any]] = []
    for which, indexes in rows.items():
        account_id = item.account_id_of(indexes[0])
        if account_ids and account_id not in account_ids:
            continue
        stream = _stream(item, which, indexes, account_id)
        (inflow if patterns(item.bank.region)[1][which].merchant.low < 0 else outflow).append(stream)
    return inflow, outflow


def _stream(item: Item, which: int, indexes: list[int], account_id: str) -> dict[str, Any]:
    merchant = patterns(item.bank.region)[1][which].merchant
    first, last = item.data.facts(indexes[0]), item.data.facts(indexes[-1])
    money = Decimal(money_text(last.units, last.currency.exponent))
    amount = {
        "amount": money,
        "iso_currency_code": last.currency.iso,
        "unofficial_currency_code": last.currency.unofficial,
    }
    return {
        "account_id": account_id,
        "stream_id": opaque("stream", item.item_id, which),
        "category": None,
        "category_id": None,
        "description": merchant.descriptor,
        "merchant_name": merchant.name,
        "first_date": first.posted_on.isoformat(),
        "last_date": last.posted_on.isoformat(),
        "predicted_next_date": (last.posted_on + dt.timedelta(days=merchant.every_days)).isoformat(),
        "frequency": FREQUENCIES[merchant.every_days],
        "transaction_ids": [item.id_of(index) for index in indexes],
        "average_amount": amount,
        "last_amount": amount,
        "is_active": True,
        "status": "MATURE" if len(indexes) >= 3 else "EARLY_DETECTION",
        "personal_finance_category": {
            "primary": merchant.primary,
            "detailed": merchant.detailed,
            "confidence_level": "VERY_HIGH",
            "version": "v2",
        },
        "is_user_modified": False,
    }
