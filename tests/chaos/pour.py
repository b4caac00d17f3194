"""Webhooks as they pour in: signed, doubled, shuffled, by several keep-alive clients, and again until they are accepted."""

import hashlib
import heapq
import hmac
import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import Any

import jwt

from tests.chaos.banks import Bank
from tests.chaos.world import World

SECRET = "shared-with-the-relay"  # what World needs as PLAID_WEBHOOK_SECRET
PATIENCE_S = 10  # Plaid's
AGAIN_S = (1, 2, 4)  # Plaid: 30 s, then four times longer each
CLIENTS = 6
DOUBLED = 0.3
FRESH_S = 120  # what was signed is taken for five minutes
IDLE_S = 1  # then a connection is made anew: the server closes those that are not used
UPDATES = ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE")
ACCOUNTS = ("ITEM", "NEW_ACCOUNTS_AVAILABLE")
ASIDE: dict[tuple[str, str], dict[str, Any]] = {  # what a bank's real webhooks come among
    ("TRANSACTIONS", "DEFAULT_UPDATE"): {"new_transactions": 3},
    ("TRANSACTIONS", "TRANSACTIONS_REMOVED"): {"removed_transactions": ["gone"]},
    ("TRANSACTIONS", "RECURRING_TRANSACTIONS_UPDATE"): {"account_ids": []},
    ACCOUNTS: {"error": None},
    ("ITEM", "LOGIN_REPAIRED"): {},
    ("ITEM", "ERROR"): {"error": {"error_type": "INSTITUTION_ERROR", "error_code": "INSTITUTION_DOWN"}},
    ("TRANSFER", "NEVER_HEARD_OF"): {},
}


