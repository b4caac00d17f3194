"""Canonical records as rows of a store: all columns of its contract, amounts exact, lines a set of their own."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from connections.errors import RejectedRecord
from connections.providers.base import TargetRecord
from connections.providers.supabase.contract import DEFAULTS
from connections.providers.supabase.records import REMOVED, Row, row_of
from sync.canonical import (
    KINDS,
    Address,
    Bill,
    Canonical,
    Customer,
    Line,
    Order,
    Payment,
    Product,
    Refund,
    Vendor,
)
from sync.targets import supabase

D = Decimal
CONNECTION = UUID("0198c0de-0000-7000-8000-000000000001")
STORES_OWN = {
    "source_id",
    "source_hash",
    "deleted_at",
}  # the key is beside the values, the rest is made where it is stored


def target(record: Canonical, **more) -> TargetRecord:
    return supabase.target_record(record, connection_id=CONNECTION, source_system="woocommerce", **more)


def row(record: Canonical, **more) -> Row:
    """As the store's provider would write it."""
    return row_of(DEFAULTS[record.entity], target(record, **more))


def needed(entity: str) -> dict:
    return {"currency": "EUR", "total": D(1)} if entity in ("orders", "refunds", "payments", "bills") else {}


@pytest.mark.parametrize("entity", KINDS)
def test_a_record_sets_every_column_that_is_not_the_stores_own(entity):
    table = DEFAULTS[entity]
    told = target(KINDS[entity](source_id="7", **needed(entity)))
    wanted = {column.name for column in table.all_columns} | ({table.lines.field} if table.lines else set())
    assert set(told.values) == wanted - STORES_OWN
    assert (told.entity, told.key, told.operation) == (entity, "7", "upsert")


@pytest.mark.parametrize("entity", KINDS)
def test_a_record_that_says_next_to_nothing_is_a_row_without_empty_texts(entity):
    made = row(KINDS[entity](source_id="7", **needed(entity)))
    assert "" not in made.values.values()
    assert made.values["source_id"] == "7"


@pytest.mark.parametrize("entity", KINDS)
def test_a_tombstone_names_its_record_and_nothing_else(entity):
    at = datetime(2026, 11, 22, tzinfo=UTC)
    told = supabase.removed(entity, "7", connection_id=CONNECTION, source_system="woocommerce", modified_at=at)
    made = row_of(DEFAULTS[entity], told)
    assert (made.key, made.operation, made.modified_at) == ((str(CONNECTION), "woocommerce", "7"), "void", at)
    assert made.hash != REMOVED


# --- entity by entity ---
PLACE = Address(first_name="Zoë", line1="1 Main St", city="Edmonton", country="CA")


def test_a_customer_keeps_the_parts_of_an_address_that_say_something():
    values = row(Customer(source_id="7", name="Zoë", email="z@x.test", billing=PLACE)).values
    assert values["billing_address"] == {"first_name": "Zoë", "line1": "1 Main St", "city": "Edmonton", "country": "CA"}
    assert (values["shipping_address"], values["currency"], values["name"]) == (None, None, "Zoë")


def test_a_vendor_has_what_is_owed_to_them():
    assert row(Vendor(source_id="7", balance=D("12.30"))).values["balance"] == "12.3"


def test_a_price_finer_than_a_column_of_money_is_rounded_to_it():
    values = row(Product(source_id="7", price=D("0.12345"), parent_id="3", stock_quantity=D("2.5"))).values
    assert (values["price"], values["parent_source_id"], values["stock_quantity"]) == ("0.1235", "3", "2.5")


LINES = (
    Line(
        line_id="33",
        product_id="48",
        variation_id="51",
        sku="M",
        quantity=D(3),
        unit_price=D("3.33"),
        subtotal=D("9.99"),
        total=D("8.99"),
        tax_total=D("1.1"),
    ),
    Line(line_id="34", kind="shipping", description="Flat", subtotal=D("4.99"), total=D("4.99"), tax_total=D("0.25")),
)
ORDER = Order(
    source_id="49",
    number="WEB-49",
    document="order",
    currency="CAD",
    customer_id="7",
    ordered_at=datetime(2026, 11, 22, 4, 24, 32, tzinfo=UTC),
    ordered_on=date(2026, 11, 21),
    lines=LINES,
    subtotal=D("9.99"),
    discount_total=D("1"),
    shipping_total=D("4.99"),
    tax_total=D("1.35"),
    total=D("15.33"),
    balance=D("15.33"),
)


