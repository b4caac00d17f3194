"""A shop is read: everything, what changed, and what is gone, whatever happens meanwhile."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from connections.providers.woocommerce import client, pulling, seek
from connections.providers.woocommerce.auth import Signing

from .conftest import access_to

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def drain(access, entity, position=None):
    """(records by id, the last position, pages). Every page's position is kept, as an engine would."""
    found, pages = {}, 0
    for page in pulling.pull(access, entity, position or {}):
        for record in page.records:
            found[record.external_id] = record
        position, pages = page.position, pages + 1
    return found, position, pages


def live(shop, table) -> set[str]:
    """What a shop has: neither in the bin nor a checkout that nobody has finished."""
    hidden = ("trash", "checkout-draft", "auto-draft")
    return {str(one) for one, row in shop.truth(table).items() if row["status"] not in hidden}


def there(found) -> set[str]:
    return {one for one, record in found.items() if not record.is_removed}


@pytest.mark.parametrize("entity", ["orders", "products", "customers", "coupons", "taxes"])
def test_everything_of_a_shop_is_read_once(open_shop, monkeypatch, entity):
    monkeypatch.setattr(client, "PAGE_SIZES", (25, 10))
    shop = open_shop(orders=90, products=60, customers=55)
    access = access_to(shop)
    found, _position, pages = drain(access, entity)
    assert there(found) == (live(shop, entity) | (live(shop, "variations") if entity == "products" else set()))
    assert pages > 2 or entity in ("coupons", "taxes")
    assert {record.entity for record in found.values()} == {entity}


def test_only_what_changed_is_read_again(open_shop):
    shop = open_shop(orders=40, products=5, customers=5)
    access = access_to(shop)
    found, position, _pages = drain(access, "orders")
    shop.ops({"op": "edit", "id": max(map(int, found)), "fields": {"status": "completed"}})
    again, _position, _pages = drain(access, "orders", position)
    assert str(max(map(int, found))) in again
    assert len(again) < 10


def test_a_reading_with_nothing_new_is_one_call_a_list(open_shop):
    shop = open_shop(orders=40, products=5, customers=5)
    access = access_to(shop)
    _found, position, _pages = drain(access, "orders")
    before = len(shop.log())
    drain(access, "orders", position)
    assert len(shop.log()) - before == 2  # those that are there, and those in the bin


def test_refunds_are_read_with_their_order(open_shop):
    shop = open_shop(orders=5, products=5, customers=2)
    order = next(one for one, row in shop.truth("orders").items() if row["status"] in ("processing", "completed"))
    [refund] = shop.ops({"op": "refund", "order_id": order, "refund": {"amount": "1.00"}})
    found, _position, _pages = drain(access_to(shop), "refunds")
    assert found[str(refund)].payload["parent_id"] == order
    assert set(found) == live(shop, "refunds")


@pytest.mark.parametrize("version", ["8.9.0", "10.2.0"])
def test_older_shops_are_read_all_the_same(open_shop, version):
    shop = open_shop(orders=30, products=30, customers=3, version=version)
    order = next(one for one, row in shop.truth("orders").items() if row["status"] in ("processing", "completed"))
    shop.ops({"op": "refund", "order_id": order, "refund": {"amount": "1.00"}})
    access = access_to(shop)
    assert set(drain(access, "refunds")[0]) == live(shop, "refunds")
    products = drain(access, "products")[0]
    assert set(products) == live(shop, "products") | live(shop, "variations")
    told = {record.external_id for record in products.values() if record.payload["type"] == "variation"}
    assert told == live(shop, "variations")
    assert all(products[one].payload["parent_id"] for one in told)


def test_a_trashed_order_comes_as_removed_and_a_destroyed_one_is_missing_among_the_ids(open_shop):
    shop = open_shop(orders=10, products=3, customers=2)
    access = access_to(shop)
    found, position, _pages = drain(access, "orders")
    trashed, destroyed = sorted(there(found))[:2]
    shop.ops({"op": "trash", "id": int(trashed)}, {"op": "delete", "id": int(destroyed)})
    again, _position, _pages = drain(access, "orders", position)
    assert again[trashed].is_removed
    ids = {one for batch in pulling.ids(access, "orders") for one in batch}
    assert ids == there(found) - {trashed, destroyed} == live(shop, "orders")
    fetched = {record.external_id: record for record in pulling.fetch(access, "orders", [trashed, destroyed, *ids])}
    assert {one for one, record in fetched.items() if record.is_removed} == {trashed, destroyed}
    assert set(fetched) == there(found)


