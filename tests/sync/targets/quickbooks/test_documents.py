"""Orders as documents: which one, with which lines, of which day, and when none is made."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from sync.canonical import Address, Discount, Line, LineTax, Order, TaxLine
from sync.targets.quickbooks import Draft, Existing, Held, Nothing, order_document, order_payment
from sync.targets.quickbooks.books import Gateway, TaxCode
from sync.targets.quickbooks.lines import priced
from tests.sync.targets.quickbooks.shops import CA, CLASSIC, GB, QUEBEC, US

D = Decimal
SHIRT = Line(
    line_id="1",
    description="Blue shirt - L",
    product_id="40",
    sku="SH-L",
    quantity=D(2),
    subtotal=D("40.00"),
    subtotal_tax=D("3.30"),
    total=D("36.00"),
    tax_total=D("2.97"),
    taxes=(LineTax(rate_id="1", total=D("2.97")),),
)
POST = Line(line_id="2", kind="shipping", description="Flat rate", subtotal=D("6.00"), total=D("6.00"))
ORDER = Order(
    source_id="1234",
    number="1234",
    status="processing",
    currency="USD",
    customer_id="77",
    customer_name="Ana Diaz",
    ordered_at=datetime(2026, 11, 2, 5, 30, tzinfo=UTC),
    ordered_on=date(2026, 11, 1),
    paid_at=datetime(2026, 11, 3, 6, 30, tzinfo=UTC),
    paid_on=date(2026, 11, 2),
    billing=Address(
        first_name="Ana", line1="1 Main St", city="Austin", region="TX", country="US", email="ana@example.com"
    ),
    lines=(SHIRT, POST),
    discounts=(Discount(code="fall10"),),
    tax_lines=(TaxLine(rate_id="1", label="VAT", percent=D(20), total=D("2.97")),),
    tax_total=D("2.97"),
    total=D("44.97"),
    payment_method="stripe",
    transaction_id="pi_3QABCDEF0123456789abcdefXYZ",
)
OWED = replace(ORDER, status="on-hold", paid_at=None, paid_on=None)


def draft(order: Order = ORDER, books=US, existing: Existing | None = None) -> Draft:
    found = order_document(order, books, existing)
    assert isinstance(found, Draft), found
    return found


def values(order: Order = ORDER, books=US) -> dict:
    return draft(order, books).target.values


def reason(order: Order = ORDER, books=US, existing: Existing | None = None) -> str:
    found = order_document(order, books, existing)
    assert isinstance(found, Held), found
    assert found.error().extra == {"reason": found.code}
    return found.code


def chosen(books=US, **options):
    return replace(books, options=replace(books.options, **options))


def rows(found: dict) -> list[tuple]:
    told = ((line, line["SalesItemLineDetail"]) for line in found["Line"])
    return [
        (line["Amount"], detail["TaxCodeRef"]["value"], detail.get("Qty"), detail.get("UnitPrice"))
        for line, detail in told
    ]


def existing(kind: str = "SalesReceipt", **more) -> Existing:
    total = D("44.97")
    known = {"version": "3", "currency": "USD", "dated_on": date(2026, 11, 2), "total": total, "customer_id": "58"}
    known["balance"] = total if kind == "Invoice" else D(0)
    return Existing(kind=kind, external_id=f"{kind}:145", **known | more)


# --- lines ---
def test_gross_sales_are_kept_and_what_was_taken_off_is_a_line_of_its_own():
    found = values()
    assert rows(found) == [
        (D("40.00"), "TAX", D(2), D(20)),
        (D("6.00"), "NON", None, None),
        (D("-4.00"), "TAX", None, None),
    ]
    assert found["Line"][2]["Description"] == "Discount: fall10"
    assert found["TxnTaxDetail"] == {"TotalTax": D("2.97")}


def test_net_lines_on_request():
    assert [row[0] for row in rows(values(books=chosen(discount_rule="net")))] == [D("36.00"), D("6.00")]


def test_what_is_taken_off_stands_apart_for_each_tax_code():
    book = replace(SHIRT, line_id="3", subtotal=D(10), total=D(9), tax_total=D(0), subtotal_tax=D(0), taxes=())
    found = values(replace(ORDER, lines=(SHIRT, book, POST), total=D("53.97")))
    assert [row[:2] for row in rows(found)[-2:]] == [(D("-4.00"), "TAX"), (D("-1.00"), "NON")]


@pytest.mark.parametrize(
    "amount, quantity, told",
    [
        ("10.00", "3", {"Qty": D(3), "UnitPrice": D("3.33333")}),
        ("9.99", "3", {"Qty": D(3), "UnitPrice": D("3.33")}),
        ("0.01", "3000", {"Qty": D(1), "UnitPrice": D("0.01")}),
        ("-4.00", "2", {"Qty": D(2), "UnitPrice": D(-2)}),
        ("5.00", "0.25", {"Qty": D("0.25"), "UnitPrice": D(20)}),
        ("5.00", "0", {}),
        ("5.00", "1E-9", {"Qty": D(1), "UnitPrice": D(5)}),
        ("5.00", "1E+30", {"Qty": D(1), "UnitPrice": D(5)}),
    ],
)
def test_the_amount_is_the_orders_and_quantity_and_price_only_explain_it(amount, quantity, told):
    found, words = priced(D(amount), D(quantity))
    assert found == told
    assert bool(words) == (found.get("Qty") == 1)


def test_a_quantity_that_no_price_reaches_is_told_in_words():
    many = replace(SHIRT, quantity=D(30001), subtotal=D("40.00"))
    found = values(replace(ORDER, lines=(many, POST)))["Line"][0]
    assert (found["SalesItemLineDetail"]["Qty"], found["Description"]) == (D(1), "30001 × Blue shirt - L")


def test_free_shipping_is_no_line_and_a_gift_is():
    gift = replace(SHIRT, subtotal=D(0), total=D(0), subtotal_tax=D(0), tax_total=D(0))
    free = replace(POST, subtotal=D(0), total=D(0))
    found = values(replace(ORDER, lines=(SHIRT, gift, free), total=D("38.97")))
    assert [row[0] for row in rows(found)] == [D("40.00"), D("0.00"), D("-4.00")]


def test_tips_and_redeemed_gift_cards_are_on_items_of_their_own():
    tip = Line(line_id="8", kind="fee", description="Tip", total=D(3), subtotal=D(3))
    card = Line(line_id="9", kind="fee", description="Gift Card", total=D(-10), subtotal=D(-10))
    order = replace(ORDER, lines=(SHIRT, POST, tip, card), total=D("37.97"))
    items = [line["SalesItemLineDetail"]["ItemRef"] for line in values(order)["Line"][2:4]]
    assert items == [{"value": "4"}, {"value": "7"}]
    tipped = values(order, replace(US, allows_tips=True))
    assert tipped["Line"][2]["SalesItemLineDetail"]["ItemRef"] == {"value": "GRATUITY_ITEM_ID"}


def test_a_cent_that_the_shops_own_sums_miss_is_on_the_rounding_line_and_flagged():
    found = draft(replace(ORDER, total=D("44.98")))
    last = found.target.values["Line"][-1]
    assert (last["Amount"], last["SalesItemLineDetail"]["ItemRef"]) == (D("0.01"), {"value": "5"})
    assert [flag.code for flag in found.flags] == ["rounding"]
    assert reason(replace(ORDER, total=D("45.97"))) == "parts_differ"
    assert reason(replace(ORDER, total=D("44.98")), chosen(rounding_limit=D(0))) == "parts_differ"


# --- taxes ---
def test_an_order_without_tax_has_no_taxable_line():
    """So that no company computes one for it."""
    plain = replace(SHIRT, tax_total=D(0))
    found = values(replace(ORDER, lines=(plain, POST), tax_total=D(0), total=D("42.00")))
    assert {row[1] for row in rows(found)} == {"NON"}
    assert found["TxnTaxDetail"] == {"TotalTax": D("0.00")}


def test_a_classic_company_files_the_tax_under_the_code_of_its_rates():
    lines = (replace(SHIRT, taxes=(LineTax(rate_id="21", total=D(2)), LineTax(rate_id="22", total=D("0.97")))), POST)
    found = values(replace(ORDER, lines=lines), CLASSIC)
    assert found["TxnTaxDetail"] == {"TxnTaxCodeRef": {"value": "2"}, "TotalTax": D("2.97")}
    assert reason(books=CLASSIC) == "tax_rate_unmapped"


def british(*lines: Line, **more) -> Order:
    return replace(ORDER, currency="GBP", lines=lines, **more)


TAXED = replace(SHIRT, subtotal=D(40), total=D(36), tax_total=D("7.20"), taxes=(LineTax(rate_id="1", total=D("7.20")),))
BRITISH = british(
    TAXED,
    POST,
    tax_lines=(TaxLine(rate_id="1", label="VAT", percent=D(20), total=D("7.20")),),
    tax_total=D("7.20"),
    total=D("49.20"),
)


def test_elsewhere_each_line_has_its_code_and_each_rate_its_tax():
    found = values(BRITISH, GB)
    assert [row[1] for row in rows(found)] == ["2", "5", "2"]
    assert found["GlobalTaxCalculation"] == "TaxExcluded"
    told = {
        line["TaxLineDetail"]["TaxRateRef"]["value"]: (line["Amount"], line["TaxLineDetail"]["NetAmountTaxable"])
        for line in found["TxnTaxDetail"]["TaxLine"]
    }
    assert told == {"1": (D("7.20"), D("36.00")), "7": (D("0.00"), D("6.00"))}


def test_a_rate_without_a_code_stops_the_order_and_is_named():
    other = replace(TAXED, taxes=(LineTax(rate_id="1", total=D(6)), LineTax(rate_id="9", total=D("1.20"))))
    order = replace(BRITISH, lines=(other, POST))
    found = order_document(order, GB)
    assert isinstance(found, Held)
    assert (found.code, "VAT (rate 1) + rate 9" in found.detail, "combined" in found.detail) == (
        "tax_rate_unmapped",
        True,
        True,
    )


def test_several_rates_on_a_line_need_a_code_that_says_which_rate_takes_which():
    both = (LineTax(rate_id="12", total=D("1.80")), LineTax(rate_id="13", total=D("2.52")))
    order = replace(BRITISH, currency="CAD", lines=(replace(TAXED, tax_total=D("4.32"), taxes=both), POST), tax_lines=(), tax_total=D("4.32"), total=D("46.32"))  # fmt: skip
    told = {
        line["TaxLineDetail"]["TaxRateRef"]["value"]: line["Amount"]
        for line in values(order, CA)["TxnTaxDetail"]["TaxLine"]
    }
    assert told == {"3": D("1.80"), "4": D("2.52"), "6": D("0.00")}
    rules = tuple(replace(rule, parts=()) for rule in CA.taxes.rules)
    assert reason(order, replace(CA, taxes=replace(CA.taxes, rules=rules))) == "tax_part_unmapped"


def test_compound_tax_is_one_code_of_what_both_come_to():
    taxes = (LineTax(rate_id="12", total=D("5.00")), LineTax(rate_id="14", total=D("9.98")))
    told = (TaxLine(rate_id="12", percent=D(5), total=D(5)), TaxLine(rate_id="14", percent=D("9.5"), is_compound=True, total=D("9.98")))  # fmt: skip
    goods = replace(TAXED, subtotal=D(100), total=D(100), tax_total=D("14.98"), taxes=taxes)
    order = replace(BRITISH, currency="CAD", lines=(goods,), tax_lines=told, tax_total=D("14.98"), total=D("114.98"))
    [line] = values(order, QUEBEC)["TxnTaxDetail"]["TaxLine"]
    assert (line["Amount"], line["TaxLineDetail"]["TaxPercent"]) == (D("14.98"), D("14.975"))


def test_a_rate_that_the_shop_has_changed_under_its_id_no_longer_fits_its_code():
    raised = replace(BRITISH.tax_lines[0], percent=D(21))
    assert reason(replace(BRITISH, tax_lines=(raised,)), GB) == "tax_percent_differs"


def test_what_a_shop_rounds_in_the_end_is_told_by_its_rates_not_by_its_lines():
    order = replace(BRITISH, tax_total=D("7.21"), total=D("49.21"), tax_lines=(replace(BRITISH.tax_lines[0], total=D("7.21")),))  # fmt: skip
    assert values(order, GB)["TxnTaxDetail"]["TaxLine"][0]["Amount"] == D("7.21")
    far = replace(order, tax_total=D("8.20"), total=D("50.20"), tax_lines=(replace(BRITISH.tax_lines[0], total=D("8.20")),))  # fmt: skip
    assert reason(far, GB) == "tax_parts_differ"


@pytest.mark.parametrize(
    "order, books, code",
    [
        (ORDER, replace(US, uses_sales_tax=False), "sales_tax_off"),
        (ORDER, replace(US, automated_tax=False), "sales_tax_not_set_up"),
        (replace(ORDER, lines=(replace(SHIRT, tax_total=D(0), subtotal_tax=D(0)), POST)), US, "tax_unexplained"),
        (replace(BRITISH, lines=(replace(TAXED, taxes=()), POST)), GB, "tax_unexplained"),
        (BRITISH, replace(GB, taxes=replace(GB.taxes, untaxed="")), "tax_untaxed_unmapped"),
        (BRITISH, replace(GB, taxes=replace(GB.taxes, codes={"2": TaxCode(code_id="2")})), "tax_code_unusable"),
        (replace(ORDER, currency="EUR"), US, "currency_not_kept"),
        (ORDER, replace(US, gateways=()), "gateway_unmapped"),
        (ORDER, replace(US, items=replace(US.items, discount="")), "item_missing"),
        (ORDER, replace(US, items=replace(US.items, shipping=""), allows_shipping=False), "item_missing"),
        (ORDER, replace(US, income_account=""), "income_account_missing"),
        (replace(ORDER, customer_id=""), chosen(guest_rule="one_customer"), "guest_customer_missing"),
        (replace(ORDER, total=D("44.975")), US, "amount_too_fine"),
        (replace(ORDER, total=D("-1")), US, "total_negative"),
        (replace(ORDER, lines=(replace(SHIRT, subtotal=D(10) ** 12),)), US, "amount_too_large"),
        (replace(ORDER, paid_at=None, paid_on=date(2026, 10, 31)), replace(US, closed_on=date(2026, 10, 31)), "books_closed"),
        (replace(ORDER, status="pending"), US, "status_contradicts_payment"),
        (replace(OWED, status="in-the-workshop"), US, "status_unknown"),
        (replace(ORDER, status="cancelled"), US, "cancelled_after_payment"),
    ],
)  # fmt: skip
def test_what_cannot_be_booked_truly_is_held_by_name(order, books, code):
    assert reason(order, books) == code


def test_a_company_abroad_without_tax_has_no_codes():
    plain = replace(BRITISH, lines=(replace(TAXED, tax_total=D(0), taxes=()), POST), tax_total=D(0), total=D(42))
    found = values(plain, replace(GB, uses_sales_tax=False))
    assert found["GlobalTaxCalculation"] == "NotApplicable"
    assert all("TaxCodeRef" not in line["SalesItemLineDetail"] for line in found["Line"])


# --- currencies ---
def test_an_order_in_another_currency_is_of_a_customer_in_that_currency():
    yen = replace(ORDER, currency="JPY", lines=(replace(SHIRT, total=D(3600), subtotal=D(4000), tax_total=D(0), taxes=()),), tax_lines=(), tax_total=D(0), total=D(3600))  # fmt: skip
    found = draft(yen, CA)
    customer = found.needs[0]
    assert (found.target.values["CurrencyRef"], customer.source_id) == ({"value": "JPY"}, "77@JPY")
    assert (customer.create.values["DisplayName"], customer.create.values["CurrencyRef"]) == ("Ana Diaz (JPY)", {"value": "JPY"})  # fmt: skip
    assert rows(found.target.values)[0][0] == D("4000.00")
    foreign = Gateway(gateway="stripe", account_id="41")
    euro = replace(CA.accounts["41"], currency="EUR")
    assert reason(yen, replace(CA, gateways=(foreign,), accounts={"41": euro})) == "account_currency"


def test_thousandths_are_not_rounded_to_cents():
    dinar = replace(ORDER, currency="KWD", lines=(replace(SHIRT, total=D("36.005"), subtotal=D("36.005")),), total=D("38.975"), tax_lines=())  # fmt: skip
    assert reason(dinar, CA) == "amount_too_fine"


# --- what else stands on it ---
def test_a_receipt_says_when_how_and_by_which_number_it_was_paid():
    found = values()
    assert (draft().target.entity, found["TxnDate"]) == ("SalesReceipt", "2026-11-02"), "the shop's day, not UTC's"
    assert (found["DocNumber"], found["PaymentRefNum"]) == ("WC-1234", "EF0123456789abcdefXYZ")
    assert (found["DepositToAccountRef"], found["PaymentMethodRef"]) == ({"value": "41"}, {"value": "3"})
    assert found["PrivateNote"] == "WC order 1234 / shop.example.com / pi_3QABCDEF0123456789abcdefXYZ"
    assert found["ShipAddr"] == {
        "Line1": "1 Main St",
        "City": "Austin",
        "CountrySubDivisionCode": "TX",
        "Country": "USA",
    }
    assert "CustomerMemo" not in found


def test_a_number_of_ours_is_sent_only_where_the_company_numbers_by_hand():
    assert "DocNumber" not in values(books=replace(US, has_own_numbers=False))
    long = values(replace(ORDER, number="2026/SHOP-NORTH-000001234"))
    assert long["DocNumber"] == "WC-OP-NORTH-000001234", "numbers differ at their end"
    assert long["PrivateNote"].startswith("WC order 2026/SHOP-NORTH-000001234 (id 1234) / ")


def test_the_customers_note_is_sent_on_request():
    noted = replace(ORDER, memo="x" * 2000)
    assert values(noted, chosen(with_customer_note=True))["CustomerMemo"] == {"value": "x" * 1000}


def test_closed_books_may_have_it_on_their_first_open_day():
    found = draft(books=chosen(replace(US, closed_on=date(2026, 11, 30)), closed_rule="next_open_day"))
    assert found.target.values["TxnDate"] == "2026-12-01"
    assert "moved_day" in {flag.code for flag in found.flags}


def test_a_day_is_the_shops_own():
    zone = replace(US, shop=replace(US.shop, timezone="Asia/Tokyo"))
    assert values(books=zone)["TxnDate"] == "2026-11-03"


# --- which document ---
@pytest.mark.parametrize(
    "order, options, kind",
    [
        (ORDER, {}, "SalesReceipt"),
        (replace(ORDER, status="refunded"), {}, "SalesReceipt"),
        (replace(ORDER, status="shipped"), {}, "SalesReceipt"),
        (OWED, {}, "Invoice"),
        (replace(OWED, status="completed"), {}, "Invoice"),
        (ORDER, {"document_rule": "invoices"}, "Invoice"),
        (OWED, {"document_rule": "receipts"}, "unpaid"),
        (replace(OWED, status="pending"), {}, "unpaid"),
        (replace(OWED, status="failed"), {}, "unpaid"),
        (replace(OWED, status="cancelled"), {}, "cancelled"),
        (replace(ORDER, ordered_on=date(2025, 12, 31)), {}, "before_start"),
        (replace(ORDER, lines=(), total=D(0), tax_total=D(0)), {}, "empty"),
    ],
)
def test_paid_orders_are_receipts_owed_ones_invoices_and_others_nothing(order, options, kind):
    found = order_document(order, chosen(**options))
    assert (found.target.entity if isinstance(found, Draft) else found.why) == kind


def test_an_invoice_is_of_the_day_of_the_order_and_has_no_account():
    found = values(replace(OWED, due_on=date(2026, 12, 1)))
    assert (found["TxnDate"], found["DueDate"]) == ("2026-11-01", "2026-12-01")
    assert "DepositToAccountRef" not in found
    assert "PaymentRefNum" not in found


# --- changes ---
def test_a_change_carries_all_lines_and_the_tax_but_neither_day_nor_number():
    known = existing(digest=draft().digest)
    assert order_document(ORDER, US, known) == Nothing("unchanged")
    more = replace(ORDER, lines=(replace(SHIRT, subtotal=D(41), total=D(37)), POST), total=D("45.97"))
    found = draft(more, existing=known).target
    assert (found.external_id, found.version, len(found.values["Line"])) == ("SalesReceipt:145", "3", 3)
    assert "TxnTaxDetail" in found.values
    assert not {"TxnDate", "DocNumber", "CurrencyRef"} & set(found.values)


def test_what_does_not_change_the_document_changes_nothing():
    """Orders go from processing to completed long after their money was deposited."""
    known = existing(digest=draft().digest, is_deposited=True)
    assert order_document(replace(ORDER, status="completed"), US, known) == Nothing("unchanged")


@pytest.mark.parametrize(
    "order, known, code",
    [
        (ORDER, existing(is_deposited=True), "deposited"),
        (ORDER, existing(dated_on=date(2025, 12, 31)), "books_closed"),
        (ORDER, existing(is_voided=True), "voided_in_books"),
        (ORDER, existing(currency="EUR"), "currency_changed"),
        (OWED, existing(), "payment_withdrawn"),
        (OWED, existing("Invoice", total=D(80), balance=D(20)), "less_than_paid"),
        (replace(OWED, status="failed"), existing("Invoice"), "no_longer_owed"),
        (replace(OWED, status="cancelled"), existing("Invoice", is_linked=True), "cancelled_after_payment"),
        (replace(OWED, status="cancelled"), existing("Invoice", balance=D(1)), "cancelled_after_payment"),
        (replace(ORDER, status="cancelled"), existing(), "cancelled_after_payment"),
    ],
)
def test_a_document_that_people_have_built_on_is_not_changed_behind_them(order, known, code):
    assert reason(order, replace(US, closed_on=date(2025, 12, 31)), known) == code


def test_an_order_that_is_paid_later_keeps_its_invoice():
    known = existing("Invoice", digest=draft(OWED).digest)
    assert order_document(ORDER, US, known) == Nothing("unchanged")
    paid = order_payment(ORDER, known, US)
    assert isinstance(paid, Draft)
    assert paid.target.values["Line"] == [{"Amount": D("44.97"), "LinkedTxn": [{"TxnId": "145", "TxnType": "Invoice"}]}]
    assert (paid.target.values["TxnDate"], paid.target.values["DepositToAccountRef"]) == ("2026-11-02", {"value": "41"})
    assert order_payment(ORDER, known, US, existing=existing("Payment")) == Nothing("unchanged")
    assert order_payment(ORDER, known, US, credited=D("44.97")) == Nothing("settled")
