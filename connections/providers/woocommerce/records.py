"""What a shop sends, as source records, and what is written, as the shop wants it. Pure functions.

Of every date only its `_gmt` twin counts, which is UTC without saying so. Money is decimal text; JSON's numbers are
Decimal already. A product variation is a record of `products`: its `type` is "variation", its `parent_id` its product's.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from connections.errors import RejectedRecord
from connections.providers.base import Json, SourceRecord, TargetRecord

RESOURCES = {
    "customers": "customers",
    "products": "products",
    "orders": "orders",
    "refunds": "refunds",
    "coupons": "coupons",
    "taxes": "taxes",
}
KEY_META = "_causeway_key"  # whose record a product or customer is: ours, and which
MONEY = frozenset({"price", "regular_price", "sale_price"})


def source_record(entity: str, payload: Json) -> SourceRecord:
    """The record as it is at its source. Raises ValueError where it has no id."""
    modified_at = instant(payload.get("date_modified_gmt")) or instant(payload.get("date_created_gmt"))
    return SourceRecord(
        entity=entity,
        external_id=identifier(payload),
        payload=payload,
        modified_at=modified_at,
        is_removed=payload.get("status") == "trash",
    )


def variation_record(payload: Json, *, parent_id: str = "") -> SourceRecord:
    """A variation, with what older shops leave out: its type, and whose it is."""
    parent: Any = payload.get("parent_id") or (int(parent_id) if parent_id else None)
    return source_record("products", {**payload, "type": "variation", "parent_id": parent})


def refund_record(payload: Json, *, order_id: str = "") -> SourceRecord:
    """A refund, with its order's id, which only the list of all refunds has."""
    parent: Any = payload.get("parent_id") or (int(order_id) if order_id else None)
    return source_record("refunds", {**payload, "parent_id": parent})


def removed(entity: str, external_id: str) -> SourceRecord:
    return SourceRecord(entity=entity, external_id=external_id, payload={}, is_removed=True)


def identifier(payload: Mapping[str, Any]) -> str:
    found = payload.get("id")
    if isinstance(found, bool) or not isinstance(found, int | Decimal | str) or not str(found).isdecimal():
        raise ValueError("a record without an id")
    return str(found)


def instant(value: Any) -> datetime | None:
    """A date of the API, which is UTC and says no zone; None for none, or for one that no calendar has."""
    if not isinstance(value, str) or not value or value.startswith("0000"):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def wire_date(moment: datetime) -> str:
    """As filters take it, together with dates_are_gmt: a suffix would shift it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def refund_ids(order: Mapping[str, Any]) -> list[str]:
    """Ids of the refunds that an order names."""
    found = order.get("refunds")
    return (
        [str(row["id"]) for row in found if isinstance(row, dict) and row.get("id")] if isinstance(found, list) else []
    )


# --- what is written ---
def body_of(record: TargetRecord) -> Json:
    """The body that writes this record. Raises RejectedRecord for what a shop is not to be told."""
    body = {name: _plain(name, value) for name, value in record.values.items()}
    if record.entity == "orders":
        return _order_body(record, body)
    if record.external_id:
        return {**body, "id": int(record.external_id)}
    meta = [*(body.get("meta_data") or ()), {"key": KEY_META, "value": record.key}]
    return {**body, "meta_data": meta}


def key_of(payload: Mapping[str, Any]) -> str:
    """The key that we gave this product or customer when we made it; "" for one of the shop's own."""
    meta = payload.get("meta_data")
    for row in meta if isinstance(meta, list) else ():
        if isinstance(row, dict) and row.get("key") == KEY_META:
            return str(row.get("value"))
    return ""


_ORDER_FIELDS = frozenset({"status", "meta_data", "customer_note", "transaction_id"})


def _order_body(record: TargetRecord, body: Json) -> Json:
    """Orders are the shop's: their state is told, their money never. `refunded` would have the shop make a refund."""
    if not record.external_id:
        raise RejectedRecord("Orders are made in the shop, not here.", fields={"external_id": ["Missing."]})
    if unfit := sorted(set(body) - _ORDER_FIELDS):
        told = {name: ["Only the shop writes this of an order."] for name in unfit}
        raise RejectedRecord(f"An order's {', '.join(unfit)} cannot be written.", fields=told)
    if record.operation == "void":
        body = {**body, "status": "cancelled"}
    if body.get("status") == "refunded":
        told = {"status": ["Refund the order in the shop: this status would make a refund of the whole rest."]}
        raise RejectedRecord("The status refunded cannot be written.", fields=told)
    return {**body, "id": int(record.external_id)}


def _plain(name: str, value: Any) -> Any:
    """Money as decimal text, as the shop has it. Other numbers stay numbers."""
    if isinstance(value, Decimal) and name in MONEY:
        return format(value, "f")
    return value
