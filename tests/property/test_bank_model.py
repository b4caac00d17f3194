"""Whatever happens at a bank, in whatever order, and wherever a sync is cut short: once settled, we have what it has."""

from collections import Counter
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import run_state_machine_as_test

from connections.providers.plaid import client
from tests.property.machine import PAGE_SIZE, READINESS, BankMachine

pytestmark = pytest.mark.django_db(transaction=True)

# What has to have had an effect in three hundred sequences, at least: a rule that never bites proves nothing. Whatever
# Hypothesis chooses, `walk_once` sees to each of them once.
OFTEN = {
    "a settled sync": 180,
    "a sync of several pages": 30,
    "a turn continues": 6,
    "a turn failed": 6,
    "a loop began again": 4,
    "a replay": 2,
    "an account churned": 4,
    "a removed row came back": 2,
    "a note followed a posting": 2,
    "a note followed a churn": 2,
    "a posting spread over two pages": 2,
    "what an aborted page had told was withdrawn": 2,
}


@pytest.fixture
def small_pages(monkeypatch, settings, simulator):
    """Once for all sequences: each assignment to `settings` nests deeper."""
    settings.PLAID_SYNC_PER_ITEM_MINUTE = settings.PLAID_SYNC_PER_CLIENT_MINUTE = 10**6
    settings.PLAID_ACCOUNTS_PER_ITEM_MINUTE = 10**6
    settings.SYNC_RESTART_JITTER_S = 0
    settings.BACKOFF_BASE_S = settings.BACKOFF_MAX_S = 0.01
    monkeypatch.setattr(client, "PAGE_SIZE", PAGE_SIZE)
    simulator.control("POST", "limits", {"enabled": False})


def walk_once(machine: BankMachine) -> None:
    """Everything that is told about in this file's list, one after the other."""
    machine.begin(is_synced=True)
    for _ in READINESS:
        machine.more_arrives()
        machine.sync()
    for others in range(PAGE_SIZE + 1):
        machine.post(number=others, others=others, order="removed_first", is_noted=True)
        machine.sync()
    machine.replace(number=0, is_noted=True)
    machine.sync()
    for how in ("cut short", "failed"):
        machine.tell_and_withdraw(number=0, how=how)
        machine.sync()
    for account in range(2):
        machine.rename_account(number=account)
        machine.remove(number=account)
        machine.sync()
        machine.re_add(number=-1)
        machine.disown()
        machine.sync()
    machine.teardown()


def hold(link, raw_log: bool, ready: str, *, sequences: int, steps: int, is_shrunk: bool = False) -> None:
    """Run so many sequences; then every kind of trouble must have had an effect often enough."""
    seen: Counter[str] = Counter()
    options = hypothesis_settings(
        max_examples=sequences,
        stateful_step_count=steps,
        phases=[Phase.generate, *([Phase.shrink] if is_shrunk else [])],  # shrinking may take minutes
        deadline=None,
        report_multiple_bugs=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    walk_once(BankMachine(link, seen, raw_log=raw_log, ready=ready))
    assert [what for what in OFTEN if not seen[what]] == []
    run_state_machine_as_test(partial(BankMachine, link, seen, raw_log=raw_log, ready=ready), settings=options)
    rare = {what: seen[what] for what, wanted in OFTEN.items() if seen[what] < max(1, wanted * sequences // 300)}
    assert rare == {}, sorted(seen.items())


@pytest.mark.parametrize("ready", READINESS)
@pytest.mark.parametrize("raw_log", [False, True], ids=["collapsed", "raw"])
def test_after_every_settled_sync_we_have_what_the_bank_has(link, small_pages, raw_log, ready):
    hold(link, raw_log, ready, sequences=50, steps=10)


@pytest.mark.long
@pytest.mark.parametrize("ready", READINESS)
@pytest.mark.parametrize("raw_log", [False, True], ids=["collapsed", "raw"])
def test_after_every_settled_sync_we_have_what_the_bank_has_at_length(link, small_pages, raw_log, ready):
    hold(link, raw_log, ready, sequences=334, steps=25, is_shrunk=True)
