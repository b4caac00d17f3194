"""Histories that begin anew: replays, re-links, accounts that come and go. Nothing doubled, nothing hidden without reason."""

import json
import threading
import time

import pytest
from django.db import connection as database

from connections.models import Account, PlaidItem
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_items import relink_completed
from sync.claimed_run import run_open
from sync.engine import Outcome
from sync.leases import claim
from sync.ledger import Ledger
from sync.models import RunStatus, SyncFailure, SyncRun, Transaction, Trigger
from sync.services.runs import run_request

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def relink(simulator, alice):
    """Link the same login anew into the bank's connection, as a new Item at Plaid."""

    def call(bank, **options):
        made = simulator.control(
            "POST", "items", {"transactions": 30, "accounts": 2, "life": False, "seed": 7} | options
        )
        public_token_exchange(
            user=alice.user,
            workspace_id=alice.workspace.pk,
            public_token=made["public_token"],
            environment="sandbox",
            connection=bank.connection,
        )
        bank.plaid_id, bank.account_ids = made["item_id"], made["account_ids"]

    return call


def test_a_new_item_that_tells_its_last_month_first_doubles_nothing(link, relink):
    bank = link(seed=7, transactions=400)
    bank.turn()
    noted = Transaction.objects.order_by("date").last()
    Transaction.objects.filter(pk=noted.pk).update(note="mine")
    relink(bank, transactions=400, ready="initial")
    assert bank.sync() == Outcome.SYNCED
    recent = min(row[3] for row in bank.truth().values()) if bank.truth() else ""
    same_days = Transaction.objects.filter(archived=False, date__gte=recent).exclude(source_id=bank.plaid_id)
    assert recent
    assert bank.item.is_new_history
    bank.control("state", ready="historical")
    assert bank.sync() == Outcome.SYNCED
    bank.assert_equal_to_source()
    assert not bank.item.is_new_history
    assert not same_days.exists()
    assert Transaction.objects.get(note="mine", archived=False).source_id == bank.plaid_id
    assert all(run.ledger_balanced for run in SyncRun.objects.all())


def test_what_is_older_than_the_new_items_history_stays(link, relink):
    bank = link(seed=7)
    old = bank.add(date="2015-01-01", name="Long ago")
    bank.turn()
    relink(bank)
    bank.sync()
    assert not bank.transaction(old).archived
    assert set(bank.ours()) == {*bank.truth(), old}


def test_a_replay_keeps_the_rows_of_an_account_that_is_no_longer_shared(bank):
    bank.turn()
    gone = Account.objects.get(item_accounts__plaid_account_id=bank.account_ids[0])
    before = Transaction.objects.filter(account=gone, archived=False).count()
    assert before
    bank.control("state", remove_account_transactions=bank.account_ids[0])
    bank.control("state", disown_cursors=True)
    assert bank.sync() == Outcome.SYNCED
    gone.refresh_from_db()
    assert gone.status == "missing"
    assert Transaction.objects.filter(account=gone, archived=False).count() == before


def test_the_history_of_an_account_that_nobody_lists_has_a_place(bank):
    fragment = (
        '{"transaction_id":"old-1","account_id":"closed-long-ago","amount":1.5,"iso_currency_code":"USD",'
        '"date":"2026-01-01","name":"From a closed account","pending":false}'
    )
    bank.ops({"op": "raw_fragment", "json": fragment})
    bank.turn()
    row = bank.transaction("old-1")
    assert (row.account.name, row.account.status) == ("Account no longer shared", "missing")
    assert bank.run.records_failed == 0
    bank.add(name="Later")
    bank.sync()
    assert Account.objects.count() == 3


def test_after_a_repair_the_accounts_are_read_again_even_without_news(bank):
    bank.turn()
    gone = Account.objects.get(item_accounts__plaid_account_id=bank.account_ids[0])
    bank.control("state", remove_account=bank.account_ids[0])
    bank.control("state", add_account={"kind": 3, "transactions": 0})
    relink_completed(connection=bank.connection)
    assert bank.turn() == Outcome.SYNCED
    gone.refresh_from_db()
    assert gone.status == "missing"
    assert Account.objects.filter(status="active").count() == 2


def test_a_resumed_run_that_starts_again_strands_no_waiting_run(link, settings):
    settings.SYNC_LARGE_PAGES = 2
    bank = link(transactions=1700)
    assert bank.turn(is_large_queue=False) == Outcome.CONTINUES
    waiting = run_request(connection_id=bank.connection.pk, trigger=Trigger.USER)
    bank.fault("mutation", times=1)
    assert bank.turn() == Outcome.SYNCED
    assert bank.turn() == Outcome.SYNCED
    waiting.refresh_from_db()
    assert waiting.status == RunStatus.SUCCEEDED
    assert not bank.item.is_dirty
    bank.assert_equal_to_source()


def test_notes_follow_the_rows_of_an_account_that_the_bank_renamed(bank):
    bank.turn()
    old_id = bank.account_ids[0]
    noted = Transaction.objects.filter(raw_json__account_id=old_id, archived=False).order_by("date").first()
    Transaction.objects.filter(pk=noted.pk).update(note="mine", user_category="travel")
    bank.control("state", rename_account=old_id)
    bank.sync()
    bank.assert_equal_to_source()
    now = Transaction.objects.get(note="mine", archived=False)
    assert now.external_id != noted.external_id
    assert (now.account_id, now.date, now.amount, now.name) == (noted.account_id, noted.date, noted.amount, noted.name)
    assert now.user_category == "travel"


