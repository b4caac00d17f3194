"""What is written is there, once, and every record is told truly what became of it: over either kind."""

from dataclasses import replace
from decimal import Decimal

import pytest

from connections.errors import RejectedRecord, TemporaryError
from connections.providers.supabase.errors import ParentMissing, ValueTaken
from connections.providers.supabase.writing import Writing

from .conftest import CONNECTION, changed_at, customer, order, outcomes


def test_records_are_made_then_left_alone_then_changed(project, kind):
    access = project.access(kind)
    first = project.write(access, [customer(1, email="a@example.org"), customer(2)])
    assert outcomes(first) == {"1": "created", "2": "created"}
    assert first["1"].external_id == f"{CONNECTION}/woocommerce/1"
    synced_at = project.rows("customers")["1"]["synced_at"]
    again = project.write(access, [customer(1, email="a@example.org"), customer(2, name="Bob"), customer(3)])
    assert outcomes(again) == {"1": "unchanged", "2": "updated", "3": "created"}
    rows = project.rows("customers")
    assert {key: row["name"] for key, row in rows.items()} == {"1": "Customer 1", "2": "Bob", "3": "Customer 3"}
    assert rows["1"]["email"] == "a@example.org"
    assert rows["1"]["synced_at"] == synced_at < rows["2"]["synced_at"]
    assert rows["2"]["source_hash"] == again["2"].version


def test_of_several_records_with_one_key_the_last_is_written(project, kind):
    written = list(
        Writing(project.tables).upsert(
            project.access(kind), "customers", [customer(1), customer(2), customer(1, name="Last")], idempotency_key="k"
        )
    )
    assert sorted((one.key, one.outcome) for one in written) == [("1", "created"), ("1", "created"), ("2", "created")]
    assert project.rows("customers")["1"]["name"] == "Last"


def test_bad_rows_are_found_and_the_others_written(project, kind):
    project.supabase.sql("ALTER TABLE customers ADD CONSTRAINT short CHECK (length(name) < 20)")
    records = [customer(number, name="x" * 30 if number in (3, 17, 18) else f"n{number}") for number in range(40)]
    records[5] = customer(5, currency="EURO")
    written = project.write(project.access(kind), records)
    failed = {key: one.error for key, one in written.items() if one.outcome == "failed"}
    assert set(failed) == {"3", "5", "17", "18"}
    assert {key: error.provider_code for key, error in failed.items()} == {
        "3": "23514", "17": "23514", "18": "23514", "5": "22001",
    }  # fmt: skip
    assert all(isinstance(error, RejectedRecord) for error in failed.values())
    assert set(project.rows("customers")) == {str(number) for number in range(40)} - set(failed)


def test_an_older_state_does_not_replace_a_newer_one(project, kind):
    access = project.access(kind)
    project.write(access, [customer(1, name="new", source_modified_at=changed_at(5))])
    assert outcomes(project.write(access, [customer(1, name="old", source_modified_at=changed_at(4))])) == {
        "1": "stale"
    }
    gone = replace(customer(1, source_modified_at=changed_at(4)), operation="void")
    assert outcomes(project.write(access, [gone])) == {"1": "stale"}
    assert project.rows("customers")["1"]["name"] == "new"
    assert outcomes(project.write(access, [customer(1, name="newer", source_modified_at=changed_at(5))])) == {
        "1": "updated"
    }


def test_lines_are_replaced_as_a_set(project, kind):
    access = project.access(kind)
    project.write(access, [order(1, lines=3), order(2, lines=1)])
    assert len(project.supabase.rows("order_lines")) == 4
    assert outcomes(project.write(access, [order(1, lines=2), order(2, lines=1)])) == {"1": "updated", "2": "unchanged"}
    lines = {(row["order_source_id"], row["line_id"]) for row in project.supabase.rows("order_lines")}
    assert lines == {("1", "1"), ("1", "2"), ("2", "1")}
    assert outcomes(project.write(access, [order(1, lines=0)])) == {"1": "updated"}
    assert {row["order_source_id"] for row in project.supabase.rows("order_lines")} == {"2"}


