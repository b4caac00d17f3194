"""The end of a bank: whatever runs, fails or dies meanwhile, it is gone here only once it is gone at Plaid."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from config.processes import wait_until
from connections.models import Account, Credential, DomainEvent, PlaidItem, ProviderPause, RetiredPlaidItem
from connections.models.connection import Status
from connections.services.accounts import accounts_update
from connections.services.disconnecting import account_archive, connection_disconnect, disconnects_finish
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_items import details_fetch, relink_completed
from connections.services.plaid_removal import retired_item_settle, retired_items_remove
from connections.vault import CredentialUnreadable
from sync.engine import Outcome
from sync.models import RunStatus, StagedPage, Transaction
from sync.services.dispatch import items_offer, items_poll, runs_sweep

pytestmark = pytest.mark.django_db(transaction=True)

REMOVE = "/item/remove"


def disconnect(bank) -> None:
    connection_disconnect(connection_id=bank.connection.pk, reason="Disconnected by alice")
    bank.connection.refresh_from_db()


def removals(bank) -> int:
    return sum(row["path"] == REMOVE for row in bank.simulator.control("GET", "log")["requests"])


def is_removed(bank) -> bool:
    return bank.simulator.control("GET", f"items/{bank.plaid_id}")["removed"]


def make_due() -> None:
    RetiredPlaidItem.objects.update(next_attempt_at=timezone.now())


def assert_gone(bank) -> None:
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.DISCONNECTED
    assert is_removed(bank)
    assert not Credential.objects.filter(connection=bank.connection).exists()
    assert not RetiredPlaidItem.objects.exclude(ciphertext=None, status="removed").exists()
    assert bank.item.removed_at
    told = DomainEvent.objects.filter(connection=bank.connection, type="ConnectionDisconnected")
    assert told.count() == 1


def test_it_is_removed_at_plaid_then_its_credential_destroyed_and_its_history_stays(bank):
    bank.sync()
    before = bank.ours()
    disconnect(bank)
    assert (bank.connection.status, is_removed(bank)) == (Status.DISCONNECTING, False)
    assert Credential.objects.get(connection=bank.connection).reveal()
    assert (retired_items_remove(), retired_items_remove()) == (1, 0)
    assert_gone(bank)
    assert removals(bank) == 1
    assert bank.ours() == before
    assert bank.connection.status_reason == "Disconnected by alice"
    assert Account.objects.filter(status="active").count() == 2


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "html", "status": 502}, "provider_unavailable"),
        ({"kind": "reset"}, "provider_unavailable"),
        ({"kind": "commit_then_drop"}, "provider_unavailable"),
        ({"kind": "error", "status": 400, "error_type": "INVALID_INPUT", "error_code": "INVALID_ACCESS_TOKEN"}, None),
        ({"kind": "error", "status": 400, "error_type": "NEW", "error_code": "NEVER_SEEN"}, "provider_error"),
    ],
)
def test_while_plaid_fails_the_token_is_kept_and_the_connection_says_so(bank, fault, code):
    bank.fault(path=REMOVE, **fault)
    disconnect(bank)
    assert retired_items_remove() == 0
    bank.connection.refresh_from_db()
    assert (bank.connection.status, bank.connection.failure_count) == (Status.DISCONNECTING, 1)
    assert bank.connection.error_code == (code or bank.connection.error_code)
    assert bank.connection.error_code
    assert bank.connection.next_attempt_at > timezone.now()
    assert Credential.objects.get(connection=bank.connection).reveal()
    assert disconnects_finish() == 0
    assert retired_items_remove() == 0  # not due yet
    make_due()
    assert retired_items_remove() == 1
    assert_gone(bank)
    assert (bank.connection.error_code, bank.connection.next_attempt_at) == ("", None)


def test_one_that_is_gone_already_is_a_success(bank):
    bank.fault("error", path=REMOVE, status=400, error_type="ITEM_ERROR", error_code="ITEM_NOT_FOUND")
    disconnect(bank)
    assert retired_items_remove() == 1
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.DISCONNECTED


def test_from_the_third_failure_on_it_is_told(bank):
    bank.fault("html", path=REMOVE, status=502, times=4)
    disconnect(bank)
    for _ in range(4):
        make_due()
        retired_items_remove()
    told = DomainEvent.objects.filter(type="RemovalFailed").order_by("sequence")
    assert [event.payload["attempts"] for event in told] == [3, 4]
    assert told[0].payload["code"] == "provider_unavailable"
    assert told[0].payload["item_id"] == bank.plaid_id


def test_a_token_that_cannot_be_read_keeps_the_connection_until_a_person_settles_it(bank, alice):
    Credential.objects.update(ciphertext=b"damaged beyond repair, quite")
    disconnect(bank)
    assert retired_items_remove() == 0
    bank.connection.refresh_from_db()
    assert bank.connection.error_code == CredentialUnreadable.default_code
    assert removals(bank) == 0
    retired_item_settle(retired_id=RetiredPlaidItem.objects.get().pk, reason="seen on the dashboard", actor=alice.user)
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.DISCONNECTED
    assert not Credential.objects.exists()


def test_it_is_not_gone_while_an_item_that_it_had_before_is_still_there(bank, alice, simulator):
    made = simulator.control("POST", "items", {"transactions": 5, "life": False})
    public_token_exchange(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        public_token=made["public_token"],
        environment="sandbox",
        connection=bank.connection,
    )
    bank.fault("html", path=REMOVE, status=502)  # the former one
    disconnect(bank)
    assert retired_items_remove() == 1
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.DISCONNECTING
    assert simulator.control("GET", f"items/{made['item_id']}")["removed"]
    make_due()
    retired_items_remove()
    assert_gone(bank)


def test_while_plaid_lets_nobody_through_it_is_not_asked(bank):
    pause = ProviderPause.objects.create(
        provider="plaid", environment="sandbox", code="provider_misconfigured", next_probe_at=timezone.now()
    )
    disconnect(bank)
    assert (retired_items_remove(), removals(bank)) == (0, 0)
    assert RetiredPlaidItem.objects.get().attempts == 0
    pause.delete()
    assert retired_items_remove() == 1


def test_two_at_once_ask_once(bank):
    bank.fault("latency", path=REMOVE, seconds=0.5)
    disconnect(bank)

    def call():
        retired_items_remove()
        database.close()

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert removals(bank) == 1
    assert_gone(bank)


# --- what runs meanwhile ---
def test_a_sync_that_runs_as_it_is_disconnected_changes_nothing(link):
    bank = link(transactions=700)
    bank.fault("latency", seconds=1, skip=1)
    outcomes = []

    def sync():
        outcomes.append(bank.sync())
        database.close()

    thread = threading.Thread(target=sync)
    thread.start()
    assert wait_until(StagedPage.objects.exists, 20)
    disconnect(bank)
    thread.join(30)
    assert outcomes == [Outcome.LOST]
    assert not Transaction.objects.exists()
    assert (bank.item.cursor, bank.item.last_synced_at) == ("", None)
    assert bank.run.status == RunStatus.RUNNING
    assert runs_sweep() == 1
    assert (bank.run.status, StagedPage.objects.count()) == (RunStatus.CANCELLED, 0)
    retired_items_remove()
    assert_gone(bank)


def test_an_error_of_that_sync_is_not_put_on_the_connection(link):
    bank = link(transactions=5)
    bank.fault("latency", seconds=1)
    outcomes = []

    def sync():
        outcomes.append(bank.sync())
        database.close()

    thread = threading.Thread(target=sync)
    thread.start()
    assert wait_until(lambda: bank.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"] != [], 20)
    time.sleep(0.2)
    disconnect(bank)
    retired_items_remove()
    thread.join(30)
    assert outcomes == [Outcome.LOST]
    assert_gone(bank)
    assert (bank.connection.error_code, bank.connection.failure_count) == ("", 0)


def test_nothing_offers_polls_or_repairs_it_any_more(bank):
    bank.sync()
    bank.dirty()
    details = bank.item
    disconnect(bank)
    PlaidItem.objects.update(last_synced_at=timezone.now() - timedelta(days=30), dirty_seq=5)
    assert items_offer().small == []
    PlaidItem.objects.update(synced_seq=5)
    assert items_poll() == 0
    assert bank.turn() == Outcome.NOTHING
    accounts_update(item=details, accounts=[], is_complete=True)
    assert Account.objects.filter(status="active").count() == 2
    assert details_fetch(connection=bank.connection, access_token="access-sandbox-x-y") is False
    relink_completed(connection=bank.connection)
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.DISCONNECTING


# --- accounts ---
def test_rows_that_were_staged_for_an_account_removed_meanwhile_are_skipped(link):
    bank = link(transactions=700)
    assert bank.sync(seconds=0) == Outcome.CONTINUES
    account = Account.objects.get(item_accounts__plaid_account_id=bank.account_ids[0])
    account_archive(connection_id=bank.connection.pk, account_id=account.pk, reason="Removed")
    assert bank.turn() == Outcome.SYNCED
    assert not Transaction.objects.filter(account=account).exists()
    assert Transaction.objects.exists()
    assert bank.run.records_skipped > 0
    assert bank.run.ledger_balanced
    assert not is_removed(bank)


def test_a_removed_account_keeps_its_history_and_is_not_looked_at_any_more(bank):
    bank.sync()
    account = Account.objects.get(item_accounts__plaid_account_id=bank.account_ids[0])
    count = Transaction.objects.filter(account=account, archived=False).count()
    account_archive(connection_id=bank.connection.pk, account_id=account.pk, reason="Removed")
    account.refresh_from_db()
    bank.add(account_id=bank.account_ids[0])
    PlaidItem.objects.update(details_at=None)
    bank.sync()
    assert Transaction.objects.filter(account=account, archived=False).count() == count > 0
    now = Account.objects.get(pk=account.pk)
    assert (now.status, now.balances_at) == ("archived", account.balances_at)


def test_of_two_who_remove_the_last_two_accounts_one_ends_the_bank(bank):
    bank.sync()
    accounts = list(Account.objects.all())

    def remove(account):
        account_archive(connection_id=bank.connection.pk, account_id=account.pk, reason="Its last account was removed")
        database.close()

    threads = [threading.Thread(target=remove, args=[account]) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.DISCONNECTING
    assert retired_items_remove() == 1
    assert_gone(bank)


# --- workers ---
@pytest.mark.chaos
def test_a_worker_does_it_at_once_and_one_killed_after_the_call_is_made_up_for(link, process, settings):
    bank = link(transactions=5)
    bank.fault("commit_then_drop", path=REMOVE, seconds=30)
    victim = process("worker")
    disconnect(bank)
    assert wait_until(lambda: is_removed(bank), 20)
    victim.kill()
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.DISCONNECTING
    assert Credential.objects.exists()
    make_due()  # its lease ran out
    assert retired_items_remove() == 1
    log = bank.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"]
    assert [row["error_code"] for row in log if row["path"] == REMOVE][-1] == "ITEM_NOT_FOUND"
    assert_gone(bank)
