"""What a company's books tell, in canonical form: every seeded document of each kind of company, and single ones."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from connections import bodies
from connections.errors import RejectedRecord
from connections.providers.base import SourceRecord
from connections.providers.quickbooks import records
from sync.canonical import Application, Canonical, Order, Payment, Refund, content_hash, from_json, to_json
from sync.sources import canonical_of
from tests.connections.sandbox.quickbooks import Company, QuickBooks, line

D = Decimal
FACTS = {"preferences": {"home_currency": "USD"}}
TAKEN = {"Id": "145", "SyncToken": "0", "MetaData": {"CreateTime": "2026-11-02T04:15:05-08:00"}}


def told(kind: str, row: dict, facts: dict | None = None) -> Any:
    return canonical_of("quickbooks", records.source_record(kind, row), FACTS if facts is None else facts)


def exact(shown: dict) -> dict:
    """What the simulator's client has read, as ours reads it."""
    return bodies.from_json(bodies.to_json(shown))


@pytest.fixture
def books(simulator):
    provider = QuickBooks(simulator.url)
    yield provider
    provider.http.close()


def everything(company: Company) -> list[tuple[str, dict]]:
    kinds = ("Customer", "Vendor", "Item", "Invoice", "SalesReceipt", "Payment", "Bill")
    return [
        (kind, exact(row)) for kind in kinds for row in company.query(f"SELECT * FROM {kind} MAXRESULTS 1000")[kind]
    ]


@pytest.mark.parametrize("preset", ["us_ast", "us_manual", "gb_vat", "ca_multi"])
def test_everything_in_the_books_is_understood_and_every_document_adds_up(books, preset):
    found: list[Canonical] = [told(kind, row) for kind, row in everything(books.company(preset=preset))]
    assert len(found) > 80
    assert [one.source_id for one in found if not isinstance(one, Order | Payment) and hasattr(one, "gap")]
    assert [(one.source_id, one.gap()) for one in found if hasattr(one, "gap") and one.gap()] == []
    assert [from_json(to_json(one)) for one in found] == found
    assert len({content_hash(one) for one in found}) == len(found)


def sold(company: Company, entity: str, *lines: dict, **more: Any) -> Any:
    body = company.sale(1) | ({"Line": list(lines)} if lines else {}) | more
    return told(entity, exact(company.made(entity, body)))


def test_a_receipt_of_a_discount_shipping_and_tax_adds_up(books):
    company = books.company(preset="us_ast")
    item = company.item()["Id"]
    off = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}
    note = {"DetailType": "DescriptionOnly", "Description": "Handle with care", "DescriptionLineDetail": {}}
    order = sold(
        company, "SalesReceipt", line(100, item, "TAX"), line(6, "SHIPPING_ITEM_ID"), note, off, DocNumber="WC-1"
    )
    assert [(one.kind, one.total) for one in order.lines] == [
        ("product", 100),
        ("shipping", 6),
        ("text", 0),
        ("discount", D("-10.6")),
    ]
    assert (order.subtotal, order.shipping_total, order.discount_total, order.tax_total) == (
        100,
        6,
        D("10.6"),
        D("8.25"),
    )
    assert (order.total, order.gap(), order.gaps()) == (D("103.65"), 0, {})
    assert (order.document, order.status, order.number, order.balance) == ("sales_receipt", "paid", "WC-1", 0)
    assert (order.paid_on, order.ordered_at) == (order.ordered_on, None)
    assert order.lines[3].description == "Discount 10%"


def test_lines_of_gross_prices_are_net_with_their_tax_beside_them(books):
    company = books.company(preset="gb_vat")
    item = company.item()["Id"]
    lines = [line("8.33", item, "2", TaxInclusiveAmt="10.00"), line("8.33", item, "2", TaxInclusiveAmt="10.00")]
    order = sold(company, "Invoice", *lines, GlobalTaxCalculation="TaxInclusive")
    assert [(one.total, one.tax_total, one.tax_class) for one in order.lines] == [(D("8.33"), D("1.67"), "2")] * 2
    assert (order.prices_include_tax, order.tax_total, order.total, order.gaps()) == (True, D("3.34"), 20, {})
    assert [(tax.rate_id, tax.percent, tax.total) for tax in order.tax_lines] == [("1", 20, D("3.34"))]


def test_an_invoice_is_open_then_partly_paid_then_paid_and_its_payments_say_for_what(books):
    company = books.company(preset="us_ast")
    sale = company.sale(100)
    made = company.made("Invoice", sale)
    paid = {"CustomerRef": sale["CustomerRef"], "TotalAmt": 30}
    link = {"Amount": 30, "LinkedTxn": [{"TxnId": made["Id"], "TxnType": "Invoice"}]}
    assert (told("Invoice", exact(made)).status, told("Invoice", exact(made)).balance) == ("open", 100)
    payment = told("Payment", exact(company.made("Payment", paid | {"Line": [link]})))
    assert (payment.order_id, payment.total, payment.unapplied, payment.gap()) == (f"Invoice:{made['Id']}", 30, 0, 0)
    assert told("Invoice", exact(company.read("Invoice", made["Id"]))).status == "partly paid"
    rest = told("Payment", exact(company.made("Payment", paid | {"TotalAmt": 80, "Line": [link | {"Amount": 70}]})))
    assert (rest.unapplied, rest.status, rest.gap()) == (10, "partly applied", 0)
    whole = told("Invoice", exact(company.read("Invoice", made["Id"])))
    assert (whole.status, whole.balance) == ("paid", 0)


