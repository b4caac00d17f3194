"""Customers: who bought, as QuickBooks keeps them. Linked, else found by e-mail, else made; names identify nobody."""

from connections.providers.base import Json, TargetRecord
from sync.canonical import Address, Customer, Order
from sync.targets.quickbooks import texts
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.outcome import Existing, Hold, Match, Need, Nothing, Outcome, drafted, held

CUSTOMER, ENTITY = "Customer", "customers"


@held
def customer_record(
    customer: Customer, books: Books, *, existing: Existing | None = None, is_ours: bool = True, currency: str = ""
) -> Outcome:
    """The customer as QuickBooks keeps them, in the home currency or another.

    is_ours: whether the hub made the one there is; somebody else's is left as it is, unless that is allowed.
    """
    if existing is not None and not is_ours and not books.options.may_overwrite_customers:
        return Nothing("not_ours")
    key = _key(customer.source_id, currency, books)
    name = customer.name or customer.company or customer.email or f"Customer {customer.source_id}"
    values = _values(name, customer.email or customer.billing.email, currency, books) | {
        "GivenName": customer.first_name[: texts.longest(CUSTOMER, "GivenName")],
        "FamilyName": customer.last_name[: texts.longest(CUSTOMER, "FamilyName")],
        "CompanyName": customer.company[: texts.longest(CUSTOMER, "CompanyName")],
        "Notes": _note(f"WC customer {customer.source_id}", books),
    }
    values |= _contact(customer.phone, customer.billing, customer.shipping)
    if existing is not None:
        values.pop("DisplayName")  # it may have been given a mark, or a better name
    return drafted(CUSTOMER, key, values, existing=existing)


def customer_of(order: Order, books: Books) -> str | Need:
    """Whoever the order is for: an Id where one customer stands for all guests, else what is to be resolved."""
    mail = texts.email(order.billing.email)
    if order.customer_id:
        return _need(
            order, _key(order.customer_id, order.currency, books), mail, f"WC customer {order.customer_id}", books
        )
    if books.options.guest_rule == "one_customer":
        if found := books.options.one_customer.get(order.currency):
            return found
        raise Hold(
            "guest_customer_missing",
            f"No customer in {order.currency} is chosen that stands for guests.",
            "Choose one in the flow's settings, or have guests kept by their e-mail address.",
        )
    who = f"guest:{mail.casefold()}" if mail else f"guest:order {order.source_id}"
    return _need(order, _key(who, order.currency, books), mail, f"WC guest of order {order.number}", books)


def renamed_customer(record: TargetRecord) -> TargetRecord:
    """The same under a name that nobody else has, for when QuickBooks says that it is taken (6240)."""
    name = texts.display_name(
        str(record.values["DisplayName"]), f" (WC-{texts.tail(record.key, 100).replace(':', ' ')})"
    )
    return TargetRecord(CUSTOMER, record.key, record.values | {"DisplayName": name})


def _key(source_id: str, currency: str, books: Books) -> str:
    """A customer has one currency for ever: in another one they are another customer."""
    return f"{source_id}@{currency}" if _is_foreign(currency, books) else source_id


def _is_foreign(currency: str, books: Books) -> bool:
    return bool(currency) and currency != books.home_currency


def _need(order: Order, key: str, mail: str, note: str, books: Books) -> Need:
    steps = (Match(CUSTOMER, "PrimaryEmailAddr", mail),) if mail else ()
    name = order.customer_name or order.billing.company or mail or note
    values = _values(name, mail, order.currency, books) | {
        "GivenName": order.billing.first_name[: texts.longest(CUSTOMER, "GivenName")],
        "FamilyName": order.billing.last_name[: texts.longest(CUSTOMER, "FamilyName")],
        "CompanyName": order.billing.company[: texts.longest(CUSTOMER, "CompanyName")],
        "Notes": _note(note, books),
    }
    values |= _contact(order.billing.phone, order.billing, order.shipping)
    kept = {name: value for name, value in values.items() if value}
    return Need(ENTITY, key, steps, create=TargetRecord(CUSTOMER, key, kept))


def _values(name: str, mail: str, currency: str, books: Books) -> Json:
    mark = f" ({currency})" if _is_foreign(currency, books) else ""
    values: Json = {"DisplayName": texts.display_name(name, mark)}
    if address := texts.email(mail):
        values["PrimaryEmailAddr"] = {"Address": address}
    if books.is_multicurrency:
        values["CurrencyRef"] = {"value": currency or books.home_currency}
    return values


def _contact(phone: str, billing: Address, shipping: Address) -> Json:
    values: Json = {"BillAddr": texts.address(billing), "ShipAddr": texts.address(shipping)}
    if number := texts.phone(phone):
        values["PrimaryPhone"] = {"FreeFormNumber": number}
    return values


def _note(text: str, books: Books) -> str:
    return f"{text} / {books.shop.site}"[: texts.longest(CUSTOMER, "Notes")]
