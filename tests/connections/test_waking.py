"""A wake-up call is sent after the commit, quickly, and its loss is nobody's problem."""

import time

import pytest
import redis
from django.conf import settings as django_settings
from django.db import transaction

from config.celery import app
from config.processes import wait_until
from connections import waking

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broker(servers):
    waking._local.connection = None
    client = redis.Redis.from_url(django_settings.REDIS_URL)
    client.flushdb()
    yield client
    client.flushdb()
    waking._local.connection = None


def waiting(broker) -> int:
    return sum(broker.llen(key) for key in broker.keys("*") if broker.type(key) == b"list")


def test_nothing_is_sent_before_the_commit(broker):
    with transaction.atomic():
        waking.wake("sync.tasks.dispatch")
        assert waiting(broker) == 0
    assert waiting(broker) == 1


def test_a_rollback_sends_nothing(broker):
    with transaction.atomic():
        waking.wake("sync.tasks.dispatch")
        transaction.set_rollback(True)
    assert waiting(broker) == 0


@pytest.mark.parametrize(
    "url", ["redis+socket:///nonexistent/valkey.sock", "redis://127.0.0.1:1/0", "redis://10.255.255.1:6379/0"]
)
def test_a_broker_that_is_away_costs_a_moment_and_no_error(broker, monkeypatch, url):
    monkeypatch.setattr(waking.current_app, "connection_for_write", lambda: app.connection(url))
    began = time.monotonic()
    waking.wake("sync.tasks.dispatch")
    assert time.monotonic() - began < 1.5
    assert waking._local.connection is None
    assert waiting(broker) == 0


def test_a_web_process_sends_one_message_for_all_of_a_moment(broker, settings):
    settings.IS_WEB = True
    began = time.monotonic()
    for _ in range(500):
        waking.wake("sync.tasks.dispatch")
        waking.wake("webhooks.tasks.sweep")
    took = time.monotonic() - began
    assert wait_until(lambda: waiting(broker) >= 2, 5)
    time.sleep(waking.MOMENT_S * 3)
    assert 2 <= waiting(broker) <= 2 * (took / waking.MOMENT_S + 2)


def test_the_last_call_of_a_storm_is_sent(broker, settings):
    settings.IS_WEB = True
    waking.wake("sync.tasks.dispatch")
    assert wait_until(lambda: waiting(broker) == 1, 5)
    waking.wake("sync.tasks.dispatch")
    assert wait_until(lambda: waiting(broker) == 2, 5)


def test_a_broker_that_is_away_holds_up_no_request(broker, settings, monkeypatch):
    settings.IS_WEB = True
    monkeypatch.setattr(
        waking.current_app, "connection_for_write", lambda: app.connection("redis://10.255.255.1:6379/0")
    )
    began = time.monotonic()
    waking.wake("sync.tasks.dispatch")
    assert time.monotonic() - began < 0.1
