"""QuickBooks' documents as canonical records.

Invoices and sales receipts are orders, refund receipts and credit memos are refunds. Their days are the company's own
(TxnDate), and no instant stands beside them. Amounts of lines are net of tax also where a document shows gross prices
(`GlobalTaxCalculation` TaxInclusive tells the gross beside them); a discount is a line of its own; the subtotal that
QuickBooks puts among the lines says nothing new and is left out. What was voided is there, and comes to nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sync.canonical import ZERO, Address, Application, Bill, Line, LineKind, Order, Payment, Refund, TaxLine
from sync.sources.reading import Reader

SHIPPING, GRATUITY = "SHIPPING_ITEM_ID", "GRATUITY_ITEM_ID"
VOIDED = "Voided"
_KIND_OF_ITEM: dict[str, LineKind] = {SHIPPING: "shipping", GRATUITY: "fee"}


@dataclass(frozen=True, slots=True)
class Told:
    """One record: its payload, its id outside, and the company's home currency ("" where nobody knows it)."""

    read: Reader
    source_id: str
    home: str

    def basics(self) -> dict[str, Any]:
        times = self.read.one("MetaData")
        created_at, modified_at = times.instant("CreateTime"), times.instant("LastUpdatedTime")
        return {"source_id": self.source_id, "created_at": created_at, "modified_at": modified_at}

    def currency(self) -> str:
        """A company with one currency may leave it out."""
        return self.read.one("CurrencyRef").currency("value", self.home)


def invoice(told: Told) -> Order:
    found, balance = _order(told, "invoice"), told.read.amount("Balance")
    status = _status(found.is_voided, is_open=bool(balance), is_touched=balance != found.total)
    return replace(found, balance=balance, due_on=told.read.day("DueDate"), status=status)


def sales_receipt(told: Told) -> Order:
    """Paid on the day that it bears."""
    found = _order(told, "sales_receipt")
    return replace(found, status="voided" if found.is_voided else "paid", paid_on=found.ordered_on)


def _order(told: Told, document: str) -> Order:
    read, shared = told.read, _document(told, document)
    lines: tuple[Line, ...] = shared["lines"]
    billing = replace(address(read.one("BillAddr")), email=read.one("BillEmail").text("Address"))
    shipping = address(read.one("ShipAddr"))
    return Order(
        **shared,
        customer_id=read.one("CustomerRef").id("value"),
        customer_name=read.one("CustomerRef").text("name"),
        ordered_on=read.day("TxnDate"),
        billing=billing,
        shipping=shipping if shipping.is_place else billing,
        prices_include_tax=read.text("GlobalTaxCalculation") == "TaxInclusive",
        subtotal=_sum(lines, "product"),
        discount_total=-_sum(lines, "discount") + ZERO,
        shipping_total=_sum(lines, "shipping"),
        fee_total=_sum(lines, "fee"),
        payment_method=read.one("PaymentMethodRef").id("value"),
        payment_method_title=read.one("PaymentMethodRef").text("name"),
        transaction_id=read.text("PaymentRefNum"),
    )


def refund_receipt(told: Told) -> Refund:
    """It does not say what it refunds."""
    found = _refund(told, "refund_receipt")
    return replace(found, status="voided" if found.is_voided else "refunded", is_paid_back=True)


def credit_memo(told: Told) -> Refund:
    found, left = _refund(told, "credit_memo"), told.read.amount("RemainingCredit")
    words = ("open", "partly applied", "applied")
    status = _status(found.is_voided, is_open=bool(left), is_touched=left != found.total, words=words)
    invoice_id = told.read.one("InvoiceRef").id("value")
    order_id = f"Invoice:{invoice_id}" if invoice_id else ""
    return replace(found, status=status, balance=left, order_id=order_id, is_paid_back=False)


def _refund(told: Told, document: str) -> Refund:
    read = told.read
    return Refund(
        **_document(told, document),
        customer_id=read.one("CustomerRef").id("value"),
        customer_name=read.one("CustomerRef").text("name"),
        refunded_on=read.day("TxnDate"),
        reason=read.one("CustomerMemo").text("value"),
        payment_method=read.one("PaymentMethodRef").id("value"),
    )


def bill(told: Told) -> Bill:
    read, shared, balance = told.read, _document(told, "bill"), told.read.amount("Balance")
    is_touched = balance != shared["total"]
    return Bill(
        **shared | {"status": _status(shared["is_voided"], is_open=bool(balance), is_touched=is_touched)},
        vendor_id=read.one("VendorRef").id("value"),
        vendor_name=read.one("VendorRef").text("name"),
        billed_on=read.day("TxnDate"),
        due_on=read.day("DueDate"),
        balance=balance,
    )


def payment(told: Told) -> Payment:
    read = told.read
    applied = tuple(_applications(read))
    orders = [one.document_id for one in applied if one.document_id.startswith("Invoice:")]
    total, unapplied = read.needed_amount("TotalAmt"), read.amount("UnappliedAmt")
    is_voided = _is_voided(read)
    words = ("unapplied", "partly applied", "applied")
    return Payment(
        **told.basics(),
        number=read.text("PaymentRefNum"),
        status=_status(is_voided, is_open=bool(unapplied), is_touched=bool(applied), words=words),
        is_voided=is_voided,
        currency=told.currency(),
        exchange_rate=read.number("ExchangeRate"),
        customer_id=read.one("CustomerRef").id("value"),
        customer_name=read.one("CustomerRef").text("name"),
        order_id=orders[0] if len(orders) == 1 else "",
        applications=applied,
        method=read.one("PaymentMethodRef").id("value"),
        method_title=read.one("PaymentMethodRef").text("name"),
        transaction_id=read.text("PaymentRefNum"),
        paid_on=read.day("TxnDate"),
        total=total,
        unapplied=unapplied,
        memo=read.text("PrivateNote"),
    )


