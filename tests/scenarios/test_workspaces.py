"""Several workspaces, and who sees what"""

import pytest

from connections.models import Connection, Membership, Role
from connections.services.tokens import token_issue
from tests.scenarios.town import YES

METADATA = {
    "institution": {"institution_id": "ins_109508", "name": "First Platypus Bank"},
    "accounts": [{"name": "Everyday Checking", "mask": "0000"}],
}


@pytest.fixture
def in_both(alice, charlie):
    """Alice owns Acme, and looks at Charlie's Globex as a member."""
    return Membership.objects.create(workspace=charlie.workspace, user=alice.user, role=Role.MEMBER)


def test_two_workspaces_with_one_bank_know_nothing_of_each_other(town, alice, charlie):
    """Two owners, two Items of one institution: lists, ids, accounts, transactions, runs and webhooks stay apart."""
    hers, his = (town.link(town.at_api(person)) for person in (alice, charlie))
    for bank, other in ((hers, his), (his, hers)):
        assert [row["id"] for row in bank.owner.rows("connections")] == [bank.id]
        for path in (other.path, f"{other.path}/accounts", f"{other.path}/transactions"):
            assert bank.owner.refused("GET", path) == (404, "not_found")
        assert bank.owner.refused("DELETE", other.path, YES) == (404, "not_found")
        assert bank.owner.refused("POST", f"{other.path}/refresh", {}) == (404, "not_found")
        assert bank.owner.rows("sync/status", connection_id=other.id) == []
    his.news()
    town.work()
    assert (hers.owner.rows("webhook-events"), len(his.owner.rows("webhook-events"))) == ([], 1)
    hers.disconnect()
    town.job("cleanup")
    assert (hers.status, his.status, his.is_removed) == ("disconnected", "active", False)


def test_a_person_in_several_workspaces_says_which_one_is_meant(town, alice, in_both):
    """Without X-Workspace 400; with a slug or an id that one; with a foreign or unknown one 404."""
    undecided = town.at_api(alice)
    assert undecided.refused("GET", "connections") == (400, "workspace_required")
    assert {row["workspace"]["slug"] for row in undecided.get("me")["memberships"]} == {"acme", "globex"}
    for name in ("globex", str(in_both.workspace_id)):
        assert town.at_api(alice, name).rows("connections") == []
    assert town.at_api(alice, "initech").refused("GET", "connections") == (404, "not_found")


def test_the_same_bank_in_two_workspaces_of_one_person_is_no_duplicate(town, alice, in_both):
    """Each workspace has a connection of its own, with its own Item; one is refreshed or ended without the other."""
    banks = []
    for slug in ("acme", "globex"):
        item = town.item()
        body = {"public_token": item["public_token"], "metadata": METADATA}
        made = town.at_api(alice, slug).post("plaid/exchange-token", body, status=201)
        banks.append(made["id"])
        assert [row["id"] for row in town.at_api(alice, slug).rows("connections")] == [made["id"]]
    assert town.work() == ["synced", "synced"]
    here, there = banks
    assert town.at_api(alice, "globex").refused("GET", f"connections/{here}") == (404, "not_found")
    town.at_api(alice, "globex").delete(f"connections/{there}")
    town.job("cleanup")
    assert town.at_api(alice, "acme").get(f"connections/{here}")["status"] == "active"
    assert town.at_api(alice, "globex").get(f"connections/{there}")["status"] == "disconnected"


def test_a_role_counts_in_its_own_workspace_only(town, alice, in_both):
    """An owner at home who is a viewer elsewhere links a bank here, and none there."""
    in_both.role = Role.VIEWER
    in_both.save()
    home, abroad = town.at_api(alice, "acme"), town.at_api(alice, "globex")
    item = town.item()
    body = {"public_token": item["public_token"]}
    assert abroad.refused("POST", "plaid/exchange-token", body) == (403, "permission_denied")
    assert abroad.refused("GET", "security-events") == (403, "permission_denied")
    town.link(home, item)
    assert home.rows("security-events", action="connection_linked")
    assert abroad.rows("connections") == []


