"""Webhooks: what is sent, how it is signed, how delivery goes wrong."""

from __future__ import annotations

import hashlib
import json
import time

import jwt
import pytest

from .conftest import Receiver, Simulator


def verified(simulator: Simulator, headers: dict[str, str], body: bytes) -> dict:
    """The claims of a good signature. Raises what jwt raises."""
    token = headers["plaid-verification"]
    head = jwt.get_unverified_header(token)
    assert head["alg"] == "ES256"
    key = simulator.ok("/webhook_verification_key/get", key_id=head["kid"])["key"]
    claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=["ES256"], options={"require": ["iat"]}, leeway=60)
    assert claims["request_body_sha256"] == hashlib.sha256(body).hexdigest()
    return claims


def codes(received: list) -> list[str]:
    return [json.loads(body)["webhook_code"] for _headers, body in received]


@pytest.fixture
def item(simulator, receiver):
    return simulator.item(webhook=receiver.url)


def fire(item, code: str = "RECURRING_TRANSACTIONS_UPDATE", **extra) -> None:
    item.simulator.control(f"items/{item.item_id}/webhook", code=code, extra=extra)


def test_webhook_is_signed_over_its_exact_bytes(simulator: Simulator, item, receiver: Receiver):
    fire(item)
    headers, body = receiver.wait(1)[0]
    claims = verified(simulator, headers, body)
    assert abs(claims["iat"] - time.time()) < 5
    assert body == json.dumps(json.loads(body), indent=2).encode()
    assert json.loads(body)["item_id"] == item.item_id


def test_webhook_is_signed_for_who_delivers_it_by_himself(simulator: Simulator):
    body = '{"webhook_code": "ANY"}'
    (signature,) = simulator.control("keys/sign", bodies=[body])["signatures"]
    assert abs(verified(simulator, {"plaid-verification": signature}, body.encode())["iat"] - time.time()) < 5


def test_updates_are_announced_once_sync_was_called(item, receiver: Receiver):
    item.ops({"op": "add", "transaction": {"amount": 1}}, fire_webhook=True)
    assert codes(receiver.wait(1)) == ["DEFAULT_UPDATE"]
    item.page()
    item.ops({"op": "add", "transaction": {"amount": 2}}, fire_webhook=True)
    assert sorted(codes(receiver.wait(3))[1:]) == ["DEFAULT_UPDATE", "SYNC_UPDATES_AVAILABLE"]


def test_new_item_tells_when_its_data_arrives(simulator: Simulator, receiver: Receiver):
    item = simulator.item(webhook=receiver.url, ready="soon", days=90, transactions=90)
    item.page()
    received = receiver.wait(4)
    assert sorted(codes(received)) == ["HISTORICAL_UPDATE", "INITIAL_UPDATE", *["SYNC_UPDATES_AVAILABLE"] * 2]
    last = [json.loads(body) for _headers, body in received if b"SYNC_UPDATES" in body]
    assert {shown["initial_update_complete"] for shown in last} == {True}
    assert item.page()["transactions_update_status"] == "HISTORICAL_UPDATE_COMPLETE"


def test_login_reset_and_webhook_update_are_announced(simulator: Simulator, item, receiver: Receiver):
    simulator.ok("/sandbox/item/reset_login", access_token=item.token)
    shown = json.loads(receiver.wait(1)[0][1])
    assert (shown["webhook_code"], shown["error"]["error_code"]) == ("ERROR", "ITEM_LOGIN_REQUIRED")
    assert "request_id" not in shown["error"]
    simulator.ok("/item/webhook/update", access_token=item.token, webhook=receiver.url + "/new")
    assert json.loads(receiver.wait(2)[1][1])["new_webhook_url"] == receiver.url + "/new"


def test_refused_delivery_is_repeated(item, receiver: Receiver):
    receiver.answers = [500]
    fire(item)
    received = receiver.wait(2)
    assert received[0][1] == received[1][1]


def test_rotated_key_expires_and_the_new_one_signs(own_simulator: Simulator, receiver: Receiver):
    item = own_simulator.item(webhook=receiver.url)
    old = own_simulator.control("keys", "GET")["keys"][0]["kid"]
    new = own_simulator.control("keys/rotate")["kid"]
    assert own_simulator.ok("/webhook_verification_key/get", key_id=old)["key"]["expired_at"]
    fire(item)
    headers, body = receiver.wait(1)[0]
    verified(own_simulator, headers, body)
    assert jwt.get_unverified_header(headers["plaid-verification"])["kid"] == new
    refused = own_simulator.refused("/webhook_verification_key/get", key_id="nobody")
    assert refused == "INVALID_INPUT/INVALID_WEBHOOK_VERIFICATION_KEY_ID"


def test_webhooks_are_repeated_late_or_out_of_order(item, receiver: Receiver):
    item.fault("duplicate", "webhook")
    fire(item)
    received = receiver.wait(2)
    assert received[0][1] == received[1][1]
    item.fault("reorder", "webhook")
    fire(item, "NEW_ACCOUNTS_AVAILABLE")
    fire(item, "LOGIN_REPAIRED")
    assert codes(receiver.wait(4))[2:] == ["LOGIN_REPAIRED", "NEW_ACCOUNTS_AVAILABLE"]
    item.fault("late", "webhook", seconds=0.5)
    before = time.monotonic()
    fire(item)
    receiver.wait(5)
    assert time.monotonic() - before >= 0.5


@pytest.mark.parametrize("variant", ["signature", "body", "none", "hs256", "unknown_kid", "missing"])
def test_forged_webhook_does_not_verify(simulator: Simulator, item, receiver: Receiver, variant: str):
    item.fault("forge", "webhook", variant=variant)
    fire(item)
    headers, body = receiver.wait(1)[0]
    with pytest.raises((jwt.InvalidTokenError, AssertionError, KeyError)):
        verified(simulator, headers, body)


def test_clock_skew_moves_the_signature_into_the_future(simulator: Simulator, item, receiver: Receiver):
    item.fault("clock_skew", "webhook", seconds=3600)
    fire(item)
    headers, body = receiver.wait(1)[0]
    with pytest.raises(jwt.ImmatureSignatureError):
        verified(simulator, headers, body)


@pytest.mark.parametrize("url", ["https://example.org/x", "http://10.0.0.1/x", "http://example.org/x"])
def test_nothing_leaves_this_machine(simulator: Simulator, url: str):
    item = simulator.item(webhook=url)
    fire(item)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        logged = simulator.control(f"webhooks?item_id={item.item_id}", "GET")["webhooks"]
        if logged[-1]["attempts"]:
            break
        time.sleep(0.02)
    assert [row["status"] for row in logged] == ["refused"]
