"""Signed webhooks, delivered in the background to loopback addresses only."""

from __future__ import annotations

import base64
import hashlib
import heapq
import hmac
import http.client
import ipaddress
import itertools
import json
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .faults import WEBHOOK, Fault, Faults
from .wire import stopping

TIMEOUT_S = 10
RETRIES_S = (1, 4, 16)  # the real service: 30 s, then four times longer each, for a day
SENDERS = 4


@dataclass(slots=True)
class SigningKey:
    """An ES256 key as it is journalled (`pem`) and shown (`jwk`). Times are Unix seconds."""

    kid: str
    pem: str
    created_at: int
    expired_at: int | None = None

    @classmethod
    def new(cls) -> SigningKey:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return cls(str(uuid.uuid4()), pem, int(time.time()))

    def jwk(self) -> dict[str, Any]:
        key = cast("ec.EllipticCurvePrivateKey", serialization.load_pem_private_key(self.pem.encode(), None))
        numbers = key.public_key().public_numbers()

        def coordinate(value: int) -> str:
            return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()

        return {
            "alg": "ES256",
            "created_at": self.created_at,
            "crv": "P-256",
            "expired_at": self.expired_at,
            "kid": self.kid,
            "kty": "EC",
            "use": "sig",
            "x": coordinate(numbers.x),
            "y": coordinate(numbers.y),
        }

    def sign(self, body: bytes, *, skew_s: float = 0) -> str:
        """The `Plaid-Verification` value for `body`, issued now plus `skew_s`."""
        claims = {"iat": int(time.time() + skew_s), "request_body_sha256": hashlib.sha256(body).hexdigest()}
        return jwt.encode(claims, self.pem, algorithm="ES256", headers={"kid": self.kid})


def forged(key: SigningKey, body: bytes, variant: str) -> str | None:
    """A signature that must not be accepted. None: no header at all."""
    if variant == "missing":
        return None
    if variant == "body":
        return key.sign(body + b" ")
    if variant == "unknown_kid":
        return SigningKey.new().sign(body)
    if variant in ("none", "hs256"):
        return _homemade(key, body, variant)
    stranger = SigningKey.new()
    stranger.kid = key.kid
    return stranger.sign(body)


def _homemade(key: SigningKey, body: bytes, variant: str) -> str:
    """A token by hand, since no library makes these: unsigned, or signed with the public key as an HMAC secret."""

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"iat": int(time.time()), "request_body_sha256": hashlib.sha256(body).hexdigest()}
    head = {"alg": variant.upper() if variant == "hs256" else "none", "kid": key.kid, "typ": "JWT"}
    text = part(json.dumps(head).encode()) + b"." + part(json.dumps(claims).encode())
    seal = hmac.digest(json.dumps(key.jwk()).encode(), text, "sha256") if variant == "hs256" else b""
    return (text + b"." + part(seal)).decode()


def loopback(url: str) -> tuple[str, int, str] | None:
    """(host, port, path with query) where the URL is plain http to this machine, else None."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        if host == "localhost":
            host = "127.0.0.1"
        if parts.scheme != "http" or not ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        return None
    return host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


@dataclass(order=True, slots=True)
class Delivery:
    """One webhook on its way. `attempts` are the log: when, what came back."""

    due: float
    seq: int
    url: str = field(compare=False)
    body: bytes = field(compare=False)
    shown: dict[str, Any] = field(compare=False)
    item_id: str | None = field(compare=False, default=None)
    fault: Fault | None = field(compare=False, default=None)
    attempts: list[dict[str, Any]] = field(compare=False, default_factory=list)
    followed_by: Delivery | None = field(compare=False, default=None)

    def may_overtake(self, held: Delivery) -> bool:
        """Any, or, where the fault is for one Item, that one's."""
        meant = held.fault.item_id if held.fault else None
        return meant in (None, self.item_id)

    def logged(self) -> dict[str, Any]:
        last = self.attempts[-1] if self.attempts else {}
        return {
            "seq": self.seq,
            "item_id": self.item_id,
            "url": self.url,
            "webhook_type": self.shown["webhook_type"],
            "webhook_code": self.shown["webhook_code"],
            "body": self.shown,
            "fault": self.fault.kind if self.fault else None,
            "status": last.get("status", "waiting"),
            "attempts": self.attempts,
        }


