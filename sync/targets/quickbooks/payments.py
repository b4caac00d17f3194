"""Payments of invoices: when an order that was owed is paid."""

from decimal import Decimal

from connections.providers.base import Json
from sync.canonical import ZERO, Order, rounded
from sync.targets.quickbooks import forms
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.documents import INVOICE, is_paid
from sync.targets.quickbooks.outcome import Existing, Hold, Nothing, Outcome, drafted, held

PAYMENT = "Payment"


@held
def order_payment(
    order: Order, invoice: Existing, books: Books, *, credited: Decimal = ZERO, existing: Existing | None = None
) -> Outcome:
    """What pays an order's invoice. credited: what of it was refunded before, and set against the invoice.

    existing: a payment of ours; it is left as it is. Nothing where the order is unpaid, or somebody has entered it already.
    """
    if existing is not None:
        return Nothing("unchanged")
    if not is_paid(order) or invoice.kind != INVOICE or order.status == "cancelled":
        return Nothing("unpaid")
    amount = rounded(order.total, 2) - credited
    if amount <= 0 or not invoice.balance:
        return Nothing("settled")
    if amount > invoice.balance:
        raise Hold(
            "already_paid_in_part",
            f"The order was paid with {amount}, and only {invoice.balance} is open on its invoice.",
            "See in QuickBooks what was entered on the invoice, and enter the rest by hand.",
        )
    day, flags = forms.posting_day(order.paid_at, order.paid_on, books)
    values: Json = {
        "CustomerRef": {"value": invoice.customer_id},
        "TotalAmt": amount,
        "TxnDate": day.isoformat(),
        "Line": [{"Amount": amount, "LinkedTxn": [{"TxnId": invoice.number, "TxnType": INVOICE}]}],
        "PaymentRefNum": forms.ref_number(order.transaction_id),
        "PrivateNote": forms.note(
            f"WC payment of order {order.number or order.source_id}", books, order.transaction_id
        ),
        **forms.currency(order, books),
        **forms.way_of_paying(order, amount, books),
    }
    return drafted(PAYMENT, order.source_id, values, flags=flags)
