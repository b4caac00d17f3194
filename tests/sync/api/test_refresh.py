"""Asking for a sync: queued, joined, or refused with the reason."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Connection, PlaidItem
from sync.models import SyncRun
from tests.connections.api.scene import assert_problem, make_bank, make_shop

pytestmark = pytest.mark.django_db


def refresh(person, connection, **kwargs):
    return person.api.post(f"/api/v1/connections/{connection.pk}/refresh", **kwargs)


def test_refresh_marks_the_bank_dirty_and_answers_with_the_queued_run(alice, bank):
    response = refresh(alice, bank, headers={"X-Correlation-ID": "my-refresh.1"})
    assert response.status_code == 202
    body = response.json()
    run = SyncRun.objects.get()
    assert body == {
        "sync_id": str(run.pk),
        "parent_id": None,
        "status": "queued",
        "connection_id": str(bank.pk),
        "flow_id": None,
        "entity": "transactions",
        "mode": "incremental",
        "trigger": "user",
        "created_at": run.created_at.isoformat().replace("+00:00", "Z"),
        "started_at": None,
        "finished_at": None,
        "records_fetched": 0,
        "records_processed": 0,
        "records_created": 0,
        "records_updated": 0,
        "records_unchanged": 0,
        "records_removed": 0,
        "records_skipped": 0,
        "records_parked": 0,
        "records_failed": 0,
        "ledger_balanced": True,
        "errors": [],
        "plan_id": None,
        "records_expected": None,
        "next_attempt_at": None,
        "waiting": None,
        "correlation_id": "my-refresh.1",
    }
    assert run.requested_by == alice.user
    assert PlaidItem.objects.get().is_dirty
    assert alice.api.get(f"/api/v1/connections/{bank.pk}").json()["sync_needed"] is True


def test_second_refresh_joins_the_waiting_run(alice, bob, bank):
    first, second = refresh(alice, bank), refresh(bob, bank)
    assert first.json()["sync_id"] == second.json()["sync_id"]
    assert PlaidItem.objects.get().dirty_seq == 3


def test_refresh_while_one_runs_queues_the_next(alice, bank):
    first = refresh(alice, bank).json()
    SyncRun.objects.update(status="running")
    assert refresh(alice, bank).json()["sync_id"] != first["sync_id"]


@pytest.mark.parametrize(
    "fields,code",
    [
        ({"status": "paused"}, "connection_paused"),
        ({"status": "needs_reauth"}, "reauth_required"),
        ({"status": "needs_reauth", "error_code": "bank_sign_in_required"}, "bank_sign_in_required"),
        ({"status": "disconnected"}, "connection_not_active"),
        ({"status": "draft"}, "connection_not_active"),
        ({"wait_reason": "configuration"}, "provider_misconfigured"),
    ],
)
def test_bank_that_cannot_sync_now_says_why(alice, fields, code):
    waits = {"next_attempt_at": timezone.now() + timedelta(hours=1)} if "wait_reason" in fields else {}
    response = refresh(alice, make_bank(alice, **fields, **waits))
    assert response.json()["code"] == code
    assert response.status_code in (409, 503)
    assert not SyncRun.objects.exists()


def test_wait_that_the_provider_imposed_is_told_with_its_end(alice):
    until = timezone.now() + timedelta(minutes=1)
    bank = make_bank(alice, wait_reason="rate_limit", next_attempt_at=until)
    body = assert_problem(refresh(alice, bank), 409, "rate_limit_wait")
    assert body["next_attempt_at"] == until.isoformat()


def test_back_off_ends_with_a_persons_wish(alice):
    bank = make_bank(alice, status="failed", wait_reason="backoff", next_attempt_at=timezone.now() + timedelta(hours=1))
    assert refresh(alice, bank).status_code == 202
    assert Connection.objects.get().next_attempt_at is None


def test_shop_has_no_refresh(alice):
    assert_problem(refresh(alice, make_shop(alice)), 409, "conflict")


def test_members_refresh_their_own_and_operators_all(alice, bob, dave, vera, charlie, bank):
    his = make_bank(dave)
    assert refresh(dave, his).status_code == refresh(bob, his).status_code == refresh(bob, bank).status_code == 202
    assert_problem(refresh(dave, bank), 404, "not_found")
    assert_problem(refresh(dave, make_shop(alice)), 403, "permission_denied")
    assert_problem(refresh(vera, bank), 403, "permission_denied")
    assert_problem(refresh(charlie, bank), 404, "not_found")


def test_body_is_not_needed_and_garbage_is_not_ignored(alice, bank):
    assert refresh(alice, bank, data={}, format="json").status_code == 202
    response = alice.api.generic("POST", f"/api/v1/connections/{bank.pk}/refresh", b"{", "application/json")
    assert_problem(response, 400, "malformed_request")
    assert_problem(alice.api.get(f"/api/v1/connections/{bank.pk}/refresh"), 405, "method_not_allowed")
