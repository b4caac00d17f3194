"""Banks whose truth does not stand still, and what somebody who watches them may expect of us."""

import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg

from tests.chaos.world import World
from tests.conftest import call
from tests.plugin import ENVIRONMENT

SIZES = {"single page": 120, "small": 900, "middle": 2_480, "large": 6_500}  # 10 000 in all; pages have 500
SYNC = "/transactions/sync"
MOST_BURSTS = 5


@dataclass
class Bank:
    """One Item: what was done at its source, what a user attached here, and which news of it we accepted."""

    name: str
    plaid_id: str
    access_token: str
    connection_id: str
    live: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    posted_as: dict[str, str] = field(default_factory=dict)
    bursts: int = 0
    changed_at: float = 0.0
    refreshes: list[tuple[float, str]] = field(default_factory=list)  # when one that was accepted was sent, and its run
    calls: list[float] = field(default_factory=list)  # when the source was asked for updates


def link(world: World, name: str, *, seed: int, faults: tuple[dict, ...] = (), transactions: int | None = None) -> Bank:
    """Link a bank through the API. faults: set before anybody can ask it for anything."""
    webhook = f"{world.installation.url}/webhook/plaid"
    given = {
        "transactions": transactions or SIZES[name],
        "accounts": 2,
        "life": False,
        "webhook": webhook,
        "seed": seed,
    }
    made = world.simulator.control("POST", "items", given)
    for fault in faults:
        world.simulator.control("POST", "faults", {"path": SYNC, "item_id": made["item_id"]} | fault)
    body = {"public_token": made["public_token"], "environment": "sandbox"}
    answer = world.post_until_accepted("plaid/exchange-token", body)
    rows = world.simulator.control("GET", f"items/{made['item_id']}/truth?limit=400")["transactions"]
    bank = Bank(name, made["item_id"], made["access_token"], answer["id"])
    bank.live = [row["transaction_id"] for row in rows if not row["pending"]]
    bank.pending = [row["transaction_id"] for row in rows if row["pending"]]
    return bank


