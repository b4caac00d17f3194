"""People at the HTTP API of a running web process, and their banks at the simulator."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from config.processes import wait_until
from connections.models import Connection, PlaidItem
from connections.services import plaid_links
from sync import engine
from sync.services.dispatch import items_offer
from tests.conftest import Simulator
from tests.factories import Person
from tests.plugin import ENVIRONMENT
from webhooks import tasks as inbox

YES = {"confirmed": True}
UPDATE_CALL = "/transactions/sync"


@dataclass(frozen=True)
class Caller:
    """A person who talks to the API. workspace: the one they name; "" as people with a single one do."""

    url: str
    token: str
    workspace: str = ""

    def call(self, method: str, path: str, body: Any = None, *, key: str = "", **query: Any) -> httpx.Response:
        """One request. path: below /api/v1, or a whole address out of an answer."""
        address = path if path.startswith("http") else f"{self.url}/api/v1/{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        headers |= {"X-Workspace": self.workspace} if self.workspace else {}
        headers |= {"Idempotency-Key": key} if key else {}
        return httpx.request(method, address, json=body, params=query or None, headers=headers, timeout=30)

    def get(self, path: str, **query: Any) -> Any:
        return self._expect(200, self.call("GET", path, **query))

    def post(self, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        return self._expect(status, self.call("POST", path, {} if body is None else body, **more))

    def delete(self, path: str) -> Any:
        """Confirmed."""
        return self._expect(202, self.call("DELETE", path, YES))

    def rows(self, path: str, **query: Any) -> list[dict]:
        """All rows of a list, through its pages."""
        page = self.get(path, **query)
        found = page["results"]
        while page["next"]:
            page = self.get(page["next"])
            found += page["results"]
        return found

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """The status and code of the problem that the answer is."""
        answer = self.call(method, path, body, **more)
        assert answer.headers["Content-Type"] == "application/problem+json", answer.text
        return answer.status_code, answer.json()["code"]

    def _expect(self, status: int, answer: httpx.Response) -> Any:
        assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.text}"
        return answer.json()


@dataclass(frozen=True)
class Bank:
    """One Item at the simulator, and the connection that its owner sees here."""

    owner: Caller
    simulator: Simulator
    plaid_id: str
    account_ids: list[str]
    id: str

    @property
    def path(self) -> str:
        return f"connections/{self.id}"

    # --- what its owner sees ---
    @property
    def shown(self) -> dict:
        return self.owner.get(self.path)

    @property
    def status(self) -> str:
        return self.shown["status"]

    @property
    def error(self) -> str:
        """The code of what is wrong with it, "" where nothing is."""
        return (self.shown["error"] or {}).get("code", "")

    @property
    def accounts(self) -> dict[str, dict]:
        """By the bank's id for them now."""
        return {row["external_id"]: row for row in self.owner.rows(f"{self.path}/accounts")}

    def transactions(self, **filters: Any) -> dict[str, dict]:
        """By the bank's id."""
        rows = self.owner.rows(f"{self.path}/transactions", **({"page_size": 500} | filters))
        return {row["external_id"]: row for row in rows}

    @property
    def runs(self) -> list[dict]:
        """Newest first."""
        return self.owner.rows("sync/status", connection_id=self.id)

    def refresh(self) -> dict:
        return self.owner.post(f"{self.path}/refresh", status=202)

    def disconnect(self) -> dict:
        return self.owner.delete(self.path)

    # --- what happens at the bank ---
    def control(self, path: str, **body: Any) -> dict:
        return self.simulator.control("POST", f"items/{self.plaid_id}/{path}", body)

    def state(self, **fields: Any) -> None:
        self.control("state", **fields)

    def ops(self, *ops: dict) -> list[str]:
        """Changes there that nobody tells us of."""
        return self.control("ops", ops=list(ops))["transaction_ids"]

    def add(self, **fields: Any) -> str:
        return self.ops({"op": "add", "transaction": fields})[0]

    def news(self, **fields: Any) -> str:
        """A new transaction, told by a webhook that has arrived when this returns."""
        made = self.add(**fields)
        self.tells("SYNC_UPDATES_AVAILABLE")
        return made

    def tells(self, code: str, **extra: Any) -> None:
        """Send a webhook and wait until it is taken."""
        self.control("webhook", code=code, extra=extra)
        self.told()

    def told(self) -> None:
        """Wait until all its webhooks were taken."""
        assert wait_until(lambda: all(sent["status"] == 200 for sent in self._webhooks()), 20), self._webhooks()

    def _webhooks(self) -> list[dict]:
        return self.simulator.control("GET", f"webhooks?item_id={self.plaid_id}")["webhooks"]

    def fault(self, kind: str, path: str = UPDATE_CALL, **options: Any) -> None:
        fault = {"path": path, "kind": kind, "item_id": self.plaid_id} | options
        self.simulator.control("POST", "faults", fault)

    def is_down(self, times: int = 1) -> None:
        """The bank itself cannot be reached by Plaid."""
        wrong = {"status": 400, "error_type": "INSTITUTION_ERROR", "error_code": "INSTITUTION_DOWN"}
        self.fault("error", times=times, **wrong)

    def calls(self, path: str = UPDATE_CALL) -> int:
        """How often we asked for this Item."""
        log = self.simulator.control("GET", f"log?item_id={self.plaid_id}")["requests"]
        return sum(row["path"] == path for row in log)

    @property
    def is_removed(self) -> bool:
        return self.simulator.control("GET", f"items/{self.plaid_id}")["removed"]

    @property
    def truth(self) -> set[str]:
        """The ids of the transactions that are there now."""
        rows = self.simulator.control("GET", f"items/{self.plaid_id}/truth?limit=10000")["transactions"]
        return {row["transaction_id"] for row in rows if not row.get("poison")}

    @property
    def is_current(self) -> bool:
        """What its owner sees is what the bank has."""
        return set(self.transactions()) == self.truth


