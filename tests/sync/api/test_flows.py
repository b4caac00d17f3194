"""Flows over the API: made between two connections that fit, refused with what is missing, changed, stopped and removed."""

import pytest

from connections.models import Connection
from sync.models import Flow, FlowStatus, SyncRun, Watermark
from tests.connections.api.scene import assert_problem, make_bank, make_flow, make_shop, make_store

pytestmark = pytest.mark.django_db
URL = "/api/v1/flows"


@pytest.fixture
def store(alice) -> Connection:
    return make_store(alice)


def make(person, source: Connection, target: Connection, **more):
    body = {"source_connection_id": str(source.pk), "target_connection_id": str(target.pk)}
    return person.api.post(URL, body | more, format="json")


def test_a_flow_is_made_as_a_draft_with_everything_that_the_pair_has(alice, shop, store):
    response = make(alice, shop, store)
    made = response.json()
    assert response.status_code == 201, made
    assert (made["status"], made["gaps"], made["name"]) == ("draft", [], "Shop → Warehouse")
    assert made["entities"] == ["customers", "products", "orders", "refunds"]
    assert (made["conflict_policy"], made["options"]) == ("source_wins", {"keep_raw": False})
    assert alice.api.get(f"{URL}/{made['id']}").json() == made
    assert [row["id"] for row in alice.api.get(URL).json()["results"]] == [made["id"]]


def test_entities_are_kept_in_the_order_in_which_they_are_written(alice, shop, store):
    assert make(alice, shop, store, entities=["orders", "customers"]).json()["entities"] == ["customers", "orders"]


def test_there_is_one_flow_between_two_connections(alice, shop, store):
    first = make(alice, shop, store).json()["id"]
    assert_problem(make(alice, shop, store), 409, "flow_exists")
    assert alice.api.delete(f"{URL}/{first}").status_code == 204
    assert make(alice, shop, store).status_code == 201


@pytest.mark.parametrize(
    "more, field",
    [
        ({"entities": ["bills"]}, "entities"),
        ({"entities": ["transactions"]}, "entities.0"),
        ({"entities": []}, "entities"),
        ({"statuses": ["Done!"]}, "statuses.0"),
        ({"start_date": "soon"}, "start_date"),
        ({"conflict_policy": "coin"}, "conflict_policy"),
        ({"options": {"colour": True}}, "options.colour"),
        ({"options": {"keep_raw": "yes"}}, "options.keep_raw"),
        ({"staus": "active"}, "staus"),
    ],
)
def test_what_a_flow_cannot_have_is_refused_by_its_field(alice, shop, store, more, field):
    assert field in assert_problem(make(alice, shop, store, **more), 400, "validation_failed")["errors"]
    assert not Flow.objects.exists()


def test_connections_that_do_not_fit_make_no_flow(alice, shop, store):
    for source, target in ((store, shop), (make_bank(alice), store), (shop, shop)):
        problem = assert_problem(make(alice, source, target), 400, "validation_failed")
        assert "target_connection_id" in problem["errors"]


def test_a_connection_of_another_workspace_is_not_there(alice, charlie, shop, store):
    assert_problem(make(alice, shop, make_store(charlie)), 404, "not_found")
    assert_problem(make(alice, make_shop(charlie), store), 404, "not_found")


def test_members_and_viewers_look_at_flows_and_change_none(alice, dave, vera, shop):
    flow = make_flow(shop)
    for person in (dave, vera):
        assert person.api.get(f"{URL}/{flow.pk}").json()["id"] == str(flow.pk)
        assert_problem(person.api.post(f"{URL}/{flow.pk}/activate"), 403, "permission_denied")


# --- what is missing ---
def gaps(response) -> set[tuple[str, str]]:
    found = assert_problem(response, 409, "flow_not_ready")["gaps"]
    assert all(gap["detail"] and gap["remediation"] for gap in found)
    return {(gap["code"], gap["field"]) for gap in found}


