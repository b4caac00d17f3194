"""A shop's orders and refunds as canonical records.

Amounts of a shop are net of tax whether its prices include it or not, and those of a refund are negative: here they are
what goes back. What a refund pays back for nothing in particular, a plain amount, becomes a line of kind "unallocated".
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from sync.canonical import (
    NOWHERE,
    ZERO,
    Address,
    Discount,
    Line,
    LineKind,
    LineTax,
    Order,
    Refund,
    TaxLine,
    rounded,
)
from sync.sources.reading import Reader

DRAFTS = frozenset({"auto-draft", "checkout-draft", "draft", "new"})
PAID = frozenset({"processing", "completed", "refunded"})
OWED_NOTHING = PAID | {"cancelled", "failed", "trash"}
UNIT_PLACES = 6
UNALLOCATED = "unallocated"


def order(read: Reader) -> Order | None:
    """None for a draft, which nobody has ordered yet."""
    status = read.text("status")
    if status in DRAFTS:
        return None
    lines = tuple(_lines(read, sign=1))
    total, paid_at = read.needed_amount("total"), read.instant("date_paid_gmt")
    billing, shipping = address(read.one("billing")), address(read.one("shipping"))
    source_id = read.id("id", is_needed=True)
    return Order(
        source_id=source_id,
        created_at=read.instant("date_created_gmt"),
        modified_at=read.instant("date_modified_gmt"),
        number=read.text("number") or source_id,
        document="order",
        status=status,
        is_voided=status == "cancelled",
        currency=read.currency("currency"),
        customer_id=read.id("customer_id"),
        customer_name=name_of(billing) or name_of(shipping),
        ordered_at=read.instant("date_created_gmt"),
        ordered_on=read.day("date_created"),
        paid_at=paid_at,
        paid_on=read.day("date_paid"),
        billing=billing,
        shipping=shipping if shipping.is_place else billing,
        prices_include_tax=read.flag("prices_include_tax"),
        lines=lines,
        tax_lines=_tax_lines(read, sign=1),
        discounts=tuple(_coupon(one) for one in read.many("coupon_lines")),
        subtotal=sum((line.subtotal for line in lines if line.kind == "product"), ZERO),
        discount_total=read.amount("discount_total"),
        shipping_total=read.amount("shipping_total"),
        fee_total=sum((line.total for line in lines if line.kind == "fee"), ZERO),
        tax_total=read.amount("total_tax"),
        total=total,
        balance=ZERO if paid_at or status in OWED_NOTHING else total,
        payment_method=read.text("payment_method"),
        payment_method_title=read.words("payment_method_title"),
        transaction_id=read.text("transaction_id"),
        memo=read.words("customer_note"),
    )


def refund(read: Reader, facts: Mapping[str, Any]) -> Refund:
    """A shop tells no currency of a refund: it is `currency` of the facts (its order's), else the shop's."""
    source_id, lines = read.id("id", is_needed=True), tuple(_lines(read, sign=-1))
    found = Refund(
        source_id=source_id,
        created_at=read.instant("date_created_gmt"),
        modified_at=read.instant("date_created_gmt"),
        number=source_id,
        document="refund",
        status=read.text("status") or "completed",
        currency=read.currency("currency", default_currency(facts)),
        order_id=read.id("parent_id"),
        refunded_at=read.instant("date_created_gmt"),
        refunded_on=read.day("date_created"),
        reason=read.words("reason"),
        is_paid_back=read.flag("refunded_payment") if "refunded_payment" in read.payload else None,
        lines=lines,
        tax_lines=_tax_lines(read, sign=-1),
        tax_total=sum((line.tax_total for line in lines), ZERO),
        total=abs(read.needed_amount("amount")),
    )
    return _with_rest(found)


def _with_rest(found: Refund) -> Refund:
    """With what its lines do not come to, unless they come to more than goes back: that stays a gap.

    The rest is exact: rounded beside taxes with fractions, it would not come to the amount any more.
    """
    if found.gap() <= 0:
        return found
    rest = found.total - found.tax_total - sum((line.total for line in found.lines), ZERO)
    line = Line(line_id=UNALLOCATED, kind="unallocated", subtotal=rest, total=rest)
    return replace(found, lines=(*found.lines, line))


def default_currency(facts: Mapping[str, Any]) -> str:
    shop = facts.get("shop")
    told = facts.get("currency") or (shop.get("currency") if isinstance(shop, Mapping) else "")
    return told if isinstance(told, str) else ""


def address(read: Reader) -> Address:
    found = Address(
        first_name=read.words("first_name"),
        last_name=read.words("last_name"),
        company=read.words("company"),
        line1=read.words("address_1"),
        line2=read.words("address_2"),
        city=read.words("city"),
        region=read.text("state"),
        postal_code=read.text("postcode"),
        country=read.text("country"),
        email=read.text("email"),
        phone=read.text("phone"),
    )
    return NOWHERE if found == NOWHERE else found


def name_of(where: Address) -> str:
    return f"{where.first_name} {where.last_name}".strip() or where.company


# --- lines ---
def _lines(read: Reader, *, sign: int) -> Iterator[Line]:
    """All lines. Ids are the shop's; one that two kinds of lines have is told apart by its kind."""
    seen: set[str] = set()
    kinds: tuple[tuple[str, LineKind], ...] = (
        ("line_items", "product"),
        ("shipping_lines", "shipping"),
        ("fee_lines", "fee"),
    )
    for name, kind in kinds:
        for number, one in enumerate(read.many(name)):
            line = _product(one, sign) if kind == "product" else _plain(one, kind, sign)
            if line.line_id in seen:
                line = replace(line, line_id=f"{line.line_id}:{kind}:{number}")
            seen.add(line.line_id)
            yield line


def _product(read: Reader, sign: int) -> Line:
    quantity, subtotal = read.number("quantity"), _signed(read.amount("subtotal"), sign)
    quantity = None if quantity is None else _signed(quantity, sign)
    variation_id, meta = read.id("variation_id"), read.many("meta_data")
    return Line(
        line_id=read.id("id", is_needed=True),
        description=read.words("name"),
        product_id=read.id("product_id"),
        variation_id=variation_id,
        sku=read.text("sku"),
        quantity=quantity,
        unit_price=rounded(subtotal / quantity, UNIT_PLACES) if quantity else None,
        subtotal=subtotal,
        subtotal_tax=_signed(read.amount("subtotal_tax"), sign),
        total=_signed(read.needed_amount("total"), sign),
        tax_total=_signed(read.amount("total_tax"), sign),
        tax_class=read.text("tax_class"),
        taxes=_taxes(read, sign),
        options=tuple(_options(meta)) if variation_id else (),
        origin_id=_origin(meta),
    )


def _plain(read: Reader, kind: LineKind, sign: int) -> Line:
    """A shipping line or a fee, which know no discount."""
    total, tax = _signed(read.needed_amount("total"), sign), _signed(read.amount("total_tax"), sign)
    return Line(
        line_id=read.id("id", is_needed=True),
        kind=kind,
        description=read.words("method_title" if kind == "shipping" else "name"),
        subtotal=total,
        subtotal_tax=tax,
        total=total,
        tax_total=tax,
        tax_class=read.text("tax_class"),
        taxes=_taxes(read, sign),
        origin_id=_origin(read.many("meta_data")),
    )


def _taxes(read: Reader, sign: int) -> tuple[LineTax, ...]:
    """By rate; a rate that does not apply to the line stands there without a total."""
    found = ((one, one.number("total"), one.number("subtotal")) for one in read.many("taxes"))
    return tuple(
        LineTax(
            rate_id=one.id("id", is_needed=True),
            total=_signed(total, sign),
            subtotal=None if before is None else _signed(before, sign),
        )
        for one, total, before in found
        if total is not None
    )


def _options(meta: Iterable[Reader]) -> Iterator[tuple[str, str]]:
    """What the customer chose, as the shop shows it; keys that begin with _ are the shop's own."""
    for one in meta:
        shown = (one.payload.get("key"), one.payload.get("display_key"), one.payload.get("display_value"))
        if all(isinstance(part, str) for part in shown) and not one.text("key").startswith("_"):
            yield one.prose("display_key"), one.prose("display_value")


def _signed(amount: Decimal, sign: int) -> Decimal:
    """Never -0."""
    return sign * amount + ZERO


def _origin(meta: Iterable[Reader]) -> str:
    return next((one.id("value") for one in meta if one.payload.get("key") == "_refunded_item_id"), "")


# --- taxes and coupons ---
def _tax_lines(read: Reader, *, sign: int) -> tuple[TaxLine, ...]:
    return tuple(
        TaxLine(
            rate_id=one.id("rate_id"),
            code=one.text("rate_code"),
            label=one.words("label"),
            percent=one.number("rate_percent"),
            is_compound=one.flag("compound"),
            total=_signed(one.amount("tax_total"), sign),
            shipping_total=_signed(one.amount("shipping_tax_total"), sign),
        )
        for one in read.many("tax_lines")
    )


def _coupon(read: Reader) -> Discount:
    return Discount(
        code=read.words("code"),
        kind=read.text("discount_type"),
        total=read.amount("discount"),
        tax_total=read.amount("discount_tax"),
    )
