"""Linking that goes wrong on the way"""

from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from connections.models import PlaidExchange, PlaidLink
from tests.connections.services.test_plaid_links import finish_in_browser
from webhooks.models import WebhookEvent

EXCHANGE = "/item/public_token/exchange"


@pytest.fixture
def me(town, alice):
    return town.at_api(alice)


@pytest.fixture
def bank(town, me):
    """A bank that has nothing to do with what goes wrong."""
    return town.link(me, institution_id="ins_910002")


def hosted(me, **more) -> str:
    """The address of a page where the person signs in at their bank."""
    asked = {"hosted_link": True, "environment": "sandbox"} | more
    return me.post("plaid/link-token", asked)["hosted_link_url"]


def minutes_pass(minutes: float) -> None:
    """For the webhooks that wait."""
    for event in WebhookEvent.objects.all():
        came = event.received_at - timedelta(minutes=minutes)
        WebhookEvent.objects.filter(pk=event.pk).update(received_at=came, next_attempt_at=timezone.now())


def test_a_link_that_nobody_finishes_leaves_nothing_behind(town, me, bank):
    """The page is opened and forgotten: no connection, no exchange, no Item; the session expires, and the next one works."""
    page = hosted(me)
    httpx.get(page, follow_redirects=True, timeout=10)
    town.follow_links()
    assert [row["id"] for row in me.rows("connections")] == [bank.id]
    assert town.calls(EXCHANGE) == 1  # the other bank's
    PlaidLink.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert town.job("cleanup")["links_expired"] == 1
    finish_in_browser(hosted(me))
    town.follow_links()
    town.work()
    assert [row["status"] for row in me.rows("connections")] == ["active", "active"]


def test_a_link_that_the_person_leaves_is_over(town, me, bank):
    """They press Leave: the session says so, nothing is exchanged, nobody else is touched."""
    page = hosted(me)
    httpx.post(f"{page}/exit", follow_redirects=True, timeout=10)
    town.follow_links()
    assert PlaidLink.objects.get().status == "exited"
    assert (len(me.rows("connections")), bank.status, town.calls(EXCHANGE)) == (1, "active", 1)


def test_a_repair_that_is_left_half_way_can_be_begun_again(town, me):
    """The bank stays waiting for its owner; the second attempt repairs it, with everything that came meanwhile."""
    bank = town.link(me)
    bank.state(login_required=True)
    bank.news()
    town.work()
    page = hosted(me, connection_id=bank.id)
    httpx.get(page, follow_redirects=True, timeout=10)
    town.follow_links()
    assert bank.status == "needs_reauth"
    finish_in_browser(hosted(me, connection_id=bank.id), is_repair=True)
    town.follow_links()
    bank.told()
    town.work()
    assert (bank.status, bank.is_current) == ("active", True)


def test_an_exchange_whose_answer_was_lost_is_told_and_never_repeated(town, me, bank):
    """409 outcome_unknown, and again for the same token; the attempt is kept for operators; a new link makes one connection."""
    item = town.item()
    town.simulator.control("POST", "faults", {"path": EXCHANGE, "kind": "commit_then_drop"})
    before = town.calls(EXCHANGE)
    for _ in range(2):
        assert me.refused("POST", "plaid/exchange-token", {"public_token": item["public_token"]}) == (
            409,
            "outcome_unknown",
        )
    assert town.calls(EXCHANGE) == before + 1
    assert [row["id"] for row in me.rows("connections")] == [bank.id]
    lost = PlaidExchange.objects.get(status="unknown")
    assert (lost.user.username, lost.connection) == ("alice", None)
    again = town.link(me)
    assert {row["id"] for row in me.rows("connections")} == {bank.id, again.id}


def test_a_lost_answer_asked_for_again_under_its_key_is_not_made_twice(town, me):
    """The client repeats the same request with the same Idempotency-Key: no second call, and the same word about it."""
    item = town.item()
    town.simulator.control("POST", "faults", {"path": EXCHANGE, "kind": "commit_then_drop"})
    for _ in range(2):
        answer = me.call("POST", "plaid/exchange-token", {"public_token": item["public_token"]}, key="link-1")
        assert (answer.status_code, answer.json()["code"]) == (409, "outcome_unknown")
    assert town.calls(EXCHANGE) == 1