def test_every_role_sees_what_it_should(town, alice, bob, dave, vera):
    """A member's bank: its owner sees all of it, operator and owner its state and runs, a viewer nothing; nobody else its money."""
    bank = town.link(town.at_api(dave))
    owner, operator, member, viewer = (town.at_api(person) for person in (alice, bob, dave, vera))
    for who in (owner, operator, member):
        assert [row["id"] for row in who.rows("connections")] == [bank.id]
        assert who.get(bank.path)["status"] == "active"
        assert len(who.rows("sync/status", connection_id=bank.id)) == 1
    assert viewer.rows("connections") == viewer.rows("sync/status") == viewer.rows("webhook-events") == []
    assert viewer.refused("GET", bank.path) == (404, "not_found")
    account = next(iter(bank.accounts.values()))["id"]
    for who in (owner, operator, viewer):
        for path in (f"{bank.path}/accounts", f"{bank.path}/transactions"):
            assert who.refused("GET", path) == (404, "not_found")
    for who in (owner, operator):
        assert who.refused("DELETE", f"{bank.path}/accounts/{account}", YES) == (404, "not_found")
        assert who.post(f"{bank.path}/refresh", status=202)["connection_id"] == bank.id
    assert viewer.refused("POST", f"{bank.path}/refresh", {}) == (403, "permission_denied")
    assert viewer.get("integrations/health")


def test_an_operator_ends_a_bank_of_somebody_else_without_reading_it(town, bob, dave):
    """The owner reads who did it; so does the audit."""
    bank = town.link(town.at_api(dave))
    operator = town.at_api(bob)
    operator.delete(bank.path)
    town.job("cleanup")
    assert (bank.status, bank.is_removed) == ("disconnected", True)
    assert bank.shown["status_reason"].startswith("Disconnected by bob on ")
    (event,) = operator.rows("security-events", action="connection_removed")
    assert (event["actor"]["username"], event["object_id"]) == ("bob", bank.id)


def test_a_member_who_left_reads_nothing_and_their_bank_stays_for_operators_to_end(town, bob, dave):
    """Their token is worth nothing there; the connection is still listed to operators, who can disconnect it."""
    bank = town.link(town.at_api(dave))
    dave.membership.delete()
    assert bank.owner.refused("GET", bank.path) == (403, "permission_denied")
    assert town.at_api(bob).get(bank.path)["status"] == "active"
    town.at_api(bob).delete(bank.path)
    town.job("cleanup")
    assert bank.is_removed


def test_a_workspace_without_webhooks_keeps_them_and_the_other_goes_on(town, alice, charlie):
    """Switched off in one workspace: its webhook is kept and ignored, the other workspace's has its bank synced."""
    hers, his = (town.link(town.at_api(person)) for person in (alice, charlie))
    assert hers.owner.call("PATCH", "settings/webhooks", {"enabled": False}).json()["enabled"] is False
    for bank in (hers, his):
        bank.news()
    town.work()
    assert (hers.is_current, his.is_current) == (False, True)
    assert [event["status"] for event in hers.owner.rows("webhook-events")] == ["ignored"]
    hers.refresh()
    assert town.work() == ["synced"]
    assert hers.is_current


def test_a_token_that_may_only_read_changes_nothing(town, alice):
    """It lists banks; a refresh and a disconnect are 403."""
    bank = town.link(town.at_api(alice))
    reader = type(bank.owner)(town.url, token_issue(user=alice.user, scope="read")[0])
    assert [row["id"] for row in reader.rows("connections")] == [bank.id]
    assert reader.refused("POST", f"{bank.path}/refresh", {}) == (403, "permission_denied")
    assert reader.refused("DELETE", bank.path, YES) == (403, "permission_denied")
    assert Connection.objects.get(pk=bank.id).status == "active"
