"""Plaid's webhooks: whether one is Plaid's, and what it says.

A webhook is signed by a JWT (ES256) in the header `Plaid-Verification`, made for the exact bytes of its body with a key
that Plaid publishes under the id in the JWT's header. Where this installation and whoever relays its webhooks share a
secret, `X-Plaid-Signature` holds the HMAC-SHA256 of the body instead.
Source: Plaid docs, "Verify webhooks".
"""

import hashlib
import hmac
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import uuid4

import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from django.conf import settings
from django.core.cache import cache
from jwt.algorithms import ECAlgorithm
from jwt.utils import base64url_decode
from redis.exceptions import RedisError

from connections import budgets
from connections.errors import CausewayError, RequestError, TemporaryError
from connections.providers.base import Json
from connections.providers.plaid.client import PlaidClient
from connections.providers.plaid.errors import PROVIDER

log = structlog.get_logger(__name__)

JWT_HEADER, HMAC_HEADER = "Plaid-Verification", "X-Plaid-Signature"
ALGORITHM = "ES256"
_ES256 = ECAlgorithm(ECAlgorithm.SHA256, SECP256R1)
MAX_AGE_S = 5 * 60
CLOCK_SKEW_S = 60
KEY_FRESH_S = 6 * 3600  # looked up again after this, so that `expired_at` is noticed
KEY_FRESH_HERE_S = 5 * 60  # and this long without asking even the shared cache
UNKNOWN_KEY_S = 60
LOOKUPS_PER_MINUTE = 30  # the id is the sender's choice, and each miss costs a call
LOOKUP_TIMEOUT_S = 2.5  # Plaid waits ten seconds for its answer, and a connect may be tried twice
RETRY_AFTER_S = 30
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TOKEN = re.compile(
    r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})"
)  # r and s of the signature, 32 bytes each
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
_ENVIRONMENTS = ("sandbox", "production")


@dataclass(frozen=True, slots=True)
class Verified:
    """How a webhook proved itself. environment: "" where neither body nor key tells it."""

    method: str
    environment: str = ""
    key_id: str = ""
    issued_at: int | None = None


@dataclass(frozen=True, slots=True)
class InboundEvent:
    """What a webhook says. payload: None where the body is not a JSON object."""

    type: str
    code: str
    item_id: str
    environment: str
    payload: Json | None


class UnverifiedWebhook(RequestError):
    """Not Plaid's, as far as we can tell. `operator_detail` says which check refused it."""

    default_code = "webhook_unverified"


# --- verification ---
def check_signature(headers: Mapping[str, str], raw: bytes, event: InboundEvent | None = None) -> Verified:
    """How this webhook proved to be genuine.

    headers: case-insensitive. raw: the body's bytes, untouched; re-serialised JSON never fits. event: what `parse` makes
    of them, where that is known already; it says only where the key is to be asked for.
    Raises UnverifiedWebhook; TemporaryError where Plaid's key cannot be had now: Plaid sends the webhook again.
    """
    if settings.PLAID_WEBHOOK_SECRET and HMAC_HEADER in headers:
        return _check_hmac(headers[HMAC_HEADER], raw)
    token = headers.get(JWT_HEADER)
    if not token:
        raise _refused("no signature")
    return _check_jwt(token, raw, event or parse(raw))


def _refused(why: str) -> UnverifiedWebhook:
    return UnverifiedWebhook(provider=PROVIDER, operator_detail=why)


