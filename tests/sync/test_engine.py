"""The cursor sync over HTTP against the simulator: what is true there is true here, whatever happens on the way."""

import json
import time
from decimal import Decimal

import pytest
from django.db import IntegrityError
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from connections.models import Account, Connection, PlaidItem
from connections.models.connection import Status
from sync import engine, merge, staging
from sync.claimed_run import run_open
from sync.engine import Outcome
from sync.leases import claim
from sync.models import RunStatus, StagedPage, SyncFailure, SyncRun, Transaction

pytestmark = pytest.mark.django_db(transaction=True)


def ledger(run: SyncRun) -> dict[str, int]:
    names = ("fetched", "created", "updated", "unchanged", "removed", "skipped", "parked", "failed")
    return {name: value for name in names if (value := getattr(run, f"records_{name}"))}


# --- the plain way ---
def test_first_sync_brings_every_transaction(bank):
    assert bank.turn() == Outcome.SYNCED
    bank.assert_equal_to_source()
    run, item = bank.run, bank.item
    assert (run.status, run.trigger, run.ledger_balanced) == (RunStatus.SUCCEEDED, "link", True)
    assert ledger(run) == {"fetched": 30, "created": 30}
    assert item.cursor
    assert item.history_complete
    assert not item.is_dirty
    assert item.lease_token is None
    assert item.last_synced_at


def test_nothing_to_do_is_nothing_done(bank):
    bank.turn()
    assert bank.turn() == Outcome.NOTHING
    assert SyncRun.objects.count() == 1


def test_a_sync_without_news_costs_one_call_and_four_statements(bank, simulator):
    bank.turn()
    bank.dirty()
    seen = simulator.control("GET", "log")["requests"][-1]["seq"]
    with CaptureQueriesContext(database) as queries:
        assert bank.turn() == Outcome.SYNCED
    statements = [q["sql"] for q in queries if not q["sql"].startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))]
    statements = [
        sql for sql in statements if 'FROM "connections_plaiditem" WHERE' not in sql
    ]  # the helper's own look-up
    assert len(statements) <= 4, statements
    assert [row["path"] for row in simulator.control("GET", f"log?after={seen}")["requests"]] == ["/transactions/sync"]
    assert ledger(bank.run) == {}


def test_long_update_is_staged_and_merged_whole(link):
    bank = link(transactions=1700)
    assert bank.turn() == Outcome.SYNCED
    bank.assert_equal_to_source()
    assert bank.run.page_count == 4
    assert ledger(bank.run) == {"fetched": 1700, "created": 1700}
    assert not StagedPage.objects.exists()


def test_modified_removed_and_unknown_are_applied(bank):
    ids = [bank.add(amount=12.34, name=f"Shop {n}") for n in range(3)]
    bank.turn()
    bank.ops(
        {"op": "modify", "transaction_id": ids[0], "fields": {"amount": 99.99}},
        {"op": "remove", "transaction_id": ids[1]},
    )
    assert bank.sync() == Outcome.SYNCED
    bank.assert_equal_to_source()
    assert ledger(bank.run) == {"fetched": 2, "updated": 1, "removed": 1}
    gone = bank.transaction(ids[1])
    assert gone.archived
    assert gone.archived_at
    assert gone.raw_json["source_removed"] is True
    assert bank.transaction(ids[0]).amount == Decimal("99.99")


def test_modified_for_an_unknown_id_inserts(bank):
    bank.turn()
    some = next(iter(bank.truth()))
    Transaction.objects.filter(external_id=some).delete()
    bank.ops({"op": "modify", "transaction_id": some, "fields": {"name": "Changed at the source"}})
    bank.sync()
    assert ledger(bank.run) == {"fetched": 1, "created": 1}
    bank.assert_equal_to_source()


def test_removal_of_an_unknown_id_is_skipped(bank):
    bank.turn()
    some = next(iter(bank.truth()))
    Transaction.objects.filter(external_id=some).delete()
    bank.ops({"op": "remove", "transaction_id": some})
    bank.sync()
    assert ledger(bank.run) == {"fetched": 1, "skipped": 1}
    bank.assert_equal_to_source()


