"""The simulated Intuit: from an HTTP request to the endpoint that answers it, with everything that can go wrong before."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from . import exact, quickbooks_control
from .faults import AFTER, BEFORE, Fault, Faults
from .quickbooks_api import MINOR_VERSION, Call
from .quickbooks_books import Books
from .quickbooks_errors import Problem, QuickBooksFault, fault
from .quickbooks_life import Clock
from .quickbooks_limits import Throttles
from .quickbooks_oauth import OAuth
from .quickbooks_store import Company, Work, stamp
from .quickbooks_webhooks import Courier
from .quickbooks_world import App, Grant, World
from .wire import Request, Response, hang_up, send_truncated, stopping

LOG_LENGTH = 10_000
HOSTS = ("sandbox", "production")


class QuickBooksSimulator:
    """One simulated Intuit. Mounted by the server under /quickbooks; below /quickbooks/production is the other host."""

    def __init__(self, journal: Path, life_interval_s: float, *, has_limits: bool):
        self.world = World(journal)
        self.faults = Faults()
        self.throttles = Throttles(enabled=has_limits)
        self.courier = Courier(self.world, self.faults)
        self.oauth = OAuth(self)
        self.clock = Clock(self, life_interval_s)
        self.strict_minor_version = True
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._requests_lock = threading.Lock()
        self._requests_seq = 0

    def stop(self) -> None:
        self.world.journal.close()

    def announce(self, company: Company, events: list[tuple[str, str, str]]) -> None:
        """Tell the apps that the company is connected to."""
        self.courier.note(company, events)

    def write(self, company: Company, entity: str, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        """A write that came over no wire: by a person's hand. Hold the company's lock. Raises QuickBooksFault."""
        if verb not in ("save", "delete", "void"):
            raise ValueError("verb must be save, delete or void")
        work = Work(company)
        shown = getattr(Books(company, work), verb)(entity, fields)
        self.commit(company, work)
        return shown

    def commit(self, company: Company, work: Work) -> None:
        """Put it into the books, journal it, tell of it. Hold the company's lock."""
        self.world.record(work.commit())
        self.announce(company, work.events)

    def handle(self, request: Request) -> Response:
        if request.path.startswith("/_control/"):
            return quickbooks_control.handle(self, request)
        host = request.path.split("/")[1]
        if host in HOSTS:
            request.path = request.path.removeprefix(f"/{host}")
        entry = self._entry(request, host if host in HOSTS else "sandbox")
        try:
            response = self._answer(request, entry)
            entry["status"] = response.status
            response.headers.append(("intuit_tid", entry["intuit_tid"]))
            return response
        finally:
            self._log(entry)

    def _entry(self, request: Request, host: str) -> dict[str, Any]:
        return {
            "time": time.time(),
            "method": request.method,
            "path": request.path,
            "host": host,
            "realm": None,
            "status": None,
            "fault_code": None,
            "intuit_tid": f"1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}",
            "correlation_id": request.headers.get("x-correlation-id"),
            "request_id": None,
        }

    def _log(self, entry: dict[str, Any]) -> None:
        with self._requests_lock:
            self._requests_seq += 1
            self.requests.append({"seq": self._requests_seq} | entry)

    # --- what can go wrong, and then the endpoint ---

    def _answer(self, request: Request, entry: dict[str, Any]) -> Response:
        names = [name for name in request.path.split("/") if name]
        is_api = names[:2] == ["v3", "company"] and len(names) > 3
        if is_api:
            entry["realm"] = names[2]
        scope = self._scope(request, names, is_api=is_api)
        armed = next((one for word in scope if (one := self.faults.take(word, entry["realm"], BEFORE | AFTER))), None)
        if armed:
            entry["fault"] = armed.kind
        if armed and armed.kind in BEFORE and (spoilt := self._before(request, entry, armed)):
            return spoilt
        if is_api:
            response = self._api(request, names, entry)
        elif names[:1] == ["oauth2"]:
            response = self.oauth.answer(request, entry)
        elif names[:1] == [".well-known"]:
            response = self.oauth.discovery(request)
        else:
            response = Response(404, b'{"error":"not found"}')
        if armed and armed.kind in AFTER:
            return self._after(request, response, armed)
        return response

    @staticmethod
    def _scope(request: Request, names: list[str], *, is_api: bool) -> tuple[str, ...]:
        """By which words a fault may mean this request, the narrowest first."""
        if not is_api:
            return (names[-1] if names else "",)
        resource = names[3].lower()
        is_read = request.method == "GET" or resource in ("query", "cdc")
        return resource, "read" if is_read else "write", "api"

    def _api(self, request: Request, names: list[str], entry: dict[str, Any]) -> Response:
        now = stamp(time.time(), millis=True)
        try:
            body = self._allowed(request, names, entry)
        except QuickBooksFault as error:
            entry["fault_code"] = error.code
            text, kind = error.body(now)
            return Response(error.status, text, kind)
        if "json" not in request.headers.get("accept", ""):  # asked for nothing in particular, Intuit answers XML
            return Response(200, _as_xml(body), "application/xml")
        return Response(200, body)

    def _allowed(self, request: Request, names: list[str], entry: dict[str, Any]) -> bytes:
        """Everything a gateway checks, then the call."""
        app, company = self._authorized(request, names[2], entry)
        is_read = "read" in self._scope(request, names, is_api=True)
        is_metered = is_read and (app.environment == "production" or self.throttles.is_metering_sandbox)
        excess = self.throttles.enter(app.client_id, company.realm, is_batch=names[3] == "batch")
        if excess:
            entry["throttle"] = excess
            raise fault("3001")
        try:
            if is_metered and not self.throttles.is_read_allowed():
                raise QuickBooksFault(
                    Problem("3001", "The monthly limit of CorePlus calls is reached.", message="UsageLimitExceeded")
                )
            self._require_version(request)
            if company.settings["suspended"]:
                raise fault("6190", "Subscription period has ended or canceled or there was a billing problem")
            body = Call(self, request, company, names[3:], entry).answer()
        finally:
            self.throttles.leave(app.client_id, company.realm)
        if is_metered:
            self.throttles.count_read()
        return body

    def _authorized(self, request: Request, realm: str, entry: dict[str, Any]) -> tuple[App, Company]:
        """The app and the company of the bearer. Faults 3200, 3100, 120."""
        scheme, _space, token = request.headers.get("authorization", "").partition(" ")
        grant = self.world.by_access.get(token) if scheme.lower() == "bearer" else None
        if grant is None:
            raise fault("3200", "Malformed bearer token" if not token else "Token not found")
        entry["grant_id"] = grant.id
        if grant.is_revoked or grant.access.get(token, 0) <= time.time():
            raise fault("3200", "Token revoked" if grant.is_revoked else "Token expired")
        app, company = self.world.apps[grant.client_id], self.world.companies.get(realm)
        if (
            company is None
            or grant.realm != realm
            or app.environment != entry["host"]
            or company.environment != entry["host"]
        ):
            raise fault("3100")
        self._require_admin(grant)
        return app, company

    @staticmethod
    def _require_admin(grant: Grant) -> None:
        if not grant.is_admin:
            raise fault("120", "The user who connected this app no longer has access to the company.")

    def _require_version(self, request: Request) -> None:
        """Intuit treats old numbers as 75; here a client that forgets or changes it is to notice."""
        given = request.query.get("minorversion")
        if not self.strict_minor_version or given == MINOR_VERSION:
            return
        if given is None:
            raise fault("2020", "minorversion is missing", "minorversion")
        raise fault("2170", f"minorversion must be {MINOR_VERSION}, not {given}", "minorversion")

    # --- faults ---

    def _before(self, request: Request, entry: dict[str, Any], armed: Fault) -> Response | None:
        """Go wrong before anything happened. None: carry on (latency)."""
        options = armed.options
        if armed.kind == "latency":
            stopping.wait(float(options.get("seconds", 1)))
            return None
        if armed.kind == "html":
            page = options.get("body", "<html><body><h1>502 Bad Gateway</h1></body></html>")
            return Response(int(options.get("status", 502)), page.encode(), "text/html")
        if armed.kind == "hang":
            stopping.wait(float(options.get("seconds", 60)))
        if armed.kind in ("hang", "reset"):
            raise hang_up(request.socket, reset=armed.kind == "reset")
        return self._error(entry, options)

    def _error(self, entry: dict[str, Any], options: dict[str, Any]) -> Response:
        """Any fault in any shape, with any status, 200 too; or just a body."""
        retry_after = options.get("retry_after")
        headers = [("Retry-After", str(retry_after))] if retry_after is not None else []
        if "body" in options:
            raw = options["body"]
            body = raw.encode() if isinstance(raw, str) else exact.dumps(raw)
            kind = str(options.get("content_type", "application/json"))
            return Response(int(options.get("status", 500)), body, kind, headers)
        codes = options.get("codes") or [options.get("code", "10000")]
        detail, element = str(options.get("detail", "")), str(options.get("element", ""))
        problems = [Problem(str(code), detail, element, options.get("message")) for code in codes]
        status = int(options["status"]) if "status" in options else None
        error = QuickBooksFault(*problems, status=status, kind=options.get("type"))
        entry["fault_code"] = error.code
        text, kind = error.body(stamp(time.time(), millis=True), options.get("form"))
        return Response(error.status, text, kind, headers)

    @staticmethod
    def _after(request: Request, response: Response, armed: Fault) -> Response:
        """Spoil the answer to a request that had its effect."""
        options = armed.options
        if armed.kind == "commit_then_drop":
            stopping.wait(float(options.get("seconds", 0)))
            raise hang_up(request.socket, reset=bool(options.get("reset")))
        if armed.kind == "truncated":
            raise send_truncated(request.socket, response)
        if armed.kind == "malformed":
            response.body = response.body[: max(1, len(response.body) * 2 // 3)] + b"}]"
        elif armed.kind == "oversized":
            padding = b'{"padding":"' + b"x" * int(options.get("bytes", 64 * 1024 * 1024)) + b'",'
            response.body = padding + response.body[1:]
        else:
            names = str(options.get("field", "time")).split(".")
            shown = exact.parse(response.body)
            _edit(shown, names, options.get("value", "SOMETHING_NEW") if armed.kind == "new_enum" else None)
            response.body = exact.dumps(shown)
        return response


def _edit(node: Any, names: list[str], value: Any) -> None:
    """Set a field, or (None) take it out. A list's name means all its elements."""
    if isinstance(node, list):
        for one in node:
            _edit(one, names, value)
    elif isinstance(node, dict) and names[0] in node:
        if len(names) > 1:
            _edit(node[names[0]], names[1:], value)
        elif value is None:
            del node[names[0]]
        else:
            node[names[0]] = value


def _as_xml(body: bytes) -> bytes:
    """What a client sees that forgot to ask for JSON."""
    from xml.sax.saxutils import escape

    def written(name: str, value: Any) -> str:
        if isinstance(value, list):
            return "".join(written(name, one) for one in value)
        inner = (
            "".join(written(key, one) for key, one in value.items()) if isinstance(value, dict) else escape(str(value))
        )
        return f"<{name}>{inner}</{name}>"

    shown = exact.parse(body)
    parts = "".join(written(name, value) for name, value in shown.items() if name != "time")
    head = f'<IntuitResponse time="{shown.get("time", "")}" xmlns="http://schema.intuit.com/finance/v3">'
    return f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{head}{parts}</IntuitResponse>'.encode()
