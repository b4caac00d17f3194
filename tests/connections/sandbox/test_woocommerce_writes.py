"""Writes: what changes, what is told, and the odd shapes of what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from .shops import Shop


@pytest.fixture
def sold(shop: Shop) -> tuple[Shop, dict[str, Any]]:
    """A shop, and a paid order of three mugs in it."""
    mug = shop.post("/products", name="Mug", sku="MUG-1", regular_price="3.00", manage_stock=True, stock_quantity=10)
    given = {"status": "processing", "payment_method": "bacs", "billing": {"country": "CA", "state": "AB"}}
    return shop, shop.post("/orders", line_items=[{"product_id": mug["id"], "quantity": 3}], **given)


def test_created_object_comes_with_its_address(shop: Shop):
    answer = shop.call("POST", "/products", {"name": "Mug"})
    assert answer.status_code == 201
    assert answer.headers["Location"].endswith(f"/wp-json/wc/v3/products/{answer.json()['id']}")


def test_order_goes_through_its_life(sold):
    shop, order = sold
    assert (order["date_paid_gmt"] is None, order["date_completed_gmt"]) == (False, None)
    done = shop.put(f"/orders/{order['id']}", status="completed", meta_data=[{"key": "hub", "value": {"a": [1]}}])
    assert done["date_completed_gmt"] is not None
    again = shop.put(f"/orders/{order['id']}", meta_data=[{"key": "other", "value": "x"}], billing={"city": "Köln"})
    assert {entry["key"]: entry["value"] for entry in again["meta_data"]} == {"hub": {"a": [1]}, "other": "x"}
    assert (again["billing"]["city"], again["billing"]["country"]) == ("Köln", "CA")


def test_lines_change_and_the_totals_with_them(sold):
    shop, order = sold
    line = order["line_items"][0]
    more = shop.put(f"/orders/{order['id']}", line_items=[{"id": line["id"], "quantity": 4}])
    assert (more["line_items"][0]["total"], more["total"]) == ("12.00", "13.47")
    none = shop.put(f"/orders/{order['id']}", line_items=[{"id": line["id"], "quantity": 0}])
    assert (none["line_items"], none["total"]) == ([], "0.00")


def test_sale_takes_from_the_stock_and_changes_the_product(sold):
    shop, order = sold
    product_id = order["line_items"][0]["product_id"]
    assert shop.get(f"/products/{product_id}")["stock_quantity"] == 7
    shop.set(skew_s=60)
    refund = {"api_refund": False, "amount": "1", "line_items": [{"id": order["line_items"][0]["id"], "quantity": 1}]}
    shop.post(f"/orders/{order['id']}/refunds", **refund)
    product = shop.get(f"/products/{product_id}")
    assert product["stock_quantity"] == 8
    assert product["date_modified_gmt"] > order["date_modified_gmt"]


def test_refund_changes_its_order_and_its_deletion_does_not(sold):
    shop, order = sold
    shop.set(skew_s=60)
    refund = shop.post(f"/orders/{order['id']}/refunds", amount="1.00", api_refund=False)
    after = shop.get(f"/orders/{order['id']}")
    assert after["date_modified_gmt"] > order["date_modified_gmt"]
    assert (after["total"], after["status"]) == (order["total"], "processing")
    path = f"/orders/{order['id']}/refunds/{refund['id']}"
    assert shop.refused("DELETE", path) == (501, "woocommerce_rest_trash_not_supported")
    shop.set(skew_s=120)
    assert shop.call("DELETE", path, force="true").status_code == 200
    gone = shop.get(f"/orders/{order['id']}")
    assert (gone["refunds"], gone["date_modified_gmt"]) == ([], after["date_modified_gmt"])


def test_status_refunded_by_hand_makes_the_refund_of_the_rest(sold):
    shop, order = sold
    shop.post(f"/orders/{order['id']}/refunds", amount="1.00", api_refund=False)
    done = shop.put(f"/orders/{order['id']}", status="refunded")
    assert [refund["total"] for refund in done["refunds"]] == ["-1.00", "-9.10"]
    assert (done["total"], done["status"]) == ("10.10", "refunded")


def test_refund_errors_carry_a_bare_number(sold):
    shop, order = sold
    path = f"/orders/{order['id']}/refunds"
    for given in ({"amount": "10.11", "api_refund": False}, {"amount": "1.00"}):
        answer = shop.call("POST", path, given)
        assert (answer.status_code, answer.json()["data"]) == (500, 500)
        assert answer.json()["code"] == "woocommerce_rest_cannot_create_order_refund"
    assert shop.call("POST", "/orders/999999/refunds", {"amount": "1"}).json()["data"] == 404


def test_trash_comes_before_the_end(sold):
    shop, order = sold
    path = f"/orders/{order['id']}"
    assert shop.call("DELETE", path).status_code == 200
    assert shop.refused("DELETE", path) == (410, "woocommerce_rest_already_trashed")
    assert shop.call("DELETE", path, force="true").status_code == 200
    assert shop.refused("GET", path) == (404, "woocommerce_rest_shop_order_invalid_id")
    assert shop.refused("PUT", path, {"status": "completed"}) == (400, "woocommerce_rest_shop_order_invalid_id")


@pytest.mark.parametrize("table", ["customers", "webhooks"])
def test_some_things_know_no_trash(shop: Shop, table: str):
    given = {"email": "a@x.test", "topic": "order.created", "delivery_url": "http://127.0.0.1:9/x"}
    made = shop.post(f"/{table}", **given)
    path = f"/{table}/{made['id']}"
    assert shop.refused("DELETE", path) == (501, "woocommerce_rest_trash_not_supported")
    assert shop.call("DELETE", path, force="true").status_code == 200
    assert shop.call("GET", path).status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/orders", {"customer_id": 4711}, "woocommerce_rest_invalid_customer_id"),
        ("/orders", {"line_items": [{"product_id": 4711}]}, "woocommerce_rest_invalid_product_id"),
        ("/orders", {"coupon_lines": [{"code": "nope"}]}, "woocommerce_rest_invalid_coupon"),
        ("/orders", {"status": "nope"}, "rest_invalid_param"),
        ("/customers", {}, "rest_missing_callback_param"),
        ("/customers", {"email": "nope"}, "rest_invalid_param"),
        ("/customers", {"email": "ADMIN@shop.example"}, "registration-error-email-exists"),
        ("/webhooks", {"topic": "refund.created", "delivery_url": "http://x/"}, "woocommerce_rest_shop_webhook_invalid_topic"),
        ("/products", {"id": 5}, "woocommerce_rest_product_exists"),
    ],
)  # fmt: skip
def test_bad_writes_are_named(shop: Shop, path: str, body: dict[str, Any], code: str):
    assert shop.refused("POST", path, body) == (400, code)


def test_broken_json_is_told(shop: Shop):
    url, headers = f"{shop.url}/wp-json/wc/v3/orders", {"Content-Type": "application/json"}
    answer = shop.http.post(url, content=b'{"status": ', headers=headers, auth=shop.keys)
    assert (answer.status_code, answer.json()["code"]) == (400, "rest_invalid_json")


def test_doubled_sku_names_the_product_that_has_it(shop: Shop):
    first = shop.post("/products", name="Mug", sku="MUG-1")
    data = shop.call("POST", "/products", {"name": "Other", "sku": "MUG-1"}).json()["data"]
    assert data == {"status": 400, "resource_id": first["id"], "unique_sku": "MUG-1-1"}


def test_variation_changes_its_parent(shop: Shop):
    parent = shop.post("/products", name="Sock", type="variable")
    shop.set(skew_s=60)
    option = [{"name": "Colour", "option": "Red"}]
    made = shop.post(f"/products/{parent['id']}/variations", regular_price="4.00", attributes=option)
    after = shop.get(f"/products/{parent['id']}")
    assert (after["variations"], after["price"]) == ([made["id"]], "4.00")
    assert after["date_modified_gmt"] > parent["date_modified_gmt"]


def test_customer_changes_show_in_no_date_filter_but_in_the_object(shop: Shop):
    made = shop.post("/customers", email="a@x.test", first_name="A")
    shop.set(skew_s=60)
    after = shop.put(f"/customers/{made['id']}", first_name="B", billing={"city": "Leeds"})
    assert (after["first_name"], after["billing"]["city"]) == ("B", "Leeds")
    assert after["date_modified_gmt"] > made["date_modified_gmt"]
    assert shop.refused("PUT", "/customers/4711", {"first_name": "x"}) == (400, "wc_user_invalid_id")


def test_batch_takes_a_hundred_and_no_more(shop: Shop):
    given = {"create": [{"name": f"P{number}"} for number in range(101)]}
    assert shop.refused("POST", "/products/batch", given) == (413, "woocommerce_rest_request_entity_too_large")
    made = shop.post("/products/batch", create=given["create"][:100])["create"]
    assert len({product["id"] for product in made}) == 100
    assert len({product["slug"] for product in made}) == 100


def test_batch_deletes_for_good(shop: Shop):
    ids = shop.ops({"op": "place", "count": 2})
    assert [one["id"] for one in shop.post("/orders/batch", delete=ids)["delete"]] == ids
    assert shop.truth() == {}


def test_method_may_be_overridden(shop: Shop):
    [order] = shop.ops({"op": "place"})
    assert shop.call("POST", f"/orders/{order}", _method="DELETE").status_code == 200
    assert shop.truth()[order]["status"] == "trash"


def test_unknown_route_is_told(shop: Shop):
    assert shop.refused("GET", "/unicorns") == (404, "rest_no_route")
    assert shop.refused("DELETE", "/orders") == (404, "rest_no_route")


def test_meddling_leaves_no_trace_in_the_date(sold):
    shop, order = sold
    shop.set(skew_s=60)
    shop.ops({"op": "meddle", "id": order["id"], "fields": {"customer_note": "by a plugin"}})
    after = shop.get(f"/orders/{order['id']}")
    assert after["customer_note"] == "by a plugin"
    assert after["date_modified_gmt"] == order["date_modified_gmt"]


def test_coupons_and_taxes_are_written_too(shop: Shop):
    coupon = shop.post("/coupons", code="HALF", discount_type="percent", amount="50")
    assert (coupon["code"], coupon["amount"]) == ("half", "50.00")
    assert shop.refused("POST", "/coupons", {"code": "half"}) == (400, "woocommerce_rest_coupon_code_already_exists")
    tax = shop.post("/taxes", country="CA", rate="9.9", name="NEW", priority=3)
    assert tax["rate"] == "9.9000"
    assert shop.call("DELETE", f"/taxes/{tax['id']}", force="true").status_code == 200
