"""The simulated Plaid: from an HTTP request to the route that answers it."""

from __future__ import annotations

import hmac
import os
import secrets
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from . import exact, plaid_control, plaid_fields, plaid_link, plaid_routes
from .faults import AFTER, BEFORE, Fault, Faults
from .limits import RateLimits
from .plaid_clock import Clock
from .plaid_errors import PlaidError
from .plaid_items import Item
from .plaid_webhooks import Courier
from .plaid_world import World
from .wire import Request, Response, hang_up, send_truncated, stopping

LOG_LENGTH = 5000

# Requests a minute: (per Item, per client), the published Sandbox figures.
RATES: dict[str, tuple[int | None, int]] = {
    "/transactions/sync": (50, 1000),
    "/transactions/refresh": (2, 100),
    "/transactions/recurring/get": (20, 1000),
    "/accounts/get": (100, 5000),
    "/item/get": (40, 5000),
    "/item/remove": (100, 500),
    "/institutions/get_by_id": (None, 400),
    "/sandbox/transactions/create": (2, 50),
}
LIMIT_CODES = {
    "/transactions/sync": "TRANSACTIONS_SYNC_LIMIT",
    "/accounts/get": "ACCOUNTS_LIMIT",
    "/item/get": "ITEM_GET_LIMIT",
    "/institutions/get_by_id": "INSTITUTIONS_GET_BY_ID_LIMIT",
}