def test_a_credit_memo_applied_by_a_payment_of_nothing_adds_up(books):
    company = books.company(preset="us_ast")
    sale = company.sale(100)
    made, credit = company.made("Invoice", sale), company.made("CreditMemo", sale)
    links = [
        {"Amount": 100, "LinkedTxn": [{"TxnId": one["Id"], "TxnType": kind}]}
        for kind, one in (("Invoice", made), ("CreditMemo", credit))
    ]
    payment = told(
        "Payment", exact(company.made("Payment", {"CustomerRef": sale["CustomerRef"], "TotalAmt": 0, "Line": links}))
    )
    assert [(one.is_credit, one.amount) for one in payment.applications] == [(False, 100), (True, 100)]
    assert (payment.total, payment.gap(), payment.order_id) == (0, 0, f"Invoice:{made['Id']}")
    refund = told("CreditMemo", exact(company.read("CreditMemo", credit["Id"])))
    assert (refund.document, refund.status, refund.balance, refund.total) == ("credit_memo", "applied", 0, 100)


@pytest.mark.parametrize("kind", ["Invoice", "SalesReceipt"])
def test_what_was_voided_is_there_and_comes_to_nothing(books, kind):
    company = books.company(preset="us_ast")
    made = company.made(kind, company.sale(100, PrivateNote="WC order 7"))
    options = {"operation": "void"} if kind == "Invoice" else {"operation": "update", "include": "void"}
    company.post(kind.lower(), {"Id": made["Id"], "SyncToken": "0", "sparse": True}, **options)
    order = told(kind, exact(company.read(kind, made["Id"])))
    assert (order.is_voided, order.status, order.total, order.gap()) == (True, "voided", 0, 0)


def test_a_note_that_begins_like_that_of_a_voided_document_voids_none(books):
    company = books.company(preset="us_ast")
    order = sold(company, "Invoice", PrivateNote="Voided the old one")
    assert (order.is_voided, order.status) == (False, "open")


def test_a_refund_receipt_is_a_refund_of_an_order_that_it_does_not_name(books):
    company = books.company(preset="us_ast")
    back = {"DepositToAccountRef": {"value": "35"}, "CustomerMemo": {"value": "broken"}}
    refund = sold(company, "RefundReceipt", **back)
    assert isinstance(refund, Refund)
    assert (refund.document, refund.order_id, refund.total, refund.reason) == ("refund_receipt", "", 1, "broken")
    assert (refund.gap(), refund.is_paid_back) == (0, True)


# --- single fields ---
def receipt(**more: Any) -> Order:
    return told("SalesReceipt", TAKEN | {"TotalAmt": D(1)} | more)


def test_kinds_that_count_alike_are_told_apart_by_their_ids():
    assert (receipt().source_id, told("Invoice", TAKEN | {"TotalAmt": D(1)}).source_id) == (
        "SalesReceipt:145",
        "Invoice:145",
    )
    assert told("Customer", TAKEN).source_id == "145"


def test_times_are_utc_and_days_the_companys_own():
    order = receipt(TxnDate="2026-11-01")
    assert order.created_at == datetime(2026, 11, 2, 12, 15, 5, tzinfo=UTC)
    assert order.ordered_on == date(2026, 11, 1)


def test_a_company_of_one_currency_may_leave_it_out():
    assert receipt().currency == "USD"
    assert receipt(CurrencyRef={"value": "EUR"}, ExchangeRate=D("1.1")).exchange_rate == D("1.1")
    with pytest.raises(RejectedRecord) as error:
        told("Bill", TAKEN | {"TotalAmt": D(1)}, {})
    assert list(error.value.fields or {}) == ["CurrencyRef.value"]


def test_a_bundle_is_the_lines_that_it_holds():
    inner = {
        "Id": "1",
        "Amount": D(4),
        "DetailType": "SalesItemLineDetail",
        "SalesItemLineDetail": {"ItemRef": {"value": "7"}},
    }
    group = {"GroupItemRef": {"value": "9"}, "Quantity": D(1), "Line": [inner, inner | {"Id": "2"}]}
    bundle = {"Id": "5", "DetailType": "GroupLineDetail", "GroupLineDetail": group}
    order = receipt(Line=[bundle], TotalAmt=D(8))
    assert [(one.line_id, one.product_id, one.total) for one in order.lines] == [("5/1", "7", 4), ("5/2", "7", 4)]
    assert order.gap() == 0


