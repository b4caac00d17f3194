"""A flow follows its mapping: values are those of the rules, and a rule without a value sets its record aside by name."""

import pytest

from connections.providers.base import SourceRecord
from sync.flows.deciding import plan_of
from sync.flows.rules import rules_of_flow
from tests.connections.api.scene import assert_problem, make_flow, make_mapping, make_shop

pytestmark = pytest.mark.django_db
MEMO = {"target": "name", "expression": "record.last_name.upperAscii() + ', ' + record.first_name"}
LEVEL = {"target": "company", "expression": "record.billing.country", "lookup": {"CA": "Domestic"}}


@pytest.fixture
def flow(alice):
    return make_flow(make_shop(alice))


def customer(number: int, country: str) -> SourceRecord:
    payload = {"id": number, "first_name": "Ana", "last_name": "Diaz", "billing": {"country": country, "city": "Ulm"}}
    return SourceRecord("customers", str(number), payload)


def plan(flow, *records: SourceRecord):
    return plan_of(flow, "customers", records, facts={}, filters={})


def test_records_become_what_the_flows_rules_say(alice, flow):
    make_mapping(alice, flow=flow, entity="customers", rules=[MEMO, LEVEL])
    [write] = plan(flow, customer(1, "CA")).writes
    assert (write.record.values["name"], write.record.values["company"]) == ("DIAZ, Ana", "Domestic")
    assert write.record.values["billing_address"] == {"country": "CA", "city": "Ulm"}


def test_a_record_that_a_rule_has_no_value_for_is_set_aside_and_keeps_none_of_the_others(alice, flow):
    make_mapping(alice, flow=flow, entity="customers", rules=[MEMO, LEVEL])
    found = plan(flow, customer(1, "DE"), customer(2, "CA"))
    assert [write.record.key for write in found.writes] == ["2"]
    [failed] = found.failed
    assert (failed.external_id, failed.error.code, list(failed.error.fields)) == ("1", "record_rejected", ["company"])
    assert "'DE'" in failed.error.detail
    assert "Add 'DE'" in failed.error.remediation


def test_without_a_mapping_records_become_what_is_built_in(flow):
    [write] = plan(flow, customer(1, "DE")).writes
    assert (write.record.values["name"], write.record.values["company"]) == ("Ana Diaz", None)


def test_rules_cost_one_query_a_page_and_are_compiled_once(alice, flow, django_assert_num_queries):
    make_mapping(alice, flow=flow, entity="customers", rules=[MEMO])
    rules_of_flow(flow, "customers")
    again = type(flow).objects.get(pk=flow.pk)
    with django_assert_num_queries(1):
        assert rules_of_flow(again, "customers") is rules_of_flow(again, "customers")
    assert rules_of_flow(again, "customers") is rules_of_flow(flow, "customers")


# --- with a shop and a store ---
def test_what_is_tried_on_a_record_of_the_shop_is_what_arrives_and_a_change_has_all_of_them_written_anew(make_world):
    world = make_world(orders=4, products=3, customers=3)
    api, flow = world.person.api, world.flow
    upper = {"target": "name", "expression": "record.last_name.upperAscii()"}
    body = {"flow_id": str(flow.pk), "entity": "customers", "rules": [upper]}
    mapping = api.post("/api/v1/mappings", body, format="json").json()
    wanted = min(world.bodies("customers"))
    shown = api.post(f"/api/v1/mappings/{mapping['id']}/preview", {"external_id": wanted}, format="json").json()
    assert str(shown["source_record"]["id"]) == wanted
    assert shown["target"]["name"] == shown["source_record"]["last_name"].upper()

    world.sync("customers")
    assert world.at_store("customers")[wanted]["name"] == shown["target"]["name"]
    mark = world.mark()
    assert world.sync("customers")["customers"].records_updated == 0
    assert world.calls(mark) == []

    body = {"version": 1, "rules": [{**upper, "expression": "record.first_name"}]}
    assert api.put(f"/api/v1/mappings/{mapping['id']}", body, format="json").status_code == 200
    world.flow.refresh_from_db()
    run = world.sync("customers")["customers"]
    assert (run.records_updated, run.records_created) == (len(world.bodies("customers")), 0)
    there = {key: row["name"] for key, row in world.at_store("customers").items()}
    assert there == {key: body["first_name"] or None for key, body in world.bodies("customers").items()}
    latest = api.post(f"/api/v1/mappings/{mapping['id']}/preview", {}, format="json").json()
    assert str(latest["source_record"]["id"]) in there
    gone = api.post(f"/api/v1/mappings/{mapping['id']}/preview", {"external_id": "987654"}, format="json")
    assert_problem(gone, 404, "not_found")