def test_pending_becomes_posted_and_the_users_note_moves_along(bank):
    pending = bank.add(pending=True, amount=20.0, name="Restaurant")
    bank.turn()
    Transaction.objects.filter(external_id=pending).update(note="with Ada", user_category="Food")
    posted = bank.ops({"op": "post", "pending_transaction_id": pending, "fields": {"amount": 24.0}})[-1]
    bank.sync()
    bank.assert_equal_to_source()
    row = bank.transaction(posted)
    assert (row.note, row.user_category, row.pending_external_id, row.pending) == ("with Ada", "Food", pending, False)
    assert bank.transaction(pending).archived


@pytest.mark.parametrize("filler", [0, 600])
def test_posted_row_and_pending_removal_on_different_pages(link, filler):
    bank = link(raw_log=True)
    pending = bank.add(pending=True, amount=20.0, name="Restaurant")
    bank.turn()
    Transaction.objects.filter(external_id=pending).update(note="mine")
    ops = [{"op": "post", "pending_transaction_id": pending, "fields": {}}]
    ops += [{"op": "add", "transaction": {"name": f"Filler {n}"}} for n in range(filler)]
    posted = next(i for i in bank.ops(*ops) if i != pending)
    bank.sync()
    bank.assert_equal_to_source()
    assert bank.transaction(posted).note == "mine"
    assert bank.run.ledger_balanced


def test_a_removed_transaction_can_come_back(bank):
    some = bank.add(name="Comes and goes")
    bank.turn()
    bank.ops({"op": "remove", "transaction_id": some})
    bank.sync()
    bank.ops({"op": "re_add", "transaction_id": some})
    bank.sync()
    bank.assert_equal_to_source()
    row = bank.transaction(some)
    assert (row.archived, row.archived_at) == (False, None)


def test_amounts_are_exact(bank):
    exact = "1234567890123.123456789012345678"
    fragment = (
        f'{{"transaction_id":"exact-1","account_id":"{bank.account_ids[0]}","amount":{exact},"iso_currency_code":null,'
        '"unofficial_currency_code":"ETH","date":"2026-11-01","name":"Exact","pending":false}'
    )
    bank.ops({"op": "raw_fragment", "json": fragment})
    bank.turn()
    row = bank.transaction("exact-1")
    assert format(row.amount, "f") == exact
    assert (row.iso_currency, row.unofficial_currency, row.currency) == (None, "ETH", "ETH")


# --- empty start ---
def test_an_item_that_is_not_ready_waits_for_news(link):
    bank = link(ready="not_ready")
    assert bank.turn() == Outcome.SYNCED
    item = bank.item
    assert (item.cursor, item.is_dirty, item.history_complete) == ("", False, False)
    bank.control("state", ready="historical")
    bank.sync()
    bank.assert_equal_to_source()
    assert bank.item.history_complete


# --- mutation ---
def test_mutation_restarts_from_the_loops_first_cursor(link):
    bank = link(transactions=1200)
    bank.fault("mutation", skip=1, times=2)
    assert bank.turn() == Outcome.SYNCED
    assert bank.run.restarts >= 1
    bank.assert_equal_to_source()
    assert ledger(bank.run) == {"fetched": 1200, "created": 1200}


def test_mutation_without_end_is_bounded_and_moves_nothing(link, settings):
    settings.SYNC_MAX_RESTARTS = 2
    bank = link(transactions=1200)
    bank.fault("mutation", times=50)
    assert bank.turn() == Outcome.FAILED
    assert bank.item.cursor == ""
    assert bank.item.is_dirty
    assert not Transaction.objects.exists()
    assert not StagedPage.objects.exists()
    bank.connection.refresh_from_db()
    assert (bank.connection.status, bank.connection.error_code) == (Status.ACTIVE, "sync_mutation")
    assert bank.connection.next_attempt_at
    bank.simulator.control("DELETE", "faults")
    assert bank.sync() == Outcome.SYNCED
    bank.assert_equal_to_source()


def test_a_row_served_on_an_aborted_page_and_withdrawn_leaves_no_ghost(link):
    bank = link(transactions=1200)
    ghost = bank.add(name="Ghost", date="2020-01-01")
    bank.fault("hang", skip=2, seconds=0.1)
    bank.fault("mutation", skip=2, times=1)
    bank.turn()
    bank.ops({"op": "remove", "transaction_id": ghost})
    bank.sync()
    assert ghost not in bank.ours()
    bank.assert_equal_to_source()


