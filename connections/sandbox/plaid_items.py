"""One Item: its accounts, its rows, its change log and its cursors. State only: nothing here writes the journal."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from . import exact
from .plaid_data import Generator, money_text
from .plaid_errors import PlaidError
from .plaid_institutions import INSTITUTIONS, Currency, Institution
from .plaid_log import ChangeLog

FACTS = (
    "transaction_id",
    "account_id",
    "amount",
    "iso_currency_code",
    "unofficial_currency_code",
    "date",
    "name",
    "pending",
    "pending_transaction_id",
)
INITIAL_DAYS = 30  # how far back the first data of a new Item reaches
NOT_READY, INITIAL, HISTORICAL = "not_ready", "initial", "historical"
UPDATE_STATUS = {NOT_READY: "NOT_READY", INITIAL: "INITIAL_UPDATE_COMPLETE", HISTORICAL: "HISTORICAL_UPDATE_COMPLETE"}


@dataclass(slots=True)
class Account:
    """`current`, `available`, `limit` in the currency's smallest units."""

    account_id: str
    name: str
    official_name: str
    mask: str
    type: str
    subtype: str
    holder_category: str
    currency: Currency
    current: int
    limit: int | None
    is_open: bool = True
    pending: int = 0  # sum of the pending rows, positive = going out

    @classmethod
    def from_event(cls, given: dict[str, Any]) -> Account:
        return cls(**(given | {"currency": Currency(*given["currency"])}))

    def shown(self) -> dict[str, Any]:
        exponent = self.currency.exponent

        def money(units: int) -> Decimal:
            return Decimal(money_text(units, exponent))

        is_credit = self.type == "credit"
        available = (self.limit or 0) - self.current - self.pending if is_credit else self.current - self.pending
        return {
            "account_id": self.account_id,
            "balances": {
                "available": money(available) if self.type != "loan" else None,
                "current": money(self.current),
                "iso_currency_code": self.currency.iso,
                "limit": money(self.limit) if self.limit is not None else None,
                "unofficial_currency_code": self.currency.unofficial,
            },
            "holder_category": self.holder_category,
            "mask": self.mask,
            "name": self.name,
            "official_name": self.official_name,
            "subtype": self.subtype,
            "type": self.type,
        }


@dataclass(slots=True)
class Row:
    """What makes a row differ from the generated one. `origin`: the generated row it began as.

    `raw`: JSON text by top-level field, put in verbatim. `omit`: fields left out. `text`: the whole row verbatim.
    """

    origin: int
    fields: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, str] = field(default_factory=dict)
    omit: list[str] = field(default_factory=list)
    text: str | None = None


class Cursor(NamedTuple):
    """Where a reader is: the last position read, where this loop began, and the log's head then (0: no loop open)."""

    item_id: str
    generation: int
    position: int
    start: int
    head: int
    account_id: str

    def encoded(self) -> str:
        text = "|".join(map(str, self)).encode()
        return base64.b64encode(text + b"|%08x" % zlib.crc32(text)).decode()

    @classmethod
    def decoded(cls, given: str) -> Cursor:
        """Raises PlaidError INVALID_FIELD where it is no cursor of ours."""
        try:
            text, _bar, check = base64.b64decode(given, validate=True).rpartition(b"|")
            if int(check, 16) != zlib.crc32(text):
                raise ValueError(given)
            item_id, generation, position, start, head, account_id = text.decode().split("|")
            return cls(item_id, int(generation), int(position), int(start), int(head), account_id)
        except (ValueError, binascii.Error) as error:
            raise PlaidError("INVALID_FIELD", "cursor is not a valid cursor") from error


class SyncPage(NamedTuple):
    """One answer of /transactions/sync. The lists hold rendered JSON; `accounts` those the rows belong to."""

    added: list[bytes]
    modified: list[bytes]
    removed: list[bytes]
    accounts: list[Account]
    next_cursor: str
    has_more: bool


