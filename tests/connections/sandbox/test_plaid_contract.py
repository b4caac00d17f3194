"""Every answer passes plaid-python's typed models and, where it is at hand, the official OpenAPI subset."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import plaid
import pytest
from plaid.api import plaid_api
from plaid.model_utils import ModelNormal

from .conftest import REPO, Item, Simulator

OPENAPI = Path(REPO).parent / "shared" / "data" / "plaid-openapi-subset.json"
LINK = {"client_name": "Causeway", "language": "en", "country_codes": ["US"]}
US = {"user": {"client_user_id": "alice"}, "products": ["transactions"]}

# endpoint -> (method of the SDK, request from the Item's token)
CALLS: dict[str, tuple[str, Any]] = {
    "/link/token/create": ("link_token_create", lambda item: LINK | US | {"hosted_link": {}}),
    "/link/token/get": ("link_token_get", lambda item: {"link_token": _link(item.simulator)}),
    "/sandbox/public_token/create": (
        "sandbox_public_token_create",
        lambda item: {"institution_id": "ins_109508", "initial_products": ["transactions"]},
    ),
    "/item/public_token/exchange": ("item_public_token_exchange", lambda item: {"public_token": item.public_token}),
    "/item/get": ("item_get", lambda item: {"access_token": item.token}),
    "/item/webhook/update": (
        "item_webhook_update",
        lambda item: {"access_token": item.token, "webhook": "https://example.org/hook"},
    ),
    "/accounts/get": ("accounts_get", lambda item: {"access_token": item.token}),
    "/institutions/get_by_id": (
        "institutions_get_by_id",
        lambda item: {
            "institution_id": "ins_109508",
            "country_codes": ["US"],
            "options": {"include_optional_metadata": True, "include_status": True},
        },
    ),
    "/transactions/sync": ("transactions_sync", lambda item: {"access_token": item.token, "count": 8}),
    "/transactions/refresh": ("transactions_refresh", lambda item: {"access_token": item.token}),
    "/transactions/recurring/get": ("transactions_recurring_get", lambda item: {"access_token": item.token}),
    "/webhook_verification_key/get": (
        "webhook_verification_key_get",
        lambda item: {"key_id": item.simulator.control("keys", "GET")["keys"][-1]["kid"]},
    ),
    "/sandbox/item/fire_webhook": (
        "sandbox_item_fire_webhook",
        lambda item: {"access_token": item.token, "webhook_code": "SYNC_UPDATES_AVAILABLE"},
    ),
    "/sandbox/item/reset_login": ("sandbox_item_reset_login", lambda item: {"access_token": item.token}),
    "/sandbox/transactions/create": (
        "sandbox_transactions_create",
        lambda item: {"access_token": item.token, "transactions": [_custom(item)]},
    ),
    "/item/access_token/invalidate": ("item_access_token_invalidate", lambda item: {"access_token": item.token}),
    "/item/remove": ("item_remove", lambda item: {"access_token": item.token}),
}


def _link(simulator: Simulator) -> str:
    """A link token whose hosted page was left: the richest answer."""
    shown = simulator.ok("/link/token/create", **LINK, **US, hosted_link={})
    page = f"{shown['hosted_link_url']}"
    simulator.http.get(f"{page}/bank/ins_109508")
    login = {"institution_id": "ins_109508", "username": "user_good", "password": "wrong"}
    simulator.http.post(f"{page}/sign-in", data=login)
    simulator.http.post(f"{page}/exit")
    return shown["link_token"]


def _custom(item: Item) -> dict[str, Any]:
    on = item.page(count=500)["added"][-1]["date"]
    return {"date_transacted": on, "date_posted": on, "amount": 12.34, "description": "OWN ROW"}


@pytest.fixture
def item(simulator) -> Item:
    return simulator.item(transactions=200, days=90, webhook="http://127.0.0.1:9/nowhere")


@pytest.fixture(scope="module")
def api(simulator):
    keys = {"clientId": "demo-client-id", "secret": "demo-secret"}
    client = plaid.ApiClient(plaid.Configuration(host=simulator.url, api_key=keys))
    yield plaid_api.PlaidApi(client)
    client.close()


@pytest.mark.parametrize("path", CALLS)
def test_typed_models_accept_the_answer(api, item: Item, path: str):
    name, request = CALLS[path]
    endpoint = getattr(api, f"{name}_endpoint")
    model = endpoint.openapi_types[next(iter(endpoint.openapi_types))][0]
    typed = model._from_openapi_data(**_typed(request(item)), _configuration=api.api_client.configuration)
    answer = getattr(api, name)(typed)
    assert isinstance(answer, ModelNormal)
    assert answer["request_id"]


def _typed(body: dict[str, Any]) -> dict[str, Any]:
    """The request as the SDK wants it: nested models are made from (a copy of) plain JSON by its own converter."""
    return copy.deepcopy(body) | {"_check_type": True, "_spec_property_naming": True, "_path_to_item": ["body"]}


def test_typed_models_accept_changes_in_every_list(api, item: Item):
    from plaid.model.transactions_sync_request import TransactionsSyncRequest

    pending = item.ops({"op": "add", "transaction": {"amount": 4.5, "pending": True}})[0]
    pages, cursor = item.drain()
    known = pages[0]["added"][0]["transaction_id"]
    item.ops(
        {"op": "post", "pending_transaction_id": pending},
        {"op": "modify", "transaction_id": known, "fields": {"merchant_name": "New"}},
    )
    answer = api.transactions_sync(TransactionsSyncRequest(access_token=item.token, cursor=cursor, count=500))
    assert [len(answer[name]) for name in ("added", "modified", "removed")] == [1, 1, 1]


def test_typed_models_accept_an_item_in_error(api, simulator: Simulator, item: Item):
    from plaid.model.item_get_request import ItemGetRequest

    simulator.ok("/sandbox/item/reset_login", access_token=item.token)
    answer = api.item_get(ItemGetRequest(access_token=item.token))
    assert answer["item"]["error"]["error_code"] == "ITEM_LOGIN_REQUIRED"


@pytest.mark.parametrize("institution_id", ["ins_910002", "ins_910005", "ins_910006"])
def test_typed_models_accept_every_currency(api, simulator: Simulator, institution_id: str):
    from plaid.model.transactions_sync_request import TransactionsSyncRequest

    item = simulator.item(institution_id=institution_id)
    answer = api.transactions_sync(TransactionsSyncRequest(access_token=item.token, count=10))
    assert len(answer["added"]) == 10


# --- the official document ---


def _nullable(node: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: nullable becomes a type, enums are open (the service adds values at will)."""
    if isinstance(node, list):
        return [_nullable(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {name: _nullable(value) for name, value in node.items() if name not in ("nullable", "enum", "discriminator")}
    return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") is True else kept


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not OPENAPI.exists():
        pytest.skip("the official OpenAPI subset is not at hand")
    return _nullable(json.loads(OPENAPI.read_bytes()))


def _check(document: dict[str, Any], schema: dict[str, Any], shown: Any) -> None:
    whole = {"allOf": [schema], "components": document["components"]}
    errors = [
        f"{error.json_path}: {error.message[:200]}" for error in jsonschema.Draft7Validator(whole).iter_errors(shown)
    ]
    assert errors == []


@pytest.mark.parametrize("path", CALLS)
def test_official_schema_accepts_the_answer(document, simulator: Simulator, item: Item, path: str):
    answer = simulator.ok(path, **CALLS[path][1](item))
    content = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
    _check(document, content["schema"], answer)


def test_official_schema_accepts_an_error(document, simulator: Simulator):
    shown = simulator.post("/item/get", access_token="access-sandbox-nobody").json()
    _check(document, {"$ref": "#/components/schemas/PlaidError"}, shown)


@pytest.mark.parametrize(
    "name",
    [
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
    ],
)
def test_official_schema_accepts_the_webhook(document, simulator: Simulator, item: Item, name: str):
    kind, code = name.split(".")
    simulator.control(f"items/{item.item_id}/webhook", type=kind, code=code)
    sent = simulator.control(f"webhooks?item_id={item.item_id}", "GET")["webhooks"][-1]["body"]
    content = document["x-webhooks"][name]["post"]["requestBody"]["content"]["application/json"]
    assert (sent["webhook_type"], sent["webhook_code"]) == (kind, code)
    _check(document, content["schema"], sent)


def test_logo_is_a_square_png(simulator: Simulator):
    options = {"include_optional_metadata": True}
    shown = simulator.ok("/institutions/get_by_id", institution_id="ins_910004", country_codes=["DE"], options=options)
    image = base64.b64decode(shown["institution"]["logo"])
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(image[16:20]), int.from_bytes(image[20:24])) == (152, 152)
