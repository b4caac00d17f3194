"""Whether a shop can be worked with, and how. A module with the capability `Verifies`.

1. Without keys: is the shop there, over TLS, is it WordPress, is WooCommerce's API in it, and at which final address.
2. Which way in works: Basic, the keys as parameters, OAuth 1.0a. A key that does not arrive and a key that is wrong get
   the same answer from a shop, so every way is tried before anybody is told that the key is wrong.
3. What the keys may do. Writing is proved by an empty batch of products: the shop checks the key's permission and its
   user's role as for any other write, and has nothing to do.
4. What shop this is. What was found is remembered, and counts once the verification has passed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

from connections.errors import CausewayError, ProviderError, TemporaryError
from connections.http import Answer
from connections.providers.base import Access, Check, Json
from connections.providers.woocommerce import answers, hooks
from connections.providers.woocommerce.auth import Signing
from connections.providers.woocommerce.client import Shop, http_of, keys_of, seat
from connections.providers.woocommerce.errors import is_refused
from connections.providers.woocommerce.pulling import version_of

TIMEOUT_S = 12.0  # a person may be waiting
OLDEST = (5, 8)  # has modified_after and dates_are_gmt
SKEW_WARNING_S, SKEW_LIMIT_S = 60, 15 * 60  # a signature's time may be off by a quarter of an hour
MAX_HOPS = 3
KEYS_PAGE = "WooCommerce › Settings › Advanced › REST API"


@dataclass(slots=True)
class _Found:
    """What the verification has learned so far."""

    access: Access
    address: str
    home: str = ""
    timezone: str = ""
    first: Answer | None = None
    shop: Shop | None = None
    status: Json = field(default_factory=dict)


def verify(access: Access) -> Iterator[Check]:
    """The checks, each as soon as it is answered; ends with the first whose failure makes the others pointless."""
    found = _Found(access, str(access.config["store_url"]))
    for step in (_reach, _authenticate, _permissions, _identify):
        is_good = True
        for check in step(found):
            yield check
            is_good = is_good and check.status != "failed"
        if not is_good:
            return
    yield from _webhooks(found)


class _Clock:
    """How long a check took."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def check(self, name: str, status: Any = "passed", cause: str = "", remediation: str = "") -> Check:
        took, self.started = round((time.monotonic() - self.started) * 1000), time.monotonic()
        return Check(name, status, took, cause, remediation)

    def failed(self, name: str, error: CausewayError) -> Check:
        return self.check(name, "failed", error.detail, error.remediation)


# --- is it there ---
def _reach(found: _Found) -> Iterator[Check]:
    clock = _Clock()
    try:
        answer = _discovered(found)
    except ProviderError as error:
        if error.code == "tls_failed":
            yield clock.check("reachable")
            yield clock.failed("tls", error)
        else:
            yield clock.failed("reachable", error)
        return
    if answer is None:
        yield clock.check(
            "reachable",
            "failed",
            f"The address leads to another one: {found.address}.",
            "If that is your shop, enter its address as it is there.",
        )
        return
    found.first = answer
    yield clock.check("reachable")
    yield _tls_check(clock, found.address)
    yield from _wordpress_checks(clock, found, answer)


def _discovered(found: _Found) -> Answer | None:
    """The API's front page, from the shop's final address; None where that is another site's."""
    for _hop in range(MAX_HOPS + 1):
        http = http_of(found.access, base_url=found.address, timeout_s=TIMEOUT_S, is_classified=False)
        with seat(found.address):
            answer = http.request("GET", "wp-json/")
        further = _further(found.address, answer)
        if not further:
            return answer
        is_same_site = _site(further) == _site(found.address)
        was_tls, found.address = found.address.startswith("https://"), further
        if not is_same_site or (was_tls and not further.startswith("https://")):
            return None
    return None


def _further(address: str, answer: Answer) -> str:
    """The shop's address according to a redirect; "" for none."""
    location = answer.headers.get("location", "")
    if answer.status not in (301, 302, 303, 307, 308) or not location:
        return ""
    target = urlsplit(urljoin(f"{address}/wp-json/", location))
    folder = target.path.partition("/wp-json")[0].rstrip("/")
    return f"{target.scheme}://{target.netloc}{folder}"


