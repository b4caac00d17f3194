"""A verification by a real worker: a bank's, asked of the simulated Plaid, while the web process answers others."""

import json
import time
import urllib.request
from typing import Any

import pytest

from connections.models import Connection, Verification
from connections.waking import wake

pytestmark = pytest.mark.django_db(transaction=True)


def post(url: str, person, *, seconds: float = 35) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {person.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=seconds) as response:
        return response.status, json.load(response)


def test_a_worker_answers_within_the_request_and_a_killed_one_is_followed_by_another(link, alice, process, simulator):
    bank = link(transactions=1, accounts=1)
    web, worker = process("web"), process("worker")
    url = f"{web.url}/api/v1/connections/{bank.connection.pk}/verify?wait=1"
    status, found = post(url, alice)
    assert (status, found["status"]) == (200, "passed")
    assert [check["name"] for check in found["checks"]] == ["settings", "reachable", "authentication", "login"]

    simulator.control("POST", "faults", {"path": "/item/get", "kind": "latency", "seconds": 20, "times": 1})
    asked = post(url.removesuffix("?wait=1"), alice)
    assert asked[0] == 202
    running = Verification.objects.filter(pk=asked[1]["id"])
    worker.wait_until(lambda: running.filter(lease_token__isnull=False).exists(), 20)
    time.sleep(0.3)
    worker.kill()
    process("worker")
    process("beat")
    status, found = post(url, alice)
    assert (status, found["status"], found["id"]) == (200, "passed", asked[1]["id"])
    assert running.get().attempts == 2
    assert Connection.objects.get().status == "active"


def test_somebody_who_waits_is_answered_while_every_worker_is_at_a_long_sync(link, alice, process):
    slow, bank = link(transactions=1, accounts=1), link(transactions=1, accounts=1)
    slow.fault("latency", seconds=20)
    slow.dirty()
    web, worker = process("web"), process("worker", PLAID_TIMEOUT_S="60")  # of one process
    wake("sync.tasks.execute", [str(slow.item.pk)])
    worker.wait_until(lambda: slow.item.lease_token is not None, 20)
    status, found = post(f"{web.url}/api/v1/connections/{bank.connection.pk}/verify?wait=1", alice)
    assert (status, found["status"]) == (200, "passed")
    assert slow.item.lease_token, "it is still being read"
    worker.kill()


def test_a_login_in_trouble_fails_and_one_that_was_repaired_elsewhere_goes_on(link, alice, simulator):
    from connections.services.verifying import verification_request, verifications_run

    bank = link(transactions=1, accounts=1)

    def verified() -> Verification:
        verification_request(connection_id=bank.connection.pk, actor=alice.user)
        verifications_run(deadline=time.monotonic() + 10)
        return Verification.objects.latest("pk")

    bank.control("state", login_required=True)
    found = verified()
    assert [check["name"] for check in found.failing] == ["login"]
    assert Connection.objects.get().status == "active"  # a sync, not a verification, decides of it
    Connection.objects.update(status="needs_reauth", error_code="bank_sign_in_required")
    dirty = bank.item.dirty_seq
    bank.control("state", login_required=False)
    assert verified().status == "passed"
    repaired = Connection.objects.get()
    assert (repaired.status, repaired.error_code) == ("active", "")
    assert bank.item.dirty_seq == dirty + 1
