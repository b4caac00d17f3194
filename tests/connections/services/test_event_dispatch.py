"""Handing events over: in order, at least once, whoever dies or fails, and nobody is held up for ever."""

import os
import random
import subprocess
import sys
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection as database
from django.db import transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config import correlation
from config.processes import wait_until
from connections import events, selectors
from connections.errors import Conflict
from connections.events import EventType, event_record, event_subscribe
from connections.models import Connection, DomainEvent, EventDelivery, Workspace
from connections.services import event_dispatch
from tests import plugin

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_handlers(monkeypatch):
    """Only those of the test."""
    monkeypatch.setattr(events, "_handlers", {})


@pytest.fixture
def connect(alice):
    """connect() → another connection of alice's."""
    return lambda: Connection.objects.create(
        workspace=alice.workspace, owner=alice.user, provider="plaid", name="Bank", status="active"
    )


@pytest.fixture
def bank(connect) -> Connection:
    return connect()


def tell(connection: Connection | None, number: int = 0, type_: EventType = EventType.SYNC_FAILED) -> DomainEvent:
    with transaction.atomic():
        made = event_record(type_, connection_id=connection and connection.pk, payload={"number": number})
    return DomainEvent.objects.get(pk=made)


class Listener:
    """A handler that remembers what it got, and fails while `trouble` says so."""

    def __init__(self, name: str = "listener", type_: EventType = EventType.SYNC_FAILED) -> None:
        self.got: list[tuple] = []
        self.trouble = lambda event: False
        event_subscribe(type_, name=name, handler=self)

    def __call__(self, event: DomainEvent) -> None:
        if self.trouble(event):
            raise RuntimeError("no access-sandbox-1-2-3 today")
        self.got.append((event.connection_id, event.payload.get("number")))

    @property
    def numbers(self) -> list[int]:
        return [number for _, number in self.got]


def dispatch(seconds: float = 20) -> int:
    return event_dispatch.events_dispatch(deadline=time.monotonic() + seconds)


def dispatch_until_told(limit_s: float = 20) -> None:
    assert wait_until(lambda: dispatch() >= 0 and not DomainEvent.objects.filter(dispatched_at=None).exists(), limit_s)


def test_an_idle_tick_is_one_query(bank, django_assert_num_queries):
    tell(bank)
    dispatch()
    with django_assert_num_queries(1):
        assert dispatch() == 0


def test_every_handler_gets_the_event_once_under_its_correlation_id(bank):
    first, second, seen = Listener("first"), Listener("second"), []
    event_subscribe(EventType.SYNC_FAILED, name="third", handler=lambda _event: seen.append(correlation.current()))
    with correlation.bound("what-began-it"):
        event = tell(bank, 1)
    dispatch()
    dispatch()
    assert (first.numbers, second.numbers, seen) == ([1], [1], ["what-began-it"])
    event.refresh_from_db()
    assert event.dispatched_at
    assert event.deliveries.filter(delivered_at__isnull=False).count() == 3


def test_an_event_that_nobody_listens_to_is_dispatched_at_once(bank):
    event = tell(bank, type_=EventType.CONNECTION_CREATED)
    assert dispatch() == 1
    event.refresh_from_db()
    assert (bool(event.dispatched_at), event.deliveries.count()) == (True, 0)


def test_a_failure_holds_its_own_line_and_no_other(connect, settings):
    settings.EVENT_BACKOFF_S = settings.BACKOFF_MAX_S = 60
    bank, other, listener = connect(), connect(), Listener()
    listener.trouble = lambda event: event.payload["number"] == 1
    for number in (1, 2):
        tell(bank, number)
        tell(other, number + 10)
        tell(None, number + 20)
    dispatch()
    assert sorted(listener.numbers) == [11, 12, 21, 22]
    waiting = DomainEvent.objects.get(line=bank.pk, sequence=1)
    assert waiting.next_attempt_at > timezone.now()
    assert "access-sandbox" not in waiting.deliveries.get().last_error


def test_those_that_have_it_do_not_get_it_again_with_those_that_failed(bank):
    steady, moody = Listener("steady"), Listener("moody")
    refusals = iter([True, True])
    moody.trouble = lambda event: next(refusals, False)
    tell(bank, 1)
    tell(bank, 2)
    dispatch_until_told()
    assert (steady.numbers, moody.numbers) == ([1, 2], [1, 2])


def test_what_a_failed_handler_wrote_is_gone(bank):
    def half(event: DomainEvent) -> None:
        Workspace.objects.create(slug=f"half-{event.attempts}", name="Half")
        raise RuntimeError

    event_subscribe(EventType.SYNC_FAILED, name="half", handler=half)
    tell(bank)
    dispatch()
    assert not Workspace.objects.filter(slug__startswith="half").exists()


