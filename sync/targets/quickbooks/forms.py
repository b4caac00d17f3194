"""What all documents share: their day, their number, the note by which we know them again, currency and accounts."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from connections.providers.base import Json
from sync.canonical import Document, Order
from sync.targets.quickbooks import texts
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.outcome import Existing, Flag, Hold

CLEARING_KINDS = frozenset({"Bank", "Other Current Asset"})
REF_NUMBER = 21


def posting_day(moment: datetime | None, day: date | None, books: Books) -> tuple[date, tuple[Flag, ...]]:
    """The day in the shop's own zone, or the first open one where that is wanted. Raises Hold in closed books."""
    found = moment.astimezone(ZoneInfo(books.shop.timezone)).date() if moment and books.shop.timezone else day
    if found is None:
        raise Hold("date_missing", "The shop tells no date of it.", "Give it one in the shop.")
    if not is_closed(found, books):
        return found, ()
    if books.options.closed_rule == "hold" or books.closed_on is None:
        raise closed(found, books)
    moved = books.closed_on + timedelta(days=1)
    return moved, (Flag("moved_day", f"It belongs to {found}, when the books are closed, and is posted on {moved}."),)


def is_closed(day: date, books: Books) -> bool:
    return books.closed_on is not None and day <= books.closed_on


def closed(day: date, books: Books) -> Hold:
    return Hold(
        "books_closed",
        f"It is dated {day}, and the books are closed up to {books.closed_on}.",
        "Skip it, reopen the period in QuickBooks, or have such records posted on the first open day.",
    )


def currency(document: Document | Order, books: Books) -> Json:
    """CurrencyRef where the company wants one; a rate only where the shop has one, else QuickBooks takes its own of the day.

    Raises Hold where the company keeps another currency only: nothing is converted.
    """
    if not books.is_multicurrency:
        if document.currency != books.home_currency:
            raise Hold(
                "currency_not_kept",
                f"It is in {document.currency}, and the company keeps {books.home_currency} only.",
                "Switch on multicurrency in QuickBooks (it cannot be switched off again), or enter it by hand.",
            )
        return {}
    found: Json = {"CurrencyRef": {"value": document.currency}}
    is_foreign = document.currency != books.home_currency
    return found | ({"ExchangeRate": document.exchange_rate} if is_foreign and document.exchange_rate else {})


def way_of_paying(order: Order, total: Decimal, books: Books) -> Json:
    """Where the money lies and how it came. Raises Hold for a gateway without an account; nothing of it where nothing was paid."""
    gateway = books.gateway(order.payment_method, order.currency)
    if gateway is None or not gateway.account_id:
        if not total:
            return {}
        raise Hold(
            "gateway_unmapped",
            f"No account is chosen for what comes through “{order.payment_method_title or order.payment_method or 'no gateway'}”.",
            "Choose the account where its money lies until it is paid out, in the flow's settings.",
        )
    account = books.accounts.get(gateway.account_id)
    if account and account.currency not in ("", books.home_currency, order.currency):
        raise Hold(
            "account_currency",
            f"The account chosen for {order.payment_method} is kept in {account.currency}, and this is in {order.currency}.",
            f"Choose an account in {order.currency} or {books.home_currency} for it.",
        )
    found: Json = {"DepositToAccountRef": {"value": gateway.account_id}}
    return found | ({"PaymentMethodRef": {"value": gateway.payment_method_id}} if gateway.payment_method_id else {})


def number(prefix: str, own: str, books: Books) -> Json:
    """Where the company numbers by hand. Elsewhere a number of ours would make doubles of QuickBooks'."""
    return {"DocNumber": texts.doc_number(prefix, own)} if books.has_own_numbers and own else {}


def note(what: str, books: Books, transaction_id: str = "", *more: str) -> str:
    """The marker by which we find it again: `WC order 1234 / site / transaction`, whole; below it what else is to be said."""
    marker = " / ".join(part for part in (what, books.shop.site, texts.single_line(transaction_id)) if part)
    return "\n".join((marker, *more))[: texts.MAX_NOTE]


def order_marker(order: Order) -> str:
    """With the shop's own id where its number is another: numbers of plugins may come twice."""
    named = texts.single_line(order.number) or order.source_id
    return f"WC order {named}" + (f" (id {order.source_id})" if named != order.source_id else "")


def ref_number(transaction_id: str) -> str:
    """Gateways' ids are longer than there is room; they differ at the end."""
    return texts.tail(texts.single_line(transaction_id), REF_NUMBER)


def addresses(order: Order) -> Json:
    """QuickBooks finds the tax by where it is shipped to. BillEmail sends nothing: EmailStatus stays at NotSet."""
    mail = texts.email(order.billing.email)
    shipping = texts.address(order.shipping) or texts.address(order.billing)
    found: Json = {"BillAddr": texts.address(order.billing), "ShipAddr": shipping}
    return found | ({"BillEmail": {"Address": mail}} if mail else {})


def tax_mode(books: Books) -> Json:
    """Amounts are net, whatever the shop shows. The United States do not know the field."""
    if books.is_american:
        return {}
    return {"GlobalTaxCalculation": "TaxExcluded" if books.uses_sales_tax else "NotApplicable"}


def require_changeable(existing: Existing, document: Document, books: Books) -> None:
    """Raises Hold where a document must not be changed any more: people have built on it."""
    if existing.is_voided:
        raise Hold(
            "voided_in_books",
            "The document was voided in QuickBooks, and the shop's record goes on.",
            "Enter it anew in QuickBooks, or resolve this without it.",
        )
    if existing.is_deposited:
        raise Hold(
            "deposited",
            "The record was changed in the shop after its money was deposited in QuickBooks.",
            "Take the document off its deposit and retry, or correct it by hand.",
        )
    if existing.dated_on and is_closed(existing.dated_on, books):
        raise closed(existing.dated_on, books)
    if existing.currency and existing.currency != document.currency:
        raise Hold(
            "currency_changed",
            f"The document is in {existing.currency}, the shop's record in {document.currency} now.",
            "A document keeps its currency: void it in QuickBooks and enter it anew.",
        )
