"""Webhooks: what changed, gathered for a while, signed, and sent until it is acknowledged."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import http.client
import itertools
import json
import threading
import time
import traceback
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from .faults import WEBHOOK, Fault, Faults
from .plaid_webhooks import loopback
from .quickbooks_store import Company
from .quickbooks_world import App, World
from .wire import stopping

TIMEOUT_S = 3  # longer, and Intuit takes it for a failure
# The published schedule: 0 s, 10 s, 20 s, 30 s, 5 min, 20 min, 2 h, 4 h, 6 h, then every 6 h.
RETRIES_S = (10, 20, 30, 300, 1200, 7200, 14400, 21600)
OPERATIONS = {
    "Create": "created",
    "Update": "updated",
    "Delete": "deleted",
    "Void": "voided",
    "Merge": "merged",
    "Emailed": "emailed",
}
# Which operations are told of, by entity: C create, U update, D delete, M merge, V void, E emailed.
TOLD = {
    **dict.fromkeys(("Customer", "Vendor", "Item", "Account"), "CUDM"),
    **dict.fromkeys(("Invoice", "SalesReceipt", "RefundReceipt", "CreditMemo", "Payment"), "CUDVE"),
    "Bill": "CUD",
    "Preferences": "U",
    **dict.fromkeys(("PaymentMethod", "Term", "Class", "Department"), "CUDM"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one object."""

    realm: str
    entity: str
    id: str
    operation: str
    at: float
    event_id: str
    deleted_id: str | None = None


@dataclass(slots=True)
class Delivery:
    """One request on its way to an endpoint. `attempts` are the log."""

    seq: int
    client_id: str
    url: str
    form: str
    body: bytes
    realms: tuple[str, ...]
    due: float
    fault: Fault | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)

    def logged(self) -> dict[str, Any]:
        last = self.attempts[-1] if self.attempts else {}
        return {
            "seq": self.seq,
            "client_id": self.client_id,
            "url": self.url,
            "format": self.form,
            "body": self.body.decode(errors="replace") if self.form == "raw" else json.loads(self.body),
            "realms": self.realms,
            "fault": self.fault.kind if self.fault else None,
            "status": last.get("status", "waiting"),
            "attempts": self.attempts,
        }


@dataclass(slots=True)
class Settings:
    """`gather_s`: how long changes are gathered into one request; `retry_scale`: what the schedule is multiplied by."""

    gather_s: float = 0.3
    retry_scale: float = 0.01


