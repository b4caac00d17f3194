"""Which records a flow takes, and which of them a run was asked for. Pure functions of canonical records."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from connections.providers.base import Json
from sync.canonical import Canonical, Order, Payment, Refund
from sync.models import Flow


def is_taken(flow: Flow, record: Canonical) -> bool:
    """Whether the flow takes it where nothing of it is at the target yet. What is there is kept up whatever it becomes."""
    if isinstance(record, Order):
        if flow.statuses and record.status not in flow.statuses:
            return False
        day = day_of(record)
        return not (flow.start_date and day and day < flow.start_date)
    return True


def day_of(record: Canonical) -> date | None:
    """The day that a record belongs to, by its source's calendar where it tells."""
    for name in ("ordered_on", "refunded_on", "paid_on", "billed_on"):
        if day := getattr(record, name, None):
            return day
    moment: datetime | None = getattr(record, "ordered_at", None) or record.created_at
    return moment.date() if moment else None


def is_asked_for(filters: Json, record: Canonical) -> bool:
    """Whether the record passes all of a run's filters; one that has nothing of the kind does not."""
    return all(_PASSES[name](wanted, record) for name, wanted in filters.items())


def _of_customer(wanted: str, record: Canonical) -> bool:
    return wanted == (record.source_id if record.entity == "customers" else getattr(record, "customer_id", None))


def _with_sku(wanted: str, record: Canonical) -> bool:
    skus = [getattr(record, "sku", "")] + [line.sku for line in getattr(record, "lines", ())]
    return wanted in skus


def _status(wanted: list[str], record: Canonical) -> bool:
    return getattr(record, "status", None) in wanted


def _total(record: Canonical) -> Decimal | None:
    return record.total if isinstance(record, Order | Refund | Payment) else getattr(record, "total", None)


def _from_day(wanted: str, record: Canonical) -> bool:
    day = day_of(record)
    return day is not None and day >= date.fromisoformat(wanted)


def _to_day(wanted: str, record: Canonical) -> bool:
    day = day_of(record)
    return day is not None and day <= date.fromisoformat(wanted)


def _at_least(wanted: str, record: Canonical) -> bool:
    total = _total(record)
    return total is not None and total >= Decimal(wanted)


def _at_most(wanted: str, record: Canonical) -> bool:
    total = _total(record)
    return total is not None and total <= Decimal(wanted)


_PASSES: dict[str, Any] = {
    "status": _status,
    "date_from": _from_day,
    "date_to": _to_day,
    "customer": _of_customer,
    "sku": _with_sku,
    "total_min": _at_least,
    "total_max": _at_most,
}
FILTERS = tuple(_PASSES)


def parents_of(record: Canonical) -> list[tuple[str, str]]:
    """(entity, id) of the records that have to be at the target before this one."""
    found = []
    if order_id := getattr(record, "order_id", ""):
        found.append(("orders", order_id))
    if customer_id := getattr(record, "customer_id", ""):
        found.append(("customers", customer_id))
    if vendor_id := getattr(record, "vendor_id", ""):
        found.append(("vendors", vendor_id))
    found += [("products", line.item_id) for line in getattr(record, "lines", ()) if line.item_id]
    return list(dict.fromkeys(found))