def test_every_gap_is_named_with_what_to_do_and_nothing_is_activated(alice, workspace):
    workspace.sandbox_mode = True
    workspace.save()
    source = make_shop(alice, status="draft", environment="sandbox")
    target = make_store(alice, status="needs_reauth", config={"kind": "rest", "entities": "customers, products"})
    flow = make_flow(source, target, entities=["customers", "orders"], conflict_policy="target_wins")
    found = gaps(alice.api.post(f"{URL}/{flow.pk}/activate"))
    assert found == {
        ("connection_not_active", "source_connection_id"),
        ("connection_not_active", "target_connection_id"),
        ("environments_differ", "target_connection_id"),
        ("policy_not_available", "conflict_policy"),
        ("sandbox_mode", "target_connection_id"),
        ("table_missing", "entities"),
    }
    shown = alice.api.get(f"{URL}/{flow.pk}").json()
    assert (shown["status"], {(gap["code"], gap["field"]) for gap in shown["gaps"]}) == ("draft", found)


def test_the_tables_that_count_are_those_of_the_settings_at_work(alice, shop):
    good = {"config": {"entities": "customers"}, "environment": "production", "version": 1, "credentials": []}
    flow = make_flow(shop, make_store(alice, good=good), entities=["customers", "orders"])
    assert gaps(alice.api.post(f"{URL}/{flow.pk}/activate")) == {("table_missing", "entities")}


def test_activating_at_once_makes_nothing_where_something_is_missing(alice, shop):
    store = make_store(alice, environment="sandbox")
    gaps(make(alice, shop, store, status="active"))
    assert not Flow.objects.exists()
    assert make(alice, shop, make_store(alice), status="active").json()["status"] == "active"


def test_an_active_flow_is_changed_into_nothing_that_could_not_be_active(alice, shop):
    flow = make_flow(shop, make_store(alice, config={"entities": "customers"}), entities=["customers"], status="active")
    assert gaps(alice.api.patch(f"{URL}/{flow.pk}", {"entities": ["orders"]}, format="json"))
    flow.refresh_from_db()
    assert flow.entities == ["customers"]


# --- its life ---
def test_activating_and_pausing_twice_changes_nothing_more(alice, shop):
    flow = make_flow(shop)
    assert_problem(alice.api.post(f"{URL}/{flow.pk}/pause"), 409, "conflict")
    for verb, status in (("activate", "active"), ("activate", "active"), ("pause", "paused"), ("pause", "paused")):
        assert alice.api.post(f"{URL}/{flow.pk}/{verb}").json()["status"] == status
    flow.refresh_from_db()
    assert flow.status_reason.startswith("Paused")
    assert alice.api.patch(f"{URL}/{flow.pk}", {"status": "active"}, format="json").json()["status"] == "active"


def test_what_takes_other_records_has_everything_read_again_and_a_name_does_not(alice, shop):
    flow = make_flow(shop)
    mark = Watermark.objects.create(workspace=flow.workspace, flow=flow, entity="orders", position={"at": "x"})
    for change, position, version in (
        ({"name": "New"}, {"at": "x"}, 1),
        ({"options": {"keep_raw": False}}, {"at": "x"}, 1),
        ({"statuses": ["completed"]}, {}, 1),
        ({"options": {"keep_raw": True}}, {}, 2),
    ):
        assert alice.api.patch(f"{URL}/{flow.pk}", change, format="json").status_code == 200
        mark.refresh_from_db(), flow.refresh_from_db()
        assert (mark.position, flow.version) == (position, version), change
    assert_problem(
        alice.api.patch(f"{URL}/{flow.pk}", {"source_connection_id": str(shop.pk)}, format="json"),
        400,
        "validation_failed",
    )


def test_a_removed_flow_is_gone_for_everybody_and_its_runs_stay(alice, shop):
    flow = make_flow(shop, status="active")
    of_it = {"workspace": flow.workspace, "connection": shop, "flow": flow, "trigger": "user"}
    ended = SyncRun.objects.create(**of_it, status="succeeded")
    queued = SyncRun.objects.create(**of_it, entity="orders")
    assert alice.api.delete(f"{URL}/{flow.pk}").status_code == 204
    assert_problem(alice.api.get(f"{URL}/{flow.pk}"), 404, "not_found")
    assert alice.api.get(URL).json()["results"] == []
    flow.refresh_from_db(), queued.refresh_from_db()
    assert flow.status == FlowStatus.REMOVED
    assert queued.cancel_requested_at
    assert alice.api.get(f"/api/v1/sync/status/{ended.pk}").json()["flow_id"] == str(flow.pk)


def test_one_key_makes_one_flow(alice, shop, store):
    body = {"source_connection_id": str(shop.pk), "target_connection_id": str(store.pk), "idempotency_key": "one"}
    answers = [alice.api.post(URL, body, format="json") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert Flow.objects.count() == 1