# --- disowned cursors ---
def test_a_disowned_cursor_replays_and_keeps_what_users_attached(bank):
    kept, gone = bank.add(name="Kept"), bank.add(name="Gone")
    bank.turn()
    Transaction.objects.filter(external_id=kept).update(note="mine")
    bank.ops({"op": "remove", "transaction_id": gone})
    bank.control("state", disown_cursors=True)
    assert bank.sync() == Outcome.SYNCED
    bank.assert_equal_to_source()
    assert bank.transaction(kept).note == "mine"
    assert bank.transaction(gone).archived
    assert Transaction.objects.count() == 32
    assert ledger(bank.run) == {"fetched": 32, "unchanged": 31, "removed": 1}


def test_a_replay_that_is_not_complete_removes_nothing(bank):
    bank.turn()
    before = bank.ours()
    bank.control("state", disown_cursors=True)
    bank.control("state", ready="not_ready")
    bank.sync()
    assert bank.ours() == before


def test_relink_as_a_new_item_keeps_notes_and_doubles_nothing(link, simulator, alice):
    from connections.services.plaid_exchange import public_token_exchange

    bank = link(seed=7)
    bank.turn()
    noted = Transaction.objects.filter(archived=False).order_by("date").last()
    Transaction.objects.filter(pk=noted.pk).update(note="mine")
    old = {t.external_id for t in Transaction.objects.all()}
    made = simulator.control("POST", "items", {"transactions": 30, "accounts": 2, "life": False, "seed": 7})
    public_token_exchange(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        public_token=made["public_token"],
        environment="sandbox",
        connection=bank.connection,
    )
    bank.plaid_id = made["item_id"]
    assert bank.sync() == Outcome.SYNCED
    bank.assert_equal_to_source()
    assert old.isdisjoint(bank.ours())
    assert Connection.objects.count() == 1
    assert Account.objects.count() == 2
    assert not bank.item.is_new_history
    carried = Transaction.objects.get(note="mine", archived=False)
    assert (carried.date, carried.amount, carried.name) == (noted.date, noted.amount, noted.name)


# --- accounts ---
def test_accounts_carry_names_and_exact_balances(bank):
    bank.turn()
    accounts = Account.objects.filter(connection=bank.connection)
    assert accounts.count() == 2
    assert all(
        account.name and account.balance_current is not None and account.iso_currency == "USD" for account in accounts
    )


def test_a_renamed_account_stays_one_account(bank):
    bank.turn()
    bank.control("state", rename_account=bank.account_ids[0])
    bank.sync()
    bank.assert_equal_to_source()
    assert Account.objects.count() == 2
    assert set(Account.objects.values_list("status", flat=True)) == {"active"}


def test_a_new_account_is_read_before_its_rows_are_applied(bank):
    bank.turn()
    bank.control("state", add_account={"kind": 3, "transactions": 5})
    bank.sync()
    bank.assert_equal_to_source()
    assert Account.objects.count() == 3
    assert ledger(bank.run) == {"fetched": 5, "created": 5}


def test_rows_of_an_account_its_owner_removed_are_skipped(bank):
    bank.turn()
    Account.objects.filter(item_accounts__plaid_account_id=bank.account_ids[0]).update(status="archived")
    bank.add(account_id=bank.account_ids[0])
    bank.sync()
    assert ledger(bank.run) == {"fetched": 1, "skipped": 1}


# --- poison ---
POISON = {
    "NUL": '"name":"a\\u0000b"',
    "lone surrogate": '"name":"\\ud800"',
    "absurd number": '"amount":1e400000',
    "amount out of range": '"amount":1e30',
    "amount is text": '"amount":"12.00"',
    "no amount": '"amount":null',
    "no date": '"date":null',
    "impossible date": '"date":"2026-02-30"',
    "word for a date": '"date":"today"',
    "pending is text": '"pending":"yes"',
    "no account": '"account_id":null',
    "account id is endless": f'"account_id":"{"x" * 500}"',
    "id is a number": '"transaction_id":12',
    "id is endless": f'"transaction_id":"{"x" * 5000}"',
}


