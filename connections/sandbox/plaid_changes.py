"""Changes to an Item's rows. Each is a list of plain operations: first resolved (ids, numbers, defaults), journalled,
then applied; replaying the journal applies the same operations again.
"""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

from . import exact
from .plaid_data import money_text
from .plaid_items import Account, Item, Row

Op = dict[str, Any]
OPS = ("add", "modify", "remove", "post", "re_add", "raw_fragment")


class Changes:
    """Collects resolved operations for one Item under its lock; `ids` are the transaction ids they concern."""

    def __init__(self, item: Item, on: dt.date):
        self.item = item
        self.on = on
        self.ops: list[Op] = []
        self.ids: list[str] = []
        self.next_index = item.next_index
        self._new: dict[str, int] = {}

    def resolve(self, op: Op) -> None:
        """Take one operation as the control endpoint gives it. Raises ValueError or KeyError with what is wrong."""
        verb = op.get("op")
        if verb not in OPS:
            raise ValueError(f"op must be one of {', '.join(OPS)}")
        getattr(self, f"_{verb}")(op)

    def add(self, fields: dict[str, Any], *, origin: int | None = None, **more: Any) -> str:
        """A new row: what `origin` (default: the row's own number) generates, overridden by `fields`."""
        index = self.next_index
        self.next_index += 1
        on = fields.get("date", self.on.isoformat())
        authorized = {"authorized_date": on, "authorized_datetime": f"{on}T00:00:00Z"}
        fields = {"date": on, "pending": False} | authorized | fields
        transaction_id: str = fields.setdefault("transaction_id", self.item.data.id_of(index))
        if origin is None and "account_id" not in fields:
            account = self.item.open_accounts[index % len(self.item.open_accounts)]
            fields |= {"account_id": account.account_id} | self._currency(account.account_id)
        elif "account_id" in fields:
            fields = self._currency(fields["account_id"]) | fields
        row = {"do": "added", "index": index, "origin": index if origin is None else origin, "fields": fields}
        self.ops.append(row | {name: value for name, value in more.items() if value})
        self.ids.append(transaction_id)
        self._new[transaction_id] = index
        return transaction_id

    def modify(self, index: int, fields: dict[str, Any], **more: Any) -> None:
        self.ops.append(
            {"do": "modified", "index": index, "fields": fields}
            | {name: value for name, value in more.items() if value}
        )
        self.ids.append(self.item.id_of(index))

    def remove(self, index: int) -> None:
        self.ops.append({"do": "removed", "index": index})
        self.ids.append(self.item.id_of(index))

    def post(self, index: int, fields: dict[str, Any], *, is_added_first: bool = False) -> str:
        """The pending row leaves, a posted row with a new id points back at it (unless the bank never matches)."""
        item = self.item
        pending_id = item.id_of(index)
        row = item.rows.get(index)
        inherited = {name: value for name, value in (row.fields if row else {}).items() if name != "transaction_id"}
        matched = pending_id if item.bank.pendings else None
        posted = inherited | {"pending": False, "date": self.on.isoformat(), "pending_transaction_id": matched}
        if "authorized_date" not in posted:
            posted["authorized_date"] = item.data.facts(row.origin if row else index).authorized_on.isoformat()
            posted["authorized_datetime"] = f"{posted['authorized_date']}T00:00:00Z"
        if not is_added_first:
            self.ops.append({"do": "removed", "index": index})
        transaction_id = self.add(posted | fields, origin=row.origin if row else index)
        if is_added_first:
            self.ops.append({"do": "removed", "index": index})
        return transaction_id

    def _currency(self, account_id: str) -> dict[str, Any]:
        try:
            currency = self.item.account(account_id).currency
        except KeyError:
            return {}
        return {"iso_currency_code": currency.iso, "unofficial_currency_code": currency.unofficial}

    def _index(self, transaction_id: Any) -> int:
        if transaction_id in self._new:
            return self._new[transaction_id]
        return self.item.index_of(str(transaction_id))

    def _add(self, op: Op) -> None:
        given = dict(op.get("transaction") or {})
        self.add(given, raw=op.get("raw"), omit=op.get("omit"))

    def _modify(self, op: Op) -> None:
        more = {"raw": op.get("raw"), "omit": op.get("omit")}
        self.modify(self._index(op["transaction_id"]), dict(op.get("fields") or {}), **more)

    def _remove(self, op: Op) -> None:
        self.remove(self._index(op["transaction_id"]))

    def _post(self, op: Op) -> None:
        index = self._index(op["pending_transaction_id"])
        self.post(index, dict(op.get("fields") or {}), is_added_first=op.get("order") == "added_first")

    def _re_add(self, op: Op) -> None:
        index = self._index(op["transaction_id"])
        self.ops.append({"do": "added", "index": index})
        self.ids.append(self.item.id_of(index))

    def _raw_fragment(self, op: Op) -> None:
        text = op["json"]
        transaction_id = op.get("transaction_id") or self.item.data.id_of(self.next_index)
        account_id = op.get("account_id") or self.item.open_accounts[0].account_id
        text = text.replace("__TRANSACTION_ID__", transaction_id).replace("__ACCOUNT_ID__", account_id)
        self.add({"transaction_id": transaction_id, "account_id": account_id}, text=text)