@dataclass(frozen=True)
class Signed:
    """One webhook and its proof, byte for byte. issued_at: None where it is an HMAC, which tells no time."""

    item_id: str
    kind: tuple[str, str]
    body: bytes
    headers: dict[str, str] = field(hash=False)
    issued_at: int | None
    made_at: float

    def keys(self, since: float, until: float) -> set[str]:
        """As what the inbox may know it, where it came in between: as docs/explanation/webhooks.md has it."""
        digest = hashlib.sha256(self.body).hexdigest()
        if self.issued_at is not None:
            return {f"plaid:{digest}:iat:{self.issued_at}"}
        return {f"plaid:{digest}:minute:{minute}" for minute in range(int(since) // 60, int(until) // 60 + 1)}


@dataclass(order=True)
class Delivery:
    """On its way, not before `due`."""

    due: float
    seq: int
    signed: Signed = field(compare=False)
    tries: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Told:
    """What came of one attempt. status 0: no answer. moment: what was going on."""

    signed: Signed
    sent_at: float
    answered_at: float
    status: int
    answer: dict[str, Any]
    tries: int
    moment: str

    @property
    def took_s(self) -> float:
        return self.answered_at - self.sent_at


class Pour:
    """Delivers what it is offered until it is answered 200; `told` is all that was ever sent."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.told: list[Told] = []
        self.counts: Counter[str] = Counter()
        self.moment = "storm"
        self.error: BaseException | None = None
        self._numbers, self._seq = itertools.count(1), itertools.count(1)
        self._recent: deque[Signed] = deque(maxlen=200)
        self._queue: list[Delivery] = []
        self._under_way = 0
        self._change = threading.Condition()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"pour-{one}", daemon=True) for one in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S + 10)
        assert not any(thread.is_alive() for thread in self._threads)
        if self.error:
            raise self.error

    @property
    def under_way(self) -> int:
        return self._under_way

    @property
    def is_dry(self) -> bool:
        """All that was offered is accepted."""
        with self._change:
            return not self._queue and not self._under_way

    # --- what is sent ---
    def offer(self, banks: list[Bank], count: int) -> None:
        """`count` deliveries of these banks' webhooks, of which three in ten are the same as one before, byte for byte."""
        webhooks = [self._webhook(bank) for bank in self.rng.choices(banks, k=round(count * (1 - DOUBLED)))]
        originals = self._signed(webhooks)
        self._recent.extend(originals)
        theirs = {bank.plaid_id for bank in banks}  # a copy would bring a bank into the news again that has left them
        fresh = [one for one in self._recent if one.item_id in theirs and time.time() - one.made_at < FRESH_S]
        copies = self.rng.choices(fresh, k=round(count * DOUBLED))
        self.counts += Counter(originals=len(originals), copies=len(copies))
        together = originals + copies
        self.rng.shuffle(together)
        self._queue_up(together)

    def tell(self, bank: Bank, *kinds: tuple[str, str]) -> None:
        """Exactly these, each once."""
        self.counts += Counter(originals=len(kinds))
        self._queue_up(self._signed([self._webhook(bank, kind) for kind in kinds]))

    def _queue_up(self, several: list[Signed]) -> None:
        with self._change:
            for signed in several:
                heapq.heappush(self._queue, Delivery(time.monotonic(), next(self._seq), signed))
            self._change.notify_all()

    def _webhook(self, bank: Bank, kind: tuple[str, str] | None = None) -> tuple[Bank, tuple[str, str], bytes]:
        if kind is None:
            kind = UPDATES if self.rng.random() < 0.75 else self.rng.choice(list(ASIDE))
        body = {"webhook_type": kind[0], "webhook_code": kind[1], "item_id": bank.plaid_id, "environment": "sandbox"}
        body |= ASIDE.get(kind, {}) | {"number": next(self._numbers)}
        return bank, kind, json.dumps(body, indent=self.rng.choice((None, 2))).encode()

    def _signed(self, webhooks: list[tuple[Bank, tuple[str, str], bytes]]) -> list[Signed]:
        """Most by Plaid, some by a relay that shares a secret with us."""
        bodies = [body.decode() for _, _, body in webhooks]
        tokens = self.world.simulator.control("POST", "keys/sign", {"bodies": bodies})["signatures"]
        made = []
        for (bank, kind, body), token in zip(webhooks, tokens, strict=True):
            if self.rng.random() < 0.2:
                headers = {"X-Plaid-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}
                made.append(Signed(bank.plaid_id, kind, body, headers, None, time.time()))
            else:
                made.append(
                    Signed(bank.plaid_id, kind, body, {"Plaid-Verification": token}, _issued_at(token), time.time())
                )
        return made

    def _again(self, signed: Signed, tries: int) -> Signed:
        """The same once more, as a relay does, or signed anew, as Plaid does."""
        if signed.issued_at is None or (tries % 2 and time.time() - signed.made_at < FRESH_S):
            return signed
        bodies = {"bodies": [signed.body.decode()]}
        (token,) = self.world.simulator.control("POST", "keys/sign", bodies)["signatures"]
        headers = {"Plaid-Verification": token}
        return replace(signed, headers=headers, issued_at=_issued_at(token), made_at=time.time())

    # --- a client ---
    def _run(self) -> None:
        client = _Client(self.world.installation.port)
        try:
            while not self._stop.is_set():
                if delivery := self._next():
                    self._deliver(client, delivery)
        except BaseException as error:  # noqa: BLE001 - raised again by `stop`, in the test's own thread
            self.error = error
        finally:
            client.close()

    def _next(self) -> Delivery | None:
        with self._change:
            if not self._queue or self._queue[0].due > time.monotonic():
                self._change.wait(0.05)
                return None
            self._under_way += 1
            return heapq.heappop(self._queue)

    def _deliver(self, client: "_Client", delivery: Delivery) -> None:
        moment, sent_at = self.moment, time.time()
        status, answer = client.post(delivery.signed)
        told = Told(delivery.signed, sent_at, time.time(), status, answer, delivery.tries, moment)
        is_accepted = status == 200
        if not is_accepted:
            delivery.tries += 1
            delivery.due = time.monotonic() + AGAIN_S[min(delivery.tries, len(AGAIN_S)) - 1]
            delivery.signed = self._again(delivery.signed, delivery.tries)
        with self._change:
            self.told.append(told)
            self._under_way -= 1
            if not is_accepted:
                heapq.heappush(self._queue, delivery)


class _Client:
    """One connection, used again and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    def post(self, signed: Signed) -> tuple[int, dict[str, Any]]:
        if time.monotonic() - self._used_at > IDLE_S:
            self.close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "Plaid Webhooks"} | signed.headers
            self._connection.request("POST", "/webhook/plaid", signed.body, headers)
            response = self._connection.getresponse()
            answer = json.loads(response.read())
            self._used_at = time.monotonic()
            return response.status, answer
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            return 0, {}

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def _issued_at(token: str) -> int:
    return jwt.decode(token, options={"verify_signature": False})["iat"]