def test_an_item_is_a_product_of_its_kind():
    item = {
        "Id": "7",
        "Name": "Mug",
        "FullyQualifiedName": "Kitchen:Mug",
        "Type": "NonInventory",
        "UnitPrice": D("5.5"),
    }
    product = told("Item", item | {"QtyOnHand": D(3), "Active": False, "ParentRef": {"value": "2"}})
    assert (product.name, product.kind, product.price, product.currency) == (
        "Kitchen:Mug",
        "non_inventory",
        D("5.5"),
        "USD",
    )
    assert (product.stock_quantity, product.is_active, product.status, product.parent_id) == (
        None,
        False,
        "inactive",
        "2",
    )
    assert told("Item", item | {"TrackQtyOnHand": True, "QtyOnHand": D(3)}).stock_quantity == 3


def test_a_customer_is_told_with_their_currency_and_addresses():
    row = {
        "DisplayName": "Ana Diaz",
        "GivenName": "Ana",
        "FamilyName": "Diaz",
        "Mobile": {"FreeFormNumber": "+1 555 0100"},
        "PrimaryEmailAddr": {"Address": "ana@example.com"},
        "BillAddr": {"Line1": "1 Main St", "City": "Austin", "CountrySubDivisionCode": "TX", "PostalCode": "73301"},
        "CurrencyRef": {"value": "EUR"},
        "Balance": D("12.50"),
    }
    customer = told("Customer", TAKEN | row)
    assert (customer.name, customer.email, customer.phone) == ("Ana Diaz", "ana@example.com", "+1 555 0100")
    assert (customer.currency, customer.balance, customer.is_active) == ("EUR", D("12.5"), True)
    assert (customer.billing.line1, customer.billing.region) == ("1 Main St", "TX")


def test_a_bill_names_its_vendor_its_accounts_and_what_is_open():
    detail = {"AccountRef": {"value": "60", "name": "Rent or Lease"}, "TaxCodeRef": {"value": "4"}}
    paid = {
        "Id": "1",
        "Amount": D(10),
        "DetailType": "AccountBasedExpenseLineDetail",
        "AccountBasedExpenseLineDetail": detail,
    }
    row = {
        "VendorRef": {"value": "3", "name": "Kiln & Co"},
        "TotalAmt": D(10),
        "Balance": D(4),
        "Line": [paid],
        "DueDate": "2026-12-01",
    }
    bill = told("Bill", TAKEN | row)
    assert (bill.vendor_id, bill.vendor_name, bill.balance, bill.status) == ("3", "Kiln & Co", 4, "partly paid")
    assert (bill.lines[0].account_id, bill.lines[0].description, bill.due_on) == (
        "60",
        "Rent or Lease",
        date(2026, 12, 1),
    )


def test_a_payment_of_several_invoices_names_no_single_order():
    lines = [{"Amount": D(5), "LinkedTxn": [{"TxnId": one, "TxnType": "Invoice"}]} for one in ("1", "2")]
    payment = told("Payment", TAKEN | {"TotalAmt": D(10), "Line": lines, "PaymentRefNum": "ch_1"})
    assert (payment.order_id, payment.transaction_id, payment.status) == ("", "ch_1", "applied")
    assert payment.applications[1] == Application(document_id="Invoice:2", amount=D(5))


def test_what_was_deleted_is_nothing_to_sync():
    assert told("Invoice", {"Id": "145", "status": "Deleted"}) is None
    assert canonical_of("quickbooks", records.removed("orders", "Invoice:145"), FACTS) is None


@pytest.mark.parametrize(
    "change, path",
    [
        ({"TotalAmt": None}, "TotalAmt"),
        ({"TotalAmt": "ten"}, "TotalAmt"),
        ({"TxnDate": "tomorrow"}, "TxnDate"),
        ({"CustomerRef": "58"}, "CustomerRef"),
        ({"CustomerRef": {"value": {}}}, None),
        (
            {"Line": [{"Amount": D(1), "SalesItemLineDetail": 5, "DetailType": "SalesItemLineDetail"}]},
            "Line.0.SalesItemLineDetail",
        ),
        ({"TxnTaxDetail": {"TaxLine": [{"Amount": "x"}]}}, "TxnTaxDetail.TaxLine.0.Amount"),
        ({"MetaData": {"CreateTime": 5}}, "MetaData.CreateTime"),
    ],
)
def test_what_cannot_be_understood_is_named_by_its_path(change, path):
    if path is None:
        assert receipt(**change).customer_id == ""
        return
    with pytest.raises(RejectedRecord) as error:
        receipt(**change)
    assert list(error.value.fields or {}) == [path]


def test_a_record_of_no_kind_is_refused_and_not_guessed():
    with pytest.raises(RejectedRecord) as error:
        canonical_of("quickbooks", SourceRecord("orders", "145", TAKEN | {"TotalAmt": D(1)}), FACTS)
    assert list(error.value.fields or {}) == ["Id"]
