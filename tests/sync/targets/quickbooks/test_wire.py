"""Documents in the books of a simulated company, by our client over HTTP: what is there comes to what the shop says."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from sync.canonical import rounded
from sync.targets.quickbooks import (
    Agrees,
    Draft,
    Existing,
    Held,
    Mismatch,
    Nothing,
    RoundingLine,
    credit_application,
    gaps,
    order_document,
    order_payment,
    proof,
    refund_document,
    with_rounding,
)
from tests.contract.quickbooks import Company
from tests.sync.targets.quickbooks.shops import KINDS, Case, back, case
from tests.sync.targets.quickbooks.wire import CA, CLASSIC, GB, US, Ledger

pytestmark = [pytest.mark.usefixtures("servers"), pytest.mark.django_db]
D = Decimal
COMPANIES = {US: "us", CLASSIC: "classic", GB: "gb", CA: "ca"}
YEN = {CA: "yen"}


@pytest.fixture
def ledger(intuit, settings):
    """A company to write to. The simulator does not limit us here, so we do not either."""
    settings.QUICKBOOKS_PER_SECOND = settings.QUICKBOOKS_PER_MINUTE = settings.QUICKBOOKS_BATCHES_PER_MINUTE = 100_000
    return lambda realm: Ledger(Company(intuit, realm))


def cases(name: str, count: int, *, first: int = 0) -> list[Case]:
    kinds = tuple(kind for kind in KINDS if kind.name == name)
    return [case(seed, kinds) for seed in range(first, first + count)]


def in_books(made: Case, books) -> Case:
    """The same order for the books as they were read."""
    return replace(
        made, books=replace(books, options=replace(books.options, discount_rule=made.books.options.discount_rule))
    )


def whole(name: str, *, first: int = 0) -> Case:
    """One that is paid, with tax, and of which nothing keeps it from the books."""
    return next(
        made for made in cases(name, 60, first=first)
        if not made.reasons and made.order.tax_total > 1 and made.order.paid_at and not made.order.gap()
    )  # fmt: skip


@pytest.mark.parametrize("realm", [US, CLASSIC, GB, CA], ids=COMPANIES.get)
def test_what_is_in_the_books_is_what_the_shop_says(ledger, realm):
    books = ledger(realm)
    assert gaps(books.books) == []
    orders = [in_books(made, books.books) for made in cases(COMPANIES[realm], 10)]
    if realm in YEN:
        orders += [in_books(made, books.books) for made in cases(YEN[realm], 5, first=100)]
    drafts = {}
    for made in orders:
        found = order_document(made.order, made.books)
        if isinstance(found, Draft):
            drafts[made.order] = found
        else:
            assert isinstance(found, Held)
            assert found.code in made.reasons, (found, made.seed)
    assert len(drafts) >= 7
    for order, written in zip(drafts, books.write(*drafts.values()), strict=True):
        assert written.error is None, (order.source_id, written.error, drafts[order])
        tax = written.payload["TxnTaxDetail"]["TotalTax"]
        assert (written.total, tax) == (order.total, order.tax_total)
        assert proof(order, written.total, tax, books.books) == Agrees()


def test_shipping_is_on_the_forms_own_line_where_there_is_no_item_for_it(ledger):
    books = ledger(US)
    made = next(made for made in cases("us", 40) if not made.reasons and made.order.shipping_total)
    there = books.written(order_document(made.order, books.books))
    rows = books.client.read("SalesReceipt" if there.kind == "SalesReceipt" else "Invoice", there.number)["Line"]
    items = [row["SalesItemLineDetail"]["ItemRef"]["value"] for row in rows if "SalesItemLineDetail" in row]
    assert "SHIPPING_ITEM_ID" in items
    assert there.total == made.order.total


# --- the life of an order ---
def test_an_order_that_is_owed_is_an_invoice_until_its_payment_comes(ledger):
    books = ledger(GB)
    paid = whole("gb").order
    owed = replace(paid, status="on-hold", paid_at=None, paid_on=None)
    invoice = books.written(order_document(owed, books.books))
    assert (invoice.kind, invoice.balance) == ("Invoice", paid.total)
    assert order_payment(owed, invoice, books.books) == Nothing("unpaid")
    again = order_document(paid, books.books, invoice)
    assert again == Nothing("unchanged"), "paying changes nothing of the invoice itself"
    payment = books.written(order_payment(paid, invoice, books.books))
    assert payment.total == paid.total
    settled = books.client.read("Invoice", invoice.number)
    assert settled["Balance"] == 0
    now = Existing.of("Invoice", invoice.external_id, settled)
    assert order_payment(paid, now, books.books) == Nothing("settled")


def test_an_unpaid_order_that_is_cancelled_has_its_invoice_voided(ledger):
    books = ledger(US)
    owed = replace(whole("us").order, status="on-hold", paid_at=None, paid_on=None)
    invoice = books.written(order_document(owed, books.books))
    gone = replace(owed, status="cancelled", is_voided=True)
    [voided] = books.write(order_document(gone, books.books, invoice))
    assert (voided.outcome, voided.total) == ("removed", 0)
    there = Existing.of("Invoice", invoice.external_id, voided.payload)
    assert there.is_voided
    assert order_document(gone, books.books, there) == Nothing("unchanged")


def test_an_edited_order_is_changed_with_all_of_its_lines_and_its_tax(ledger):
    books = ledger(GB)
    order = whole("gb").order
    receipt = books.written(order_document(order, books.books))
    first, *rest = order.lines
    more = replace(first, subtotal=first.subtotal + 10, total=first.total + 10)
    edited = replace(order, lines=(more, *rest), total=order.total + 10)
    changed = books.written(order_document(edited, books.books, receipt))
    assert (changed.total, changed.external_id) == (edited.total, receipt.external_id)
    assert changed.dated_on == receipt.dated_on
    rows = books.client.read("SalesReceipt", receipt.number)
    assert rows["TxnTaxDetail"]["TotalTax"] == order.tax_total, "the shop's, not what the new lines would come to"


@pytest.mark.parametrize("realm", [US, GB, CA], ids=COMPANIES.get)
def test_a_refund_of_a_paid_order_comes_out_of_where_the_money_came_to(ledger, realm):
    books = ledger(realm)
    made = whole(COMPANIES[realm])
    order = made.order
    receipt = books.written(order_document(order, books.books))
    refund = back(made, 880, D("2.00"))
    there = books.written(refund_document(refund, order, receipt, books.books))
    assert (there.kind, there.total) == ("RefundReceipt", refund.total)
    row = books.client.read("RefundReceipt", there.number)
    assert row["DepositToAccountRef"]["value"] == "41"
    assert row["TxnTaxDetail"]["TotalTax"] == rounded(refund.tax_total, 2)
    assert row["PrivateNote"].startswith(f"WC refund 880 of order {order.number} / shop.example.com\nReview: 2")


def test_a_refund_of_an_unpaid_order_is_a_credit_set_against_its_invoice(ledger):
    books = ledger(GB)
    made = whole("gb")
    owed = replace(made.order, status="on-hold", paid_at=None, paid_on=None)
    invoice = books.written(order_document(owed, books.books))
    refund = back(made, 881)
    credit = books.written(refund_document(refund, owed, invoice, books.books))
    assert (credit.kind, credit.balance) == ("CreditMemo", refund.total)
    books.written(credit_application(refund, credit, invoice, books.books))
    now = Existing.of("Invoice", invoice.external_id, books.client.read("Invoice", invoice.number))
    assert now.balance == owed.total - refund.total
    left = Existing.of("CreditMemo", credit.external_id, books.client.read("CreditMemo", credit.number))
    assert credit_application(refund, left, now, books.books) == Nothing("applied")
    paid = replace(owed, status="processing", paid_at=datetime(2026, 11, 25, tzinfo=UTC))
    assert isinstance(order_payment(paid, now, books.books), Held), "the whole of it is more than what is open"
    payment = books.written(order_payment(paid, now, books.books, credited=refund.total))
    assert payment.total == now.balance


# --- the proof ---
def test_a_cent_that_the_books_have_otherwise_goes_on_the_rounding_line(ledger):
    """A company that computes its own tax, as if it had not taken ours."""
    books = ledger(GB)
    order = whole("gb").order
    draft = order_document(order, books.books)
    values = {name: value for name, value in draft.target.values.items() if name != "TxnTaxDetail"}
    off = replace(order, total=order.total + D("0.02"))
    [written] = books.write(replace(draft, target=replace(draft.target, values=values)))
    tax = written.payload["TxnTaxDetail"]["TotalTax"]
    found = proof(off, written.total, tax, books.books)
    assert isinstance(found, RoundingLine)
    lines = with_rounding(draft.target.values["Line"], found.amount, books.books)
    mended = replace(draft.target, values={"Line": lines}, external_id=written.external_id, version=written.version)
    [again] = books.write(replace(draft, target=mended))
    assert again.total == off.total
    assert (
        proof(off, again.total, again.payload["TxnTaxDetail"]["TotalTax"], books.books, rounding=found.amount)
        == Agrees()
    )


def test_a_company_that_drops_the_tax_is_a_mismatch_with_both_sums(ledger):
    books = ledger(US)
    order = whole("us").order
    draft = order_document(order, books.books)
    books.company.state(preferences={"TaxPrefs": {"UsingSalesTax": False}})
    [written] = books.write(draft)
    found = proof(order, written.total, (written.payload.get("TxnTaxDetail") or {}).get("TotalTax"), books.books)
    assert found == Mismatch(order.total, order.total - order.tax_total, order.tax_total, D(0))
    knowing = order_document(order, books.read())
    assert isinstance(knowing, Held)
    assert knowing.code == "sales_tax_off"
