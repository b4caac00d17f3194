"""Repeats as they really come: at the same time, and after the process that was at it was killed."""

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from config.processes import wait_until
from connections.models import Connection, IdempotencyKey, PlaidExchange, PlaidItem
from sync.models import SyncRun
from tests.conftest import Process
from tests.connections.api.scene import make_bank
from tests.factories import Person

pytestmark = pytest.mark.django_db(transaction=True)

LEASE_S = 3


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: dict[str, Any]

    @property
    def is_replayed(self) -> bool:
        return self.headers["Idempotency-Replayed"] == "true"


@dataclass(frozen=True)
class Caller:
    person: Person
    url: str

    def post(self, path: str, body: dict | None = None, key: str = "k1") -> Answer:
        headers = {"Authorization": f"Bearer {self.person.token}", "Idempotency-Key": key}
        headers["Content-Type"] = "application/json"
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as made:
            made.request("POST", f"/api/v1/{path}", json.dumps(body or {}), headers)
            response = made.getresponse()
            return Answer(response.status, response.headers, json.loads(response.read()))

    def until_answered(self, path: str, body: dict | None = None) -> Answer:
        """As a good client does: the same request again until it is no longer in progress."""
        found: list[Answer] = []

        def ask() -> bool:
            found.append(self.post(path, body))
            return found[-1].body.get("code") != "idempotency_in_progress"

        assert wait_until(ask, LEASE_S + 20)
        return found[-1]


@pytest.fixture
def together() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def is_begun() -> bool:
    return IdempotencyKey.objects.filter(status="in_progress").exists()


def test_of_two_at_once_one_works_and_the_other_is_told_to_wait(live_web, alice, owner_connection, together):
    bank = make_bank(alice)
    caller, path = Caller(alice, live_web.url), f"connections/{bank.pk}/refresh"
    with owner_connection.transaction():
        owner_connection.execute("SELECT 1 FROM connections_connection WHERE id = %s FOR UPDATE", [bank.pk])
        first: Future[Answer] = together.submit(caller.post, path)
        assert wait_until(is_begun, 10)
        second = caller.post(path)
        assert (second.status, second.body["code"]) == (409, "idempotency_in_progress")
        assert int(second.headers["Retry-After"]) >= 1
        assert caller.post(path, {"other": 1}).body["code"] == "idempotency_mismatch"
        assert not first.done()
    answer, again = first.result(20), caller.post(path)
    assert (answer.status, answer.is_replayed) == (202, False)
    assert (again.status, again.is_replayed, again.body) == (202, True, answer.body)
    assert (SyncRun.objects.count(), PlaidItem.objects.get().dirty_seq) == (1, 2)


def test_of_many_at_once_exactly_one_works(live_web, alice, together):
    bank, gate = make_bank(alice), threading.Barrier(8)
    caller, path = Caller(alice, live_web.url), f"connections/{bank.pk}/refresh"

    def ask() -> Answer:
        gate.wait(10)
        return caller.post(path)

    answers = [asked.result(60) for asked in [together.submit(ask) for _ in range(8)]]
    worked = [answer for answer in answers if answer.status == 202]
    assert len([answer for answer in worked if not answer.is_replayed]) == 1
    assert {answer.body["sync_id"] for answer in worked} == {str(SyncRun.objects.get().pk)}
    assert {a.body["code"] for a in answers if a.status != 202} <= {"idempotency_in_progress"}
    assert PlaidItem.objects.get().dirty_seq == 2


# --- killed ---
@pytest.fixture
def webs(process) -> tuple[Process, Process]:
    """One to be killed, and one that goes on."""
    return process("web", LEASE_S=str(LEASE_S)), process("web", LEASE_S=str(LEASE_S))


def repeated_after_the_lease(caller: Caller, path: str, body: dict | None = None) -> Answer:
    lease_expires_at = IdempotencyKey.objects.get().lease_expires_at
    answer = caller.until_answered(path, body)
    assert timezone.now() >= lease_expires_at
    return answer


def killed(web: Process, request: Future[Answer]) -> None:
    web.kill()
    with pytest.raises((OSError, http.client.HTTPException)):
        request.result(30)


@pytest.mark.chaos
def test_request_whose_process_was_killed_is_done_once_after_its_lease(webs, alice, owner_connection, together):
    bank = make_bank(alice)
    path, caller = f"connections/{bank.pk}/refresh", Caller(alice, webs[1].url)
    with owner_connection.transaction():
        owner_connection.execute("SELECT 1 FROM connections_connection WHERE id = %s FOR UPDATE", [bank.pk])
        lost = together.submit(Caller(alice, webs[0].url).post, path)
        assert wait_until(is_begun, 10)
        killed(webs[0], lost)
    answer = repeated_after_the_lease(caller, path)
    assert (answer.status, answer.is_replayed) == (202, False)
    assert (SyncRun.objects.count(), PlaidItem.objects.get().dirty_seq) == (1, 2)
    again = caller.post(path)
    assert (again.is_replayed, again.body) == (True, answer.body)


@pytest.mark.chaos
@pytest.mark.parametrize(
    "cut_off_at,reached",
    [("/item/public_token/exchange", "started"), ("/accounts/get", "completed")],
    ids=["in the call", "after the change"],
)
def test_exchange_whose_process_was_killed_is_never_made_again(simulator, webs, alice, together, cut_off_at, reached):
    item = simulator.control("POST", "items", {"transactions": 3, "ready": "historical"})
    simulator.control("POST", "faults", {"path": cut_off_at, "kind": "hang", "seconds": 3})
    path, body = "plaid/exchange-token", {"public_token": item["public_token"]}
    lost = together.submit(Caller(alice, webs[0].url).post, path, body)
    assert wait_until(PlaidExchange.objects.filter(status=reached).exists, 20)
    killed(webs[0], lost)
    answer = repeated_after_the_lease(Caller(alice, webs[1].url), path, body)
    if reached == "started":
        assert (answer.status, answer.body["code"]) == (409, "outcome_unknown")
        assert "Look at your connections" in answer.body["remediation"]
        assert not Connection.objects.exists()
    else:
        assert (answer.status, answer.body["id"]) == (201, str(Connection.objects.get().pk))
    assert PlaidExchange.objects.get().status == reached
