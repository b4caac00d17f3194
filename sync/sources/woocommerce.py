"""What a WooCommerce shop tells as canonical records; orders and refunds are in `woocommerce_orders`. Pure functions."""

from collections.abc import Iterator, Mapping
from typing import Any

from connections.providers.base import SourceRecord
from sync.canonical import Canonical, Customer, Product
from sync.sources.reading import Reader
from sync.sources.woocommerce_orders import address, default_currency, name_of, order, refund

PROVIDER = "woocommerce"
ENTITIES = ("customers", "products", "orders", "refunds")


def canonical(record: SourceRecord, facts: Mapping[str, Any]) -> Canonical | None:
    """See `sync.sources.canonical_of`. facts: `shop.currency` is the shop's; `currency` that of the order, for a refund."""
    read = Reader(record.payload)
    found = _MAKERS[record.entity](read, facts)
    read.finish(PROVIDER)
    return found


def customer(read: Reader, _facts: Mapping[str, Any]) -> Customer:
    billing, shipping = address(read.one("billing")), address(read.one("shipping"))
    first_name, last_name = read.words("first_name"), read.words("last_name")
    if not (first_name or last_name):
        first_name, last_name = billing.first_name, billing.last_name
    email = read.text("email") or billing.email
    name = f"{first_name} {last_name}".strip() or name_of(billing) or name_of(shipping)
    return Customer(
        source_id=read.id("id", is_needed=True),
        created_at=read.instant("date_created_gmt"),
        modified_at=read.instant("date_modified_gmt"),
        name=name or read.text("username") or email,
        first_name=first_name,
        last_name=last_name,
        company=billing.company or shipping.company,
        email=email,
        phone=billing.phone or shipping.phone,
        billing=billing,
        shipping=shipping,
    )


def product(read: Reader, facts: Mapping[str, Any]) -> Product | None:
    """None for one that nobody has written yet. A variation has what it differs by as its options and, if need be, name."""
    status = read.text("status")
    if status == "auto-draft":
        return None
    options = tuple(_options(read))
    is_counted = read.payload.get("manage_stock") not in (None, "", "parent") and read.flag("manage_stock")
    return Product(
        source_id=read.id("id", is_needed=True),
        created_at=read.instant("date_created_gmt"),
        modified_at=read.instant("date_modified_gmt"),
        sku=read.text("sku"),
        barcode=read.text("global_unique_id"),
        name=read.words("name") or ", ".join(choice for _name, choice in options),
        description=read.prose("description") or read.prose("short_description"),
        kind=read.text("type") or "simple",
        status=status,
        parent_id=read.id("parent_id"),
        options=options,
        price=read.number("price"),
        regular_price=read.number("regular_price"),
        currency=default_currency(facts),
        tax_class=read.text("tax_class"),
        is_taxable=read.text("tax_status") in ("", "taxable"),
        stock_quantity=read.number("stock_quantity") if is_counted else None,
        is_active=status in ("", "publish"),
    )


def _options(read: Reader) -> Iterator[tuple[str, str]]:
    """Of a variation: a product lists all that there are to choose from, and that is no choice."""
    for one in read.many("attributes"):
        if isinstance(one.payload.get("option"), str):
            yield one.words("name"), one.words("option")


def _order(read: Reader, _facts: Mapping[str, Any]) -> Canonical | None:
    return order(read)


_MAKERS = {"customers": customer, "products": product, "orders": _order, "refunds": refund}
