"""Whole shops as our client reads them, years of orders and refunds included: all of it in canonical form, to the cent."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from connections.providers.woocommerce import pulling
from sync.canonical import Canonical, Order, Product, Refund
from sync.sources import canonical_of
from tests.connections.providers.woocommerce.conftest import access_to
from tests.connections.sandbox.shops import Shop
from tests.property.shopping import KINDS


def everything(shop: Shop, entity: str, facts: dict[str, Any]) -> list[Canonical]:
    pages = pulling.pull(access_to(shop), entity, {})
    found = (canonical_of("woocommerce", record, facts) for page in pages for record in page.records)
    return [record for record in found if record is not None]


@pytest.mark.parametrize("kind", KINDS, ids=[f"{kind['currency']} {kind['tax_rounding']}" for kind in KINDS])
def test_every_order_and_refund_of_a_shop_adds_up(simulator, kind):
    shop = Shop(simulator.url, {"orders": 150, "products": 20, "customers": 10} | kind)
    try:
        orders = everything(shop, "orders", {})
        refunds = everything(shop, "refunds", {"currency": kind["currency"]})
        products = everything(shop, "products", {"shop": {"currency": kind["currency"]}})
        customers = everything(shop, "customers", {})
    finally:
        shop.close()
    documents = [one for one in orders + refunds if isinstance(one, Order | Refund)]
    assert len(orders) > 120
    assert len(refunds) > 5
    assert [(one.source_id, one.gap()) for one in documents if one.gap()] == []
    assert_paid_back_within(orders, refunds)
    assert {one.currency for one in products if isinstance(one, Product)} == {kind["currency"]}
    assert Counter(one.kind for one in products if isinstance(one, Product))["variation"] > 5
    assert all(one.name for one in customers if hasattr(one, "name"))


def assert_paid_back_within(orders: list[Canonical], refunds: list[Canonical]) -> None:
    """Every refund is of an order that is there, and nobody was paid back more than they paid."""
    totals = {one.source_id: one.total for one in orders if isinstance(one, Order)}
    back: Counter[str] = Counter()
    for one in refunds:
        if isinstance(one, Refund) and one.order_id in totals:  # not one of an order that is in the bin
            back[one.order_id] += one.total  # type: ignore[assignment]
    assert len(back) > 5
    assert all(Decimal(amount) <= totals[order] for order, amount in back.items())
