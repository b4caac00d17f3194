"""Customers and items: who they are, what they are called, and which of those that are there is meant."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections.errors import RejectedRecord
from connections.providers.base import TargetRecord
from connections.providers.quickbooks.entities import ENTITIES
from connections.providers.quickbooks.validation import prepared
from sync.canonical import Address, Customer, Line, Product
from sync.targets.quickbooks import (
    Draft,
    Existing,
    Held,
    Match,
    Need,
    Nothing,
    customer_of,
    customer_record,
    matched,
    product_item,
    renamed_customer,
    renamed_item,
    texts,
)
from sync.targets.quickbooks.countries import ALPHA3
from sync.targets.quickbooks.products import item_of_line
from tests.sync.targets.quickbooks.shops import CA, GB, US
from tests.sync.targets.quickbooks.test_documents import ORDER, chosen

D = Decimal
ANA = Customer(
    source_id="77",
    name="Ana Diaz",
    first_name="Ana",
    last_name="Diaz",
    email="ana@example.com",
    phone="+1 (555) 010-0199 ext. 12345",
    billing=Address(line1="1 Main St", city="Austin", country="US"),
)
MUG = Product(source_id="48", sku="MUG-1", name="Mug", kind="simple", price=D("3.333333"), description="<3")


def drafted(found) -> TargetRecord:
    assert isinstance(found, Draft), found
    return found.target


# --- customers ---
def test_a_customer_is_told_as_the_shop_knows_them():
    found = drafted(customer_record(ANA, US)).values
    assert found["PrimaryPhone"] == {"FreeFormNumber": "+1555010019912345"}
    assert found["Notes"] == "WC customer 77 / shop.example.com"
    assert "CurrencyRef" not in found
    assert prepared(ENTITIES["Customer"], found, "create")


def test_a_customer_that_somebody_else_made_is_left_as_they_are():
    there = Existing(kind="Customer", external_id="58", version="2")
    assert customer_record(ANA, US, existing=there, is_ours=False) == Nothing("not_ours")
    allowed = customer_record(ANA, chosen(may_overwrite_customers=True), existing=there, is_ours=False)
    assert drafted(allowed).external_id == "58"
    assert "DisplayName" not in drafted(customer_record(ANA, US, existing=there)).values


def test_guests_are_known_by_their_address_whatever_its_case():
    guest = replace(ORDER, customer_id="", billing=replace(ORDER.billing, email="Ana@Example.com"))
    need = customer_of(guest, US)
    assert need.key == ("customers", "guest:ana@example.com")
    assert need.steps == (Match("Customer", "PrimaryEmailAddr", "Ana@Example.com"),)
    nobody = customer_of(replace(guest, billing=replace(guest.billing, email="ana@")), US)
    assert (nobody.key, nobody.steps) == (("customers", "guest:order 1234"), ())


def test_one_customer_stands_for_all_guests_on_request():
    books = chosen(guest_rule="one_customer", one_customer={"USD": "99"})
    assert customer_of(replace(ORDER, customer_id=""), books) == "99"
    assert isinstance(customer_of(ORDER, books), Need), "who has an account is no guest"


def test_a_name_that_is_taken_gets_the_shops_id_at_its_end():
    record = drafted(customer_record(replace(ANA, name="x" * 600), US))
    assert len(record.values["DisplayName"]) == 500
    again = renamed_customer(record)
    assert again.values["DisplayName"].endswith("x (WC-77)")
    assert len(again.values["DisplayName"]) == 500
    assert renamed_item(TargetRecord("Item", "48", {"Name": "Mug"})).values == {"Name": "Mug (WC-48)"}


# --- items ---
def test_a_product_is_no_stock_and_costs_what_it_costs_in_the_home_currency():
    found = drafted(product_item(MUG, US)).values
    assert (found["Type"], found["UnitPrice"], found["Sku"]) == ("NonInventory", D("3.33333"), "MUG-1")
    assert (found["IncomeAccountRef"], found["ExpenseAccountRef"]) == ({"value": "79"}, {"value": "80"})
    assert prepared(ENTITIES["Item"], found, "create")
    gross = replace(GB, shop=replace(GB.shop, prices_include_tax=True))
    assert "UnitPrice" not in drafted(product_item(MUG, gross)).values
    assert "UnitPrice" not in drafted(product_item(replace(MUG, currency="EUR"), US)).values


@pytest.mark.parametrize(
    "product, parent, name",
    [
        (replace(MUG, options=(("Size", "L"),)), None, "Mug - L"),
        (replace(MUG, name="L", options=(("Size", "L"),)), replace(MUG, name="Blue shirt"), "Blue shirt - L"),
        (replace(MUG, name="Blue shirt - L", options=(("Size", "L"),)), None, "Blue shirt - L"),
        (replace(MUG, name="x" * 120, options=(("Size", "L"),)), None, "x" * 96 + " - L"),
        (replace(MUG, name='Pipe: 3/4"\tbrass'), None, "Pipe- 3/4'' brass"),
    ],
)
def test_a_variation_is_an_item_of_its_own_under_its_parents_name(product, parent, name):
    assert drafted(product_item(product, US, parent=parent)).values["Name"] == name


def test_what_is_only_there_to_choose_from_is_no_item():
    assert product_item(replace(MUG, kind="variable"), US) == Nothing("not_sold")
    there = Existing(kind="Item", external_id="21", version="0")
    assert product_item(MUG, US, existing=there, is_ours=False) == Nothing("not_ours")
    changed = drafted(product_item(MUG, US, existing=there)).values
    assert not {"Type", "IncomeAccountRef", "ExpenseAccountRef"} & set(changed), "an accountant's to change"


def test_a_line_is_found_by_sku_then_by_name_then_made():
    line = Line(line_id="1", description="Mug", product_id="48", sku="MUG-1", tax_total=D(1))
    need = item_of_line(line, US)
    assert need.steps == (Match("Item", "Sku", "MUG-1"), Match("Item", "Name", "Mug"))
    assert (need.create.values["Name"], need.create.values["Taxable"]) == ("Mug", True)
    stood_in = item_of_line(line, chosen(item_rule="fallback"))
    assert (stood_in.create, stood_in.fallback) == (None, "1")


def test_a_deleted_product_is_found_by_its_sku_else_something_stands_in_for_it():
    gone = Line(line_id="1", description="Mug", sku="MUG-1")
    assert item_of_line(gone, US).key == ("products", "sku:MUG-1")
    assert item_of_line(replace(gone, sku=""), US) == "1"


# --- which of them ---
NEED = customer_of(ORDER, US)
MAIL = NEED.steps[0]


def row(number: str, mail: str = "ana@example.com", **more) -> dict:
    return {"Id": number, "PrimaryEmailAddr": {"Address": mail}, "Active": True} | more


def test_the_only_one_is_meant_and_several_are_a_persons_to_decide():
    assert matched(NEED, MAIL, [], US) is None
    assert (
        matched(NEED, MAIL, [row("1", "ANA@example.com"), row("2", Active=False), row("3", "xana@example.com")], US)
        == "1"
    )
    found = matched(NEED, MAIL, [row("1"), row("2")], US)
    assert isinstance(found, Held)
    assert (found.code, found.detail[-5:]) == ("match_ambiguous", "1, 2.")


def test_a_customer_of_another_currency_is_another():
    rows = [row("1", CurrencyRef={"value": "CAD"}), row("2", CurrencyRef={"value": "USD"})]
    assert matched(customer_of(ORDER, CA), MAIL, rows, CA) == "2"
    assert matched(customer_of(replace(ORDER, currency="CAD"), CA), MAIL, rows, CA) == "1"
    assert matched(customer_of(replace(ORDER, currency="EUR"), CA), MAIL, rows, CA) is None


def test_a_category_is_never_sold():
    need = item_of_line(Line(line_id="1", description="Mug", product_id="48"), US)
    assert matched(need, need.steps[0], [{"Id": "5", "Name": "Mug", "Type": "Category"}], US) is None


# --- texts ---
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(name=st.text(max_size=700), choice=st.text(max_size=200), mark=st.sampled_from(["", " (WC-77)"]))
def test_any_name_becomes_one_that_quickbooks_takes(name, choice, mark):
    item, person = texts.item_name(name, choice, mark), texts.display_name(name, mark)
    for entity, field, made in (("Item", "Name", item), ("Customer", "DisplayName", person)):
        if made:
            assert prepared(ENTITIES[entity], {field: made}, "update")
        assert made.endswith(mark)


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_number_and_address_become_ones_that_quickbooks_takes(number, mail):
    assert len(texts.doc_number("WC-", number)) <= 21
    address = texts.email(mail)
    try:
        prepared(ENTITIES["Customer"], {"PrimaryEmailAddr": {"Address": address}, "PrimaryPhone": {"FreeFormNumber": texts.phone(number)}}, "update")  # fmt: skip
    except RejectedRecord as refused:
        pytest.fail(str(refused.fields))


def test_an_address_is_cut_to_what_there_is_room_for():
    where = Address(line1="a" * 900, line2="b" * 900, line3="c" * 900, line4="d" * 900, line5="e" * 900, city="f" * 300, postal_code="9" * 40, country="gb")  # fmt: skip
    made = texts.address(where)
    assert prepared(ENTITIES["Customer"], {"DisplayName": "A", "BillAddr": made}, "create")
    assert made["Country"] == "GBR"
    assert texts.address(Address(first_name="Ana", phone="5")) is None


def test_countries_have_three_letters_each_their_own():
    assert (len(ALPHA3), len(set(ALPHA3.values()))) == (249, 249)
    assert (ALPHA3["DE"], ALPHA3["CH"], ALPHA3["GB"]) == ("DEU", "CHE", "GBR")