def _applications(read: Reader) -> Iterator[Application]:
    for line in read.many("Line"):
        for linked in line.many("LinkedTxn"):
            kind, number = linked.id("TxnType", is_needed=True), linked.id("TxnId", is_needed=True)
            amount = line.needed_amount("Amount")
            yield Application(document_id=f"{kind}:{number}", amount=amount, is_credit=kind == "CreditMemo")


# --- what all documents have ---
def _document(told: Told, document: str) -> dict[str, Any]:
    read = told.read
    tax = read.one("TxnTaxDetail")
    return told.basics() | {
        "number": read.text("DocNumber"),
        "document": document,
        "is_voided": _is_voided(read),
        "currency": told.currency(),
        "exchange_rate": read.number("ExchangeRate"),
        "lines": tuple(_lines(read.many("Line"))),
        "tax_lines": tuple(_tax_line(line) for line in tax.many("TaxLine")),
        "tax_total": tax.amount("TotalTax"),
        "total": read.needed_amount("TotalAmt"),
        "memo": read.one("CustomerMemo").text("value"),
        "private_note": read.text("PrivateNote"),
    }


def _is_voided(read: Reader) -> bool:
    """QuickBooks says so in the note, and leaves nothing of the amounts; a note alone may be anybody's."""
    return read.text("PrivateNote").startswith(VOIDED) and not read.amount("TotalAmt")


def _status(
    is_voided: bool, *, is_open: bool, is_touched: bool, words: tuple[str, str, str] = ("open", "partly paid", "paid")
) -> str:
    if is_voided:
        return "voided"
    untouched, between, settled = words
    return settled if not is_open else between if is_touched else untouched


def _sum(lines: tuple[Line, ...], kind: LineKind) -> Any:
    return sum((line.total for line in lines if line.kind == kind), ZERO)


def address(read: Reader) -> Address:
    return Address(
        line1=read.text("Line1"),
        line2=read.text("Line2"),
        line3=read.text("Line3"),
        line4=read.text("Line4"),
        line5=read.text("Line5"),
        city=read.text("City"),
        region=read.text("CountrySubDivisionCode"),
        postal_code=read.text("PostalCode"),
        country=read.text("Country") or read.text("CountryCode"),
    )


# --- lines ---
def _lines(given: list[Reader], within: str = "") -> Iterator[Line]:
    """All lines but subtotals; a bundle's are those that it holds, under ids that begin with its own."""
    for number, read in enumerate(given, 1):
        kind, line_id = read.text("DetailType"), within + (read.id("Id") or f"#{number}")
        if kind == "SubTotalLineDetail":
            continue
        if kind == "GroupLineDetail" and not within:  # bundles hold no bundles
            yield from _lines(read.one(kind).many("Line"), f"{line_id}/")
        elif kind == "DiscountLineDetail":
            yield _discount(read, line_id)
        elif read.payload.get("Amount") is None:
            yield Line(line_id=line_id, kind="text", description=read.text("Description"))
        else:
            yield _amount(read, read.one(kind), line_id)


def _amount(read: Reader, detail: Reader, line_id: str) -> Line:
    item, amount = detail.one("ItemRef"), read.needed_amount("Amount")
    item_id, gross = item.id("value"), detail.number("TaxInclusiveAmt")
    tax = ZERO if gross is None else gross - amount
    is_special = item_id in _KIND_OF_ITEM
    return Line(
        line_id=line_id,
        kind=_KIND_OF_ITEM.get(item_id, "product"),
        description=read.text("Description") or item.text("name") or detail.one("AccountRef").text("name"),
        product_id="" if is_special else item_id,
        quantity=detail.number("Qty"),
        unit_price=detail.number("UnitPrice"),
        subtotal=amount,
        subtotal_tax=tax,
        total=amount,
        tax_total=tax,
        tax_class=detail.one("TaxCodeRef").id("value"),
        account_id=detail.one("AccountRef").id("value"),
    )


def _discount(read: Reader, line_id: str) -> Line:
    detail, amount = read.one("DiscountLineDetail"), read.amount("Amount")
    percent = detail.number("DiscountPercent") if detail.flag("PercentBased") else None
    said = read.text("Description") or (f"Discount {percent:f}%" if percent is not None else "Discount")
    return Line(
        line_id=line_id,
        kind="discount",
        description=said,
        subtotal=-amount + ZERO,
        total=-amount + ZERO,
        tax_class=detail.one("TaxCodeRef").id("value"),
        account_id=detail.one("DiscountAccountRef").id("value"),
    )


def _tax_line(read: Reader) -> TaxLine:
    detail = read.one("TaxLineDetail")
    return TaxLine(
        rate_id=detail.one("TaxRateRef").id("value"),
        label=detail.one("TaxRateRef").text("name"),
        percent=detail.number("TaxPercent"),
        total=read.amount("Amount"),
        net=detail.number("NetAmountTaxable"),
    )
