"""Run reports over HTTP."""

import pytest

from sync.models import SyncRun
from tests.connections.api.scene import UNKNOWN, assert_problem, make_bank, make_shop

pytestmark = pytest.mark.django_db


def make_run(connection, **fields) -> SyncRun:
    values = {
        "workspace_id": connection.workspace_id,
        "connection": connection,
        "trigger": "webhook",
        "status": "succeeded",
    }
    return SyncRun.objects.create(**values | fields)


def test_report_adds_up(alice, bank):
    errors = [{"code": "record_rejected", "detail": "d", "remediation": "r", "correlation_id": "c"}]
    run = make_run(
        bank,
        status="partial",
        records_fetched=10,
        records_created=4,
        records_updated=2,
        records_unchanged=1,
        records_parked=1,
        records_failed=2,
        errors=errors,
    )
    body = alice.api.get(f"/api/v1/sync/status/{run.pk}").json()
    assert (body["records_fetched"], body["records_processed"], body["ledger_balanced"]) == (10, 9, True)
    assert (body["status"], body["errors"]) == ("partial", errors)
    SyncRun.objects.update(records_created=5)
    assert alice.api.get(f"/api/v1/sync/status/{run.pk}").json()["ledger_balanced"] is False


def test_list_shows_the_runs_of_visible_connections(alice, bob, dave, vera, charlie, bank, shop):
    of_bank, of_shop, of_his = make_run(bank), make_run(shop), make_run(make_bank(dave))

    def seen(person) -> set[str]:
        return {row["sync_id"] for row in person.api.get("/api/v1/sync/status").json()["results"]}

    everything = {str(run.pk) for run in (of_bank, of_shop, of_his)}
    assert seen(alice) == seen(bob) == everything
    assert seen(dave) == {str(of_shop.pk), str(of_his.pk)}
    assert seen(vera) == {str(of_shop.pk)}
    assert seen(charlie) == set()


def test_filters_narrow_the_list(alice, bank):
    other = make_bank(alice)
    first, second = make_run(bank), make_run(other, status="failed")

    def seen(query: str) -> list[str]:
        return [row["sync_id"] for row in alice.api.get(f"/api/v1/sync/status?{query}").json()["results"]]

    assert seen(f"connection_id={bank.pk}") == [str(first.pk)]
    assert seen("status=failed") == [str(second.pk)]
    assert seen(f"connection_id={UNKNOWN}") == []


@pytest.mark.parametrize("query,field", [("connection_id=1", "connection_id"), ("status=lost", "status")])
def test_filter_that_cannot_be_is_named(alice, query, field):
    response = alice.api.get(f"/api/v1/sync/status?{query}")
    assert set(assert_problem(response, 400, "validation_failed")["errors"]) == {field}


def test_unknown_and_hidden_runs_are_404(alice, vera, charlie, bank):
    run = make_run(bank)
    for person, pk in ((alice, UNKNOWN), (alice, "queued"), (vera, run.pk), (charlie, run.pk)):
        assert_problem(person.api.get(f"/api/v1/sync/status/{pk}"), 404, "not_found")


def test_list_costs_the_same_whatever_its_length(alice, django_assert_num_queries):
    for _ in range(8):
        make_run(make_shop(alice))
    alice.api.get("/api/v1/me")
    with django_assert_num_queries(5):  # token, memberships, role, rows, role
        alice.api.get("/api/v1/sync/status")
