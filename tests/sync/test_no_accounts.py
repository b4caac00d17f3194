"""A bank that shares no account any more asks its owner, and goes to the dormant cleanup like any other."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Account, Connection, DomainEvent, PlaidItem
from connections.models.connection import Status
from connections.services.dormancy import dormant_notice, dormant_remove
from connections.services.plaid_items import relink_completed
from sync.engine import Outcome
from tests.sync.test_probe import make_due, probe

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def synced(bank):
    assert bank.sync() == Outcome.SYNCED
    return bank


def day_passes() -> None:
    PlaidItem.objects.update(details_at=timezone.now() - timedelta(days=2))


def lose_accounts(bank, ids: list[str]) -> None:
    for account_id in ids:
        bank.control("state", remove_account=account_id)
    day_passes()


def shown(bank) -> tuple[str, str]:
    connection = Connection.objects.get(pk=bank.connection.pk)
    return connection.status, connection.error_code


def test_without_any_account_it_needs_its_owner(synced):
    lose_accounts(synced, synced.account_ids)
    assert synced.sync() == Outcome.FAILED
    assert shown(synced) == (Status.NEEDS_REAUTH, "bank_no_accounts")
    assert "shares no account" in Connection.objects.get().status_reason
    assert set(Account.objects.values_list("status", flat=True)) == {Account.Status.MISSING}
    assert synced.ours()


def test_that_plaid_calls_it_an_error_makes_no_difference(synced):
    day_passes()
    synced.fault("error", "/accounts/get", status=400, error_type="ITEM_ERROR", error_code="NO_ACCOUNTS", times=9)
    assert synced.sync() == Outcome.FAILED
    assert shown(synced) == (Status.NEEDS_REAUTH, "bank_no_accounts")
    assert set(Account.objects.values_list("status", flat=True)) == {Account.Status.MISSING}


def test_one_account_that_is_left_is_enough(synced):
    lose_accounts(synced, synced.account_ids[:1])
    assert synced.sync() == Outcome.SYNCED
    assert shown(synced) == (Status.ACTIVE, "")


def test_a_reading_that_fails_is_no_loss_of_accounts(synced):
    day_passes()
    synced.fault("html", "/accounts/get", status=503, times=9)
    assert synced.sync() == Outcome.SYNCED
    assert shown(synced) == (Status.ACTIVE, "")


def test_its_last_news_comes_in_before_its_owner_is_asked(synced):
    news = synced.add(account_id=synced.account_ids[0], amount=4.5, name="The last one")
    lose_accounts(synced, synced.account_ids)
    assert synced.sync() == Outcome.SYNCED
    assert news in synced.ours()
    assert synced.item.is_dirty
    assert synced.turn() == Outcome.FAILED
    assert shown(synced) == (Status.NEEDS_REAUTH, "bank_no_accounts")


def test_the_account_that_its_owner_removed_does_not_count(synced):
    removed, closed = synced.account_ids
    Account.objects.filter(item_accounts__plaid_account_id=removed).update(status=Account.Status.ARCHIVED)
    lose_accounts(synced, [closed])
    assert synced.sync() == Outcome.FAILED
    assert shown(synced) == (Status.NEEDS_REAUTH, "bank_no_accounts")
    make_due()
    assert probe() == 0


def test_the_daily_question_does_not_take_it_for_repaired(synced):
    """Plaid calls such a login well: else it would be active and stopped again every day, its owner mailed each time."""
    lose_accounts(synced, synced.account_ids)
    synced.sync()
    told = DomainEvent.objects.count()
    make_due()
    assert probe() == 0
    assert shown(synced) == (Status.NEEDS_REAUTH, "bank_no_accounts")
    assert DomainEvent.objects.count() == told


def test_accounts_that_are_shared_again_end_it(synced):
    lose_accounts(synced, synced.account_ids)
    synced.sync()
    synced.control("state", add_account={})
    make_due()
    assert probe() == 1
    assert synced.turn() == Outcome.SYNCED
    assert shown(synced) == (Status.ACTIVE, "")


def test_nobody_chooses_any_and_it_is_removed_after_notice_and_grace(synced, settings):
    lose_accounts(synced, synced.account_ids)
    synced.sync()
    long_ago = timezone.now() - timedelta(days=100)
    Connection.objects.update(created_at=long_ago, last_sync_at=long_ago, last_used_at=None)
    assert dormant_notice() == 1
    # What is about to leave is still tried; that there is nothing to read is no use of it.
    assert synced.sync() == Outcome.FAILED
    assert shown(synced)[0] == Status.PENDING_CLEANUP
    assert synced.sync() == Outcome.FAILED
    over = timezone.now() - timedelta(seconds=settings.CLEANUP_GRACE_S + 60)
    PlaidItem.objects.update(cleanup_notified_at=over)
    assert dormant_remove() == 1
    assert shown(synced)[0] == Status.DISCONNECTING


def test_signing_in_without_choosing_any_asks_again(synced):
    lose_accounts(synced, synced.account_ids)
    synced.sync()
    relink_completed(connection=synced.connection)
    assert synced.turn() == Outcome.FAILED
    assert shown(synced) == (Status.NEEDS_REAUTH, "bank_no_accounts")