def fragment(bank, name: str, change: str) -> str:
    fields = {
        "transaction_id": f'"transaction_id":"poison-{abs(hash(name)) % 10**6}"',
        "account_id": f'"account_id":"{bank.account_ids[0]}"',
        "amount": '"amount":1.5',
        "date": '"date":"2026-11-01"',
        "name": '"name":"Poison"',
        "pending": '"pending":false',
        "iso_currency_code": '"iso_currency_code":"USD"',
    }
    fields[change.split('"')[1]] = change
    return "{" + ",".join(fields.values()) + "}"


def test_poison_fails_neither_page_nor_run(bank):
    bank.ops(*({"op": "raw_fragment", "json": fragment(bank, name, change)} for name, change in POISON.items()))
    assert bank.turn() == Outcome.SYNCED
    run = bank.run
    assert run.status == RunStatus.PARTIAL
    assert ledger(run) == {"fetched": 30 + len(POISON), "created": 30, "failed": len(POISON)}
    assert SyncFailure.objects.filter(run=run).count() == len(POISON)
    assert run.errors[0]["code"] == "record_rejected"
    assert "\\\\u0000" in SyncFailure.objects.get(reason__contains="NUL").payload
    assert bank.item.cursor


def test_poison_in_a_staged_update_is_set_aside_once(link):
    bank = link(transactions=700)
    bank.ops({"op": "raw_fragment", "json": fragment(bank, "NUL", POISON["NUL"])})
    bank.ops({"op": "raw_fragment", "json": fragment(bank, "no date", POISON["no date"])})
    assert bank.turn() == Outcome.SYNCED
    assert ledger(bank.run) == {"fetched": 702, "created": 700, "failed": 2}
    bank.control("state", disown_cursors=True)
    bank.sync()
    assert SyncFailure.objects.filter(resolved_at=None).count() == 2
    assert set(SyncFailure.objects.values_list("attempts", flat=True)) == {2}


def test_a_record_that_arrives_whole_later_settles_its_failure(bank):
    bad = fragment(bank, "no date", POISON["no date"])
    bank.ops({"op": "raw_fragment", "json": bad})
    bank.turn()
    failure = SyncFailure.objects.get()
    bank.ops({"op": "raw_fragment", "json": bad.replace('"date":null', '"date":"2026-11-02"')})
    bank.sync()
    failure.refresh_from_db()
    assert failure.resolved_at
    assert bank.transaction(failure.external_id).name == "Poison"


def test_a_record_that_is_removed_before_it_was_ever_stored_settles_its_failure(bank):
    bad = fragment(bank, "no date", POISON["no date"])
    (name,) = bank.ops({"op": "raw_fragment", "transaction_id": json.loads(bad)["transaction_id"], "json": bad})
    bank.turn()
    bank.ops({"op": "remove", "transaction_id": name})
    bank.sync()
    assert ledger(bank.run) == {"fetched": 1, "skipped": 1}
    failure = SyncFailure.objects.get()
    assert (failure.external_id, failure.resolution) == (name, "removed at the source")
    assert failure.resolved_at


# --- claims ---
def test_two_claims_of_one_item_give_one(bank):
    first = claim(bank.item.pk)
    assert first
    assert claim(bank.item.pk) is None
    assert bank.turn() == Outcome.NOTHING


def test_an_expired_lease_is_taken_over_and_the_first_worker_changes_nothing(link, settings):
    settings.SYNC_LARGE_PAGES = 100
    bank = link(transactions=1700)
    settings.LEASE_S = 0.2
    slow = claim(bank.item.pk)
    position = run_open(slow)
    page = engine.PlaidClient("sandbox", item_key="x").transactions_sync(slow.access_token(), "")
    staging.stage(slow, position.run_id, page_number=1, raw=page.raw, next_cursor=page.next_position)
    time.sleep(0.3)
    settings.LEASE_S = 30
    assert bank.turn() == Outcome.SYNCED
    assert bank.run.pk == position.run_id
    bank.assert_equal_to_source()
    with pytest.raises(engine.LeaseLost):
        staging.stage(slow, position.run_id, page_number=2, raw=page.raw, next_cursor="x")
    before = PlaidItem.objects.values().get(pk=bank.item.pk)
    with pytest.raises(engine.LeaseLost):
        engine.fence(slow, "cursor = 'stale', ")
    assert PlaidItem.objects.values().get(pk=bank.item.pk) == before
    assert not StagedPage.objects.exists()


