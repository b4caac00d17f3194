"""Our accounts follow the bank's, through new names, new ids, and silence."""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import OperationalError, transaction
from django.db import connection as database

from connections.models import Account, Connection, PlaidItem, PlaidItemAccount
from connections.providers.base import BankAccount
from connections.services.accounts import accounts_update

pytestmark = pytest.mark.django_db

CHECKING = BankAccount(
    "a1", "", "Checking", "Everyday Checking", "1234", "depository", "checking", "USD", None, "10.10", "9.05", None
)
SAVINGS = replace(CHECKING, external_id="a2", name="Savings", mask="5678", subtype="savings")


@pytest.fixture
def item(alice) -> PlaidItem:
    connection = Connection.objects.create(
        workspace=alice.workspace, owner=alice.user, provider="plaid", name="Bank", status="active"
    )
    return PlaidItem.objects.create(workspace=alice.workspace, connection=connection, item_id="i1")


def update(item, *accounts, is_complete=True) -> dict[str, Account]:
    accounts_update(item=item, accounts=accounts, is_complete=is_complete)
    current = PlaidItemAccount.objects.filter(item=item, replaced_at=None).select_related("account")
    return {mapping.plaid_account_id: mapping.account for mapping in current}


def test_new_accounts_are_made_with_exact_balances(item):
    found = update(item, CHECKING, SAVINGS)
    account = Account.objects.get(pk=found["a1"].pk)
    assert (account.name, account.mask, account.balance_current, account.balance_available) == (
        "Checking",
        "1234",
        Decimal("10.10"),
        Decimal("9.05"),
    )
    assert Account.objects.count() == 2


def test_the_same_again_changes_no_identity(item):
    before = update(item, CHECKING, SAVINGS)
    after = update(item, replace(CHECKING, name="Main"), SAVINGS)
    assert {key: account.pk for key, account in before.items()} == {key: account.pk for key, account in after.items()}
    assert Account.objects.get(pk=after["a1"].pk).name == "Main"


def test_a_new_id_for_a_vanished_account_is_the_same_account(item):
    before = update(item, CHECKING, SAVINGS)
    after = update(item, replace(CHECKING, external_id="a9"), SAVINGS)
    assert after["a9"].pk == before["a1"].pk
    assert Account.objects.count() == 2
    assert PlaidItemAccount.objects.get(plaid_account_id="a1").replaced_at


def test_the_old_id_may_come_back(item):
    before = update(item, CHECKING)
    update(item, replace(CHECKING, external_id="a9"))
    after = update(item, CHECKING)
    assert after["a1"].pk == before["a1"].pk
    assert Account.objects.count() == 1


def test_two_alike_are_not_guessed_between(item):
    twin = replace(CHECKING, external_id="a2")
    update(item, CHECKING, twin)
    update(item, replace(CHECKING, external_id="a8"), replace(CHECKING, external_id="a9"))
    assert Account.objects.filter(status="active").count() == 2
    assert Account.objects.filter(status="missing").count() == 2


def test_the_banks_own_lasting_id_decides(item):
    before = update(item, replace(CHECKING, persistent_id="p1"))
    after = update(
        item, replace(CHECKING, external_id="a9", name="Renamed", mask="0000", persistent_id="p1"), is_complete=False
    )
    assert after["a9"].pk == before["a1"].pk


def test_an_account_that_is_no_longer_shared_is_marked_and_comes_back(item):
    found = update(item, CHECKING, SAVINGS)
    update(item, SAVINGS)
    assert Account.objects.get(pk=found["a1"].pk).status == "missing"
    update(item, CHECKING, SAVINGS)
    assert Account.objects.get(pk=found["a1"].pk).status == "active"


def test_an_incomplete_list_marks_nothing_missing(item):
    found = update(item, CHECKING, SAVINGS)
    update(item, SAVINGS, is_complete=False)
    assert Account.objects.get(pk=found["a1"].pk).status == "active"


def test_an_account_its_owner_removed_stays_removed(item):
    found = update(item, CHECKING)
    Account.objects.filter(pk=found["a1"].pk).update(status="archived")
    update(item, CHECKING)
    assert Account.objects.get(pk=found["a1"].pk).status == "archived"


def test_a_lasting_id_that_two_shared_accounts_carry_makes_two_accounts(item):
    before = update(item, replace(CHECKING, persistent_id="p1"))
    after = update(item, replace(CHECKING, persistent_id="p1"), replace(SAVINGS, external_id="a9", persistent_id="p1"))
    assert after["a1"].pk == before["a1"].pk
    assert after["a9"].pk != before["a1"].pk
    assert Account.objects.filter(status="active").count() == 2


def test_two_new_ids_that_look_like_one_old_account_do_not_both_become_it(item):
    before = update(item, CHECKING)
    after = update(item, replace(CHECKING, external_id="a8"), replace(CHECKING, external_id="a9"))
    assert len({account.pk for account in after.values()}) == 2
    assert after["a8"].pk == before["a1"].pk


def test_what_an_item_before_the_re_link_told_is_dropped(item):
    read_before = PlaidItem.objects.get(pk=item.pk)
    PlaidItem.objects.update(item_id="i2")
    accounts_update(item=read_before, accounts=[CHECKING], is_complete=True)
    assert not Account.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_writing_accounts_waits_for_nobody_who_holds_the_item_row(item, owner_connection):
    """The deadlock that was: one held the accounts and wanted the Item, the other the other way round."""
    with owner_connection.transaction():
        owner_connection.execute("SELECT 1 FROM connections_plaiditem WHERE id = %s FOR NO KEY UPDATE", [item.pk])
        update_without_patience(item)
    assert Account.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_writers_of_the_same_accounts_go_one_after_the_other(item, owner_connection):
    with owner_connection.transaction():
        owner_connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"accounts:{item.pk}"])
        with pytest.raises(OperationalError):
            update_without_patience(item)
    assert not Account.objects.exists()


@transaction.atomic
def update_without_patience(item) -> None:
    with database.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '300ms'")
    update(item, CHECKING)
