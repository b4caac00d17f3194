"""Recurring streams become subscriptions: read apart from the transactions, and never in their way."""

import json
import threading
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection as database
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config.celery import app
from config.processes import wait_until
from connections.models import Connection, Credential, PlaidItem, ProviderPause
from connections.models.connection import Status
from connections.providers.plaid.client import RECURRING_PER_ITEM_MINUTE, PlaidClient
from connections.services import event_dispatch
from connections.services.disconnecting import account_archive, connection_disconnect
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_items import credential_of
from connections.services.plaid_removal import retired_items_remove
from sync import engine
from sync.models import Subscription, SubscriptionFeed
from sync.services.runs import run_request
from sync.services.subscriptions import feeds_due
from sync.subscriptions import Outcome, streams_read

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/transactions/recurring/get"


def tell() -> None:
    """Hand events to those who listen."""
    event_dispatch.events_dispatch(deadline=time.monotonic() + 10)


def feed(bank) -> SubscriptionFeed:
    return SubscriptionFeed.objects.get(item__connection=bank.connection)


def make_due(bank) -> None:
    SubscriptionFeed.objects.filter(item__connection=bank.connection).update(due_at=timezone.now(), not_before=None)


def read(bank) -> Outcome:
    """One worker's turn, after making it due."""
    make_due(bank)
    return streams_read(feed(bank).pk)


def asked(bank) -> list[dict]:
    log = bank.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"]
    return [row for row in log if row["path"] == PATH]


def told(bank) -> dict[str, tuple[str, dict]]:
    """stream id → (direction, stream) at the source now, numbers as Decimal."""
    token = credential_of(bank.connection).reveal()
    answer = PlaidClient("sandbox", item_key=f"test-{time.time_ns()}").recurring_get(token)
    return {
        stream["stream_id"]: (direction, stream)
        for direction in ("inflow", "outflow")
        for stream in answer[f"{direction}_streams"]
    }


def ours(bank) -> dict[str, str]:
    return dict(Subscription.objects.filter(connection=bank.connection).values_list("external_id", "status"))


def stop_one(bank) -> str:
    """The source forgets one stream, with all its transactions. Its id."""
    stream_id, (_direction, stream) = min(told(bank).items())
    bank.ops(*({"op": "remove", "transaction_id": one} for one in stream["transaction_ids"]))
    return stream_id


def fault(bank, code: str, kind: str, *, times: int = 1) -> None:
    bank.fault("error", path=PATH, status=400, error_type=kind, error_code=code, times=times)


def spoil(bank, **fields) -> None:
    """The next answer's outflow streams have these fields, whatever they are."""
    _direction, stream = next(found for found in told(bank).values() if found[0] == "outflow")
    plain = json.loads(json.dumps(stream, default=str)) | fields
    body = {"inflow_streams": [], "outflow_streams": [plain], "updated_datetime": "2026-05-12T00:00:00Z"}
    bank.fault("error", path=PATH, status=200, body=json.dumps(body))  # text: the simulator takes no half characters


@pytest.fixture
def bank(link):
    """Half a year with subscriptions and a salary; its transactions are synced, and its streams due."""
    made = link(transactions=400, days=180, accounts=2)
    assert made.sync() == engine.Outcome.SYNCED
    tell()
    return made


@pytest.fixture
def known(bank):
    """The same, its streams read."""
    assert streams_read(feed(bank).pk) == Outcome.READ
    return bank


# --- reading ---
def test_the_first_read_brings_what_the_source_tells_digit_for_digit(bank):
    assert feeds_due() == [feed(bank).pk]
    assert streams_read(feed(bank).pk) == Outcome.READ
    truth = told(bank)
    assert len(truth) > 1
    rows = {row.external_id: row for row in Subscription.objects.filter(connection=bank.connection)}
    assert rows.keys() == truth.keys()
    for stream_id, (direction, stream) in truth.items():
        row = rows[stream_id]
        assert (row.status, row.direction, row.is_active) == ("verified", direction, True)
        assert (row.last_amount, row.average_amount) == (
            stream["last_amount"]["amount"],
            stream["average_amount"]["amount"],
        )
        assert (row.currency, row.source_status) == ("USD", stream["status"])
        assert (row.description, row.merchant_name) == (stream["description"], stream["merchant_name"])
        assert row.frequency == stream["frequency"]
        assert row.category == stream["personal_finance_category"]["primary"]
        assert row.first_date.isoformat() == stream["first_date"]
        assert row.last_date.isoformat() == stream["last_date"]
        assert row.predicted_next_date.isoformat() == stream["predicted_next_date"]
        assert row.account.item_accounts.get().plaid_account_id == stream["account_id"]
        assert row.raw_json["transaction_ids"] == stream["transaction_ids"]
        assert row.workspace_id == bank.connection.workspace_id
    assert {row.direction for row in rows.values()} == {"inflow", "outflow"}