def test_a_long_update_goes_on_in_the_next_task_after_its_last_page(link, settings, simulator):
    settings.SYNC_LARGE_PAGES = 2
    bank = link(transactions=2600)
    assert bank.turn(is_large_queue=False) == Outcome.CONTINUES
    assert bank.item.is_large
    assert bank.item.lease_token is None
    assert not Transaction.objects.exists()
    assert StagedPage.objects.count() == 2
    assert bank.turn(seconds=0) == Outcome.CONTINUES
    assert StagedPage.objects.count() == 3
    assert bank.turn() == Outcome.SYNCED
    assert SyncRun.objects.count() == 1
    assert not bank.item.is_large
    bank.assert_equal_to_source()
    calls = [r for r in simulator.control("GET", "log")["requests"] if r["path"] == "/transactions/sync"]
    assert len(calls) == 6


def test_a_stage_with_a_hole_starts_the_loop_again(link, settings):
    settings.SYNC_LARGE_PAGES = 3
    bank = link(transactions=2600)
    bank.turn(is_large_queue=False)
    StagedPage.objects.filter(page_number=2).delete()
    assert bank.turn() == Outcome.SYNCED
    bank.assert_equal_to_source()
    assert ledger(bank.run) == {"fetched": 2600, "created": 2600}


def test_news_during_a_run_is_not_lost(bank, monkeypatch):
    original = merge.merge_page

    def meanwhile(*args, **kwargs):
        bank.dirty()
        return original(*args, **kwargs)

    monkeypatch.setattr(merge, "merge_page", meanwhile)
    assert bank.turn() == Outcome.SYNCED
    assert bank.item.is_dirty


# --- failures ---
def test_login_errors_ask_the_owner_and_a_repair_brings_it_back(bank):
    bank.turn()
    bank.control("state", login_required=True)
    bank.add(name="While away")
    assert bank.sync() == Outcome.FAILED
    bank.connection.refresh_from_db()
    assert (bank.connection.status, bank.connection.error_code) == (Status.NEEDS_REAUTH, "bank_sign_in_required")
    assert bank.item.reauth_needed_at
    assert bank.run.errors[0]["remediation"]
    assert bank.sync() == Outcome.NOTHING

    from connections.services.plaid_items import relink_completed

    bank.control("state", login_required=False)
    relink_completed(connection=bank.connection)
    assert bank.turn() == Outcome.SYNCED
    bank.connection.refresh_from_db()
    assert (bank.connection.status, bank.connection.error_code) == (Status.ACTIVE, "")
    assert bank.item.reauth_needed_at is None
    bank.assert_equal_to_source()


@pytest.mark.parametrize(
    ("kind", "options", "code"),
    [
        ("html", {"status": 502}, "provider_unavailable"),
        ("html", {"status": 200}, "provider_malformed"),
        ("truncated", {}, "provider_unavailable"),
        ("malformed", {}, "provider_malformed"),
        ("hang", {"seconds": 5}, "provider_timeout"),
        ("reset", {}, "provider_unavailable"),
        (
            "error",
            {"status": 500, "error_type": "API_ERROR", "error_code": "INTERNAL_SERVER_ERROR"},
            "provider_unavailable",
        ),
        ("error", {"status": 400, "error_type": "NEW_TYPE", "error_code": "NEVER_SEEN"}, "provider_error"),
        (
            "error",
            {"status": 400, "error_type": "INSTITUTION_ERROR", "error_code": "INSTITUTION_DOWN"},
            "bank_unavailable",
        ),
    ],
)
def test_a_provider_in_trouble_loses_nothing_and_is_tried_again(bank, settings, kind, options, code):
    settings.PLAID_TIMEOUT_S = 0.5
    bank.turn()
    bank.add(name="Later")
    cursor = bank.item.cursor
    bank.fault(kind, times=4, **options)
    assert bank.sync() == Outcome.FAILED
    bank.connection.refresh_from_db()
    item = bank.item
    assert (item.cursor, item.is_dirty, item.lease_token) == (cursor, True, None)
    assert (bank.connection.status, bank.connection.failure_count) == (Status.ACTIVE, 1)
    assert bank.connection.error_code in (code, "provider_malformed" if kind == "truncated" else code)
    assert bank.connection.next_attempt_at
    assert bank.turn() == Outcome.NOTHING  # it waits
    bank.simulator.control("DELETE", "faults")
    assert bank.sync() == Outcome.SYNCED
    bank.connection.refresh_from_db()
    assert (bank.connection.failure_count, bank.connection.error_code) == (0, "")
    bank.assert_equal_to_source()


