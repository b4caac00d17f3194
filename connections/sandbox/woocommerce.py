"""The simulated WooCommerce: several shops, each below /woocommerce/<name>, from a request to its answer."""

from __future__ import annotations

import threading
import time
from collections import deque
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from . import exact, woocommerce_approval, woocommerce_control, woocommerce_life, woocommerce_routes
from . import woocommerce_status as status_pages
from .faults import WEBHOOK, Fault, Faults
from .journal import Journal
from .wire import Request, Response, hang_up, send_truncated, send_whole, stopping
from .woocommerce_auth import Asked, Key, authenticate, check_permission
from .woocommerce_errors import WooError, no_route
from .woocommerce_hooks import Courier
from .woocommerce_lists import Parameters
from .woocommerce_store import Store
from .woocommerce_wire import page, rest

LOG_LENGTH = 5000
# Where the first of the simulated companies is, with its currency and its taxes.
DEMO_PLACE = {"country": "US", "state": "TX", "timezone": "America/Chicago"}
DEMO = {"title": "Maple &amp; Mug", "life": True} | DEMO_PLACE
DEMO_SEED = {"seed": 11, "orders": 400, "products": 40, "customers": 120, "days": 120}
BEFORE = frozenset({"latency", "error", "html", "hang", "reset", "redirect", "memory", "strip_authorization"})
AFTER = frozenset({"malformed", "truncated", "commit_then_drop", "oversized", "notice", "drop_headers"})
SECRETS = frozenset({"consumer_secret", "oauth_signature"})
CRITICAL = "<p>There has been a critical error on this website.</p><p>Learn more about troubleshooting WordPress.</p>"
PAGES = {
    "waf": (
        403,
        "Attention Required!",
        "<h1>Sorry, you have been blocked</h1><p>You are unable to access this site.</p>",
    ),
    "captcha": (200, "Just a moment...", "<h1>Checking your browser before accessing this site.</h1>"),
    "maintenance": (
        503,
        "Maintenance",
        "<p>Briefly unavailable for scheduled maintenance. Check back in a minute.</p>",
    ),
    "critical": (500, "WordPress &rsaquo; Error", CRITICAL),
    "login": (200, "Log In", "<h1>Log In</h1><form><input name='log'><input name='pwd' type='password'></form>"),
    "gateway": (502, "502 Bad Gateway", "<h1>502 Bad Gateway</h1><hr>nginx"),
}
NOTICE = b"<br />\n<b>Notice</b>:  Undefined index: total in <b>/var/www/html/wp-content/plugins/x/x.php</b> on line <b>42</b><br />\n"