def test_an_order_is_a_row_with_its_sums_and_a_line_for_each_of_its_lines():
    made = row(ORDER)
    sums = ("subtotal", "discount_total", "shipping_total", "tax_total", "total", "balance")
    assert [made.values[name] for name in sums] == ["9.99", "1", "4.99", "1.35", "15.33", "15.33"]
    assert (made.values["customer_source_id"], made.values["ordered_at"]) == ("7", "2026-11-22T04:24:32+00:00")
    mug, flat = made.lines or []
    assert (mug["order_source_id"], mug["line_id"], mug["position"], mug["kind"]) == ("49", "33", "1", "product")
    assert (mug["product_source_id"], mug["quantity"], mug["unit_price"], mug["subtotal"]) == (
        "51",
        "3",
        "3.33",
        "9.99",
    )
    assert (flat["position"], flat["product_source_id"], flat["description"], flat["total"]) == (
        "2",
        None,
        "Flat",
        "4.99",
    )


def test_what_only_has_a_day_is_dated_by_its_first_instant():
    day = {"ordered_at": None, "ordered_on": date(2026, 11, 21)}
    assert row(replace(ORDER, **day)).values["ordered_at"] == "2026-11-21T00:00:00+00:00"
    assert row(replace(ORDER, ordered_at=None, ordered_on=None)).values["ordered_at"] is None


def test_lines_of_many_decimals_come_to_the_orders_own_and_still_to_its_total():
    line = Line(line_id="0", subtotal=D("8.403361"), total=D("8.403361"), tax_total=D("1.596639"))
    lines = tuple(replace(line, line_id=str(number)) for number in range(3))
    made = row(Order(source_id="1", currency="EUR", total=D("30.00"), tax_total=D("4.79"), lines=lines))
    totals = [D(one["total"]) for one in made.lines or []]
    taxes = [D(one["tax_total"]) for one in made.lines or []]
    assert (sum(totals), sum(taxes)) == (D("25.21"), D("4.79"))
    assert all(one["subtotal"] == one["total"] for one in made.lines or []), "without a discount there is one amount"


def test_fractions_of_a_tax_go_where_the_lines_and_it_still_come_to_the_total():
    line = Line(line_id="1", subtotal=D("28.673"), total=D("28.673"))
    made = row(Order(source_id="1", currency="EUR", total=D("31.84"), tax_total=D("3.165"), lines=(line,)))
    assert (made.values["tax_total"], [one["total"] for one in made.lines or []]) == ("3.17", ["28.67"])
    whole = row(Order(source_id="1", currency="EUR", total=D("31.84"), tax_total=D("3.17"), lines=(line,)))
    assert whole.values["tax_total"] == "3.17", "a tax in whole cents is nobody's to change"


def test_a_total_finer_than_a_column_of_money_is_refused_and_not_rounded():
    with pytest.raises(RejectedRecord) as error:
        row(Order(source_id="1", currency="EUR", total=D("1.00001")))
    assert list(error.value.fields or {}) == ["total"]


def test_a_refund_goes_back_to_its_order():
    refund = Refund(
        source_id="50", currency="CAD", total=D("3.15"), tax_total=D("0.15"), order_id="49", reason="broken"
    )
    values = row(refund).values
    assert (values["order_source_id"], values["total"], values["tax_total"], values["reason"]) == (
        "49",
        "3.15",
        "0.15",
        "broken",
    )


def test_a_payment_is_known_by_the_name_of_its_method():
    payment = Payment(source_id="9", currency="USD", total=D(80), unapplied=D("1.50"), method="4", method_title="Visa")
    values = row(payment).values
    assert (values["method"], values["unapplied"]) == ("Visa", "1.5")
    assert row(replace(payment, method_title="")).values["method"] == "4"


def test_a_bill_has_its_days_and_its_note():
    bill = Bill(source_id="3", currency="USD", total=D(10), balance=D(4), due_on=date(2026, 12, 1), private_note="rent")
    values = row(bill).values
    assert (values["due_on"], values["balance"], values["memo"]) == ("2026-12-01", "4", "rent")


# --- what is kept of the source ---
def test_a_payload_is_kept_where_that_is_asked_for_without_what_no_store_can_hold():
    raw = {"total": D("1.10"), "meta_data": [{"key": "\x00*\x00name", "value": "half \ud800"}]}
    kept = row(ORDER, raw=raw).values["raw"]
    assert kept == {"total": D("1.10"), "meta_data": [{"key": "\ufffd*\ufffdname", "value": "half ?"}]}
    assert row(ORDER).values["raw"] is None


def test_a_row_differs_with_what_is_in_it_and_not_with_when_it_was_touched():
    at = datetime(2026, 11, 22, tzinfo=UTC)
    assert row(replace(ORDER, modified_at=at)).hash == row(ORDER).hash
    assert row(replace(ORDER, modified_at=at)).modified_at == at
    assert len({row(ORDER).hash, row(replace(ORDER, memo="x")).hash, row(ORDER, raw={"id": 49}).hash}) == 3
