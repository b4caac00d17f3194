"""Lists: pages, filters, the trap of site time, and money that adds up."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from .shops import Shop

T = 1795321472  # 2026-11-22T04:24:32Z, in Edmonton the evening of the day before


def at(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@pytest.fixture
def dated(shop: Shop) -> tuple[Shop, list[int]]:
    """Five orders, an hour apart, the third and fourth in the same second."""
    moments = (T, T + 3600, T + 7200, T + 7200, T + 10800)
    return shop, shop.ops(*({"op": "place", "at": moment} for moment in moments))


def test_pages_are_bounded_and_end_in_an_empty_one(shop: Shop):
    shop.ops({"op": "place", "count": 5})
    answer = shop.call("GET", "/orders", per_page=2, page=2)
    assert (answer.headers["X-WP-Total"], answer.headers["X-WP-TotalPages"]) == ("5", "3")
    assert 'rel="prev"' in answer.headers["Link"]
    assert 'rel="next"' in answer.headers["Link"]
    assert shop.get("/orders", page=9) == []
    assert len(shop.get("/orders", per_page=2, offset=4)) == 1


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"per_page": 101}, "per_page must be between 1 (inclusive) and 100 (inclusive)"),
        ({"page": "x"}, "page is not of type integer."),
        ({"orderby": "total"}, "orderby is not one of date, id, include, title, slug, and modified."),
        ({"modified_after": "yesterday"}, "Invalid date."),
    ],
)
def test_bad_parameters_are_told_by_name(shop: Shop, query: dict[str, Any], text: str):
    answer = shop.call("GET", "/orders", **query)
    name = next(iter(query))
    assert answer.status_code == 400
    assert answer.json()["code"] == "rest_invalid_param"
    assert answer.json()["data"]["params"] == {name: text}


def test_fields_are_top_level_in_lists_and_single_objects_keep_their_links(shop: Shop):
    [order] = shop.ops({"op": "place"})
    assert shop.get("/orders", _fields="id,billing.email") == [{"id": order}]
    assert set(shop.get(f"/orders/{order}", _fields="id,billing.email")) == {"id", "billing", "_links"}


def test_include_exclude_and_order(dated):
    shop, ids = dated
    assert shop.ids("/orders", orderby="id", order="asc") == ids
    assert shop.ids("/orders") == ids[::-1]
    assert shop.ids("/orders", include=f"{ids[3]},{ids[1]}", orderby="include") == [ids[3], ids[1]]
    assert shop.ids("/orders", exclude=f"{ids[0]},{ids[4]}", orderby="id", order="asc") == ids[1:4]
    answer = shop.call("GET", "/orders", exclude=f"{ids[4]},{ids[0]}", per_page=2, page=2)
    assert ([row["id"] for row in answer.json()], answer.headers["X-WP-Total"]) == ([ids[1]], "3")


def test_any_status_leaves_the_trash_out(shop: Shop):
    kept, trashed = shop.ops({"op": "place", "count": 2})
    shop.ops({"op": "trash", "id": trashed})
    assert shop.ids("/orders") == [kept]
    assert shop.ids("/orders", status="trash") == [trashed]
    assert shop.ids("/orders", status="any,trash") == [kept]
    assert shop.get(f"/orders/{trashed}")["status"] == "trash"


def test_bounds_are_exclusive(dated):
    shop, ids = dated
    asked = {"dates_are_gmt": "true", "orderby": "modified", "order": "asc"}
    assert shop.ids("/orders", modified_after=at(T + 3600), **asked) == ids[2:]
    assert shop.ids("/orders", modified_after=at(T + 3599), **asked) == ids[1:]
    assert shop.ids("/orders", modified_before=at(T + 7200), **asked) == ids[:2]
    assert (
        shop.ids("/orders", after=at(T), before=at(T + 10800), dates_are_gmt="true", orderby="id", order="asc")
        == ids[1:4]
    )


@pytest.mark.parametrize(
    ("zone", "suffix", "flag", "found"),
    [
        ("America/Edmonton", "", True, 3),  # right
        ("America/Edmonton", "Z", False, 3),  # right
        ("America/Edmonton", "Z", True, 5),  # shifted by the offset: too many
        ("America/Edmonton", "", False, 0),  # read as site time: all lost
        ("Asia/Tokyo", "", True, 3),
        ("Asia/Tokyo", "Z", False, 3),
        ("Asia/Tokyo", "Z", True, 0),  # shifted by the offset: lost
        ("Asia/Tokyo", "", False, 5),
    ],
)
def test_site_time_trap_is_the_documented_one(dated, zone: str, suffix: str, flag: bool, found: int):
    shop, ids = dated
    shop.set(timezone=zone)
    more = {"dates_are_gmt": "true"} if flag else {}
    asked = shop.ids("/orders", modified_after=at(T + 3600) + suffix, orderby="id", order="asc", **more)
    assert asked == ids[5 - found :]


def test_hour_that_spring_skips_moves_a_bound_on_even_where_utc_is_meant(shop: Shop):
    """WordPress makes site time of every text, and 02:30 on that day is no time in Edmonton."""
    skipped = 1772937000  # 2026-03-08T02:30:00Z
    ids = shop.ops({"op": "place", "at": skipped + 60}, {"op": "place", "at": skipped + 3700})
    found = shop.ids("/orders", modified_after=at(skipped), dates_are_gmt="true")
    assert found == ids[1:]
    shop.set(timezone="UTC")
    assert shop.ids("/orders", modified_after=at(skipped), dates_are_gmt="true") == ids[::-1]


def test_dates_follow_the_sites_zone_and_gmt_does_not(shop: Shop):
    [order] = shop.ops({"op": "place", "at": T})
    before = shop.get(f"/orders/{order}")
    shop.set(timezone="Asia/Tokyo")
    after = shop.get(f"/orders/{order}")
    assert before["date_modified_gmt"] == after["date_modified_gmt"] == "2026-11-22T04:24:32"
    assert (before["date_modified"], after["date_modified"]) == ("2026-11-21T21:24:32", "2026-11-22T13:24:32")


def test_customers_ignore_dates_and_show_one_role_unless_all_are_asked(open_shop):
    shop = open_shop(customers=60, orders=0)
    every = shop.ids("/customers", role="all", orderby="id", order="asc", per_page=100)
    assert len(every) == 61
    assert 0 < len(shop.ids("/customers", per_page=100)) < 61
    assert len(shop.ids("/customers", role="all", per_page=100, modified_after="2099-01-01T00:00:00")) == 61
    shown = shop.get("/customers", role="all", per_page=100)
    assert any(row["date_modified_gmt"] is None for row in shown)
    assert shop.ids("/customers", role="all", email=shown[7]["email"]) == [shown[7]["id"]]


def test_products_leave_variations_to_their_own_lists(open_shop):
    shop = open_shop(products=20, orders=0)
    products = shop.get("/products", per_page=100)
    variable = [row for row in products if row["type"] == "variable"]
    assert {row["type"] for row in products} == {"simple", "variable"}
    own = shop.ids(f"/products/{variable[0]['id']}/variations")
    assert sorted(own) == sorted(variable[0]["variations"])
    assert set(own) < set(shop.ids("/variations", per_page=100))
    sku = next(row["sku"] for row in products if row["sku"])
    assert [row["sku"] for row in shop.get("/products", sku=sku)] == [sku]


def test_refunds_of_an_order_that_is_not_there_are_none(shop: Shop):
    assert shop.get("/orders/987654/refunds") == []
    assert shop.refused("GET", "/orders/987654") == (404, "woocommerce_rest_shop_order_invalid_id")


def test_all_refunds_name_their_orders(open_shop):
    shop = open_shop(orders=200)
    refunds = shop.get("/refunds", per_page=100)
    assert refunds
    assert all(row["id"] in shop.ids(f"/orders/{row['parent_id']}/refunds") for row in refunds)


def test_search_finds_names(shop: Shop):
    order = shop.post("/orders", billing={"first_name": "Zoë"})
    shop.post("/orders", billing={"first_name": "Amir"})
    assert shop.ids("/orders", search="zoë") == [order["id"]]


def total_of(order: dict[str, Any]) -> Decimal:
    lines = sum((Decimal(line["total"]) for line in order["line_items"] + order["fee_lines"]), Decimal())
    return lines + sum(Decimal(order[name]) for name in ("shipping_total", "cart_tax", "shipping_tax"))


@pytest.mark.parametrize("country", ["CA", "US", "GB", "DE", "JP"])
@pytest.mark.parametrize("rounding", ["line", "subtotal"])
@pytest.mark.parametrize("includes_tax", [True, False])
def test_every_order_adds_up(open_shop, country: str, rounding: str, includes_tax: bool):
    given = {"country": country, "tax_rounding": rounding, "prices_include_tax": includes_tax}
    shop = open_shop(orders=150, seed=5, **given)
    orders = shop.get("/orders", per_page=100)
    for order in orders:
        assert total_of(order) == Decimal(order["total"]), order["id"]
        assert Decimal(order["total_tax"]) == Decimal(order["cart_tax"]) + Decimal(order["shipping_tax"])
        paid_back = -sum((Decimal(refund["total"]) for refund in order["refunds"]), Decimal())
        assert paid_back <= Decimal(order["total"])
        assert (order["status"] == "refunded") == (paid_back == Decimal(order["total"]) and bool(order["refunds"]))


def test_data_has_what_real_shops_have(open_shop):
    shop = open_shop(orders=300, seed=3)
    orders = [order for page in (1, 2, 3) for order in shop.get("/orders", per_page=100, page=page)]
    lines = [line for order in orders for line in order["line_items"]]
    names = " ".join(line["name"] for line in lines)
    assert any(order["customer_id"] == 0 for order in orders)
    assert any(line["product_id"] == 0 for line in lines)
    assert any(line["variation_id"] for line in lines)
    assert any(order["coupon_lines"] for order in orders)
    assert any(order["fee_lines"] for order in orders)
    assert any(order["refunds"] for order in orders)
    assert "&amp;" in names
    assert "☕" in names


def test_same_seed_makes_the_same_shop(open_shop):
    given = {"orders": 40, "seed": 9, "ends_at": T}
    one, other = open_shop(**given), open_shop(**given)
    pages = [shop.call("GET", "/orders", per_page=40).text.replace(shop.name, "") for shop in (one, other)]
    assert pages[0] == pages[1]
    assert pages[0] != open_shop(**given | {"seed": 10}).call("GET", "/orders", per_page=40).text


def test_large_shops_page_without_reading_everything(open_shop):
    """Deep pages of a hundred thousand orders cost no more than the first of a hundred."""
    small, large = open_shop(orders=100), open_shop(orders=100_000, days=700)

    def fastest(shop: Shop, **query: Any) -> float:
        asked = {"orderby": "modified", "order": "asc", "per_page": 50, "dates_are_gmt": "true"} | query
        took = []
        for _turn in range(5):
            began = time.perf_counter()
            shop.get("/orders", **asked)
            took.append(time.perf_counter() - began)
        return min(took)

    middle = shop_middle(large)
    assert fastest(large, modified_after=middle) < 4 * fastest(small) + 0.05
    assert fastest(large, page=1500) < 4 * fastest(small) + 0.05


def shop_middle(shop: Shop) -> str:
    return shop.get("/orders", orderby="id", order="asc", per_page=1, page=50_000)[0]["date_modified_gmt"]
