"""Changes to an Item's rows. Each is a list of plain operations: first resolved (ids, numbers, defaults), journalled,
then applied; replaying the journal applies the same operations again.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from .plaid_items import Item, Row

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
    except (KeyError, ValueError, TypeError, ArithmeticError):
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
    amount = Decimal(row.fields["amount"])
    if amount.adjusted() > 15:
        raise ValueError("no account holds that much")
    return int(amount.scaleb(item.exponent_of(item.account_id_of(index))))