def test_ids_since_a_day_are_those_made_since(open_shop):
    shop = open_shop(orders=60, products=3, customers=2, days=60)
    since = datetime.now(UTC) - timedelta(days=20)
    ids = {one for batch in pulling.ids(access_to(shop), "orders", since=since) for one in batch}
    found, _position, _pages = drain(access_to(shop), "orders")
    made = {one for one, r in found.items() if r.payload["date_created_gmt"] > since.strftime("%Y-%m-%dT%H:%M:%S")}
    assert ids == made & there(found)
    assert 0 < len(ids) < 60


def test_variations_are_found_by_id_among_products(open_shop):
    shop = open_shop(orders=0, products=30, customers=0)
    variation, product = min(live(shop, "variations")), min(live(shop, "products"))
    found = {one.external_id: one for one in pulling.fetch(access_to(shop), "products", [variation, product, "999999"])}
    assert found[variation].payload["type"] == "variation"
    assert found["999999"].is_removed
    assert not found[product].is_removed


def test_thousands_of_one_second_are_read_page_by_page(open_shop, monkeypatch):
    monkeypatch.setattr(seek, "MAX_EXCLUDE", 200)
    monkeypatch.setattr(client, "PAGE_SIZES", (25, 10))
    shop = open_shop(orders=130, products=3, customers=2)
    ids = sorted(shop.truth("orders"))
    shop.ops({"op": "touch", "ids": ids[10:120], "at": int(START.timestamp())})
    found, _position, _pages = drain(access_to(shop), "orders")
    assert there(found) == live(shop, "orders")
    longest = max(len(row["path"]) + len(str(row.get("query", ""))) for row in shop.log())
    assert longest < 4000


def test_headers_dropped_by_a_cache_lose_nothing(open_shop, monkeypatch):
    monkeypatch.setattr(seek, "MAX_EXCLUDE", 200)
    monkeypatch.setattr(client, "PAGE_SIZES", (25, 10))
    shop = open_shop(orders=80, products=3, customers=30, drop_paging_headers=True)
    shop.ops({"op": "touch", "ids": sorted(shop.truth("orders")), "at": int(START.timestamp())})
    access = access_to(shop)
    assert there(drain(access, "orders")[0]) == live(shop, "orders")
    assert there(drain(access, "customers")[0]) == live(shop, "customers")


def test_customers_deleted_while_they_are_read_hide_nobody(open_shop, monkeypatch):
    monkeypatch.setattr(client, "PAGE_SIZES", (10,))
    shop = open_shop(orders=0, products=0, customers=60)
    access, found = access_to(shop), set()
    for page in pulling.pull(access, "customers", {}):
        if not found:
            gone = sorted(shop.truth("customers"))[:7]
            shop.ops({"op": "delete", "resource": "customers", "ids": gone})
        found |= {record.external_id for record in page.records}
    assert live(shop, "customers") <= found


def test_a_reading_goes_on_from_any_page(open_shop, monkeypatch):
    monkeypatch.setattr(client, "PAGE_SIZES", (10,))
    shop = open_shop(orders=45, products=20, customers=30)
    access = access_to(shop)
    for entity in ("orders", "products", "customers"):
        found, position = set(), {}
        while True:  # a new worker for every page
            page = next(iter(pulling.pull(access, entity, position)))
            found |= {record.external_id for record in page.records if not record.is_removed}
            position = page.position
            if not page.has_more:
                break
        assert found == live(shop, entity) | (live(shop, "variations") if entity == "products" else set())


def test_a_page_too_large_for_the_shop_is_halved_and_that_is_remembered(open_shop):
    shop = open_shop(orders=70, products=3, customers=2, memory_limit_per_page=25)
    access = access_to(shop)
    assert there(drain(access, "orders")[0]) == live(shop, "orders")
    assert access.facts["per_page"] == 25
    asked = len(shop.log())
    client.Shop.of(access).page("orders", {})
    assert len(shop.log()) == asked + 1


def test_money_keeps_every_digit(open_shop):
    shop = open_shop(orders=3, products=3, customers=2)
    found, _position, _pages = drain(access_to(shop), "orders")
    line = next(iter(found.values())).payload["line_items"][0]
    assert isinstance(line["price"], Decimal)
    assert Decimal(line["total"]) == Decimal(line["total"]).quantize(Decimal("0.000001"))


