"""The simulated Supabase: from an HTTP request through the gateway's rules to the Data API, with faults and a log."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from . import exact, supabase_control, supabase_keys
from .faults import AFTER, BEFORE, Fault, Faults
from .supabase_errors import GATEWAY, ApiError, GatewayError
from .supabase_postgres import Doors
from .supabase_projects import NoDatabase, Project, Projects
from .supabase_rest import Call
from .wire import Request, Response, hang_up, send_truncated, stopping

LOG_LENGTH = 5000
BASE = "/rest/v1"
DEMO = "demo"


class SupabaseSimulator:
    """All simulated Supabase projects. Mounted by the server under /supabase; a project's URL is /supabase/<ref>."""

    def __init__(self, folder: Path, host: str = "127.0.0.1", *, is_demo: bool = False):
        self.folder = folder
        self.host = host
        self.projects = Projects(folder / "supabase.jsonl")
        self.faults = Faults()
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self._requests_lock = threading.Lock()
        self._requests_seq = 0
        self.doors = Doors(self, folder, host) if self.projects.dsn else None
        if is_demo and self.projects.named(DEMO) is None:
            with contextlib.suppress(NoDatabase):  # every request says it again
                self.projects.create(name=DEMO)

    def stop(self) -> None:
        if self.doors:
            self.doors.stop()
        self.projects.close()

    def handle(self, request: Request) -> Response:
        if request.path.startswith("/_control/"):
            return supabase_control.handle(self, request)
        entry: dict[str, Any] = {
            "method": request.method,
            "path": request.path,
            "query": re.sub(r"(?i)(apikey=)[^&]*", r"\1…", request.query_string),
            "project": None,
            "role": None,
            "key": None,
            "status": None,
            "code": None,
            "rows": None,
            "prefer": request.headers.get("prefer"),
            "user_agent": request.headers.get("user-agent"),
            "bytes_in": len(request.body),
            "request_id": str(uuid.uuid4()),
        }
        try:
            response = self._answer(request, entry)
            response.headers.append(("sb-request-id", entry["request_id"]))
            entry["status"] = response.status
            return response
        finally:
            self.log(entry | {"correlation_id": request.headers.get("x-correlation-id")})

    def log(self, entry: dict[str, Any]) -> None:
        with self._requests_lock:
            self._requests_seq += 1
            self.requests.append({"seq": self._requests_seq, "time": time.time()} | entry)

    def _answer(self, request: Request, entry: dict[str, Any]) -> Response:
        fault = None
        try:
            project, path = self._project(request)
            entry |= {"project": project.ref, "path": path}
            fault = self._fault(request.method, path, project)
            if fault:
                entry["fault"] = fault.kind
                if fault.kind in BEFORE and (spoilt := _before(request, fault)):
                    return spoilt
            response = self._served(project, request, path, entry)
        except ApiError as error:
            entry["code"] = error.code
            response = error.response()
        except GatewayError as error:
            response = error.response()
        except NoDatabase as error:
            response = Response(503, exact.dumps({"message": str(error)}))
        if fault and fault.kind in AFTER:
            return _after(request, response, fault)
        return response

    def _fault(self, method: str, path: str, project: Project) -> Fault | None:
        kinds = BEFORE | AFTER
        return self.faults.take(f"{method} {path}", project.ref, kinds) or self.faults.take(path, project.ref, kinds)

    def _project(self, request: Request) -> tuple[Project, str]:
        """The project that is meant, and the path in it. Without a ref in the path, the key says which."""
        if not self.projects.dsn:
            self.projects.admin()  # says what is missing
        ref, slash, rest = request.path[1:].partition("/")
        if project := self.projects.projects.get(ref):
            return project, slash + rest
        key = request.headers.get("apikey", "")
        if ref == "rest":
            for project in list(self.projects.projects.values()):
                if key and key in project.keys.values():
                    return project, request.path
        raise GatewayError(404, '{"message":"Project not found"}')

    def _served(self, project: Project, request: Request, path: str, entry: dict[str, Any]) -> Response:
        if project.state in ("paused", "restricted"):
            raise GatewayError(540 if project.state == "paused" else 402)
        if path != BASE and not path.startswith(f"{BASE}/"):
            raise GatewayError(404, '{"message":"no Route matched with those values"}')
        caller = supabase_keys.identify(project, request.headers, request.query)
        entry |= {"role": caller.role, "key": caller.key_kind}
        if project.state in ("starting", "unreachable"):
            raise ApiError("PGRST002" if project.state == "starting" else "PGRST000")
        call = Call(project, self.projects.live(project), request, caller, path.removeprefix(BASE), entry["request_id"])
        try:
            return call.answer()
        finally:
            entry["rows"] = call.rows


def _before(request: Request, fault: Fault) -> Response | None:
    """Go wrong before anything happened. None: carry on (latency)."""
    options = fault.options
    if fault.kind == "latency":
        stopping.wait(float(options.get("seconds", 1)))
        return None
    if fault.kind in ("html", "error"):
        return _error(fault)
    if fault.kind == "hang":
        stopping.wait(float(options.get("seconds", 60)))
    raise hang_up(request.socket, reset=fault.kind == "reset")


def _error(fault: Fault) -> Response:
    """The Data API's error with `code`, or else the gateway's with `status`."""
    options = fault.options
    headers = [("Retry-After", str(options["retry_after"]))] if "retry_after" in options else []
    if code := options.get("code"):
        raise ApiError(
            code,
            options.get("message"),
            details=options.get("details"),
            hint=options.get("hint"),
            status=options.get("status"),
            headers=headers,
        )
    if fault.kind == "html":
        page = options.get("body", "<html><body><h1>502 Bad Gateway</h1></body></html>")
        return Response(int(options.get("status", 502)), page.encode(), "text/html")
    status = int(options.get("status", 503))
    body = options.get("body", GATEWAY.get(status))
    if isinstance(body, dict | list):
        body = exact.dumps(body).decode()
    raise GatewayError(status, body, headers=headers)


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
        response.body = b'[{"padding":"' + b"x" * int(options.get("bytes", 64 * 1024 * 1024)) + b'"}]'
    return response
