"""Who calls: keys by HTTP Basic, in the query string, or signed by OAuth 1.0a, as a shop tells them apart."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from .woocommerce_errors import unauthenticated

OAUTH = ("oauth_consumer_key", "oauth_timestamp", "oauth_nonce", "oauth_signature", "oauth_signature_method")
DIGESTS = {"HMAC-SHA1": "sha1", "HMAC-SHA256": "sha256"}
NONCE_LIFE_S = 15 * 60
PERMISSIONS = ("read", "write", "read_write")
CAPABLE = frozenset({"administrator", "shop_manager"})
ARRAY = re.compile(r"([^\[\]]+)\[([^\]]*)\]")


@dataclass(slots=True)
class Key:
    """One pair of keys, of one user. The shop knows the user's role by it."""

    key_id: int
    permissions: str
    consumer_key: str
    consumer_secret: str
    role: str = "administrator"
    user_id: int = 1
    description: str = ""
    nonces: dict[int, str] = field(default_factory=dict)

    @classmethod
    def new(cls, key_id: int, permissions: str, **more: Any) -> Key:
        if permissions not in PERMISSIONS:
            raise ValueError(f"permissions must be one of {', '.join(PERMISSIONS)}")
        return cls(key_id, permissions, f"ck_{secrets.token_hex(20)}", f"cs_{secrets.token_hex(20)}", **more)

    @property
    def is_capable(self) -> bool:
        """Whether its user may manage the shop."""
        return self.role in CAPABLE

    def shown(self) -> dict[str, Any]:
        names = ("key_id", "permissions", "consumer_key", "consumer_secret", "role", "user_id", "description")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Asked:
    """What authentication looks at. `url` is the one that the shop signs: its own home, without query."""

    method: str
    url: str
    raw_query: str
    authorization: str
    is_https: bool
    now: int


def authenticate(asked: Asked, keys: dict[str, Key]) -> Key | None:
    """The key that the request proves to have; None where it brings none that is known. Raises WooError."""
    if asked.is_https and (key := _plain(asked, keys)):
        return key
    return _signed(asked, keys)


def check_permission(key: Key, method: str) -> None:
    """Raises WooError where the key may not do this at all, whatever its user may."""
    if method in ("GET", "HEAD", "OPTIONS"):
        verb, allowed = "read", ("read", "read_write")
    else:
        verb, allowed = "write", ("write", "read_write")
    if method != "OPTIONS" and key.permissions not in allowed:
        raise unauthenticated(f"The API key provided does not have {verb} permissions.")


def _plain(asked: Asked, keys: dict[str, Key]) -> Key | None:
    """Query string first, header second; an unknown consumer key is as good as none."""
    query = dict(parse_qsl(asked.raw_query))
    name, secret = query.get("consumer_key", ""), query.get("consumer_secret", "")
    if not (name and secret):
        name, secret = _basic(asked.authorization)
    key = keys.get(name)
    if not (name and secret) or key is None:
        return None
    if not hmac.compare_digest(key.consumer_secret.encode(), secret.encode()):
        raise unauthenticated("Consumer secret is invalid.")
    return key


def _basic(header: str) -> tuple[str, str]:
    scheme, _space, token = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _colon, secret = base64.b64decode(token.strip()).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _signed(asked: Asked, keys: dict[str, Key]) -> Key | None:
    parameters = php_pairs(asked.raw_query)
    parameters |= _header_parameters(asked.authorization)
    lacking = [name for name in OAUTH if not parameters.get(name)]
    if len(lacking) == len(OAUTH):
        return None
    if lacking:
        text = f"Missing OAuth parameter{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}"
        raise unauthenticated(text, "woocommerce_rest_authentication_missing_parameter")
    key = keys.get(parameters["oauth_consumer_key"])
    if key is None:
        raise unauthenticated("Consumer key is invalid.")
    _check_signature(asked, key, parameters)
    _check_once(asked, key, parameters)
    return key


def php_pairs(raw_query: str) -> dict[str, str]:
    """The query as PHP sees it: `a[]=1&a[]=2` becomes `a[0]` and `a[1]`."""
    pairs: dict[str, str] = {}
    for name, value in parse_qsl(raw_query, keep_blank_values=True):
        if (match := ARRAY.fullmatch(name)) and not match[2]:
            number = sum(1 for known in pairs if known.startswith(f"{match[1]}["))
            name = f"{match[1]}[{number}]"
        pairs[name] = value
    return pairs


def _header_parameters(header: str) -> dict[str, str]:
    if header[:6].lower() != "oauth ":
        return {}
    return {name: unquote(value) for name, value in re.findall(r'(oauth_[a-z_-]+)="([^"]*)"', header)}


def _check_signature(asked: Asked, key: Key, parameters: dict[str, str]) -> None:
    method = parameters["oauth_signature_method"]
    if method not in DIGESTS:
        raise unauthenticated("Invalid signature - signature method is invalid.")
    expected = signature(asked.method, asked.url, parameters, key.consumer_secret, DIGESTS[method])
    if not hmac.compare_digest(expected.encode(), unquote(parameters["oauth_signature"]).encode()):
        raise unauthenticated("Invalid signature - provided signature does not match.")


def signature(method: str, url: str, parameters: dict[str, str], secret: str, digest: str) -> str:
    """RFC 5849 without a token. Everything but the signature itself is signed."""
    pairs = [(_encoded(k), _encoded(v)) for k, v in parameters.items() if k != "oauth_signature"]
    joined = "&".join(f"{name}={value}" for name, value in sorted(pairs))
    base = "&".join((method.upper(), quote(url, safe=""), quote(joined, safe="")))
    return base64.b64encode(hmac.digest(f"{secret}&".encode(), base.encode(), digest)).decode()


def _encoded(text: str) -> str:
    return quote(unquote(text), safe="~")


def _check_once(asked: Asked, key: Key, parameters: dict[str, str]) -> None:
    """The shop keeps one nonce a second: two in one second overwrite one another, and nobody minds."""
    text = parameters["oauth_timestamp"]
    moment = int(text) if text.isdigit() else 0
    if abs(asked.now - moment) > NONCE_LIFE_S:
        raise unauthenticated("Invalid timestamp.")
    if parameters["oauth_nonce"] in key.nonces.values():
        raise unauthenticated("Invalid nonce - nonce has already been used.")
    key.nonces[moment] = parameters["oauth_nonce"]
    for old in [second for second in key.nonces if second < asked.now - NONCE_LIFE_S]:
        del key.nonces[old]