def test_a_note_follows_a_row_that_the_bank_tells_anew_and_stays_cleared_afterwards(bank):
    account = bank.account_ids[0]
    old = bank.add(name="Hotel", amount=90.0, account_id=account)
    bank.turn()
    Transaction.objects.filter(external_id=old).update(note="with Ada")
    told_anew = {"name": "Hotel", "amount": 90.0, "account_id": account}
    new = bank.ops({"op": "remove", "transaction_id": old}, {"op": "add", "transaction": told_anew})[-1]
    bank.sync()
    assert bank.transaction(new).note == "with Ada"
    Transaction.objects.filter(external_id=new).update(note="")
    newest = bank.ops({"op": "remove", "transaction_id": new}, {"op": "add", "transaction": told_anew})[-1]
    bank.sync()
    assert bank.transaction(newest).note == ""


def test_what_left_during_a_replay_of_an_incomplete_history_leaves_once_that_is_complete(link):
    bank = link(transactions=60, ready="initial")
    bank.turn()
    gone = next(iter(bank.truth()))
    bank.ops({"op": "remove", "transaction_id": gone})
    bank.control("state", disown_cursors=True)
    assert bank.sync() == Outcome.SYNCED
    assert not bank.transaction(gone).archived
    assert bank.item.cursor == ""
    bank.control("state", ready="historical")
    assert bank.sync() == Outcome.SYNCED
    assert bank.transaction(gone).archived
    bank.assert_equal_to_source()
    assert bank.sync() == Outcome.SYNCED
    assert bank.run.records_fetched == 0


def test_a_note_that_its_owner_cleared_stays_cleared(bank):
    pending = bank.add(pending=True, amount=20.0, name="Restaurant")
    bank.turn()
    Transaction.objects.filter(external_id=pending).update(note="with Ada")
    posted = bank.ops({"op": "post", "pending_transaction_id": pending, "fields": {}})[-1]
    bank.sync()
    assert bank.transaction(posted).note == "with Ada"
    Transaction.objects.filter(external_id=posted).update(note="")
    bank.ops({"op": "modify", "transaction_id": posted, "fields": {"name": "Restaurant & Bar"}})
    bank.sync()
    assert bank.transaction(posted).note == ""


def test_a_bad_newer_version_is_not_settled_by_the_good_older_one(link):
    bank = link(raw_log=True, transactions=600)
    good = (
        f'{{"transaction_id":"x1","account_id":"{bank.account_ids[0]}","amount":1,"iso_currency_code":"USD",'
        '"date":"2026-11-01","name":"Good","pending":false}'
    )
    bank.ops({"op": "raw_fragment", "json": good, "transaction_id": "x1"})
    bank.ops(*({"op": "add", "transaction": {"name": f"Filler {n}"}} for n in range(500)))
    bank.ops({"op": "raw_fragment", "json": good.replace('"date":"2026-11-01"', '"date":null'), "transaction_id": "x1"})
    assert bank.turn() == Outcome.SYNCED
    assert SyncFailure.objects.filter(resolved_at=None).count() == 1


def test_more_pages_without_a_position_are_nonsense_and_end(bank):
    body = json.dumps(
        {
            "added": [],
            "modified": [],
            "removed": [],
            "accounts": [],
            "next_cursor": "",
            "has_more": True,
            "request_id": "r",
        }
    )
    bank.fault("error", status=200, body=body, content_type="application/json", times=20)
    assert bank.turn() == Outcome.FAILED
    bank.connection.refresh_from_db()
    assert bank.connection.error_code == "provider_malformed"


def test_an_error_message_with_a_nul_ends_the_run_all_the_same(bank):
    bank.fault(
        "error",
        status=400,
        error_type="ITEM_ERROR",
        error_code="ITEM_LOGIN_REQUIRED",
        error_message="a\0b\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    )
    assert bank.turn() == Outcome.FAILED
    assert bank.run.status == RunStatus.FAILED
    assert bank.item.lease_token is None


def test_a_worker_that_lost_its_claim_before_it_began_takes_no_run(bank, settings):
    settings.LEASE_S = 0.1
    slow = claim(bank.item.pk)
    time.sleep(0.2)
    settings.LEASE_S = 30
    assert bank.turn() == Outcome.SYNCED
    assert run_open(slow) is None
    assert SyncRun.objects.count() == 1


def test_accounts_and_merges_at_the_same_time_do_not_deadlock(link):
    bank = link(transactions=2000)
    assert bank.turn() == Outcome.SYNCED
    errors: list[Exception] = []

    def refresh() -> None:
        from connections.providers.base import BankAccount
        from connections.services.accounts import accounts_update

        item = PlaidItem.objects.get(connection=bank.connection)
        accounts = [
            BankAccount(key, "", f"A{n}", "", "1", "depository", "", "USD", None, "1", "1", None)
            for n, key in enumerate(reversed(bank.account_ids))
        ]
        try:
            for _ in range(30):
                accounts_update(item=item, accounts=accounts, is_complete=True)
        except Exception as error:  # noqa: BLE001 - told below
            errors.append(error)
        finally:
            database.close()

    thread = threading.Thread(target=refresh)
    thread.start()
    for number in range(8):
        bank.ops(*({"op": "add", "transaction": {"name": f"N{number}-{n}"}} for n in range(20)))
        assert bank.sync() == Outcome.SYNCED
    thread.join()
    assert errors == []


def test_a_ledger_that_lost_a_record_fails_the_run_and_rolls_back(bank, monkeypatch):
    from sync import merge

    original = merge.merge_page
    monkeypatch.setattr(merge, "merge_page", lambda *a, **k: Ledger(fetched=original(*a, **k).fetched))
    assert bank.turn() == Outcome.FAILED
    assert not Transaction.objects.exists()
    assert bank.item.cursor == ""
    assert bank.run.status == RunStatus.FAILED
