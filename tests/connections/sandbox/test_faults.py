"""Answers that go wrong on request, as a client sees them."""

from __future__ import annotations

import time

import httpx
import pytest

from .conftest import Item, Simulator


@pytest.fixture
def item(simulator) -> Item:
    return simulator.item()


def call(item: Item, path: str = "/transactions/sync", **more) -> httpx.Response:
    return item.simulator.post(path, access_token=item.token, **more)


def test_fault_waits_its_turn_and_is_used_up(item: Item):
    item.fault("error", skip=1, times=2, error_code="INTERNAL_SERVER_ERROR")
    assert [call(item).status_code for _turn in range(4)] == [200, 500, 500, 200]


def test_fault_is_for_one_item_or_for_all(simulator: Simulator, item: Item):
    item.fault("error", error_code="INSTITUTION_DOWN")
    other = simulator.item()
    assert call(other).status_code == 200
    assert item.refused() == "INSTITUTION_ERROR/INSTITUTION_DOWN"


def test_error_of_any_shape(item: Item):
    item.fault("error", status=429, error_type="RATE_LIMIT_EXCEEDED", error_code="SOMETHING_NEW")
    item.fault("error", status=503, body={"message": "gateway"})
    item.fault("html", status=502)
    answers = [call(item) for _turn in range(3)]
    assert [answer.status_code for answer in answers] == [429, 503, 502]
    assert answers[0].json()["error_code"] == "SOMETHING_NEW"
    assert answers[1].json()["message"] == "gateway"
    assert answers[2].headers["content-type"] == "text/html"


def test_latency_delays_and_answers(item: Item):
    item.fault("latency", seconds=0.3)
    before = time.monotonic()
    assert call(item).status_code == 200
    assert time.monotonic() - before >= 0.3


def test_hang_outlasts_the_client(simulator: Simulator, item: Item):
    item.fault("hang", seconds=5)
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=simulator.url, timeout=0.3) as http:
        http.post("/transactions/sync", json={"access_token": item.token})
    assert call(item).status_code == 200


def test_connection_can_be_reset_or_closed(item: Item):
    item.fault("reset")
    with pytest.raises(httpx.ReadError):
        call(item)
    item.fault("commit_then_drop")
    with pytest.raises(httpx.RemoteProtocolError):
        call(item)
    assert call(item).status_code == 200


def test_commit_then_drop_has_its_effect(simulator: Simulator, item: Item):
    simulator.control("faults", path="/item/public_token/exchange", kind="commit_then_drop", item_id=item.item_id)
    with pytest.raises(httpx.RemoteProtocolError):
        simulator.post("/item/public_token/exchange", public_token=item.public_token)
    again = simulator.refused("/item/public_token/exchange", public_token=item.public_token)
    assert again == "INVALID_INPUT/INVALID_PUBLIC_TOKEN"


def test_spoilt_bodies(item: Item):
    item.fault("truncated")
    with pytest.raises(httpx.RemoteProtocolError):
        call(item)
    item.fault("malformed")
    with pytest.raises(ValueError, match="char"):
        call(item).json()
    item.fault("oversized", bytes=2_000_000)
    assert len(call(item).content) > 2_000_000
    item.fault("missing_field", field="added.transaction_id")
    assert "transaction_id" not in call(item).json()["added"][0]
    item.fault("new_enum", field="added.payment_channel", value="telepathy")
    assert call(item).json()["added"][0]["payment_channel"] == "telepathy"
    item.fault("new_enum")
    assert call(item).json()["transactions_update_status"] == "SOMETHING_NEW"


def test_faults_can_be_listed_and_cleared(simulator: Simulator, item: Item):
    fault = item.fault("reset")
    assert fault["id"] in [one["id"] for one in simulator.control("faults", "GET")["faults"]]
    assert simulator.control(f"faults?id={fault['id']}", "DELETE") == {"cleared": 1}
    assert call(item).status_code == 200
