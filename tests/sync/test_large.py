"""A bank with a hundred thousand transactions, read whole in flat memory."""

import psutil
import pytest

from sync.engine import Outcome
from sync.models import StagedPage, Transaction

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

ROWS = 100_000
MB = 1024 * 1024


def test_a_hundred_thousand_transactions_arrive_whole_in_flat_memory(link, settings, simulator):
    settings.PLAID_SYNC_PER_ITEM_MINUTE = settings.PLAID_SYNC_PER_CLIENT_MINUTE = 10**6
    settings.LEASE_S = 30
    simulator.control("POST", "limits", {"enabled": False})
    bank = link(transactions=ROWS, days=1500)
    assert bank.turn(seconds=0) == Outcome.CONTINUES  # the first page warms everything up
    before = psutil.Process().memory_info().rss
    assert bank.turn(seconds=300) == Outcome.SYNCED
    grown = psutil.Process().memory_info().rss - before
    assert Transaction.objects.filter(archived=False).count() == ROWS
    assert bank.run.records_created == ROWS
    assert bank.run.ledger_balanced
    assert not StagedPage.objects.exists()
    assert grown < 40 * MB
    bank.dirty()
    assert bank.turn() == Outcome.SYNCED
    assert bank.run.records_fetched == 0
