"""One person with several banks"""

import pytest

from tests.connections.services.test_plaid_links import finish_in_browser


@pytest.fixture
def me(town, alice):
    return town.at_api(alice)


@pytest.fixture
def banks(town, me):
    """Three banks of one person: Platypus, Maple Harbour, Lindenbank."""
    return [town.link(me, institution_id=name) for name in ("ins_109508", "ins_910002", "ins_910004")]


def test_one_bank_that_is_down_keeps_none_of_the_others_waiting(town, banks):
    """News comes from all three; one of them is down. It keeps what it had and says why; later it catches up."""
    down, *others = banks
    down.is_down()
    before = down.transactions()
    for bank in banks:
        bank.news(name="New today")
    assert sorted(town.work()) == ["failed", "synced", "synced"]
    assert all(bank.is_current and bank.status == "active" and not bank.error for bank in others)
    assert (down.status, down.error, down.shown["sync_needed"]) == ("active", "bank_unavailable", True)
    assert down.shown["next_attempt_at"]
    assert down.transactions() == before
    town.retry_now()
    assert town.work() == ["synced"]
    assert down.is_current
    assert down.error == ""


def test_a_bank_that_asks_for_a_sign_in_is_repaired_in_place_while_the_others_go_on(town, me, banks):
    """Repair through Link's update mode: the same connection, the same cursor, no second exchange, nothing lost."""
    broken, *others = banks
    broken.state(login_required=True)
    for bank in banks:
        bank.news()
    town.work()
    assert (broken.status, broken.error) == ("needs_reauth", "bank_sign_in_required")
    assert me.refused("POST", f"{broken.path}/refresh", {}) == (409, "bank_sign_in_required")
    assert all(bank.is_current and bank.status == "active" for bank in others)

    asked = me.post("plaid/link-token", {"connection_id": broken.id, "hosted_link": True})
    finish_in_browser(asked["hosted_link_url"], is_repair=True)
    town.follow_links()
    broken.told()
    assert town.work() == ["synced"]
    assert (broken.status, broken.error, broken.is_current) == ("active", "", True)
    assert broken.runs[0]["records_fetched"] == 1
    assert len(me.rows("connections")) == len(banks)
    assert town.calls("/item/public_token/exchange") == len(banks)


def test_a_refresh_of_one_bank_asks_nothing_of_the_others(town, banks):
    """One call, one run, of the bank that was asked for; the others' news waits for its own webhook."""
    chosen, *others = banks
    for bank in banks:
        bank.add(name="Nobody told us")
    before = {bank.id: bank.calls() for bank in banks}
    run = chosen.refresh()
    assert town.work() == ["synced"]
    assert chosen.is_current
    assert (chosen.runs[0]["sync_id"], chosen.runs[0]["status"]) == (run["sync_id"], "succeeded")
    assert chosen.calls() == before[chosen.id] + 1
    assert all(bank.calls() == before[bank.id] and len(bank.runs) == 1 and not bank.is_current for bank in others)


def test_one_bank_is_disconnected_and_the_others_stay(town, me, banks):
    """Removed at Plaid before it is reported gone; its history stays; nobody else is removed."""
    ended, *others = banks
    history = ended.transactions()
    assert ended.disconnect()["status"] == "disconnecting"
    assert town.job("cleanup")["items_removed"] == 1
    assert (ended.status, ended.is_removed, ended.transactions()) == ("disconnected", True, history)
    for bank in others:
        bank.news()
    assert town.work() == ["synced", "synced"]
    assert all(bank.is_current and not bank.is_removed for bank in others)
    assert [row["status"] for row in me.rows("connections")] == ["active", "active", "disconnected"]


def test_the_list_of_banks_is_newest_first_and_pages_without_gaps(town, me, banks):
    """Two a page, forwards and back; a bank that is linked meanwhile moves no other."""
    newest_first = [bank.id for bank in reversed(banks)]
    first = me.get("connections", page_size=2)
    assert [row["id"] for row in first["results"]] == newest_first[:2]
    assert first["previous"] is None
    town.link(me, institution_id="ins_910003")
    second = me.get(first["next"])
    assert [row["id"] for row in second["results"]] == newest_first[2:]
    assert second["next"] is None
    assert [row["id"] for row in me.get(second["previous"])["results"]] == newest_first[:2]
    names = {row["institution"]["name"] for row in me.rows("connections", page_size=1)}
    assert names == {"First Platypus Bank", "Maple Harbour Bank", "Lindenbank", "Thistle & Crown Bank"}


def test_filters_find_rows_of_one_bank_and_never_of_another(town, me, banks):
    """By account, date, state and words, through pages; runs by connection and by status."""
    chosen, other, _third = banks
    for bank in (chosen, other):
        bank.add(name="Ferry to Skye", date="2026-03-01", pending=False)
        bank.add(name="Ferry booked", date="2026-03-09", pending=True)
        bank.refresh()
    town.work()
    found = chosen.transactions(q="ferry", page_size=1)
    assert {row["name"] for row in found.values()} == {"Ferry to Skye", "Ferry booked"}
    assert not set(found) & set(other.transactions())
    assert {row["name"] for row in chosen.transactions(q="ferry", pending="true").values()} == {"Ferry booked"}
    between = {"date_from": "2026-03-01", "date_to": "2026-03-08"}
    assert {row["name"] for row in chosen.transactions(**between).values()} == {"Ferry to Skye"}
    by_account = [chosen.transactions(account_id=account["id"]) for account in chosen.accounts.values()]
    assert sum(map(len, by_account)) == len(chosen.truth)
    foreign = next(iter(other.accounts.values()))["id"]
    assert chosen.transactions(account_id=foreign) == {}
    assert {run["connection_id"] for run in chosen.runs} == {chosen.id}
    assert me.rows("sync/status", status="failed") == []
    assert len(me.rows("sync/status", page_size=2)) == len(banks) + 2


def test_the_third_failure_in_a_row_fails_one_bank_and_it_still_comes_back(town, me, banks):
    """One bank answers nonsense for long. It is failed, the others never notice, and it recovers by itself."""
    broken, *others = banks
    broken.fault("error", times=3, status=400, error_type="API_ERROR", error_code="NEVER_SEEN_BEFORE")
    broken.news()
    for _ in range(3):
        assert town.work() == ["failed"]
        town.retry_now()
    assert broken.status == "failed"
    assert {bank.status for bank in others} == {"active"}
    assert len(me.rows("sync/status", status="failed")) == 3
    assert town.work() == ["synced"]
    assert (broken.status, broken.is_current) == ("active", True)
