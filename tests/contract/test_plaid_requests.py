"""Every request that our client puts on the wire, and the answer it gets, as Plaid's models and document have them."""

import inspect
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings

from connections.models import Connection, PlaidLink
from connections.providers.plaid.client import PlaidClient
from connections.services import plaid_links
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_items import credential_of
from connections.services.plaid_removal import retired_items_remove
from tests.connections.services.test_plaid_links import finish_in_browser
from tests.contract import plaid_contract as contract
from tests.contract.conftest import Exchange, Recorder

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = re.compile(r"/link/link-")  # what a browser asks for


def assert_kept(exchange: Exchange) -> None:
    """Method, headers, body and answer are what Plaid's models allow."""
    assert_addressed(exchange)
    contract.typed(contract.request_model(exchange.path), exchange.sent)
    if exchange.status == 200:
        contract.typed(contract.answer_model(exchange.path), exchange.answered)
    else:
        contract.typed(contract.named_model("PlaidError"), exchange.answered)


def assert_addressed(exchange: Exchange) -> None:
    """Keys and version are in the headers, where no log of bodies has them, and nowhere else."""
    sent = exchange.headers
    assert exchange.method == "POST"
    assert sent["content-type"] == "application/json"
    assert (sent["plaid-client-id"], sent["plaid-secret"]) == (settings.PLAID_CLIENT_ID, settings.PLAID_SECRET)
    assert sent["plaid-version"] == contract.VERSION
    assert not {"client_id", "secret"} & set(exchange.sent)
    assert "?" not in exchange.path


def assert_official(exchange: Exchange) -> None:
    """The same by the official document."""
    schemes = contract.official()["components"]["securitySchemes"].values()
    assert {scheme["name"].lower() for scheme in schemes} <= set(exchange.headers)
    assert contract.violations(contract.request_schema(exchange.path), exchange.sent, has_open_enums=False) == []
    error = {"$ref": "#/components/schemas/PlaidError"}
    schema = contract.answer_schema(exchange.path) if exchange.status == 200 else error
    assert contract.violations(schema, exchange.answered) == []


def calls(recorder: Recorder) -> list[Exchange]:
    return [exchange for exchange in recorder.take() if not PAGES.match(exchange.path)]


# --- the client ---
LINK = {"client_name": "Causeway", "language": "en", "country_codes": ["US"], "products": ["transactions"]}

# method of the client → (path, call of it)
METHODS: dict[str, tuple[str, Callable[[PlaidClient, Any, Any], Any]]] = {
    "link_token_create": (
        "/link/token/create",
        lambda client, item, wire: client.link_token_create(LINK | {"user": {"client_user_id": "7"}}),
    ),
    "link_token_get": (
        "/link/token/get",
        lambda client, item, wire: client.link_token_get(
            wire.ok("/link/token/create", **LINK, user={"client_user_id": "7"})["link_token"]
        ),
    ),
    "public_token_exchange": (
        "/item/public_token/exchange",
        lambda client, item, wire: client.public_token_exchange(item.public_token),
    ),
    "item_get": ("/item/get", lambda client, item, wire: client.item_get(item.token)),
    "item_remove": ("/item/remove", lambda client, item, wire: client.item_remove(item.token)),
    "item_webhook_update": (
        "/item/webhook/update",
        lambda client, item, wire: client.item_webhook_update(item.token, "https://hub.example.org/webhook/plaid"),
    ),
    "access_token_invalidate": (
        "/item/access_token/invalidate",
        lambda client, item, wire: client.access_token_invalidate(item.token),
    ),
    "accounts_get": ("/accounts/get", lambda client, item, wire: client.accounts_get(item.token)),
    "institution_get": ("/institutions/get_by_id", lambda client, item, wire: client.institution_get("ins_109508")),
    "webhook_verification_key": (
        "/webhook_verification_key/get",
        lambda client, item, wire: client.webhook_verification_key(wire.control("keys", "GET")["keys"][-1]["kid"]),
    ),
    "transactions_sync": ("/transactions/sync", lambda client, item, wire: client.transactions_sync(item.token, "")),
    "recurring_get": ("/transactions/recurring/get", lambda client, item, wire: client.recurring_get(item.token)),
}


def test_every_method_of_the_client_is_here():
    public = {name for name, _ in inspect.getmembers(PlaidClient, inspect.isfunction) if not name.startswith("_")}
    assert public == set(METHODS)


@pytest.fixture
def called(recorder, wire, item) -> Callable[[str], Exchange]:
    """What one call of a method of the client puts on the wire."""

    def call(method: str) -> Exchange:
        path, use = METHODS[method]
        use(PlaidClient("sandbox", item_key=item.item_id), item, wire)
        (exchange,) = recorder.take()
        assert (exchange.path, exchange.status) == (path, 200)
        return exchange

    return call


@pytest.mark.parametrize("method", METHODS)
def test_typed_models_accept_what_the_client_sends_and_gets(called, method):
    assert_kept(called(method))


@pytest.mark.parametrize("method", METHODS)
def test_official_document_accepts_what_the_client_sends_and_gets(called, method):
    contract.official()
    assert_official(called(method))


# --- what the services send: every shape of every body ---
@pytest.fixture
def services(recorder, alice, link) -> "Services":
    return Services(recorder, alice, link)


