"""Canonical records: what flows carry between a source and a target, the same whoever told it. Immutable values.

Rules that hold for all of them:

- Texts and ids are "" where there is nothing to say; numbers, days and instants are None.
- `source_id` and every `…_id` are the source's own ids as `SourceRecord.external_id` has them.
- Amounts are exact, of the document's currency, and net of tax; tax stands beside them. Amounts of refunds are positive:
  what goes back. Instants (`_at`) are UTC; days (`_on`) are those of the source's own calendar.
- A document's `total` is told by its source, never computed; `gap` says what its parts leave unexplained.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, localcontext
from typing import ClassVar, Literal

from sync.canonical.currencies import exponent_of

ZERO = Decimal(0)
_WIDE = Context(prec=400, rounding=ROUND_HALF_UP, traps=[])  # sums are exact, whatever somebody calls money

LineKind = Literal["product", "shipping", "fee", "discount", "tax", "unallocated", "text"]


# --- parts ---
@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where somebody is. country, region: as the source writes them (a shop: ISO codes)."""

    first_name: str = ""
    last_name: str = ""
    company: str = ""
    line1: str = ""
    line2: str = ""
    line3: str = ""
    line4: str = ""
    line5: str = ""
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country: str = ""
    email: str = ""
    phone: str = ""

    @property
    def is_place(self) -> bool:
        """Whether it says more than who somebody is."""
        return any((self.line1, self.line2, self.city, self.region, self.postal_code, self.country))


NOWHERE = Address()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTax:
    """What one rate (or tax code) takes on one line. subtotal: before discounts, where the source tells."""

    rate_id: str
    total: Decimal
    subtotal: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxLine:
    """What one rate takes on a document. total: on its lines but shipping's, which is `shipping_total`. net: what it is on."""

    rate_id: str = ""
    code: str = ""
    label: str = ""
    percent: Decimal | None = None
    is_compound: bool = False
    total: Decimal = ZERO
    shipping_total: Decimal = ZERO
    net: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """A coupon, for people: what it took off is in the lines already, unless there are lines of kind discount."""

    code: str
    kind: str = ""
    total: Decimal = ZERO
    tax_total: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a document. total: what it adds to the document before tax; a discount's is negative.

    kind: "unallocated" is the part of a refund that its source gives for nothing in particular; "text" has no amounts.
    subtotal: before discounts. unit_price: of the subtotal; None without a quantity.
    tax_class: the source's class or code of taxation. origin_id: of a refund, the line of the order that is taken back.
    options: what a variation was chosen by: (name, choice). account_id: of a bill's expense.
    """

    line_id: str
    kind: LineKind = "product"
    description: str = ""
    product_id: str = ""
    variation_id: str = ""
    sku: str = ""
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    subtotal: Decimal = ZERO
    subtotal_tax: Decimal = ZERO
    total: Decimal = ZERO
    tax_total: Decimal = ZERO
    tax_class: str = ""
    taxes: tuple[LineTax, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    origin_id: str = ""
    account_id: str = ""

    @property
    def item_id(self) -> str:
        """The id of the product record that was sold: the variation where there is one."""
        return self.variation_id or self.product_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What of a payment goes to one document. document_id: as orders and refunds have it; is_credit: it adds to the payment."""

    document_id: str
    amount: Decimal
    is_credit: bool = False


