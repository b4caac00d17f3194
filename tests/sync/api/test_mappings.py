"""Mappings over the API: made of shipped rules or one's own, refused by path, changed by versions, tried on a record."""

import pytest
from django.db import InternalError, ProgrammingError, connection, transaction

from sync.flows.rules import rules_of_flow
from sync.mapping import default_rules
from sync.models import Flow, Mapping, MappingVersion, RecordLink, Watermark
from tests.connections.api.scene import assert_problem, make_flow, make_shop

pytestmark = pytest.mark.django_db
URL = "/api/v1/mappings"
MEMO = {"target": "memo", "expression": "record.payment_method + ' ' + record.memo"}
ORDER = {
    "source_id": "49", "number": "49", "status": "on-hold", "currency": "USD", "total": "19.99", "memo": "Ring twice",
    "payment_method": "stripe", "lines": [{"line_id": "1", "sku": "SH-1", "total": "19.99"}],
}  # fmt: skip


@pytest.fixture
def flow(alice):
    return make_flow(make_shop(alice))


def make(person, **body):
    return person.api.post(URL, {"entity": "orders", "target": "supabase"} | body, format="json")


def made(person, **body) -> dict:
    response = make(person, **body)
    assert response.status_code == 201, response.json()
    return response.json()


def change(person, mapping: dict, **body):
    return person.api.put(f"{URL}/{mapping['id']}", {"version": mapping["version"]} | body, format="json")


def preview(person, mapping: dict, **body):
    return person.api.post(f"{URL}/{mapping['id']}/preview", body, format="json")


# --- making ---
def test_a_mapping_starts_with_the_shipped_rules_and_shows_the_targets_fields(alice, flow):
    found = made(alice, flow_id=str(flow.pk), target="supabase")
    assert (found["version"], found["entity"], found["flow_id"]) == (1, "orders", str(flow.pk))
    assert found["rules"] == default_rules("supabase", "orders")
    fields = {field["name"]: field for field in found["fields"]}
    assert fields["memo"]["read_only"] == ""
    assert "proved equal" in fields["total"]["read_only"]
    assert (fields["lines.sku"]["is_line"], fields["lines.sku"]["takes"]) == (True, "text")
    assert [(version["version"], version["created_by"]) for version in found["versions"]] == [(1, "alice")]
    assert alice.api.get(f"{URL}/{found['id']}").json() == found
    assert [row["id"] for row in alice.api.get(URL, {"flow_id": str(flow.pk)}).json()["results"]] == [found["id"]]
    assert alice.api.get(URL, {"entity": "refunds"}).json()["results"] == []


def test_a_mapping_for_the_books_starts_with_the_rules_of_its_region(alice):
    targets = {
        region: {rule["target"] for rule in made(alice, target="quickbooks", entity="products", region=region)["rules"]}
        for region in ("us", "global")
    }
    assert targets["us"] - targets["global"] == {"Taxable"}


@pytest.mark.parametrize(
    "body, path",
    [
        ({"rules": [{"target": "total", "expression": "record.total"}]}, "rules.0.target"),
        ({"rules": [MEMO, {"target": "status", "expression": "record.stat"}]}, "rules.1.expression"),
        ({"rules": "all"}, "rules"),
        ({"rules": [{**MEMO, "lookup": {"a": 5}}]}, "rules.0.lookup.a"),
        ({"entity": "transactions"}, "entity"),
        ({"target": "plaid"}, "target"),
        ({"region": "us"}, "region"),
        ({"rule": []}, "rule"),
    ],
)
def test_what_cannot_be_a_mapping_is_refused_by_its_path(alice, body, path):
    assert list(assert_problem(make(alice, **body), 400, "validation_failed")["errors"]) == [path]
    assert not Mapping.objects.exists()


def test_a_mapping_of_a_flow_has_its_target_and_one_of_its_entities(alice, flow):
    errors = assert_problem(make(alice, flow_id=str(flow.pk), target="quickbooks"), 400, "validation_failed")["errors"]
    assert "target" in errors
    errors = assert_problem(make(alice, flow_id=str(flow.pk), entity="bills"), 400, "validation_failed")["errors"]
    assert "entity" in errors
    assert made(alice, flow_id=str(flow.pk))["target"] == "supabase"
    assert_problem(make(alice, flow_id=str(flow.pk)), 409, "mapping_exists")


