"""A bank that refuses the changed user name once more after its repair is linked anew, in the place of the old login."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from connections.errors import CATALOGUE
from connections.models import Connection, PlaidItem, PlaidLink, RetiredPlaidItem
from connections.models.connection import Status
from connections.providers.plaid.errors import classify_error
from connections.services import plaid_links, plaid_news
from connections.services.plaid_items import relink_completed
from sync.engine import Outcome
from tests.connections.services.test_plaid_links import finish_in_browser

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = {"error_type": "ITEM_ERROR", "error_code": "INVALID_UPDATED_USERNAME"}


def is_refused(bank) -> Connection:
    """The connection after a sync in which the bank refused the user name."""
    bank.fault("error", status=400, times=1, **REFUSED)
    assert bank.sync() == Outcome.FAILED
    return Connection.objects.get(pk=bank.connection.pk)


def is_told(bank) -> Connection:
    """The same by a webhook."""
    with transaction.atomic():
        connection = Connection.objects.select_for_update(no_key=True).get(pk=bank.connection.pk)
        plaid_news.item_failed(connection, bank.item, classify_error(REFUSED), told_at=timezone.now())
    return Connection.objects.get(pk=bank.connection.pk)


@pytest.fixture
def synced(bank):
    bank.sync()
    Connection.objects.update(last_sync_at=timezone.now() - timedelta(hours=1))
    return bank


@pytest.mark.parametrize("again", [is_refused, is_told])
def test_once_is_a_sign_in_and_once_more_after_the_repair_is_a_new_link(synced, again):
    assert is_refused(synced).error_code == "bank_sign_in_required"
    relink_completed(connection=synced.connection)
    connection = again(synced)
    assert (connection.status, connection.error_code) == (Status.NEEDS_REAUTH, "bank_link_again")
    assert connection.status_reason == CATALOGUE["bank_link_again"].detail
    assert "Connect the bank anew" in CATALOGUE["bank_link_again"].remediation
    assert is_told(synced).error_code == "bank_link_again"


def test_the_same_refusal_told_twice_is_one(synced):
    relink_completed(connection=synced.connection)  # of something else, before
    is_refused(synced)
    assert is_told(synced).error_code == "bank_sign_in_required"


def test_a_sync_that_goes_through_forgets_the_first_refusal(synced):
    is_refused(synced)
    relink_completed(connection=synced.connection)
    assert synced.sync() == Outcome.SYNCED
    assert synced.item.username_refused_at is None
    assert is_refused(synced).error_code == "bank_sign_in_required"


def test_another_trouble_after_the_repair_asks_for_no_new_link(synced):
    is_refused(synced)
    relink_completed(connection=synced.connection)
    synced.fault("error", status=400, times=1, error_type="ITEM_ERROR", error_code="INVALID_MFA")
    synced.sync()
    assert Connection.objects.get().error_code == "bank_sign_in_required"


def test_the_new_link_takes_the_place_of_the_old_and_the_history_stays(synced, alice):
    before = set(synced.ours())
    is_refused(synced)
    relink_completed(connection=synced.connection)
    connection = is_refused(synced)
    made = plaid_links.link_create(
        user=alice.user, workspace_id=alice.workspace.pk, environment="sandbox", connection=connection, is_hosted=True
    )
    finish_in_browser(made.hosted_link_url)
    plaid_links.link_poll(made.link_id)
    assert PlaidLink.objects.get().status == "finished"
    connection, item = Connection.objects.get(), PlaidItem.objects.get()
    assert (connection.pk, connection.status, connection.error_code) == (synced.connection.pk, Status.ACTIVE, "")
    assert item.item_id != synced.plaid_id
    assert item.username_refused_at is None
    assert RetiredPlaidItem.objects.get().item_id == synced.plaid_id
    assert before <= set(synced.ours())


def test_a_session_that_asked_for_a_new_login_ends_in_one_though_the_old_was_mended_meanwhile(synced, alice):
    """Else what the person has just made at the bank would be thrown away, and said to be a repair."""
    is_refused(synced)
    relink_completed(connection=synced.connection)
    made = plaid_links.link_create(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        environment="sandbox",
        connection=is_refused(synced),
        is_hosted=True,
    )
    relink_completed(connection=synced.connection)
    finish_in_browser(made.hosted_link_url)
    plaid_links.link_poll(made.link_id)
    assert PlaidItem.objects.get().item_id != synced.plaid_id