class Item:
    """`lock` guards everything; callers hold it around reads that must agree and around every change."""

    def __init__(self, event: dict[str, Any]):
        self.lock = threading.RLock()
        self.item_id: str = event["item_id"]
        self.bank: Institution = INSTITUTIONS[event["institution_id"]]
        self.username: str = event["username"]
        self.seed: int = event["seed"]
        self.size: int = event["transactions"]
        self.days: int = event["days"]
        self.created_at: float = event["created_at"]
        self.anchor_on = dt.date.fromisoformat(event["anchor_on"])
        self.ready_at: dict[str, float] = event.get("ready_at") or {}
        self.webhook: str | None = event.get("webhook")
        self.has_life: bool = event.get("life", False)
        self.products: list[str] = event.get("products") or ["transactions"]
        self.accounts = [Account.from_event(given) for given in event["accounts"]]
        self.access_token: str | None = None
        self.ready = NOT_READY
        self.is_armed = False
        self.is_removed = False
        self.error_code: str | None = None
        self.consent_expires_at: str | None = None
        self.generation = 0
        self.ticks = 0
        self.last_webhook: dict[str, str] | None = None
        self.updated_at = self.created_at
        self.log = ChangeLog(is_raw=event.get("raw_log", False))
        self.rows: dict[int, Row] = {}
        self.named: dict[str, int] = {}  # rows whose id was given, not made
        self.next_index = self.size
        currencies = [account.currency for account in self.accounts]
        pendings = min(4, self.size // 10) if self.bank.pendings else 0
        self.data = Generator(
            self.item_id, self.seed, self.size, self.days, self.anchor_on, self.bank.region, currencies, pendings
        )
        self.initial_from = self._first_within(INITIAL_DAYS)
        self.drawn_accounts = [account.account_id for account in self.accounts]  # by the generator's numbers
        for index in range(self.size - pendings, self.size):
            facts = self.data.facts(index)
            self.accounts[facts.account].pending += facts.units
        self.become(event["ready"])

    def _first_within(self, days: int) -> int:
        """The oldest row of the last `days` days."""
        return self.size - min(self.size, self.size * days // self.days) if self.days > days else 0

    # --- readiness ---

    def become(self, ready: str) -> None:
        """Let data arrive: the newest month first, then the rest, or both at once. Never goes back."""
        if ready == self.ready or self.ready == HISTORICAL or ready == NOT_READY:
            return
        if self.ready == NOT_READY:
            if ready == HISTORICAL and self.initial_from < self.size:
                self.log.add_rows(range(self.size))
            else:
                self.log.add_rows(range(self.initial_from, self.size))
        elif ready == HISTORICAL:
            self.log.add_rows(range(self.initial_from))
        self.ready = ready

    # --- rows ---

    def id_of(self, index: int) -> str:
        row = self.rows.get(index)
        given = row.fields.get("transaction_id") if row else None
        return given if isinstance(given, str) else self.data.id_of(index)

    def index_of(self, transaction_id: str) -> int:
        """The row with this id, there or removed. Raises KeyError."""
        index = self.named.get(transaction_id)
        if index is None:
            index = self.data.index_of(transaction_id)
        if index is None or index >= self.next_index:
            raise KeyError(transaction_id)
        return index

    def text_of(self, index: int) -> bytes:
        """The row as JSON, as it is now."""
        row = self.rows.get(index)
        if row is None:
            return self.data.text(index, self.drawn_accounts).encode()
        if row.text is not None:
            return row.text.encode("utf-8", "surrogatepass")
        shown = exact.parse(self.data.text(row.origin, self.drawn_accounts))
        shown["transaction_id"] = self.data.id_of(index)
        shown.update(row.fields)
        shown.update((name, orjson.Fragment(text)) for name, text in row.raw.items())
        for name in row.omit:
            shown.pop(name, None)
        return exact.dumps(shown)

    def account_id_of(self, index: int) -> str:
        row = self.rows.get(index)
        if row is None:
            return self.drawn_accounts[self.data.account_of(index)]
        given = row.fields.get("account_id")
        return given if isinstance(given, str) else self.drawn_accounts[self.data.account_of(row.origin)]

    def is_pending(self, index: int) -> bool:
        row = self.rows.get(index)
        if row is not None and "pending" in row.fields:
            return row.fields["pending"] is True
        return self.data.facts(row.origin if row else index).pending

    def is_wholesome(self, index: int) -> bool:
        """Whether nobody tampered with the row's JSON or chose its id: life leaves such rows alone."""
        row = self.rows.get(index)
        tampered = row is not None and (row.text is not None or row.raw or row.omit)
        return not tampered and self.id_of(index) not in self.named

    def truth(self, index: int) -> dict[str, Any]:
        """The row's facts, for comparing with somebody's copy. `poison`: no database can hold the row as it is sent."""
        text = self.text_of(index)
        try:
            row = exact.parse(text)
            facts = {name: row[name] for name in FACTS} | {"amount": exact.plain(Decimal(row["amount"]))}
        except (ValueError, KeyError, TypeError, ArithmeticError):
            return {"transaction_id": self.id_of(index), "account_id": self.account_id_of(index), "poison": True}
        if b"\\u0000" not in text and b"\\ud" not in text.lower():
            return facts
        shown = {name: _storable(value) for name, value in facts.items()}
        return shown | {"poison": True}

    # --- accounts ---

    @property
    def open_accounts(self) -> list[Account]:
        return [account for account in self.accounts if account.is_open]

    def account(self, account_id: str) -> Account:
        """Raises KeyError."""
        for account in self.accounts:
            if account.account_id == account_id:
                return account
        raise KeyError(account_id)

    def exponent_of(self, account_id: str) -> int:
        try:
            return self.account(account_id).currency.exponent
        except KeyError:
            return 2

    # --- sync ---

    def cursor(self, position: int, *, start: int = 0, head: int = 0, account_id: str = "") -> str:
        return Cursor(self.item_id, self.generation, position, start, head, account_id).encoded()

    def sync(self, given: str, count: int, account_id: str, *, original_description: bool) -> SyncPage:
        """The page after cursor `given` ("" = from the beginning). Hold the lock.

        Raises PlaidError INVALID_FIELD for a cursor of another Item, stream or generation, and the mutation error
        where the log grew since the loop's first page.
        """
        if given == "now":
            return SyncPage([], [], [], [], self.cursor(self.log.head, account_id=account_id), False)
        if self.ready == NOT_READY and not self.log.head:
            return SyncPage([], [], [], [], "", False)
        cursor = self._checked(given, account_id) if given else Cursor(self.item_id, self.generation, 0, 0, 0, "")
        if cursor.head and cursor.head != self.log.head:
            raise PlaidError("TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION")
        start = cursor.start if cursor.head else cursor.position
        wanted = (lambda index: self.account_id_of(index) == account_id) if account_id else None
        updates, position, has_more = self.log.page(cursor.position, start=start, count=count, wanted=wanted)
        lists: dict[str, list[bytes]] = {"added": [], "modified": [], "removed": []}
        for kind, index in updates:
            if kind == "removed":
                gone = {"account_id": self.account_id_of(index), "transaction_id": self.id_of(index)}
                lists[kind].append(exact.dumps(gone))
            else:
                text = self.text_of(index)
                lists[kind].append(_described(text) if original_description else text)
        touched = {self.account_id_of(index) for _kind, index in updates}
        accounts = [account for account in self.open_accounts if account.account_id in touched]
        where = {"start": start, "head": self.log.head} if has_more else {}
        next_cursor = self.cursor(position, account_id=account_id, **where)
        return SyncPage(**lists, accounts=accounts, next_cursor=next_cursor, has_more=has_more)

    def _checked(self, given: str, account_id: str) -> Cursor:
        cursor = Cursor.decoded(given)
        if cursor.item_id != self.item_id or cursor.generation != self.generation:
            raise PlaidError("INVALID_FIELD", "cursor not associated with access_token")
        if cursor.account_id != account_id or cursor.position > self.log.head:
            raise PlaidError("INVALID_FIELD", "cursor not associated with this stream of the access_token")
        return cursor

    def live_facts(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Up to `limit` true rows with numbers above `after`, and the number to continue from (None: that was all)."""
        rows: list[dict[str, Any]] = []
        last = after
        for index in self.log.live_rows(after):
            if len(rows) == limit:
                return rows, last
            rows.append(self.truth(index))
            last = index
        return rows, None

    def recent_live(self, limit: int) -> Iterator[int]:
        """Rows that exist now among the newest `limit`, newest first."""
        for index in range(self.next_index - 1, max(-1, self.next_index - 1 - limit), -1):
            if self.log.is_live(index):
                yield index


def _storable(value: Any) -> Any:
    """Text with its NULs and lone surrogates spelled out."""
    return (
        value.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
    )


def _described(text: bytes) -> bytes:
    """The row with `original_description` filled, as a caller may ask; as it is where it is no proper JSON."""
    try:
        row = exact.parse(text)
        row["original_description"] = row.get("original_description") or row.get("name")
        return exact.dumps(row)
    except (ValueError, TypeError, AttributeError):
        return text
