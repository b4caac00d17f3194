"""Link tokens, and Hosted Link sessions followed to their end."""

import re
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from connections.errors import Conflict, RequestError, TemporaryError
from connections.models import Connection, PlaidExchange, PlaidItem, PlaidLink
from connections.models.connection import Status
from connections.services import plaid_links
from connections.services.plaid_exchange import public_token_exchange

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def create(alice, simulator):
    def call(**changes):
        given = {"user": alice.user, "workspace_id": alice.workspace.pk, "environment": "sandbox"}
        return plaid_links.link_create(**(given | changes))

    return call


def poll(link) -> PlaidLink:
    PlaidLink.objects.filter(pk=link.link_id).update(next_poll_at=timezone.now())
    for pk in plaid_links.links_due():
        plaid_links.link_poll(pk)
    return PlaidLink.objects.get(pk=link.link_id)


def finish_in_browser(url: str, *, is_repair: bool = False) -> None:
    """Go through the hosted page as a person without scripts does: bank, sign-in, accounts, consent."""
    with httpx.Client(follow_redirects=True, timeout=10) as browser:
        page = browser.get(url)
        if not is_repair:
            bank = re.search(r'href="([^"]*ins_109508[^"]*)"', page.text)
            assert bank, page.text
            page = browser.get(httpx.URL(url).join(bank[1].replace("&amp;", "&")))
        signed_in = browser.post(
            f"{url}/sign-in", data={"institution_id": "ins_109508", "username": "user_good", "password": "pass_good"}
        )
        keys = re.findall(r'name="account" value="([^"]+)"', signed_in.text)
        if keys:
            browser.post(f"{url}/accounts", data={"account": keys})
            browser.post(f"{url}/connect")


def test_a_link_token_for_a_new_bank(create):
    made = create()
    assert made.link_token.startswith("link-sandbox-")
    assert made.hosted_link_url is None
    assert made.expiration > timezone.now() + timedelta(hours=3)
    row = PlaidLink.objects.get()
    assert row.reveal() == made.link_token
    assert made.link_token.encode() not in bytes(row.ciphertext)
    assert plaid_links.links_due() == []


def test_a_hosted_session_ends_in_a_connection(create):
    made = create(is_hosted=True)
    assert poll(made).status == "open"
    finish_in_browser(made.hosted_link_url)
    assert poll(made).status == "finished"
    connection = Connection.objects.get()
    assert connection.status == Status.ACTIVE
    assert PlaidItem.objects.get(connection=connection).is_dirty
    assert PlaidExchange.objects.get().link_id == made.link_id
    assert plaid_links.links_due() == []


def test_polling_twice_exchanges_once(create):
    made = create(is_hosted=True)
    finish_in_browser(made.hosted_link_url)
    poll(made)
    PlaidLink.objects.update(status="open")
    assert poll(made).status == "finished"
    assert Connection.objects.count() == 1


def test_a_webhooks_hint_is_a_look_now(create):
    made = create(is_hosted=True)
    PlaidLink.objects.update(next_poll_at=timezone.now() + timedelta(hours=1))
    assert plaid_links.link_hint(digest=plaid_links.digest(made.link_token))
    assert plaid_links.links_due() == [made.link_id]
    assert not plaid_links.link_hint(digest=plaid_links.digest("link-sandbox-unknown"))


def test_a_provider_that_is_down_keeps_the_session_open(create, simulator):
    made = create(is_hosted=True)
    simulator.control("POST", "faults", {"path": "/link/token/get", "kind": "html", "status": 503})
    assert poll(made).status == "open"


def test_a_session_that_nobody_finishes_expires(create):
    create(is_hosted=True)
    PlaidLink.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert plaid_links.links_expire() == 1
    assert PlaidLink.objects.get().status == "expired"


def test_update_mode_repairs_in_place(create, alice, simulator):
    item = simulator.control("POST", "items", {"transactions": 5, "life": False})
    connection = public_token_exchange(
        user=alice.user, workspace_id=alice.workspace.pk, public_token=item["public_token"], environment="sandbox"
    )
    PlaidItem.objects.update(synced_seq=1, cursor="kept", reauth_needed_at=timezone.now())
    Connection.objects.update(status=Status.NEEDS_REAUTH)
    simulator.control("POST", f"items/{item['item_id']}/state", {"login_required": True})
    connection.refresh_from_db()
    made = create(connection=connection, is_hosted=True)
    finish_in_browser(made.hosted_link_url, is_repair=True)
    assert poll(made).status == "finished"
    connection.refresh_from_db()
    found = PlaidItem.objects.get()
    assert (connection.status, found.cursor, found.is_dirty, found.reauth_needed_at) == (
        Status.ACTIVE,
        "kept",
        True,
        None,
    )
    assert PlaidExchange.objects.count() == 1


