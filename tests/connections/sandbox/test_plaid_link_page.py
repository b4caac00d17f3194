"""The hosted link page, as a browser without JavaScript goes through it."""

from __future__ import annotations

import html
import json
import re

import httpx
import pytest

from .conftest import Receiver, Simulator

BACK = "http://127.0.0.1:8000/connections?done=1&from=bank"
LOGIN = {"institution_id": "ins_109508", "username": "user_good", "password": "pass_good"}


class Browser:
    """Follows redirects, fills forms, knows the link token of its page."""

    def __init__(self, simulator: Simulator, **given):
        request = {
            "client_name": "Causeway",
            "language": "en",
            "country_codes": ["US", "CA"],
            "user": {"client_user_id": "alice"},
            "hosted_link": {"completion_redirect_uri": BACK},
        }
        if "access_token" not in given:
            request["products"] = ["transactions"]
        shown = simulator.ok("/link/token/create", **(request | given))
        self.simulator = simulator
        self.token = shown["link_token"]
        self.base = shown["hosted_link_url"]

    def get(self, step: str = "") -> httpx.Response:
        return httpx.get(f"{self.base}{step}", follow_redirects=True)

    def post(self, step: str, **form) -> httpx.Response:
        return httpx.post(f"{self.base}{step}", data=form, follow_redirects=True)

    def session(self) -> dict:
        return self.simulator.ok("/link/token/get", link_token=self.token)["link_sessions"][0]

    def connect(self, accounts: list[str], **login) -> httpx.Response:
        self.get("/bank/ins_109508")
        self.post("/sign-in", **(LOGIN | login))
        self.post("/accounts", account=accounts)
        return self.post("/connect")


@pytest.fixture
def browser(simulator) -> Browser:
    return Browser(simulator)


def test_person_connects_a_bank(simulator: Simulator, receiver: Receiver):
    browser = Browser(simulator, webhook=receiver.url)
    assert "Maple Harbour Bank" in browser.get().text
    assert "user_good" in browser.get("/bank/ins_109508").text
    assert "Rainy Day Savings" in browser.post("/sign-in", **LOGIN).text
    assert "Share 2 accounts with Causeway?" in browser.post("/accounts", account=["0", "2"]).text
    done = browser.post("/connect").text
    assert "You’re connected" in done
    assert f'href="{html.escape(BACK)}"' in done
    result = browser.session()["results"]["item_add_results"][0]
    sent = json.loads(receiver.wait(1)[0][1])
    assert (sent["webhook_code"], sent["status"], sent["link_token"]) == ("SESSION_FINISHED", "SUCCESS", browser.token)
    assert sent["public_tokens"] == [result["public_token"]]
    token = simulator.ok("/item/public_token/exchange", public_token=result["public_token"])["access_token"]
    accounts = simulator.ok("/accounts/get", access_token=token)["accounts"]
    assert [one["account_id"] for one in accounts] == [one["id"] for one in result["accounts"]]
    assert [one["name"] for one in accounts] == ["Everyday Checking", "Platinum Card"]


def test_search_narrows_the_list_and_countries_bound_it(browser: Browser):
    assert "First Gingham" in browser.get("?q=gING").text
    assert "First Platypus" not in browser.get("?q=gING").text
    assert "No bank here is called" in browser.get("?q=zzz").text
    assert "Lindenbank" not in browser.get().text


def test_wrong_password_is_told_and_can_be_corrected(browser: Browser):
    refused = browser.post("/sign-in", **(LOGIN | {"password": "wrong"}))
    assert (refused.status_code, 'role="alert"' in refused.text) == (422, True)
    assert "user name or password is wrong" in refused.text
    assert "locked" in browser.post("/sign-in", **(LOGIN | {"username": "user_locked"})).text
    assert "Choose accounts" in browser.post("/sign-in", **LOGIN).text


def test_nothing_chosen_is_told(browser: Browser):
    browser.post("/sign-in", **LOGIN)
    refused = browser.post("/accounts")
    assert (refused.status_code, "Choose at least one account" in refused.text) == (422, True)


