"""What is written into a shop: each record has its own answer, and a lost answer doubles nothing."""

from decimal import Decimal

import pytest

from connections import errors
from connections.providers.base import TargetRecord
from connections.providers.woocommerce import writing
from connections.providers.woocommerce.errors import Exists, Gone

from .conftest import access_to


def product(key: str, sku: str = "", **more) -> TargetRecord:
    values = {"name": f"Product {key}", "sku": sku or f"SKU-{key}", "regular_price": Decimal("12.50")}
    given = {name: more.pop(name) for name in ("external_id", "operation") if name in more}
    return TargetRecord("products", key, values | more, **given)


def written(access, entity, *records):
    return {one.key: one for one in writing.upsert(access, entity, records, idempotency_key="k")}


def test_new_products_are_made_and_known_ones_changed(shop):
    access = access_to(shop)
    first = written(access, "products", product("a"), product("b"))
    assert {one.outcome for one in first.values()} == {"created"}
    changed = product("a", external_id=first["a"].external_id, regular_price=Decimal("13.00"))
    second = written(access, "products", changed, product("c"))
    assert (second["a"].outcome, second["c"].outcome) == ("updated", "created")
    row = shop.get(f"/products/{first['a'].external_id}")
    assert (row["regular_price"], row["name"]) == ("13.00", "Product a")
    assert first["a"].link.endswith(f"post={first['a'].external_id}&action=edit")


def test_one_that_is_refused_keeps_none_of_the_others(shop):
    found = written(access_to(shop), "products", product("a"), product("bad", external_id="999999"), product("c"))
    assert (found["a"].outcome, found["bad"].outcome, found["c"].outcome) == ("created", "failed", "created")
    assert isinstance(found["bad"].error, Gone)


def test_two_of_one_sku_in_a_batch_name_each_other(shop):
    found = written(access_to(shop), "products", product("a", "SAME"), product("b", "SAME"))
    assert found["a"].outcome == "created"
    assert isinstance(found["b"].error, Exists)
    assert found["b"].external_id == found["a"].external_id


def test_a_batch_whose_answer_was_lost_makes_nothing_twice(shop):
    access = access_to(shop)
    shop.fault("commit_then_drop", "*/products/batch")
    with pytest.raises(errors.OutcomeUnknown):
        written(access, "products", product("a"), product("b"))
    assert writing.find(access, product("a")).outcome == "created"
    assert writing.find(access, product("never")) is None
    again = written(access, "products", product("a"), product("b"))
    assert {one.outcome for one in again.values()} == {"created"}
    assert len(shop.get("/products")) == 2


def test_a_lost_answer_to_a_change_may_simply_be_repeated(shop):
    access = access_to(shop)
    made = written(access, "products", product("a"))["a"]
    shop.fault("commit_then_drop", "*/products/batch")
    with pytest.raises(errors.TemporaryError) as caught:
        written(access, "products", product("a", external_id=made.external_id))
    assert not isinstance(caught.value, errors.OutcomeUnknown)


def test_a_product_of_the_shop_s_own_with_this_sku_is_linked_and_updated(shop):
    theirs = shop.post("/products", name="Theirs", sku="SKU-a")
    found = written(access_to(shop), "products", product("a"))["a"]
    assert (found.outcome, found.external_id) == ("updated", str(theirs["id"]))


def test_a_product_without_a_sku_is_not_made(shop):
    record = TargetRecord("products", "a", {"name": "Mug"})
    found = written(access_to(shop), "products", record)["a"]
    assert isinstance(found.error, errors.RejectedRecord)
    assert shop.get("/products") == []


def test_a_deleted_product_is_in_the_bin_and_deleting_it_again_is_no_error(shop):
    access = access_to(shop)
    made = written(access, "products", product("a"))["a"]
    gone = product("a", external_id=made.external_id, operation="delete")
    for _turn in range(2):
        assert written(access, "products", gone)["a"].outcome == "removed"
    assert shop.truth("products")[int(made.external_id)]["status"] == "trash"


def test_customers_are_found_by_their_address_whatever_its_case(shop):
    access = access_to(shop)
    ann = TargetRecord("customers", "a", {"email": "Ann@Example.com", "first_name": "Ann"})
    first, second = written(access, "customers", ann)["a"], written(access, "customers", ann)["a"]
    assert first.outcome == second.outcome == "created"
    assert first.external_id == second.external_id


def test_an_order_s_status_is_written_and_its_money_never(shop):
    [order] = shop.ops({"op": "place"})
    access = access_to(shop)
    done = TargetRecord("orders", "a", {"status": "completed"}, external_id=str(order))
    money = TargetRecord("orders", "b", {"total": Decimal("1.00")}, external_id=str(order))
    refunded = TargetRecord("orders", "c", {"status": "refunded"}, external_id=str(order))
    new = TargetRecord("orders", "d", {"status": "completed"})
    found = written(access, "orders", done, money, refunded, new)
    assert {key: one.outcome for key, one in found.items()} == {
        "a": "updated",
        "b": "failed",
        "c": "failed",
        "d": "failed",
    }
    assert found["a"].total == Decimal(shop.get(f"/orders/{order}")["total"])
    assert shop.get(f"/orders/{order}")["status"] == "completed"
    assert list(found["b"].error.fields) == ["total"]


def test_a_void_cancels_an_order(shop):
    [order] = shop.ops({"op": "place"})
    record = TargetRecord("orders", "a", {}, external_id=str(order), operation="void")
    assert written(access_to(shop), "orders", record)["a"].outcome == "updated"
    assert shop.get(f"/orders/{order}")["status"] == "cancelled"


def test_a_hundred_at_once_are_one_batch(shop):
    found = written(access_to(shop), "products", *(product(str(number)) for number in range(writing.batch_size)))
    assert {one.outcome for one in found.values()} == {"created"}
    assert [row["method"] for row in shop.log()].count("POST") == 1


def test_what_was_not_sent_is_not_in_doubt(shop):
    access = access_to(shop, config={"store_url": "http://127.0.0.1:9"})
    with pytest.raises(errors.NotSent):
        written(access, "products", product("a"))
