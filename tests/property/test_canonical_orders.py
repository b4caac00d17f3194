"""Whatever is ordered and paid back, its canonical form comes to what the shop says, and so does the row in a store."""

import random
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections.providers.supabase.contract import DEFAULTS
from connections.providers.supabase.records import row_of
from connections.providers.woocommerce import records
from sync.canonical import Order, Refund, content_hash, from_json, to_json
from sync.sources import canonical_of
from sync.targets.supabase import target_record
from tests.property import shopping
from tests.property.shopping import KINDS, Json, Till

IDS = [f"{kind['currency']} {kind['tax_rounding']}" for kind in KINDS]
FACTS = {"shop": {"currency": "XXX"}}  # an order names its own
PART = Decimal("0.01")


def hold(simulator, kind: Json, *, examples: int, is_random: bool = False) -> None:
    with shopping.opened(simulator.url, kind) as till:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=not is_random,
            suppress_health_check=list(HealthCheck),
        )
        @given(data=st.data())
        def run(data):
            made = till.shop.post("/orders", **data.draw(shopping.orders(till)))
            payload = till.told(f"/orders/{made['id']}")
            order = canonical_of("woocommerce", records.source_record("orders", payload), FACTS)
            assert_order(order, payload, till)
            assert_one_hash(order, payload, data.draw(st.randoms()))
            if Decimal(payload["total"]) > 0:
                given_back(data, till, payload, order)

        run()


def given_back(data, till: Till, payload: Json, order: Order) -> None:
    response = till.shop.call("POST", f"/orders/{payload['id']}/refunds", data.draw(shopping.refunds(payload)))
    if response.status_code != 201:  # more than there is to give back, by a rounded tax
        assert response.json()["message"] == "Invalid refund amount."
        return
    (told,) = till.told(f"/orders/{payload['id']}/refunds")
    record = records.refund_record(told, order_id=order.source_id)
    refund = canonical_of("woocommerce", record, {"currency": order.currency})
    assert isinstance(refund, Refund)
    assert (refund.gap(), refund.order_id, refund.currency) == (0, order.source_id, order.currency)
    assert refund.total == Decimal(told["amount"])
    assert refund.total <= order.total
    assert all(line.origin_id for line in refund.lines if line.kind != "unallocated")
    stored = row_of(DEFAULTS["refunds"], target_record(refund, connection_id=uuid4(), source_system="woocommerce"))
    assert Decimal(stored.values["total"]) == refund.total


def assert_order(order, payload: Json, till: Till) -> None:
    assert isinstance(order, Order)
    assert (order.total, order.tax_total) == (Decimal(payload["total"]), Decimal(payload["total_tax"]))
    assert order.gap() == 0
    assert set(order.gaps()) <= {"tax_total"}, "what rounding at the end moves between lines, and nothing else"
    assert abs(order.tax_gap()) <= Decimal(1).scaleb(-till.decimals) * 2
    assert till.kind["tax_rounding"] == "subtotal" or not order.gaps()
    names = ("line_items", "shipping_lines", "fee_lines")
    assert [line.line_id for line in order.lines] == [str(line["id"]) for name in names for line in payload[name]]
    assert from_json(to_json(order)) == order
    assert_row(order)


def assert_row(order: Order) -> None:
    """The store's own numbers come to the total, without any of ours."""
    row = row_of(DEFAULTS["orders"], target_record(order, connection_id=uuid4(), source_system="woocommerce"))
    lines = sum((Decimal(line["total"]) for line in row.lines or []), Decimal(0))
    total, tax = Decimal(row.values["total"]), Decimal(row.values["tax_total"])
    assert (total, lines + tax) == (order.total, order.total)
    off = sum((Decimal(line["subtotal"]) - Decimal(line["total"]) for line in row.lines or []), Decimal(0))
    assert off == Decimal(row.values["discount_total"])


def assert_one_hash(order: Order, payload: Json, chance: random.Random) -> None:
    """Equal however the keys are turned; another one when any amount, word or id that counts is another."""
    turned = list(payload.items())
    chance.shuffle(turned)
    assert content_hash(again(dict(turned))) == content_hash(order)
    for change in changes(payload, chance):
        assert content_hash(again(payload | change)) != content_hash(order), change


def again(payload: Json) -> Order:
    found = canonical_of("woocommerce", records.source_record("orders", payload), FACTS)
    assert isinstance(found, Order)
    return found


def changes(payload: Json, chance: random.Random) -> list[Json]:
    line = chance.choice(payload["line_items"])
    at = payload["line_items"].index(line)

    def lines(**change: object) -> Json:
        return {"line_items": [*payload["line_items"][:at], line | change, *payload["line_items"][at + 1 :]]}

    return [
        {"total": str(Decimal(payload["total"]) + PART)},
        {"status": "completed" if payload["status"] != "completed" else "processing"},
        {"currency": "CHF"},
        {"number": f"{payload['number']}x"},
        {"billing": payload["billing"] | {"email": "other@x.test"}},
        lines(total=str(Decimal(line["total"]) + PART)),
        lines(quantity=line["quantity"] + 1),
        lines(product_id=999_999),
        {"line_items": payload["line_items"][1:]},
    ]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_what_is_ordered_and_paid_back_comes_to_what_the_shop_says(simulator, kind):
    hold(simulator, kind, examples=15)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_what_is_ordered_and_paid_back_comes_to_what_the_shop_says_at_length(simulator, kind):
    hold(simulator, kind, examples=400, is_random=True)
