"""Shared windows, counted together while Redis is there and carefully alone while it is not."""

import time

import pytest

from config.processes import wait_until
from connections import budgets

KEY = ("test", "budget")


@pytest.fixture(autouse=True)
def fresh(servers, settings, monkeypatch, request):
    settings.BUDGET_NAMESPACE = request.node.name
    budgets._shared.cache_clear()
    budgets._alone.cache_clear()
    monkeypatch.setattr(budgets, "_away_until", 0.0)
    yield
    budgets._shared.cache_clear()
    budgets._alone.cache_clear()


def test_a_budget_runs_out_and_says_for_how_long():
    assert [budgets.take(*KEY, per_minute=3) for _ in range(3)] == [0, 0, 0]
    assert 0 < budgets.take(*KEY, per_minute=3) <= 61


def test_two_processes_share_one_budget():
    for _ in range(3):
        budgets.take(*KEY, per_minute=3)
    budgets._shared.cache_clear()  # another process has its own connection and the same window
    assert budgets.take(*KEY, per_minute=3) > 0


def test_keys_do_not_touch_each_other():
    budgets.take(*KEY, per_minute=1)
    assert budgets.take("test", "other", per_minute=1) == 0


def test_without_redis_each_process_keeps_to_a_quarter(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert [budgets.take(*KEY, per_minute=8) == 0 for _ in range(3)] == [True, True, False]
    assert budgets._away_until > 0


def test_it_asks_redis_again_after_a_while(settings, monkeypatch):
    url = settings.REDIS_URL
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    budgets.take(*KEY, per_minute=8)
    settings.REDIS_URL = url
    budgets._shared.cache_clear()
    monkeypatch.setattr(budgets, "_away_until", 0.0)
    assert [budgets.take(*KEY, per_minute=3) for _ in range(3)] == [0, 0, 0]


def test_only_so_many_sit_at_once_and_a_seat_is_free_again_afterwards():
    seats = {"at_most": 2, "held_s": 5, "wait_s": 0}
    with budgets.seat(*KEY, **seats) as first, budgets.seat(*KEY, **seats) as second:
        with budgets.seat(*KEY, **seats) as third:
            assert (first, second, third) == (True, True, False)
        with budgets.seat(*KEY, **seats) as fourth:
            assert not fourth  # who had no seat gives none back
    with budgets.seat(*KEY, **seats) as later:
        assert later


def test_the_seat_of_somebody_who_died_is_free_after_its_time():
    assert budgets._sit("causeway:seat:dead", "somebody", 1, 0.2)
    assert not budgets._sit("causeway:seat:dead", "me", 1, 0.2)
    time.sleep(0.25)
    assert budgets._sit("causeway:seat:dead", "me", 1, 0.2)


def test_without_redis_nobody_waits_for_a_seat(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with budgets.seat(*KEY, at_most=0, held_s=5, wait_s=5) as is_seated:
        assert is_seated


def test_a_budget_of_seconds_is_there_again_after_one():
    assert [budgets.take_this_second(*KEY, per_second=2) for _ in range(2)] == [0, 0]
    assert 0 < budgets.take_this_second(*KEY, per_second=2) <= 2
    assert wait_until(lambda: budgets.take_this_second(*KEY, per_second=2) == 0, 5)
