"""What a connection's life tells, event by event, and what it keeps to itself."""

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from connections.models import Connection, DomainEvent
from connections.services import pausing
from connections.services.plaid_items import relink_completed
from sync import claimed_run
from sync.engine import Outcome

pytestmark = pytest.mark.django_db(transaction=True)


def told(bank, after: int = 0) -> list[str]:
    events = DomainEvent.objects.filter(connection=bank.connection, sequence__gt=after).order_by("sequence")
    return [event.type for event in events]


def last(bank) -> DomainEvent:
    return DomainEvent.objects.filter(connection=bank.connection).latest("sequence")


def test_an_exchange_tells_that_a_connection_was_created_and_is_active(bank):
    assert told(bank) == ["ConnectionCreated", "ConnectionActivated"]
    created = DomainEvent.objects.get(type="ConnectionCreated")
    assert created.payload == {"provider": "plaid", "environment": "sandbox"}


def test_a_sync_with_news_tells_its_ledger_within_the_statement_that_ends_the_run(bank):
    bank.turn()
    event = last(bank)
    assert (event.type, event.payload["recovered"]) == ("SyncSucceeded", False)
    assert event.payload["run_id"] == str(bank.run.pk)
    assert event.payload["created"] == bank.run.records_created == 30
    assert event.correlation_id == bank.run.correlation_id
    bank.add()
    with CaptureQueriesContext(database) as queries:
        assert bank.sync() == Outcome.SYNCED
    assert [q for q in queries if "connections_domainevent" in q["sql"] and "sync_syncrun" not in q["sql"]] == []
    assert told(bank, after=event.sequence) == ["SyncSucceeded"]


def test_a_sync_without_news_tells_nothing(bank):
    bank.turn()
    seen = last(bank).sequence
    assert bank.sync() == Outcome.SYNCED
    assert told(bank, after=seen) == []
    bank.connection.refresh_from_db()
    assert bank.connection.event_seq == seen


def test_a_failure_is_told_and_so_is_the_recovery_that_brings_no_news(bank):
    bank.turn()
    seen = last(bank).sequence
    bank.fault("error", status=500, error_type="API_ERROR", error_code="INTERNAL_SERVER_ERROR", times=1)
    assert bank.sync() == Outcome.FAILED
    assert told(bank, after=seen) == ["SyncFailed"]
    failed = last(bank)
    assert failed.payload["run_id"] == str(bank.run.pk)
    assert (failed.payload["failures"], failed.payload["status"]) == (1, "active")
    assert bank.sync() == Outcome.SYNCED
    assert told(bank, after=failed.sequence) == ["SyncSucceeded"]
    assert last(bank).payload["recovered"] is True


def test_a_login_that_ended_asks_for_its_owner_and_its_repair_is_told(bank):
    bank.turn()
    seen = last(bank).sequence
    bank.control("state", login_required=True)
    assert bank.sync() == Outcome.FAILED
    assert told(bank, after=seen) == ["ReauthRequired", "SyncFailed"]
    required = DomainEvent.objects.get(type="ReauthRequired")
    assert required.payload["was"] == "active"
    assert required.payload["code"].startswith("bank_")
    relink_completed(connection=bank.connection)
    assert last(bank).type == "ConnectionActivated"
    assert last(bank).payload["was"] == "needs_reauth"


def test_a_pause_is_nobodys_news_and_its_end_is(bank, alice):
    seen = last(bank).sequence
    pausing.connection_pause(connection_id=bank.connection.pk, actor=alice.user)
    assert told(bank, after=seen) == []
    pausing.connection_resume(connection_id=bank.connection.pk, actor=alice.user)
    assert told(bank, after=seen) == ["ConnectionActivated"]


def test_a_worker_that_lost_its_claim_tells_nothing(bank, monkeypatch):
    seen = last(bank).sequence
    run_end = claimed_run.run_end

    def taken_over(held, *rest):
        Connection.objects.filter(pk=held.connection_id).update(failure_count=2)
        bank.item.__class__.objects.filter(pk=held.item_id).update(lease_token=None)
        run_end(held, *rest)

    monkeypatch.setattr("sync.engine.run_end", taken_over)
    assert bank.turn() == Outcome.LOST
    assert told(bank, after=seen) == []