def apply(item: Item, ops: list[Op]) -> None:
    """Apply resolved operations, all or none. Raises ValueError where one makes no sense (nothing changed then)."""
    check(item, ops)
    for op in ops:
        kind, index = op["do"], op["index"]
        _settle(item, index, -1) if kind != "added" else None
        if kind == "added" and "origin" in op:
            fields = op["fields"]
            item.rows[index] = Row(op["origin"], fields, op.get("raw") or {}, op.get("omit") or [], op.get("text"))
            item.next_index = max(item.next_index, index + 1)
            if fields["transaction_id"] != item.data.id_of(index):
                item.named[fields["transaction_id"]] = index
        elif kind == "modified":
            row = item.rows.setdefault(index, Row(index))
            row.fields.update(op["fields"])
            row.raw.update(op.get("raw") or {})
            row.omit.extend(op.get("omit") or [])
        item.log.append(kind, index)
        _settle(item, index, +1) if kind != "removed" else None


def check(item: Item, ops: list[Op]) -> None:
    """Every operation must make sense after the ones before it."""
    live: dict[int, bool] = {}
    for op in ops:
        index, kind = op["index"], op["do"]
        is_live = live.get(index, item.log.is_live(index))
        if is_live == (kind == "added"):
            raise ValueError(f"row {index} cannot be {kind}: it is {'there' if is_live else 'not there'}")
        live[index] = kind != "removed"


def _settle(item: Item, index: int, direction: int) -> None:
    """Let a row count (+1) or no longer (-1) in its account's balance; unreadable amounts never count."""
    row = item.rows.get(index)
    if row is not None and (row.text is not None or "amount" in row.raw):
        return
    try:
        account = item.account(item.account_id_of(index))
        units, is_pending = units_of(item, index), item.is_pending(index)
    except (KeyError, ValueError, ArithmeticError):
        return
    if is_pending:
        account.pending += direction * units
    else:
        account.current += direction * units * (1 if account.type in ("credit", "loan") else -1)


def units_of(item: Item, index: int) -> int:
    """The row's amount in its account's smallest units. Raises ValueError where it has no such amount."""
    row = item.rows.get(index)
    if row is None or "amount" not in row.fields:
        return item.data.facts(row.origin if row else index).units
    return int(Decimal(row.fields["amount"]).scaleb(item.exponent_of(item.account_id_of(index))))


def amount(item: Item, index: int, units: int) -> Decimal:
    return Decimal(money_text(units, item.exponent_of(item.account_id_of(index))))


# --- life ---


def live_a_while(item: Item, on: dt.date) -> Changes:
    """One step of an account's life, the same for the same (seed, step): pendings come, post, change, vanish."""
    changes = Changes(item, on)
    rng = random.Random(f"{item.seed}/{item.ticks}")
    recent = list(item.recent_live(80))
    pendings = [index for index in recent if item.is_pending(index)]
    posted = [index for index in recent if not item.is_pending(index) and item.id_of(index) not in item.named]
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
    recent = list(item.recent_live(120))
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