class Services:
    """What people and workers do, each ending in the requests it makes."""

    def __init__(self, recorder: Recorder, person: Any, link: Callable[..., Any]) -> None:
        self.recorder, self.person, self.link = recorder, person, link

    def token(self, **given: Any) -> plaid_links.LinkToken:
        asked = {"user": self.person.user, "workspace_id": self.person.workspace.pk, "environment": "sandbox"}
        return plaid_links.link_create(**(asked | given))

    def repair(self, error_code: str = "", **given: Any) -> None:
        connection = self.link().connection
        Connection.objects.filter(pk=connection.pk).update(status="needs_reauth", error_code=error_code)
        connection.refresh_from_db()
        self.recorder.take()
        self.token(connection=connection, **given)

    def hosted_session(self) -> None:
        made = self.token(is_hosted=True)
        finish_in_browser(made.hosted_link_url or "")
        plaid_links.link_poll(made.link_id)
        assert PlaidLink.objects.get(pk=made.link_id).status == "finished"

    def syncs(self) -> None:
        bank = self.link(transactions=700)
        bank.turn()
        ids = [bank.add(pending=True, amount=4.5), *list(bank.truth())[:2]]
        bank.sync()
        bank.ops(
            {"op": "post", "pending_transaction_id": ids[0], "fields": {}},
            {"op": "modify", "transaction_id": ids[1], "fields": {"amount": 1.25}},
            {"op": "remove", "transaction_id": ids[2]},
        )
        bank.sync()

    def relink(self) -> None:
        bank = self.link()
        made = bank.simulator.control("POST", "items", {"transactions": 5, "life": False})
        public_token_exchange(
            user=self.person.user,
            workspace_id=self.person.workspace.pk,
            public_token=made["public_token"],
            environment="sandbox",
            connection=bank.connection,
        )
        assert retired_items_remove() == 1

    def trouble(self) -> None:
        """Errors that are answered by themselves: to the wrong cursor, and of a login that expired."""
        bank = self.link()
        bank.turn()
        bank.control("state", disown_cursors=True)
        bank.sync()
        bank.control("state", login_required=True)
        bank.sync()
        client = PlaidClient("sandbox", item_key=bank.plaid_id)
        token = credential_of(bank.connection).reveal()
        assert client.item_get(token)["item"]["error"]["error_code"] == "ITEM_LOGIN_REQUIRED"


BACK = "https://app.example.org/back"
SCENES: dict[str, tuple[Callable[[Services], Any], set[str]]] = {
    "new bank": (lambda services: services.token(), {"/link/token/create"}),
    "new bank at an OAuth bank": (lambda services: services.token(redirect_uri=BACK), {"/link/token/create"}),
    "hosted": (lambda services: services.token(is_hosted=True), {"/link/token/create"}),
    "hosted and back": (lambda services: services.token(is_hosted=True, redirect_uri=BACK), {"/link/token/create"}),
    "repair": (lambda services: services.repair(), {"/link/token/create"}),
    "repair at an OAuth bank": (lambda services: services.repair(redirect_uri=BACK), {"/link/token/create"}),
    "hosted repair": (lambda services: services.repair(is_hosted=True, redirect_uri=BACK), {"/link/token/create"}),
    "accounts to choose": (lambda services: services.repair("bank_no_accounts"), {"/link/token/create"}),
    "consent to give": (lambda services: services.repair("bank_consent_required"), {"/link/token/create"}),
    "hosted session": (
        lambda services: services.hosted_session(),
        {
            "/link/token/create",
            "/link/token/get",
            "/item/public_token/exchange",
            "/item/get",
            "/accounts/get",
            "/institutions/get_by_id",
        },
    ),
    "syncs": (lambda services: services.syncs(), {"/transactions/sync"}),
    "re-link": (lambda services: services.relink(), {"/item/remove"}),
    "trouble": (lambda services: services.trouble(), {"/transactions/sync"}),
}


@pytest.fixture
def played(services, recorder) -> Callable[[str], Iterator[Exchange]]:
    """The requests of one scene."""

    def play(name: str) -> Iterator[Exchange]:
        scene, paths = SCENES[name]
        scene(services)
        found = calls(recorder)
        assert paths <= {exchange.path for exchange in found}
        return iter(found)

    return play


@pytest.mark.parametrize("name", SCENES)
def test_typed_models_accept_what_the_services_send_and_get(played, name):
    for exchange in played(name):
        assert_kept(exchange)


@pytest.mark.parametrize("name", SCENES)
def test_official_document_accepts_what_the_services_send_and_get(played, name):
    contract.official()
    for exchange in played(name):
        assert_official(exchange)


# --- the yardstick itself ---
def test_a_misspelt_field_is_seen_by_both_yardsticks(called):
    exchange = called("institution_get")
    sent = exchange.sent | {"options": {"include_optional_metadatas": True}}
    with pytest.raises(AssertionError, match="include_optional_metadatas"):
        contract.typed(contract.request_model(exchange.path), sent)
    contract.official()
    assert contract.violations(contract.request_schema(exchange.path), sent, has_open_enums=False)


def test_the_correlation_id_goes_with_the_request(called):
    from config import correlation

    mine = f"contract-{time.time_ns()}"
    with correlation.bound(mine):
        assert called("item_get").headers["x-correlation-id"] == mine
