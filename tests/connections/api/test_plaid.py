"""From a person at Link to a connection, over HTTP to the simulated Plaid, with what can go wrong on the way."""

import pytest

from connections.models import Connection, Credential, PlaidExchange, PlaidLink, Workspace
from tests.connections.api.scene import UNKNOWN, assert_problem, make_bank, make_shop
from tests.factories import Person

pytestmark = pytest.mark.django_db

EXCHANGE_PATH = "/item/public_token/exchange"


def post(person: Person, path: str, **body):
    return person.api.post(f"/api/v1/plaid/{path}", body, format="json")


def exchange(person: Person, item: dict, **body):
    return post(person, "exchange-token", public_token=item["public_token"], **body)


@pytest.fixture
def item(simulator) -> dict:
    """An Item at the bank, and a public token for it."""
    return simulator.control("POST", "items", {"transactions": 3, "ready": "historical"})


def metadata(simulator, item: dict) -> dict:
    accounts = simulator.control("GET", f"items/{item['item_id']}")["accounts"]
    return {
        "institution": {"institution_id": item["institution_id"], "name": "First Platypus Bank"},
        "accounts": [
            {"id": a["account_id"], "name": a["name"], "mask": a["mask"], "type": "depository"} for a in accounts
        ],
        "link_session_id": "ignored",
    }


# --- link tokens ---
def test_link_token_is_what_link_needs(simulator, alice):
    response = post(alice, "link-token")
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"link_token", "expiration", "link_id"}
    assert body["link_token"].startswith("link-sandbox-")
    assert body["expiration"].endswith("Z")
    link = PlaidLink.objects.get()
    assert (str(link.pk), link.user, link.reveal()) == (body["link_id"], alice.user, body["link_token"])


@pytest.mark.parametrize(
    "demo,sandbox_mode,asked,expected",
    [
        (False, False, {}, "production"),
        (True, False, {}, "sandbox"),
        (False, True, {}, "sandbox"),
        (False, False, {"environment": "sandbox"}, "sandbox"),
        (True, True, {"environment": "production"}, "production"),
    ],
)
def test_environment_follows_the_installation_and_the_workspace(
    simulator, alice, settings, demo, sandbox_mode, asked, expected
):
    settings.DEMO = demo
    Workspace.objects.update(sandbox_mode=sandbox_mode)
    assert post(alice, "link-token", **asked).status_code == 200
    assert PlaidLink.objects.get().environment == expected


def test_hosted_link_has_a_page(simulator, alice):
    body = post(alice, "link-token", hosted_link=True, redirect_uri="https://app.example.com/done?x=1").json()
    assert body["hosted_link_url"].startswith(simulator.url)
    assert PlaidLink.objects.get().is_hosted


def test_repair_names_the_connection_and_keeps_its_environment(simulator, alice, item):
    made = exchange(alice, item).json()
    assert post(alice, "link-token", connection_id=made["id"], environment="production").status_code == 200
    link = PlaidLink.objects.get()
    assert (str(link.connection_id), link.environment) == (made["id"], "sandbox")


def test_only_what_one_manages_can_be_repaired(simulator, alice, bob, dave, charlie, item):
    made = exchange(alice, item).json()
    assert post(bob, "link-token", connection_id=made["id"]).status_code == 200
    for person in (dave, charlie):
        assert_problem(post(person, "link-token", connection_id=made["id"]), 404, "not_found")
        assert_problem(
            exchange(person, {"public_token": "public-sandbox-x"}, connection_id=made["id"]), 404, "not_found"
        )
    assert_problem(post(alice, "link-token", connection_id=UNKNOWN), 404, "not_found")


def test_shop_cannot_be_repaired_with_link(alice):
    shop = make_shop(alice)
    body = assert_problem(post(alice, "link-token", connection_id=str(shop.pk)), 400, "validation_failed")
    assert set(body["errors"]) == {"connection_id"}
    body = assert_problem(
        exchange(alice, {"public_token": "public-x"}, connection_id=str(shop.pk)), 400, "validation_failed"
    )
    assert set(body["errors"]) == {"connection_id"}
    assert not PlaidExchange.objects.exists()


def test_bank_that_was_disconnected_cannot_be_linked_again(alice):
    bank = make_bank(alice, status="disconnected")
    assert_problem(post(alice, "link-token", connection_id=str(bank.pk)), 409, "connection_not_active")
    response = exchange(alice, {"public_token": "public-sandbox-x"}, connection_id=str(bank.pk))
    assert_problem(response, 409, "connection_not_active")


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "ftp://example.com/",
        "//example.com",
        "/path",
        "https://",
        "https:///path",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://example.com/a b",
        "https://example.com/\n/x",
        "https://example.com:99999/",
        "https://[::1/",
        "https://example.com/" + "x" * 2048,
        "https://example.com/\u202e",
        {"a": 1},
        17.5,
    ],
)
def test_redirect_uri_has_to_be_a_web_address(alice, uri):
    body = assert_problem(post(alice, "link-token", redirect_uri=uri), 400, "validation_failed")
    assert set(body["errors"]) == {"redirect_uri"}


