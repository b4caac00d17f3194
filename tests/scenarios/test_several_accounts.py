"""One bank with several accounts"""

import pytest

from connections.models import PlaidItem
from sync.models import Transaction
from tests.connections.services.test_plaid_links import finish_in_browser


@pytest.fixture
def me(town, alice):
    return town.at_api(alice)


@pytest.fixture
def bank(town, me):
    """Two accounts, twelve transactions."""
    return town.link(me, accounts=2)


def remove(bank, account_id: str) -> dict:
    return bank.owner.delete(f"{bank.path}/accounts/{bank.accounts[account_id]['id']}")


def note(bank, external_id: str, text: str) -> None:
    Transaction.objects.filter(connection_id=bank.id, external_id=external_id).update(note=text)


def test_removing_one_account_keeps_the_bank_and_skips_what_comes_later(town, bank):
    """Its history stays as it was, the Item stays at Plaid, the other account goes on, and the ledger says what was skipped."""
    gone, kept = bank.account_ids
    history = bank.transactions()
    balance = bank.accounts[gone]["balance_current"]
    assert remove(bank, gone)["status"] == "archived"
    late, welcome = bank.add(account_id=gone, amount=500), bank.add(account_id=kept)
    bank.tells("SYNC_UPDATES_AVAILABLE")
    assert town.work() == ["synced"]
    assert set(bank.transactions()) == {*history, welcome}
    assert late not in bank.transactions(archived="all")
    run = bank.runs[0]
    assert (run["records_fetched"], run["records_created"], run["records_skipped"]) == (2, 1, 1)
    assert bank.accounts[gone]["balance_current"] == balance
    town.job("cleanup")
    assert (bank.status, bank.is_removed, bank.calls("/item/remove")) == ("active", False, 0)


def test_removing_the_last_account_removes_the_bank(town, bank):
    """With the last active account the Item is removed at Plaid; what was read stays readable, later webhooks change nothing."""
    history = bank.transactions()
    first, last = bank.account_ids
    remove(bank, first)
    assert bank.status == "active"
    remove(bank, last)
    assert bank.status == "disconnecting"
    assert town.job("cleanup")["items_removed"] == 1
    assert (bank.status, bank.is_removed, bank.calls("/item/remove")) == ("disconnected", True, 1)
    calls = bank.calls()
    bank.tells("DEFAULT_UPDATE", new_transactions=1)
    assert town.work() == []
    assert (bank.calls(), bank.transactions()) == (calls, history)
    assert {account["status"] for account in bank.accounts.values()} == {"archived"}


def test_an_account_under_a_new_id_stays_the_same_account(town, bank):
    """Account churn: id, history and notes stay, nothing is doubled, and the old rows are tombstones."""
    old, other = bank.account_ids
    account = bank.accounts[old]
    told = bank.transactions(account_id=account["id"])
    chosen = next(iter(told))
    note(bank, chosen, "Shared with Sam")
    bank.state(rename_account=old)
    bank.tells("SYNC_UPDATES_AVAILABLE")
    assert town.work() == ["synced"]
    (renewed,) = set(bank.accounts) - {other}
    assert renewed != old
    assert (bank.accounts[renewed]["id"], bank.accounts[renewed]["status"]) == (account["id"], "active")
    assert bank.is_current
    now = bank.transactions(account_id=account["id"])
    assert sorted(row["amount"] for row in now.values()) == sorted(row["amount"] for row in told.values())
    assert not set(now) & set(told)
    carried = Transaction.objects.get(connection_id=bank.id, note="Shared with Sam", archived=False)
    assert (str(carried.amount), carried.name) == (told[chosen]["amount"], told[chosen]["name"])
    assert set(bank.transactions(archived="true")) == set(told)


def test_a_closed_account_is_marked_and_its_history_stays(town, bank):
    """Closed at the bank, it vanishes from the answers. That is no news about its past."""
    closed, kept = bank.account_ids
    history = bank.transactions()
    bank.state(remove_account=closed)
    PlaidItem.objects.update(details_at=None)  # a day has passed
    news = bank.news(account_id=kept)
    assert town.work() == ["synced"]
    assert {row["external_id"]: row["status"] for row in bank.accounts.values()} == {closed: "missing", kept: "active"}
    assert set(bank.transactions()) == {*history, news}
    assert bank.status == "active"


def test_a_closed_account_keeps_no_bank_alive(town, bank):
    """One account is closed at the bank, its owner removes the other: nothing is read any more, so nothing is billed."""
    closed, last = bank.account_ids
    bank.state(remove_account=closed)
    bank.tells("USER_ACCOUNT_REVOKED", account_id=closed)
    town.work()
    remove(bank, last)
    town.job("cleanup")
    assert (bank.status, bank.is_removed) == ("disconnected", True)


def test_an_account_that_is_no_longer_shared_is_left_alone(town, bank):
    """The person takes one account back at the bank: it is missing, the other goes on, and a repair offers the choice."""
    gone, kept = bank.account_ids
    history = bank.transactions()
    bank.state(remove_account=gone)
    bank.tells("USER_ACCOUNT_REVOKED", account_id=gone)
    assert town.work() == ["synced"]
    assert (bank.accounts[gone]["status"], bank.accounts[kept]["status"]) == ("missing", "active")
    assert bank.shown["account_selection_available"] is True
    bank.news(account_id=kept)
    assert town.work() == ["synced"]
    assert len(bank.transactions()) == len(history) + 1


def test_a_new_account_is_offered_and_read(town, me, bank):
    """NEW_ACCOUNTS_AVAILABLE brings the account with its history; Link's update mode offers what else there is."""
    bank.state(add_account={"kind": 3, "transactions": 4})
    bank.tells("NEW_ACCOUNTS_AVAILABLE")
    town.work()
    assert bank.shown["account_selection_available"] is True
    assert len(bank.accounts) == 3
    assert bank.is_current
    asked = me.post("plaid/link-token", {"connection_id": bank.id, "hosted_link": True})
    finish_in_browser(asked["hosted_link_url"], is_repair=True)
    town.follow_links()
    bank.told()
    town.work()
    assert bank.shown["account_selection_available"] is False
    assert len(bank.accounts) == 4  # everything that the page offered
    assert bank.is_current


def test_a_removed_account_does_not_come_back_with_a_repair(town, me, bank):
    """The login is repaired, the bank tells of both accounts again: the one its owner removed stays removed."""
    gone, kept = bank.account_ids
    remove(bank, gone)
    bank.state(login_required=True)
    bank.refresh()
    town.work()
    assert bank.status == "needs_reauth"
    asked = me.post("plaid/link-token", {"connection_id": bank.id, "hosted_link": True})
    finish_in_browser(asked["hosted_link_url"], is_repair=True)
    town.follow_links()
    bank.told()
    bank.add(account_id=gone)
    welcome = bank.news(account_id=kept)
    town.work()
    assert (bank.status, bank.accounts[gone]["status"]) == ("active", "archived")
    assert welcome in bank.transactions(account_id=bank.accounts[kept]["id"])
    assert bank.runs[0]["records_skipped"] == 1


def test_accounts_in_several_currencies_keep_their_own(town, me):
    """One bank, three accounts, three currencies: each row has its account's, and no balance is mixed."""
    bank = town.link(me, institution_id="ins_910007", accounts=3, transactions=30)
    by_account = {account["id"]: account["currency"] for account in bank.accounts.values()}
    assert set(by_account.values()) == {"EUR", "GBP", "USD"}
    rows = bank.transactions().values()
    assert {row["account_id"] for row in rows} == set(by_account)
    assert all(row["currency"] == by_account[row["account_id"]] for row in rows)