def _site(address: str) -> str:
    return (urlsplit(address).hostname or "").removeprefix("www.")


def _tls_check(clock: _Clock, address: str) -> Check:
    if address.startswith("https://"):
        return clock.check("tls")
    return clock.check(
        "tls",
        "warning",
        "The shop is reached without TLS: the keys are not sent, but whoever is on the way reads what is.",
        "Give the shop a certificate, and enter its address with https://.",
    )


def _wordpress_checks(clock: _Clock, found: _Found, answer: Answer) -> Iterator[Check]:
    front = answers.body_of(answer)
    namespaces = front.get("namespaces") if isinstance(front, dict) else None
    if isinstance(namespaces, list):
        found.home = str(front.get("home") or front.get("url") or "").rstrip("/")
        found.timezone = str(front.get("timezone_string") or "")[:60]
        yield clock.check("wordpress")
        yield clock.check("permalinks")
        yield _woocommerce_check(clock, namespaces)
    elif _has_plain_permalinks(found):
        yield clock.check("wordpress")
        yield clock.check(
            "permalinks",
            "failed",
            "The shop's permalinks are plain; its API does not take keys then.",
            "In WordPress, set Settings › Permalinks to anything but Plain.",
        )
    else:
        yield clock.check("wordpress", "failed", *_no_wordpress(answer, front))


def _woocommerce_check(clock: _Clock, namespaces: list[Any]) -> Check:
    if "wc/v3" in namespaces:
        return clock.check("woocommerce")
    return clock.check(
        "woocommerce",
        "failed",
        "This is WordPress, but WooCommerce's API is not in it.",
        "Activate the plugin WooCommerce, or enter the address of the site that has the shop.",
    )


def _has_plain_permalinks(found: _Found) -> bool:
    http = http_of(found.access, base_url=found.address, timeout_s=TIMEOUT_S, is_classified=False)
    try:
        with seat(found.address):
            told = answers.body_of(http.request("GET", "", params={"rest_route": "/"}))
    except TemporaryError:
        return False
    return isinstance(told, dict) and isinstance(told.get("namespaces"), list)


def _no_wordpress(answer: Answer, front: Any) -> tuple[str, str]:
    """(cause, remediation) for an address that answers, but not as WordPress's API does."""
    if answer.status in (401, 403, 406, 429, 501, 503) or answer.status >= 520 or (answer.is_success and front is None):
        return (
            f"Something else answered in the shop's place (HTTP {answer.status}): a firewall, a login or a maintenance page.",
            "Have the host let requests to /wp-json/ pass whose user agent begins with Causeway/; end maintenance mode.",
        )
    if answer.status >= 500:
        return (f"The shop answers with an error (HTTP {answer.status}).", "See the shop's error log, then try again.")
    return (
        f"There is no WordPress at this address (HTTP {answer.status} at /wp-json/).",
        "Enter the address that the shop has in the browser, with its folder if it has one.",
    )


# --- which way in ---
def _authenticate(found: _Found) -> Iterator[Check]:
    clock = _Clock()
    refusals: list[CausewayError] = []
    for signing in _signings(found):
        shop = _shop(found, signing)
        try:
            shop.rows("orders", {"per_page": 1, "_fields": "id"})
        except ProviderError as error:
            if not is_refused(error):
                yield clock.failed("authentication", error)
                return
            if _lacks_permission(error):  # known and believed: what it may do is asked next
                found.shop = shop
                break
            refusals.append(error)
            continue
        found.shop = shop
        break
    if found.shop is None:
        yield clock.check("authentication", "failed", *_why_refused(found, refusals))
        return
    _remember_way(found, found.shop.signing)
    yield clock.check("authentication")


def _shop(found: _Found, signing: Signing) -> Shop:
    shop = Shop(
        found.access, http_of(found.access, base_url=found.address, timeout_s=TIMEOUT_S), signing, keys_of(found.access)
    )
    shop.last_answer = found.first
    return shop


