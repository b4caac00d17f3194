"""Canonical records as QuickBooks' documents, to the cent. Pure: no model, no HTTP; docs/explanation/accounting.md says why.

`Books` says what is known of a company and chosen for it, `gaps` what is missing of that. The builders give a `Draft`
(what to write, once its needs are resolved), `Nothing`, or `Held`: never a guess. `proof` compares what was written.
"""

from sync.targets.quickbooks.books import Books, Items, Options, Shop, Taxes
from sync.targets.quickbooks.customers import customer_of, customer_record, renamed_customer
from sync.targets.quickbooks.documents import is_paid, order_document
from sync.targets.quickbooks.gaps import Gap, gaps
from sync.targets.quickbooks.lines import with_rounding
from sync.targets.quickbooks.matching import matched
from sync.targets.quickbooks.outcome import Draft, Existing, Flag, Held, Match, Need, Nothing, Outcome
from sync.targets.quickbooks.payments import order_payment
from sync.targets.quickbooks.products import product_item, renamed_item
from sync.targets.quickbooks.proof import Agrees, Mismatch, Proof, RoundingLine, proof
from sync.targets.quickbooks.reading import books_of
from sync.targets.quickbooks.refunds import credit_application, refund_document

__all__ = [
    "Agrees",
    "Books",
    "Draft",
    "Existing",
    "Flag",
    "Gap",
    "Held",
    "Items",
    "Match",
    "Mismatch",
    "Need",
    "Nothing",
    "Options",
    "Outcome",
    "Proof",
    "RoundingLine",
    "Shop",
    "Taxes",
    "books_of",
    "credit_application",
    "customer_of",
    "customer_record",
    "gaps",
    "is_paid",
    "matched",
    "order_document",
    "order_payment",
    "product_item",
    "proof",
    "refund_document",
    "renamed_customer",
    "renamed_item",
    "with_rounding",
]
