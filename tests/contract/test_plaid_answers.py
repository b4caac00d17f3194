"""Every answer, error and webhook of the simulator passes plaid-python's typed models and the official document."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from connections.sandbox.plaid_errors import ERRORS
from connections.sandbox.plaid_routes import ROUTES
from tests.connections.sandbox.conftest import Item, Receiver
from tests.connections.services.test_plaid_links import finish_in_browser
from tests.contract import plaid_contract as contract
from tests.contract.conftest import Wire

LINK = {"client_name": "Causeway", "language": "en", "country_codes": ["US"]}
US = {"user": {"client_user_id": "alice"}, "products": ["transactions"]}
PLAID_ERROR = {"$ref": "#/components/schemas/PlaidError"}

# endpoint → request from an Item's token
CALLS: dict[str, Callable[[Item], dict[str, Any]]] = {
    "/link/token/create": lambda item: LINK | US | {"hosted_link": {}},
    "/link/token/get": lambda item: {"link_token": _left_link(item.simulator)},
    "/sandbox/public_token/create": lambda item: {
        "institution_id": "ins_109508",
        "initial_products": ["transactions"],
    },
    "/item/public_token/exchange": lambda item: {"public_token": item.public_token},
    "/item/get": lambda item: {"access_token": item.token},
    "/item/webhook/update": lambda item: {"access_token": item.token, "webhook": "https://example.org/hook"},
    "/accounts/get": lambda item: {"access_token": item.token},
    "/institutions/get_by_id": lambda item: {
        "institution_id": "ins_109508",
        "country_codes": ["US"],
        "options": {"include_optional_metadata": True, "include_status": True},
    },
    "/transactions/sync": lambda item: {"access_token": item.token, "count": 8},
    "/transactions/refresh": lambda item: {"access_token": item.token},
    "/transactions/recurring/get": lambda item: {"access_token": item.token},
    "/webhook_verification_key/get": lambda item: {"key_id": item.simulator.control("keys", "GET")["keys"][-1]["kid"]},
    "/sandbox/item/fire_webhook": lambda item: {"access_token": item.token, "webhook_code": "SYNC_UPDATES_AVAILABLE"},
    "/sandbox/item/reset_login": lambda item: {"access_token": item.token},
    "/sandbox/transactions/create": lambda item: {"access_token": item.token, "transactions": [_custom(item)]},
    "/item/access_token/invalidate": lambda item: {"access_token": item.token},
    "/item/remove": lambda item: {"access_token": item.token},
}


def _left_link(wire: Wire) -> str:
    """A link token whose hosted page was left: the richest answer but success."""
    shown = wire.ok("/link/token/create", **LINK, **US, hosted_link={})
    page = shown["hosted_link_url"]
    wire.http.get(f"{page}/bank/ins_109508")
    login = {"institution_id": "ins_109508", "username": "user_good", "password": "wrong"}
    wire.http.post(f"{page}/sign-in", data=login)
    wire.http.post(f"{page}/exit")
    return shown["link_token"]


def _custom(item: Item) -> dict[str, Any]:
    on = item.page(count=500)["added"][-1]["date"]
    return {"date_transacted": on, "date_posted": on, "amount": 12.34, "description": "OWN ROW"}


# --- answers ---
def test_every_endpoint_is_here():
    assert set(ROUTES) == set(CALLS)


def test_the_document_has_every_endpoint():
    assert set(contract.official()["paths"]) == set(CALLS)


@pytest.mark.parametrize("path", CALLS)
def test_typed_models_accept_the_answer(wire, item, path):
    sent = CALLS[path](item)
    contract.typed(contract.request_model(path), sent)
    assert contract.typed(contract.answer_model(path), wire.ok(path, **sent))["request_id"]


@pytest.mark.parametrize("path", CALLS)
def test_official_document_accepts_the_answer(wire, item, path):
    sent, schema = CALLS[path](item), contract.answer_schema(path)
    assert contract.violations(contract.request_schema(path), sent, has_open_enums=False) == []
    assert contract.violations(schema, wire.ok(path, **sent)) == []


def assert_accepted(path: str, shown: dict[str, Any]) -> None:
    contract.typed(contract.answer_model(path), shown)
    assert contract.violations(contract.answer_schema(path), shown) == []


def test_changes_in_every_list_are_accepted(item):
    pending = item.ops({"op": "add", "transaction": {"amount": 4.5, "pending": True}})[0]
    pages, cursor = item.drain()
    known = pages[0]["added"][0]["transaction_id"]
    item.ops(
        {"op": "post", "pending_transaction_id": pending},
        {"op": "modify", "transaction_id": known, "fields": {"merchant_name": "New"}},
    )
    shown = item.page(cursor)
    assert [len(shown[name]) for name in ("added", "modified", "removed")] == [1, 1, 1]
    assert_accepted("/transactions/sync", shown)


def test_an_item_in_error_is_accepted(wire, item):
    wire.ok("/sandbox/item/reset_login", access_token=item.token)
    shown = wire.ok("/item/get", access_token=item.token)
    assert shown["item"]["error"]["error_code"] == "ITEM_LOGIN_REQUIRED"
    assert_accepted("/item/get", shown)


def test_a_finished_link_session_is_accepted(wire):
    made = wire.ok("/link/token/create", **LINK, **US, hosted_link={})
    finish_in_browser(made["hosted_link_url"])
    shown = wire.ok("/link/token/get", link_token=made["link_token"])
    assert shown["link_sessions"][0]["results"]["item_add_results"]
    assert_accepted("/link/token/get", shown)


@pytest.mark.parametrize("institution_id", ["ins_910002", "ins_910005", "ins_910006"])
def test_every_currency_is_accepted(wire, institution_id):
    made = wire.item(institution_id=institution_id)
    shown = made.page(count=10)
    assert len(shown["added"]) == 10
    assert_accepted("/transactions/sync", shown)


# --- errors ---
@pytest.mark.parametrize("code", ERRORS)
def test_an_error_is_accepted(wire, item, code):
    kind, status, *_ = ERRORS[code]
    item.fault("error", error_code=code)
    answer = wire.post("/transactions/sync", access_token=item.token)
    shown = answer.json()
    assert (answer.status_code, shown["error_type"], shown["error_code"]) == (status, kind, code)
    contract.typed(contract.named_model("PlaidError"), shown)
    assert contract.violations(PLAID_ERROR, shown) == []


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/item/get", {"access_token": "access-sandbox-nobody"}),
        ("/item/get", {}),
        ("/item/get", {"access_token": "access-sandbox-nobody", "more": 1}),
        ("/nowhere", {}),
    ],
)
def test_a_refusal_is_accepted(wire, path, sent):
    shown = wire.post(path, **sent).json()
    assert shown["request_id"]
    contract.typed(contract.named_model("PlaidError"), shown)
    assert contract.violations(PLAID_ERROR, shown) == []


# --- webhooks ---
WEBHOOKS = [
    "TRANSACTIONS.SYNC_UPDATES_AVAILABLE",
    "TRANSACTIONS.RECURRING_TRANSACTIONS_UPDATE",
    "TRANSACTIONS.INITIAL_UPDATE",
    "TRANSACTIONS.HISTORICAL_UPDATE",
    "TRANSACTIONS.DEFAULT_UPDATE",
    "TRANSACTIONS.TRANSACTIONS_REMOVED",
    "ITEM.ERROR",
    "ITEM.LOGIN_REPAIRED",
    "ITEM.PENDING_EXPIRATION",
    "ITEM.PENDING_DISCONNECT",
    "ITEM.NEW_ACCOUNTS_AVAILABLE",
    "ITEM.USER_PERMISSION_REVOKED",
    "ITEM.USER_ACCOUNT_REVOKED",
    "ITEM.WEBHOOK_UPDATE_ACKNOWLEDGED",
]
LINK_WEBHOOK = "LINK.SESSION_FINISHED"


def test_every_webhook_of_the_document_is_here():
    assert set(contract.official()["x-webhooks"]) == {*WEBHOOKS, LINK_WEBHOOK}


def assert_delivered(receiver: Receiver, name: str) -> None:
    """What arrived is that webhook, in both eyes."""
    headers, body = receiver.wait(1)[0]
    shown = json.loads(body)
    assert headers["content-type"] == "application/json"
    assert f"{shown['webhook_type']}.{shown['webhook_code']}" == name
    schema = contract.webhook_schema(name)
    contract.typed(contract.named_model(schema["$ref"].rpartition("/")[2]), shown)
    assert contract.violations(schema, shown) == []


@pytest.mark.parametrize("name", WEBHOOKS)
def test_a_webhook_is_accepted_as_it_arrives(wire, receiver, name):
    made = wire.item(webhook=receiver.url)
    kind, code = name.split(".")
    wire.control(f"items/{made.item_id}/webhook", type=kind, code=code)
    assert_delivered(receiver, name)


@pytest.mark.parametrize("is_left", [False, True])
def test_the_webhook_of_a_link_session_is_accepted_as_it_arrives(wire, receiver, is_left):
    made = wire.ok("/link/token/create", **LINK, **US, hosted_link={}, webhook=receiver.url)
    if is_left:
        wire.http.post(f"{made['hosted_link_url']}/exit")
    else:
        finish_in_browser(made["hosted_link_url"])
    assert_delivered(receiver, LINK_WEBHOOK)


def test_logo_is_a_square_png(wire):
    options = {"include_optional_metadata": True}
    shown = wire.ok("/institutions/get_by_id", institution_id="ins_910004", country_codes=["DE"], options=options)
    image = base64.b64decode(shown["institution"]["logo"])
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(image[16:20]), int.from_bytes(image[20:24])) == (152, 152)
