"""Rules: refused by path when they are saved, with a named failure for each record that they have no value for."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from connections.errors import RejectedRecord
from connections.providers.quickbooks.entities import ENTITIES as BOOKS
from connections.providers.quickbooks.entities import FLOW_ENTITIES
from connections.providers.supabase.contract import DEFAULTS as STORES
from sync.canonical import Address, Customer, Line, LineTax, Order
from sync.mapping import DEFAULTS, ENTITIES, RulesRefused, applied, default_rules, field_table, rule_set

D = Decimal
ORDER = Order(
    source_id="49",
    number="WC-49",
    currency="CAD",
    total=D("10.50"),
    tax_total=D("0.50"),
    ordered_at=datetime(2026, 11, 22, 4, 24, tzinfo=UTC),
    billing=Address(line1="1 Main St", city="Edmonton", email="ana@example.com"),
    lines=(
        Line(
            line_id="1",
            description="Shirt",
            total=D(6),
            tax_total=D("0.50"),
            taxes=(LineTax(rate_id="7", total=D("0.50")),),
        ),
        Line(line_id="2", description="Cup", total=D(4)),
    ),
    payment_method="stripe",
    transaction_id="ch_3PqZ0000000000000000001",
)


def rule(target: str, expression: str, **more):
    return {"target": target, "expression": expression, **more}


def refused(rules, *, target="quickbooks", entity="orders") -> dict[str, list[str]]:
    with pytest.raises(RulesRefused) as error:
        rule_set(field_table(target, entity), rules)
    return error.value.errors


def mapped(rules, record=ORDER, *, target="quickbooks", document=""):
    return rule_set(field_table(target, record.entity), rules).mapped(record, document=document)


# --- saving ---
@pytest.mark.parametrize(
    "told, path, words",
    [
        (rule("Colour", "'x'"), "rules.0.target", "no such field. It has"),
        (rule("TotalAmt", "record.total"), "rules.0.target", "QuickBooks computes"),
        (rule("Line", "record.lines"), "rules.0.target", "Amounts arrive as the source tells them"),
        (rule("Line.Amount", "line.total"), "rules.0.target", "Amounts arrive"),
        (rule("Line.TaxCodeRef", "'TAX'"), "rules.0.target", "tax follows"),
        (rule("CustomerRef", "record.customer_id"), "rules.0.target", "another record in the books"),
        (rule("DocNumber", "record.nmber"), "rules.0.expression", "has no nmber"),
        (rule("DocNumber", "record.total"), "rules.0.expression", "put string("),
        (rule("DocNumber", "line.sku"), "rules.0.expression", "nothing called line"),
        (rule("DueDate", "record.ordered_at"), "rules.0.expression", "use day("),
        (rule("BillAddr", "record.billing.city"), "rules.0.expression", "an address"),
        (rule("DocNumber", "'0123456789012345678901'"), "rules.0.expression", "22 characters"),
        (rule("BillEmail", "'nobody'"), "rules.0.expression", "not an e-mail address"),
        (rule("DocNumber", "record.number", default="x" * 22), "rules.0.default", "22 characters"),
        (rule("DocNumber", "record.number", default=5), "rules.0.default", "a text"),
        (rule("DueDate", "record.due_on", default="soon"), "rules.0.default", "YYYY-MM-DD"),
        (rule("DocNumber", "record.number", required="yes"), "rules.0.required", "true or false"),
        (rule("DocNumber", "record.number", lookup=[]), "rules.0.lookup", "object"),
        (rule("DocNumber", "record.number", lookup={"a": "x" * 22}), "rules.0.lookup.a", "22 characters"),
        (rule("PaymentMethodRef", "record.lines", lookup={}), "rules.0.expression", "one value to look up"),
        (rule("DocNumber", "record.number", requierd=True), "rules.0.requierd", "no such field"),
        ("DocNumber", "rules.0", "A rule is an object"),
        (rule("DocNumber", None), "rules.0.expression", "as a text"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_saved_is_refused_by_its_path(told, path, words):
    errors = refused([told])
    assert list(errors) == [path]
    assert words in " ".join(errors[path])


def test_every_mistake_is_told_at_once():
    assert set(refused([rule("Colour", "1 +"), rule("DocNumber", "1 +"), rule("DocNumber", "record.number")])) == {
        "rules.0.target",
        "rules.1.expression",
        "rules.2.target",
    }


def test_what_the_target_requires_needs_a_rule_that_never_leaves_it_empty():
    assert "requires Name" in refused([], entity="products")["rules"][0]
    assert "requires one of DisplayName" in refused([], entity="customers")["rules"][0]
    bare = [rule("Name", "record.name"), rule("Type", "'Service'", default="Service")]
    assert refused(bare, entity="products") == {
        "rules.0.required": ["The target requires this field: say true, or give a default."]
    }


def test_too_many_rules_are_refused():
    assert "at most 200" in refused([rule("DocNumber", "'1'")] * 201)["rules"][0]


# --- what comes out ---
def test_values_take_the_form_that_the_target_has():
    found = mapped([
        rule("BillEmail", "record.billing.email"), rule("BillAddr", "record.billing"), rule("CustomerMemo", "'Thanks'"),
        rule("DueDate", "day('2026-12-01')"), rule("ClassRef", "'9'"), rule("AllowOnlineACHPayment", "false"),
        rule("PaymentRefNum", "record.transaction_id.last(21)"), rule("ShipDate", "null"),
    ]).header  # fmt: skip
    assert found == {
        "BillEmail": {"Address": "ana@example.com"},
        "BillAddr": {"Line1": "1 Main St", "City": "Edmonton"},
        "CustomerMemo": {"value": "Thanks"},
        "DueDate": "2026-12-01",
        "ClassRef": {"value": "9"},
        "AllowOnlineACHPayment": False,
        "PaymentRefNum": "_3PqZ0000000000000000001"[-21:],
        "ShipDate": None,
    }


def test_a_lookup_table_gives_an_account_for_a_payment_method():
    table = {"stripe": "35", "bacs": "36"}
    by_method = rule("DepositToAccountRef", "record.payment_method", lookup=table)
    assert mapped([by_method]).header == {"DepositToAccountRef": {"value": "35"}}
    [failure] = mapped([by_method], replace(ORDER, payment_method="cod")).failures
    assert (failure.code, failure.path, failure.target) == ("lookup_missing", "rules.0", "DepositToAccountRef")
    assert "'cod'" in failure.detail
    assert "Add 'cod' to the table" in failure.remediation
    by_method["lookup"] = table | {"*": "99"}
    assert mapped([by_method], replace(ORDER, payment_method="cod")).header == {"DepositToAccountRef": {"value": "99"}}


def test_lines_get_values_of_their_own_and_a_failure_names_the_line():
    codes = rule("Line.ClassRef", "line.taxes.map(tax, tax.rate_id).join('+')", lookup={"7": "GST"})
    found = mapped([codes, rule("Line.Description", "line.description + ' / ' + record.number")])
    assert [line.get("ClassRef") for line in found.lines] == [{"value": "GST"}, None]
    assert [line["Description"] for line in found.lines] == ["Shirt / WC-49", "Cup / WC-49"]
    assert [(failure.line_id, failure.code) for failure in found.failures] == [("2", "lookup_missing")]
    codes["lookup"][""] = "EXEMPT"
    assert mapped([codes]).lines[1] == {"ClassRef": {"value": "EXEMPT"}}


def test_a_default_stands_in_for_nothing_and_a_required_rule_fails_without_one():
    assert mapped([rule("DocNumber", "record.memo", default="NONE")]).header == {"DocNumber": "NONE"}
    assert mapped([rule("DocNumber", "record.memo")]).header == {"DocNumber": None}
    [failure] = mapped([rule("DocNumber", "record.memo", required=True)]).failures
    assert (failure.code, failure.target) == ("required", "DocNumber")


def test_what_the_target_would_refuse_is_a_failure_that_says_how_to_mend_the_rule():
    [failure] = mapped([rule("PaymentRefNum", "record.transaction_id")]).failures
    assert (failure.code, failure.detail) == ("value_refused", "It has 26 characters, and the field holds 21.")
    assert "last(…, 21)" in failure.remediation


def test_failures_refuse_the_record_by_its_target_fields():
    found = mapped([rule("PaymentRefNum", "record.transaction_id"), rule("DueDate", "addDays(record.due_on, 1)")])
    with pytest.raises(RejectedRecord) as error:
        found.refuse_failures()
    assert set(error.value.fields or {}) == {"PaymentRefNum", "DueDate"}


def test_a_name_that_stays_empty_is_a_failure():
    found = mapped(
        [rule("DisplayName", "record.name"), rule("GivenName", "record.first_name")], Customer(source_id="1")
    )
    assert [(failure.path, failure.target) for failure in found.failures] == [("rules", "DisplayName")]


def test_a_field_of_one_document_is_left_out_of_the_other():
    rules = [rule("DueDate", "day('2026-12-01')"), rule("PaymentRefNum", "'1'"), rule("DocNumber", "record.number")]
    assert set(mapped(rules, document="Invoice").header) == {"DueDate", "DocNumber"}
    assert set(mapped(rules, document="SalesReceipt").header) == {"PaymentRefNum", "DocNumber"}


# --- laid over what the target's transformer made ---
def test_in_a_store_an_empty_value_is_null_and_amounts_stay():
    values = {"memo": "old", "total": D("10.50"), "lines": [{"line_id": "1", "sku": "a"}, {"line_id": "2", "sku": "b"}]}
    over = mapped([rule("memo", "''"), rule("lines.sku", "line.description")], target="supabase")
    assert applied(values, over) == {
        "memo": None,
        "total": D("10.50"),
        "lines": [{"line_id": "1", "sku": "Shirt"}, {"line_id": "2", "sku": "Cup"}],
    }


def test_in_the_books_an_empty_value_is_left_out_and_lines_are_found_by_where_they_come_from():
    lines = [
        {"Amount": D(number), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {"ItemRef": {"value": "21"}}}
        for number in (4, -1, 6)
    ]
    rules = [*default_rules("quickbooks", "orders"), rule("Line.ClassRef", "line.line_id")]
    made = applied({"DueDate": "2026-01-01", "Line": lines}, mapped(rules), line_ids=["2", "", "1"])
    assert "DueDate" not in made
    assert [line["SalesItemLineDetail"].get("ClassRef") for line in made["Line"]] == [
        {"value": "2"},
        None,
        {"value": "1"},
    ]
    assert [line.get("Description") for line in made["Line"]] == ["Cup", None, "Shirt"]
    assert [line["Amount"] for line in made["Line"]] == [4, -1, 6]
    assert applied({"Line": lines}, mapped(rules))["Line"] == lines


def test_a_number_is_not_set_where_the_company_numbers_by_itself_or_the_document_has_one():
    numbered = mapped([rule("DocNumber", "record.number")])
    assert applied({"DocNumber": "1"}, numbered) == {"DocNumber": "WC-49"}
    assert applied({}, numbered) == {}


# --- what is shipped ---
@pytest.mark.parametrize("target, entity, region", sorted(DEFAULTS))
def test_shipped_rules_can_be_saved_as_they_are(target, entity, region):
    assert rule_set(field_table(target, entity), default_rules(target, entity, region)).rules


def test_there_are_shipped_rules_for_every_entity_of_every_target():
    assert {(target, entity) for target, entity, _region in DEFAULTS} == {
        (target, entity) for target in ("quickbooks", "supabase") for entity in ENTITIES
    }


def test_items_are_taxable_or_not_in_the_us_only():
    us, other = (
        {rule["target"] for rule in default_rules("quickbooks", "products", region)} for region in ("us", "global")
    )
    assert us - other == {"Taxable"}


def test_every_field_of_a_target_is_in_its_table_and_those_that_no_rule_may_set_say_why():
    for entity in ENTITIES:
        books, stores = field_table("quickbooks", entity), field_table("supabase", entity)
        names = {field.name for kind in FLOW_ENTITIES[entity] for field in BOOKS[kind].fields}
        assert names <= set(books.fields)
        assert {column.name for column in STORES[entity].all_columns} <= set(stores.fields)
        for field in (*books.fields.values(), *stores.fields.values()):
            assert field.read_only == "" or len(field.read_only) > 20
        for name in ("TotalAmt", "TxnTaxDetail", "Line", "CustomerRef", "PrivateNote", "Line.TaxCodeRef"):
            assert name not in books.fields or books.fields[name].read_only
