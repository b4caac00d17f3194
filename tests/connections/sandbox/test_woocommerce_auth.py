"""Who gets in, and what the others are told: the table of 401s."""

from __future__ import annotations

import time

import httpx
import pytest

from .shops import Shop

NOBODY = (401, "woocommerce_rest_cannot_view")
REFUSED = (401, "woocommerce_rest_authentication_error")


def told(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_basic_and_query_string_work_where_php_thinks_https(shop: Shop):
    name, secret = shop.keys
    assert shop.call("GET", "/orders").status_code == 200
    assert shop.call("GET", "/orders", auth=None, consumer_key=name, consumer_secret=secret).status_code == 200
    assert shop.log()[-1]["query"] == {"consumer_key": name, "consumer_secret": "***"}


@pytest.mark.parametrize("tls", ["proxy", "http"])
def test_without_https_only_a_signature_works(shop: Shop, tls: str):
    shop.set(tls=tls)
    name, secret = shop.keys
    assert told(shop.call("GET", "/orders")) == NOBODY
    assert told(shop.call("GET", "/orders", auth=None, consumer_key=name, consumer_secret=secret)) == NOBODY
    assert shop.signed("GET", "/orders", per_page=5, include="1,2").status_code == 200


def test_query_string_wins_over_the_header(shop: Shop):
    name, _secret = shop.keys
    assert told(shop.call("GET", "/orders", consumer_key=name, consumer_secret="cs_wrong")) == REFUSED


def test_unknown_and_missing_keys_are_told_the_same(shop: Shop):
    assert told(shop.call("GET", "/orders", auth=None)) == NOBODY
    assert told(shop.call("GET", "/orders", auth=("ck_" + "0" * 40, shop.keys[1]))) == NOBODY


def test_wrong_secret_of_a_known_key_is_named(shop: Shop):
    answer = shop.call("GET", "/orders", auth=(shop.keys[0], "cs_wrong"))
    assert told(answer) == REFUSED
    assert answer.json()["message"] == "Consumer secret is invalid."


@pytest.mark.parametrize(
    ("permissions", "method", "message"),
    [("write", "GET", "read"), ("read", "POST", "write"), ("read", "DELETE", "write")],
)
def test_key_with_too_small_a_permission_is_told_which(shop: Shop, permissions: str, method: str, message: str):
    key = shop.control("/keys", permissions=permissions)
    path = "/orders/1" if method == "DELETE" else "/orders"
    answer = shop.call(method, path, auth=(key["consumer_key"], key["consumer_secret"]))
    assert told(answer) == REFUSED
    assert answer.json()["message"] == f"The API key provided does not have {message} permissions."


def test_user_without_the_role_is_known_and_refused(shop: Shop):
    key = shop.control("/keys", permissions="read_write", role="customer")
    auth = (key["consumer_key"], key["consumer_secret"])
    assert told(shop.call("GET", "/orders", auth=auth)) == (403, "woocommerce_rest_cannot_view")
    assert told(shop.call("POST", "/products/batch", {}, auth=auth)) == (403, "woocommerce_rest_cannot_batch")


def test_stripped_authorization_leaves_nobody(shop: Shop):
    shop.set(strip_authorization=True)
    name, secret = shop.keys
    assert told(shop.call("GET", "/orders")) == NOBODY
    assert shop.call("GET", "/orders", auth=None, consumer_key=name, consumer_secret=secret).status_code == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"oauth_signature": "nonsense"}, "Invalid signature - provided signature does not match."),
        ({"oauth_signature_method": "PLAINTEXT"}, "Invalid signature - signature method is invalid."),
        ({"oauth_consumer_key": "ck_unknown"}, "Consumer key is invalid."),
        ({"per_page": "7"}, "Invalid signature - provided signature does not match."),
    ],
)
def test_what_is_wrong_with_a_signature_is_told(shop: Shop, change: dict[str, str], message: str):
    answer = shop.signed("GET", "/orders", change=lambda given: given.update(change), per_page=5)
    assert told(answer) == REFUSED
    assert answer.json()["message"] == message


def test_sha1_signs_too(shop: Shop):
    assert shop.signed("GET", "/orders", oauth_signature_method="HMAC-SHA1").status_code == 200


def test_array_parameters_break_a_signature_and_comma_lists_do_not(shop: Shop):
    assert told(shop.signed("GET", "/orders", **{"include[]": "1"})) == REFUSED
    assert shop.signed("GET", "/orders", include="1,2").status_code == 200


def test_missing_oauth_parameter_is_named(shop: Shop):
    answer = shop.signed("GET", "/orders", change=lambda given: given.pop("oauth_nonce"))
    assert told(answer) == (401, "woocommerce_rest_authentication_missing_parameter")
    assert answer.json()["message"] == "Missing OAuth parameter oauth_nonce"


def test_nonce_counts_once(shop: Shop):
    assert shop.signed("GET", "/orders", oauth_nonce="once").status_code == 200
    answer = shop.signed("GET", "/orders", oauth_nonce="once")
    assert answer.json()["message"] == "Invalid nonce - nonce has already been used."


@pytest.mark.parametrize(("off_s", "status"), [(-880, 200), (880, 200), (-920, 401), (920, 401)])
def test_timestamp_counts_for_fifteen_minutes_of_the_shops_clock(shop: Shop, off_s: int, status: int):
    stamp = str(int(time.time()) + off_s)
    assert shop.signed("GET", "/orders", oauth_timestamp=stamp).status_code == status


def test_skewed_clock_refuses_signatures_and_shows_in_the_date(shop: Shop):
    shop.set(skew_s=3600)
    answer = shop.signed("GET", "/orders")
    assert answer.json()["message"] == "Invalid timestamp."
    from email.utils import parsedate_to_datetime

    assert 3590 < parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time() < 3610


def test_home_of_its_own_is_what_the_shop_signs(shop: Shop):
    shop.set(home="https://shop.example/store")
    assert told(shop.signed("GET", "/orders")) == REFUSED
    assert shop.get("/system_status")["environment"]["home_url"] == "https://shop.example/store"


def test_plain_permalinks_reach_the_route_without_its_keys(shop: Shop):
    shop.set(permalinks="plain")
    page = shop.call("GET", "/orders")
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=UTF-8")
    assert told(shop.http.get(f"{shop.url}/?rest_route=/wc/v3/orders", auth=shop.keys)) == NOBODY
    assert "wc/v3" in shop.http.get(f"{shop.url}/?rest_route=/").json()["namespaces"]


def test_discovery_needs_no_keys(shop: Shop):
    shown = shop.http.get(f"{shop.url}/wp-json/").json()
    assert (shown["home"], shown["timezone_string"]) == (shop.url, "America/Edmonton")
    assert shown["gmt_offset"] in (-7, -6)
    assert "/wc/v3/orders" in shop.http.get(f"{shop.url}/wp-json/wc/v3").json()["routes"]
    assert f'{shop.url}/wp-json/>; rel="https://api.w.org/"' in shop.http.get(shop.url).headers["Link"]


def test_wordpress_without_the_plugin_has_no_route(shop: Shop):
    shop.set(woocommerce=False)
    assert told(shop.call("GET", "/orders")) == (404, "rest_no_route")
    assert "wc/v3" not in shop.http.get(f"{shop.url}/wp-json/").json()["namespaces"]


def test_shops_do_not_know_each_others_keys(open_shop):
    one, other = open_shop(orders=3), open_shop(orders=3)
    assert told(one.call("GET", "/orders", auth=other.keys)) == NOBODY