def test_third_failure_in_a_row_fails_the_connection_and_it_is_still_tried(bank):
    bank.turn()
    bank.fault("error", times=3, status=400, error_type="NEW_TYPE", error_code="NEVER_SEEN")
    for _ in range(3):
        bank.sync()
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.FAILED
    assert bank.item.last_sync_error
    assert bank.sync() == Outcome.SYNCED
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.ACTIVE


def test_bad_keys_leave_the_connections_state_alone(bank, settings):
    bank.turn()
    settings.PLAID_SECRET = "wrong"
    assert bank.sync() == Outcome.WAITS
    bank.connection.refresh_from_db()
    assert (bank.connection.status, bank.connection.error_code, bank.connection.failure_count) == (Status.ACTIVE, "", 0)
    assert bank.turn() == Outcome.NOTHING


def test_rate_limits_keep_run_and_stage_and_wait(link, settings):
    bank = link(transactions=1700)
    bank.fault("error", skip=2, status=429, error_type="RATE_LIMIT_EXCEEDED", error_code="TRANSACTIONS_SYNC_LIMIT")
    assert bank.turn() == Outcome.WAITS
    bank.connection.refresh_from_db()
    assert (bank.connection.status, bank.connection.wait_reason) == (Status.ACTIVE, "rate_limit")
    assert bank.run.status == RunStatus.RUNNING
    assert StagedPage.objects.count() == 2
    assert bank.turn() == Outcome.NOTHING
    Connection.objects.update(next_attempt_at=None)
    assert bank.turn() == Outcome.SYNCED
    assert SyncRun.objects.count() == 1
    bank.assert_equal_to_source()


def test_our_own_budget_waits_before_plaid_has_to_say_so(link, settings, simulator):
    settings.PLAID_SYNC_PER_ITEM_MINUTE = 2
    bank = link(transactions=1700)
    assert bank.turn() == Outcome.WAITS
    assert all(r["status"] == 200 for r in simulator.control("GET", "log")["requests"])


def test_a_credential_that_cannot_be_read_fails_and_says_so(bank, settings):
    settings.ENCRYPTION_KEYS = {"other": b"x" * 32}
    assert bank.turn() == Outcome.FAILED
    bank.connection.refresh_from_db()
    assert bank.connection.error_code == "credential_unreadable"


def test_a_bug_of_ours_ends_the_run_and_lets_go(bank, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(merge, "merge_page", broken)
    with pytest.raises(ZeroDivisionError):
        bank.turn()
    assert bank.run.status == RunStatus.FAILED
    assert bank.item.lease_token is None
    assert bank.item.is_dirty


def test_references_of_a_big_merge_are_checked_before_the_bank_is_held(link, settings, monkeypatch):
    """Checked at the commit, they would hold the rows of connection and Item for as long as they take."""
    settings.PLAID_SYNC_PER_ITEM_MINUTE = settings.PLAID_SYNC_PER_CLIENT_MINUTE = 10**6
    bank, ended = link(transactions=600), []
    merge_staged = merge.merge_staged

    def dangling(*args, **kwargs):
        ledger = merge_staged(*args, **kwargs)
        with database.cursor() as cursor:
            cursor.execute(
                "UPDATE sync_transaction SET account_id = gen_random_uuid() WHERE id IN (SELECT id FROM sync_transaction LIMIT 1)"
            )
        return ledger

    monkeypatch.setattr(merge, "merge_staged", dangling)
    monkeypatch.setattr(engine, "run_end", lambda *_: ended.append(True))
    with pytest.raises(IntegrityError, match="account_id"):
        bank.turn()
    assert ended == []