def test_what_goes_at_its_source_leaves_a_tombstone_and_may_come_back(project, kind):
    access = project.access(kind)
    project.write(access, [order(1, lines=1)])
    gone = replace(order(1, lines=1), operation="void")
    assert outcomes(project.write(access, [gone])) == {"1": "removed"}
    row = project.rows("orders")["1"]
    assert (row["number"], row["source_hash"]) == ("#1", "removed")
    assert row["deleted_at"] is not None
    assert outcomes(project.write(access, [gone, replace(order(9), operation="void")])) == {
        "1": "unchanged", "9": "unchanged",
    }  # fmt: skip
    assert outcomes(project.write(access, [order(1, lines=1)])) == {"1": "updated"}
    assert project.rows("orders")["1"]["deleted_at"] is None


def test_deleting_takes_rows_and_lines_and_no_others(project, kind):
    access = project.access(kind)
    project.write(access, [order(1, lines=2), order(2, lines=1), order("3,4)", lines=1)])
    keys = [replace(order(key), operation="delete") for key in ("1", "3,4)")]
    assert outcomes(project.write(access, keys)) == {"1": "removed", "3,4)": "removed"}
    assert set(project.rows("orders")) == {"2"}
    assert {row["order_source_id"] for row in project.supabase.rows("order_lines")} == {"2"}


def test_money_arrives_to_the_last_digit(project, kind):
    totals = {"1": Decimal("12345678901234.5678"), "2": Decimal("-0.0001"), "3": Decimal("1E+3"), "4": Decimal("0.30")}
    written = project.write(project.access(kind), [order(key, total=total) for key, total in totals.items()])
    assert set(outcomes(written).values()) == {"created"}
    shown = project.supabase.sql("SELECT source_id, total::text FROM orders")
    assert {row["source_id"]: Decimal(row["total"]) for row in shown} == totals
    assert written["1"].total == totals["1"]
    refused = project.write(project.access(kind), [order(5, total=Decimal("0.00001")), order(6, total=Decimal("1e15"))])
    assert outcomes(refused) == {"5": "failed", "6": "failed"}
    assert refused["5"].error.fields == {"total": ["It has more than 4 decimals, which would be lost."]}
    assert refused["6"].error.provider_code == "22003"


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"name": "a\x00b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"raw": {"deep": ["\x00"]}}, "raw"),
        ({"colour": "red"}, "colour"),
        ({"connection_id": "one"}, "connection_id"),
        ({"source_created_at": changed_at(1).replace(tzinfo=None)}, "source_created_at"),
        ({"name": 1.5}, "name"),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused_by_its_field(project, values, path):
    written = project.write(project.access(), [customer(1, **values), customer(2)])
    assert outcomes(written) == {"1": "failed", "2": "created"}
    assert list(written["1"].error.fields) == [path]


def test_another_row_with_the_same_value_and_a_missing_parent_are_told_apart(project, kind):
    project.supabase.sql(
        "ALTER TABLE customers ADD CONSTRAINT one_mail UNIQUE (email);"
        "CREATE TABLE groups (name text PRIMARY KEY);"
        "ALTER TABLE customers ADD CONSTRAINT grouped FOREIGN KEY (company) REFERENCES groups"
    )
    access = project.access(kind)
    project.write(access, [customer(1, email="a@example.org")])
    written = project.write(access, [customer(2, email="a@example.org"), customer(3, company="none"), customer(4)])
    assert outcomes(written) == {"2": "failed", "3": "failed", "4": "created"}
    assert isinstance(written["2"].error, ValueTaken)
    assert isinstance(written["3"].error, ParentMissing)


