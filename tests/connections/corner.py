"""A provider made for tests, and the little service that it talks to over real HTTP. It stands in for WooCommerce."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from connections.errors import NeedsReauth, TemporaryError
from connections.http import Answer, Http
from connections.providers.base import Access, Check, Field, Provider

KEY, OTHER_KEY = "ck_" + "0a" * 20, "ck_" + "2c" * 20


class Corner:
    """The service: which keys it knows, which webhooks it has, and how it misbehaves. `gate` holds its answers back."""

    def __init__(self) -> None:
        self.keys, self.status, self.webhooks = {KEY}, 0, dict[str, str]()
        self.asked: list[str] = []
        self.gate, self.is_reached = threading.Event(), threading.Event()
        self.gate.set()
        corner = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                corner.answer(self)

            do_GET = do_POST = do_DELETE = do  # noqa: N815 - the names that the library looks for

            def log_message(self, *_args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=[0.05], daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        self.is_reached.set()
        self.gate.wait(10)
        status, body = self.status or 200, dict[str, str]()
        if not self.status and request.headers.get("X-Key") not in self.keys:
            status = 401
        elif not self.status and request.path == "/webhooks":
            number = str(len(self.webhooks) + 1)
            self.webhooks[number] = request.headers["X-To"]
            body = {"id": number}
        elif not self.status and request.command == "DELETE":
            self.webhooks.pop(request.path.rpartition("/")[2], None)
        raw = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


def _ask(access: Access, method: str, path: str, **headers: str) -> Answer:
    http = Http(provider="corner", base_url=access.config["store_url"], timeout_s=5, guard=False)
    answer = http.request(method, path, headers={"X-Key": access.secret("consumer_key"), **headers})
    if answer.status >= 500:
        raise TemporaryError(provider="corner", operator_detail=f"{answer.status} with {access.secret('consumer_key')}")
    return answer


@dataclass(frozen=True)
class Questions:
    """Two questions, each a call."""

    asked: list[str] = field(default_factory=list)

    def verify(self, access: Access) -> Iterator[Check]:
        answer = _ask(access, "GET", "hello")
        yield Check("reachable", "passed", answer.duration_ms)
        if answer.status == 401:
            key = access.secret("consumer_key")
            yield Check("authentication", "failed", cause=f"It does not know {key}.", remediation="Make a new key.")
            return
        access.remember({"greeted": True})
        yield Check("authentication", "passed")
        yield Check("version", "warning", cause="It is old.", remediation="Update it.")


def _activated(access: Access) -> None:
    if "webhook" not in access.facts:
        answer = _ask(access, "POST", "webhooks", **{"X-To": access.callback_url("webhook")})
        access.keep_secret("webhook_secret", "made-by-the-provider's-code")
        access.remember({"webhook": answer.json()["id"]})


def _disconnecting(access: Access) -> None:
    if number := access.facts.get("webhook"):
        if _ask(access, "DELETE", f"webhooks/{number}").status == 401:
            raise NeedsReauth(provider="corner")
        access.remember({"webhook": None})


PROVIDER = Provider(
    key="woocommerce",
    label="Corner",
    unavailable=lambda: "",
    fields=(
        Field("store_url", "Address", kind="url", help="Where it is."),
        Field("consumer_key", "Key", is_secret=True, may_come_later=True, help="Its key."),
    ),
    verifies=Questions(),
    activated=_activated,
    disconnecting=_disconnecting,
)