def test_the_raw_record_keeps_its_numbers(known):
    with database.cursor() as cursor:
        cursor.execute("SELECT external_id, raw_json->'last_amount'->>'amount' FROM sync_subscription")
        kept = dict(cursor.fetchall())
    assert kept == {name: str(stream["last_amount"]["amount"]) for name, (_, stream) in told(known).items()}


def test_it_is_read_again_within_a_day_and_writes_only_what_differs(known, settings):
    now = timezone.now()
    wait_s = (feed(known).due_at - now).total_seconds()
    assert 0.7 * settings.PLAID_RECURRING_S < wait_s <= settings.PLAID_RECURRING_S
    assert feeds_due() == []
    before = list(Subscription.objects.order_by("pk").values())
    assert read(known) == Outcome.READ
    assert list(Subscription.objects.order_by("pk").values()) == before


def test_a_stream_that_vanished_is_cancelled_and_one_that_returns_is_verified(known):
    gone = stop_one(known)
    assert read(known) == Outcome.READ
    row = Subscription.objects.get(external_id=gone)
    assert (row.status, row.raw_json["source_removed"]) == ("cancelled", True)
    assert row.cancelled_at
    assert sorted(ours(known).values()).count("cancelled") == 1
    known.ops(*({"op": "re_add", "transaction_id": one} for one in row.raw_json["transaction_ids"]))
    assert read(known) == Outcome.READ
    row.refresh_from_db()
    assert (row.status, row.cancelled_at, "source_removed" in row.raw_json) == ("verified", None, False)


def test_a_change_at_the_source_is_a_change_here(known):
    _, stream = next(iter(told(known).values()))
    last = stream["transaction_ids"][-1]
    known.ops({"op": "remove", "transaction_id": last})
    assert read(known) == Outcome.READ
    row = Subscription.objects.get(external_id=stream["stream_id"])
    assert last not in row.raw_json["transaction_ids"]
    assert row.last_date.isoformat() < stream["last_date"]


@pytest.mark.parametrize("fields", [{"is_active": False}, {"status": "TOMBSTONED"}])
def test_one_that_the_source_says_has_ended_is_cancelled(bank, fields):
    spoil(bank, **fields)
    assert read(bank) == Outcome.READ
    row = Subscription.objects.get()
    assert row.status == "cancelled"
    assert row.cancelled_at


def test_odd_values_become_none_and_hide_nothing(bank):
    spoil(
        bank,
        description="caf\u0000e \ud800",
        merchant_name=7,
        predicted_next_date="soon",
        last_amount={"amount": "a lot", "iso_currency_code": "USD"},
        personal_finance_category=None,
        frequency=None,
        new_field={"deep": [1.50]},
    )
    assert read(bank) == Outcome.READ
    row = Subscription.objects.get()
    assert (row.description, row.merchant_name, row.predicted_next_date) == ("cafe ", "7", None)
    assert (row.last_amount, row.category, row.frequency, row.status) == (None, None, "UNKNOWN", "verified")
    assert row.raw_json["description"] == "cafe "


def test_an_answer_that_could_not_be_read_whole_ends_nothing(known):
    before = ours(known)
    spoil(known, stream_id=None)
    assert read(known) == Outcome.READ
    assert ours(known) == before


def test_what_an_owner_removed_is_not_looked_at_any_more(known):
    account = Subscription.objects.first().account
    assert set(Subscription.objects.values_list("account", flat=True)) == {account.pk}
    gone = Subscription.objects.order_by("pk")[0]
    gone.delete()
    before = dict(Subscription.objects.values_list("external_id", "raw_json"))
    account_archive(connection_id=known.connection.pk, account_id=account.pk, reason="Removed")
    known.ops(*({"op": "remove", "transaction_id": raw["transaction_ids"][-1]} for raw in before.values()))
    assert read(known) == Outcome.READ
    assert ours(known) == dict.fromkeys(before, "unverified")  # the one that was not here did not come
    assert dict(Subscription.objects.values_list("external_id", "raw_json")) == before


