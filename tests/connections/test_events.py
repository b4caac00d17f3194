"""Writing an event: in the transaction of the change or not at all, numbered in its line, without secrets."""

import threading
from uuid import UUID

import pytest
from django.db import connection as database
from django.db import transaction
from django.db.transaction import TransactionManagementError

from config import correlation
from connections import events, tenancy
from connections.events import INSTALLATION, EventType, event_record, event_subscribe
from connections.models import Connection, DomainEvent

pytestmark = pytest.mark.django_db


@pytest.fixture
def bank(alice) -> Connection:
    return Connection.objects.create(workspace=alice.workspace, owner=alice.user, provider="plaid", name="Bank")


def test_an_event_carries_its_place_its_payload_and_the_correlation_id(bank):
    with correlation.bound("asked-for-this"):
        event_id = event_record(EventType.SYNC_FAILED, connection_id=bank.pk, payload={"code": "x", "run": UUID(int=7)})
    event = DomainEvent.objects.get(pk=event_id)
    assert (event.type, event.version, event.line, event.sequence) == ("SyncFailed", 1, bank.pk, 1)
    assert (event.workspace_id, event.connection_id) == (bank.workspace_id, bank.pk)
    assert event.payload == {"code": "x", "run": str(UUID(int=7))}
    assert event.correlation_id == "asked-for-this"
    assert event.dispatched_at is None


def test_nothing_secret_gets_into_a_payload(bank):
    said = {"detail": "refused access-sandbox-1-2-3", "nested": {"access_token": "whatever it is"}}
    event_record(EventType.SYNC_FAILED, connection_id=bank.pk, payload=said)
    assert "access-sandbox" not in str(DomainEvent.objects.get().payload)
    assert "whatever" not in str(DomainEvent.objects.get().payload)


def test_numbers_grow_by_one_in_each_line(bank, alice):
    shop = Connection.objects.create(workspace=alice.workspace, owner=alice.user, provider="woocommerce", name="Shop")
    for place in (bank, shop, bank):
        event_record(EventType.SYNC_FAILED, connection_id=place.pk)
    for workspace_id in (alice.workspace.pk, None, alice.workspace.pk):
        event_record(EventType.INCIDENT_OPENED, workspace_id=workspace_id)
    lines = {}
    for line, sequence in DomainEvent.objects.order_by("sequence").values_list("line", "sequence"):
        lines.setdefault(line, []).append(sequence)
    assert lines == {bank.pk: [1, 2], shop.pk: [1], alice.workspace.pk: [1, 2], INSTALLATION: [1]}


def test_a_row_that_was_read_before_does_not_turn_the_numbers_back(bank):
    event_record(EventType.SYNC_FAILED, connection_id=bank.pk)
    bank.name = "Renamed"
    bank.save()  # all its columns, the number among them
    event_record(EventType.SYNC_FAILED, connection_id=bank.pk)
    assert list(DomainEvent.objects.order_by("sequence").values_list("sequence", flat=True)) == [1, 2]


def test_a_tenant_writes_events_of_its_own_workspace_only(bank, charlie):
    foreign = Connection.objects.create(workspace=charlie.workspace, owner=charlie.user, provider="plaid", name="His")
    tenancy.enter(bank.workspace_id)
    event_record(EventType.CONNECTION_CREATED, connection_id=bank.pk)
    event_record(EventType.INCIDENT_OPENED, workspace_id=bank.workspace_id)
    with pytest.raises(ValueError, match="no connection"):
        event_record(EventType.CONNECTION_CREATED, connection_id=foreign.pk)
    tenancy.leave()
    assert DomainEvent.objects.count() == 2


def test_two_handlers_of_one_name_are_a_mistake(monkeypatch):
    monkeypatch.setattr(events, "_handlers", {})
    first, second = (lambda _event: None), (lambda _event: None)
    event_subscribe(EventType.SYNC_FAILED, EventType.REAUTH_REQUIRED, name="alerts", handler=first)
    event_subscribe(EventType.SYNC_FAILED, name="alerts", handler=first)
    with pytest.raises(ValueError, match="alerts"):
        event_subscribe(EventType.SYNC_FAILED, name="alerts", handler=second)
    assert events.handlers_of("SyncFailed") == {"alerts": first}
    assert events.handlers_of("FromTheFuture") == {}


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_of_a_transaction_is_refused(bank):
    with pytest.raises(TransactionManagementError):
        event_record(EventType.SYNC_FAILED, connection_id=bank.pk)


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_leaves_no_event_and_no_gap(bank):
    class Broken(Exception):
        pass

    with pytest.raises(Broken), transaction.atomic():
        event_record(EventType.SYNC_FAILED, connection_id=bank.pk)
        raise Broken
    assert DomainEvent.objects.count() == 0
    with transaction.atomic():
        event_record(EventType.SYNC_FAILED, connection_id=bank.pk)
    assert DomainEvent.objects.get().sequence == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_workspace", [False, True])
def test_writers_at_the_same_time_queue_for_their_numbers(bank, is_workspace):
    whose = {"workspace_id": bank.workspace_id} if is_workspace else {"connection_id": bank.pk}
    together, failures = threading.Barrier(4), []

    def write() -> None:
        try:
            together.wait(10)
            for _ in range(10):
                with transaction.atomic():
                    event_record(EventType.SYNC_FAILED, **whose)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert sorted(DomainEvent.objects.values_list("sequence", flat=True)) == list(range(1, 41))
