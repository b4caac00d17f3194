"""Logins that need their owner are asked about daily, and work again as soon as Plaid says so."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Connection, PlaidItem
from connections.models.connection import Status
from connections.services.disconnecting import connection_disconnect
from connections.services.plaid_probe import items_probe
from sync.engine import Outcome

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stopped(bank):
    """It needs its owner since long ago."""
    bank.sync()
    bank.control("state", login_required=True)
    bank.sync()
    bank.connection.refresh_from_db()
    assert bank.connection.status == Status.NEEDS_REAUTH
    make_due()
    return bank


def make_due() -> None:
    long_ago = timezone.now() - timedelta(days=2)
    PlaidItem.objects.update(reauth_needed_at=long_ago)
    PlaidItem.objects.exclude(probed_at=None).update(probed_at=long_ago)


def probe() -> int:
    return items_probe(deadline=time.monotonic() + 30)


def asked(bank) -> int:
    log = bank.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"]
    return sum(row["path"] == "/item/get" for row in log)


def status(bank) -> str:
    bank.connection.refresh_from_db()
    return bank.connection.status


def test_one_that_was_repaired_without_a_word_is_active_again_and_syncs(stopped):
    stopped.control("state", login_required=False)
    assert probe() == 1
    assert (status(stopped), stopped.connection.error_code) == (Status.ACTIVE, "")
    assert (stopped.item.reauth_needed_at, stopped.item.is_dirty) == (None, True)
    assert stopped.turn() == Outcome.SYNCED


def test_one_that_still_needs_its_owner_is_asked_about_once_a_day(stopped):
    before = asked(stopped)
    assert (probe(), probe()) == (0, 0)
    assert asked(stopped) == before + 1
    assert status(stopped) == Status.NEEDS_REAUTH
    make_due()
    probe()
    assert asked(stopped) == before + 2


@pytest.mark.parametrize(
    "fault",
    [{"kind": "html"}, {"kind": "malformed"}, {"kind": "missing_field", "field": "item.error"}, {"kind": "reset"}],
)
def test_an_answer_that_proves_nothing_repairs_nothing(stopped, fault):
    stopped.control("state", login_required=False)
    stopped.fault(path="/item/get", **fault)
    assert probe() == 0
    assert status(stopped) == Status.NEEDS_REAUTH


def test_neither_healthy_nor_disconnected_banks_are_asked_about(stopped, link):
    link().sync()
    connection_disconnect(connection_id=stopped.connection.pk, reason="")
    log = len(stopped.simulator.control("GET", "log")["requests"])
    assert probe() == 0
    assert len(stopped.simulator.control("GET", "log")["requests"]) == log


def test_a_probe_is_no_use_of_the_bank(stopped):
    before = stopped.connection.last_used_at
    probe()
    stopped.connection.refresh_from_db()
    assert stopped.connection.last_used_at == before


def test_a_sync_that_goes_through_ends_the_notice_of_removal(bank):
    bank.sync()
    Connection.objects.update(status=Status.PENDING_CLEANUP, status_reason="Not used since long ago")
    PlaidItem.objects.update(cleanup_notified_at=timezone.now())
    bank.sync()
    assert (status(bank), bank.connection.status_reason) == (Status.ACTIVE, "")
    assert bank.item.cleanup_notified_at is None
