"""What a QuickBooks company tells as canonical records; documents are in `quickbooks_documents`. Pure functions."""

from collections.abc import Callable, Mapping
from typing import Any

from connections.providers.base import SourceRecord
from sync.canonical import NOWHERE, Address, Canonical, Customer, Product, Vendor
from sync.sources import quickbooks_documents as documents
from sync.sources.quickbooks_documents import Told
from sync.sources.reading import Reader

PROVIDER = "quickbooks"
ENTITIES = ("customers", "products", "orders", "refunds", "payments", "vendors", "bills")
_KINDS = {"NonInventory": "non_inventory", "Group": "bundle"}  # others: their own word in small letters


def canonical(record: SourceRecord, facts: Mapping[str, Any]) -> Canonical:
    """See `sync.sources.canonical_of`. facts: `preferences.home_currency` counts where a record names none."""
    preferences = facts.get("preferences")
    home = preferences.get("home_currency") if isinstance(preferences, Mapping) else ""
    read = Reader(record.payload)
    told = Told(read, record.external_id, home if isinstance(home, str) else "")
    kind = record.external_id.rpartition(":")[0] or record.entity
    if kind not in _MAKERS:
        read.refuse("Id", "It does not say of what kind the document is: Invoice:1, CreditMemo:1.")
        read.finish(PROVIDER)
    found = _MAKERS[kind](told)
    read.finish(PROVIDER)
    return found


def customer(told: Told) -> Customer:
    return Customer(**_party(told), shipping=address(told.read.one("ShipAddr")), notes=told.read.text("Notes"))


def vendor(told: Told) -> Vendor:
    return Vendor(**_party(told))


def _party(told: Told) -> dict[str, Any]:
    read = told.read
    phones = (read.one(name).text("FreeFormNumber") for name in ("PrimaryPhone", "Mobile", "AlternatePhone"))
    first_name, last_name = read.text("GivenName"), read.text("FamilyName")
    return told.basics() | {
        "name": read.text("DisplayName") or f"{first_name} {last_name}".strip() or read.text("CompanyName"),
        "first_name": first_name,
        "last_name": last_name,
        "company": read.text("CompanyName"),
        "email": read.one("PrimaryEmailAddr").text("Address"),
        "phone": next((phone for phone in phones if phone), ""),
        "currency": told.currency(),
        "billing": address(read.one("BillAddr")),
        "is_active": read.flag("Active", default=True),
        "balance": read.number("Balance"),
    }


def product(told: Told) -> Product:
    read, kind = told.read, told.read.text("Type")
    is_counted = read.flag("TrackQtyOnHand")
    return Product(
        **told.basics(),
        sku=read.text("Sku"),
        name=read.text("FullyQualifiedName") or read.text("Name"),
        description=read.text("Description"),
        kind=_KINDS.get(kind, kind.lower()),
        status="active" if read.flag("Active", default=True) else "inactive",
        parent_id=read.one("ParentRef").id("value"),
        price=read.number("UnitPrice"),
        currency=told.home,
        tax_class=read.one("SalesTaxCodeRef").id("value"),
        is_taxable=read.flag("Taxable", default=True),
        stock_quantity=read.number("QtyOnHand") if is_counted else None,
        is_active=read.flag("Active", default=True),
    )


def address(read: Reader) -> Address:
    return documents.address(read) if read.payload else NOWHERE


_MAKERS: dict[str, Callable[[Told], Canonical]] = {
    "customers": customer,
    "vendors": vendor,
    "products": product,
    "Invoice": documents.invoice,
    "SalesReceipt": documents.sales_receipt,
    "RefundReceipt": documents.refund_receipt,
    "CreditMemo": documents.credit_memo,
    "payments": documents.payment,
    "bills": documents.bill,
}