def test_steps_cannot_be_skipped(browser: Browser):
    assert "Choose your bank" in browser.post("/connect").text
    browser.post("/sign-in", **(LOGIN | {"password": "wrong"}))
    assert "Choose your bank" in browser.get("/review").text


def test_person_leaves(simulator: Simulator, receiver: Receiver):
    browser = Browser(simulator, webhook=receiver.url)
    browser.post("/sign-in", **(LOGIN | {"password": "wrong"}))
    assert "Nothing was connected" in browser.post("/exit").text
    assert json.loads(receiver.wait(1)[0][1])["status"] == "EXITED"
    assert browser.session()["exit"]["error"]["error_code"] == "INVALID_CREDENTIALS"


def test_used_expired_and_unknown_pages_are_friendly(simulator: Simulator, browser: Browser):
    browser.connect(["0"])
    used = browser.get()
    assert (used.status_code, "already used" in used.text) == (410, True)
    assert "You’re connected" in browser.get("/done").text
    late = Browser(simulator)
    simulator.control("links", link_token=late.token)
    assert "has expired" in late.get().text
    unknown = httpx.get(f"{simulator.url}/link/link-sandbox-nobody")
    assert (unknown.status_code, "does not exist" in unknown.text) == (404, True)


def test_update_mode_goes_straight_to_the_bank_and_repairs(simulator: Simulator, receiver: Receiver):
    item = simulator.item(webhook=receiver.url)
    simulator.ok("/sandbox/item/reset_login", access_token=item.token)
    browser = Browser(simulator, access_token=item.token)
    assert "Sign in to First Platypus Bank again" in browser.get().text
    assert "You’re connected again" in browser.post("/sign-in", **LOGIN).text
    assert item.page()["added"]
    received = [json.loads(body)["webhook_code"] for _headers, body in receiver.wait(3)]
    assert sorted(received) == ["ERROR", "LOGIN_REPAIRED", "SESSION_FINISHED"]
    assert browser.session()["results"]["item_add_results"] == []


def test_update_mode_can_change_accounts(simulator: Simulator):
    first = Browser(simulator)
    first.connect(["0", "1"])
    public = first.session()["results"]["item_add_results"][0]["public_token"]
    token = simulator.ok("/item/public_token/exchange", public_token=public)["access_token"]
    update = Browser(simulator, access_token=token, update={"account_selection_enabled": True})
    update.connect(["1", "2"])
    names = [one["name"] for one in simulator.ok("/accounts/get", access_token=token)["accounts"]]
    assert names == ["Rainy Day Savings", "Platinum Card"]


def test_oauth_bank_hands_over_first(browser: Browser):
    assert "Continue to Platypus OAuth Bank" in browser.get("/bank/ins_127287").text
    assert "Password" in browser.get("/bank/ins_127287?at=bank").text


def test_same_login_shows_the_same_accounts_again(simulator: Simulator):
    results = []
    for _turn in range(2):
        browser = Browser(simulator)
        browser.connect(["0", "2"])
        accounts = browser.session()["results"]["item_add_results"][0]["accounts"]
        results.append([(one["name"], one["mask"]) for one in accounts])
    assert results[0] == results[1]


def test_everything_shown_is_escaped(simulator: Simulator):
    evil = '"><script>alert(1)</script>'
    browser = Browser(simulator, client_name=evil[:30])
    pages = [
        browser.get(),
        browser.get(f"?q={evil}"),
        browser.get("/bank/ins_109508"),
        browser.post("/sign-in", **(LOGIN | {"username": evil})),
        browser.connect(["0"]),
    ]
    for page in pages:
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_every_field_has_a_label_and_the_page_needs_no_script(browser: Browser):
    page = browser.get("/bank/ins_109508").text
    for name in re.findall(r'<input id="(\w+)"', page) + re.findall(r'<input id="(\w+)"', browser.get().text):
        assert re.search(f'<label for="{name}"', page + browser.get().text)
    assert 'name="viewport"' in page
    assert "<script" not in page
