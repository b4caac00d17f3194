"""Two people with one bank"""

import pytest


@pytest.fixture
def banks(town, alice, dave):
    """Alice's and Dave's logins at the same bank, in one workspace."""
    return [town.link(town.at_api(person)) for person in (alice, dave)]


def offered(bank) -> dict:
    """What Link says of a login to the accounts of this bank."""
    accounts = [{"name": account["name"], "mask": account["mask"]} for account in bank.accounts.values()]
    return {"institution": {"institution_id": "ins_109508", "name": "First Platypus Bank"}, "accounts": accounts}


def test_each_has_an_item_and_sees_their_own_only(banks):
    """Two Items of one institution. Accounts, transactions and runs of the other are 404 or not in lists."""
    hers, his = banks
    assert hers.plaid_id != his.plaid_id
    assert hers.shown["institution"]["id"] == his.shown["institution"]["id"]
    assert not set(hers.transactions()) & set(his.transactions())
    assert [row["id"] for row in his.owner.rows("connections")] == [his.id]
    assert {run["connection_id"] for run in his.owner.rows("sync/status")} == {his.id}
    for path in (hers.path, f"{hers.path}/accounts", f"{hers.path}/transactions"):
        assert his.owner.refused("GET", path) == (404, "not_found")
    for path in (
        f"{his.path}/accounts",
        f"{his.path}/transactions",
    ):  # the workspace's owner reads no other person's money
        assert hers.owner.refused("GET", path) == (404, "not_found")


def test_news_for_one_is_no_news_for_the_other(town, banks):
    """Her webhook has her Item read; his is not asked, and has no run."""
    hers, his = banks
    calls = his.calls()
    hers.news()
    assert town.work() == ["synced"]
    assert hers.is_current
    assert (his.calls(), his.shown["sync_needed"], len(his.runs)) == (calls, False, 1)


def test_one_disconnects_and_the_other_goes_on(town, banks):
    """His Item is removed at Plaid; hers is not, and is read on."""
    hers, his = banks
    his.disconnect()
    town.job("cleanup")
    assert (his.status, his.is_removed) == ("disconnected", True)
    hers.news()
    assert town.work() == ["synced"]
    assert (hers.status, hers.is_removed, hers.is_current) == ("active", False, True)


def test_the_login_of_one_breaks_and_the_others_works(town, banks):
    """He has to sign in again; her login at the same bank is read on."""
    hers, his = banks
    his.state(login_required=True)
    for bank in banks:
        bank.news()
    assert sorted(town.work()) == ["failed", "synced"]
    assert (hers.status, his.status) == ("active", "needs_reauth")
    assert hers.is_current


def test_the_same_accounts_are_not_linked_twice_by_accident(town, banks):
    """409 with the connection that has them, before the call that bills. allow_duplicate links them all the same."""
    hers, _his = banks
    again = {"public_token": town.item()["public_token"], "metadata": offered(hers)}
    before = town.calls("/item/public_token/exchange")
    refused = hers.owner.call("POST", "plaid/exchange-token", again)
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate_item")
    assert refused.json()["connection_id"] == hers.id
    assert town.calls("/item/public_token/exchange") == before
    made = hers.owner.post("plaid/exchange-token", again | {"allow_duplicate": True}, status=201)
    town.work()
    assert made["id"] != hers.id
    assert {made["status"], hers.status} == {"active"}


def test_a_joint_account_may_be_linked_by_both(town, banks):
    """The guard is about one person: what Alice has linked does not keep Dave from it, nor tells him that she has."""
    hers, his = banks
    joint = {"public_token": town.item()["public_token"], "metadata": offered(hers)}
    made = his.owner.post("plaid/exchange-token", joint, status=201)
    third = {"public_token": town.item()["public_token"], "metadata": offered(hers)}
    refused = his.owner.call("POST", "plaid/exchange-token", third)
    assert (refused.status_code, refused.json()["connection_id"]) == (409, made["id"])


def test_a_bank_that_was_disconnected_is_no_duplicate(town, banks):
    """Linked once more after its end it is a new connection; the old one keeps its history."""
    hers, _his = banks
    metadata = offered(hers)
    history = hers.transactions()
    hers.disconnect()
    town.job("cleanup")
    again = {"public_token": town.item()["public_token"], "metadata": metadata}
    made = hers.owner.post("plaid/exchange-token", again, status=201)
    assert made["id"] != hers.id
    assert hers.transactions() == history


def test_an_exchange_that_names_a_connection_of_somebody_else_is_refused(town, banks):
    """Naming it re-links nothing: to a member it is not there, and nothing was asked of Plaid."""
    hers, his = banks
    before = town.calls("/item/public_token/exchange")
    body = {"public_token": town.item()["public_token"], "connection_id": hers.id}
    assert his.owner.refused("POST", "plaid/exchange-token", body) == (404, "not_found")
    assert his.owner.refused("POST", "plaid/link-token", {"connection_id": hers.id}) == (404, "not_found")
    assert town.calls("/item/public_token/exchange") == before
