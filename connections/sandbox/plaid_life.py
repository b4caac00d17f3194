"""How accounts live: one step makes pendings come, post, change and vanish, the same for the same (seed, step)."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

from . import exact
from .plaid_changes import Changes, units_of
from .plaid_data import money_text
from .plaid_items import Account, Item


def live_a_while(item: Item, on: dt.date) -> Changes:
    """One step of an account's life, the same for the same (seed, step): pendings come, post, change, vanish."""
    changes = Changes(item, on)
    rng = random.Random(f"{item.seed}/{item.ticks}")
    recent = [index for index in item.recent_live(80) if item.is_wholesome(index)]
    pendings = [index for index in recent if item.is_pending(index)]
    posted = [index for index in recent if not item.is_pending(index)]
    for index in pendings:
        fate = rng.random()
        if fate < 0.6:
            changes.post(index, _tipped(item, index, rng))
        elif fate < 0.66:
            changes.remove(index)  # a hold that was let go
    if posted and rng.random() < 0.35:
        index = rng.choice(posted[:30])
        changes.modify(index, {"merchant_name": exact.parse(item.text_of(index)).get("merchant_name") or "Local shop"})
    elif len(posted) > 5 and rng.random() < 0.08:
        index = rng.choice(posted[:30])  # churn: the same purchase under a new id
        row = item.rows.get(index)
        fields = {name: value for name, value in (row.fields if row else {}).items() if name != "transaction_id"}
        facts = item.data.facts(row.origin if row else index)
        fields.setdefault("date", facts.posted_on.isoformat())
        changes.remove(index)
        changes.add(fields, origin=facts.row)
    for _turn in range(rng.randint(1, 3)):
        changes.add(_fresh(item, changes, is_pending=item.bank.pendings))
    for account in item.open_accounts:
        if units := _evened(account):
            changes.add(_transfer(account, units))
    return changes


def refresh_dynamic(item: Item, on: dt.date) -> Changes:
    """What a refresh does for `user_transactions_dynamic`: new pendings, the old ones post, one amount moves by 1."""
    changes = Changes(item, on)
    recent = [index for index in item.recent_live(120) if item.is_wholesome(index)]
    pendings = [index for index in recent if item.is_pending(index)]
    posted = [index for index in recent if not item.is_pending(index)]
    for index in pendings:
        changes.post(index, {})
    if posted:
        exponent = item.exponent_of(item.account_id_of(posted[0]))
        changes.modify(posted[0], {"amount": amount(item, posted[0], units_of(item, posted[0]) + 10**exponent)})
    for _turn in range(3):
        changes.add(_fresh(item, changes, is_pending=True))
    return changes


def _evened(account: Account) -> int:
    """What must move so that the account stays plausible: money in where it runs dry, a card paid before its limit."""
    enough = 500_000_000 if account.currency.exponent == 8 else 250_000
    if account.type == "depository" and account.current < enough // 10:
        return -enough
    if account.type == "credit" and account.limit and account.current > account.limit * 6 // 10:
        return -account.current // 2
    return 0


def _transfer(account: Account, units: int) -> dict[str, Any]:
    primary = "TRANSFER_IN" if account.type == "depository" else "LOAN_PAYMENTS"
    detail = "TRANSFER_IN_ACCOUNT_TRANSFER" if account.type == "depository" else "LOAN_PAYMENTS_CREDIT_CARD_PAYMENT"
    nobody = dict.fromkeys(("merchant_name", "merchant_entity_id", "merchant_category_code", "logo_url", "website"))
    return nobody | {
        "account_id": account.account_id,
        "amount": Decimal(money_text(units, account.currency.exponent)),
        "name": "TRANSFER RECEIVED" if account.type == "depository" else "PAYMENT RECEIVED - THANK YOU",
        "counterparties": [],
        "location": dict.fromkeys(
            ("address", "city", "country", "lat", "lon", "postal_code", "region", "store_number")
        ),
        "payment_channel": "other",
        "personal_finance_category": {
            "primary": primary,
            "detailed": detail,
            "confidence_level": "HIGH",
            "version": "v2",
        },
        "personal_finance_category_icon_url": f"https://icons.merchants.example/PFC_{primary}.png",
        "transaction_code": "transfer",
        "transaction_type": "special",
    }


def _fresh(item: Item, changes: Changes, *, is_pending: bool) -> dict[str, Any]:
    """A new row in the account its number draws, so that amount and currency belong together."""
    account_id = item.drawn_accounts[item.data.account_of(changes.next_index)]
    if not item.account(account_id).is_open:
        account_id = item.open_accounts[0].account_id
    return {"pending": is_pending, "account_id": account_id}


def _tipped(item: Item, index: int, rng: random.Random) -> dict[str, Any]:
    row = item.rows.get(index)
    facts = item.data.facts(row.origin if row else index)
    if not facts.pattern.merchant.tips or rng.random() < 0.3:
        return {}
    units = units_of(item, index)
    return {"amount": amount(item, index, units + units * rng.choice((15, 18, 20)) // 100)}


def amount(item: Item, index: int, units: int) -> Decimal:
    return Decimal(money_text(units, item.exponent_of(item.account_id_of(index))))