def test_a_store_that_caps_its_answers_is_read_whole(project):
    access = project.access()
    project.write(access, [customer(number) for number in range(60)])
    project.supabase.set(max_rows=7)
    assert set(outcomes(project.write(access, [customer(number) for number in range(60)])).values()) == {"unchanged"}
    writing = Writing(project.tables)
    found = dict(writing.hashes(access, "customers", connection_id=CONNECTION, source_system="woocommerce"))
    assert set(found) == {str(number) for number in range(60)}


def test_a_schema_of_its_own_is_written_to(bare, kind):
    bare.prepare("customers", schema="hub")
    bare.supabase.set(exposed_schemas=["public", "hub"])
    access = bare.access(kind, schema="hub")
    assert outcomes(bare.write(access, [customer(1)])) == {"1": "created"}
    assert bare.supabase.sql("SELECT count(*) FROM hub.customers") == [{"count": 1}]


def test_the_contract_may_be_run_again_and_stops_at_tables_of_others(bare):
    bare.prepare()
    bare.prepare()
    bare.supabase.sql("CREATE SCHEMA other; CREATE TABLE other.orders (id int)")
    with pytest.raises(AssertionError, match="other tables of these names"):
        bare.prepare(schema="other")
    assert bare.supabase.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'other'") == [{"count": 1}]


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_both_poolers_take_batch_after_batch(project, mode):
    access = project.access("postgres", secrets={"dsn": project.dsn(mode)})
    for name in range(8):
        written = project.write(access, [order(number, lines=1, memo=str(name)) for number in range(3)])
        assert set(outcomes(written).values()) == {"updated" if name else "created"}


def test_a_login_of_its_own_writes_by_the_contracts_policy(bare):
    login = bare.supabase.control(f"projects/{bare.supabase.ref}/roles", name="hub_writer")
    bare.prepare("orders", role="hub_writer")
    user = f"hub_writer.{bare.supabase.ref}"
    access = bare.access("postgres", secrets={"dsn": bare.dsn(user=user, password=login["password"])})
    assert outcomes(bare.write(access, [order(1, lines=1)])) == {"1": "created"}
    bare.supabase.sql("DROP POLICY causeway ON orders")
    gone = replace(order(1), operation="void", external_id=f"{CONNECTION}/woocommerce/1")
    hidden = bare.write(access, [gone])
    assert hidden["1"].error.code == "store_not_prepared"
    assert "row security" in hidden["1"].error.detail


def test_an_answer_lost_after_the_commit_is_looked_up(project, kind):
    access = project.access(kind)
    path = "POST /rest/v1/customers" if kind == "rest" else "postgres"
    project.supabase.fault("commit_then_drop", path=path)
    assert outcomes(project.write(access, [customer(1), customer(2)])) == {"1": "created", "2": "created"}
    assert outcomes(project.write(access, [customer(1), customer(2)])) == {"1": "unchanged", "2": "unchanged"}


def test_what_was_lost_before_the_commit_is_raised_and_may_be_repeated(project, kind):
    access = project.access(kind)
    project.supabase.fault("reset", path="POST /rest/v1/customers" if kind == "rest" else "postgres")
    with pytest.raises(TemporaryError):
        project.write(access, [customer(1)])
    assert outcomes(project.write(access, [customer(1)])) == {"1": "created"}


def test_the_secret_key_goes_as_its_kind_asks(project):
    for name in ("secret", "service_role"):
        access = project.access(secrets={"secret_key": project.supabase.keys[name]})
        assert project.write(access, [customer(name)])[name].outcome == "created"
    agents = {request["user_agent"].partition("/")[0] for request in project.requests()}
    assert agents == {"Causeway"}


def test_a_record_is_found_again(project, kind):
    access, writing = project.access(kind), Writing(project.tables)
    assert writing.find(access, customer(1)) is None
    project.write(access, [customer(1)])
    assert writing.find(access, customer(1)).outcome == "unchanged"
    assert writing.find(access, customer(1, name="other")).outcome == "stale"
