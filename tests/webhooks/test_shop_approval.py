"""Keys by approval over real HTTP: the shop's administrator says yes, the shop hands us its keys, and they are verified."""

import html
import re
import time

import httpx
import pytest

from connections.models import Connection, Credential, Verification
from connections.services.verifying import verifications_run
from tests.connections.providers.woocommerce.conftest import open_shop, shop  # noqa: F401 - the fixtures

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/connections"


@pytest.fixture
def draft(alice, shop, live_web, settings) -> str:  # noqa: F811 - the fixture
    settings.PUBLIC_URL = live_web.url
    body = {"provider": "woocommerce", "environment": "sandbox", "config": {"store_url": shop.url}}
    return alice.api.post(URL, body, format="json").json()["id"]


def page_of(alice, draft: str) -> httpx.Response:
    asked = alice.api.post(f"{URL}/{draft}/oauth/authorize", format="json")
    assert asked.status_code == 200, asked.content
    page = httpx.get(asked.json()["authorize_url"], timeout=20)
    assert page.status_code == 200, page.text
    return page


def button(page: httpx.Response, name: str) -> str:
    found = re.search(rf'<a class="button {name}" href="([^"]+)"', page.text)
    assert found, page.text
    return html.unescape(found[1])


@pytest.mark.parametrize("order", ["callback_first", "return_first"])
def test_approved_keys_are_kept_and_verified(alice, shop, draft, order):  # noqa: F811
    shop.set(approval=order)
    back = httpx.get(button(page_of(alice, draft), "approve"), timeout=20)
    assert back.status_code == 302
    told = httpx.get(back.headers["Location"], headers={"Accept": "text/html"}, timeout=20)
    assert told.status_code in ((200,) if order == "callback_first" else (200, 202))
    ends_at = time.monotonic() + 20
    while not (named := set(Credential.objects.values_list("name", flat=True))) and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert named == {"consumer_key", "consumer_secret"}
    while not Verification.objects.exists() and time.monotonic() < ends_at:
        time.sleep(0.05)
    verifications_run(deadline=time.monotonic() + 20)
    found = alice.api.get(f"{URL}/{draft}").json()
    assert (found["status"], found["verification"]["status"]) == ("verified", "passed"), found["verification"]
    assert "cs_" not in str(found)


def test_a_hand_over_works_once_and_for_its_own_state_only(alice, shop, draft, live_web):  # noqa: F811
    keys = {
        "key_id": 1,
        "key_permissions": "read_write",
        "consumer_key": "ck_" + "a" * 40,
        "consumer_secret": "cs_" + "b" * 40,
    }
    address = f"{live_web.url}/api/v1/oauth/woocommerce/callback"
    assert httpx.post(address, json=keys | {"user_id": "guessed"}, timeout=20).status_code == 400
    assert not Credential.objects.exists()
    url = httpx.URL(alice.api.post(f"{URL}/{draft}/oauth/authorize", format="json").json()["authorize_url"])
    state = url.params["user_id"]
    assert httpx.post(address, json=keys | {"user_id": state}, timeout=20).status_code == 200
    assert httpx.post(address, json=keys | {"user_id": state}, timeout=20).status_code == 400
    assert Connection.objects.get(pk=draft).status == "draft"


def test_a_no_leaves_the_draft_without_keys(alice, shop, draft):  # noqa: F811
    told = httpx.get(button(page_of(alice, draft), "deny"), headers={"Accept": "text/html"}, timeout=20)
    assert told.status_code in (302, 400, 403, 409)
    assert not Credential.objects.exists()
