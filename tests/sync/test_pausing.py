"""A paused bank: nothing of it is read, whatever comes in, and everything is read once it is resumed."""

import pytest
from django.db.models import F

from connections.models import PlaidItem
from connections.services.pausing import connection_pause, connection_resume
from sync import engine
from sync.models import RunStatus, SyncRun, Transaction, Trigger
from sync.services.dispatch import items_offer, items_poll, items_schedule, runs_sweep
from sync.services.runs import run_request
from tests.connections.api.scene import make_shop

pytestmark = pytest.mark.django_db(transaction=True)


def test_news_of_a_paused_bank_are_kept_and_read_on_resume(link, alice):
    bank = link(transactions=3, accounts=1)
    bank.sync()
    waiting = run_request(connection_id=bank.connection.pk, trigger=Trigger.USER, requested_by=alice.user)
    connection_pause(connection_id=bank.connection.pk, actor=alice.user)
    bank.add(amount=12.34)
    PlaidItem.objects.update(dirty_seq=F("dirty_seq") + 1, offered_until=None)  # as its webhook does
    assert items_offer().small == []
    assert (items_poll(), items_schedule()) == (0, 0)
    assert bank.turn() == engine.Outcome.NOTHING
    assert runs_sweep() == 0
    waiting.refresh_from_db()
    assert waiting.status == RunStatus.QUEUED
    connection_resume(connection_id=bank.connection.pk, actor=alice.user)
    assert items_offer().small == [bank.item.pk]
    bank.turn()
    waiting.refresh_from_db()
    assert waiting.status == RunStatus.SUCCEEDED
    assert {str(amount) for amount in Transaction.objects.values_list("amount", flat=True)} >= {"12.34"}


@pytest.mark.parametrize(
    ("status", "ended"), [("draft", 0), ("verified", 0), ("paused", 0), ("active", 0), ("disconnected", 1)]
)
def test_runs_wait_while_new_settings_are_a_draft(alice, status, ended):
    shop = make_shop(alice, status=status)
    run = SyncRun.objects.create(workspace=shop.workspace, connection=shop, trigger=Trigger.USER, parameters_hash="x")
    assert runs_sweep() == ended
    run.refresh_from_db()
    assert run.status == (RunStatus.CANCELLED if ended else RunStatus.QUEUED)
