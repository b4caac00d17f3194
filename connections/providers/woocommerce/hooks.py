"""The life of our webhooks in a shop: registered, looked after, deleted.

They are known by their address, which is this connection's own, so that a registration whose answer was lost is found
again. All of a connection share one secret, letters and digits only: a shop decodes HTML entities in it before it signs.
A disabled one is deleted and made anew: re-enabled, its count of failures stays, and the next one disables it at once.
"""

import ipaddress
import secrets
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import structlog

from connections.errors import Misconfigured, NeedsReauth, PermanentError
from connections.providers.base import Access, Json
from connections.providers.woocommerce.client import Shop
from connections.providers.woocommerce.errors import Gone
from connections.providers.woocommerce.seek import by_id

log = structlog.get_logger(__name__)

SECRET = "webhook_secret"  # noqa: S105 - the credential's name, not its value
FACT = "webhooks"  # {topic: id}
ACTIVATED_STORE = "activated_store"
TOPICS = (
    *(
        f"{resource}.{event}"
        for resource in ("order", "product", "coupon")
        for event in ("created", "updated", "deleted", "restored")
    ),
    *(f"customer.{event}" for event in ("created", "updated", "deleted")),
)


def activated(access: Access) -> None:
    """The shop is remembered, and its webhooks are registered. Safe to repeat: what is right already stays."""
    store_id = str((access.facts.get("shop") or {}).get("store_id", ""))
    if store_id and not access.facts.get(ACTIVATED_STORE):
        access.remember({ACTIVATED_STORE: store_id})
    if not is_reachable(access):
        log.info("shop_webhooks_skipped", connection=str(access.connection_id), reason="no public address")
        access.remember({FACT: {}})
        return
    ensure(Shop.of(access), access)


def disconnecting(access: Access) -> None:
    """No webhook of ours is left in the shop. Where its keys open nothing any more, nobody can delete them: they fail,
    and the shop disables them by itself."""
    if FACT not in access.facts:
        return
    try:
        shop = Shop.of(access)
        for hook in _ours(shop, access):
            _delete(shop, hook["id"])
    except (NeedsReauth, PermanentError, Misconfigured) as error:
        log.warning("shop_webhooks_left", connection=str(access.connection_id), code=error.provider_code or error.code)
    access.remember({FACT: None})


def watch(access: Access) -> list[str]:
    """Those that are gone or disabled are made anew. Returns their topics."""
    return ensure(Shop.of(access), access) if is_reachable(access) else []


def ensure(shop: Shop, access: Access) -> list[str]:
    """One active webhook a topic, with our secret. Returns the topics that had to be made anew."""
    secret = _secret(access)  # kept before any is made with it
    known, address = dict(access.facts.get(FACT) or {}), access.callback_url("webhook")
    standing: dict[str, int] = {}
    for hook in _ours(shop, access):
        topic, number = str(hook.get("topic")), int(hook["id"])
        is_right = hook.get("delivery_url") == address and hook.get("status") == "active"
        if topic not in TOPICS or topic in standing or not is_right:
            _delete(shop, number)
            continue
        if known.get(topic) != number:  # an answer of ours was lost, or somebody made it by hand
            shop.write("PUT", f"webhooks/{number}", {"secret": secret})
        standing[topic] = number
    made = [topic for topic in TOPICS if topic not in standing]
    for topic in made:
        standing[topic] = _create(shop, access, topic, secret)
    if standing != known or FACT not in access.facts:
        access.remember({FACT: standing})
    return made


def unhealthy(shop: Shop, access: Access) -> list[str]:
    """Topics without an active webhook."""
    if not is_reachable(access):
        return []
    address = access.callback_url("webhook")
    ours = [hook for hook in _ours(shop, access) if hook.get("delivery_url") == address]
    active = {hook.get("topic") for hook in ours if hook.get("status") == "active"}
    return [topic for topic in TOPICS if topic not in active]


def is_reachable(access: Access) -> bool:
    """Whether the shop can call us: WordPress calls no private address, unless it lives on one itself."""
    ours = urlsplit(access.callback_url("webhook")).hostname or ""
    theirs = urlsplit(str(access.config.get("store_url", ""))).hostname or ""
    return not _is_private(ours) or _is_private(theirs)


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _secret(access: Access) -> str:
    try:
        return access.secret(SECRET)
    except Misconfigured:
        made = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(48))
        access.keep_secret(SECRET, made)
        return made


def _ours(shop: Shop, access: Access) -> Iterator[Json]:
    """Those that deliver to this connection, and those we made while this installation had another address.

    An id alone proves nothing: in another shop, or in one that was restored, it is somebody else's. All pages are read
    before any is touched.
    """
    address, known = access.callback_url("webhook"), set((access.facts.get(FACT) or {}).values())
    found = [hook for rows, _place, _more in by_id(shop, "webhooks", {"status": "all"}, {}) for hook in rows]
    for hook in found:
        delivers_to = str(hook.get("delivery_url") or "")
        is_moved = int(hook["id"]) in known and _last_part(delivers_to) == _last_part(address)
        if delivers_to == address or is_moved:
            yield hook


def _last_part(url: str) -> str:
    """Of a webhook's address, whose it is: the connection's id, whatever stands before it."""
    return urlsplit(url).path.rpartition("/")[2]


def _create(shop: Shop, access: Access, topic: str, secret: str) -> int:
    body: dict[str, Any] = {
        "name": f"Causeway {topic}",
        "topic": topic,
        "delivery_url": access.callback_url("webhook"),
        "secret": secret,
        "status": "active",
    }
    return int(shop.write("POST", "webhooks", body)["id"])


def _delete(shop: Shop, number: Any) -> None:
    try:
        shop.write("DELETE", f"webhooks/{int(number)}", None, params={"force": True})
    except Gone:
        return
