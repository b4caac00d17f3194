"""Webhooks: collapsed, sent once, counted, given up."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from .conftest import Receiver
from .shops import Shop, seal


def settled(shop: Shop, deliveries: int) -> list[dict[str, Any]]:
    """The shop's delivery log, once it holds so many and nothing is on its way."""
    for _turn in range(200):
        found = shop.http.get(f"{shop.control_url}/webhooks?store={shop.name}").json()["webhooks"]
        if len(found) >= deliveries and shop.control("/idle", "GET")["waiting"] == 0:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


@pytest.fixture
def hooked(shop: Shop, receiver: Receiver) -> tuple[Shop, Receiver, dict[str, Any]]:
    """A shop whose scheduler waits for a word, with a webhook for changed orders, its ping received."""
    shop.set(delivery_delay_s=None)
    hook = shop.hook("order.updated", receiver.url)
    receiver.wait(1)
    receiver.received.clear()
    return shop, receiver, hook


def test_secret_is_never_shown(hooked):
    shop, _receiver, hook = hooked
    assert "labSecret123" not in json.dumps(shop.get(f"/webhooks/{hook['id']}")) + json.dumps(hook)


def test_creation_succeeds_though_the_ping_does_not(shop: Shop):
    assert shop.hook("order.created", "http://127.0.0.1:9/nobody")["status"] == "active"


def test_several_changes_are_one_delivery_with_the_last_state(hooked):
    shop, receiver, _hook = hooked
    [order] = shop.ops({"op": "place"})
    shop.ops({"op": "edit", "id": order, "fields": {"status": "processing"}})
    shop.ops({"op": "edit", "id": order, "fields": {"status": "completed"}})
    shop.control("/deliver")
    settled(shop, 1)
    assert [json.loads(body)["status"] for _headers, body in receiver.received] == ["completed"]


def test_orders_changed_in_one_second_carry_one_delivery_id(hooked):
    shop, receiver, _hook = hooked
    shop.set(clock="2026-11-22T04:24:32Z")
    shop.ops({"op": "place", "count": 2})
    shop.control("/deliver")
    received = receiver.wait(2)
    assert len({headers["x-wc-webhook-delivery-id"] for headers, _body in received}) == 1
    assert len({json.loads(body)["id"] for _headers, body in received}) == 2


def test_order_destroyed_before_delivery_leaves_a_signed_error(hooked):
    shop, receiver, _hook = hooked
    [order] = shop.ops({"op": "place"})
    shop.ops({"op": "delete", "id": order})
    shop.control("/deliver")
    [(headers, body)] = receiver.wait(1)
    assert json.loads(body)["code"] == "woocommerce_rest_shop_order_invalid_id"
    assert headers["x-wc-webhook-signature"] == seal("labSecret123", body)


def test_secret_is_html_decoded_before_it_signs(shop: Shop, receiver: Receiver):
    shop.post("/webhooks", topic="order.created", delivery_url=receiver.url, secret="a&amp;b")
    shop.ops({"op": "place"})
    headers, body = receiver.wait(2)[1]
    assert headers["x-wc-webhook-signature"] == seal("a&b", body)


def test_force_deletion_and_deleted_refunds_are_not_told(shop: Shop, receiver: Receiver):
    order = shop.post("/orders", fee_lines=[{"name": "x", "total": "9.00"}])["id"]
    refund = shop.post(f"/orders/{order}/refunds", amount="1.00", api_refund=False)["id"]
    shop.hook("order.updated", receiver.url)
    shop.hook("order.deleted", receiver.url)
    shop.call("DELETE", f"/orders/{order}/refunds/{refund}", force="true")
    shop.call("DELETE", f"/orders/{order}", force="true")
    [other] = shop.ops({"op": "place"})
    shop.ops({"op": "trash", "id": other}, {"op": "untrash", "id": other})
    deliveries = settled(shop, 2)
    assert {one["resource_id"] for one in deliveries} == {other}


def test_failed_deliveries_are_lost_and_the_seventh_disables(shop: Shop, receiver: Receiver):
    hook = shop.hook("order.created", receiver.url)
    receiver.wait(1)
    receiver.answers = [500] * 7
    for count in range(1, 8):
        assert shop.get(f"/webhooks/{hook['id']}")["status"] == "active"
        shop.ops({"op": "place"})
        settled(shop, count)
    assert shop.get(f"/webhooks/{hook['id']}")["status"] == "disabled"
    assert len(receiver.received) == 8
    shop.ops({"op": "place"})
    assert len(settled(shop, 7)) == 7


def test_enabled_again_one_more_failure_disables_and_a_success_forgets(shop: Shop, receiver: Receiver):
    hook = shop.hook("order.created", receiver.url)["id"]
    receiver.wait(1)
    receiver.answers = [500] * 8
    for count in range(1, 8):
        shop.ops({"op": "place"})
        settled(shop, count)
    shop.put(f"/webhooks/{hook}", status="active")
    shop.ops({"op": "place"})
    settled(shop, 8)
    assert shop.get(f"/webhooks/{hook}")["status"] == "disabled"
    shop.put(f"/webhooks/{hook}", status="active")
    shop.ops({"op": "place"})
    settled(shop, 9)
    receiver.answers = [500]
    shop.ops({"op": "place"})
    settled(shop, 10)
    assert shop.get(f"/webhooks/{hook}")["status"] == "active"


@pytest.mark.parametrize(("status", "disabled"), [(302, False), (303, True), (404, True)])
def test_only_200_to_302_is_success(shop: Shop, receiver: Receiver, status: int, disabled: bool):
    hook = shop.hook("order.created", receiver.url)["id"]
    receiver.wait(1)
    receiver.answers = [status] * 7
    for count in range(1, 8):
        shop.ops({"op": "place"})
        settled(shop, count)
    assert (shop.get(f"/webhooks/{hook}")["status"] == "disabled") == disabled


def test_faults_duplicate_forge_reorder_and_delay(shop: Shop, receiver: Receiver):
    shop.hook("order.created", receiver.url)
    receiver.wait(1)
    shop.fault("duplicate", "webhook")
    shop.ops({"op": "place"})
    twins = receiver.wait(3)[1:]
    assert twins[0][1] == twins[1][1]
    for variant in ("signature", "missing"):
        shop.fault("forge", "webhook", variant=variant)
        before = len(receiver.received)
        shop.ops({"op": "place"})
        headers, body = receiver.wait(before + 1)[-1]
        assert headers.get("x-wc-webhook-signature") != seal("labSecret123", body)
    shop.fault("reorder", "webhook")
    before = len(receiver.received)
    [first] = shop.ops({"op": "place"})
    settled(shop, 4)
    [second] = shop.ops({"op": "place"})
    assert [json.loads(body)["id"] for _h, body in receiver.wait(before + 2)[before:]] == [second, first]


def test_anything_can_be_sent_in_the_shops_name(shop: Shop, receiver: Receiver):
    sent = shop.control("/forge", url=receiver.url, body={"id": 5}, secret="other", topic="order.deleted")
    headers, body = receiver.received[0]
    assert sent == {"status": 200}
    assert headers["x-wc-webhook-topic"] == "order.deleted"
    assert headers["x-wc-webhook-signature"] == seal("other", body)