def _check_hmac(given: str, raw: bytes) -> Verified:
    expected = hmac.new(settings.PLAID_WEBHOOK_SECRET.encode(), raw, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(given.strip().lower().encode(), expected.encode()):
        raise _refused("the HMAC does not fit the body")
    return Verified("hmac")


def _check_jwt(token: str, raw: bytes, event: InboundEvent) -> Verified:
    """Steps 2 to 7 of Plaid's procedure: algorithm, key, expiry, signature, age, digest of the body."""
    key_id = _key_id(token)
    environment = event.environment or "production"
    key = _keys.get(environment, key_id)
    if key is None:
        raise _refused(f"no key {key_id} in {environment}")
    if key.get("expired_at") is not None:
        raise _refused(f"the key {key_id} has expired")
    claims = _claims(token, key)
    issued_at = claims["iat"]
    if time.time() - issued_at > MAX_AGE_S:
        raise _refused("signed more than five minutes ago")
    digest = hashlib.sha256(raw).hexdigest()
    if not hmac.compare_digest(str(claims.get("request_body_sha256")).encode(), digest.encode()):
        raise _refused("signed for another body")
    return Verified("jwt", environment, key_id, int(issued_at))


def _key_id(token: str) -> str:
    """The id of the key in the token's header, which nothing vouches for yet."""
    try:
        header = orjson.loads(base64url_decode(token.partition(".")[0]))
    except (ValueError, RecursionError) as error:
        raise _refused("the signature is not a JWT") from error
    if not isinstance(header, dict) or header.get("alg") != ALGORITHM:
        raise _refused(f"the algorithm is not {ALGORITHM}")
    if "crit" in header or "b64" in header:  # Plaid sends neither, and each would change what the rest means
        raise _refused("the signature is of an unknown kind")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise _refused("the signature names no key")
    return key_id


def _claims(token: str, key: Json) -> Json:
    """The signed claims, `iat` a number that does not lie in the future.

    The algorithm and the key's curve are ours to say, so all that is left of a JWT's many ways is a signature over bytes:
    PyJWT's own check of it, without the rest, which takes as long again.
    """
    parts = _TOKEN.fullmatch(token)
    if not parts:
        raise _refused("the signature is not a JWT")
    signed = token[: parts.end(2)].encode()
    if not _ES256.verify(signed, _public(key), base64url_decode(parts[3])):
        raise _refused("the signature does not hold")
    try:
        claims = orjson.loads(base64url_decode(parts[2]))
    except (ValueError, RecursionError) as error:
        raise _refused("the claims are not JSON") from error
    if not isinstance(claims, dict):
        raise _refused("the claims are no object")
    _check_times(claims)
    return claims


def _check_times(claims: Json) -> None:
    """`iat` has to be there; `nbf` and `exp`, which Plaid does not send, hold where they are."""
    for name in ("iat", "nbf", "exp"):
        moment = claims.get(name)
        if (name in claims or name == "iat") and (isinstance(moment, bool) or not isinstance(moment, int | float)):
            raise _refused(f"{name} is not a number")
    now = time.time()
    if max(claims["iat"], claims.get("nbf", 0)) > now + CLOCK_SKEW_S:
        raise _refused("the signature does not hold yet")
    if claims.get("exp", now) <= now - CLOCK_SKEW_S:
        raise _refused("the signature does not hold any more")


def _public(key: Json) -> Any:
    return _public_of(orjson.dumps(key, option=orjson.OPT_SORT_KEYS))


@lru_cache(maxsize=64)
def _public_of(written: bytes) -> Any:
    """Making a key takes longer than checking a signature with it."""
    return jwt.PyJWK(orjson.loads(written), algorithm=ALGORITHM).key


# --- keys ---
class _Keys:
    """Plaid's public keys: in this process for minutes, in the shared cache for hours, then asked for again.

    An unknown id that turns out to be good means that Plaid rotates its keys: the others are then looked up anew when
    they are next used. An id that Plaid does not know is remembered for a minute. One lookup at a time.
    """

    def __init__(self) -> None:
        self._here: dict[tuple[str, str], tuple[float, Json | None]] = {}
        self._lookup = threading.Lock()

    def clear(self) -> None:
        self._here.clear()

    def get(self, environment: str, key_id: str) -> Json | None:
        """The key as Plaid publishes it, None where there is none. Raises TemporaryError where nobody can say now."""
        place = (environment, key_id)
        if (found := self._fresh_here(place)) is not None:
            return found[1]
        known, key = self._shared(place)  # before the queue: what everybody knows must not wait for a slow lookup
        if known:
            self._keep(place, key)
            return key
        if not self._lookup.acquire(timeout=LOOKUP_TIMEOUT_S):
            raise _key_unavailable("other lookups are still under way")
        try:
            if (found := self._fresh_here(place)) is not None:
                return found[1]
            known, key = self._shared(place)
            if not known:
                key = self._ask(place)
            self._keep(place, key)
            return key
        finally:
            self._lookup.release()

    def _fresh_here(self, place: tuple[str, str]) -> tuple[float, Json | None] | None:
        found = self._here.get(place)
        return found if found and found[0] > time.monotonic() else None

    def _keep(self, place: tuple[str, str], key: Json | None) -> None:
        if len(self._here) >= 256:  # ids are the sender's choice: the memory must not grow with them
            self._here.clear()
        self._here[place] = (time.monotonic() + (KEY_FRESH_HERE_S if key else UNKNOWN_KEY_S), key)

    def _shared(self, place: tuple[str, str]) -> tuple[bool, Json | None]:
        """(whether the shared cache knows, the key)."""
        try:
            found = cache.get_many([_cache_key(*place), _rotation_key(place[0])])
        except RedisError as error:
            log.warning("webhook_keys_cached_here_only", error=type(error).__name__)
            return False, None
        entry = found.get(_cache_key(*place))
        if not isinstance(entry, dict):
            return False, None
        if entry["key"] and entry["rotation"] != found.get(_rotation_key(place[0])):
            return False, None
        return True, entry["key"]

    def _ask(self, place: tuple[str, str]) -> Json | None:
        key = _fetch(*place)
        try:
            self._share(place, key)
        except RedisError as error:
            log.warning("webhook_keys_cached_here_only", error=type(error).__name__)
        return key

    def _share(self, place: tuple[str, str], key: Json | None) -> None:
        rotation = cache.get(_rotation_key(place[0]))
        is_new = key is not None and not cache.get(_cache_key(*place))
        if is_new:
            rotation = uuid4().hex
            cache.set(_rotation_key(place[0]), rotation, timeout=None)
        cache.set(_cache_key(*place), {"key": key, "rotation": rotation}, timeout=KEY_FRESH_S if key else UNKNOWN_KEY_S)


_keys = _Keys()


def _cache_key(environment: str, key_id: str) -> str:
    return f"plaid-webhook-key:{environment}:{key_id}"


def _rotation_key(environment: str) -> str:
    return f"plaid-webhook-key-rotation:{environment}"


def _key_unavailable(why: str, *, retry_after_s: float = RETRY_AFTER_S) -> TemporaryError:
    return TemporaryError(
        "The webhook cannot be verified right now; send it again.",
        provider=PROVIDER,
        retry_after_s=retry_after_s,
        operator_detail=f"webhook verification key: {why}",
    )


def _fetch(environment: str, key_id: str) -> Json | None:
    """Ask Plaid. None: there is no such key in this environment."""
    if wait_s := budgets.take("plaid", "webhook-key", environment, per_minute=LOOKUPS_PER_MINUTE):
        raise _key_unavailable("too many lookups", retry_after_s=wait_s)
    try:
        key = PlaidClient(environment, timeout_s=LOOKUP_TIMEOUT_S).webhook_verification_key(key_id).get("key")
    except CausewayError as error:
        if error.provider_code == "INVALID_WEBHOOK_VERIFICATION_KEY_ID":
            return None
        raise _key_unavailable(error.operator_detail or error.code) from error
    expected = {"kid": key_id, "alg": ALGORITHM, "kty": "EC", "crv": "P-256"}
    if not isinstance(key, dict) or any(key.get(name) != value for name, value in expected.items()):
        raise _key_unavailable("Plaid's answer is not the key that was asked for")
    try:
        _public(key)
    except (jwt.PyJWTError, ValueError) as error:
        raise _key_unavailable("Plaid's answer is not a key") from error
    return key


# --- content ---
def parse(raw: bytes) -> InboundEvent:
    """What the webhook says. Never raises: what cannot be read is an event of no type.

    NUL characters are left out: no column could keep them.
    """
    try:
        payload = orjson.loads(_NUL.sub(rb"\1", raw) if b"\\u0000" in raw else raw)
    except orjson.JSONDecodeError:
        payload = None
    if not isinstance(payload, dict):
        return InboundEvent("", "", "", "", None)

    def text(name: str, limit: int) -> str:
        value = payload.get(name)
        return value[:limit] if isinstance(value, str) else ""

    environment = text("environment", 20)
    return InboundEvent(
        type=text("webhook_type", 100),
        code=text("webhook_code", 100),
        item_id=text("item_id", 128),
        environment=environment if environment in _ENVIRONMENTS else "",
        payload=payload,
    )
