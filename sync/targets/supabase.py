"""Canonical records as rows of a store, by the columns of its contract.

A text that says nothing is NULL. Where the source knows only the day of something, its instant is that day's first in
UTC. An order's lines and its tax have the decimals of its total, and together they come to what they came to before.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from connections.providers.base import Json, TargetRecord
from sync.canonical import (
    Address,
    Bill,
    Canonical,
    Customer,
    Document,
    Line,
    Order,
    Party,
    Payment,
    Product,
    Refund,
    Vendor,
    apportioned,
    rounded,
)

PRICE_PLACES = 4  # what a column of money holds; prices may be finer


def target_record(
    record: Canonical, *, connection_id: UUID, source_system: str, raw: Json | None = None
) -> TargetRecord:
    """The row that says the record: every column of its table that is not the store's own (its hash, its tombstone).

    raw: the payload, where it is to be kept, too; then a change that the record does not show changes the row all the same.
    """
    values = _COLUMNS[type(record)](record) | {
        "connection_id": connection_id,
        "source_system": source_system,
        "raw": None if raw is None else _storable(raw),
        "source_modified_at": record.modified_at,
    }
    return TargetRecord(record.entity, record.source_id, {name: _null(value) for name, value in values.items()})


def removed(
    entity: str, source_id: str, *, connection_id: UUID, source_system: str, modified_at: datetime | None = None
) -> TargetRecord:
    """The tombstone of a record that its source does not have any more."""
    scope = {"connection_id": connection_id, "source_system": source_system, "source_modified_at": modified_at}
    return TargetRecord(entity, source_id, scope, operation="void")


# --- columns, entity by entity ---
def _party(record: Party) -> Json:
    return {
        "name": record.name,
        "first_name": record.first_name,
        "last_name": record.last_name,
        "company": record.company,
        "email": record.email,
        "phone": record.phone,
        "currency": record.currency,
        "billing_address": _address(record.billing),
        "shipping_address": _address(record.shipping),
        "is_active": record.is_active,
        "source_created_at": record.created_at,
    }


def _vendor(record: Vendor) -> Json:
    return _party(record) | {"balance": record.balance}


def _product(record: Product) -> Json:
    return {
        "sku": record.sku,
        "name": record.name,
        "description": record.description,
        "kind": record.kind,
        "status": record.status,
        "parent_source_id": record.parent_id,
        "price": None if record.price is None else rounded(record.price, PRICE_PLACES),
        "currency": record.currency,
        "stock_quantity": record.stock_quantity,
        "is_active": record.is_active,
        "source_created_at": record.created_at,
    }


def _order(record: Order) -> Json:
    *totals, tax_total = apportioned([*(line.total for line in record.lines), record.tax_total], record.places)
    return _document(record) | {
        "document": record.document,
        "customer_source_id": record.customer_id,
        "tax_total": tax_total,
        "ordered_at": _instant(record.ordered_at, record.ordered_on),
        "due_on": record.due_on,
        "subtotal": rounded(record.subtotal, record.places),
        "discount_total": rounded(record.discount_total, record.places),
        "shipping_total": rounded(record.shipping_total, record.places),
        "balance": record.balance,
        "billing_address": _address(record.billing),
        "shipping_address": _address(record.shipping),
        "memo": record.memo,
        "lines": _lines(record, totals),
    }


def _refund(record: Refund) -> Json:
    return _document(record) | {
        "document": record.document,
        "order_source_id": record.order_id,
        "customer_source_id": record.customer_id,
        "refunded_at": _instant(record.refunded_at, record.refunded_on),
        "reason": record.reason,
    }


def _payment(record: Payment) -> Json:
    return {
        "number": record.number,
        "status": record.status,
        "currency": record.currency,
        "customer_source_id": record.customer_id,
        "order_source_id": record.order_id,
        "method": record.method_title or record.method,
        "paid_at": _instant(record.paid_at, record.paid_on),
        "total": record.total,
        "unapplied": record.unapplied,
        "memo": record.memo,
    }


def _bill(record: Bill) -> Json:
    """What QuickBooks calls a bill's memo is a note of the company's own."""
    return _document(record) | {
        "vendor_source_id": record.vendor_id,
        "billed_on": record.billed_on,
        "due_on": record.due_on,
        "balance": record.balance,
        "memo": record.memo or record.private_note,
    }


def _document(record: Document) -> Json:
    return {
        "number": record.number,
        "status": record.status,
        "currency": record.currency,
        "tax_total": rounded(record.tax_total, record.places),
        "total": record.total,
    }


_COLUMNS: dict[type[Canonical], Callable[[Any], Json]] = {
    Customer: _party,
    Vendor: _vendor,
    Product: _product,
    Order: _order,
    Refund: _refund,
    Payment: _payment,
    Bill: _bill,
}


# --- parts ---
def _lines(record: Order, totals: Sequence[Decimal]) -> list[Json]:
    """Subtotals are rounded by what was taken off, so that a line without a discount has one amount, not two."""
    taxes = apportioned([line.tax_total for line in record.lines], record.places)
    off = apportioned([line.subtotal - line.total for line in record.lines], record.places)
    return [_line(line, number, totals[number], taxes[number], off[number]) for number, line in enumerate(record.lines)]


def _line(line: Line, number: int, total: Decimal, tax: Decimal, off: Decimal) -> Json:
    told = {
        "line_id": line.line_id,
        "position": number + 1,
        "kind": line.kind,
        "product_source_id": line.item_id,
        "sku": line.sku,
        "description": line.description,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "subtotal": total + off,
        "tax_total": tax,
        "total": total,
    }
    return {name: _null(value) for name, value in told.items()}


def _address(where: Address) -> Json | None:
    """Its parts that say something."""
    told = {name: part for name in _ADDRESS if (part := getattr(where, name))}
    return told or None


_ADDRESS = tuple(Address.__dataclass_fields__)


def _instant(moment: datetime | None, day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if moment is None and day is not None else moment


def _null(value: Any) -> Any:
    return None if value == "" else value


def _storable(value: Any) -> Any:
    """Without what jsonb cannot hold, which plugins write all the same: NUL, and halves of characters."""
    if isinstance(value, str):
        return value if value.isprintable() else value.replace("\x00", "\ufffd").encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list | tuple) else value