def test_our_answer_that_was_lost_is_given_again_under_its_key(town, me):
    """The exchange went through, our client never heard: the repeat gets the same connection, marked as replayed."""
    body = {"public_token": town.item()["public_token"]}
    first, second = (me.call("POST", "plaid/exchange-token", body, key="link-1") for _ in range(2))
    assert (first.status_code, second.status_code, second.json()) == (201, 201, first.json())
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (len(me.rows("connections")), town.calls(EXCHANGE)) == (1, 1)


def test_a_webhook_of_an_item_that_is_linked_a_minute_later_is_not_lost(town, me, bank):
    """It is taken, waits for its Item, and is processed once the exchange has made the Item ours."""
    item = town.item()
    town.simulator.control("POST", f"items/{item['item_id']}/webhook", {"code": "NEW_ACCOUNTS_AVAILABLE"})
    early = type(bank)(me, town.simulator, item["item_id"], item["account_ids"], "")
    early.told()
    town.work()
    event = WebhookEvent.objects.get(item_id=item["item_id"])
    assert (event.status, event.note, event.workspace) == ("received", "Waits for its Item.", None)
    minutes_pass(1)
    linked = town.link(me, item, is_synced=False)
    town.work()
    event.refresh_from_db()
    assert (event.status, str(event.connection_id)) == ("processed", linked.id)
    assert linked.shown["account_selection_available"] is True
    assert [row["id"] for row in me.rows("webhook-events", connection_id=linked.id)] == [str(event.pk)]


def test_a_webhook_of_an_item_that_nobody_links_is_given_up_after_a_while(town, me, bank):
    """Kept, ignored, shown in no workspace; the banks that are here are not asked for it."""
    item = town.item()
    calls = bank.calls()
    town.simulator.control("POST", f"items/{item['item_id']}/webhook", {"code": "NEW_ACCOUNTS_AVAILABLE"})
    type(bank)(me, town.simulator, item["item_id"], item["account_ids"], "").told()
    minutes_pass(20)
    town.work()
    event = WebhookEvent.objects.get()
    assert (event.status, event.note) == ("ignored", "No connection has this Item.")
    assert me.rows("webhook-events") == []
    assert bank.calls() == calls


def test_accounts_that_cannot_be_read_at_first_come_with_the_first_sync(town, me):
    """The bank is connected all the same: the exchange is over, and it is billed."""
    item = town.item()
    town.simulator.control("POST", "faults", {"path": "/accounts/get", "kind": "html", "status": 502, "times": 3})
    bank = town.link(me, item, is_synced=False)
    assert (bank.status, bank.accounts) == ("active", {})
    town.simulator.control("DELETE", "faults")
    assert town.work() == ["synced"]
    assert set(bank.accounts) == set(bank.account_ids)
    assert bank.is_current


def test_a_bank_that_is_not_ready_fills_up_by_itself(town, me):
    """The first sync finds nothing and is no failure; the webhooks that follow bring a month, then the rest."""
    bank = town.link(me, is_synced=False, ready="not_ready", transactions=40, days=300)
    assert town.work() == ["synced"]
    assert (bank.transactions(), bank.status) == ({}, "active")
    bank.state(ready="initial")
    bank.tells("INITIAL_UPDATE")
    bank.tells("SYNC_UPDATES_AVAILABLE")
    town.work()
    first = len(bank.transactions())
    assert 0 < first < 40
    bank.state(ready="historical")
    bank.tells("HISTORICAL_UPDATE")
    bank.tells("SYNC_UPDATES_AVAILABLE")
    town.work()
    assert (len(bank.transactions()), bank.is_current) == (40, True)


def test_a_bank_linked_anew_into_its_connection_keeps_its_history(town, me, bank):
    """A new Item in the old connection: no row is doubled, and the old Item is removed at Plaid."""
    item = town.item(institution_id="ins_910002", seed=7)
    body = {"public_token": item["public_token"], "connection_id": bank.id}
    assert me.post("plaid/exchange-token", body, status=201)["id"] == bank.id
    town.work()
    assert town.job("cleanup")["items_removed"] == 1
    assert bank.is_removed
    now = type(bank)(me, town.simulator, item["item_id"], item["account_ids"], bank.id)
    assert (now.status, now.is_removed) == ("active", False)
    assert now.truth <= set(now.transactions())
    assert len(me.rows("connections")) == 1