def test_an_account_that_is_not_shared_any_more_leaves_its_subscriptions_unverified(known):
    stream = next(iter(told(known).values()))[1]
    known.control("state", remove_account_transactions=stream["account_id"])
    PlaidItem.objects.update(details_at=None)
    known.sync()
    assert read(known) == Outcome.READ
    assert set(ours(known).values()) == {"unverified"}


# --- when ---
def test_nothing_is_read_before_the_history_is_complete(link):
    early = link(transactions=400, days=180, ready="initial")
    early.sync()
    tell()
    assert feeds_due() == []
    assert streams_read(feed(early).pk) == Outcome.NOTHING
    early.control("state", ready="historical")
    early.sync()
    assert feeds_due() == [feed(early).pk]
    assert streams_read(feed(early).pk) == Outcome.READ


def test_a_webhook_makes_it_due_and_one_that_comes_meanwhile_keeps_it_due(known):
    first, second = timezone.now(), timezone.now() + timedelta(seconds=1)
    PlaidItem.objects.update(recurring_changed_at=first)
    assert feeds_due() == [feed(known).pk]
    known.fault("latency", path=PATH, seconds=1)
    outcomes = []

    def turn():
        outcomes.append(streams_read(feed(known).pk))
        connections.close_all()

    before = len(asked(known))
    thread = threading.Thread(target=turn)
    thread.start()
    assert wait_until(lambda: feed(known).lease_token is not None, 10)
    PlaidItem.objects.update(recurring_changed_at=second)
    thread.join(30)
    assert (outcomes, len(asked(known))) == ([Outcome.READ], before + 1)
    assert known.item.recurring_changed_at == second
    assert feeds_due() == [feed(known).pk]
    assert streams_read(feed(known).pk) == Outcome.READ
    assert known.item.recurring_changed_at is None
    assert feeds_due() == []


def test_a_refresh_that_a_person_asks_for_reads_them_too(known, alice):
    assert feeds_due() == []
    assert alice.api.post(f"/api/v1/connections/{known.connection.pk}/refresh").status_code == 202
    assert feeds_due() == [feed(known).pk]


@pytest.mark.parametrize("status", [Status.PAUSED, Status.NEEDS_REAUTH, Status.DISCONNECTING])
def test_a_connection_that_does_not_sync_is_not_asked(bank, status):
    Connection.objects.update(status=status)
    assert feeds_due() == []
    assert read(bank) == Outcome.NOTHING


def test_while_the_provider_lets_nobody_through_nobody_asks(bank):
    fault(bank, "INVALID_API_KEYS", "INVALID_INPUT")
    assert read(bank) == Outcome.WAITS
    assert ProviderPause.objects.get().code == "provider_misconfigured"
    make_due(bank)
    assert feeds_due() == []


def test_an_idle_tick_is_one_query(known):
    from sync.tasks import read_subscriptions

    with CaptureQueriesContext(database) as captured:
        read_subscriptions()
    assert len(captured) == 1


# --- what may go wrong ---
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ITEM_ERROR", "PRODUCTS_NOT_SUPPORTED"),
        ("ITEM_ERROR", "PRODUCT_NOT_ENABLED"),
        ("INVALID_INPUT", "INVALID_PRODUCT"),
        ("INVALID_INPUT", "UNAUTHORIZED_ROUTE_ACCESS"),
        ("INVALID_INPUT", "ADDITIONAL_CONSENT_REQUIRED"),
    ],
)
def test_where_the_product_is_not_there_nothing_is_wrong(bank, settings, kind, code):
    before = Connection.objects.values().get(pk=bank.connection.pk)
    fault(bank, code, kind)
    assert read(bank) == Outcome.UNAVAILABLE
    assert Connection.objects.values().get(pk=bank.connection.pk) == before
    assert not Subscription.objects.exists()
    assert feed(bank).unavailable_code
    wait_s = (feed(bank).due_at - timezone.now()).total_seconds()
    assert wait_s > 5 * settings.PLAID_RECURRING_S
    assert run_request(connection_id=bank.connection.pk, trigger="user")
    assert feeds_due() == []  # not even a person's refresh asks again
    assert bank.turn() == engine.Outcome.SYNCED
    PlaidItem.objects.update(recurring_changed_at=timezone.now())  # news of it: it is there
    assert streams_read(feed(bank).pk) == Outcome.READ
    assert feed(bank).unavailable_code == ""
    assert set(ours(bank).values()) == {"verified"}


