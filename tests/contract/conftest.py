"""What goes over the wire, both ways: a recorder in front of the simulator, and a client that speaks without ours."""

import http.client
import json
import threading
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.conf import settings as django_settings

from tests.connections.sandbox import conftest as sandbox
from tests.connections.sandbox.conftest import receiver  # noqa: F401 - the fixture
from tests.contract import quickbooks
from tests.sync.conftest import link  # noqa: F401 - the fixture


@dataclass(frozen=True)
class Exchange:
    """One request as it was on the wire, and its answer. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer: bytes

    @property
    def sent(self) -> Any:
        return json.loads(self.body)

    @property
    def answered(self) -> Any:
        return json.loads(self.answer)


class Recorder:
    """A reverse proxy in front of the simulated Plaid that keeps what passes through."""

    def __init__(self, target: str) -> None:
        self.exchanges: list[Exchange] = []
        recorder, parts = self, urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)) as upstream:
                    upstream.request(self.command, self.path, body, dict(self.headers))
                    answer = upstream.getresponse()
                    raw = answer.read()
                headers = {name.lower(): value for name, value in self.headers.items()}
                path = self.path.removeprefix(parts.path)
                recorder.exchanges.append(Exchange(self.command, path, headers, body, answer.status, raw))
                self.send_response(answer.status)
                for name in ("Content-Type", "Location"):
                    if value := answer.headers[name]:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def do_GET(self) -> None:
                self._pass_on()

            def do_POST(self) -> None:
                self._pass_on()

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}{parts.path}"

    def take(self) -> list[Exchange]:
        """What passed since the last call."""
        taken, self.exchanges[:] = list(self.exchanges), []
        return taken

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def recorder(simulator, settings):
    """Our clients talk to the simulator through this."""
    running = Recorder(f"{simulator.url}/plaid")
    settings.PLAID_SANDBOX_URL = running.url
    yield running
    running.close()


class Wire(sandbox.Simulator):
    """The verbs of the simulator's own tests, for a simulator that runs already."""

    def __init__(self, url: str) -> None:
        keys = {"PLAID-CLIENT-ID": django_settings.PLAID_CLIENT_ID, "PLAID-SECRET": django_settings.PLAID_SECRET}
        self.url = url
        self.http = httpx.Client(base_url=url, headers=keys, timeout=30)


@pytest.fixture
def wire(simulator):
    client = Wire(f"{simulator.url}/plaid")
    client.control("limits", enabled=False)
    yield client
    client.http.close()


@pytest.fixture
def item(wire) -> sandbox.Item:
    return wire.item(transactions=200, days=90, webhook="http://127.0.0.1:9/nowhere")


@pytest.fixture
def intuit(simulator, settings):
    """The control endpoint of the simulated Intuit, as if new, with our clients pointed at it."""
    settings.QUICKBOOKS_SANDBOX_URL = f"{simulator.url}/quickbooks"
    settings.QUICKBOOKS_PRODUCTION_URL = f"{simulator.url}/quickbooks/production"

    def control(method: str, path: str, body: Any = None) -> Any:
        return simulator.control(method, f"/quickbooks/_control/{path}", body)

    control("POST", "reset", {})
    control("POST", "limits", {"enabled": False})
    return control


@pytest.fixture
def company(intuit):
    """A company of the United States with Automated Sales Tax."""
    return quickbooks.Company(intuit, quickbooks.US)
