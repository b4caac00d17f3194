"""The lines of a document, in cents: what was sold at what it cost, what was taken off, and what rounding leaves."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connections.providers.base import Json
from sync.canonical import ZERO, Document, Line, Order, apportioned, exponent_of, rounded
from sync.targets.quickbooks import taxing
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.outcome import Flag, Hold, reference
from sync.targets.quickbooks.products import item_of_line
from sync.targets.quickbooks.taxing import CENTS, Coded
from sync.targets.quickbooks.texts import MAX_DESCRIPTION, single_line

SHIPPING, GRATUITY = "SHIPPING_ITEM_ID", "GRATUITY_ITEM_ID"
SALES = "SalesItemLineDetail"
ROUNDING = "Rounding difference"
PRICE = Decimal("0.00001")
MAX_AMOUNT = Decimal(99_999_999_999)
_NEAR = Decimal("0.005")
_LEAST, _MOST, _DIGITS = Decimal("0.0001"), Decimal(10) ** 9, 12


@dataclass(frozen=True, slots=True)
class Money:
    """What stands on a document: its lines and its tax, together exactly `total`. rounding: what its rounding line has."""

    lines: list[Json]
    tax: Json | None
    total: Decimal
    rounding: Decimal = ZERO

    @property
    def fields(self) -> Json:
        """TxnTaxDetail goes with every change of the lines, or the old tax would stay."""
        return {"Line": self.lines} | ({"TxnTaxDetail": self.tax} if self.tax is not None else {})

    @property
    def flags(self) -> tuple[Flag, ...]:
        words = "The shop's own sums differ from its total; the difference is on the rounding line."
        return (Flag("rounding", words, self.rounding),) if self.rounding else ()


@dataclass(frozen=True, slots=True)
class Piece:
    """One line, its amounts in cents. off: what was taken off it."""

    line: Line
    total: Decimal
    off: Decimal
    code: str


def money_of(document: Document, books: Books) -> Money:
    """Lines, tax and total. Raises Hold where they cannot come to what the shop says."""
    _require_cents(document)
    taxing.require_taxable(document, books)
    limit = books.options.rounding_limit
    pieces = list(_pieces(document, books))
    lines = [_line(piece, document, books) for piece in pieces if _is_shown(piece)]
    if books.options.discount_rule == "line":
        lines += _discounts(pieces, document, books)
    coded = [Coded(one.code, one.total, _taxes(one.line)) for one in pieces if one.line.kind != "text"]
    rounding = _gap(document, pieces)
    if rounding:
        lines.append(rounding_line(rounding, books))
        coded.append(Coded(taxing.untaxed_code(books), rounding))
    if not lines:
        raise Hold("no_lines", "The document has no lines.", "Nothing can be posted; resolve it by hand.")
    return Money(lines, taxing.detail(document, coded, books, limit), rounded(document.total, CENTS), rounding)


def rounding_line(amount: Decimal, books: Books) -> Json:
    """Untaxed, on the item that is there for it. Raises Hold where it is more than the limit."""
    if abs(amount) > books.options.rounding_limit:
        raise Hold(
            "parts_differ",
            f"The parts of the document and its total are {abs(amount)} apart, more than the {books.options.rounding_limit} that may be rounded.",
            "Have the shop recalculate the order. Gift cards and deposits of some plugins take off a total without a line: "
            "have them shown as fees.",
        )
    return _sold(ROUNDING, amount, _chosen(books.items.rounding, "rounding"), taxing.untaxed_code(books))


# --- sums ---
def _require_cents(document: Document) -> None:
    """QuickBooks keeps cents: what a currency counts in thousandths of is not rounded on the way."""
    amounts = [document.total]
    if exponent_of(document.currency) > CENTS:
        amounts += [document.tax_total, *(one for line in document.lines for one in (line.total, line.subtotal))]
    if any(amount != rounded(amount, CENTS) for amount in amounts):
        raise Hold(
            "amount_too_fine",
            f"QuickBooks keeps two decimals, and this document in {document.currency} has more.",
            "Enter it by hand, rounded as your accountant wants it.",
        )
    if document.total < 0:
        raise Hold(
            "total_negative",
            f"The total is {document.total}, and QuickBooks takes none below zero.",
            "Enter it by hand, as a refund or a credit.",
        )
    if any(abs(one) > MAX_AMOUNT for line in document.lines for one in (line.total, line.subtotal, document.total)):
        raise Hold("amount_too_large", "An amount is larger than QuickBooks takes.", "Correct the order in the shop.")


def _pieces(document: Document, books: Books) -> Iterator[Piece]:
    """Totals are apportioned, so that they come to the cent to what all of them come to; what was taken off likewise."""
    places = taxing.places_of(document)
    totals = apportioned([line.total for line in document.lines], places)
    off = apportioned([_off(line) for line in document.lines], places)
    for line, total, less in zip(document.lines, totals, off, strict=True):
        if line.kind == "tax":
            raise Hold("line_kind", f"“{line.description}” is a line of tax.", "Enter the document by hand.")
        code = "" if line.kind == "text" else taxing.line_code(line, document, books)
        yield Piece(line, total, less, code)


def _off(line: Line) -> Decimal:
    return ZERO if line.kind in ("discount", "unallocated") else line.subtotal - line.total


def _taxes(line: Line) -> tuple[tuple[str, Decimal], ...]:
    return tuple((tax.rate_id, tax.total) for tax in line.taxes)


def _gap(document: Document, pieces: list[Piece]) -> Decimal:
    """What of the total neither lines nor tax explain."""
    net = sum((piece.total for piece in pieces), ZERO)
    return rounded(document.total, CENTS) - net - taxing.tax_of(document)


def _is_shown(piece: Piece) -> bool:
    """A product is shown even if it is given away; free shipping and fees of nothing are not."""
    return piece.line.kind in ("product", "text") or bool(piece.total or piece.off)


# --- lines ---
def _line(piece: Piece, document: Document, books: Books) -> Json:
    line = piece.line
    if line.kind == "text":
        return {"DetailType": "DescriptionOnly", "Description": _words(line.description), "DescriptionLineDetail": {}}
    amount = piece.total if books.options.discount_rule == "net" else piece.total + piece.off
    return _sold(line.description, amount, _item(line, document, books), piece.code, line.quantity)


def _sold(description: str, amount: Decimal, item: Any, code: str, quantity: Decimal | None = None) -> Json:
    told, mark = priced(amount, quantity)
    made = {"ItemRef": reference(item), **told} | ({"TaxCodeRef": {"value": code}} if code else {})
    words = _words(f"{mark}{description}")
    line: Json = {"Amount": amount, "DetailType": SALES, SALES: made}
    return line | ({"Description": words} if words else {})


def priced(amount: Decimal, quantity: Decimal | None) -> tuple[Json, str]:
    """Qty and UnitPrice that come to the amount, which QuickBooks checks, and what the description has to say beside them.

    A price of five decimals reaches the cent for all but large quantities: those are one of the whole, and told in words.
    """
    if not quantity or quantity < 0:
        return {}, ""
    if _LEAST <= quantity < _MOST and len(quantity.normalize().as_tuple().digits) <= _DIGITS:
        price = (amount / quantity).quantize(PRICE, ROUND_HALF_UP)
        if abs(quantity * price - amount) < _NEAR and abs(price) <= MAX_AMOUNT:
            return {"Qty": quantity, "UnitPrice": price + 0}, ""
    return {"Qty": Decimal(1), "UnitPrice": amount}, f"{quantity.normalize():f} × "


def _item(line: Line, document: Document, books: Books) -> Any:
    items, name = books.items, line.description.casefold()
    if line.kind == "shipping":
        return items.shipping or (SHIPPING if books.allows_shipping else _chosen("", "shipping"))
    if line.kind == "discount":
        return _chosen(items.discount, "discount")
    if line.kind == "unallocated":
        return _chosen(items.refund, "refund")
    if line.kind == "fee":
        if name in books.options.gift_cards:
            return _chosen(items.gift_card, "gift_card")
        if name in books.options.tips:
            return items.tip or (GRATUITY if books.allows_tips else _chosen(items.fee, "fee"))
        return _chosen(items.fee, "fee")
    if {line.product_id, line.variation_id, line.sku.casefold()} & (books.options.gift_cards - {""}):
        return _chosen(items.gift_card, "gift_card")
    return item_of_line(line, books)


def _discounts(pieces: list[Piece], document: Document, books: Books) -> list[Json]:
    """One negative line per tax code, so that the tax of each code is on what was really paid."""
    off: dict[str, Decimal] = {}
    for piece in pieces:
        if piece.off:
            off[piece.code] = off.get(piece.code, ZERO) + piece.off
    codes = ", ".join(one.code for one in document.discounts if one.code) if isinstance(document, Order) else ""
    words = f"Discount: {codes}" if codes else "Discount"
    return [
        _sold(words, -amount, _chosen(books.items.discount, "discount"), code) for code, amount in off.items() if amount
    ]


def _words(text: str) -> str:
    return single_line(text)[:MAX_DESCRIPTION]


def _chosen(item: str, name: str) -> str:
    if item:
        return item
    raise Hold(
        "item_missing",
        f"No item is chosen for {name.replace('_', ' ')} lines.",
        "Choose it among the flow's default items.",
    )


def with_rounding(lines: list[Json], amount: Decimal, books: Books) -> list[Json]:
    """The lines with the amount on the rounding line, on top of what it has. Raises Hold where that is more than the limit."""
    others = [line for line in lines if line.get("Description") != ROUNDING]
    before = sum((line["Amount"] for line in lines if line.get("Description") == ROUNDING), ZERO)
    together = before + amount
    return [*others, rounding_line(together, books)] if together else others
