"""Real workers on a real broker: races, kills, stalls, and a broker that forgets everything."""

import os
import signal
import time

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection as database

from config.celery import app
from config.processes import wait_until
from connections.models import PlaidItem
from sync.models import RunStatus, SyncRun

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.chaos]


def is_synced(bank) -> bool:
    item = bank.item
    return item.last_synced_at is not None and not item.is_dirty


def offer(*banks, times: int = 1) -> None:
    for _ in range(times):
        app.send_task("sync.tasks.execute_large", args=[[str(bank.item.pk) for bank in banks]])


def sync_calls(bank) -> list[dict]:
    log = bank.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"]
    return [row for row in log if row["path"] == "/transactions/sync"]


def assert_whole(bank) -> None:
    bank.assert_equal_to_source()
    runs = SyncRun.objects.filter(connection=bank.connection)
    assert all(run.ledger_balanced for run in runs)
    assert runs.filter(status=RunStatus.RUNNING).count() == 0


def test_a_dispatched_bank_is_synced_by_a_worker(link, process):
    bank = link(transactions=700)
    process("worker")
    app.send_task("sync.tasks.dispatch")
    assert wait_until(lambda: is_synced(bank), 20)
    assert_whole(bank)
    assert {row["correlation_id"] for row in sync_calls(bank)} == {bank.run.correlation_id}


def test_two_workers_racing_for_one_item_do_its_work_once(link, process):
    bank = link(transactions=3000)
    bank.fault("latency", seconds=0.05, times=100)
    process("worker-large")
    process("worker-large")
    offer(bank, times=8)
    assert wait_until(lambda: is_synced(bank), 30)
    time.sleep(0.5)
    assert_whole(bank)
    assert SyncRun.objects.count() == 1
    assert len(sync_calls(bank)) == 6


def test_a_worker_killed_in_the_middle_is_taken_over(link, process):
    bank = link(transactions=3000)
    bank.fault("latency", seconds=0.4, times=4)
    victim = process("worker-large")
    offer(bank)
    assert wait_until(lambda: SyncRun.objects.filter(page_count__gte=2).exists(), 20)
    victim.kill()
    killed_at = time.monotonic()
    bank.simulator.control("DELETE", "faults")
    process("worker-large")
    process("worker")
    while not is_synced(bank) and time.monotonic() < killed_at + 60:
        app.send_task("sync.tasks.dispatch")
        offer(bank)
        time.sleep(0.3)
    assert_whole(bank)
    assert SyncRun.objects.count() == 1  # the same run went on, after its last whole page
    assert len(sync_calls(bank)) <= 8


def test_a_stalled_worker_that_wakes_after_takeover_changes_nothing(link, process):
    bank = link(transactions=3000)
    bank.fault("latency", seconds=0.4, times=4)
    sleeper = process("worker-large")
    offer(bank)
    assert wait_until(lambda: SyncRun.objects.filter(page_count__gte=2).exists(), 20)
    os.killpg(sleeper.pid, signal.SIGSTOP)
    try:
        bank.simulator.control("DELETE", "faults")
        process("worker-large")
        stopped_at = time.monotonic()
        while not is_synced(bank) and time.monotonic() < stopped_at + 40:
            offer(bank)
            time.sleep(0.3)
        assert_whole(bank)
        before = PlaidItem.objects.values().get(pk=bank.item.pk)
    finally:
        os.killpg(sleeper.pid, signal.SIGCONT)
    assert wait_until(lambda: "lease_lost" in sleeper.output() or not sleeper.is_running, 15)
    assert PlaidItem.objects.values().get(pk=bank.item.pk) == before
    assert_whole(bank)


def test_wiping_the_broker_loses_nothing(link, process):
    bank = link(transactions=40)
    process("beat")
    process("worker")
    assert wait_until(lambda: is_synced(bank), 30)
    bank.add(name="After the flood")
    bank.dirty()
    redis.Redis.from_url(django_settings.REDIS_URL).flushdb()
    assert wait_until(lambda: is_synced(bank), 30)
    assert_whole(bank)


@pytest.fixture(autouse=True)
def _no_leftover_locks():
    yield
    database.close()