def test_another_workspaces_flow_and_mapping_are_not_there(alice, charlie, flow):
    theirs = made(alice)
    assert_problem(make(charlie, flow_id=str(flow.pk)), 404, "not_found")
    for response in (
        charlie.api.get(f"{URL}/{theirs['id']}"),
        change(charlie, theirs, rules=[]),
        preview(charlie, theirs),
    ):
        assert_problem(response, 404, "not_found")
    assert charlie.api.get(URL).json()["results"] == []


# --- changing ---
def test_a_change_makes_a_version_and_the_former_one_can_be_restored(alice, flow):
    first = made(alice, flow_id=str(flow.pk))
    second = change(alice, first, rules=[MEMO]).json()
    assert (second["version"], [rule["target"] for rule in second["rules"]]) == (2, ["memo"])
    third = change(alice, second, restore=1).json()
    assert (third["version"], third["rules"]) == (3, first["rules"])
    assert [(version["version"], version["restored_from"]) for version in third["versions"]] == [
        (3, 1),
        (2, None),
        (1, None),
    ]
    assert "restore" in assert_problem(change(alice, third, restore=9), 400, "validation_failed")["errors"]


def test_a_change_to_what_somebody_has_changed_meanwhile_overwrites_nothing(alice):
    first = made(alice)
    change(alice, first, rules=[MEMO])
    assert assert_problem(change(alice, first, rules=[]), 409, "mapping_changed")["version"] == 2
    assert MappingVersion.objects.count() == 2


def test_rules_that_say_the_same_make_no_version_and_wrong_ones_change_nothing(alice):
    first = made(alice, rules=[MEMO])
    assert change(alice, first, rules=[{**MEMO, "required": False, "default": ""}]).json()["version"] == 1
    assert_problem(change(alice, first, rules=[{"target": "memo", "expression": "1 +"}]), 400, "validation_failed")
    renamed = change(alice, first, name="Mine").json()
    assert (renamed["name"], renamed["version"], renamed["rules"]) == ("Mine", 1, first["rules"])


def test_a_flow_reads_everything_again_once_its_rules_are_others(alice, flow):
    Watermark.objects.create(workspace=flow.workspace, flow=flow, entity="orders", position={"at": 5})
    Watermark.objects.create(workspace=flow.workspace, flow=flow, entity="refunds", position={"at": 5})
    mapping = made(alice, flow_id=str(flow.pk))
    flow.refresh_from_db()
    assert flow.version == 2
    assert dict(Watermark.objects.values_list("entity", "position")) == {"orders": {}, "refunds": {"at": 5}}
    change(alice, mapping, rules=[MEMO])
    flow.refresh_from_db()
    assert flow.version == 3
    ruled = rules_of_flow(flow, "orders")
    assert ruled is not None
    assert [rule.field.name for rule in ruled.rules] == ["memo"]
    assert rules_of_flow(flow, "refunds") is None


def test_a_version_is_never_changed_not_even_by_the_application(alice):
    made(alice)
    for statement in ("UPDATE sync_mappingversion SET rules = '[]'", "DELETE FROM sync_mappingversion"):
        with pytest.raises((ProgrammingError, InternalError)), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)


def test_a_mapping_that_an_active_flow_follows_is_not_removed(alice, flow):
    mapping = made(alice, flow_id=str(flow.pk))
    flow.status = "active"
    flow.save()
    assert_problem(alice.api.delete(f"{URL}/{mapping['id']}"), 409, "mapping_in_use")
    flow.status = "paused"
    flow.save()
    assert alice.api.delete(f"{URL}/{mapping['id']}").status_code == 204
    assert_problem(alice.api.get(f"{URL}/{mapping['id']}"), 404, "not_found")
    assert MappingVersion.objects.count() == 1
    assert rules_of_flow(Flow.objects.get(pk=flow.pk), "orders") is None
    assert made(alice, flow_id=str(flow.pk))["version"] == 1


def test_a_mapping_is_made_once_under_one_key(alice):
    body = {"entity": "orders", "target": "supabase", "idempotency_key": "once"}
    first, again = (alice.api.post(URL, body, format="json").json() for _time in range(2))
    assert first == again
    assert Mapping.objects.count() == 1


def test_members_and_viewers_look_at_mappings_and_change_none(alice, dave, vera):
    mapping = made(alice)
    for person in (dave, vera):
        assert person.api.get(f"{URL}/{mapping['id']}").json()["rules"] == mapping["rules"]
        for response in (change(person, mapping, rules=[]), preview(person, mapping, record=ORDER)):
            assert_problem(response, 403, "permission_denied")


