"""The worked examples of docs/explanation/accounting.md are what the code makes of the same orders."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from sync.canonical import Discount, Line, LineTax, Order, Refund, TaxLine
from sync.targets.quickbooks import Draft, Existing, Held, order_document, order_payment, refund_document
from sync.targets.quickbooks.books import Account, BookRate, Books, Gateway, Items, Shop, TaxCode, Taxes, TaxRule

D = Decimal
PAGE = Path(django_settings.BASE_DIR) / "docs" / "explanation" / "accounting.md"
NAMES = {"i1": "Any product", "i2": "Shipping", "i3": "Discounts", "i4": "Fees", "i5": "Rounding", "i6": "Refunds", "i7": "Gift cards"}  # fmt: skip
US = Books(
    country="US",
    home_currency="USD",
    has_own_numbers=True,
    uses_sales_tax=True,
    automated_tax=True,
    start_on=date(2026, 1, 1),
    income_account="79",
    accounts={"41": Account(account_id="41")},
    gateways=(Gateway(gateway="*", account_id="Card clearing"),),
    items=Items(fallback="i1", shipping="i2", discount="i3", fee="i4", rounding="i5", refund="i6", gift_card="i7"),
    shop=Shop(site="shop.example.com", timezone="America/Edmonton"),
)
US = replace(US, options=replace(US.options, gift_cards=frozenset({"gift card"})))


def code(name: str, *rates: tuple[str, str]) -> tuple[str, TaxCode]:
    return name, TaxCode(code_id=name, name=name, rates=tuple(BookRate(rate_id=one, percent=D(percent)) for one, percent in rates))  # fmt: skip


UK = replace(
    US,
    country="GB",
    home_currency="GBP",
    automated_tax=None,
    taxes=Taxes(
        rules=(TaxRule(shop_rates=frozenset({"1"}), code_id="20.0% S"), TaxRule(shop_rates=frozenset({"2"}), code_id="5.0% R")),
        untaxed="Exempt",
        codes=dict((code("20.0% S", ("VAT 20 %", "20")), code("5.0% R", ("VAT 5 %", "5")), code("Exempt", ("Exempt", "0")))),
    ),
)  # fmt: skip
QUEBEC = replace(
    UK,
    country="CA",
    home_currency="CAD",
    taxes=Taxes(
        rules=(TaxRule(shop_rates=frozenset({"5", "6"}), code_id="GST/QST"),),
        untaxed="Exempt",
        codes=dict((code("GST/QST", ("GST + QST", "14.975")), code("Exempt", ("Exempt", "0")))),
    ),
)


def goods(name: str, quantity: int, subtotal: str, total: str, *taxes: tuple[str, str]) -> Line:
    return Line(
        line_id=name,
        description=name,
        product_id=name,
        quantity=D(quantity),
        subtotal=D(subtotal),
        total=D(total),
        tax_total=sum((D(tax) for _rate, tax in taxes), D(0)),
        taxes=tuple(LineTax(rate_id=rate, total=D(tax)) for rate, tax in taxes),
    )


def plain(kind, name: str, total: str, *taxes: tuple[str, str]) -> Line:
    return replace(goods(name, 1, total, total, *taxes), kind=kind, product_id="", quantity=None)


def order(number: str, currency: str, total: str, tax: str, *lines: Line, **more) -> Order:
    made = Order(
        source_id=number,
        number=number,
        status="processing",
        currency=currency,
        customer_id="77",
        customer_name="Ana Diaz",
        ordered_on=date(2026, 11, 2),
        paid_on=date(2026, 11, 3),
        payment_method="stripe",
        lines=lines,
        tax_total=D(tax),
        total=D(total),
    )
    return replace(made, **more)


# --- the examples ---
SHIRTS = order(
    "1001", "USD", "44.97", "2.97",
    goods("Blue shirt", 2, "40.00", "36.00", ("1", "2.97")),
    plain("shipping", "Flat rate", "6.00"),
    discounts=(Discount(code="FALL10"),),
)  # fmt: skip
INCLUSIVE = order(
    "1002", "GBP", "44.70", "6.59",
    goods("Lamp", 1, "25.00", "22.50", ("1", "4.50")),
    goods("Heater", 3, "10.00", "9.00", ("2", "0.45")),
    plain("shipping", "Courier", "8.19", ("1", "1.64")),
    plain("fee", "Gift card", "-1.58"),
    discounts=(Discount(code="TEN"),),
    prices_include_tax=True,
    tax_lines=(TaxLine(rate_id="1", percent=D(20), total=D("6.14")), TaxLine(rate_id="2", percent=D(5), total=D("0.45"))),
)  # fmt: skip
COMPOUND = order(
    "1003", "CAD", "114.98", "14.98",
    goods("Coat", 1, "100.00", "100.00", ("5", "5.00"), ("6", "9.98")),
    tax_lines=(TaxLine(rate_id="5", percent=D(5), total=D(5)), TaxLine(rate_id="6", percent=D("9.5"), is_compound=True, total=D("9.98"))),
)  # fmt: skip
CENT = order("1004", "USD", "10.01", "0.00", goods("Pencil", 3, "10.00", "10.00"))
LOT = order("1005", "USD", "40.00", "0.00", goods("Screw", 30001, "40.00", "40.00"))
REFUND = Refund(
    source_id="881",
    number="881",
    order_id="1001",
    currency="USD",
    refunded_on=date(2026, 11, 6),
    lines=(
        goods("Blue shirt", 1, "18.00", "18.00", ("1", "1.49")),
        Line(line_id="unallocated", kind="unallocated", subtotal=D(5), total=D(5)),
    ),
    tax_total=D("1.49"),
    total=D("24.49"),
)
OWED = replace(SHIRTS, status="on-hold", paid_on=None)


def sold(kind: str) -> Existing:
    balance = D("44.97") if kind == "Invoice" else D(0)
    return Existing(kind=kind, external_id=f"{kind}:130", total=D("44.97"), balance=balance, customer_id="58")


EXAMPLES: dict[str, Callable[[], object]] = {
    "A receipt with a coupon and shipping": lambda: order_document(SHIRTS, US),
    "Prices that include tax": lambda: order_document(INCLUSIVE, UK),
    "A tax on a tax": lambda: order_document(COMPOUND, QUEBEC),
    "A cent that the shop's own sums miss": lambda: order_document(CENT, US),
    "A quantity that no price reaches": lambda: order_document(LOT, US),
    "An item back, and something for the trouble": lambda: refund_document(REFUND, SHIRTS, sold("SalesReceipt"), US),
    "Owed first, paid later: the invoice": lambda: order_document(OWED, US),
    "Owed first, paid later: the payment": lambda: order_payment(SHIRTS, sold("Invoice"), US),
    "A rate that nobody has mapped": lambda: order_document(replace(COMPOUND, currency="GBP"), UK),
}


def rendered(found: object) -> str:
    """As the page shows it."""
    if isinstance(found, Held):
        return f"Held, `{found.code}`: {found.detail}\n"
    assert isinstance(found, Draft), found
    values = found.target.values
    head = [found.target.entity, values.get("DocNumber", ""), values["TxnDate"], *_account(values)]
    lines = [
        " · ".join(part for part in head if part),
        "",
        "| line | item | quantity × price | tax code | amount |",
        "|---|---|---|---|---:|",
    ]
    lines += [_row(line) for line in values["Line"]]
    for tax in (values.get("TxnTaxDetail") or {}).get("TaxLine", []):
        if tax["Amount"]:
            lines.append(f"| {tax['TaxLineDetail']['TaxRateRef']['value']} | | | | {tax['Amount']:.2f} |")
    if "TxnTaxDetail" in values and "TaxLine" not in values["TxnTaxDetail"]:
        lines.append(f"| Sales tax, as the shop charged it | | | | {values['TxnTaxDetail']['TotalTax']:.2f} |")
    lines.append(f"| **Total** | | | | **{_total(values):.2f}** |")
    return "\n".join(lines) + "\n" + "".join(f"\nFlag `{flag.code}`: {flag.detail}\n" for flag in found.flags)


def _account(values: dict) -> list[str]:
    return [f"account: {values['DepositToAccountRef']['value']}"] if "DepositToAccountRef" in values else []


def _row(line: dict) -> str:
    if "LinkedTxn" in line:
        return f"| pays the invoice | | | | {line['Amount']:.2f} |"
    detail = line["SalesItemLineDetail"]
    item = detail["ItemRef"]
    name = NAMES[item["value"]] if isinstance(item, dict) else "its own"
    times = f"{detail['Qty']} × {detail['UnitPrice'].normalize():f}" if "Qty" in detail else ""
    return f"| {line['Description']} | {name} | {times} | {detail['TaxCodeRef']['value']} | {line['Amount']:.2f} |"


def _total(values: dict) -> Decimal:
    tax = (values.get("TxnTaxDetail") or {}).get("TotalTax", D(0))
    return sum((line["Amount"] for line in values["Line"]), D(0)) + tax


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_worked_example_is_what_the_code_makes(title):
    text = PAGE.read_text()
    assert f"### {title}\n" in text
    section = text.split(f"### {title}\n")[1].split("\n#")[0]
    assert rendered(EXAMPLES[title]()) in section + "\n"


@pytest.mark.parametrize("title", [title for title in EXAMPLES if "mapped" not in title])
def test_each_example_comes_to_what_the_shop_says(title):
    found = EXAMPLES[title]()
    sums = {"1001": "44.97", "1002": "44.70", "1003": "114.98", "1004": "10.01", "1005": "40.00", "881": "24.49"}
    assert isinstance(found, Draft)
    assert _total(found.target.values) == D(sums[found.target.key])
