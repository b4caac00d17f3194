"""Refunds: money that went back as a refund receipt, a claim that is given up as a credit memo against its invoice."""

from dataclasses import replace
from decimal import Decimal

from connections.providers.base import Json
from sync.canonical import ZERO, Order, Refund, rounded
from sync.targets.quickbooks import forms, lines, texts
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.customers import customer_of
from sync.targets.quickbooks.documents import RECEIPT, is_paid
from sync.targets.quickbooks.outcome import Draft, Existing, Flag, Hold, Nothing, Outcome, drafted, held, reference

REFUND, CREDIT = "RefundReceipt", "CreditMemo"
AMOUNT_ONLY = "Refund without items"


@held
def refund_document(
    refund: Refund, order: Order, sold: Existing | None, books: Books, existing: Existing | None = None
) -> Outcome:
    """What a refund of an order becomes. sold: the order's document as QuickBooks has it; None holds the refund until then."""
    if not refund.total and not any(line.total for line in refund.lines):
        return Nothing("empty")
    _require_sold(refund, order, sold)
    assert sold is not None  # noqa: S101 - for the type checker: _require_sold has raised
    kind = existing.kind if existing is not None else _kind(order, sold)
    values, flags = _values(kind, refund, order, sold, books, is_new=existing is None)
    made = drafted(kind, refund.source_id, values, existing=existing, flags=flags)
    if isinstance(made, Draft) and existing is not None:
        forms.require_changeable(existing, refund, books)
    return made


@held
def credit_application(refund: Refund, credit: Existing, invoice: Existing, books: Books) -> Outcome:
    """Sets a credit memo against its invoice: a payment of nothing. Nothing where QuickBooks does so itself, or has done."""
    amount = min(credit.balance, invoice.balance)
    if books.applies_credit or amount <= 0:
        return Nothing("applied")
    links = [(invoice.number, "Invoice"), (credit.number, CREDIT)]
    values: Json = {
        "CustomerRef": {"value": credit.customer_id or invoice.customer_id},
        "TotalAmt": ZERO,
        "Line": [{"Amount": amount, "LinkedTxn": [{"TxnId": number, "TxnType": kind}]} for number, kind in links],
        "TxnDate": credit.dated_on.isoformat() if credit.dated_on else "",
        "PrivateNote": forms.note(f"WC refund {refund.source_id} set against its invoice", books),
    }
    if books.is_multicurrency:
        values["CurrencyRef"] = {"value": refund.currency}
    return drafted("Payment", f"credit:{refund.source_id}", values)


def _require_sold(refund: Refund, order: Order, sold: Existing | None) -> None:
    if sold is None:
        raise Hold(
            "order_not_there",
            f"The order {order.number} of this refund is not in the books yet.",
            "Nothing to do where the order waits as well: the refund follows it.",
        )
    if sold.is_voided:
        raise Hold(
            "voided_in_books",
            "The document of the refunded order was voided in QuickBooks.",
            "Resolve it without a refund if the void stands for it; else enter both anew.",
        )
    if refund.currency != order.currency:
        raise Hold(
            "currency_differs",
            f"The refund is in {refund.currency}, its order in {order.currency}.",
            "Enter it by hand.",
        )


def _kind(order: Order, sold: Existing) -> str:
    is_settled = sold.kind == RECEIPT or is_paid(order) or not sold.balance
    return REFUND if is_settled else CREDIT


def _values(
    kind: str, refund: Refund, order: Order, sold: Existing, books: Books, *, is_new: bool
) -> tuple[Json, tuple[Flag, ...]]:
    money = lines.money_of(_described(refund), books)
    share = _tax_share(refund, order, books)
    values: Json = {
        "CustomerRef": {"value": sold.customer_id} if sold.customer_id else reference(customer_of(order, books)),
        **money.fields,
        **forms.tax_mode(books),
        **forms.addresses(order),
        **forms.currency(refund, books),
        **forms.number(books.options.refund_prefix, refund.number, books),
        "PrivateNote": forms.note(_marker(refund, order), books, "", *(flag.detail for flag in share)),
    }
    if kind == REFUND:
        values |= forms.way_of_paying(_paid_as(refund, order), money.total, books) | _required_account(order, books)
    else:
        values["InvoiceRef"] = {"value": sold.number}
    flags = money.flags + share
    if is_new:
        day, moved = forms.posting_day(refund.refunded_at, refund.refunded_on, books)
        values["TxnDate"], flags = day.isoformat(), flags + moved
    return values, flags


def _marker(refund: Refund, order: Order) -> str:
    return f"WC refund {refund.source_id} of order {texts.single_line(order.number) or order.source_id}"


def _described(refund: Refund) -> Refund:
    """What is for nothing in particular says so on its line."""
    words = f"{AMOUNT_ONLY}: {refund.reason}" if refund.reason else AMOUNT_ONLY
    named = (
        replace(one, description=one.description or words) if one.kind == "unallocated" else one for one in refund.lines
    )
    return replace(refund, lines=tuple(named))


def _tax_share(refund: Refund, order: Order, books: Books) -> tuple[Flag, ...]:
    """An amount without items says nothing of the tax in it: it is posted untaxed, and a person is told what may be in it."""
    plain = rounded(refund.unallocated, 2)  # fractions of a cent are what rounding left
    if not plain or not order.tax_total or not order.total:
        return ()
    share: Decimal = rounded(plain * order.tax_total / order.total, 2)
    words = (
        f"Review: {plain} was refunded without items and is posted without tax; "
        f"in proportion to the order, {share} of it would be tax."
    )
    if books.options.amount_refunds == "hold":
        raise Hold(
            "tax_share_unknown", words, "Refund the order's items in the shop instead, or enter the refund by hand."
        )
    return (Flag("tax_share_unknown", words, share),)


def _paid_as(refund: Refund, order: Order) -> Order:
    """Back from the account that the money came to, unless the shop names another way."""
    return replace(order, payment_method=refund.payment_method) if refund.payment_method else order


def _required_account(order: Order, books: Books) -> Json:
    """A refund receipt needs its account also where nothing was paid back."""
    gateway = books.gateway(order.payment_method, order.currency)
    if gateway is not None:
        return {}
    raise Hold(
        "gateway_unmapped",
        f"No account is chosen for what went back through “{order.payment_method or 'no gateway'}”.",
        "Choose the account in the flow's settings.",
    )
