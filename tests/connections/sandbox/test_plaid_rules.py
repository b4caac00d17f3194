"""What the simulated Plaid enforces: keys, fields, tokens, limits, item states."""

from __future__ import annotations

import pytest

from .conftest import KEYS, Item, Simulator

LINK = {
    "client_name": "Causeway",
    "language": "en",
    "country_codes": ["US"],
    "user": {"client_user_id": "alice"},
    "products": ["transactions"],
}


def code(simulator: Simulator, **request) -> str:
    return simulator.http.post("/item/get", **request).json()["error_code"]


def test_keys_are_checked_in_headers_and_body(simulator: Simulator):
    item = simulator.item()
    body = {"access_token": item.token}
    without = {"PLAID-CLIENT-ID": "", "PLAID-SECRET": ""}
    in_body = body | {"client_id": KEYS["PLAID-CLIENT-ID"], "secret": KEYS["PLAID-SECRET"]}
    assert simulator.http.post("/item/get", json=in_body, headers=without).status_code == 200
    assert code(simulator, json=body, headers={"PLAID-SECRET": "wrong"}) == "INVALID_API_KEYS"
    assert code(simulator, json=body, headers=without) == "MISSING_FIELDS"


def test_bodies_are_strict(simulator: Simulator):
    item = simulator.item()
    assert simulator.refused("/item/get", access_token=item.token, extra=1) == "INVALID_REQUEST/UNKNOWN_FIELDS"
    assert simulator.refused("/item/get") == "INVALID_REQUEST/MISSING_FIELDS"
    assert simulator.refused("/item/get", access_token=7) == "INVALID_REQUEST/INVALID_FIELD"
    assert item.refused(options={"surprise": 1}) == "INVALID_REQUEST/UNKNOWN_FIELDS"
    headers = {"Content-Type": "application/json"}
    assert code(simulator, content=b"{", headers=headers) == "INVALID_BODY"
    assert code(simulator, content=b"[]", headers=headers) == "INVALID_BODY"
    assert code(simulator, content=b"{}", headers={"Content-Type": "text/plain"}) == "INVALID_HEADERS"
    assert simulator.http.post("/item/nothing", json={}).status_code == 404


def test_public_token_works_once(simulator: Simulator):
    item = simulator.item()
    shown = simulator.ok("/item/public_token/exchange", public_token=item.public_token)
    assert (shown["item_id"], shown["access_token"]) == (item.item_id, item.token)
    again = simulator.refused("/item/public_token/exchange", public_token=item.public_token)
    assert again == "INVALID_INPUT/INVALID_PUBLIC_TOKEN"


def test_public_token_expires(simulator: Simulator):
    item = simulator.item()
    simulator.control("public_tokens", public_token=item.public_token)
    refused = simulator.refused("/item/public_token/exchange", public_token=item.public_token)
    assert refused == "INVALID_INPUT/INVALID_PUBLIC_TOKEN"


def test_rotation_kills_the_old_token_and_keeps_the_item(simulator: Simulator):
    item = simulator.item()
    _pages, cursor = item.drain()
    new = simulator.ok("/item/access_token/invalidate", access_token=item.token)["new_access_token"]
    assert item.refused() == "INVALID_INPUT/INVALID_ACCESS_TOKEN"
    assert simulator.ok("/transactions/sync", access_token=new, cursor=cursor)["added"] == []


def test_removed_item_is_gone(simulator: Simulator):
    item = simulator.item()
    simulator.ok("/item/remove", access_token=item.token, reason_code="OTHER")
    for path in ("/item/remove", "/item/get", "/accounts/get", "/transactions/sync"):
        assert simulator.refused(path, access_token=item.token) == "ITEM_ERROR/ITEM_NOT_FOUND"


def test_token_of_another_environment_is_refused(simulator: Simulator):
    refused = simulator.post("/item/get", access_token="access-production-1").json()
    assert (refused["error_code"], "sandbox" in refused["error_message"]) == ("INVALID_ACCESS_TOKEN", True)