# --- records ---
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """modified_at: by the source's clock; it says nothing of the content, so no hash holds it."""

    entity: ClassVar[str]

    source_id: str
    created_at: datetime | None = None
    modified_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Party(Record):
    """name: as it stands on documents. currency: that they deal in, where the source fixes one."""

    name: str = ""
    first_name: str = ""
    last_name: str = ""
    company: str = ""
    email: str = ""
    phone: str = ""
    currency: str = ""
    billing: Address = NOWHERE
    shipping: Address = NOWHERE
    is_active: bool = True
    balance: Decimal | None = None
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer(Party):
    entity: ClassVar[str] = "customers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor(Party):
    entity: ClassVar[str] = "vendors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Record):
    """kind: simple, variable, variation, service, inventory …, as its source sorts them. price: what it costs now.

    parent_id: of a variation, its product. stock_quantity: None where nobody counts.
    """

    entity: ClassVar[str] = "products"

    sku: str = ""
    barcode: str = ""
    name: str = ""
    description: str = ""
    kind: str = ""
    status: str = ""
    parent_id: str = ""
    options: tuple[tuple[str, str], ...] = ()
    price: Decimal | None = None
    regular_price: Decimal | None = None
    currency: str = ""
    tax_class: str = ""
    is_taxable: bool = True
    stock_quantity: Decimal | None = None
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Record):
    """Lines, taxes, and what they come to. exchange_rate: home units for one of the currency, where the source tells."""

    number: str = ""
    document: str = ""
    status: str = ""
    is_voided: bool = False
    currency: str
    exchange_rate: Decimal | None = None
    lines: tuple[Line, ...] = ()
    tax_lines: tuple[TaxLine, ...] = ()
    tax_total: Decimal = ZERO
    total: Decimal
    memo: str = ""
    private_note: str = ""

    @property
    def places(self) -> int:
        """Decimals that its money has: the currency's, or more where the source's total is finer than the currency."""
        return max(exponent_of(self.currency), _decimals(self.total))

    def gap(self) -> Decimal:
        """What of the total no line and no tax explains, to its last decimal: 0 where it adds up."""
        return rounded(_less(self.total, *(line.total for line in self.lines), self.tax_total), self.places)

    def tax_gap(self) -> Decimal:
        """What of the tax no line tells: a cent here and there where a source rounds taxes in the end, not by line.

        Where no line tells its tax, what the document's rates do not come to.
        """
        told = [line.tax_total for line in self.lines if line.taxes or line.tax_total]
        rates = (amount for tax in self.tax_lines for amount in (tax.total, tax.shipping_total))
        return rounded(_less(self.tax_total, *(told or rates)), self.places)

    def of_kind(self, *kinds: LineKind) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.kind in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Document):
    """What somebody bought. document: order, invoice or sales_receipt. customer_id: "" for a guest.

    subtotal: of the products, before discounts. discount_total: positive. balance: what is still owed.
    paid_at, paid_on: None until it is paid. prices_include_tax: how its prices were shown; amounts are net all the same.
    """

    entity: ClassVar[str] = "orders"

    customer_id: str = ""
    customer_name: str = ""
    ordered_at: datetime | None = None
    ordered_on: date | None = None
    paid_at: datetime | None = None
    paid_on: date | None = None
    due_on: date | None = None
    billing: Address = NOWHERE
    shipping: Address = NOWHERE
    prices_include_tax: bool = False
    discounts: tuple[Discount, ...] = ()
    subtotal: Decimal = ZERO
    discount_total: Decimal = ZERO
    shipping_total: Decimal = ZERO
    fee_total: Decimal = ZERO
    balance: Decimal = ZERO
    payment_method: str = ""
    payment_method_title: str = ""
    transaction_id: str = ""

    def gaps(self) -> dict[str, Decimal]:
        """Each of its sums that its lines do not come to, and by how much; empty where all of them agree."""
        off = _plus(*(line.subtotal - line.total for line in self.lines if line.kind != "discount"))
        parts = {
            "total": self.gap(),
            "tax_total": self.tax_gap(),
            "shipping_total": _less(self.shipping_total, *(line.total for line in self.of_kind("shipping"))),
            "fee_total": _less(self.fee_total, *(line.total for line in self.of_kind("fee"))),
            "discount_total": _less(self.discount_total, off, *(-line.total for line in self.of_kind("discount"))),
        }
        found = {name: rounded(gap, self.places) for name, gap in parts.items()}
        return {name: gap for name, gap in found.items() if gap}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(Document):
    """What went back. document: refund, refund_receipt or credit_memo. order_id: "" where the source does not tell.

    is_paid_back: whether the source had the money paid back itself, where it tells. balance: of a credit, what is left.
    """

    entity: ClassVar[str] = "refunds"

    order_id: str = ""
    customer_id: str = ""
    customer_name: str = ""
    refunded_at: datetime | None = None
    refunded_on: date | None = None
    reason: str = ""
    is_paid_back: bool | None = None
    balance: Decimal = ZERO
    payment_method: str = ""

    @property
    def unallocated(self) -> Decimal:
        """What of it is for nothing in particular: an amount without lines."""
        return _plus(*(line.total for line in self.of_kind("unallocated")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill(Document):
    """What a vendor asks to be paid. balance: what of it is still open."""

    entity: ClassVar[str] = "bills"

    vendor_id: str = ""
    vendor_name: str = ""
    billed_on: date | None = None
    due_on: date | None = None
    balance: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment(Record):
    """What a customer paid. unapplied: what of it is set against no document. order_id: of the only one that it pays."""

    entity: ClassVar[str] = "payments"

    number: str = ""
    status: str = ""
    is_voided: bool = False
    currency: str
    exchange_rate: Decimal | None = None
    customer_id: str = ""
    customer_name: str = ""
    order_id: str = ""
    applications: tuple[Application, ...] = ()
    method: str = ""
    method_title: str = ""
    transaction_id: str = ""
    paid_at: datetime | None = None
    paid_on: date | None = None
    total: Decimal
    unapplied: Decimal = ZERO
    memo: str = ""

    @property
    def places(self) -> int:
        return max(exponent_of(self.currency), _decimals(self.total))

    def gap(self) -> Decimal:
        """What of the payment and the credits in it is neither applied nor left."""
        signed = (-one.amount if one.is_credit else one.amount for one in self.applications)
        return rounded(_less(self.total, *signed, self.unapplied), self.places)


Canonical = Customer | Vendor | Product | Order | Refund | Payment | Bill
KINDS: dict[str, type[Canonical]] = {
    kind.entity: kind for kind in (Customer, Product, Order, Refund, Payment, Vendor, Bill)
}


# --- sums ---
def rounded(amount: Decimal, places: int) -> Decimal:
    """Half a unit goes away from zero, as shops and books do it; never -0."""
    with localcontext(_WIDE):
        return amount.quantize(Decimal(1).scaleb(-places)) + 0


def apportioned(amounts: Sequence[Decimal], places: int) -> list[Decimal]:
    """The amounts with so many decimals, none moved by a whole unit, and together what all of them round to.

    The units that rounding down leaves go to those that lose most by it, the earlier first.
    """
    unit = Decimal(1).scaleb(-places)
    with localcontext(_WIDE):
        floors = [amount.quantize(unit, ROUND_FLOOR) for amount in amounts]
        left = int((rounded(_plus(*amounts), places) - _plus(*floors)) / unit)
        losses = sorted(range(len(amounts)), key=lambda place: floors[place] - amounts[place])
        for place in losses[:left]:
            floors[place] += unit
        return [amount + 0 for amount in floors]


def _decimals(amount: Decimal) -> int:
    """Of the last digit that counts."""
    if not amount or not amount.is_finite():
        return 0
    exponent = amount.normalize(_WIDE).as_tuple().exponent
    return max(0, -int(exponent))


def _plus(*amounts: Decimal) -> Decimal:
    return _sum(amounts)


def _less(amount: Decimal, *others: Decimal) -> Decimal:
    return _WIDE.subtract(amount, _sum(others))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    found = ZERO
    for amount in amounts:
        found = _WIDE.add(found, amount)
    return found