def test_what_was_verified_is_not_once_the_product_is_switched_off(known):
    fault(known, "PRODUCT_NOT_ENABLED", "ITEM_ERROR")
    assert read(known) == Outcome.UNAVAILABLE
    assert set(ours(known).values()) == {"unverified"}
    assert read(known) == Outcome.READ
    assert set(ours(known).values()) == {"verified"}


@pytest.mark.parametrize(
    ("fault_fields", "is_counted"),
    [
        ({"kind": "error", "status": 400, "error_type": "ITEM_ERROR", "error_code": "PRODUCT_NOT_READY"}, True),
        ({"kind": "error", "status": 429, "error_type": "RATE_LIMIT_EXCEEDED", "error_code": "RATE_LIMIT"}, False),
        ({"kind": "error", "status": 400, "error_type": "ITEM_ERROR", "error_code": "ITEM_LOGIN_REQUIRED"}, True),
        ({"kind": "error", "status": 400, "error_type": "NEW", "error_code": "NEVER_SEEN"}, True),
        ({"kind": "html", "status": 502}, True),
        ({"kind": "reset"}, True),
        ({"kind": "truncated"}, True),
        ({"kind": "malformed"}, True),
        ({"kind": "missing_field", "field": "outflow_streams"}, True),
    ],
)
def test_what_fails_is_tried_later_and_touches_neither_connection_nor_subscriptions(known, fault_fields, is_counted):
    state = Connection.objects.values().get(pk=known.connection.pk), ours(known)
    known.fault(path=PATH, **fault_fields)
    PlaidItem.objects.update(recurring_changed_at=timezone.now())
    assert read(known) == Outcome.WAITS
    assert (Connection.objects.values().get(pk=known.connection.pk), ours(known)) == state
    found = feed(known)
    assert found.failure_count == is_counted
    assert found.last_error
    assert (found.lease_token, found.not_before) == (None, found.due_at)
    assert found.due_at > timezone.now()
    assert feeds_due() == []  # the webhook's mark does not bring it forward
    assert known.item.recurring_changed_at
    SubscriptionFeed.objects.update(not_before=timezone.now())
    assert streams_read(found.pk) == Outcome.READ
    assert (feed(known).failure_count, feed(known).last_error, known.item.recurring_changed_at) == (0, "", None)


def test_our_own_budget_keeps_to_the_published_rate(known):
    outcomes = [read(known) for _ in range(RECURRING_PER_ITEM_MINUTE)]
    assert outcomes[-1] == Outcome.WAITS
    assert outcomes.count(Outcome.READ) == RECURRING_PER_ITEM_MINUTE - 1
    assert feed(known).due_at > timezone.now() + timedelta(seconds=1)
    assert feed(known).failure_count == 0


def test_a_token_that_cannot_be_read_is_not_sent(bank):
    Credential.objects.update(ciphertext=b"damaged beyond repair, quite")
    assert read(bank) == Outcome.WAITS
    assert asked(bank) == []
    assert "credential_unreadable" in feed(bank).last_error


def test_a_failing_read_delays_no_transaction(known):
    known.fault("hang", path=PATH, seconds=5)
    added = known.add(name="Meanwhile")
    make_due(known)
    thread = threading.Thread(target=lambda: (streams_read(feed(known).pk), connections.close_all()))
    thread.start()
    assert wait_until(lambda: feed(known).lease_token is not None, 10)
    assert known.sync() == engine.Outcome.SYNCED
    assert known.transaction(added)
    assert feed(known).lease_token  # it was still asking
    thread.join(30)


