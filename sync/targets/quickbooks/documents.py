"""Orders as sales receipts (paid) and invoices (owed), and what becomes of them when an order changes."""

from connections.providers.base import Json
from sync.canonical import Order
from sync.targets.quickbooks import forms, lines, texts
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.customers import customer_of
from sync.targets.quickbooks.outcome import Draft, Existing, Flag, Hold, Nothing, Outcome, drafted, held, reference

RECEIPT, INVOICE = "SalesReceipt", "Invoice"
CANCELLED = "cancelled"


@held
def order_document(order: Order, books: Books, existing: Existing | None = None) -> Outcome:
    """The document that an order becomes, or what is to change of the one that there is.

    existing: as QuickBooks has it now. Once an invoice, an order stays one: when it is paid, a payment is added
    (`payments.order_payment`). Changes carry all lines and the tax, never the day or the number.
    """
    if order.is_voided or order.status == CANCELLED:
        return _cancelled(order, books, existing)
    kind = _kind(order, books)
    if existing is not None:
        kind = _kept(kind, order, existing)
    elif kind == "":
        return Nothing("unpaid")
    elif _is_before_start(order, books):
        return Nothing("before_start")
    if not order.lines and not order.total:
        return Nothing("empty")
    values, flags = _values(kind, order, books, is_new=existing is None)
    made = drafted(kind, order.source_id, values, existing=existing, flags=flags)
    if isinstance(made, Draft) and existing is not None:
        forms.require_changeable(existing, order, books)
        _require_above_paid(order, existing)
    return made


def is_paid(order: Order) -> bool:
    """A shop gives the day of payment to what was paid, whatever the status is called."""
    return bool(order.paid_at or order.paid_on)


# --- which document ---
def _kind(order: Order, books: Books) -> str:
    """ "" for none. Raises Hold for what nobody has decided."""
    options = books.options
    if is_paid(order):
        if order.status in options.ignored_statuses:
            raise Hold(
                "status_contradicts_payment",
                f"The order is {order.status}, and the shop says that it was paid.",
                "Correct the order's status in the shop.",
            )
        return INVOICE if options.document_rule == "invoices" else RECEIPT
    if order.status in options.ignored_statuses:
        return ""
    if order.status not in options.owed_statuses:
        raise Hold(
            "status_unknown",
            f"The order is unpaid and {order.status}, a status that nobody has decided about.",
            "Say in the flow's settings whether orders of this status are owed, or not to be taken.",
        )
    return "" if options.document_rule == "receipts" else INVOICE


def _kept(kind: str, order: Order, existing: Existing) -> str:
    if kind == "":
        raise Hold(
            "no_longer_owed",
            f"The order is {order.status} in the shop now, and its {existing.kind} is in the books.",
            "Cancel the order in the shop to have its invoice voided, or let it go on there.",
        )
    if existing.kind == RECEIPT and not is_paid(order):
        raise Hold(
            "payment_withdrawn",
            "The order is in the books as paid, and the shop does not call it paid any more.",
            "Void the receipt in QuickBooks if the money never came, or correct the order in the shop.",
        )
    return existing.kind


def _cancelled(order: Order, books: Books, existing: Existing | None) -> Outcome:
    """Voided where nobody has paid; where money came, a person decides where it went."""
    if existing is not None and existing.is_voided:
        return Nothing("unchanged")
    if is_paid(order):
        raise Hold(
            "cancelled_after_payment",
            "The order was cancelled after it was paid, and the shop knows of no refund.",
            "Refund it in the shop if the money went back; else correct the order's status.",
        )
    if existing is None:
        return Nothing("cancelled")
    forms.require_changeable(existing, order, books)
    if existing.kind != INVOICE or existing.is_linked or existing.balance != existing.total:
        raise Hold(
            "cancelled_after_payment",
            "The order was cancelled in the shop, and in QuickBooks something was paid or credited on it.",
            "Undo the payment or credit in QuickBooks and retry, or refund the order in the shop.",
        )
    return drafted(INVOICE, order.source_id, {}, existing=existing, operation="void")


def _is_before_start(order: Order, books: Books) -> bool:
    if books.start_on is None:
        return False
    day = order.ordered_on or (order.ordered_at.date() if order.ordered_at else None)
    return day is not None and day < books.start_on


def _require_above_paid(order: Order, existing: Existing) -> None:
    paid = existing.total - existing.balance
    if existing.kind == INVOICE and order.total < paid:
        raise Hold(
            "less_than_paid",
            f"The order comes to {order.total} now, and {paid} was paid on its invoice.",
            "Refund the difference in the shop, or correct the payment in QuickBooks.",
        )


# --- what is in it ---
def _values(kind: str, order: Order, books: Books, *, is_new: bool) -> tuple[Json, tuple[Flag, ...]]:
    money = lines.money_of(order, books)
    values: Json = {
        "CustomerRef": reference(customer_of(order, books)),
        **money.fields,
        **forms.tax_mode(books),
        **forms.addresses(order),
        **forms.currency(order, books),
        **forms.number(books.options.number_prefix, order.number, books),
        "PrivateNote": forms.note(forms.order_marker(order), books, order.transaction_id),
    }
    if books.options.with_customer_note and order.memo:
        values["CustomerMemo"] = {"value": order.memo[: texts.MAX_MEMO]}
    if kind == RECEIPT:
        values |= forms.way_of_paying(order, money.total, books)
        values["PaymentRefNum"] = forms.ref_number(order.transaction_id)
    flags = money.flags
    if is_new:
        day, moved = _day(kind, order, books)
        values["TxnDate"], flags = day, flags + moved
        if kind == INVOICE and order.due_on:
            values["DueDate"] = order.due_on.isoformat()
    return values, flags


def _day(kind: str, order: Order, books: Books) -> tuple[str, tuple[Flag, ...]]:
    """A receipt is of the day of payment, an invoice of the day of the order."""
    moments = (order.paid_at, order.paid_on) if kind == RECEIPT else (order.ordered_at, order.ordered_on)
    day, flags = forms.posting_day(*moments, books)
    return day.isoformat(), flags
