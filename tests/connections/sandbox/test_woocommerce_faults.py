"""Hosts misbehave on demand, and shops survive restarts."""

from __future__ import annotations

import signal
import time

import httpx
import pytest

from .conftest import Simulator
from .shops import Shop


def test_fault_hits_its_shop_and_path_and_is_used_up(open_shop):
    shop, other = open_shop(orders=3), open_shop(orders=3)
    shop.fault("error", "*/orders", status=429, retry_after=7)
    assert other.call("GET", "/orders").status_code == 200
    assert shop.call("GET", "/products").status_code == 200
    answer = shop.call("GET", "/orders")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert shop.call("GET", "/orders").status_code == 200


@pytest.mark.parametrize(
    ("page", "status"), [("waf", 403), ("captcha", 200), ("maintenance", 503), ("critical", 500), ("gateway", 502)]
)
def test_hosts_answer_with_pages(shop: Shop, page: str, status: int):
    shop.fault("html", page=page)
    answer = shop.call("GET", "/orders")
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=UTF-8")


def test_notice_and_bom_stand_before_the_json(shop: Shop):
    shop.fault("notice", bom=True)
    body = shop.call("GET", "/orders").content
    assert body.startswith(b"\xef\xbb\xbf<br />")
    assert body.endswith(b"[]")


@pytest.mark.parametrize("kind", ["reset", "commit_then_drop", "truncated"])
def test_connection_breaks(shop: Shop, kind: str):
    shop.fault(kind)
    with pytest.raises(httpx.TransportError):
        shop.call("POST", "/orders", {})
    assert len(shop.truth()) == (0 if kind == "reset" else 1)


def test_big_pages_die_for_want_of_memory(open_shop):
    shop = open_shop(orders=60)
    shop.set(memory_limit_per_page=25)
    assert shop.refused("GET", "/orders", per_page=50) == (500, "internal_server_error")
    assert len(shop.get("/orders", per_page=25)) == 25


@pytest.mark.parametrize("to", ["https://www.shop.example", "http://10.0.0.7"])
def test_redirects_keep_path_and_query(shop: Shop, to: str):
    shop.fault("redirect", to=to)
    answer = shop.call("GET", "/orders", per_page=1)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{to}/wp-json/wc/v3/orders?per_page=1")


def test_paging_headers_can_be_dropped(open_shop):
    shop = open_shop(orders=30)
    shop.set(drop_paging_headers=True)
    headers = shop.call("GET", "/orders").headers
    assert not {"x-wp-total", "x-wp-totalpages", "link"} & set(headers)


def test_stale_cache_answers_from_memory(shop: Shop):
    shop.set(stale_s=60)
    assert shop.get("/orders") == []
    shop.ops({"op": "place"})
    assert shop.get("/orders") == []
    assert len(shop.get("/orders", cb="1")) == 1


def test_latency_delays(shop: Shop):
    shop.fault("latency", seconds=0.3)
    began = time.monotonic()
    assert shop.call("GET", "/orders").status_code == 200
    assert time.monotonic() - began >= 0.3


def test_log_names_what_was_asked_and_keeps_no_secret(shop: Shop):
    shop.call("GET", "/orders", per_page=3)
    shop.signed("GET", "/orders")
    plain, signed = shop.log()
    assert (plain["auth"], plain["path"], plain["query"], plain["status"]) == (
        "basic", "/wp-json/wc/v3/orders", {"per_page": "3"}, 200,
    )  # fmt: skip
    assert (signed["auth"], signed["query"]["oauth_signature"]) == ("oauth", "***")


def test_shops_survive_a_kill(tmp_path):
    simulator = Simulator(tmp_path)
    shop = Shop(simulator.origin, {"name": "kept", "orders": 30, "seed": 4})
    [order] = shop.ops({"op": "place", "order": {"fee_lines": [{"name": "x", "total": "9.99"}]}})
    refund = shop.post(f"/orders/{order}/refunds", amount="5.00", api_refund=False)["id"]
    shop.call("DELETE", f"/orders/{shop.ids('/orders')[-1]}", force="true")
    before, truth = shop.call("GET", "/orders", per_page=100), shop.truth()
    simulator.stop(signal.SIGKILL)
    simulator.start()
    try:
        shop.url = shop.url.replace(shop.url.split("/woocommerce")[0], simulator.origin)
        shop.control_url = f"{simulator.origin}/woocommerce/_control"
        assert shop.truth() == truth
        after = shop.call("GET", "/orders", per_page=100)
        assert [{k: v for k, v in o.items() if k not in ("_links", "payment_url")} for o in after.json()] == [
            {k: v for k, v in o.items() if k not in ("_links", "payment_url")} for o in before.json()
        ]
        assert shop.ops({"op": "place"})[0] > refund
    finally:
        simulator.stop()


def test_demo_has_a_shop_that_keeps_selling(tmp_path):
    simulator = Simulator(tmp_path, "--demo", "--life-interval-s", "0.1")
    try:
        url = f"{simulator.origin}/woocommerce/_control/stores/demo"
        first = httpx.get(url).json()
        assert (first["life"], first["counts"]["orders"] >= 400) == (True, True)
        deadline = time.monotonic() + 20
        while httpx.get(url).json()["counts"]["orders"] == first["counts"]["orders"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        simulator.stop()


def test_life_is_the_same_for_the_same_seed(open_shop):
    given = {"seed": 8, "orders": 60, "ends_at": 1795321472, "clock": 1795321472}
    one, other = open_shop(**given), open_shop(**given)
    happened = [shop.control("/advance", steps=60)["happened"] for shop in (one, other)]
    assert happened[0] == happened[1]
    assert {"order", "status", "refund", "product"} <= set(happened[0])
    totals = [[(o["id"], o["status"], o["total"]) for o in shop.get("/orders", per_page=100)] for shop in (one, other)]
    assert totals[0] == totals[1]
