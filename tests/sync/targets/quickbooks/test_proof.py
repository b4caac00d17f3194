"""The money proof, refunds, and orders that a real shop has told."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from connections import bodies
from connections.providers.woocommerce import records
from sync.canonical import Line, LineTax, Order, Refund
from sync.sources import canonical_of
from sync.targets.quickbooks import (
    Agrees,
    Draft,
    Existing,
    Held,
    Mismatch,
    Nothing,
    RoundingLine,
    credit_application,
    order_document,
    proof,
    refund_document,
    with_rounding,
)
from sync.targets.quickbooks.outcome import Hold
from tests.connections.sandbox.shops import RECORDED
from tests.sync.targets.quickbooks.shops import CA, GB, US, Taxes, code, rule
from tests.sync.targets.quickbooks.test_documents import ORDER, OWED, SHIRT, chosen, existing

D = Decimal
NONE = D(0)


# --- the proof ---
@pytest.mark.parametrize(
    "total, tax, rounding, found",
    [
        ("44.97", "2.97", "0", Agrees()),
        ("44.99", "2.99", "0", RoundingLine(D("-0.02"))),
        ("44.92", "2.97", "0", RoundingLine(D("0.05"))),
        ("44.91", "2.97", "0", Mismatch(D("44.97"), D("44.91"), D("2.97"), D("2.97"))),
        ("42.00", None, "0", Mismatch(D("44.97"), D("42.00"), D("2.97"), NONE)),
        ("44.97", "2.98", "0", Mismatch(D("44.97"), D("44.97"), D("2.97"), D("2.98"))),
        ("44.97", "2.98", "-0.01", Agrees()),
        ("44.95", "2.97", "0.04", Mismatch(D("44.97"), D("44.95"), D("2.97"), D("2.97"))),
    ],
)
def test_what_was_written_agrees_or_is_rounded_or_does_not_agree(total, tax, rounding, found):
    told = None if tax is None else D(tax)
    assert proof(ORDER, D(total), told, US, rounding=D(rounding)) == found


def test_without_a_limit_no_cent_is_rounded():
    assert isinstance(proof(ORDER, D("44.98"), D("2.98"), chosen(rounding_limit=NONE)), Mismatch)


def test_a_document_has_one_rounding_line_at_most():
    once = with_rounding([], D("0.02"), US)
    twice = with_rounding(once, D("0.01"), US)
    assert [line["Amount"] for line in twice] == [D("0.03")]
    assert with_rounding(once, D("-0.02"), US) == []
    with pytest.raises(Hold):
        with_rounding(once, D("0.04"), US)


# --- refunds ---
BACK = replace(SHIRT, quantity=D(1), subtotal=D(18), total=D(18), tax_total=D("1.49"), subtotal_tax=D("1.49"), taxes=(LineTax(rate_id="1", total=D("1.49")),), origin_id="1")  # fmt: skip
REFUND = Refund(
    source_id="881",
    number="881",
    order_id="1234",
    currency="USD",
    refunded_at=datetime(2026, 11, 6, 12, tzinfo=UTC),
    lines=(BACK,),
    tax_total=D("1.49"),
    total=D("19.49"),
)
PLAIN = Line(line_id="unallocated", kind="unallocated", total=D(5), subtotal=D(5))
GOODWILL = replace(REFUND, lines=(PLAIN,), tax_total=NONE, total=D(5), reason="late")


def refunded(refund: Refund = REFUND, order: Order = ORDER, sold: Existing | None = None, books=US) -> Draft:
    found = refund_document(refund, order, sold or existing(), books)
    assert isinstance(found, Draft), found
    return found


def test_money_goes_back_from_where_it_came_to():
    found = refunded().target
    assert (found.entity, found.key) == ("RefundReceipt", "881")
    assert (found.values["DocNumber"], found.values["TxnDate"]) == ("R881", "2026-11-06")
    assert found.values["DepositToAccountRef"] == {"value": "41"}
    assert found.values["CustomerRef"] == {"value": "58"}, "whoever the receipt is for, as the books have it"
    assert found.values["PrivateNote"] == "WC refund 881 of order 1234 / shop.example.com"
    [line] = found.values["Line"]
    assert (line["Amount"], found.values["TxnTaxDetail"]) == (D(18), {"TotalTax": D("1.49")})


def test_an_amount_without_items_is_posted_untaxed_and_flagged_with_the_tax_that_may_be_in_it():
    found = refunded(GOODWILL)
    [line] = found.target.values["Line"]
    assert (line["Amount"], line["Description"]) == (D(5), "Refund without items: late")
    assert line["SalesItemLineDetail"] == {"ItemRef": {"value": "6"}, "TaxCodeRef": {"value": "NON"}}
    [flag] = found.flags
    assert (flag.code, flag.amount) == ("tax_share_unknown", D("0.33"))
    assert "Review: 5.00 was refunded" in found.target.values["PrivateNote"]
    held = refund_document(GOODWILL, ORDER, existing(), chosen(amount_refunds="hold"))
    assert isinstance(held, Held)
    assert held.code == "tax_share_unknown"
    untaxed = replace(ORDER, tax_total=NONE)
    assert refund_document(GOODWILL, untaxed, existing(), US).flags == ()


@pytest.mark.parametrize(
    "sold, order, kind",
    [
        (existing(), ORDER, "RefundReceipt"),
        (existing("Invoice"), OWED, "CreditMemo"),
        (existing("Invoice"), ORDER, "RefundReceipt"),
        (existing("Invoice", balance=NONE), OWED, "RefundReceipt"),
    ],
)
def test_what_was_paid_is_refunded_and_what_is_owed_is_credited(sold, order, kind):
    found = refunded(order=order, sold=sold).target
    assert found.entity == kind
    assert ("InvoiceRef" in found.values) == (kind == "CreditMemo")
    assert ("DepositToAccountRef" in found.values) == (kind == "RefundReceipt")


@pytest.mark.parametrize(
    "refund, sold, code",
    [
        (REFUND, None, "order_not_there"),
        (REFUND, existing(is_voided=True), "voided_in_books"),
        (replace(REFUND, currency="EUR"), existing(), "currency_differs"),
        (replace(REFUND, total=D("18.49")), existing(), "parts_differ"),
    ],
)
def test_a_refund_that_cannot_be_booked_truly_is_held_by_name(refund, sold, code):
    found = refund_document(refund, ORDER, sold, US)
    assert isinstance(found, Held)
    assert found.code == code


def test_a_refund_of_stock_alone_is_nothing():
    nothing = replace(REFUND, lines=(replace(BACK, total=NONE, subtotal=NONE),), total=NONE, tax_total=NONE)
    assert refund_document(nothing, ORDER, existing(), US) == Nothing("empty")


def test_a_credit_is_set_against_its_invoice_by_a_payment_of_nothing():
    credit = existing("CreditMemo", total=D("19.49"), balance=D("19.49"), dated_on=date(2026, 11, 6))
    found = credit_application(REFUND, credit, existing("Invoice"), US)
    assert isinstance(found, Draft)
    assert found.target.values["TotalAmt"] == 0
    assert [line["Amount"] for line in found.target.values["Line"]] == [D("19.49")] * 2
    assert credit_application(REFUND, credit, existing("Invoice"), replace(US, applies_credit=True)) == Nothing(
        "applied"
    )


# --- what a real shop has told ---
ALBERTA = replace(
    CA,
    is_multicurrency=False,
    taxes=Taxes(
        rules=(rule("7", "1", "4", parts=(("1", "3"), ("4", "9"))), rule("8", "1")),
        untaxed="4",
        codes={
            one.code_id: one
            for one in (
                code("4", "Exempt", ("6", "0")),
                code("7", "GST + local", ("3", "5"), ("9", "7.25")),
                code("8", "GST", ("3", "5")),
            )
        },
    ),
)


def recorded(name: str, entity: str = "orders"):
    payload = bodies.from_json((RECORDED / f"{name}.json").read_bytes())
    made = (
        records.source_record("orders", payload)
        if entity == "orders"
        else records.refund_record(payload, order_id="49")
    )
    return canonical_of("woocommerce", made, {"currency": "CAD"})


@pytest.mark.parametrize("name", ["order_guest_coupon_two_taxes", "order_refunded"])
def test_a_recorded_order_with_a_coupon_and_two_rates_comes_to_the_cent(name):
    order = recorded(name)
    found = order_document(order, ALBERTA).target
    tax = found.values["TxnTaxDetail"]
    assert found.entity == "SalesReceipt"
    assert sum(line["Amount"] for line in found.values["Line"]) + tax["TotalTax"] == order.total == D("31.84")
    told = {line["TaxLineDetail"]["TaxRateRef"]["value"]: line["Amount"] for line in tax["TaxLine"]}
    assert told == {"3": D("1.44"), "9": D("1.72")}, (
        "GST on goods, wrapping and shipping; the local tax not on shipping"
    )
    assert found.values["TxnDate"] == "2026-11-21"


@pytest.mark.parametrize("name, total, tax", [("refund_created", "3.15", "0.15"), ("refund_amount_only", "2.00", "0")])
def test_recorded_refunds_come_to_the_cent(name, total, tax):
    sold = existing(currency="CAD")
    found = refund_document(recorded(name, "refunds"), recorded("order_refunded"), sold, ALBERTA)
    assert isinstance(found, Draft), found
    values = found.target.values
    assert values["TxnTaxDetail"]["TotalTax"] == D(tax)
    assert sum(line["Amount"] for line in values["Line"]) + D(tax) == D(total)


def test_a_recorded_order_whose_rates_nobody_has_mapped_is_held():
    found = order_document(recorded("order_guest_coupon_two_taxes"), replace(GB, home_currency="CAD"))
    assert isinstance(found, Held)
    assert (found.code, "GST (rate 1) + LOCAL (rate 4)" in found.detail) == ("tax_rate_unmapped", True)


def test_a_page_of_recorded_orders_becomes_documents_or_is_held_by_name():
    page = bodies.from_json((RECORDED / "order_list_page.json").read_bytes())
    rows = page if isinstance(page, list) else next(one for one in page.values() if isinstance(one, list))
    orders = [canonical_of("woocommerce", records.source_record("orders", row), {}) for row in rows]
    assert orders
    for order in orders:
        found = order_document(order, ALBERTA)
        if isinstance(found, Draft):
            tax = found.target.values["TxnTaxDetail"]["TotalTax"]
            assert sum(line["Amount"] for line in found.target.values["Line"]) + tax == order.total
        else:
            assert isinstance(found, Held | Nothing)