# --- trying ---
def test_a_preview_shows_a_record_from_its_canonical_form_to_the_row_of_the_store(alice, flow):
    mapping = made(
        alice, flow_id=str(flow.pk), rules=[MEMO, {"target": "lines.sku", "expression": "line.sku.lowerAscii()"}]
    )
    shown = preview(alice, mapping, record=ORDER).json()
    assert shown["source_record"] is None
    assert (shown["canonical"]["total"], shown["canonical"]["lines"][0]["sku"]) == ("19.99", "SH-1")
    assert (shown["target"]["memo"], shown["target"]["total"]) == ("stripe Ring twice", "19.99")
    assert shown["target"]["lines"][0]["sku"] == "sh-1"
    assert [(rule["rule"], rule["target"], rule["line"], rule["result"]) for rule in shown["rules"]] == [
        (0, "memo", None, "stripe Ring twice"),
        (1, "lines.sku", 0, "sh-1"),
    ]
    assert shown["failures"] == []


def test_a_preview_tries_rules_before_they_are_saved_and_names_what_fails(alice):
    mapping = made(alice, target="quickbooks")
    account = {"target": "DepositToAccountRef", "expression": "record.payment_method", "lookup": {"cod": "35"}}
    shown = preview(alice, mapping, record=ORDER, rules=[account]).json()
    [failure] = shown["failures"]
    assert (failure["code"], failure["path"], failure["target"]) == ("lookup_missing", "rules.0", "DepositToAccountRef")
    assert (shown["rules"][0]["value"], shown["rules"][0]["result"], shown["rules"][0]["failure"]) == (
        "stripe",
        None,
        failure,
    )
    account["lookup"]["stripe"] = "36"
    assert preview(alice, mapping, record=ORDER, rules=[account]).json()["target"]["DepositToAccountRef"] == {
        "value": "36"
    }
    wrong = assert_problem(
        preview(alice, mapping, record=ORDER, rules=[{**account, "lookup": 5}]), 400, "validation_failed"
    )
    assert list(wrong["errors"]) == ["rules.0.lookup"]
    assert MappingVersion.objects.count() == 1


def test_a_preview_for_one_document_runs_the_rules_of_that_document(alice):
    mapping = made(alice, target="quickbooks")
    names = {rule["target"] for rule in preview(alice, mapping, record=ORDER, document="Invoice").json()["rules"]}
    assert "DueDate" in names
    assert "PaymentRefNum" not in names


def test_a_preview_takes_a_record_as_the_shop_writes_it(alice, flow):
    mapping = made(alice, flow_id=str(flow.pk), entity="customers")
    payload = {
        "id": 7,
        "email": "ana@example.com",
        "first_name": "Ana",
        "last_name": "Diaz",
        "billing": {"city": "Ulm"},
    }
    shown = preview(alice, mapping, source_record=payload).json()
    assert (shown["source_record"]["id"], shown["canonical"]["source_id"]) == (7, "7")
    assert (shown["target"]["name"], shown["target"]["billing_address"]) == ("Ana Diaz", {"city": "Ulm"})


@pytest.mark.parametrize(
    "body, path",
    [
        ({"record": {"source_id": "1"}}, "record.currency"),
        ({"record": [1]}, "record.entity"),
        ({"record": ORDER | {"total": 19.99}}, "record.total"),
        ({"record": {"entity": "customers", "source_id": "1"}}, "record.entity"),
        ({"source_record": {"id": 1}}, "source_record.currency"),
        ({"source_record": "x"}, "source_record"),
        ({"record": ORDER, "external_id": "49"}, "external_id"),
        ({}, "external_id"),
    ],
)
def test_a_record_that_cannot_be_shown_is_refused_by_its_path(alice, flow, body, path):
    mapping = made(alice, flow_id=str(flow.pk))
    assert path in assert_problem(preview(alice, mapping, **body), 400, "validation_failed")["errors"]


def test_without_a_flow_there_is_no_source_to_ask(alice):
    mapping = made(alice)
    assert "record" in assert_problem(preview(alice, mapping, external_id="49"), 400, "validation_failed")["errors"]
    assert (
        "source_record" in assert_problem(preview(alice, mapping, source_record={}), 400, "validation_failed")["errors"]
    )


def test_a_paused_source_is_not_asked(alice):
    shop = make_shop(alice, status="paused")
    mapping = made(alice, flow_id=str(make_flow(shop).pk))
    assert_problem(preview(alice, mapping, external_id="49"), 409, "connection_not_active")
    assert RecordLink.objects.count() == 0