class Mover:
    """Changes the truth, announces it, troubles the provider, and writes notes, until it is stopped."""

    WEIGHTS = {"change": 50, "burst": 7, "disown": 5, "trouble": 16, "refresh": 12, "annotate": 10}

    def __init__(self, world: World, banks: list[Bank], rng: random.Random) -> None:
        self.world, self.banks, self.rng = world, banks, rng
        self.done: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.error: BaseException | None = None
        self._seen = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mover", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.wait(self.rng.uniform(0.1, 0.7)):
                what = self.rng.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
                getattr(self, what)(self.rng.choice(self.banks))
                self.done[what] += 1
                self.collect()
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`, in the test's own thread
            self.error = error

    # --- what happens at the source ---
    def ops(self, bank: Bank, ops: list[dict], *, is_announced: bool) -> list[str]:
        path = f"items/{bank.plaid_id}/ops"
        done = self.world.simulator.control("POST", path, {"ops": ops, "fire_webhook": is_announced})
        bank.changed_at = time.time()
        return done["transaction_ids"]

    def change(self, bank: Bank) -> None:
        self.alter(bank)
        if self.rng.random() < 0.75:
            self._add(bank, is_announced=True)

    def alter(self, bank: Bank) -> None:
        """A few changes, and nobody is told."""
        for _ in range(self.rng.randint(1, 4)):
            getattr(self, f"_{self.rng.choice(('add', 'add', 'modify', 'modify', 'remove', 're_add', 'post'))}")(bank)

    def _add(self, bank: Bank, *, is_announced: bool = False) -> None:
        is_pending = self.rng.random() < 0.4
        fields = {"amount": self.rng.randint(-99_999, 99_999) / 100, "name": "Moved", "pending": is_pending}
        made = self.ops(bank, [{"op": "add", "transaction": fields}], is_announced=is_announced)
        (bank.pending if is_pending else bank.live).extend(made)

    def _modify(self, bank: Bank) -> None:
        amount = self.rng.randint(-99_999, 99_999) / 100
        op = {"op": "modify", "transaction_id": self.rng.choice(bank.live), "fields": {"amount": amount}}
        self.ops(bank, [op], is_announced=False)

    def _remove(self, bank: Bank) -> None:
        if len(bank.live) > 50:
            removed = bank.live.pop(self.rng.randrange(len(bank.live)))
            self.ops(bank, [{"op": "remove", "transaction_id": removed}], is_announced=False)
            bank.gone.append(removed)

    def _re_add(self, bank: Bank) -> None:
        if bank.gone:
            again = bank.gone.pop(self.rng.randrange(len(bank.gone)))
            self.ops(bank, [{"op": "re_add", "transaction_id": again}], is_announced=False)
            bank.live.append(again)

    def _post(self, bank: Bank) -> None:
        if bank.pending:
            was = bank.pending.pop(self.rng.randrange(len(bank.pending)))
            order = self.rng.choice(({}, {"order": "added_first"}))
            made = self.ops(bank, [{"op": "post", "pending_transaction_id": was} | order], is_announced=False)
            bank.posted_as[was] = next(made_id for made_id in made if made_id != was)
            bank.live.append(bank.posted_as[was])

    def burst(self, bank: Bank, *, is_announced: bool = True) -> None:
        """More than a page at once, so often that a bank stays readable between two kills."""
        bank.bursts += 1
        if bank.bursts > MOST_BURSTS:
            (self.change if is_announced else self.alter)(bank)
            return
        ops = [{"op": "add", "transaction": {"amount": number / 100, "name": "Burst"}} for number in range(650)]
        bank.live.extend(self.ops(bank, ops, is_announced=is_announced)[:20])

    def disown(self, bank: Bank) -> None:
        """The source forgets our cursor: all of it is read again, over the rows that are here."""
        self.world.simulator.control("POST", f"items/{bank.plaid_id}/state", {"disown_cursors": True})
        bank.changed_at = time.time()
        self.refresh(bank)

    def trouble(self, bank: Bank) -> None:
        kinds: list[dict[str, Any]] = [
            {"kind": "mutation", "skip": self.rng.randint(0, 4)},
            {"kind": "latency", "seconds": self.rng.uniform(0.1, 0.5), "times": self.rng.randint(2, 12)},
            {"kind": "reset"},
            {"kind": "truncated"},
            {"kind": "error", "status": 500, "error_type": "API_ERROR", "error_code": "INTERNAL_SERVER_ERROR"},
        ]
        fault = {"path": SYNC, "item_id": bank.plaid_id} | self.rng.choice(kinds)
        self.world.simulator.control("POST", "faults", fault)

    # --- what happens here ---
    def refresh(self, bank: Bank) -> bool:
        """A person asks for a sync. Whether the request was accepted."""
        sent_at = time.time()
        status, answer = self.world.post(f"connections/{bank.connection_id}/refresh")
        self.answers[status] += 1
        if status == 202:
            bank.refreshes.append((sent_at, answer["sync_id"]))
        return status == 202

    def annotate(self, bank: Bank) -> None:
        """A user writes a note on a row that is here. It counts once the database has it."""
        chosen = self.rng.choice(bank.live + bank.pending)
        query = """UPDATE sync_transaction SET note = %s WHERE connection_id = %s AND external_id = %s AND NOT archived
                   RETURNING note"""
        with contextlib.suppress(psycopg.OperationalError):
            for (text,) in self.world.ask(query, f"note on {chosen}", bank.connection_id, chosen):
                bank.notes[chosen] = text

    def collect(self) -> None:
        """The simulator keeps the last few thousand requests only."""
        for row in self.world.simulator.control("GET", f"log?after={self._seen}")["requests"]:
            self._seen = max(self._seen, row["seq"])
            for bank in self.banks:
                if row["path"] == SYNC and row["item_id"] == bank.plaid_id:
                    bank.calls.append(row["time"])


# --- what is true, there and here ---
Rows = dict[str, tuple]


def truth(world: World, bank: Bank) -> Rows:
    found: Rows = {}
    after: Any = -1
    while after is not None:
        answer = world.simulator.control("GET", f"items/{bank.plaid_id}/truth?limit=10000&after={after}")
        found |= {
            row["transaction_id"]: (
                Decimal(str(row["amount"])).normalize(),
                row["iso_currency_code"],
                row["unofficial_currency_code"],
                row["date"],
                row["name"],
                row["pending"],
            )
            for row in answer["transactions"]
        }
        after = answer["next"]
    return found


def ours(world: World, bank: Bank) -> Rows:
    """The same of our live rows."""
    query = """SELECT external_id, amount, iso_currency, unofficial_currency, date::text, name, pending
               FROM sync_transaction WHERE connection_id = %s AND NOT archived"""
    return {row[0]: (row[1].normalize(), *row[2:]) for row in world.ask(query, bank.connection_id)}


def news_after_cursor(world: World, bank: Bank, cursor: str) -> dict:
    """What the source still has to tell after a cursor, asked as a client does."""
    keys = {"client_id": ENVIRONMENT["PLAID_CLIENT_ID"], "secret": ENVIRONMENT["PLAID_SECRET"]}
    body = keys | {"access_token": bank.access_token, "cursor": cursor, "count": 100}
    status, answer = call("POST", f"{world.simulator.url}/plaid{SYNC}", body)
    assert status == 200, answer
    return {name: answer[name] for name in ("added", "modified", "removed", "has_more")}


def accepted_webhooks(world: World, bank: Bank) -> list[float]:
    """When a delivery was answered 200."""
    sent = world.simulator.control("GET", f"webhooks?item_id={bank.plaid_id}")["webhooks"]
    return [attempt["at"] for webhook in sent for attempt in webhook["attempts"] if attempt["status"] == 200]


def waiting_webhooks(world: World) -> int:
    """Deliveries that the source will try, or try again."""
    sent = world.simulator.control("GET", "webhooks")["webhooks"]
    return sum(webhook["status"] != 200 and len(webhook["attempts"]) < 4 for webhook in sent)
