"""Webhooks of a shop: queued, collapsed, sent once and never again, until the shop gives up on whoever does not answer."""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
import html
import http.client
import ipaddress
import itertools
import secrets
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .faults import WEBHOOK, Fault, Faults
from .wire import stopping
from .woocommerce_wire import json_bytes

if TYPE_CHECKING:
    from .woocommerce_rows import Row
    from .woocommerce_store import Store

SENDERS = 4
TIMEOUT_S = 60.0
PING_TIMEOUT_S = 5.0
MAX_FAILURES = 5  # with more than this behind it, the next failure disables
TABLE_OF = {"order": "orders", "product": "products", "customer": "customers", "coupon": "coupons"}
GONE = {
    "order": ("woocommerce_rest_shop_order_invalid_id", "Invalid ID."),
    "product": ("woocommerce_rest_product_invalid_id", "Invalid ID."),
    "customer": ("wc_user_invalid_id", "Invalid resource ID."),
    "coupon": ("woocommerce_rest_shop_coupon_invalid_id", "Invalid ID."),
}


def post(url: str, body: bytes, headers: dict[str, str], timeout_s: float = TIMEOUT_S) -> int | str:
    """The status, "refused" for an address that is not ours to call, or the name of what went wrong."""
    try:
        parts = urlsplit(url)
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
        if parts.scheme != "http" or not ipaddress.ip_address(host).is_loopback:
            return "refused"
        connection = http.client.HTTPConnection(host, parts.port or 80, timeout=timeout_s)
    except ValueError:
        return "refused"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.putrequest("POST", path, skip_accept_encoding=True)
        for name, value in (headers | {"Content-Length": str(len(body)), "Connection": "close"}).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def is_success(status: int | str) -> bool:
    return isinstance(status, int) and 200 <= status <= 302


@dataclass(order=True, slots=True)
class Delivery:
    """One webhook on its way: what it tells is looked up when it is sent."""

    due: float
    seq: int
    store: Store = field(compare=False)
    webhook_id: int = field(compare=False)
    resource_id: int = field(compare=False)
    fault: Fault | None = field(compare=False, default=None)
    body: bytes | None = field(compare=False, default=None)  # given where the control endpoint made it up

    @property
    def key(self) -> tuple[str, int, int]:
        return self.store.name, self.webhook_id, self.resource_id


