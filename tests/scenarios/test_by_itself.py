"""Everything by itself: real workers and clock"""

import pytest

from config.processes import wait_until
from tests.connections.services.test_plaid_links import finish_in_browser

LIMIT_S = 60
# What a killed worker was asking Plaid for is asked again once its call would have timed out and its lease is over.
QUICK = {"PLAID_TIMEOUT_S": "5", "HOUSEKEEPING_S": "1"}


@pytest.fixture
def staffed(town, process):
    """Two workers and the clock."""
    workers = [process("worker", **QUICK), process("worker", **QUICK)]
    process("beat", **QUICK)
    return workers


def test_people_and_banks_in_every_state_at_once_each_end_where_they_should(town, staffed, alice, dave, charlie):
    """Three people, two workspaces, four banks: one goes on, one is down, one is repaired, one ends; a worker is killed.

    Nobody pulls a string here: webhooks, workers and the clock do it all.
    """
    hers, his, far = (town.at_api(person) for person in (alice, dave, charlie))
    fine = town.link(hers, is_synced=False)
    ended = town.link(hers, is_synced=False, institution_id="ins_910002")
    broken = town.link(his, is_synced=False)
    down = town.link(far, is_synced=False)
    banks = [fine, ended, broken, down]
    assert wait_until(lambda: all(bank.is_current for bank in banks), LIMIT_S)

    down.is_down(times=2)
    broken.state(login_required=True)
    history = ended.transactions()
    ended.disconnect()
    staffed[0].kill()
    for bank in (fine, broken, down):
        bank.news(name="While a worker dies")

    assert wait_until(lambda: broken.status == "needs_reauth" and fine.is_current, LIMIT_S)
    page = his.post("plaid/link-token", {"connection_id": broken.id, "hosted_link": True})["hosted_link_url"]
    finish_in_browser(page, is_repair=True)

    assert wait_until(lambda: all(bank.is_current for bank in (fine, broken, down)), LIMIT_S)
    assert wait_until(lambda: ended.status == "disconnected", LIMIT_S)
    assert wait_until(lambda: {bank.status for bank in (fine, broken, down)} == {"active"}, LIMIT_S)
    assert not any(bank.error for bank in (fine, broken, down))
    assert (ended.is_removed, ended.transactions()) == (True, history)
    assert all(run["ledger_balanced"] for bank in banks for run in bank.runs)
    assert [row["id"] for row in his.rows("connections")] == [broken.id]
    assert far.rows("sync/status", connection_id=fine.id) == []