# --- several workers ---
def test_two_workers_at_once_ask_once(bank):
    bank.fault("latency", path=PATH, seconds=0.5)
    outcomes = []

    def turn():
        outcomes.append(streams_read(feed(bank).pk))
        connections.close_all()

    threads = [threading.Thread(target=turn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [Outcome.NOTHING, Outcome.NOTHING, Outcome.READ]
    assert len(asked(bank)) == 1


def slow_read(bank, meanwhile) -> Outcome:
    """A read whose answer is under way while something else happens."""
    bank.fault("latency", path=PATH, seconds=1)
    outcomes = []
    make_due(bank)

    def turn():
        outcomes.append(streams_read(feed(bank).pk))
        connections.close_all()

    thread = threading.Thread(target=turn)
    thread.start()
    assert wait_until(lambda: feed(bank).lease_token is not None, 10)
    time.sleep(0.2)
    meanwhile()
    thread.join(30)
    return outcomes[0]


def test_a_worker_that_slept_through_its_lease_changes_nothing(bank):
    def take_over():
        SubscriptionFeed.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        assert streams_read(feed(bank).pk) == Outcome.READ
        Subscription.objects.all().delete()

    assert slow_read(bank, take_over) == Outcome.LOST
    assert not Subscription.objects.exists()


def test_a_read_that_is_under_way_as_it_is_disconnected_writes_nothing(bank):
    def disconnect():
        connection_disconnect(connection_id=bank.connection.pk, reason="Disconnected by alice")

    assert slow_read(bank, disconnect) == Outcome.LOST
    assert not Subscription.objects.exists()
    assert feed(bank).lease_token is None


def test_a_read_that_fails_because_it_was_disconnected_meanwhile_is_not_tried_again(known):
    def disconnect():
        connection_disconnect(connection_id=known.connection.pk, reason="Disconnected by alice")
        assert retired_items_remove() == 1
        tell()

    assert slow_read(known, disconnect) == Outcome.WAITS
    assert feed(known).due_at is None
    assert set(ours(known).values()) == {"unverified"}


@pytest.mark.chaos
def test_a_worker_killed_in_the_middle_is_made_up_for(bank, process):
    bank.fault("hang", path=PATH, seconds=20)
    victim = process("worker-large")
    app.send_task("sync.tasks.read_subscriptions")
    assert wait_until(lambda: bank.simulator.control("GET", "faults")["faults"][0]["hits"] == 1, 20)
    victim.kill()
    assert streams_read(feed(bank).pk) == Outcome.NOTHING  # still claimed
    SubscriptionFeed.objects.update(lease_expires_at=timezone.now())  # its lease runs out
    process("worker-large")
    app.send_task("sync.tasks.read_subscriptions")
    assert wait_until(lambda: feed(bank).read_at is not None, 20)
    assert ours(bank).keys() == told(bank).keys()


# --- the end, and a new beginning ---
def test_disconnecting_leaves_them_unverified_and_nobody_asks_any_more(known):
    gone = stop_one(known)
    read(known)
    connection_disconnect(connection_id=known.connection.pk, reason="Disconnected by alice")
    retired_items_remove()
    tell()
    assert ours(known).pop(gone) == "cancelled"
    assert {status for name, status in ours(known).items() if name != gone} == {"unverified"}
    assert feed(known).due_at is None
    PlaidItem.objects.update(recurring_changed_at=timezone.now())
    assert feeds_due() == []


def relink(bank, alice, **options) -> None:
    made = bank.simulator.control("POST", "items", {"accounts": 2, "life": False} | options)
    public_token_exchange(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        public_token=made["public_token"],
        environment="sandbox",
        connection=bank.connection,
    )
    bank.plaid_id, bank.account_ids = made["item_id"], made["account_ids"]


def test_access_that_was_withdrawn_leaves_them_unverified_and_linking_anew_verifies_the_same_rows(known, alice):
    seed = known.simulator.control("GET", f"items/{known.plaid_id}")["seed"]
    rows = set(Subscription.objects.values_list("pk", flat=True))
    known.fault("error", status=400, error_type="INVALID_INPUT", error_code="USER_PERMISSION_REVOKED")
    assert known.sync() == engine.Outcome.FAILED
    assert read(known) == Outcome.GONE
    assert set(ours(known).values()) == {"unverified"}
    assert feed(known).due_at is None
    relink(known, alice, seed=seed, transactions=400, days=180)
    tell()
    assert known.turn() == engine.Outcome.SYNCED
    assert streams_read(feed(known).pk) == Outcome.READ
    assert ours(known) == dict.fromkeys(told(known), "verified")
    assert set(Subscription.objects.values_list("pk", flat=True)) == rows


# --- what it costs ---
def test_a_sync_without_news_costs_the_same_as_without_subscriptions(known):
    known.sync()
    known.dirty()
    key = known.item.pk
    with CaptureQueriesContext(database) as captured:
        assert engine.sync_item(key, deadline=time.monotonic() + 60) == engine.Outcome.SYNCED
    statements = [query["sql"] for query in captured if not query["sql"].startswith(("BEGIN", "COMMIT"))]
    assert len(statements) == 4
    assert not any("subscription" in sql for sql in statements)


def test_amounts_are_numeric_to_the_last_digit(bank):
    row = Decimal("0.1000000000000000000001")
    spoil(bank, last_amount={"amount": str(row), "iso_currency_code": None, "unofficial_currency_code": "BTC"})
    assert read(bank) == Outcome.READ
    found = Subscription.objects.get()
    assert (found.last_amount, found.currency) == (row, "BTC")
    assert found.average_amount is None  # it was in another currency
