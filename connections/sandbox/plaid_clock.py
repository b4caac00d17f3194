"""What happens by itself: data of new Items arrives, accounts live, and the webhooks that tell of it."""

from __future__ import annotations

import random
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from . import plaid_life
from .plaid_errors import PlaidError
from .plaid_items import HISTORICAL, INITIAL, NOT_READY, Item
from .plaid_world import ENVIRONMENT, timestamp, today
from .wire import stopping

if TYPE_CHECKING:
    from .plaid import PlaidSimulator

STEP_S = 0.2
FIRED_TYPES = {
    "DEFAULT_UPDATE": "TRANSACTIONS",
    "INITIAL_UPDATE": "TRANSACTIONS",
    "HISTORICAL_UPDATE": "TRANSACTIONS",
    "SYNC_UPDATES_AVAILABLE": "TRANSACTIONS",
    "RECURRING_TRANSACTIONS_UPDATE": "TRANSACTIONS",
    "TRANSACTIONS_REMOVED": "TRANSACTIONS",
    "NEW_ACCOUNTS_AVAILABLE": "ITEM",
    "LOGIN_REPAIRED": "ITEM",
    "PENDING_DISCONNECT": "ITEM",
    "PENDING_EXPIRATION": "ITEM",
    "USER_PERMISSION_REVOKED": "ITEM",
    "USER_ACCOUNT_REVOKED": "ITEM",
    "WEBHOOK_UPDATE_ACKNOWLEDGED": "ITEM",
    "ERROR": "ITEM",
    "PRODUCT_READY": "ASSETS",
    "SMS_MICRODEPOSITS_VERIFICATION": "AUTH",
    "AUTHORIZATION_GRANTED": "ITEM",
}


class Clock:
    """A background thread, and the verbs it shares with the routes: tick, announce, fire."""

    def __init__(self, simulator: PlaidSimulator, life_interval_s: float):
        self._simulator = simulator
        self._life_interval_s = life_interval_s
        self._next_tick: dict[str, float] = {}
        threading.Thread(target=self._run, name="plaid-clock", daemon=True).start()

    def _run(self) -> None:
        while not stopping.wait(STEP_S):
            try:
                self._step()
            except Exception:  # noqa: BLE001 - one odd Item must not stop the clock
                traceback.print_exc()

    def _step(self) -> None:
        for item, ready in self._simulator.world.due():
            self.arrive(item, ready)
        if self._life_interval_s > 0:
            self._live()

    def _live(self) -> None:
        now = time.monotonic()
        with self._simulator.world.lock:
            items = [item for item in self._simulator.world.items.values() if item.has_life]
        for item in items:
            due = self._next_tick.setdefault(item.item_id, now + self._wait())
            if due <= now and item.ready == HISTORICAL and item.access_token and not item.is_removed:
                self._next_tick[item.item_id] = now + self._wait()
                if not item.error_code:
                    self.tick(item)

    def _wait(self) -> float:
        return self._life_interval_s * random.uniform(0.5, 1.5)

    def arrive(self, item: Item, ready: str) -> None:
        """A new Item's data arrives up to `ready`."""
        with item.lock:
            if item.ready == ready or item.ready == HISTORICAL or item.is_removed:
                return
            before = item.log.live
            self._simulator.world.record({"e": "ready", "item_id": item.item_id, "to": ready})
            new = item.log.live - before
        self.fire_code(item, "INITIAL_UPDATE" if ready == INITIAL else "HISTORICAL_UPDATE", {"new_transactions": new})
        if item.is_armed:
            self.fire_code(item, "SYNC_UPDATES_AVAILABLE", {})

    def tick(self, item: Item, ticks: int = 1) -> list[str]:
        """Let `ticks` steps of life pass and announce them once. Returns the transaction ids concerned."""
        ids: list[str] = []
        for _turn in range(ticks):
            with item.lock:
                changes = plaid_life.live_a_while(item, today())
                self._simulator.world.change(item, changes, ticks=item.ticks + 1)
                ids += changes.ids
        self.announce(item)
        return ids

    def announce(self, item: Item) -> None:
        """Tell the Item's owner that transactions changed: the legacy webhook always, the other once sync was used."""
        self.fire_code(item, "DEFAULT_UPDATE", {"new_transactions": 1})
        if item.is_armed:
            self.fire_code(item, "SYNC_UPDATES_AVAILABLE", {})

    def fire_code(self, item: Item, code: str, extra: dict[str, Any], *, kind: str | None = None) -> bool:
        """Fire a webhook with the fields its code has by nature. False: no such code."""
        kind = kind or FIRED_TYPES.get(code)
        if kind is None:
            return False
        self.fire(item, kind, code, self._natural(item, code, extra))
        return True

    def _natural(self, item: Item, code: str, extra: dict[str, Any]) -> dict[str, Any]:
        error = PlaidError(item.error_code or "ITEM_LOGIN_REQUIRED").body()
        in_a_week = timestamp(time.time() + 7 * 86400)
        natural: dict[str, dict[str, Any]] = {
            "SYNC_UPDATES_AVAILABLE": {
                "initial_update_complete": item.ready != NOT_READY,
                "historical_update_complete": item.ready == HISTORICAL,
            },
            "INITIAL_UPDATE": {"new_transactions": 0, "error": None},
            "HISTORICAL_UPDATE": {"new_transactions": 0, "error": None},
            "DEFAULT_UPDATE": {"new_transactions": 0, "error": None},
            "TRANSACTIONS_REMOVED": {"removed_transactions": [], "error": None},
            "RECURRING_TRANSACTIONS_UPDATE": {"account_ids": [account.account_id for account in item.open_accounts]},
            "ERROR": {"error": error},
            "PENDING_DISCONNECT": {"reason": "INSTITUTION_TOKEN_EXPIRATION", "disconnect_time": in_a_week},
            "PENDING_EXPIRATION": {"consent_expiration_time": item.consent_expires_at or in_a_week},
            "USER_ACCOUNT_REVOKED": {"account_id": item.open_accounts[0].account_id if item.open_accounts else ""},
            "NEW_ACCOUNTS_AVAILABLE": {"error": None},
            "USER_PERMISSION_REVOKED": {"error": PlaidError("USER_PERMISSION_REVOKED").body()},
            "WEBHOOK_UPDATE_ACKNOWLEDGED": {"new_webhook_url": item.webhook or "", "error": None},
        }
        wanted = natural.get(code, {})
        return wanted | {name: value for name, value in extra.items() if name in wanted or name != "new_transactions"}

    def fire(self, item: Item, kind: str, code: str, extra: dict[str, Any]) -> int | None:
        """Fire exactly this webhook. Returns its number in the delivery log, None without a webhook URL."""
        if not item.webhook:
            return None
        item.last_webhook = {"sent_at": timestamp(), "code_sent": code}
        body = {"webhook_type": kind, "webhook_code": code, "item_id": item.item_id, "environment": ENVIRONMENT} | extra
        return self._simulator.courier.send(item.webhook, body, item_id=item.item_id)