@pytest.mark.parametrize("uri", ["http://localhost:3000/done", "https://app.example.com/", "http://[::1]:8000/x", ""])
def test_redirect_uri_may_be_any_web_address(simulator, alice, uri):
    assert post(alice, "link-token", redirect_uri=uri).status_code == 200


@pytest.mark.parametrize(
    "field,value",
    [
        ("connection_id", "1"),
        ("connection_id", ["019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20"]),
        ("hosted_link", "perhaps"),
        ("hosted_link", None),
        ("hosted_link", []),
        ("environment", "development"),
        ("environment", None),
        ("environment", ["sandbox"]),
    ],
)
def test_link_token_input_is_checked_field_by_field(alice, field, value):
    body = assert_problem(post(alice, "link-token", **{field: value}), 400, "validation_failed")
    assert set(body["errors"]) == {field}


@pytest.mark.parametrize(
    "fault,status,code",
    [
        ({"kind": "html"}, 503, "provider_unavailable"),
        ({"kind": "malformed"}, 502, "provider_malformed"),
        ({"kind": "truncated"}, 503, "provider_unavailable"),
        ({"kind": "missing_field", "field": "link_token"}, 502, "provider_malformed"),
        ({"kind": "reset"}, 503, "provider_unavailable"),
        ({"kind": "hang", "seconds": 5}, 504, "provider_timeout"),
        ({"kind": "commit_then_drop"}, 503, "provider_unavailable"),
        (
            {"kind": "error", "status": 400, "error_type": "INVALID_INPUT", "error_code": "INVALID_API_KEYS"},
            503,
            "provider_misconfigured",
        ),
        (
            {"kind": "error", "status": 429, "error_type": "RATE_LIMIT_EXCEEDED", "error_code": "RATE_LIMIT"},
            503,
            "provider_rate_limited",
        ),
        ({"kind": "error", "status": 418, "error_type": "NEW", "error_code": "NEVER_SEEN"}, 502, "provider_error"),
    ],
)
def test_what_plaid_does_to_a_link_token_is_told_as_a_problem(simulator, alice, settings, fault, status, code):
    settings.PLAID_TIMEOUT_S = 1
    simulator.control("POST", "faults", {"path": "/link/token/create"} | fault)
    body = assert_problem(post(alice, "link-token"), status, code)
    assert "NEVER_SEEN" not in str(body)
    assert not PlaidLink.objects.exists()


def test_installation_without_keys_says_so(alice, settings):
    settings.PLAID_CLIENT_ID = ""
    assert_problem(post(alice, "link-token"), 503, "provider_not_configured")


# --- exchange ---
def test_exchange_makes_an_active_connection_with_its_accounts(simulator, alice, item):
    response = exchange(alice, item, metadata=metadata(simulator, item))
    assert response.status_code == 201
    body = response.json()
    assert (body["provider"], body["status"], body["environment"], body["sync_needed"]) == (
        "plaid",
        "active",
        "sandbox",
        True,
    )
    assert body["institution"]["id"] == item["institution_id"]
    assert body["institution"]["logo"]
    assert body == alice.api.get(f"/api/v1/connections/{body['id']}").json()
    accounts = alice.api.get(f"/api/v1/connections/{body['id']}/accounts").json()["results"]
    assert {account["external_id"] for account in accounts} == set(item["account_ids"])
    assert Credential.objects.get().reveal() == item["access_token"]
    assert item["access_token"] not in response.content.decode()


def test_connection_belongs_to_who_exchanged_and_to_nobody_else(simulator, dave, bob, vera, item):
    made = exchange(dave, item).json()
    assert made["owner"] == str(dave.user.pk)
    assert bob.api.get(f"/api/v1/connections/{made['id']}").status_code == 200
    assert_problem(bob.api.get(f"/api/v1/connections/{made['id']}/accounts"), 404, "not_found")
    assert_problem(vera.api.get(f"/api/v1/connections/{made['id']}"), 404, "not_found")


def test_public_token_works_once(simulator, alice, item):
    made = exchange(alice, item).json()
    body = assert_problem(exchange(alice, item), 409, "public_token_used")
    assert body["connection_id"] == made["id"]
    assert Connection.objects.count() == 1


def test_public_token_of_another_workspace_says_nothing_of_it(simulator, alice, charlie, item):
    exchange(alice, item)
    assert "connection_id" not in assert_problem(exchange(charlie, item), 409, "public_token_used")


def test_same_accounts_are_not_connected_twice_unless_asked_to(simulator, alice, item):
    made = exchange(alice, item).json()
    again = simulator.control("POST", "items", {"transactions": 3, "seed": item["seed"]})
    body = assert_problem(exchange(alice, again, metadata=metadata(simulator, item)), 409, "duplicate_item")
    assert body["connection_id"] == made["id"]
    assert exchange(alice, again, metadata=metadata(simulator, item), allow_duplicate=True).status_code == 201


