"""The rules that are shipped, as data: a start for every target and entity that somebody may then change.

Those of a store say what its columns hold without any rule. Those of QuickBooks come in two: for a company in the US,
whose items are taxable or not, and for one anywhere else, where the codes of the company's own say that.
"""

from collections.abc import Iterable
from typing import Any

from sync.mapping import books, stores

Json = dict[str, Any]
US, GLOBAL, STANDARD = "us", "global", "standard"

_PARTY = {
    "name": "record.name",
    "first_name": "record.first_name",
    "last_name": "record.last_name",
    "company": "record.company",
    "email": "record.email",
    "phone": "record.phone",
    "currency": "record.currency",
    "billing_address": "record.billing",
    "shipping_address": "record.shipping",
    "is_active": "record.is_active",
    "source_created_at": "record.created_at",
}
_STORES: dict[str, dict[str, str]] = {
    "customers": _PARTY,
    "vendors": _PARTY,
    "products": {
        "sku": "record.sku",
        "name": "record.name",
        "description": "record.description",
        "kind": "record.kind",
        "status": "record.status",
        "price": "has(record.price) ? round(record.price, 4) : null",
        "currency": "record.currency",
        "stock_quantity": "record.stock_quantity",
        "is_active": "record.is_active",
        "source_created_at": "record.created_at",
    },
    "orders": {
        "number": "record.number",
        "document": "record.document",
        "status": "record.status",
        "ordered_at": "has(record.ordered_at) || !has(record.ordered_on) ? record.ordered_at : instant(record.ordered_on)",
        "due_on": "record.due_on",
        "billing_address": "record.billing",
        "shipping_address": "record.shipping",
        "memo": "record.memo",
        "lines.kind": "line.kind",
        "lines.sku": "line.sku",
        "lines.description": "line.description",
    },
    "refunds": {
        "number": "record.number",
        "document": "record.document",
        "status": "record.status",
        "refunded_at": "has(record.refunded_at) || !has(record.refunded_on) ? record.refunded_at : instant(record.refunded_on)",
        "reason": "record.reason",
    },
    "payments": {
        "number": "record.number",
        "status": "record.status",
        "method": "first(record.method_title, record.method)",
        "paid_at": "has(record.paid_at) || !has(record.paid_on) ? record.paid_at : instant(record.paid_on)",
        "memo": "record.memo",
    },
    "bills": {
        "number": "record.number",
        "status": "record.status",
        "billed_on": "record.billed_on",
        "due_on": "record.due_on",
        "memo": "first(record.memo, record.private_note)",
    },
}
_NAMED = (
    "oneLine(first(record.name, record.company, record.email, '{} ' + record.source_id)).replace(':', '-').cut(500)"
)
_PERSON = {
    "GivenName": "record.first_name.oneLine().cut(100)",
    "FamilyName": "record.last_name.oneLine().cut(100)",
    "CompanyName": "record.company.oneLine().cut(100)",
    "PrimaryEmailAddr": "isEmail(record.email) && size(record.email) <= 100 ? record.email : ''",
    "PrimaryPhone": "size(record.phone.oneLine()) <= 20 ? record.phone.oneLine() : ''",
    "BillAddr": "record.billing",
}
_SALE = {
    "BillEmail": "isEmail(record.billing.email) && size(record.billing.email) <= 100 ? record.billing.email : ''",
    "BillAddr": "record.billing",
    "ShipAddr": "has(record.shipping.line1) || has(record.shipping.city) ? record.shipping : record.billing",
}
_LINES = {"Line.Description": "line.description.cut(4000)"}
_BOOKS: dict[str, dict[str, str]] = {
    "customers": {"DisplayName": _NAMED.format("Customer"), **_PERSON, "ShipAddr": "record.shipping"},
    "vendors": {"DisplayName": _NAMED.format("Vendor"), **_PERSON},
    "products": {
        "Name": "oneLine(first(record.name, record.sku, 'Product ' + record.source_id)).replace(':', '-').replace('\"', '\\'').cut(100)",
        "Type": "record.kind == 'service' ? 'Service' : 'NonInventory'",
        "Sku": "record.sku.oneLine().cut(100)",
        "Description": "record.description.cut(4000)",
        "UnitPrice": "has(record.price) ? round(record.price, 5) : null",
    },
    "orders": {
        "DueDate": "record.due_on",
        "PaymentRefNum": "record.transaction_id.oneLine().last(21)",
        **_SALE,
        **_LINES,
    },
    "refunds": _LINES,
    "payments": {"PaymentRefNum": "record.transaction_id.oneLine().last(21)"},
    "bills": {"DocNumber": "record.number.oneLine().last(21)", "DueDate": "record.due_on"},
}
_REQUIRED = ("DisplayName", "Name", "Type")
_US: dict[str, dict[str, str]] = {"products": {"Taxable": "record.is_taxable"}}


def default_rules(target: str, entity: str, region: str = "") -> list[Json]:
    """The shipped rules. region: of QuickBooks us or global (the default is us); of others standard. Raises KeyError."""
    return DEFAULTS[target, entity, region or regions(target)[0]]


def regions(target: str) -> tuple[str, ...]:
    return (US, GLOBAL) if target == books.TARGET else (STANDARD,)


def _rules(named: Iterable[tuple[str, str]]) -> list[Json]:
    return [
        {"target": target, "expression": expression, "default": None, "required": target in _REQUIRED, "lookup": None}
        for target, expression in named
    ]


DEFAULTS: dict[tuple[str, str, str], list[Json]] = {
    **{(stores.TARGET, entity, STANDARD): _rules(named.items()) for entity, named in _STORES.items()},
    **{(books.TARGET, entity, US): _rules((named | _US.get(entity, {})).items()) for entity, named in _BOOKS.items()},
    **{(books.TARGET, entity, GLOBAL): _rules(named.items()) for entity, named in _BOOKS.items()},
}
