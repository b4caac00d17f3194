"""A paused bank: nothing of it is read, whatever comes in, and everything is read once it is resumed."""

import pytest
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from connections.models import Connection, DomainEvent, PlaidItem
from connections.models.connection import Status
from connections.services.pausing import connection_pause, connection_resume
from connections.services.plaid_news import permission_revoked
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


def test_what_needed_its_owner_before_the_pause_asks_for_them_again_at_once(link, alice):
    """A webhook had told of it, so that nothing else would have the bank read."""
    bank = link(transactions=1, accounts=1)
    bank.sync()
    bank.control("state", login_required=True)
    Connection.objects.update(status=Status.NEEDS_REAUTH, error_code="bank_sign_in_required")
    connection_pause(connection_id=bank.connection.pk, actor=alice.user)
    connection_resume(connection_id=bank.connection.pk, actor=alice.user)
    assert items_offer().small == [bank.item.pk]
    assert bank.turn() == engine.Outcome.FAILED
    assert Connection.objects.get().status == Status.NEEDS_REAUTH


def test_access_that_was_withdrawn_during_a_pause_has_failed_after_it(link, alice):
    bank = link(transactions=1, accounts=1)
    bank.sync()
    connection_pause(connection_id=bank.connection.pk, actor=alice.user)
    with transaction.atomic():
        row, item = Connection.objects.get(), PlaidItem.objects.get()
        permission_revoked(row, item, provider_code="USER_PERMISSION_REVOKED", told_at=timezone.now())
    connection_resume(connection_id=bank.connection.pk, actor=alice.user)
    row = Connection.objects.get()
    assert (row.status, row.error_code) == (Status.FAILED, "bank_revoked")
    told = DomainEvent.objects.filter(type="SyncFailed").order_by("sequence").last()
    assert told.payload == {"code": "bank_revoked", "status": "failed", "failures": 1, "is_quiet": False}


@pytest.mark.parametrize(
    ("status", "ended"), [("draft", 0), ("verified", 0), ("paused", 0), ("active", 0), ("disconnected", 1)]
)
def test_runs_wait_while_new_settings_are_a_draft(alice, status, ended):
    shop = make_shop(alice, status=status)
    run = SyncRun.objects.create(workspace=shop.workspace, connection=shop, trigger=Trigger.USER, parameters_hash="x")
    assert runs_sweep() == ended
    run.refresh_from_db()
    assert run.status == (RunStatus.CANCELLED if ended else RunStatus.QUEUED)