def test_broken_login_blocks_data_but_not_the_health_probe(simulator: Simulator):
    item = simulator.item()
    simulator.ok("/sandbox/item/reset_login", access_token=item.token)
    for path in ("/transactions/sync", "/accounts/get", "/transactions/refresh", "/transactions/recurring/get"):
        assert simulator.refused(path, access_token=item.token) == "ITEM_ERROR/ITEM_LOGIN_REQUIRED"
    shown = simulator.ok("/item/get", access_token=item.token)
    assert shown["item"]["error"]["error_code"] == "ITEM_LOGIN_REQUIRED"
    item.state(login_required=False)
    assert simulator.ok("/item/get", access_token=item.token)["item"]["error"] is None


def test_any_error_and_a_consent_deadline_can_be_set(simulator: Simulator):
    item = simulator.item()
    item.state(error_code="INSTITUTION_DOWN", consent_expiration_time="2027-01-01T00:00:00Z")
    assert item.refused() == "INSTITUTION_ERROR/INSTITUTION_DOWN"
    shown = simulator.ok("/item/get", access_token=item.token)["item"]
    assert shown["consent_expiration_time"] == "2027-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"products": []}, "MISSING_FIELDS"),
        ({"products": ["balance"]}, "INVALID_FIELD"),
        ({"country_codes": ["XX"]}, "INVALID_FIELD"),
        ({"transactions": {"days_requested": 731}}, "INVALID_FIELD"),
        ({"hosted_link": {"completion_redirect_uri": "javascript:alert(1)"}}, "INVALID_FIELD"),
        ({"user": {}}, "MISSING_FIELDS"),
        ({"colour": "red"}, "UNKNOWN_FIELDS"),
    ],
)
def test_link_token_wants_a_proper_request(simulator: Simulator, change: dict, expected: str):
    assert simulator.post("/link/token/create", **(LINK | change)).json()["error_code"] == expected


def test_update_mode_takes_no_products(simulator: Simulator):
    item = simulator.item()
    given = LINK | {"access_token": item.token}
    assert simulator.refused("/link/token/create", **given) == "INVALID_REQUEST/INVALID_FIELD"
    del given["products"]
    assert simulator.ok("/link/token/create", **given)["link_token"].startswith("link-sandbox-")


def test_sandbox_users(simulator: Simulator):
    def create(username: str, password: str = "pass_good") -> dict:
        options = {"override_username": username, "override_password": password}
        given = {"institution_id": "ins_109508", "initial_products": ["transactions"], "options": options}
        return simulator.post("/sandbox/public_token/create", **given).json()

    assert create("user_good", "wrong")["error_code"] == "INVALID_CREDENTIALS"
    assert create("user_locked")["error_code"] == "ITEM_LOCKED"
    assert create("nobody")["error_code"] == "INVALID_CREDENTIALS"
    assert create("user_empty")["public_token"].startswith("public-sandbox-")


def test_own_transactions_can_be_created(simulator: Simulator):
    item = simulator.item()
    pages, cursor = item.drain()
    on = max(row["date"] for row in pages[0]["added"])
    row = {"date_transacted": on, "date_posted": on, "amount": 19.99, "description": "LUNCH"}
    simulator.ok("/sandbox/transactions/create", access_token=item.token, transactions=[row])
    added = item.page(cursor)["added"]
    assert [(one["name"], one["amount"], one["date"]) for one in added] == [("LUNCH", 19.99, on)]
    old = row | {"date_posted": "2020-01-01"}
    body = {"access_token": item.token, "transactions": [old]}
    assert simulator.refused("/sandbox/transactions/create", **body) == "INVALID_REQUEST/INVALID_FIELD"


