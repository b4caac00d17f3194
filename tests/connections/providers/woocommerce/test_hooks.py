"""Our webhooks in a shop: one a topic, found again, made anew when disabled, gone at the end."""

import pytest

from connections import errors
from connections.providers.woocommerce import hooks, verification

from .conftest import WEBHOOK, access_to


def standing(shop) -> dict[str, str]:
    return {hook["topic"]: hook["status"] for hook in shop.get("/webhooks", per_page=100)}


@pytest.fixture
def access(shop):
    status = shop.get("/system_status")
    made = access_to(shop, facts={"shop": verification.shop_facts(status)})
    hooks.activated(made)
    return made


def test_activation_registers_every_topic_once(shop, access):
    assert standing(shop) == dict.fromkeys(hooks.TOPICS, "active")
    assert len(shop.get("/webhooks", per_page=100)) == len(hooks.TOPICS)
    assert set(access.facts[hooks.FACT]) == set(hooks.TOPICS)
    assert access.facts[hooks.ACTIVATED_STORE] == access.facts["shop"]["store_id"] != ""
    secret = access.secret(hooks.SECRET)
    assert (len(secret), secret.isalnum(), secret.isascii()) == (48, True, True)


def test_a_second_activation_writes_nothing(shop, access):
    before, secret = shop.get("/webhooks", per_page=100), access.secret(hooks.SECRET)
    asked = len(shop.log())
    hooks.activated(access)
    assert [row["method"] for row in shop.log()[asked:]] == ["GET"]
    assert (shop.get("/webhooks", per_page=100), access.secret(hooks.SECRET)) == (before, secret)


def test_a_registration_whose_answer_was_lost_is_found_again(shop):
    access = access_to(shop)
    shop.fault("commit_then_drop", "*/webhooks", times=1, method="POST")
    with pytest.raises(errors.TemporaryError):
        hooks.activated(access)
    hooks.activated(access)
    assert len(shop.get("/webhooks", per_page=100)) == len(hooks.TOPICS)
    assert standing(shop) == dict.fromkeys(hooks.TOPICS, "active")


def test_a_disabled_or_deleted_one_is_made_anew(shop, access):
    first, second = shop.get("/webhooks", per_page=2)
    shop.put(f"/webhooks/{first['id']}", status="disabled")
    shop.call("DELETE", f"/webhooks/{second['id']}", force="true")
    checks = {check.name: check for check in verification.verify(access)}
    assert checks["webhook"].status == "warning"
    assert first["topic"] in checks["webhook"].cause
    assert set(hooks.watch(access)) == {first["topic"], second["topic"]}
    assert standing(shop) == dict.fromkeys(hooks.TOPICS, "active")
    assert first["id"] not in [hook["id"] for hook in shop.get("/webhooks", per_page=100)]
    assert {check.name: check.status for check in verification.verify(access)}["webhook"] == "passed"


def test_other_people_s_webhooks_are_left_alone(shop):
    theirs = shop.hook("order.created", "http://127.0.0.1:9/theirs")
    access = access_to(shop)
    hooks.activated(access)
    hooks.disconnecting(access)
    assert [hook["id"] for hook in shop.get("/webhooks", per_page=100)] == [theirs["id"]]


def test_a_changed_address_of_ours_moves_them(shop, access):
    address = WEBHOOK.replace("/webhook/", "/new/webhook/")
    moved = access_to(shop, facts=access.facts, webhook=address, secrets={hooks.SECRET: access.secret(hooks.SECRET)})
    hooks.watch(moved)
    assert {hook["delivery_url"] for hook in shop.get("/webhooks", per_page=100)} == {address}


@pytest.mark.parametrize("act", [hooks.activated, hooks.watch, hooks.disconnecting])
def test_somebody_elses_webhook_with_an_id_that_was_ours_elsewhere_is_left_alone(open_shop, shop, access, act):
    other = open_shop(orders=0, products=0, customers=0)
    theirs = [other.hook("order.created", f"http://127.0.0.1:9/theirs/{number}") for number in range(3)]
    ids = {hook["id"] for hook in theirs}
    facts = {"shop": access.facts["shop"], hooks.FACT: dict(zip(hooks.TOPICS, sorted(ids), strict=False))}
    act(access_to(other, facts=facts, secrets={hooks.SECRET: access.secret(hooks.SECRET)}))
    assert ids <= {hook["id"] for hook in other.get("/webhooks", per_page=100)}


def test_a_disconnect_leaves_none_and_may_be_repeated(shop, access):
    hooks.disconnecting(access)
    assert shop.get("/webhooks", per_page=100) == []
    hooks.disconnecting(access)


def test_keys_that_were_withdrawn_do_not_keep_a_disconnect_from_its_end(shop, access):
    for key in shop.control("", "GET")["keys"]:
        shop.http.delete(f"{shop.control_url}/stores/{shop.name}/keys?key_id={key['key_id']}")
    hooks.disconnecting(access)
    assert hooks.FACT not in access.facts


def test_a_shop_on_the_internet_is_not_asked_to_call_a_private_address(shop):
    access = access_to(shop, config={"store_url": "https://shop.example.com"})
    hooks.activated(access)
    assert access.facts[hooks.FACT] == {}