def test_poison_is_parked_and_the_line_goes_on(bank, settings, caplog):
    settings.EVENT_ATTEMPTS, settings.EVENT_BACKOFF_S = 3, 0.01
    listener, healthy = Listener("picky"), Listener("healthy")
    listener.trouble = lambda event: event.payload["number"] == 1
    poison, after = tell(bank, 1), tell(bank, 2)
    dispatch_until_told()
    assert (listener.numbers, healthy.numbers) == ([2], [1, 2])
    poison.refresh_from_db(), after.refresh_from_db()
    assert (bool(poison.parked_at), poison.attempts, after.parked_at) == (True, 3, None)
    assert poison.deliveries.get(handler="picky").attempts == 3
    assert "event_parked" in caplog.text
    assert DomainEvent.objects.count() == 2  # parking tells nothing new
    assert selectors.outbox_lag().parked == 1


def test_a_parked_event_is_offered_again_to_those_that_did_not_take_it(bank, alice, settings):
    settings.EVENT_ATTEMPTS, settings.EVENT_BACKOFF_S = 1, 0.01
    picky, healthy = Listener("picky"), Listener("healthy")
    picky.trouble = lambda event: True
    poison = tell(bank, 1)
    dispatch_until_told()
    picky.trouble = lambda event: False
    event_dispatch.event_retry(event_id=poison.pk, actor=alice.user)
    dispatch_until_told()
    assert (picky.numbers, healthy.numbers) == ([1], [1])
    assert selectors.outbox_lag() == selectors.OutboxLag(waiting=0, oldest_age_s=0, parked=0)
    with pytest.raises(Conflict):
        event_dispatch.event_retry(event_id=poison.pk, actor=alice.user)


def test_an_event_that_kills_its_workers_is_parked_without_being_tried_again(bank, settings):
    settings.EVENT_ATTEMPTS = 3
    listener = Listener()
    event = tell(bank, 1)
    DomainEvent.objects.filter(pk=event.pk).update(attempts=3)  # begun three times, and never ended
    dispatch()
    event.refresh_from_db()
    assert (bool(event.parked_at), listener.numbers) == (True, [])


def test_a_handler_that_is_gone_is_a_failure_like_any_other(bank, settings, monkeypatch):
    settings.EVENT_ATTEMPTS, settings.EVENT_BACKOFF_S = 2, 0.5
    Listener("old").trouble = lambda event: True
    event = tell(bank)
    dispatch()
    monkeypatch.setattr(events, "_handlers", {})
    dispatch_until_told()
    event.refresh_from_db()
    assert event.parked_at
    assert "no handler" in event.deliveries.get().last_error


def test_the_time_is_up_between_events_and_the_rest_is_free_for_the_next(connect):
    listener = Listener()
    for number in range(3):
        tell(connect(), number)
    assert event_dispatch.events_dispatch(deadline=0) == 0
    assert listener.got == []
    assert dispatch() == 3  # nobody has to wait for a lease


def test_dispatchers_at_the_same_time_keep_every_lines_order_and_double_nothing(connect):
    listener, banks = Listener(), [connect() for _ in range(4)]
    chance, lock = random.Random(7), threading.Lock()

    def moody(_event: DomainEvent) -> bool:
        with lock:
            return chance.random() < 0.1

    listener.trouble = moody
    together, failures = threading.Barrier(4), []

    def work() -> None:
        try:
            together.wait(10)
            for number in range(12):
                with transaction.atomic():
                    event_record(
                        EventType.SYNC_FAILED, connection_id=chance.choice(banks).pk, payload={"number": number}
                    )
                dispatch()
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    dispatch_until_told()
    for bank in banks:
        told = [number for line, number in listener.got if line == bank.pk]
        written = DomainEvent.objects.filter(line=bank.pk).order_by("sequence")
        assert told == [event.payload["number"] for event in written]
    assert len(listener.got) == 48