class Courier:
    """One queue per app: until a request is acknowledged, the later ones wait behind it."""

    def __init__(self, world: World, faults: Faults):
        self._world = world
        self._faults = faults
        self._seq = itertools.count(1)
        self._wake = threading.Condition()
        self._log: deque[Delivery] = deque(maxlen=2000)
        self._restore()
        threading.Thread(target=self._work, name="quickbooks-webhooks", daemon=True).start()

    def _restore(self) -> None:
        self.settings = Settings()
        self._gathered: defaultdict[str, list[Event]] = defaultdict(list)
        self._gather_until: dict[str, float] = {}
        self._queues: defaultdict[str, deque[Delivery]] = defaultdict(deque)
        self._held: dict[str, Delivery] = {}
        self._beside: list[Delivery] = []  # outside the order: late ones
        self._busy: set[str] = set()

    def clear(self) -> None:
        with self._wake:
            self._restore()
            self._log.clear()

    def log(self, after: int = 0) -> list[dict[str, Any]]:
        with self._wake:
            return [delivery.logged() for delivery in self._log if delivery.seq > after]

    # --- in ---

    def note(self, company: Company, events: list[tuple[str, str, str]], *, deleted_id: str | None = None) -> None:
        """Changes happened: whoever is connected to the company will hear of them."""
        told = [one for one in events if one[2][0] in TOLD.get(one[0], "")]
        apps = self._listeners(company.realm) if told else []
        now = company.now()
        fresh = [
            Event(company.realm, entity, key, verb, now, str(uuid.uuid4()), deleted_id) for entity, key, verb in told
        ]
        with self._wake:
            for app in apps:
                self._gathered[app.client_id] += fresh
                self._gather_until.setdefault(app.client_id, time.monotonic() + self.settings.gather_s)
            self._wake.notify_all()

    def _listeners(self, realm: str) -> list[App]:
        world = self._world
        with world.lock:
            connected = {one.client_id for one in world.grants.values() if one.realm == realm and not one.is_revoked}
        return [app for app in list(world.apps.values()) if app.client_id in connected and app.webhook_url]

    def send(self, app: App, events: list[Event], *, form: str | None = None) -> list[int]:
        """Queue one request now. Returns the numbers it has in the log."""
        form = form or app.webhook_format
        fault = self._faults.take("webhook", events[0].realm, WEBHOOK)
        if fault and fault.kind == "clock_skew":
            skew_s = float(fault.options.get("seconds", 600))
            events = [
                Event(one.realm, one.entity, one.id, one.operation, one.at + skew_s, one.event_id) for one in events
            ]
        body = json.dumps(cloud_events(events) if form == "cloudevents" else legacy(events)).encode()
        return self._enqueue(app, form, body, tuple(sorted({one.realm for one in events})), fault)

    def send_raw(self, app: App, body: bytes) -> list[int]:
        """Queue a body as it is, rightly signed."""
        return self._enqueue(app, "raw", body, (), None)

    def _enqueue(self, app: App, form: str, body: bytes, realms: tuple[str, ...], fault: Fault | None) -> list[int]:
        with self._wake:
            copies = int(fault.options.get("copies", 1)) if fault and fault.kind == "duplicate" else 0
            made = [
                Delivery(next(self._seq), app.client_id, app.webhook_url, form, body, realms, time.monotonic(), fault)
                for _copy in range(1 + copies)
            ]
            self._log.extend(made)
            queue = self._queues[app.client_id]
            if fault and fault.kind == "late":
                made[0].due += float(fault.options.get("seconds", 5))
                self._beside += made
            elif fault and fault.kind == "reorder" and app.client_id not in self._held:
                self._held[app.client_id] = made[0]
            else:
                queue.extend(made)
                if held := self._held.pop(app.client_id, None):
                    queue.append(held)
            self._wake.notify_all()
        return [one.seq for one in made]

    # --- out ---

    def _work(self) -> None:
        """Dispatch to a thread per app, so that one dead endpoint delays nobody else."""
        while not stopping.is_set():
            try:
                self._close_gatherings()
                with self._wake:
                    ready = self._ready()
                    for delivery in ready:
                        threading.Thread(target=self._attempt, args=(delivery,), daemon=True).start()
                    if not ready:
                        self._wake.wait(0.05)
            except Exception:  # noqa: BLE001 - one bad delivery must not stop the rest
                traceback.print_exc()

    def _close_gatherings(self) -> None:
        now = time.monotonic()
        with self._wake:
            due = [client_id for client_id, until in self._gather_until.items() if until <= now]
            taken = [(client_id, self._gathered.pop(client_id)) for client_id in due]
            for client_id in due:
                del self._gather_until[client_id]
        for client_id, events in taken:
            if app := self._world.apps.get(client_id):
                self.send(app, events)

    def _ready(self) -> list[Delivery]:
        """What may be tried now: the head of each queue nobody is at, and late ones. Hold the condition."""
        now = time.monotonic()
        heads = [queue[0] for client_id, queue in self._queues.items() if queue and client_id not in self._busy]
        heads = [head for head in heads if head.due <= now]
        self._busy |= {head.client_id for head in heads}
        late = [one for one in self._beside if one.due <= now]
        self._beside = [one for one in self._beside if one.due > now]
        return heads + late

    def _attempt(self, delivery: Delivery) -> None:
        status = self._post(delivery)
        with self._wake:
            delivery.attempts.append({"at": time.time(), "status": status})
            queue = self._queues[delivery.client_id]
            is_head = bool(queue) and queue[0] is delivery
            if is_head:
                self._busy.discard(delivery.client_id)
            if status in (200, "refused"):
                if is_head:
                    queue.popleft()
            else:
                tried = len(delivery.attempts)
                delivery.due = time.monotonic() + RETRIES_S[min(tried, len(RETRIES_S)) - 1] * self.settings.retry_scale
                if not is_head and tried <= len(RETRIES_S):
                    self._beside.append(delivery)
            self._wake.notify_all()

    def _post(self, delivery: Delivery) -> int | str:
        """The HTTP status, "refused" for an address that is not ours to call, or what went wrong."""
        target = loopback(delivery.url)
        if target is None:
            return "refused"
        host, port, path = target
        kind = "application/cloudevents+json" if delivery.form == "cloudevents" else "application/json"
        headers = {"Content-Type": kind, "User-Agent": "intuit_notification_server"}
        if (signature := self._signature(delivery)) is not None:
            headers["intuit-signature"] = signature
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", path, delivery.body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def _signature(self, delivery: Delivery) -> str | None:
        app, fault = self._world.apps.get(delivery.client_id), delivery.fault
        verifier = app.verifier if app else ""
        if fault and fault.kind == "forge":
            return forged(verifier, delivery.body, str(fault.options.get("variant", "signature")))
        return signed(verifier, delivery.body)


def signed(verifier: str, body: bytes) -> str:
    return base64.b64encode(hmac.digest(verifier.encode(), body, "sha256")).decode()


def forged(verifier: str, body: bytes, variant: str) -> str | None:
    """A signature that must not be accepted. None: no header at all."""
    if variant == "missing":
        return None
    if variant == "body":
        return signed(verifier, body + b" ")
    if variant == "hex":
        return hmac.digest(verifier.encode(), body, "sha256").hex()
    if variant == "sha1":
        return base64.b64encode(hmac.new(verifier.encode(), body, hashlib.sha1).digest()).decode()
    return signed("somebody else's verifier", body)


def _moment(epoch: float, digits: str = "") -> str:
    text = dt.datetime.fromtimestamp(epoch, dt.UTC).isoformat(timespec="microseconds" if digits else "milliseconds")
    return text.removesuffix("+00:00") + digits + "Z"


def cloud_events(events: list[Event]) -> list[dict[str, Any]]:
    """The current format: an array, realms mixed, times with nine digits."""
    return [
        {
            "specversion": "1.0",
            "id": one.event_id,
            "source": "intuit.c2ltdWxhdG9y",
            "type": f"qbo.{one.entity.lower()}.{OPERATIONS[one.operation]}.v1",
            "datacontenttype": "application/json",
            "time": _moment(one.at, "517"),
            "intuitentityid": one.id,
            "intuitaccountid": one.realm,
            "data": {"deletedid": one.deleted_id} if one.deleted_id else {},
        }
        for one in events
    ]


def legacy(events: list[Event]) -> dict[str, Any]:
    """The former format: one object, changes grouped by realm."""
    realms: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in events:
        shown = {"id": one.id, "operation": one.operation, "name": one.entity, "lastUpdated": _moment(one.at)}
        realms[one.realm].append(shown | ({"deletedId": one.deleted_id} if one.deleted_id else {}))
    return {
        "eventNotifications": [
            {"realmId": realm, "dataChangeEvent": {"entities": entities}} for realm, entities in realms.items()
        ]
    }