def test_relink_keeps_the_connection(simulator, alice, item):
    made = exchange(alice, item).json()
    Connection.objects.update(status="needs_reauth")
    again = simulator.control("POST", "items", {"transactions": 3})
    response = exchange(alice, again, connection_id=made["id"])
    assert (response.status_code, response.json()["id"], response.json()["status"]) == (201, made["id"], "active")
    assert Credential.objects.get().reveal() == again["access_token"]


def test_relink_from_the_other_environment_is_refused(alice):
    bank = make_bank(alice, environment="production")
    response = exchange(alice, {"public_token": "public-sandbox-x"}, connection_id=str(bank.pk))
    assert_problem(response, 400, "wrong_environment")


@pytest.mark.parametrize("token", ["public-production-1", "public-sandbox-1"])
def test_token_of_the_other_environment_is_refused(simulator, alice, token):
    other = "sandbox" if "production" in token else "production"
    assert_problem(exchange(alice, {"public_token": token}, environment=other), 400, "wrong_environment")
    assert not PlaidExchange.objects.exists()


def test_token_that_plaid_does_not_know_is_refused_and_can_be_tried_again(simulator, alice):
    for _ in range(2):
        assert_problem(exchange(alice, {"public_token": "public-sandbox-unknown"}), 400, "invalid_public_token")
    assert [made.status for made in PlaidExchange.objects.all()] == ["refused"] * 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "commit_then_drop"},
        {"kind": "commit_then_drop", "reset": True},
        {"kind": "html"},
        {"kind": "truncated"},
        {"kind": "malformed"},
        {"kind": "hang", "seconds": 5},
        {"kind": "missing_field", "field": "access_token"},
    ],
)
def test_lost_answer_is_an_unknown_outcome_and_leaves_a_trace(simulator, alice, settings, item, fault):
    settings.PLAID_TIMEOUT_S = 1
    simulator.control("POST", "faults", {"path": EXCHANGE_PATH} | fault)
    for _ in range(2):  # asked again, it is not sent again
        assert_problem(exchange(alice, item), 409, "outcome_unknown")
    assert PlaidExchange.objects.get().status == "unknown"
    assert not Connection.objects.exists()
    if fault["kind"] != "hang":  # which is logged when it ends
        calls = [row for row in simulator.control("GET", "log")["requests"] if row["path"] == EXCHANGE_PATH]
        assert len(calls) == 1


def test_details_that_plaid_cannot_tell_now_do_not_hold_up_the_connection(simulator, alice, item):
    simulator.control("POST", "faults", {"path": "/accounts/get", "kind": "html"})
    response = exchange(alice, item)
    assert (response.status_code, response.json()["name"]) == (201, "Bank")


@pytest.mark.parametrize(
    "body,field",
    [
        ({}, "public_token"),
        ({"public_token": ""}, "public_token"),
        ({"public_token": "x" * 501}, "public_token"),
        ({"public_token": {"a": 1}}, "public_token"),
        ({"public_token": "public-x", "metadata": "text"}, "metadata"),
        ({"public_token": "public-x", "metadata": {"institution": "ins_1"}}, "metadata.institution"),
        ({"public_token": "public-x", "metadata": {"institution": {"name": ["a"]}}}, "metadata.institution.name"),
        ({"public_token": "public-x", "metadata": {"accounts": {"name": "a"}}}, "metadata.accounts"),
        ({"public_token": "public-x", "metadata": {"accounts": ["a"]}}, "metadata.accounts.0"),
        ({"public_token": "public-x", "metadata": {"accounts": [{}, {"mask": {}}]}}, "metadata.accounts.1.mask"),
        ({"public_token": "public-x", "metadata": {"accounts": [{}] * 501}}, "metadata.accounts"),
        ({"public_token": "public-x", "allow_duplicate": "maybe"}, "allow_duplicate"),
        ({"public_token": "public-x", "connection_id": "nope"}, "connection_id"),
        ({"public_token": "public-x", "environment": "moon"}, "environment"),
    ],
)
def test_exchange_input_is_checked_by_field_path(alice, body, field):
    found = assert_problem(post(alice, "exchange-token", **body), 400, "validation_failed")["errors"]
    assert set(found) == {field}
    assert all(isinstance(message, str) for message in found[field])


def test_nulls_of_links_metadata_are_fine(simulator, alice, item):
    given = {"institution": None, "accounts": [{"name": None, "mask": None}]}
    assert exchange(alice, item, metadata=given, connection_id=None).status_code == 201


# --- gone ---
@pytest.mark.parametrize("path", ["sync", "refresh-metadata"])
@pytest.mark.parametrize("mount", ["/api/v1", "/api"])
def test_replaced_endpoints_say_what_to_call_instead(vera, path, mount):
    response = vera.api.post(f"{mount}/plaid/{path}", {"any": "thing"}, format="json")
    assert "connections/{id}/refresh" in assert_problem(response, 410, "gone")["detail"]
