"""Keys by approval: the shop's administrator says yes in the shop, and the shop hands us a key pair. `Authorizes`.

The hand-over is an anonymous POST, proved by nothing but our own state in it: the keys count only after a verification
against the shop that the state was made for. A key cannot be withdrawn through the API: that is the merchant's to do.
Source: WooCommerce's WC_Auth; REST API documentation, "Authentication".
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

from connections.errors import NeedsReauth, RequestError
from connections.providers.base import Access, Grant

APP_NAME = "Causeway"
SCOPE = "read_write"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEY, SECRET = re.compile(r"ck_[0-9a-f]{40}"), re.compile(r"cs_[0-9a-f]{40}")


def start(access: Access, *, state: str, redirect_uri: str) -> str:
    """The page in the shop where its administrator approves. redirect_uri: where the browser goes afterwards.

    Raises RequestError where the shop would refuse: it hands keys to https addresses only. A simulated one takes
    loopback, too.
    """
    handed_to = urlsplit(access.callback_url("keys"))
    may_be_plain = access.environment == "sandbox" and handed_to.hostname in _LOOPBACK
    if handed_to.scheme != "https" and not may_be_plain:
        detail = "A shop hands its keys over only to an address with https, which this installation does not have."
        raise RequestError(detail, remediation="Make a key pair in the shop and enter it here instead.")
    asked = {
        "app_name": APP_NAME,
        "scope": SCOPE,
        "user_id": state,
        "return_url": redirect_uri,
        "callback_url": handed_to.geturl(),
    }
    return f"{access.config['store_url']}/wc-auth/v1/authorize?{urlencode(asked, quote_via=quote)}"


def account(answer: Mapping[str, str]) -> str:
    """A shop is known by its address, which the connection has."""
    return ""


def complete(access: Access, *, answer: Mapping[str, str], redirect_uri: str) -> Grant:
    """The keys that were handed over. Raises NeedsReauth where the administrator said no, RequestError for no keys."""
    if answer.get("success") == "0":
        raise NeedsReauth("The shop's administrator did not approve.", code="shop_keys_refused", provider="woocommerce")
    key, secret = str(answer.get("consumer_key", "")), str(answer.get("consumer_secret", ""))
    if not (KEY.fullmatch(key) and SECRET.fullmatch(secret)):
        raise RequestError("The hand-over holds no key pair.", provider="woocommerce")
    granted = str(answer.get("key_permissions", ""))[:20]
    return Grant({"consumer_key": key, "consumer_secret": secret}, {}, {"key_permissions": granted})


def refresh(access: Access) -> Grant:
    """Keys do not end by themselves. Raises NeedsReauth: refused ones can only be made anew."""
    raise NeedsReauth(code="shop_keys_refused", provider="woocommerce")


def revoke(access: Access) -> None:
    """Nothing that the API could do: the key is deleted in the shop, by its administrator."""
