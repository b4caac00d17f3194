"""Each kind of webhook, from the simulated Plaid over HTTP to what it changes."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from config.processes import wait_until
from connections.models import Account, Connection, PlaidItem, RetiredPlaidItem
from connections.models.connection import Status
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_removal import retired_items_remove
from sync import engine
from webhooks import tasks
from webhooks.models import WebhookEvent

pytestmark = pytest.mark.django_db(transaction=True)


class Bank:
    """A bank linked through the real services, synced, whose Item sends its webhooks to a web process of ours."""

    def __init__(self, simulator, web, person) -> None:
        self.simulator = simulator
        made = simulator.control("POST", "items", {"webhook": f"{web.url}/webhook/plaid", "transactions": 5})
        self.item_id, self.account_ids = made["item_id"], made["account_ids"]
        who = {"user": person.user, "workspace_id": person.workspace.pk}
        self.pk = public_token_exchange(**who, public_token=made["public_token"], environment="sandbox").pk
        assert self.sync() == engine.Outcome.SYNCED

    @property
    def connection(self) -> Connection:
        return Connection.objects.get(pk=self.pk)

    @property
    def item(self) -> PlaidItem:
        return PlaidItem.objects.get(connection_id=self.pk)

    def sync(self) -> engine.Outcome:
        return engine.sync_item(self.item.pk, deadline=time.monotonic() + 30)

    def state(self, **changes) -> None:
        self.simulator.control("POST", f"items/{self.item_id}/state", changes)

    def tells(self, code: str, kind: str = "", **extra) -> WebhookEvent:
        """Plaid sends this one webhook, it is received over HTTP and processed; the event as it ended."""
        known = set(WebhookEvent.objects.values_list("pk", flat=True))
        asked = {"code": code, "extra": extra} | ({"type": kind} if kind else {})
        self.simulator.control("POST", f"items/{self.item_id}/webhook", asked)
        new = WebhookEvent.objects.filter(code=code).exclude(pk__in=known)
        assert wait_until(new.exists, 15)
        tasks.sweep()
        return new.get()


@pytest.fixture
def bank(simulator, shared_web, alice) -> Bank:
    return Bank(simulator, shared_web, alice)


# --- TRANSACTIONS ---
def test_sync_updates_available_has_the_bank_synced(bank):
    event = bank.tells("SYNC_UPDATES_AVAILABLE")
    assert (event.status, event.headers["verification"]["method"]) == ("processed", "jwt")
    assert bank.item.is_dirty
    assert bank.sync() == engine.Outcome.SYNCED
    assert not bank.item.is_dirty


@pytest.mark.parametrize("code", ["INITIAL_UPDATE", "HISTORICAL_UPDATE", "DEFAULT_UPDATE"])
def test_legacy_updates_have_only_a_bank_synced_that_never_was(bank, code):
    assert bank.tells(code).status == "ignored"
    assert not bank.item.is_dirty
    PlaidItem.objects.update(last_synced_at=None)
    assert bank.tells(code, new_transactions=3).status == "processed"
    assert bank.item.is_dirty


def test_transactions_removed_is_left_to_the_sync(bank):
    event = bank.tells("TRANSACTIONS_REMOVED", removed_transactions=["x"])
    assert (event.status, bank.item.is_dirty) == ("ignored", False)


def test_recurring_transactions_update_marks_the_streams(bank):
    event = bank.tells("RECURRING_TRANSACTIONS_UPDATE")
    assert (event.status, bank.item.recurring_changed_at, bank.item.is_dirty) == ("processed", event.received_at, False)


# --- ITEM ---
def test_error_asks_the_owner_and_login_repaired_takes_it_back(bank):
    bank.state(login_required=True)
    assert bank.tells("ERROR").note == "Its owner has to act at the bank."
    assert (bank.connection.status, bank.connection.error_code) == (Status.NEEDS_REAUTH, "bank_sign_in_required")
    assert bank.item.reauth_needed_at
    bank.state(login_required=False)
    assert bank.tells("LOGIN_REPAIRED").status == "processed"
    assert (bank.connection.status, bank.connection.error_code) == (Status.ACTIVE, "")
    assert bank.item.reauth_needed_at is None
    asked = len(bank.simulator.control("GET", f"log?item_id={bank.item_id}")["requests"])
    assert bank.sync() == engine.Outcome.SYNCED
    since = bank.simulator.control("GET", f"log?item_id={bank.item_id}")["requests"][asked:]
    assert {"/item/get", "/accounts/get", "/transactions/sync"} <= {request["path"] for request in since}


@pytest.mark.parametrize("code", ["PENDING_EXPIRATION", "PENDING_DISCONNECT"])
def test_end_of_the_access_is_shown_as_a_deadline(bank, code):
    assert bank.tells(code).status == "processed"
    left = bank.connection.reauth_due_at - timezone.now()
    assert timedelta(days=6.9) < left < timedelta(days=7.1)
    assert (bank.connection.status, bank.item.consent_expires_at) == (Status.ACTIVE, bank.connection.reauth_due_at)


def test_new_accounts_are_read_and_offered(bank, alice):
    bank.state(add_account={"kind": 2, "transactions": 1})
    assert bank.tells("NEW_ACCOUNTS_AVAILABLE").status == "processed"
    assert alice.api.get(f"/api/v1/connections/{bank.pk}").json()["account_selection_available"] is True
    answer = alice.api.post("/api/v1/plaid/link-token", {"connection_id": str(bank.pk)}, format="json")
    assert answer.status_code == 200, answer.content
    (link,) = bank.simulator.control("GET", "links")["links"]
    assert link["update"] == {"account_selection_enabled": True}
    before = Account.objects.count()
    assert bank.sync() == engine.Outcome.SYNCED
    assert Account.objects.count() == before + 1


def test_revoked_permission_ends_syncs_removes_the_item_and_lets_the_bank_be_linked_anew(bank, alice):
    assert bank.tells("USER_PERMISSION_REVOKED").status == "processed"
    assert (bank.connection.status, bank.connection.error_code) == (Status.FAILED, "bank_revoked")
    PlaidItem.objects.update(dirty_seq=99)
    assert bank.sync() == engine.Outcome.NOTHING
    refused = alice.api.post(f"/api/v1/connections/{bank.pk}/refresh")
    assert (refused.status_code, refused.json()["code"]) == (409, "bank_revoked")
    assert retired_items_remove() == 1
    assert bank.simulator.control("GET", f"items/{bank.item_id}")["removed"] is True
    assert RetiredPlaidItem.objects.get().status == "removed"
    # A fresh Link, not update mode: there is no Item to update any more.
    answer = alice.api.post("/api/v1/plaid/link-token", {"connection_id": str(bank.pk)}, format="json")
    assert answer.status_code == 200, answer.content
    made = bank.simulator.control("POST", "items", {"transactions": 3})
    body = {"public_token": made["public_token"], "connection_id": str(bank.pk)}
    again = alice.api.post("/api/v1/plaid/exchange-token", body, format="json")
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (201, str(bank.pk), "active")
    assert bank.sync() == engine.Outcome.SYNCED


def test_revoked_account_is_not_used_any_more(bank):
    gone = bank.account_ids[0]
    bank.state(remove_account=gone)
    event = bank.tells("USER_ACCOUNT_REVOKED", account_id=gone)
    assert event.status == "processed"
    account = Account.objects.get(item_accounts__plaid_account_id=gone)
    assert (account.status, bank.item.account_selection_at) == (Account.Status.MISSING, event.received_at)
    assert bank.sync() == engine.Outcome.SYNCED
    account.refresh_from_db()
    assert account.status == Account.Status.MISSING


def test_acknowledged_address_is_recorded_as_proof(bank, shared_web):
    event = bank.tells("WEBHOOK_UPDATE_ACKNOWLEDGED")
    assert (event.status, bank.item.webhook_confirmed_at) == ("processed", event.received_at)
    assert bank.item.webhook_url == f"{shared_web.url}/webhook/plaid"


# --- anything else ---
@pytest.mark.parametrize("kind, code", [("HOLDINGS", "DEFAULT_UPDATE"), ("ITEM", "BRAND_NEW")])
def test_unknown_kind_is_kept_and_ignored(bank, kind, code):
    assert bank.tells(code, kind).status == "ignored"
    assert (bank.item.is_dirty, bank.connection.status) == (False, Status.ACTIVE)


def test_webhook_that_overtakes_the_exchange_finds_its_item(simulator, shared_web, alice):
    made = simulator.control("POST", "items", {"webhook": f"{shared_web.url}/webhook/plaid", "transactions": 2})
    asked = {"code": "RECURRING_TRANSACTIONS_UPDATE"}
    simulator.control("POST", f"items/{made['item_id']}/webhook", asked)
    assert wait_until(WebhookEvent.objects.exists, 15)
    tasks.sweep()
    assert WebhookEvent.objects.get().note == "Waits for its Item."
    who = {"user": alice.user, "workspace_id": alice.workspace.pk}
    public_token_exchange(**who, public_token=made["public_token"], environment="sandbox")
    WebhookEvent.objects.update(next_attempt_at=timezone.now())
    tasks.sweep()
    event = WebhookEvent.objects.get()
    assert (event.status, PlaidItem.objects.get().recurring_changed_at) == ("processed", event.received_at)


def test_switched_off_webhooks_are_kept_and_syncs_run_by_schedule_only(bank, alice, settings):
    from sync.services.dispatch import items_schedule

    assert alice.api.patch("/api/v1/settings/webhooks", {"enabled": False}, format="json").status_code == 200
    assert bank.tells("SYNC_UPDATES_AVAILABLE").status == "ignored"
    assert bank.tells("USER_PERMISSION_REVOKED").status == "ignored"
    assert (bank.item.is_dirty, bank.connection.status) == (False, Status.ACTIVE)
    PlaidItem.objects.update(auto_sync_at=timezone.now() - timedelta(seconds=1))
    assert items_schedule() == 1
    assert bank.sync() == engine.Outcome.SYNCED
