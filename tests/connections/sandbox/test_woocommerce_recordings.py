"""The simulated shop against a real one: the same scene played again, and every answer compared with its recording.

Only what cannot be the same is left out: ids, the order key, hosts, and the moment.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import Receiver
from .shops import Shop, recorded, seal

MOMENT = "2026-11-22T04:24:32Z"
ORDER = {
    "status": "processing",
    "payment_method": "bacs",
    "payment_method_title": "Bank",
    "billing": {
        "first_name": "Zoë",
        "last_name": "O'Neil",
        "address_1": "1 St",
        "city": "Edmonton",
        "state": "AB",
        "postcode": "T5A0A1",
        "country": "CA",
        "email": "z@x.test",
    },
    "shipping_lines": [{"method_title": "Flat", "method_id": "flat_rate", "total": "4.99"}],
    "fee_lines": [{"name": "Wrap", "total": "14.70"}],
    "coupon_lines": [{"code": "ten"}],
}


def same(value: Any) -> Any:
    """`value` without what no two shops have in common, its shape and order kept."""
    if isinstance(value, dict):
        return [(name, kept(name, inner)) for name, inner in value.items()]
    if isinstance(value, list):
        return [same(one) for one in value]
    if isinstance(value, str):
        value = re.sub(r"https?://[^/\s]+(/woocommerce/[\w-]+)?", "HOST", value)
        return re.sub(r"/\d+(?=[/?]|$)", "/N", re.sub(r"wc_order_\w{13}", "KEY", value))
    return f"{type(value).__name__} {value}"  # 1, 1.0 and True are equal, and not the same


def kept(name: str, value: Any) -> Any:
    if name in ("id", "rate_id", "product_id", "number", "related_ids"):
        return type(value).__name__
    if name in ("value", "display_value") and isinstance(value, str):
        return re.sub(r"^\[?\d+", "N", value)
    return same(value)


@pytest.fixture
def lab(open_shop) -> Shop:
    """The shop of the recordings, its clock at the moment when they were made."""
    lab = open_shop(orders=0, products=0, customers=0, title="Lab")
    lab.put(f"/taxes/{rate_id(lab, 'GST')}", state="AB")
    lab.set(clock=MOMENT)
    lab.post("/products", name="Mug", sku="MUG-1", regular_price="3.33")
    return lab


def rate_id(lab: Shop, name: str) -> int:
    return next(tax["id"] for tax in lab.get("/taxes") if tax["name"] == name)


def placed(lab: Shop) -> dict[str, Any]:
    mug = lab.get("/products", sku="MUG-1")[0]["id"]
    return lab.post("/orders", **ORDER, line_items=[{"product_id": mug, "quantity": 3}])


def refunded(lab: Shop, order: dict[str, Any]) -> list[dict[str, Any]]:
    lab.set(clock="2026-11-22T04:24:35Z")
    gst = rate_id(lab, "GST")
    line = {"id": order["line_items"][0]["id"], "quantity": 1, "refund_total": 3.0}
    line["refund_tax"] = [{"id": gst, "refund_total": 0.15}]
    path, given = f"/orders/{order['id']}/refunds", {"api_refund": False}
    return [
        lab.post(path, amount="3.15", reason="one broken", line_items=[line], **given),
        lab.post(path, amount="2.00", reason="goodwill", **given),
        lab.post(path, amount="26.69", reason="rest", **given),
    ]


def test_guest_order_with_coupon_fee_and_two_taxes_is_the_recorded_one(lab: Shop):
    assert same(placed(lab)) == same(recorded("order_guest_coupon_two_taxes"))


def test_refunds_are_the_recorded_ones_and_turn_the_order_refunded(lab: Shop):
    order = placed(lab)
    with_line, amount_only, _rest = refunded(lab, order)
    assert same(with_line) == same(recorded("refund_created"))
    assert same(amount_only) == same(recorded("refund_amount_only"))
    assert same(lab.get(f"/orders/{order['id']}")) == same(recorded("order_refunded"))


def test_product_is_the_recorded_one(lab: Shop):
    shown = lab.get("/products", sku="MUG-1")[0]
    known = recorded("product")
    assert same(shown | {"related_ids": [], "average_rating": "0.00"}) == same(known | {"related_ids": []})


def test_batch_with_mixed_results_is_the_recorded_one(lab: Shop):
    lab.set(clock="2026-11-22T04:24:37Z")
    response = lab.call(
        "POST",
        "/products/batch",
        {
            "create": [{"name": "ok"}, {"name": "dup", "sku": "MUG-1"}],
            "update": [{"id": 999999, "name": "x"}],
            "delete": [888888],
        },
    )
    assert response.status_code == 200
    shown, known = response.json(), recorded("product_batch_mixed")
    assert isinstance(shown["create"][1]["error"]["data"].pop("resource_id"), int)
    known["create"][1]["error"]["data"].pop("resource_id")
    assert [entry["id"] for entry in shown["update"] + shown["delete"]] == [999999, 888888]
    assert same(shown) == same(known)


def test_customer_has_the_recorded_fields_in_their_order(lab: Shop):
    billing = {"postcode": "T5A0A1", "country": "CA", "state": "AB"}
    shown = lab.post("/customers", email="A1@x.test", first_name="A", last_name="B", billing=billing)
    known = recorded("customer")
    moments = {name: "" for name in known if name.startswith("date_")}
    told = moments | {"meta_data": [], "is_paying_customer": True}
    assert same(shown | told) == same(known | told)
    assert shown["avatar_url"] == known["avatar_url"]


def test_system_status_is_the_recorded_one(lab: Shop):
    shown = lab.get("/system_status", _fields="environment,settings,security")
    known = recorded("system_status")
    own = {"store_id": "", "wp_cron": False}
    assert re.fullmatch(r"[0-9a-f-]{36}", shown["environment"]["store_id"])
    assert same(shown["environment"] | own) == same(known["environment"] | own)
    assert same(shown["settings"]) == same(known["settings"])
    assert shown["security"] == known["security"]


def test_list_page_has_the_recorded_headers(lab: Shop):
    for _turn in range(17):
        placed(lab)
    known = recorded("order_list_page")
    answer = lab.call("GET", "/orders", per_page=2)
    names = [name for name in known["headers"] if name not in ("Host", "Date", "Connection")]
    assert {name: same(answer.headers.get(name)) for name in names} == {n: same(known["headers"][n]) for n in names}
    assert [list(order) for order in answer.json()] == [list(order) for order in known["body"]]


@pytest.mark.parametrize(
    "name", ["webhook_order_created_and_updated", "webhook_order_deleted", "webhook_after_refunds"]
)
def test_the_recorded_signatures_are_what_the_simulators_tests_compute(name: str):
    known = recorded(name)
    for delivery in known["deliveries"]:
        assert delivery["h"]["X-WC-Webhook-Signature"] == seal(known["secret"], delivery["b"].encode())


def test_webhooks_are_the_recorded_ones(lab: Shop, receiver: Receiver):
    hooks = [lab.hook(f"order.{event}", receiver.url) for event in ("created", "updated", "deleted")]
    pings = receiver.wait(3)
    for (headers, body), known, hook in zip(pings, recorded("webhook_pings"), hooks, strict=True):
        assert body == f"webhook_id={hook['id']}".encode()
        assert same(comparable(headers)) == same(comparable(known["h"]))

    order = placed(lab)
    both = {h["x-wc-webhook-topic"]: (h, b) for h, b in receiver.wait(5)[3:]}
    known = {one["h"]["X-WC-Webhook-Topic"]: one for one in recorded("webhook_order_created_and_updated")["deliveries"]}
    assert both.keys() == known.keys()
    for topic, (headers, body) in both.items():
        check_delivery(headers, body, known[topic])
    assert both["order.created"][1] == both["order.updated"][1]

    refunded(lab, order)
    headers, body = receiver.wait(6)[5]
    check_delivery(headers, body, recorded("webhook_after_refunds")["deliveries"][0])

    lab.call("DELETE", f"/orders/{order['id']}")
    headers, body = receiver.wait(7)[6]
    assert body == f'{{"id":{order["id"]}}}'.encode()
    known_deleted = recorded("webhook_order_deleted")["deliveries"][0]
    assert same(comparable(headers)) == same(comparable(known_deleted["h"]))


def comparable(headers: dict[str, str]) -> dict[str, str]:
    """Header names in lower case and order; what differs by nature is blank."""
    own = ("host", "content-length", "x-wc-webhook-signature", "x-wc-webhook-id", "x-wc-webhook-delivery-id")
    shown = {name.lower(): value for name, value in headers.items()}
    return {name: "" if name in own else shown[name] for name in sorted(shown)}


def check_delivery(headers: dict[str, str], body: bytes, known: dict[str, Any]) -> None:
    assert same(comparable(headers)) == same(comparable(known["h"]))
    assert same(json.loads(body)) == same(json.loads(known["b"]))
    assert headers["x-wc-webhook-signature"] == seal("labSecret123", body)
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-wc-webhook-delivery-id"])
    assert b"\\/" in body
    assert b"\\u00eb" in body
