"""The three ways into a shop's API: which one works depends on how the shop is hosted, and is found by verification.

basic: HTTP Basic. query: the keys as parameters, where a host strips the header. Both over HTTPS only: WooCommerce
ignores them otherwise, and they would be readable on the way. oauth1: OAuth 1.0a without a token ("one-legged"), which
sends no secret; where PHP does not know that it is reached by HTTPS, and over plain HTTP, it is all there is.
Source: WooCommerce REST API documentation, "Authentication"; RFC 5849.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

Way = Literal["basic", "query", "oauth1"]
WAYS: tuple[Way, ...] = ("basic", "query", "oauth1")


@dataclass(frozen=True, slots=True)
class Signing:
    """A way in. home: for oauth1, the shop's address as the shop itself sees it, over which it makes the signature."""

    way: Way
    home: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    key: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(…)"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request carries besides its own parameters."""

    params: Mapping[str, str]
    basic: tuple[str, str] | None = None


def credentials(signing: Signing, keys: Keys, *, method: str, path: str, params: Mapping[str, str]) -> Credentials:
    """What this request has to carry. path: below the shop's address. params: all that it will have in its query."""
    if signing.way == "basic":
        return Credentials({}, (keys.key, keys.secret))
    if signing.way == "query":
        return Credentials({"consumer_key": keys.key, "consumer_secret": keys.secret})
    return Credentials(_oauth1(keys, method=method, url=f"{signing.home.rstrip('/')}/{path}", params=params))


def _oauth1(keys: Keys, *, method: str, url: str, params: Mapping[str, str]) -> dict[str, str]:
    oauth = {
        "oauth_consumer_key": keys.key,
        "oauth_timestamp": str(int(time.time())),
        "oauth_nonce": secrets.token_hex(16),
        "oauth_signature_method": "HMAC-SHA256",
    }
    base = base_string(method, url, {**params, **oauth})
    digest = hmac.new(f"{keys.secret}&".encode(), base.encode(), hashlib.sha256).digest()
    return oauth | {"oauth_signature": base64.b64encode(digest).decode()}


def base_string(method: str, url: str, params: Mapping[str, str]) -> str:
    """What is signed: the body is not part of it. url: without its query."""
    pairs = sorted((_encoded(name), _encoded(value)) for name, value in params.items())
    joined = "&".join(f"{name}={value}" for name, value in pairs)
    return "&".join((method.upper(), _encoded(url), _encoded(joined)))


def _encoded(text: str) -> str:
    return quote(text, safe="-._~")