def test_dates_are_utc_whatever_the_shop_s_zone(open_shop):
    for zone in ("America/Edmonton", "Asia/Tokyo", "Pacific/Kiritimati"):
        shop = open_shop(orders=4, products=3, customers=2, timezone=zone)
        truth = shop.truth("orders")
        found, _position, _pages = drain(access_to(shop), "orders")
        assert {one: int(r.modified_at.timestamp()) for one, r in found.items()} == {
            str(one): row["modified"] for one, row in truth.items()
        }


# An hour before the clock of a zone jumps. In spring also before the same digits come up in UTC, which WordPress takes
# for site time first: it moves bounds on that fall into the hour that is skipped.
JUMPS = [
    ("America/Edmonton", datetime(2026, 3, 8, 1, tzinfo=UTC)),
    ("America/Edmonton", datetime(2026, 3, 8, 8, tzinfo=UTC)),
    ("America/Edmonton", datetime(2026, 11, 1, 7, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 3, 29, 0, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 0, tzinfo=UTC)),
    ("Pacific/Auckland", datetime(2026, 9, 27, 1, tzinfo=UTC)),
    ("Pacific/Auckland", datetime(2026, 4, 4, 13, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 4, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("zone", "begins"), JUMPS, ids=[f"{zone} {at:%B %H}h" for zone, at in JUMPS])
def test_what_is_sold_while_a_clock_jumps_is_read_as_it_comes(open_shop, monkeypatch, zone, begins):
    monkeypatch.setattr(client, "signing_of", lambda _access: Signing("basic"))  # the shop's clock is not ours
    now = int(begins.timestamp())
    shop = open_shop(orders=0, products=1, customers=1, timezone=zone, ends_at=now)
    access = access_to(shop, facts={"shop": {"version": shop.made["version"], "timezone": zone}})
    position: dict = {}
    for moment in range(now, now + 3 * 3600, 25 * 60):
        shop.set(clock=moment)
        [sold] = shop.ops({"op": "place"})
        found, position, _pages = drain(access, "orders", position)
        assert str(sold) in found
        since = datetime.fromtimestamp(moment - 60, UTC)
        assert str(sold) in {one for batch in pulling.ids(access, "orders", since=since) for one in batch}


@pytest.mark.parametrize("way", ["basic", "query", "oauth1"])
def test_each_way_in_reads(open_shop, way):
    shop = open_shop(orders=2, products=1, customers=1)
    reader = client.Shop.of(access_to(shop), signing=Signing(way, shop.url))
    found = reader.rows("orders", {"include": "1,2,3,4,5,6,7,8,9", "status": ["any"], "search": "é ~+&=/"})
    assert found == []  # signed as it was asked
    assert len(reader.rows("orders")) == 2


def test_keys_never_travel_readable(open_shop):
    shop = open_shop(orders=1, products=1, customers=1)
    access = access_to(shop, facts={"signing": {"way": "basic", "home": ""}})
    client.Shop.of(access).rows("orders")
    assert shop.keys[1] not in str(shop.log())


def test_one_that_was_left_out_and_changed_meanwhile_is_found_by_the_next_reading(open_shop, monkeypatch):
    monkeypatch.setattr(client, "PAGE_SIZES", (10,))
    monkeypatch.setattr(client, "signing_of", lambda _access: Signing("basic"))  # the shop's clock is not ours
    now = int(START.timestamp())
    shop = open_shop(orders=0, products=3, customers=2, ends_at=now)
    shop.set(clock=now)
    orders = [shop.ops({"op": "place", "at": now - 3600 + number * 60})[0] for number in range(15)]
    access = access_to(shop)
    page = next(iter(pulling.pull(access, "orders", {})))
    last = page.records[-1].external_id
    assert last == str(orders[9])
    shop.set(clock=now + 600)  # the worker died here, for an hour
    shop.ops({"op": "edit", "id": int(last), "fields": {"customer_note": "news"}})
    shop.set(clock=now + 3600)
    shop.ops(*({"op": "place", "at": now + 3000 + number * 30} for number in range(20)))
    found, position, _pages = drain(access, "orders", page.position)
    again, _position, _pages = drain(access, "orders", position)
    assert (found | again)[last].payload["customer_note"] == "news"