class Courier:
    """Sends webhooks from a few threads. `current_key` is asked at each attempt: a rotation counts at once."""

    def __init__(self, current_key: Callable[[], SigningKey], faults: Faults):
        self._current_key = current_key
        self._faults = faults
        self._seq = itertools.count(1)
        self._queue: list[Delivery] = []
        self._held: Delivery | None = None
        self._wake = threading.Condition()
        self._log: deque[Delivery] = deque(maxlen=2000)
        for number in range(SENDERS):
            threading.Thread(target=self._work, name=f"webhooks-{number}", daemon=True).start()

    def send(self, url: str | None, body: dict[str, Any], *, item_id: str | None = None) -> int | None:
        """Queue one webhook. Returns its number in the log, None where there is nowhere to send it."""
        if not url:
            return None
        raw = json.dumps(body, indent=2, ensure_ascii=False).encode()
        fault = self._faults.take("webhook", item_id, WEBHOOK)
        now = time.monotonic()
        with self._wake:
            delivery = Delivery(now, next(self._seq), url, raw, body, item_id, fault)
            self._log.append(delivery)
            queued = [delivery]
            if fault and fault.kind == "late":
                delivery.due += float(fault.options.get("seconds", 5))
            elif fault and fault.kind == "duplicate":
                twins = int(fault.options.get("copies", 1))
                queued += [Delivery(now, next(self._seq), url, raw, body, item_id, fault) for _twin in range(twins)]
                self._log.extend(queued[1:])
            elif fault and fault.kind == "reorder":
                self._held, queued = delivery, ([self._held] if self._held else [])
            elif self._held and delivery.may_overtake(self._held):
                delivery.followed_by, self._held = self._held, None
            for one in queued:
                heapq.heappush(self._queue, one)
            self._wake.notify_all()
        return delivery.seq

    def log(self, after: int = 0) -> list[dict[str, Any]]:
        with self._wake:
            return [delivery.logged() for delivery in self._log if delivery.seq > after]

    def clear(self) -> None:
        with self._wake:
            self._queue.clear()
            self._log.clear()
            self._held = None

    def _work(self) -> None:
        while not stopping.is_set():
            with self._wake:
                while not self._queue or self._queue[0].due > time.monotonic():
                    wait = self._queue[0].due - time.monotonic() if self._queue else 1
                    self._wake.wait(min(max(wait, 0.001), 1))
                    if stopping.is_set():
                        return
                delivery = heapq.heappop(self._queue)
            try:
                self._attempt(delivery)
            except Exception:  # noqa: BLE001 - one bad delivery must not cost a sender
                traceback.print_exc()

    def _attempt(self, delivery: Delivery) -> None:
        status = self._post(delivery)
        with self._wake:
            delivery.attempts.append({"at": time.time(), "status": status})
            if follower := delivery.followed_by:  # only now is it certain which of them was first
                delivery.followed_by = None
                heapq.heappush(self._queue, follower)
                self._wake.notify_all()
            tried = len(delivery.attempts)
            if status not in (200, "refused") and tried <= len(RETRIES_S):
                delivery.due = time.monotonic() + RETRIES_S[tried - 1]
                heapq.heappush(self._queue, delivery)

    def _post(self, delivery: Delivery) -> int | str:
        """The HTTP status, "refused" for an address that is not ours to call, or what went wrong."""
        target = loopback(delivery.url)
        if target is None:
            return "refused"
        host, port, path = target
        headers = {"Content-Type": "application/json", "User-Agent": "Plaid Webhooks"}
        if signature := self._signature(delivery):
            headers["Plaid-Verification"] = signature
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", path, delivery.body, headers)
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}"
        finally:
            connection.close()

    def _signature(self, delivery: Delivery) -> str | None:
        key, fault = self._current_key(), delivery.fault
        if fault and fault.kind == "forge":
            return forged(key, delivery.body, str(fault.options.get("variant", "signature")))
        skew_s = float(fault.options.get("seconds", 600)) if fault and fault.kind == "clock_skew" else 0
        return key.sign(delivery.body, skew_s=skew_s)