def test_a_dispatcher_that_slept_through_its_lease_leaves_the_handler_to_whoever_runs_it(bank, settings):
    settings.EVENT_BACKOFF_S = 0.01
    inside, go_on, calls = threading.Event(), threading.Event(), []

    def slow(event: DomainEvent) -> None:
        calls.append(event.attempts)
        inside.set()
        assert go_on.wait(20)

    event_subscribe(EventType.SYNC_FAILED, name="slow", handler=slow)
    event = tell(bank)
    sleeper = threading.Thread(target=lambda: (dispatch(), database.close()))
    sleeper.start()
    assert inside.wait(10)
    DomainEvent.objects.filter(pk=event.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    event_dispatch.events_dispatch(deadline=time.monotonic() + 0.2)  # takes it over, and does not wait for the other
    assert calls == [1]
    go_on.set()
    sleeper.join(10)
    dispatch_until_told()
    assert calls == [1]


KILLED = """
import sys, time
import django
django.setup()
from connections.events import EventType, event_subscribe
from connections.models import Workspace
from connections.services.event_dispatch import events_dispatch

def slow(event):
    Workspace.objects.create(slug="half-done", name="Half done")
    print("inside", flush=True)
    time.sleep(60)

event_subscribe(EventType.SYNC_FAILED, name="listener", handler=slow)
events_dispatch(deadline=time.monotonic() + 60)
"""


def test_a_worker_killed_in_the_middle_of_a_handler_leaves_nothing_half_done_and_nothing_undone(bank):
    listener = Listener()
    event = tell(bank, 1)
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings", "LEASE_S": "1"}
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=plugin.BASE_DIR, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert "inside" in worker.stdout.readline()
    worker.kill()
    worker.wait(10)
    worker.stdout.close()
    assert dispatch() == 0 or listener.numbers == [1]  # held by the dead until its lease runs out
    dispatch_until_told()
    assert listener.numbers == [1]
    assert not Workspace.objects.filter(slug="half-done").exists()
    event.refresh_from_db()
    assert event.attempts == 2


def test_the_lag_is_read_in_one_query_whatever_was_told_before(bank, django_assert_num_queries):
    Listener()
    for number in range(3):
        tell(bank, number)
    dispatch()
    assert selectors.outbox_lag() == selectors.OutboxLag(waiting=0, oldest_age_s=0, parked=0)
    late = tell(bank, 9)
    DomainEvent.objects.filter(pk=late.pk).update(occurred_at=timezone.now() - timedelta(seconds=90))
    with django_assert_num_queries(1):
        lag = selectors.outbox_lag()
    assert (lag.waiting, lag.parked) == (1, 0)
    assert 90 <= lag.oldest_age_s < 120


def test_what_everybody_has_is_forgotten_in_time_and_what_is_parked_is_not(bank, settings):
    settings.EVENT_ATTEMPTS = 1
    listener = Listener()
    listener.trouble = lambda event: event.payload["number"] == 1
    for number in (1, 2, 3):
        tell(bank, number)
    dispatch()
    DomainEvent.objects.exclude(sequence=3).update(dispatched_at=timezone.now() - timedelta(days=31))
    assert event_dispatch.events_purge(limit=1) == 1
    assert sorted(DomainEvent.objects.values_list("sequence", flat=True)) == [1, 3]
    assert EventDelivery.objects.count() == 2


def test_heads_are_found_by_one_probe_a_line(bank, connect, owner_connection):
    """Whatever waits behind a head that is not due, nobody looks at it."""
    with database.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO connections_domainevent (id, workspace_id, connection_id, line, sequence, type, version, payload,
                correlation_id, occurred_at, attempts, next_attempt_at, dispatched_at)
            SELECT gen_random_uuid(), %(workspace)s, %(bank)s, %(bank)s, number, 'SyncFailed', 1, '{}', '', now(), 0,
                CASE WHEN number = 30001 THEN now() + interval '1 hour' END, CASE WHEN number <= 30000 THEN now() END
            FROM generate_series(1, 40000) number
            """,
            {"workspace": bank.workspace_id, "bank": bank.pk},
        )
    tell(connect())
    owner_connection.execute("ANALYZE connections_domainevent")
    with database.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + event_dispatch._CLAIM,
            {"limit": 50, "token": "019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20", "lease_s": 1},
        )
        plan = cursor.fetchone()[0]
    read = []

    def walk(node: dict) -> None:
        if node.get("Relation Name"):
            read.append(SimpleNamespace(rows=node["Actual Rows"] * node["Actual Loops"], kind=node["Node Type"]))
        for child in node.get("Plans", []):
            walk(child)

    walk(plan[0]["Plan"])
    assert sum(node.rows for node in read) < 50, read


def test_a_commit_with_listeners_wakes_a_dispatcher(bank, monkeypatch):
    woken = []
    monkeypatch.setattr(events, "wake", woken.append)
    tell(bank)
    assert woken == []
    Listener()
    tell(bank)
    assert woken == ["connections.tasks.events_dispatch"]


def test_handing_one_event_to_one_handler_costs_ten_statements_at_most(bank):
    Listener()
    tell(bank)
    with CaptureQueriesContext(database) as queries:
        dispatch()
    statements = [q["sql"] for q in queries if not q["sql"].startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))]
    assert len(statements) <= 10, statements