def test_what_cannot_be_repaired_is_refused(create, alice):
    shop = Connection.objects.create(workspace=alice.workspace, owner=alice.user, provider="woocommerce", name="Shop")
    with pytest.raises(RequestError):
        create(connection=shop)
    gone = Connection.objects.create(
        workspace=alice.workspace, owner=alice.user, provider="plaid", name="Bank", status="disconnected"
    )
    with pytest.raises(Conflict):
        create(connection=gone)


def test_without_keys_the_provider_says_so(create, settings):
    settings.PLAID_SECRET = ""
    with pytest.raises(Exception, match="provider_not_configured"):
        create()


def answering(monkeypatch, *sessions: dict) -> None:
    monkeypatch.setattr(plaid_links.PlaidClient, "link_token_get", lambda *_: {"link_sessions": list(sessions)})


def test_a_session_that_ended_without_results_waits_for_them(create, monkeypatch):
    made = create(is_hosted=True)
    answering(monkeypatch, {"link_session_id": "s", "finished_at": "2026-11-22T10:00:00Z"})
    assert poll(made).status == "open"
    PlaidLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert poll(made).status == "expired"


def test_a_bug_over_one_session_does_not_keep_the_others_waiting(create, monkeypatch):
    broken, sound = create(is_hosted=True), create(is_hosted=True)
    follow = plaid_links._follow
    monkeypatch.setattr(plaid_links, "_follow", lambda row: 1 / 0 if row.pk == broken.link_id else follow(row))
    PlaidLink.objects.update(next_poll_at=timezone.now())
    for pk in plaid_links.links_due():
        plaid_links.link_poll(pk)
    later = PlaidLink.objects.get(pk=broken.link_id)
    assert (later.status, later.lease_token) == ("open", None)
    assert later.next_poll_at > PlaidLink.objects.get(pk=sound.link_id).next_poll_at


@pytest.mark.parametrize(
    ("code", "asked"),
    [
        ("bank_sign_in_required", {}),
        ("bank_no_accounts", {"update": {"account_selection_enabled": True}}),
        ("bank_consent_required", {"additional_consented_products": ["transactions"]}),
    ],
)
def test_update_mode_asks_for_what_is_missing(create, alice, simulator, monkeypatch, code, asked):
    item = simulator.control("POST", "items", {"transactions": 5, "life": False})
    connection = public_token_exchange(
        user=alice.user, workspace_id=alice.workspace.pk, public_token=item["public_token"], environment="sandbox"
    )
    connection.error_code = code
    sent = []
    told = plaid_links.PlaidClient.link_token_create
    monkeypatch.setattr(
        plaid_links.PlaidClient, "link_token_create", lambda client, body: sent.append(body) or told(client, body)
    )
    create(connection=connection)
    names = ("update", "additional_consented_products", "products")
    assert {name: value for name, value in sent[0].items() if name in names} == asked


@pytest.mark.parametrize("odd", [{"link_token": 7}, {"expiration": "2026-02-30T00:00:00Z"}, {"hosted_link_url": []}])
def test_an_odd_answer_is_malformed(create, monkeypatch, odd):
    told = plaid_links.PlaidClient.link_token_create
    monkeypatch.setattr(plaid_links.PlaidClient, "link_token_create", lambda *given: told(*given) | odd)
    with pytest.raises(TemporaryError, match="provider_malformed"):
        create(is_hosted=True)
    assert not PlaidLink.objects.exists()


def test_a_bank_whose_item_is_gone_is_linked_anew_on_the_hosted_page(create, simulator, alice):
    """Not repaired: there is nothing left to repair."""
    made = simulator.control("POST", "items", {"transactions": 3})
    who = {"user": alice.user, "workspace_id": alice.workspace.pk}
    gone = public_token_exchange(**who, public_token=made["public_token"], environment="sandbox")
    PlaidItem.objects.update(removed_at=timezone.now())
    Connection.objects.update(status=Status.FAILED, error_code="bank_revoked")
    link = create(is_hosted=True, connection=Connection.objects.get())
    finish_in_browser(link.hosted_link_url)
    assert poll(link).status == "finished"
    connection, item = Connection.objects.get(), PlaidItem.objects.get()
    assert (connection.pk, connection.status, connection.error_code) == (gone.pk, Status.ACTIVE, "")
    assert (item.removed_at, item.item_id == made["item_id"]) == (None, False)
