"""Everything the simulated Plaid knows, made from its journal. All changes go through `record`: write, then apply."""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from . import exact, plaid_changes
from .journal import Event, Journal
from .plaid_data import opaque, scramble
from .plaid_errors import PlaidError
from .plaid_institutions import INSTITUTIONS, AccountKind
from .plaid_items import HISTORICAL, INITIAL, NOT_READY, Account, Item
from .plaid_webhooks import SigningKey

ENVIRONMENT = "sandbox"
PUBLIC_TOKEN_LIFE_S = 30 * 60
USERS: dict[str, int | None] = {  # user name -> transactions; None: by the days asked for
    "user_good": None,
    "user_transactions_dynamic": 50,
    "user_empty": 40,
    "user_big": 100_000,
}


@dataclass(slots=True)
class LinkSession:
    """One visit to the hosted page. `result`: {public_token, accounts, institution} or None."""

    session_id: str
    started_at: str
    finished_at: str | None = None
    result: dict[str, Any] | None = None
    exit: dict[str, Any] | None = None
    institution_id: str | None = None
    username: str | None = None
    error_code: str | None = None
    account_keys: list[int] = field(default_factory=list)


@dataclass(slots=True)
class LinkToken:
    """`request` is the body of /link/token/create without keys; `item_id` is set in update mode."""

    token: str
    created_at: str
    expires_at: float
    request: dict[str, Any]
    item_id: str | None = None
    session: LinkSession | None = None

    @property
    def is_finished(self) -> bool:
        return self.session is not None and self.session.finished_at is not None