class Courier:
    """Queues and sends. Several changes of one object before the queue runs are one delivery."""

    def __init__(self, faults: Faults):
        self._faults = faults
        self._seq = itertools.count(1)
        self._queue: list[Delivery] = []
        self._parked: list[Delivery] = []  # of stores whose scheduler does not run by itself
        self._waiting: dict[tuple[str, int, int], Delivery] = {}
        self._held: Delivery | None = None
        self._wake = threading.Condition()
        self._log: deque[dict[str, Any]] = deque(maxlen=2000)
        self._busy = 0
        for number in range(SENDERS):
            threading.Thread(target=self._work, name=f"woo-hooks-{number}", daemon=True).start()

    # --- queueing ---

    def announce(self, store: Store, topic: str, resource_id: int) -> None:
        """Tell every active webhook of this topic. Call with the store's lock."""
        for row in store.tables["webhooks"].rows.values():
            if row.status == "active" and row.body is not None and row.body["topic"] == topic:
                self.enqueue(store, row.id, resource_id)

    def enqueue(self, store: Store, webhook_id: int, resource_id: int, body: bytes | None = None) -> None:
        delay = store.settings["delivery_delay_s"]
        with self._wake:
            delivery = Delivery(time.monotonic() + (delay or 0), 0, store, webhook_id, resource_id, body=body)
            if body is None and delivery.key in self._waiting:
                return
            delivery.seq = next(self._seq)
            if body is None:
                self._waiting[delivery.key] = delivery
            if delay is None and body is None:
                self._parked.append(delivery)
                return
            heapq.heappush(self._queue, delivery)
            self._wake.notify_all()

    def run(self, store: Store) -> int:
        """Let the store's scheduler run now. Returns how many are due."""
        with self._wake:
            mine = [one for one in self._parked if one.store is store]
            self._parked = [one for one in self._parked if one.store is not store]
            for delivery in mine:
                delivery.due = 0
                heapq.heappush(self._queue, delivery)
            self._wake.notify_all()
        return len(mine)

    def clear(self, store: Store | None = None) -> None:
        with self._wake:
            self._queue = [one for one in self._queue if store is not None and one.store is not store]
            self._parked = [one for one in self._parked if store is not None and one.store is not store]
            self._waiting = {one.key: one for one in (*self._queue, *self._parked)}
            self._held = None
            heapq.heapify(self._queue)
            if store is None:
                self._log.clear()

    def log(self, after: int = 0) -> list[dict[str, Any]]:
        with self._wake:
            return [dict(entry) for entry in self._log if entry["seq"] > after]

    def waiting(self, store: Store) -> int:
        """How many deliveries of the store are not through yet, those on their way included."""
        with self._wake:
            return sum(one.store is store for one in (*self._queue, *self._parked)) + self._busy

    # --- sending ---

    def _work(self) -> None:
        while not stopping.is_set():
            with self._wake:
                while not self._queue or self._queue[0].due > time.monotonic():
                    wait = self._queue[0].due - time.monotonic() if self._queue else 1
                    self._wake.wait(min(max(wait, 0.001), 1))
                    if stopping.is_set():
                        return
                delivery = heapq.heappop(self._queue)
                self._waiting.pop(delivery.key, None)
                self._busy += 1
            try:
                self._deliver(delivery)
            except Exception:  # noqa: BLE001 - one bad delivery must not cost a sender
                traceback.print_exc()
            finally:
                with self._wake:
                    self._busy -= 1

    def _deliver(self, delivery: Delivery) -> None:
        """Meet the faults armed for webhooks, then send."""
        fault = delivery.fault
        if fault is None and (fault := self._faults.take("webhook", delivery.store.name, WEBHOOK)):
            delivery.fault = fault
            if fault.kind == "late":
                self._requeue(replace(delivery, due=time.monotonic() + float(fault.options.get("seconds", 5))))
                return
            if fault.kind == "reorder":
                self._release(delivery)
                return
        copies = int(fault.options.get("copies", 1)) if fault and fault.kind == "duplicate" else 0
        self._send(delivery, copies)
        self._release(None)

    def _release(self, instead: Delivery | None) -> None:
        """Send what was held back, and hold `instead`."""
        with self._wake:
            held, self._held = self._held, instead
        if held:
            self._send(held, 0)

    def _requeue(self, delivery: Delivery) -> None:
        with self._wake:
            heapq.heappush(self._queue, delivery)
            self._wake.notify_all()

    def _send(self, delivery: Delivery, copies: int) -> None:
        store = delivery.store
        with store.lock:
            hook = store.tables["webhooks"].rows.get(delivery.webhook_id)
            if hook is None or hook.body is None or hook.status != "active":
                return
            url, topic = hook.body["delivery_url"], hook.body["topic"]
            body = delivery.body if delivery.body is not None else payload(store, topic, delivery.resource_id)
            headers = self._headers(store, hook, body, delivery.fault)
        for _turn in range(1 + copies):
            began = time.time()
            status = post(url, body, headers)
            entry = {"seq": delivery.seq, "store": store.name, "webhook_id": hook.id, "topic": topic, "url": url}
            entry |= {"resource_id": delivery.resource_id, "headers": headers, "body": body.decode(), "status": status}
            entry |= {"at": began, "fault": delivery.fault.kind if delivery.fault else None}
            with self._wake:
                self._log.append(entry)
            self._count(store, hook.id, status)

    @staticmethod
    def _headers(store: Store, hook: Row, body: bytes, fault: Fault | None) -> dict[str, str]:
        settings, topic = hook.body or {}, (hook.body or {})["topic"]
        resource, _dot, event = topic.partition(".")
        seal = signature(settings["secret"], body)
        if fault and fault.kind == "forge":
            variant = fault.options.get("variant", "signature")
            seal = (
                signature(secrets.token_hex(8), body)
                if variant == "signature"
                else signature(settings["secret"], body + b" ")
            )
        second = int(store.now())
        headers = user_agent(store) | {"Content-Type": "application/json", "X-WC-Webhook-Source": f"{store.home}/"}
        headers |= {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-Resource": resource, "X-WC-Webhook-Event": event}
        if not (fault and fault.kind == "forge" and fault.options.get("variant") == "missing"):
            headers["X-WC-Webhook-Signature"] = seal
        return headers | {
            "X-WC-Webhook-ID": str(hook.id),
            "X-WC-Webhook-Delivery-ID": delivery_id(store, hook.id, second),
        }

    @staticmethod
    def _count(store: Store, webhook_id: int, status: int | str) -> None:
        """Success forgets the failures; with six behind it, the seventh disables. Re-enabling keeps the count."""
        with store.lock:
            hook = store.tables["webhooks"].rows.get(webhook_id)
            if hook is None or hook.body is None:
                return
            failures = hook.body["_failures"]
            if is_success(status):
                if failures:
                    store.put("webhooks", replace(hook, body=hook.body | {"_failures": 0}))
            elif failures > MAX_FAILURES:
                store.put("webhooks", replace(hook, status="disabled", modified=store.now()))
            else:
                store.put("webhooks", replace(hook, body=hook.body | {"_failures": failures + 1}))


def user_agent(store: Store) -> dict[str, str]:
    agent = f"WooCommerce/{store.version} Hookshot (WordPress/{store.settings['wp_version']})"
    return {"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "deflate, gzip, br, zstd"}


def signature(secret: str, body: bytes) -> str:
    """The stored secret is HTML-decoded before it signs."""
    return base64.b64encode(hmac.digest(html.unescape(secret).encode(), body, "sha256")).decode()


def delivery_id(store: Store, webhook_id: int, second: int) -> str:
    """One for all that a webhook delivers in one second."""
    return hashlib.md5(f"{store.store_id}{webhook_id}{second}".encode()).hexdigest()  # noqa: S324 - an id, no seal


def payload(store: Store, topic: str, resource_id: int) -> bytes:
    """What the REST API would answer now; only the id where the object was deleted; an error where it is no more."""
    resource, _dot, event = topic.partition(".")
    if event == "deleted":
        return json_bytes({"id": resource_id})
    table = TABLE_OF.get(resource)
    if table is None:  # action.*: only the argument is told
        return json_bytes({"action": event, "arg": resource_id})
    row = store.tables[table].rows.get(resource_id)
    if row is None and resource == "product":
        table, row = "variations", store.tables["variations"].rows.get(resource_id)
    if row is None:
        code, message = GONE[resource]
        return json_bytes({"code": code, "message": message, "data": {"status": 404}})
    return json_bytes(store.shown(table, row))


def ping(store: Store, webhook_id: int, url: str) -> int | str:
    """What a shop sends when a webhook is made: a form, unsigned."""
    headers = user_agent(store) | {"Content-Type": "application/x-www-form-urlencoded"}
    return post(url, f"webhook_id={webhook_id}".encode(), headers, PING_TIMEOUT_S)