def test_recurring_streams_point_at_true_transactions(simulator: Simulator):
    item = simulator.item(transactions=400, days=180)
    shown = simulator.ok("/transactions/recurring/get", access_token=item.token)
    truth = item.truth()
    for stream in shown["inflow_streams"] + shown["outflow_streams"]:
        assert set(stream["transaction_ids"]) <= set(truth)
        assert {truth[one]["name"] for one in stream["transaction_ids"]} == {stream["description"]}
    assert {stream["status"] for stream in shown["outflow_streams"]} == {"MATURE"}
    assert [stream["frequency"] for stream in shown["inflow_streams"]] == ["BIWEEKLY"]


def test_sandbox_rate_limits_hold_per_item(own_simulator: Simulator):
    item, other = own_simulator.item(), own_simulator.item()
    answers = [own_simulator.post("/transactions/sync", access_token=item.token, count=1) for _turn in range(51)]
    assert [answer.status_code for answer in answers] == [200] * 50 + [429]
    refused = answers[-1].json()
    assert (refused["error_type"], refused["error_code"]) == ("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT")
    assert other.page(count=1)["added"]
    own_simulator.control("limits", enabled=False)
    assert item.page(count=1)["added"]
    own_simulator.control("limits", enabled=True, paths={"/item/get": {"item": 1, "client": 2}})
    own_simulator.ok("/item/get", access_token=item.token)
    assert own_simulator.refused("/item/get", access_token=item.token) == "RATE_LIMIT_EXCEEDED/ITEM_GET_LIMIT"
    own_simulator.ok("/item/get", access_token=other.token)
    assert own_simulator.refused("/item/get", access_token=other.token) == "RATE_LIMIT_EXCEEDED/ITEM_GET_LIMIT"


def test_log_tells_what_was_asked_without_secrets(simulator: Simulator):
    item: Item = simulator.item()
    simulator.http.post("/item/get", json={"access_token": item.token}, headers={"X-Correlation-ID": "corr-1"})
    item.state(error_code="ITEM_LOCKED")
    item.refused()
    shown = simulator.http.get("/_control/log", params={"item_id": item.item_id})
    rows = shown.json()["requests"]
    assert [(row["path"], row["status"], row["error_code"]) for row in rows] == [
        ("/item/get", 200, None),
        ("/transactions/sync", 400, "ITEM_LOCKED"),
    ]
    assert rows[0]["correlation_id"] == "corr-1"
    assert item.token not in shown.text


def test_reset_forgets_everything(own_simulator: Simulator):
    item = own_simulator.item()
    item.fault("hang")
    kids = own_simulator.control("keys", "GET")
    own_simulator.control("reset")
    assert own_simulator.control("items", "GET") == {"items": []}
    assert own_simulator.control("faults", "GET") == {"faults": []}
    assert own_simulator.control("keys", "GET") == kids
    assert item.refused() == "INVALID_INPUT/INVALID_ACCESS_TOKEN"


def test_control_says_what_is_wrong(simulator: Simulator):
    item = simulator.item()
    for path, body, status in (
        ("items/nobody/ops", {"ops": []}, 404),
        (f"items/{item.item_id}/ops", {"ops": [{"op": "explode"}]}, 400),
        (f"items/{item.item_id}/ops", {"ops": [{"op": "remove", "transaction_id": "nobody"}]}, 404),
        (f"items/{item.item_id}/state", {"mood": "good"}, 400),
        ("items", {"institution_id": "ins_0"}, 404),
        ("faults", {"kind": "flood", "path": "/item/get"}, 400),
        ("nothing", {}, 404),
    ):
        response = simulator.http.post(f"/_control/{path}", json=body)
        assert (path, response.status_code) == (path, status)
        assert response.json()["error"]


def test_operations_apply_all_or_none(simulator: Simulator):
    item = simulator.item()
    known = next(iter(item.truth()))
    ops = [{"op": "add", "transaction": {"amount": 1}}, {"op": "re_add", "transaction_id": known}]
    response = simulator.http.post(f"/_control/items/{item.item_id}/ops", json={"ops": ops})
    assert response.status_code == 400
    assert len(item.truth()) == 20