def timestamp(seconds: float | None = None) -> str:
    moment = dt.datetime.fromtimestamp(time.time() if seconds is None else seconds, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def parse_event(line: bytes) -> Event:
    event = orjson.loads(line)
    return exact.parse(line) if "ops" in event else event  # amounts as they were written


class World:
    """Items, tokens, link tokens, signing keys. `lock` guards the registries; an Item's own lock its contents."""

    def __init__(self, path: Path, *, ready_after_s: float):
        self.lock = threading.RLock()
        self.ready_after_s = ready_after_s
        self._forget()
        self.keys: dict[str, SigningKey] = {}
        self.journal = Journal(path)
        for event in self.journal.replay(parse_event):
            self._apply(event)
        if not self.keys:
            self.rotate_key()

    def _forget(self) -> None:
        self.items: dict[str, Item] = {}
        self.by_access_token: dict[str, Item] = {}
        self.public_tokens: dict[str, dict[str, Any]] = {}
        self.links: dict[str, LinkToken] = {}

    def reset(self) -> None:
        """Forget all but the signing keys."""
        with self.lock:
            self._forget()
            self.journal.restart([self._key_event(key) for key in self.keys.values()])

    # --- the journal ---

    def record(self, event: Event) -> None:
        """Write `event`, then let it happen. Hold the lock of what it changes."""
        self.journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        getattr(self, f"_on_{event['e']}")(event)

    def _on_item(self, event: Event) -> None:
        self.items[event["item_id"]] = Item(event)

    def _on_public_token(self, event: Event) -> None:
        self.public_tokens[event["token"]] = {
            "item_id": event["item_id"],
            "expires_at": event["expires_at"],
            "used": False,
        }

    def _on_exchange(self, event: Event) -> None:
        self.public_tokens[event["token"]]["used"] = True
        self._give_token(self.items[event["item_id"]], event["access_token"])

    def _on_access_token(self, event: Event) -> None:
        self._give_token(self.items[event["item_id"]], event["access_token"])

    def _give_token(self, item: Item, token: str) -> None:
        if item.access_token and item.access_token != token:
            self.by_access_token.pop(item.access_token, None)
        item.access_token = token
        self.by_access_token[token] = item

    def _on_removed(self, event: Event) -> None:
        self.items[event["item_id"]].is_removed = True

    def _on_webhook(self, event: Event) -> None:
        self.items[event["item_id"]].webhook = event["url"]

    def _on_armed(self, event: Event) -> None:
        self.items[event["item_id"]].is_armed = True

    def _on_ready(self, event: Event) -> None:
        self.items[event["item_id"]].become(event["to"])

    def _on_ops(self, event: Event) -> None:
        item = self.items[event["item_id"]]
        plaid_changes.apply(item, event["ops"])
        item.ticks = event.get("ticks", item.ticks)
        item.updated_at = event.get("at", item.updated_at)

    def _on_state(self, event: Event) -> None:
        item = self.items[event["item_id"]]
        for name in ("error_code", "consent_expires_at", "generation", "has_life"):
            if name in event:
                setattr(item, name, event[name])

    def _on_account(self, event: Event) -> None:
        """An account appears, or changes by its id."""
        item = self.items[event["item_id"]]
        if "new" in event:
            item.accounts.append(Account.from_event(event["new"]))
            return
        account = item.account(event["account_id"])
        for name, value in event["fields"].items():
            setattr(account, name, value)

    def _on_link(self, event: Event) -> None:
        self.links[event["token"]] = LinkToken(
            event["token"], event["created_at"], event["expires_at"], event["request"], event.get("item_id")
        )

    def _on_session(self, event: Event) -> None:
        self.links[event["token"]].session = LinkSession(**event["session"])

    def _on_key(self, event: Event) -> None:
        for key in self.keys.values():
            key.expired_at = key.expired_at or event["created_at"]
        self.keys[event["kid"]] = SigningKey(event["kid"], event["pem"], event["created_at"], event.get("expired_at"))

    # --- keys ---

    @staticmethod
    def _key_event(key: SigningKey) -> Event:
        event = {"e": "key", "kid": key.kid, "pem": key.pem, "created_at": key.created_at}
        return event | ({"expired_at": key.expired_at} if key.expired_at else {})

    def rotate_key(self) -> SigningKey:
        """A new signing key; the ones before expire now."""
        with self.lock:
            key = SigningKey.new()
            self.record(self._key_event(key))
            return self.keys[key.kid]

    def current_key(self) -> SigningKey:
        with self.lock:
            return list(self.keys.values())[-1]

    # --- Items ---

    def create_item(
        self,
        *,
        institution_id: str,
        username: str,
        account_keys: list[int] | None = None,
        accounts: int | None = None,
        seed: int | None = None,
        transactions: int | None = None,
        days: int = 90,
        ready: str | None = None,
        webhook: str | None = None,
        **more: Any,
    ) -> Item:
        """A new Item. `account_keys`: which of the bank's accounts; `accounts`: how many, repeating them if need be.

        `ready` None: data arrives by and by, as for a person who just linked.
        """
        item_id = opaque("item", uuid.uuid4())
        seed = scramble(len(self.items) + 1) % 1_000_000 if seed is None else seed
        kinds = list(enumerate(INSTITUTIONS[institution_id].accounts))
        if account_keys is not None:
            kinds = [(key, kind) for key, kind in kinds if key in account_keys]
        elif accounts is not None:
            kinds = [(turn, kinds[turn % len(kinds)][1]) for turn in range(accounts)]
        if transactions is None:
            wanted = USERS.get(username)
            transactions = wanted if wanted is not None else max(10, days * 22 // 10)
        now = time.time()
        event = {
            "e": "item",
            "item_id": item_id,
            "institution_id": institution_id,
            "username": username,
            "seed": seed,
            "transactions": transactions,
            "days": days,
            "created_at": now,
            "anchor_on": today().isoformat(),
            "accounts": [account_event(item_id, seed, key, kind) for key, kind in kinds],
            "webhook": webhook,
            **self._readiness(username, ready, now),
            **more,
        }
        with self.lock:
            self.record(event)
            return self.items[item_id]

    def _readiness(self, username: str, ready: str | None, now: float) -> dict[str, Any]:
        """Either a fixed state, or when the first month and the rest will be there."""
        if ready is not None or username == "user_transactions_dynamic":
            return {"ready": ready or HISTORICAL}
        delay = self.ready_after_s * (20 if username == "user_empty" else 1)
        return {"ready": NOT_READY, "ready_at": {INITIAL: now + delay, HISTORICAL: now + 2 * delay}}

    def public_token(self, item: Item) -> str:
        token = f"public-{ENVIRONMENT}-{uuid.uuid4()}"
        with self.lock:
            expires_at = time.time() + PUBLIC_TOKEN_LIFE_S
            self.record({"e": "public_token", "token": token, "item_id": item.item_id, "expires_at": expires_at})
        return token

    def exchange(self, token: str) -> Item:
        """Give the public token's Item its access token. Raises PlaidError: a public token works once, for 30 min."""
        with self.lock:
            known = self.public_tokens.get(token)
            if known is None:
                raise PlaidError("INVALID_PUBLIC_TOKEN")
            if known["used"]:
                raise PlaidError("INVALID_PUBLIC_TOKEN", "public token was already exchanged")
            if known["expires_at"] < time.time():
                raise PlaidError("INVALID_PUBLIC_TOKEN", "public token has expired")
            item = self.items[known["item_id"]]
            access_token = item.access_token or new_access_token()
            self.record({"e": "exchange", "token": token, "item_id": item.item_id, "access_token": access_token})
            return item

    def change(self, item: Item, changes: plaid_changes.Changes, **more: Any) -> None:
        """Journal and apply resolved operations. Hold the Item's lock. Raises ValueError where they make no sense."""
        plaid_changes.check(item, changes.ops)
        self.record({"e": "ops", "item_id": item.item_id, "ops": changes.ops, "at": time.time(), **more})

    def due(self, clock: Callable[[], float] = time.time) -> list[tuple[Item, str]]:
        """Items whose next data arrived: (Item, readiness to reach)."""
        now = clock()
        with self.lock:
            waiting = [item for item in self.items.values() if item.ready_at and item.ready != HISTORICAL]
        found = []
        for item in waiting:
            for ready in (HISTORICAL, INITIAL):
                if item.ready_at.get(ready, now + 1) <= now and item.ready != ready:
                    found.append((item, ready))
                    break
        return found


def new_access_token() -> str:
    return f"access-{ENVIRONMENT}-{uuid.UUID(bytes=secrets.token_bytes(16))}"


def account_event(item_id: str, seed: int, key: int, kind: AccountKind) -> dict[str, Any]:
    """A bank's kind of account as one person's, in the journal's shape. `key` tells the Item's accounts apart."""
    currency = kind.currency
    return {
        "account_id": opaque("account", item_id, key),
        "name": kind.name,
        "official_name": kind.official_name,
        "mask": f"{scramble(seed + 31 * key) % 10_000:04d}",
        "type": kind.type,
        "subtype": kind.subtype,
        "holder_category": kind.holder,
        "currency": [currency.iso, currency.unofficial, currency.exponent],
        "current": kind.balance,
        "limit": kind.limit,
    }
