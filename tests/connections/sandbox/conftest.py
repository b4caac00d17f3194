"""A simulator process for the tests, and the few verbs they speak to it with. No Django, no database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

REPO = Path(__file__).resolve().parents[3]
KEYS = {"PLAID-CLIENT-ID": "demo-client-id", "PLAID-SECRET": "demo-secret"}


class Simulator:
    """One simulator process and a client for it."""

    def __init__(self, home: Path, *options: str):
        self.home = home
        self.options = options
        self.start()

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PLAID_")}
        command = [sys.executable, "-m", "connections.sandbox", "--port", "0", "--home", str(self.home)]
        self.process = subprocess.Popen(
            command + list(self.options), cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        assert line.startswith("simulators ready http://"), line
        self.origin = line.split()[-1]
        self.url = f"{self.origin}/plaid"
        self.http = httpx.Client(base_url=self.url, headers=KEYS, timeout=30)

    def stop(self, sig: int = signal.SIGTERM) -> int:
        self.http.close()
        self.process.send_signal(sig)
        code = self.process.wait(10)
        self.process.stdout.close()
        return code

    def post(self, path: str, /, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body)

    def ok(self, path: str, /, **body: Any) -> dict[str, Any]:
        response = self.post(path, **body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, path: str, /, **body: Any) -> str:
        """The error's `error_type/error_code`."""
        shown = self.post(path, **body).json()
        return f"{shown['error_type']}/{shown['error_code']}"

    def control(self, name: str, method: str = "POST", /, **body: Any) -> dict[str, Any]:
        response = self.http.request(method, f"/_control/{name}", json=body or None)
        assert response.status_code == 200, response.text
        return response.json()

    def item(self, **given: Any) -> Item:
        return Item(self, self.control("items", **{"transactions": 20, "days": 60, "seed": 7} | given))


class Item:
    """One simulated Item, and a reader that follows its transactions as a client would."""

    def __init__(self, simulator: Simulator, shown: dict[str, Any]):
        self.simulator = simulator
        self.item_id: str = shown["item_id"]
        self.token: str = shown["access_token"]
        self.public_token: str = shown["public_token"]
        self.account_ids: list[str] = shown["account_ids"]

    def page(self, cursor: str = "", count: int = 500, **more: Any) -> dict[str, Any]:
        return self.simulator.ok("/transactions/sync", access_token=self.token, cursor=cursor, count=count, **more)

    def refused(self, cursor: str = "", **more: Any) -> str:
        return self.simulator.refused("/transactions/sync", access_token=self.token, cursor=cursor, **more)

    def drain(self, cursor: str = "", count: int = 500) -> tuple[list[dict[str, Any]], str]:
        """All pages of one update, and the cursor to keep."""
        pages = [self.page(cursor, count)]
        while pages[-1]["has_more"]:
            pages.append(self.page(pages[-1]["next_cursor"], count))
        return pages, pages[-1]["next_cursor"]

    def ops(self, *ops: dict[str, Any], **more: Any) -> list[str]:
        return self.simulator.control(f"items/{self.item_id}/ops", ops=list(ops), **more)["transaction_ids"]

    def state(self, **fields: Any) -> dict[str, Any]:
        return self.simulator.control(f"items/{self.item_id}/state", **fields)

    def truth(self) -> dict[str, dict[str, Any]]:
        shown = self.simulator.control(f"items/{self.item_id}/truth?limit=10000", "GET")
        assert shown["next"] is None
        assert shown["total"] == len(shown["transactions"])
        return {row["transaction_id"]: row for row in shown["transactions"]}

    def fault(self, kind: str, path: str = "/transactions/sync", **options: Any) -> dict[str, Any]:
        return self.simulator.control("faults", kind=kind, path=path, item_id=self.item_id, **options)


def applied(copy: dict[str, dict[str, Any]], pages: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The reader's copy after an update: upserts first, removals last."""
    copy = dict(copy)
    for page in pages:
        copy |= {row["transaction_id"]: row for row in page["added"] + page["modified"]}
    for page in pages:
        for row in page["removed"]:
            copy.pop(row["transaction_id"], None)
    return copy


class Receiver:
    """A webhook receiver on loopback. `answers`: the statuses of the next answers, then 200."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._arrived:
                    status = receiver.answers.pop(0) if receiver.answers else 200
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.received.append((headers, body))
                    receiver._arrived.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhook/plaid"

    def wait(self, count: int, timeout_s: float = 10) -> list[tuple[dict[str, str], bytes]]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, timeout_s), self.received
            return list(self.received)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="session")
def simulator(tmp_path_factory):
    """Shared by all tests of a process: each makes Items of its own and arms faults for them alone."""
    running = Simulator(tmp_path_factory.mktemp("simulators"), "--ready-after-s", "0.3", "--no-limits")
    yield running
    running.stop()


@pytest.fixture
def own_simulator(tmp_path):
    """A simulator to stop, kill, limit or reset."""
    running = Simulator(tmp_path)
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGKILL)


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.close()
