"""Keys handed over by the shop's owner: the page, the callback, the way back."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from .conftest import Receiver
from .shops import Shop


def asked(shop: Shop, receiver: Receiver, **changed: str) -> httpx.Response:
    given = {
        "app_name": "Causeway <b>",
        "scope": "read_write",
        "user_id": "state-1",
        "return_url": "http://127.0.0.1:9/back?x=1",
        "callback_url": receiver.url,
    }
    query = {name: value for name, value in (given | changed).items() if value}
    return shop.http.get(f"{shop.url}/wc-auth/v1/authorize", params=query)


def link(page: httpx.Response, name: str) -> str:
    found = re.search(rf'<a class="button {name}" href="([^"]+)"', page.text)
    assert found, page.text
    return html.unescape(found[1])


def test_approval_hands_over_keys_that_work_and_sends_the_browser_back(shop: Shop, receiver: Receiver):
    page = asked(shop, receiver)
    assert "Causeway &lt;b&gt;" in page.text
    back = shop.http.get(link(page, "approve"))
    assert back.status_code == 302
    assert parse_qs(urlsplit(back.headers["Location"]).query) == {"x": ["1"], "success": ["1"], "user_id": ["state-1"]}
    headers, body = receiver.received[0]
    keys = json.loads(body)
    assert headers["content-type"].startswith("application/json")
    assert list(keys) == ["key_id", "user_id", "consumer_key", "consumer_secret", "key_permissions"]
    assert (keys["user_id"], keys["key_permissions"]) == ("state-1", "read_write")
    assert re.fullmatch("ck_[0-9a-f]{40}", keys["consumer_key"])
    assert shop.call("GET", "/orders", auth=(keys["consumer_key"], keys["consumer_secret"])).status_code == 200


def test_denial_sends_the_browser_back_without_keys(shop: Shop, receiver: Receiver):
    url = link(asked(shop, receiver), "deny")
    assert parse_qs(urlsplit(url).query)["success"] == ["0"]
    assert receiver.received == []


@pytest.mark.parametrize("status", [201, 204, 302, 500])
def test_callback_that_does_not_answer_exactly_200_costs_the_key(shop: Shop, receiver: Receiver, status: int):
    receiver.answers = [status]
    page = shop.http.get(link(asked(shop, receiver), "approve"))
    assert (page.status_code, "unable to send the consumer data" in page.text) == (401, True)
    keys = json.loads(receiver.received[0][1])
    assert shop.call("GET", "/orders", auth=(keys["consumer_key"], keys["consumer_secret"])).status_code == 401


def test_the_browser_may_be_back_before_the_keys_are(shop: Shop, receiver: Receiver):
    shop.set(approval="return_first")
    assert shop.http.get(link(asked(shop, receiver), "approve")).status_code == 302
    assert receiver.received == []
    keys = json.loads(receiver.wait(1)[0][1])
    assert shop.call("GET", "/orders", auth=(keys["consumer_key"], keys["consumer_secret"])).status_code == 200


@pytest.mark.parametrize("name", ["app_name", "scope", "user_id", "return_url", "callback_url"])
def test_every_parameter_is_needed(shop: Shop, receiver: Receiver, name: str):
    page = asked(shop, receiver, **{name: ""})
    assert (page.status_code, f"Missing parameter {name}" in page.text) == (401, True)


def test_callback_has_to_be_https_but_on_this_machine(shop: Shop, receiver: Receiver):
    assert "needs to be over SSL" in asked(shop, receiver, callback_url="http://hub.example/cb").text
    assert asked(shop, receiver, callback_url="hub.example/cb").status_code == 200
    shop.set(allow_http_callback=False)
    assert asked(shop, receiver).status_code == 401


def test_scope_is_one_of_three(shop: Shop, receiver: Receiver):
    assert "Invalid scope" in asked(shop, receiver, scope="everything").text