def _signings(found: _Found) -> list[Signing]:
    """The ways to try. A signature is made over the address that the shop believes to have, which may be either scheme."""
    ways = [Signing("basic"), Signing("query")] if found.address.startswith("https://") else []
    homes = [found.home or found.address, found.address]
    homes += [_other_scheme(home) for home in homes]
    return [*ways, *(Signing("oauth1", home) for home in dict.fromkeys(homes))]


def _other_scheme(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(scheme="http" if parts.scheme == "https" else "https").geturl()


def _remember_way(found: _Found, signing: Signing) -> None:
    configured = str(found.access.config["store_url"])
    found.access.remember(
        {
            "address": {"configured": configured, "final": found.address},
            "signing": {"way": signing.way, "home": signing.home},
            "per_page": None,  # large pages get a new chance
        }
    )


def _lacks_permission(error: CausewayError) -> bool:
    return "have read permission" in error.operator_detail or "have write permission" in error.operator_detail


def _why_refused(found: _Found, refusals: list[CausewayError]) -> tuple[str, str]:
    """(cause, remediation) of the answer that says most: one that names the key over one that saw none."""
    told = [error.operator_detail for error in refusals]
    for text, cause, remediation in _CAUSES:
        if any(text in detail for detail in told):
            return cause, remediation
    return (
        "The shop does not know this consumer key, or its user may not see orders; or the host keeps keys from arriving.",
        (
            f"Make a new key under {KEYS_PAGE} for an administrator or shop manager, and enter both halves. If that does "
            "not help, have the host pass on the Authorization header and tell PHP that the shop is reached by HTTPS."
        ),
    )


_CAUSES = (
    (
        "Consumer secret is invalid",
        "The shop knows the consumer key, but not this consumer secret.",
        f"Enter the secret that was shown with this key, or make a new key under {KEYS_PAGE}.",
    ),
    (
        "Invalid timestamp",
        "The shop's clock is more than a quarter of an hour away from ours.",
        "Have the host set the server's clock.",
    ),
    (
        "Invalid signature",
        "The shop knows the consumer key, but not this consumer secret; or it believes to be at another address.",
        "Enter the secret that was shown with this key. See that WordPress's Settings › General have the shop's address.",
    ),
    (
        "Consumer key is invalid",
        "The shop does not know this consumer key.",
        f"Make a new key under {KEYS_PAGE}, and enter both halves.",
    ),
)


# --- what the keys may do ---
def _permissions(found: _Found) -> Iterator[Check]:
    clock, shop = _Clock(), _the_shop(found)
    yield _read_check(clock, shop)
    yield _write_check(clock, shop)


def _read_check(clock: _Clock, shop: Shop) -> Check:
    refused = []
    for path in ("orders", "products", "customers", "coupons", "taxes"):
        try:
            shop.rows(path, {"per_page": 1, "_fields": "id"})
        except ProviderError as error:
            if not is_refused(error):
                return clock.failed("permission_read", error)
            if _lacks_permission(error):
                return clock.check(
                    "permission_read",
                    "failed",
                    "The key may write, but not read.",
                    f"Set the key's permission to Read/Write under {KEYS_PAGE}.",
                )
            refused.append(path)
    if refused:
        return clock.check(
            "permission_read",
            "failed",
            f"The key's user may not read {', '.join(refused)}.",
            f"Make the key under {KEYS_PAGE} for an administrator or shop manager.",
        )
    return clock.check("permission_read")


def _write_check(clock: _Clock, shop: Shop) -> Check:
    try:
        shop.request("POST", "products/batch", json={"create": [], "update": [], "delete": []})
    except ProviderError as error:
        if not is_refused(error):
            return clock.failed("permission_write", error)
        return clock.check(
            "permission_write",
            "failed",
            "The key may only read." if _lacks_permission(error) else "The key's user may not write products.",
            f"Set the key's permission to Read/Write under {KEYS_PAGE}, for an administrator or shop manager.",
        )
    return clock.check("permission_write")


# --- what shop it is ---
def _identify(found: _Found) -> Iterator[Check]:
    clock, shop = _Clock(), _the_shop(found)
    try:
        found.status = shop.get("system_status", {"_fields": "environment,settings"})
    except ProviderError as error:
        if not is_refused(error):
            yield clock.failed("version", error)
            return
        yield clock.check(
            "version",
            "failed",
            "The key's user may not see the shop's status, which tells its version and currency.",
            f"Make the key under {KEYS_PAGE} for an administrator or shop manager.",
        )
        return
    facts = shop_facts(found.status)
    yield _version_check(clock, facts["version"])
    yield _skew_check(clock, shop)
    yield _currency_check(clock, facts)
    yield _identity_check(clock, found.access, facts)
    found.access.remember({"shop": facts | {"timezone": found.timezone}})


def shop_facts(status: Json) -> Json:
    """What is worth knowing of a shop, from its system status."""
    environment, settings = status.get("environment"), status.get("settings")
    environment = environment if isinstance(environment, dict) else {}
    settings = settings if isinstance(settings, dict) else {}
    decimals = settings.get("number_of_decimals")
    return {
        "version": str(environment.get("version") or ""),
        "wordpress": str(environment.get("wp_version") or ""),
        "home_url": str(environment.get("home_url") or ""),
        "store_id": str(environment.get("store_id") or ""),
        "currency": str(settings.get("currency") or ""),
        "decimals": int(decimals) if decimals is not None and str(decimals).isdecimal() else 2,
        "has_order_tables": settings.get("HPOS_enabled") is True,
    }


def _version_check(clock: _Clock, version: str) -> Check:
    if version_of(version) >= OLDEST:
        return clock.check("version")
    return clock.check(
        "version",
        "failed",
        f"The shop runs WooCommerce {version or 'of an unknown version'}; 5.8 or later is needed.",
        "Update the plugin WooCommerce.",
    )


def _skew_check(clock: _Clock, shop: Shop) -> Check:
    now = answers.date_of(shop.last_answer) if shop.last_answer else None
    if now is None:
        return clock.check("clock_skew", "skipped", "The shop does not tell its time.")
    skew_s = round(abs((datetime.now(UTC) - now).total_seconds()))
    if skew_s <= SKEW_WARNING_S:
        return clock.check("clock_skew")
    is_fatal = skew_s > SKEW_LIMIT_S and shop.signing.way == "oauth1"
    return clock.check(
        "clock_skew",
        "failed" if is_fatal else "warning",
        f"The shop's clock is {skew_s} seconds away from ours.",
        "Have the host set the server's clock.",
    )


def _currency_check(clock: _Clock, facts: Json) -> Check:
    if facts["currency"]:
        return clock.check("currency")
    return clock.check(
        "currency", "failed", "The shop does not tell its currency.", "Set it under WooCommerce › Settings › General."
    )


def _identity_check(clock: _Clock, access: Access, facts: Json) -> Check:
    """A shop that was installed anew has the same address and other records under the same ids."""
    known = str(access.facts.get(hooks.ACTIVATED_STORE) or "")
    if not known or not facts["store_id"] or known == facts["store_id"]:
        return clock.check("identity")
    return clock.check(
        "identity",
        "failed",
        "This is not the shop that the connection was activated with: it was installed anew, or is another one.",
        "Disconnect this connection and make a new one for this shop, so that records are not mixed up.",
    )


# --- once it is active ---
def _webhooks(found: _Found) -> Iterator[Check]:
    clock = _Clock()
    if hooks.FACT not in found.access.facts:
        yield clock.check("webhook", "skipped", "Webhooks are registered when the connection is activated.")
        return
    missing = hooks.unhealthy(_the_shop(found), found.access)
    if not missing:
        yield clock.check("webhook")
        return
    yield clock.check(
        "webhook",
        "warning",
        f"Missing or disabled in the shop: {', '.join(missing)}.",
        "Nothing to do: they are registered anew within the hour, and changes are polled meanwhile.",
    )


def _the_shop(found: _Found) -> Shop:
    if found.shop is None:
        raise TemporaryError(provider="woocommerce", operator_detail="asked before a way in was found")
    return replace(found.shop)
