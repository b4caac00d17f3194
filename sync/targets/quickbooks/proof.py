"""The money proof: what was written comes to what the shop says, or somebody is told by how much it does not."""

from dataclasses import dataclass
from decimal import Decimal

from sync.canonical import ZERO, Order, Refund, rounded
from sync.targets.quickbooks.books import Books
from sync.targets.quickbooks.taxing import tax_of


@dataclass(frozen=True, slots=True)
class Agrees:
    """To the cent, total and tax."""


@dataclass(frozen=True, slots=True)
class RoundingLine:
    """The document is to have this more on its rounding line (`lines.with_rounding`), as an update; then it agrees."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What the shop says and what the books say. Nothing hides it: a person looks at both."""

    source: Decimal
    target: Decimal
    source_tax: Decimal
    target_tax: Decimal


Proof = Agrees | RoundingLine | Mismatch


def proof(
    order: Order | Refund,
    written_total: Decimal,
    written_tax: Decimal | None,
    books: Books,
    *,
    rounding: Decimal = ZERO,
) -> Proof:
    """Compares what QuickBooks answered (TotalAmt, TxnTaxDetail.TotalTax) with the shop's record.

    rounding: what is on the document's rounding line already; with what would be added it stays within the limit. Tax
    that is off by more than the limit is a mismatch also where the totals agree: it would be filed wrong.
    """
    source, tax = rounded(order.total, 2), tax_of(order)
    target_tax = written_tax or ZERO
    gap, limit = order.total - written_total, books.options.rounding_limit
    is_tax_near = abs(tax - target_tax) <= (limit if gap or rounding else ZERO)
    if not gap and is_tax_near:
        return Agrees()
    if is_tax_near and abs(gap + rounding) <= limit:
        return RoundingLine(gap)
    return Mismatch(source, written_total, tax, target_tax)
