"""Shared windows, counted together while Redis is there and carefully alone while it is not."""

import pytest

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