class PlaidSimulator:
    """One simulated Plaid: its world, its faults, its log. Mounted by the server under /plaid."""

    def __init__(self, journal: Path, life_interval_s: float, ready_after_s: float, *, has_limits: bool):
        self.client_id = os.environ.get("PLAID_CLIENT_ID") or "demo-client-id"
        self.secret = os.environ.get("PLAID_SECRET") or "demo-secret"
        self.world = World(journal, ready_after_s=ready_after_s)
        self.faults = Faults()
        self.limits = RateLimits(RATES, enabled=has_limits)
        self.has_limits = has_limits
        self.courier = Courier(self.world.current_key, self.faults)
        self.clock = Clock(self, life_interval_s)
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._requests_lock = threading.Lock()
        self._requests_seq = 0

    def stop(self) -> None:
        self.world.journal.close()

    def handle(self, request: Request) -> Response:
        if request.path.startswith("/_control/"):
            return plaid_control.handle(self, request)
        if request.path.startswith("/link/") and not request.path.startswith("/link/token/"):
            return plaid_link.handle(self, request)
        return self._api(request)

    # --- the API ---

    def _api(self, request: Request) -> Response:
        """Answer one API call and log it. Faults are drawn here, so that every route can go wrong in every way."""
        request_id = secrets.token_urlsafe(11)[:15]
        entry: dict[str, Any] = {
            "path": request.path,
            "item_id": None,
            "status": None,
            "error_code": None,
            "request_id": request_id,
        }
        try:
            response = self._answer(request, request_id, entry)
            entry["status"] = response.status
            return response
        finally:
            self._log(request, entry)

    def _answer(self, request: Request, request_id: str, entry: dict[str, Any]) -> Response:
        fault = None
        try:
            body = self._parsed(request)
            item = self._item_meant(body)
            entry["item_id"] = item.item_id if item else None
            fault = self.faults.take(request.path, entry["item_id"], BEFORE | AFTER)
            if fault:
                entry["fault"] = fault.kind
            if fault and fault.kind in BEFORE and (spoilt := self._before(request, request_id, fault)):
                return spoilt
            shown = self._routed(request, body, item, entry)
            response = Response(body=_with_request_id(shown, request_id))
        except PlaidError as error:
            entry["error_code"] = error.code
            response = Response(status=error.status, body=exact.dumps(error.body(request_id)))
        if fault and fault.kind in AFTER:
            return self._after(request, response, fault)
        return response

    def _parsed(self, request: Request) -> dict[str, Any]:
        if request.method != "POST" or request.path not in plaid_routes.ROUTES:
            raise PlaidError("NOT_FOUND")
        if "application/json" not in request.headers["content-type"]:
            raise PlaidError("INVALID_HEADERS")
        try:
            body = exact.parse(request.body)
        except (ValueError, RecursionError) as error:
            raise PlaidError("INVALID_BODY") from error
        if not isinstance(body, dict):
            raise PlaidError("INVALID_BODY")
        return body

    def _item_meant(self, body: dict[str, Any]) -> Item | None:
        """The Item the call is about, before anything is checked: for the log, faults and limits."""
        token = body.get("access_token")
        if isinstance(token, str):
            return self.world.by_access_token.get(token)
        public = body.get("public_token")
        known = self.world.public_tokens.get(public) if isinstance(public, str) else None
        return self.world.items.get(known["item_id"]) if known else None

    def _routed(self, request: Request, body: dict[str, Any], item: Item | None, entry: dict[str, Any]) -> Any:
        client_id = body.pop("client_id", None) or request.headers.get("plaid-client-id")
        secret = body.pop("secret", None) or request.headers.get("plaid-secret")
        self._authenticate(client_id, secret)
        plaid_fields.check(body, plaid_fields.SHAPES[request.path])
        if not self.limits.allows(request.path, item.item_id if item else None):
            raise PlaidError(LIMIT_CODES.get(request.path, "RATE_LIMIT"))
        call = plaid_routes.Call(self, request, body, item)
        shown = plaid_routes.ROUTES[request.path](call)
        entry["item_id"] = entry["item_id"] or (call.item.item_id if call.item else None)
        return shown

    def _authenticate(self, client_id: Any, secret: Any) -> None:
        names = {"client_id": client_id, "secret": secret}
        if missing := [name for name, value in names.items() if not value]:
            raise PlaidError("MISSING_FIELDS", f"the following required fields are missing: {', '.join(missing)}")
        pairs = ((str(client_id), self.client_id), (str(secret), self.secret))
        if not all(hmac.compare_digest(given.encode(), known.encode()) for given, known in pairs):
            raise PlaidError("INVALID_API_KEYS")

    def _log(self, request: Request, entry: dict[str, Any]) -> None:
        entry |= {"time": time.time(), "correlation_id": request.headers.get("x-correlation-id")}
        with self._requests_lock:
            self._requests_seq += 1
            self.requests.append({"seq": self._requests_seq} | entry)

    # --- faults ---

    def _before(self, request: Request, request_id: str, fault: Fault) -> Response | None:
        """Go wrong before anything happened. None: carry on (latency)."""
        options = fault.options
        if fault.kind == "latency":
            stopping.wait(float(options.get("seconds", 1)))
            return None
        if fault.kind == "mutation":
            raise PlaidError("TRANSACTIONS_SYNC_MUTATION_DURING_PAGINATION")
        if fault.kind == "html":
            page = options.get("body", "<html><body><h1>502 Bad Gateway</h1></body></html>")
            return Response(int(options.get("status", 502)), page.encode(), "text/html")
        if fault.kind == "error" and "body" in options:
            raw = options["body"]
            body = raw.encode() if isinstance(raw, str) else exact.dumps({"request_id": request_id} | raw)
            return Response(int(options.get("status", 500)), body, options.get("content_type", "application/json"))
        if fault.kind == "error":
            status = int(options["status"]) if "status" in options else None
            code = options.get("error_code", "INTERNAL_SERVER_ERROR")
            raise PlaidError(code, options.get("error_message"), kind=options.get("error_type"), status=status)
        if fault.kind == "hang":
            stopping.wait(float(options.get("seconds", 60)))
        raise hang_up(request.socket, reset=fault.kind == "reset")

    def _after(self, request: Request, response: Response, fault: Fault) -> Response:
        """Spoil the answer to a request that had its effect."""
        options = fault.options
        if fault.kind == "commit_then_drop":
            stopping.wait(float(options.get("seconds", 0)))
            raise hang_up(request.socket, reset=bool(options.get("reset")))
        if fault.kind == "truncated":
            raise send_truncated(request.socket, response)
        if fault.kind == "malformed":
            response.body = response.body[: max(1, len(response.body) * 2 // 3)] + b"}]"
            return response
        if fault.kind == "oversized":
            padding = b'{"padding":"' + b"x" * int(options.get("bytes", 64 * 1024 * 1024)) + b'",'
            response.body = padding + response.body[1:]
            return response
        default = "request_id" if fault.kind == "missing_field" else "transactions_update_status"
        response.body = _edited(response.body, str(options.get("field", default)).split("."), options, fault.kind)
        return response


def _with_request_id(shown: Any, request_id: str) -> bytes:
    """The answer as JSON text. A route returns a dict, or the bytes of an object that still lacks its end."""
    if isinstance(shown, bytes):
        return b'%b,"request_id":"%b"}' % (shown, request_id.encode())
    return exact.dumps(shown | {"request_id": request_id})


def _edited(body: bytes, field: list[str], options: dict[str, Any], kind: str) -> bytes:
    """The answer without a field, or with a value nobody has seen yet in it. A list's name means all its elements."""
    shown = exact.parse(body)

    def walk(node: Any, names: list[str]) -> None:
        if isinstance(node, list):
            for one in node:
                walk(one, names)
        elif isinstance(node, dict) and names[0] in node:
            if len(names) > 1:
                walk(node[names[0]], names[1:])
            elif kind == "missing_field":
                del node[names[0]]
            else:
                node[names[0]] = options.get("value", "SOMETHING_NEW")

    walk(shown, field)
    return exact.dumps(shown)
