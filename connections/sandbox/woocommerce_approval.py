"""The page on which a shop's owner hands keys over: /wc-auth/v1/authorize and what follows it."""

from __future__ import annotations

import html
import json
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from .wire import Response, stopping
from .woocommerce_auth import PERMISSIONS
from .woocommerce_hooks import post, user_agent
from .woocommerce_wire import page

if TYPE_CHECKING:
    from .woocommerce_store import Store

NEEDED = ("app_name", "user_id", "return_url", "callback_url", "scope")
CALLBACK_TIMEOUT_S = 60.0
SCOPES = {"read": "View coupons, customers, orders and products", "write": "Create webhooks, coupons, customers, orders and products",
          "read_write": "View and manage coupons, customers, orders and products"}  # fmt: skip


def handle(store: Store, action: str, query: dict[str, str]) -> Response:
    """The page for `authorize`; for `access_granted`, what its button does."""
    if problem := _problem(store, query):
        return _refused(problem)
    if action == "authorize":
        return _asked(store, query)
    if action == "access_granted" and query.get("wc_auth_nonce") == _nonce(store):
        return _granted(store, query)
    return _refused("Invalid nonce verification" if action == "access_granted" else "No action")


def _problem(store: Store, query: dict[str, str]) -> str | None:
    for name in NEEDED:
        if not query.get(name):
            return f"Missing parameter {name}"
    if query["scope"] not in PERMISSIONS:
        return f"Invalid scope {query['scope']}"
    for name in ("return_url", "callback_url"):
        if not urlsplit(_with_scheme(query[name])).netloc:
            return f"The {name} is not a valid URL"
    callback = urlsplit(_with_scheme(query["callback_url"]))
    is_local = store.settings["allow_http_callback"] and callback.hostname in ("127.0.0.1", "localhost", "::1")
    if callback.scheme != "https" and not is_local:
        return "The callback_url needs to be over SSL"
    return None


def _with_scheme(url: str) -> str:
    return url if "://" in url else f"https://{url}"


def _refused(problem: str) -> Response:
    return page(401, "Access denied", f"<h1>Access denied</h1><p>Error: {html.escape(problem)}.</p>")


def _nonce(store: Store) -> str:
    return store.store_id[:10].replace("-", "")


def _returned(query: dict[str, str], *, is_success: bool) -> str:
    url = _with_scheme(query["return_url"])
    tail = urlencode({"success": int(is_success), "user_id": query["user_id"]})
    return f"{url}{'&' if '?' in url else '?'}{tail}"


def _asked(store: Store, query: dict[str, str]) -> Response:
    app, title = html.escape(query["app_name"]), html.escape(html.unescape(store.settings["title"]))
    kept = {name: query[name] for name in NEEDED} | {"wc_auth_nonce": _nonce(store)}
    granted = html.escape(f"{store.home}/wc-auth/v1/access_granted/?{urlencode(kept)}")
    denied = html.escape(_returned(query, is_success=False))
    body = f"<h1>{app} would like to connect to your store</h1><p>This will give &ldquo;{app}&rdquo; "
    body += f"<strong>{query['scope']}</strong> access which will allow it to:</p><ul><li>{SCOPES[query['scope']]}</li></ul>"
    body += f"<p>Logged in to <strong>{title}</strong> as admin.</p>"
    body += (
        f'<p><a class="button approve" href="{granted}">Approve</a><a class="button deny" href="{denied}">Deny</a></p>'
    )
    return page(200, "Application authentication request &#8211; WooCommerce", body)


def _granted(store: Store, query: dict[str, str]) -> Response:
    """Hand the keys over, then send the browser back; or the other way round, where the shop is told to."""
    with store.lock:
        description = f"{query['app_name']} - API ({store.settings['title']})"
        key = store.new_key(query["scope"], description=description)
    body = {"key_id": key.key_id, "user_id": query["user_id"], "consumer_key": key.consumer_key}
    body |= {"consumer_secret": key.consumer_secret, "key_permissions": key.permissions}
    if store.settings["approval"] == "return_first":
        threading.Thread(target=_hand_over, args=(store, query, body, key.key_id, 0.5), daemon=True).start()
    elif not _hand_over(store, query, body, key.key_id):
        return _refused("An error occurred in the request and at the time were unable to send the consumer data")
    return Response(302, b"", "text/html; charset=UTF-8", [("Location", _returned(query, is_success=True))])


def _hand_over(store: Store, query: dict[str, str], body: dict[str, object], key_id: int, wait_s: float = 0) -> bool:
    """Post the keys. Anything but exactly 200 deletes them."""
    stopping.wait(wait_s)
    headers = user_agent(store) | {"Content-Type": "application/json;charset=UTF-8"}
    status = post(_with_scheme(query["callback_url"]), json.dumps(body).encode(), headers, CALLBACK_TIMEOUT_S)
    if status == 200:
        return True
    with store.lock:
        store.drop_key(key_id)
    return False
