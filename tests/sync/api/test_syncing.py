"""POST sync/{entity}: accepted as a run over flows or of one, joined where it waits, refused where there is nothing to do."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Connection
from sync.flows import engine
from sync.models import Flow, RunStatus, SyncRun
from sync.services.flow_dispatch import flows_dispatch
from sync.services.runs import INCREMENTAL, parameters_hash
from tests.connections.api.scene import assert_problem, make_bank, make_flow, make_shop

pytestmark = pytest.mark.django_db
URL = "/api/v1/sync"


@pytest.fixture
def flow(shop) -> Flow:
    return make_flow(shop, status="active")


def ask(person, entity: str = "orders", **body):
    return person.api.post(f"{URL}/{entity}", body, format="json")


def status_of(person, sync_id: str) -> dict:
    return person.api.get(f"{URL}/status/{sync_id}").json()


def test_a_sync_without_a_flow_is_a_run_over_all_active_flows_with_that_entity(alice, flow):
    other = make_flow(make_shop(alice, "Second"), status="active")
    make_flow(make_shop(alice, "Third"), status="paused")
    make_flow(make_shop(alice, "Fourth"), status="active", entities=["customers"])
    response = ask(alice)
    run = response.json()
    assert response.status_code == 202
    assert (run["status"], run["connection_id"], run["flow_id"], run["parent_id"]) == ("queued", None, None, None)
    children = SyncRun.objects.filter(parent_id=run["sync_id"]).order_by("pk")
    assert [(child.flow_id, child.entity, child.trigger) for child in children] == [
        (flow.pk, "orders", "user"),
        (other.pk, "orders", "user"),
    ]
    assert status_of(alice, run["sync_id"]) == run


def test_a_sync_of_one_flow_is_its_own_run(alice, flow):
    run = ask(alice, flow_id=str(flow.pk), mode="full").json()
    assert (run["flow_id"], run["connection_id"], run["mode"]) == (str(flow.pk), str(flow.source_id), "full")
    assert (run["parent_id"], run["waiting"], run["next_attempt_at"]) == (None, None, None)


def test_equal_requests_that_wait_are_one_run_and_others_are_not(alice, flow):
    first = ask(alice).json()["sync_id"]
    assert ask(alice).json()["sync_id"] == first
    assert ask(alice, mode="full").json()["sync_id"] != first
    assert ask(alice, "customers").json()["sync_id"] != first
    assert SyncRun.objects.filter(flow=flow).count() == 3


def test_a_run_that_the_clock_queued_is_adopted_by_who_asks(alice, flow):
    of_it = {"workspace": flow.workspace, "connection": flow.source, "flow": flow, "trigger": "schedule"}
    queued = SyncRun.objects.create(**of_it, entity="orders", parameters_hash=parameters_hash(INCREMENTAL))
    over = ask(alice).json()["sync_id"]
    queued.refresh_from_db()
    assert str(queued.parent_id) == over


def test_one_key_asks_once(alice, flow):
    answers = [ask(alice, idempotency_key="one") for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert_problem(ask(alice, mode="full", idempotency_key="one"), 409, "idempotency_mismatch")
    assert SyncRun.objects.filter(flow=flow).count() == 1


def test_where_no_flow_keeps_it_up_there_is_nothing_to_sync(alice, shop):
    assert_problem(ask(alice), 409, "no_active_flow")
    flow = make_flow(shop, status="paused")
    assert_problem(ask(alice), 409, "no_active_flow")
    assert_problem(ask(alice, flow_id=str(flow.pk)), 409, "no_active_flow")
    Flow.objects.update(status="active", entities=["customers"])
    assert_problem(ask(alice, flow_id=str(flow.pk)), 409, "no_active_flow")
    assert_problem(ask(alice, "bills"), 409, "no_active_flow")


def test_an_unknown_entity_is_404_transactions_are_gone_and_reserved_words_are_none(alice, flow):
    assert_problem(ask(alice, "widgets"), 404, "not_found")
    assert_problem(ask(alice, "transactions"), 410, "gone")
    for word in ("retry", "failures", "history", "plans"):
        assert ask(alice, word).status_code == 404, word
    assert_problem(ask(alice, "status"), 405, "method_not_allowed")
    assert_problem(alice.api.get(f"{URL}/orders"), 405, "method_not_allowed")


@pytest.mark.parametrize(
    "body, field",
    [
        ({"mode": "reconcile"}, "mode"),
        ({"flow_id": 7}, "flow_id"),
        ({"ids": "7"}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": [7]}, "ids.0"),
        ({"ids": ["7"], "filters": {"sku": "x"}}, "filters"),
        ({"filters": {"colour": "red"}}, "filters.colour"),
        ({"filters": {"date_from": "2026-05-02", "date_to": "2026-05-01"}}, "filters.date_to"),
        ({"filters": {"total_min": "dear"}}, "filters.total_min"),
        ({"modus": "full"}, "modus"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_field(alice, flow, body, field):
    assert field in assert_problem(ask(alice, **body), 400, "validation_failed")["errors"]


def test_what_is_not_there_yet_says_so_and_what_affects_much_has_to_be_confirmed(alice, flow):
    assert_problem(ask(alice, dry_run=True), 501, "not_available")
    problem = assert_problem(ask(alice, ids=[str(number) for number in range(11)]), 409, "confirmation_required")
    assert problem["affected_count"] == 11
    assert not SyncRun.objects.exists()
    assert ask(alice, ids=[str(number) for number in range(10)]).status_code == 202


def test_in_sandbox_mode_nothing_is_begun_towards_production(alice, flow, workspace):
    workspace.sandbox_mode = True
    workspace.save()
    assert_problem(ask(alice), 409, "sandbox_mode")


def test_a_flow_of_another_workspace_is_not_there(alice, charlie, flow):
    assert_problem(ask(charlie, flow_id=str(flow.pk)), 404, "not_found")
    assert_problem(ask(charlie), 409, "no_active_flow")


def test_a_person_ends_a_back_off_and_not_a_wait_that_the_provider_imposed(alice, flow):
    later = timezone.now() + timedelta(hours=1)
    Connection.objects.filter(pk=flow.source_id).update(next_attempt_at=later, wait_reason="backoff")
    Connection.objects.filter(pk=flow.target_id).update(next_attempt_at=later, wait_reason="rate_limit")
    ask(alice)
    assert Connection.objects.get(pk=flow.source_id).next_attempt_at is None
    assert Connection.objects.get(pk=flow.target_id).next_attempt_at == later


# --- over several flows, to its end ---
def test_a_run_over_flows_adds_up_its_children_and_ends_with_the_last(alice, flow):
    other = make_flow(make_shop(alice, "Second"), status="active")
    over = ask(alice).json()["sync_id"]
    first, second = SyncRun.objects.filter(parent_id=over).order_by("pk")
    held = engine.claim(first.pk)
    assert status_of(alice, over)["status"] == "running"
    SyncRun.objects.filter(pk=first.pk).update(records_fetched=3, records_created=2, records_failed=1)
    assert engine.run_end(flow, held) == RunStatus.PARTIAL
    shown = status_of(alice, over)
    assert (shown["status"], shown["records_created"], shown["finished_at"]) == ("running", 2, None)
    held = engine.claim(second.pk)
    SyncRun.objects.filter(pk=second.pk).update(records_fetched=4, records_unchanged=4)
    engine.run_end(other, held)
    shown = status_of(alice, over)
    assert (shown["status"], shown["records_fetched"], shown["records_unchanged"]) == ("partial", 7, 4)
    assert shown["ledger_balanced"]
    assert shown["finished_at"]


def test_a_run_is_cancelled_with_its_children_once(alice, flow):
    over = ask(alice).json()["sync_id"]
    response = alice.api.post(f"{URL}/status/{over}/cancel")
    assert (response.status_code, response.json()["status"]) == (202, "cancelled")
    assert SyncRun.objects.get(flow=flow).status == RunStatus.CANCELLED
    assert_problem(alice.api.post(f"{URL}/status/{over}/cancel"), 409, "conflict")
    assert flows_dispatch() == 0


def test_a_banks_run_is_not_cancelled(alice):
    bank = make_bank(alice)
    run = SyncRun.objects.create(workspace=alice.workspace, connection=bank, trigger="user", parameters_hash="x")
    assert_problem(alice.api.post(f"{URL}/status/{run.pk}/cancel"), 409, "conflict")
