"""A shop is verified: every way of being wrong has its cause, and what works is remembered."""

import time

import pytest

from connections.providers.woocommerce import hooks, verification
from tests.connections import peer as peers

from .conftest import access_to


def checks(access) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.cause) for check in verification.verify(access)}


def failing(access) -> dict[str, str]:
    return {name: cause for name, (status, cause) in checks(access).items() if status == "failed"}


def test_a_good_shop_passes_and_is_remembered(open_shop):
    shop = open_shop(orders=3, products=2, customers=1)
    access = access_to(shop, facts={})
    found = checks(access)
    others = {name: status for name, (status, _cause) in found.items() if status != "passed"}
    assert others == {"tls": "warning", "webhook": "skipped"}, found
    assert access.facts["address"] == {"configured": shop.url, "final": shop.url}
    assert access.facts["signing"]["way"] == "oauth1"
    facts = access.facts["shop"]
    assert (facts["version"], facts["currency"], facts["decimals"]) == ("11.0.1", "CAD", 2)
    assert facts["store_id"]
    assert facts["timezone"] == "America/Edmonton"


def test_nothing_that_a_verification_asks_changes_the_shop(open_shop):
    shop = open_shop(orders=2, products=2, customers=1)
    tables = ("orders", "products", "customers", "coupons")
    before = [shop.truth(table) for table in tables]
    checks(access_to(shop))
    assert [shop.truth(table) for table in tables] == before
    written = [row["path"] for row in shop.log() if row["method"] not in ("GET", "HEAD")]
    assert [path.rpartition("/wc/v3")[2] for path in written] == ["/products/batch"]


@pytest.mark.parametrize(
    ("permissions", "check", "cause"),
    [
        ("read", "permission_write", "The key may only read."),
        ("write", "permission_read", "The key may write, but not read."),
    ],
)
def test_too_small_a_permission_is_named(shop, permissions, check, cause):
    key = shop.control("/keys", permissions=permissions)
    secrets = {"consumer_key": key["consumer_key"], "consumer_secret": key["consumer_secret"]}
    assert failing(access_to(shop, secrets=secrets)) == {check: cause}


def test_a_wrong_secret_and_an_unknown_key_have_different_causes(shop):
    wrong = failing(access_to(shop, secrets={"consumer_secret": "cs_" + "0" * 40}))
    unknown = failing(access_to(shop, secrets={"consumer_key": "ck_" + "0" * 40}))
    assert list(wrong) == list(unknown) == ["authentication"]
    assert "but not this consumer secret" in wrong["authentication"]
    assert "does not know this consumer key" in unknown["authentication"]


def test_plain_permalinks_are_named(shop):
    shop.set(permalinks="plain")
    assert list(failing(access_to(shop))) == ["permalinks"]


def test_wordpress_without_the_plugin_is_named(shop):
    shop.set(woocommerce=False)
    assert list(failing(access_to(shop))) == ["woocommerce"]


@pytest.mark.parametrize(("version", "is_good"), [("5.7.2", False), ("5.8.0", True), ("10.3.1", True)])
def test_an_old_version_is_refused(open_shop, version, is_good):
    shop = open_shop(orders=0, products=0, customers=0, version=version)
    assert ("version" in failing(access_to(shop))) is not is_good


@pytest.mark.parametrize("page", ["waf", "captcha", "maintenance"])
def test_what_stands_before_the_shop_is_recognised(shop, page):
    shop.fault("html", page=page, times=3)
    found = failing(access_to(shop))
    assert list(found) == ["wordpress"]
    assert "in the shop's place" in found["wordpress"]


def test_a_clock_far_away_is_told_and_refused_only_where_it_breaks_signatures(shop):
    shop.set(skew_s=300)
    assert checks(access_to(shop))["clock_skew"][0] == "warning"
    shop.set(skew_s=3600)
    assert list(failing(access_to(shop))) == ["authentication"]
    assert "clock" in failing(access_to(shop))["authentication"]


def test_a_shop_installed_anew_at_the_same_address_is_noticed(shop):
    known = {hooks.ACTIVATED_STORE: "11111111-2222-4333-8444-555555555555"}
    assert list(failing(access_to(shop, facts=known))) == ["identity"]


def test_an_address_where_nobody_is_fails_as_unreachable(shop):
    assert list(failing(access_to(shop, config={"store_url": "http://127.0.0.1:9"}))) == ["reachable"]


def test_a_shop_of_another_name_is_not_followed(shop):
    shop.fault("redirect", to="http://elsewhere.example")
    assert list(failing(access_to(shop))) == ["reachable"]


def test_a_redirect_within_the_site_is_settled_once(shop, peer):
    front = peer(peers.redirect(f"{shop.url}/wp-json/"))
    access = access_to(shop, facts={}, config={"store_url": front.origin})
    assert failing(access) == {}
    assert access.facts["address"] == {"configured": front.origin, "final": shop.url}
    assert len(front.requests) == 1


def test_a_proxy_that_hides_tls_is_signed_for_as_the_shop_sees_itself(shop):
    shop.set(tls="proxy")
    access = access_to(shop, facts={})
    assert failing(access) == {}
    assert access.facts["signing"]["way"] == "oauth1"


def test_a_verification_of_a_slow_shop_ends(shop):
    shop.fault("latency", seconds=0.2)
    began = time.monotonic()
    checks(access_to(shop))
    assert time.monotonic() - began < 10
