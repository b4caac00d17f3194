"""Flows with real workers, killed and raced: nothing is doubled, nothing is lost, and the simulators' journals say so."""

import random
import time

import pytest
import redis
from django.conf import settings as django_settings
from django.db import connection as database
from django.utils import timezone

from config.celery import app
from config.processes import wait_until
from connections.services.record_news import record_news_mark
from sync.models import RunStatus, SyncRun, WriteIntent
from tests.sync.flows.conftest import (  # noqa: F401 - fixtures
    ENTITIES,
    _project,
    make_world,
    open_shop,
    private_networks_allowed,
    store,
)

pytestmark = pytest.mark.django_db(transaction=True)
FAST = {"LEASE_S": "1", "OFFER_S": "0.3", "BACKOFF_BASE_S": "0.2", "TICK_S": "1"}


def is_over(runs: list) -> bool:
    database.close()
    open_ = SyncRun.objects.filter(flow__isnull=False, status__in=(RunStatus.QUEUED, RunStatus.RUNNING))
    app.send_task("sync.tasks.dispatch_flows")
    return not open_.exists() and all(SyncRun.objects.get(pk=run.pk).finished_at for run in runs)


def is_on_its_way() -> bool:
    """A write was sent, and nobody knows yet what became of it."""
    database.close()
    return WriteIntent.objects.filter(confirmed_at=None, sent_at__isnull=False).exists()


def test_everything_arrives_once_though_workers_are_killed_while_they_write_and_at_random(make_world, process):  # noqa: F811
    world = make_world(orders=260, products=12, customers=20)
    world.store.fault("latency", seconds=0.5, times=3)
    runs = [world.ask(entity) for entity in ENTITIES]
    victim = process("worker", **FAST)
    app.send_task("sync.tasks.dispatch_flows")
    assert wait_until(is_on_its_way, 20)
    victim.kill()
    other, last = process("worker", **FAST), process("worker", **FAST)
    app.send_task("sync.tasks.dispatch_flows")
    time.sleep(random.uniform(0.2, 1.5))  # any moment will do
    other.kill()
    assert wait_until(lambda: is_over(runs), 60), last.output()[-3000:]
    assert WriteIntent.objects.filter(attempts__gte=2).exists()
    world.assert_arrived()
    rows = world.store.rows("orders")
    assert len(rows) == len({row["source_id"] for row in rows})
    ended = SyncRun.objects.filter(pk__in=[run.pk for run in runs])
    assert {run.status for run in ended} == {RunStatus.SUCCEEDED}
    mark = world.mark()
    again = [world.ask(entity) for entity in ENTITIES]
    assert wait_until(lambda: is_over(again), 30)
    assert world.calls(mark) == []


def test_news_reach_the_store_through_beat_and_a_worker_also_after_the_broker_was_wiped(make_world, process):  # noqa: F811
    world = make_world(orders=5)
    world.sync()
    process("beat")
    process("worker", **FAST)
    redis.Redis.from_url(django_settings.REDIS_URL).flushdb()
    [order] = world.shop.ops({"op": "place"})
    record_news_mark(world.flow.source, "orders", told_at=timezone.now())
    assert wait_until(lambda: str(order) in world.at_store("orders"), 30)


@pytest.fixture(autouse=True)
def _no_leftover_locks():
    yield
    database.close()