class Town:
    """One web process, one simulator, and this test's process as the worker."""

    def __init__(self, url: str, simulator: Simulator) -> None:
        self.url, self.simulator = url, simulator

    def at_api(self, person: Person, workspace: str = "") -> Caller:
        return Caller(self.url, person.token, workspace)

    def item(self, **options: Any) -> dict:
        """A login at the simulator that nobody has linked yet. Options are the simulator's."""
        given = {"transactions": 12, "accounts": 2, "days": 60, "life": False, "webhook": f"{self.url}/webhook/plaid"}
        return self.simulator.control("POST", "items", given | options)

    def link(self, owner: Caller, item: dict | None = None, *, is_synced: bool = True, **options: Any) -> Bank:
        """A bank linked through the API, and read once."""
        item = item or self.item(**options)
        made = owner.post("plaid/exchange-token", {"public_token": item["public_token"]}, status=201)
        bank = Bank(owner, self.simulator, item["item_id"], item["account_ids"], made["id"])
        if is_synced:
            self.work()
            assert bank.is_current
        return bank

    def work(self) -> list[engine.Outcome]:
        """What workers do at a tick: the inbox, then whatever is due. The outcome of each sync."""
        inbox.sweep()
        offered = items_offer()
        return [self._sync(item_id) for item_id in [*offered.small, *offered.large]]

    def _sync(self, item_id: UUID) -> engine.Outcome:
        return engine.sync_item(item_id, deadline=time.monotonic() + 60, is_large_queue=True)

    def follow_links(self) -> None:
        """What workers do about open Hosted Link sessions."""
        plaid_links.PlaidLink.objects.update(next_poll_at="2000-01-01T00:00:00Z")
        for link_id in plaid_links.links_due():
            plaid_links.link_poll(link_id)

    def job(self, name: str) -> dict:
        """One of the clock's jobs, asked for by HTTP as an outside scheduler does."""
        headers = {"X-Jobs-Secret": ENVIRONMENT["JOBS_SECRET"]}
        answer = httpx.post(f"{self.url}/api/v1/jobs/plaid/{name}", json={}, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def retry_now(self) -> None:
        """As if every back-off were over, and every hand-out that nobody took up."""
        Connection.objects.update(next_attempt_at=None)
        PlaidItem.objects.update(offered_until=None)

    def calls(self, path: str) -> int:
        """How often anybody was asked."""
        return sum(row["path"] == path for row in self.simulator.control("GET", "log")["requests"])