class WooSimulator:
    """All shops, their faults, their log. Mounted by the server under /woocommerce."""

    def __init__(self, journal: Path, life_interval_s: float, *, is_demo: bool):
        self.lock = threading.RLock()
        self.faults = Faults(BEFORE | AFTER | WEBHOOK)
        self.courier = Courier(self.faults)
        self.stores: dict[str, Store] = {}
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._seq = 0
        self._cache: dict[tuple[str, ...], tuple[float, Response]] = {}
        self.journal = Journal(journal)
        for event in self.journal.replay(exact.parse):
            self._live_through(event)
        self.is_demo = is_demo
        if is_demo and not self.stores:
            self.make_demo()
        woocommerce_life.start(self, life_interval_s)

    def stop(self) -> None:
        self.journal.close()

    # --- shops ---

    def make_demo(self) -> Store:
        return self.make_store("demo", DEMO, DEMO_SEED)

    def make_store(
        self, name: str, settings: dict[str, Any], seeded: dict[str, Any], ends_at: int | None = None
    ) -> Store:
        """A new shop with one pair of keys, instead of one of this name."""
        ends_at = int(time.time()) if ends_at is None else ends_at
        event = {"e": "store", "name": name, "settings": settings, "seeded": seeded, "ends_at": ends_at}
        with self.lock:
            store = self._built(event)
            self.journal.append(event)
            self.stores[name] = store
            store.new_key("read_write", description="First key")
        return store

    def drop_store(self, name: str) -> None:
        with self.lock:
            self.courier.clear(self.stores.pop(name))
            self.journal.append({"e": "store_gone", "s": name})

    def reset(self) -> None:
        """Forget every shop; make the demo anew, where there was one to begin with."""
        with self.lock:
            self.stores.clear()
            self.courier.clear()
            self.faults.clear()
            self.requests.clear()
            self._cache.clear()
            self.journal.restart([])
            if self.is_demo:
                self.make_demo()

    def _built(self, event: dict[str, Any]) -> Store:
        return Store(event, self.journal.append)

    def _live_through(self, event: dict[str, Any]) -> None:
        if event["e"] == "store":
            self.stores[event["name"]] = self._built(event)
        elif event["e"] == "store_gone":
            self.stores.pop(event["s"], None)
        elif store := self.stores.get(event["s"]):
            store.live_through(event)

    # --- requests ---

    def handle(self, request: Request) -> Response:
        if request.path.startswith("/_control/"):
            return woocommerce_control.handle(self, request)
        name, slash, below = request.path[1:].partition("/")
        store = self.stores.get(name)
        if store is None:
            return page(404, "Not Found", "<h1>No shop of this name here</h1>")
        store.reached_at = f"{request.origin}{request.mount}/{name}"
        entry: dict[str, Any] = {
            "store": name,
            "method": request.method,
            "path": slash + below,
            "status": None,
            "code": None,
        }
        try:
            response = self._answered(request, store, slash + below, entry)
            entry["status"], entry["bytes"] = response.status, len(response.body)
        finally:
            self._log(request, entry)
        if store.settings["skew_s"] or store.settings["clock"] is not None:
            response.headers = [*response.headers, ("Date", formatdate(store.now(), usegmt=True))]
            raise send_whole(request.socket, response, has_body=request.method != "HEAD")
        return response

    def _answered(self, request: Request, store: Store, path: str, entry: dict[str, Any]) -> Response:
        fault = self.faults.take(path, store.name, BEFORE | AFTER)
        if fault:
            entry["fault"] = fault.kind
            if fault.kind in BEFORE and (spoilt := self._before(request, store, path, fault)):
                return spoilt
        response = self._cached(request, store, path, entry)
        return self._after(request, response, fault) if fault and fault.kind in AFTER else response

    def _cached(self, request: Request, store: Store, path: str, entry: dict[str, Any]) -> Response:
        """The page cache of some hosts: the same URL gets the same answer for a while, whatever happened since."""
        stale_s = store.settings["stale_s"]
        key = (store.name, path, request.query_string, request.headers.get("authorization", ""))
        if (
            stale_s
            and request.method == "GET"
            and (known := self._cache.get(key))
            and known[0] > time.monotonic() - stale_s
        ):
            entry["cached"] = True
            return known[1]
        response = self._site(request, store, path, entry)
        if stale_s and request.method == "GET" and response.status == 200:
            self._cache[key] = (time.monotonic(), response)
        return response

    def _site(self, request: Request, store: Store, path: str, entry: dict[str, Any]) -> Response:
        query = dict(parse_qsl(request.query_string, keep_blank_values=True))
        if "rest_route" in query:
            return self._api(request, store, path, query["rest_route"], entry)
        if (path == "/wp-json" or path.startswith("/wp-json/")) and store.settings["permalinks"] == "pretty":
            return self._api(request, store, path, path.removeprefix("/wp-json") or "/", entry)
        if path.startswith("/wc-auth/v1/") and store.settings["woocommerce"]:
            return woocommerce_approval.handle(store, path.removeprefix("/wc-auth/v1/").strip("/"), query)
        return status_pages.front_page(store) if path in ("", "/") else status_pages.not_found(store)

    def _api(self, request: Request, store: Store, path: str, route: str, entry: dict[str, Any]) -> Response:
        method = (
            request.query.get("_method") or request.headers.get("x-http-method-override") or request.method
        ).upper()
        after: list[Any] = []
        try:
            with store.lock:
                key = self._caller(request, store, path, method, entry)
                shown, status, headers = self._routed(request, store, route, method, key, after)
        except WooError as error:
            entry["code"] = error.code
            return rest(error.status, error.body())
        except MemoryError:
            return _out_of_memory()
        for later in after:
            later()
        return rest(status, shown, headers)

    def _caller(self, request: Request, store: Store, path: str, method: str, entry: dict[str, Any]) -> Key | None:
        """Who calls. The shop looks at keys only where the address says wp-json/wc/."""
        if "wp-json/wc/" not in f"{path}?{request.query_string}":
            return None
        header = request.headers.get("authorization", "")
        if store.settings["strip_authorization"] or entry.get("fault") == "strip_authorization":
            header = ""
        asked = Asked(method, _signed_url(store, path), request.query_string, header, store.is_https, store.now())
        key = authenticate(asked, store.keys)
        if key:
            entry["key_id"] = key.key_id
            check_permission(key, method)
        return key

    def _routed(
        self, request: Request, store: Store, route: str, method: str, key: Key | None, after: list[Any]
    ) -> tuple[Any, int, list[tuple[str, str]]]:
        below = route.rstrip("/")
        if below == "":
            return status_pages.index(store), 200, [("Allow", "GET")]
        if not store.settings["woocommerce"] or not (below + "/").startswith("/wc/v3/"):
            raise no_route()
        if below == woocommerce_routes.PREFIX:
            return status_pages.namespace(store), 200, [("Allow", "GET")]
        handler, ids, allow = woocommerce_routes.find(method, below.removeprefix(woocommerce_routes.PREFIX))
        parameters = Parameters(request.query_string)
        content_type = request.headers["content-type"]
        call = woocommerce_routes.Call(
            store, key, method, below, parameters, request.body, content_type, self.courier.announce, ids, after=after
        )
        shown = handler(call)
        headers = call.headers
        if store.settings["drop_paging_headers"]:
            headers = [pair for pair in headers if not pair[0].startswith("X-WP-") and pair[0] != "Link"]
        return shown, call.status, [*headers, ("Allow", allow)]

    def _log(self, request: Request, entry: dict[str, Any]) -> None:
        pairs = [(n, "***" if n in SECRETS else v) for n, v in parse_qsl(request.query_string, keep_blank_values=True)]
        scheme = request.headers.get("authorization", "").partition(" ")[0].lower()
        how = (
            "query" if "consumer_key" in request.query else "oauth" if "oauth_consumer_key" in request.query else scheme
        )
        entry |= {
            "time": time.time(),
            "query": dict(pairs),
            "auth": how,
            "user_agent": request.headers.get("user-agent"),
        }
        entry["correlation_id"] = request.headers.get("x-correlation-id")
        with self.lock:
            self._seq += 1
            self.requests.append({"seq": self._seq} | entry)

    # --- faults ---

    def _before(self, request: Request, store: Store, path: str, fault: Fault) -> Response | None:
        """Go wrong before anything happened. None: carry on."""
        options = fault.options
        if fault.kind in ("latency", "strip_authorization"):
            stopping.wait(float(options.get("seconds", 1)) if fault.kind == "latency" else 0)
            return None
        if fault.kind == "html":
            status, title, body = PAGES[options.get("page", "gateway")]
            return page(int(options.get("status", status)), title, options.get("body", body))
        if fault.kind == "redirect":
            return _redirected(request, store, path, options)
        if fault.kind == "memory":
            asked = request.query.get("per_page", "10")
            return _out_of_memory() if asked.isdigit() and int(asked) > int(options.get("above", 0)) else None
        if fault.kind == "error":
            return _error(options)
        if fault.kind == "hang":
            stopping.wait(float(options.get("seconds", 60)))
        raise hang_up(request.socket, reset=fault.kind == "reset")

    @staticmethod
    def _after(request: Request, response: Response, fault: Fault) -> Response:
        """Spoil the answer to a request that had its effect."""
        options = fault.options
        if fault.kind == "commit_then_drop":
            stopping.wait(float(options.get("seconds", 0)))
            raise hang_up(request.socket, reset=bool(options.get("reset")))
        if fault.kind == "truncated":
            raise send_truncated(request.socket, response)
        if fault.kind == "malformed":
            response.body = response.body[: max(1, len(response.body) * 2 // 3)] + b"}]"
        elif fault.kind == "oversized":
            response.body += b" " * int(options.get("bytes", 64 * 1024 * 1024))
        elif fault.kind == "notice":
            response.body = (
                (b"\xef\xbb\xbf" if options.get("bom") else b"")
                + options.get("text", "").encode()
                + (NOTICE if options.get("notice", True) else b"")
                + response.body
            )
        else:
            response.headers = [
                pair for pair in response.headers if not pair[0].startswith("X-WP-") and pair[0] != "Link"
            ]
        return response


def _out_of_memory() -> Response:
    body = {"code": "internal_server_error", "message": CRITICAL, "data": {"status": 500}, "additional_errors": []}
    return rest(500, body)


def _signed_url(store: Store, path: str) -> str:
    """What OAuth signs: the shop's own home and the path; its scheme is what PHP thinks, where the home is a setting."""
    url = f"{store.home}{path}"
    if not store.settings["home"]:
        return url
    parts = urlsplit(url)
    return urlunsplit(("https" if store.is_https else "http", parts.netloc, parts.path, "", ""))


def _redirected(request: Request, store: Store, path: str, options: dict[str, Any]) -> Response:
    """To another base address (`to`), the rest of the URL kept."""
    base = str(options.get("to", store.home)).rstrip("/")
    tail = f"?{request.query_string}" if request.query_string else ""
    return Response(
        int(options.get("status", 301)), b"", "text/html; charset=UTF-8", [("Location", f"{base}{path}{tail}")]
    )


def _error(options: dict[str, Any]) -> Response:
    status = int(options.get("status", 500))
    headers = [("Retry-After", str(options["retry_after"]))] if "retry_after" in options else []
    body = options.get("body", {"message": "Too Many Requests" if status == 429 else "Error"})
    if isinstance(body, str):
        return Response(status, body.encode(), options.get("content_type", "text/html; charset=UTF-8"), headers)
    return rest(status, body, headers)
