"""Disconnecting a bank and removing an account over the API: confirmed, accepted, and nobody else's."""

import pytest

from connections.models import Account, Connection, DomainEvent, PlaidItem, RetiredPlaidItem
from connections.services.disconnecting import disconnects_finish
from tests.connections.api.scene import UNKNOWN, assert_problem, make_account, make_bank, make_shop

pytestmark = pytest.mark.django_db

YES = {"confirmed": True}


def delete(person, connection, body=None, *, account=None):
    tail = f"/accounts/{account.pk}" if account else ""
    return person.api.delete(f"/api/v1/connections/{connection.pk}{tail}", body, format="json")


# --- connections ---
@pytest.mark.parametrize("body", [None, {}, {"confirmed": False}, {"confirmed": "true"}, {"confirmed": 1}])
def test_nothing_ends_without_a_confirmation(alice, bank, account, body):
    assert_problem(delete(alice, bank, body), 400, "confirmation_required")
    assert_problem(delete(alice, bank, body, account=account), 400, "confirmation_required")
    bank.refresh_from_db()
    assert bank.status == "active"
    assert Account.objects.get().status == "active"


def test_a_confirmed_one_is_accepted_and_says_who_did_it(alice, bank):
    response = delete(alice, bank, YES)
    shown = response.json()
    assert (response.status_code, shown["status"], shown["sync_needed"]) == (202, "disconnecting", False)
    assert shown["status_reason"].startswith("Disconnected by alice on ")
    retired = RetiredPlaidItem.objects.get()
    assert (retired.item_id, retired.status, retired.key_id) == (bank.plaid_item.item_id, "pending", "")


def test_a_second_time_changes_nothing(alice, bank):
    delete(alice, bank, YES)
    first = alice.api.get(f"/api/v1/connections/{bank.pk}").json()
    assert delete(alice, bank, YES).json() == first
    assert RetiredPlaidItem.objects.count() == 1
    Connection.objects.update(status="disconnected")
    assert delete(alice, bank, YES).json()["status"] == "disconnected"


@pytest.mark.parametrize("status", ["draft", "verified", "failed", "needs_reauth", "paused", "pending_cleanup"])
def test_it_ends_from_wherever_it_stands_and_its_troubles_with_it(alice, status):
    bank = make_bank(alice, status=status, error_code="bank_revoked", failure_count=3, wait_reason="backoff")
    shown = delete(alice, bank, YES).json()
    assert (shown["status"], shown["error"], shown["next_attempt_at"]) == ("disconnecting", None, None)


def test_operators_disconnect_for_others_and_members_their_own(alice, bob, dave, vera, bank):
    mine = make_bank(dave)
    assert_problem(delete(dave, bank, YES), 404, "not_found")
    assert_problem(delete(vera, bank, YES), 403, "permission_denied")
    assert_problem(delete(dave, make_shop(alice), YES), 403, "permission_denied")
    assert delete(dave, mine, YES).status_code == 202
    assert delete(bob, bank, YES).json()["status_reason"].startswith("Disconnected by bob on ")


def test_one_with_nothing_at_the_provider_is_gone_as_soon_as_a_worker_looks(alice, shop):
    assert delete(alice, shop, YES).json()["status"] == "disconnecting"
    assert disconnects_finish() == 1
    shop.refresh_from_db()
    assert (shop.status, shop.status_reason[:22]) == ("disconnected", "Disconnected by alice ")
    (told,) = DomainEvent.objects.filter(connection=shop)
    assert (told.type, told.payload["was"]) == ("ConnectionDisconnected", "disconnecting")


def test_a_disconnected_bank_is_still_listed_with_its_accounts(alice, bank, account):
    delete(alice, bank, YES)
    assert [row["id"] for row in alice.api.get("/api/v1/connections").json()["results"]] == [str(bank.pk)]
    assert len(alice.api.get(f"/api/v1/connections/{bank.pk}/accounts").json()["results"]) == 1
    assert alice.api.get(f"/api/v1/connections/{bank.pk}/transactions").status_code == 200
    assert_problem(alice.api.post(f"/api/v1/connections/{bank.pk}/refresh"), 409, "connection_not_active")
    assert_problem(
        alice.api.post("/api/v1/plaid/link-token", {"connection_id": str(bank.pk)}, format="json"),
        409,
        "connection_not_active",
    )


# --- accounts ---
def test_the_bank_stays_while_another_account_is_active(alice, bank, account):
    make_account(bank, "Savings")
    response = delete(alice, bank, YES, account=account)
    assert (response.status_code, response.json()["status"]) == (202, "archived")
    bank.refresh_from_db()
    assert bank.status == "active"


def test_the_last_active_account_takes_the_bank_along_and_a_second_time_nothing(alice, bank, account):
    make_account(bank, "Closed at the bank", status="missing")
    for _ in range(2):
        assert delete(alice, bank, YES, account=account).status_code == 202
    bank.refresh_from_db()
    assert bank.status == "disconnecting"
    assert bank.status_reason.startswith("Its last account was removed by alice on ")
    assert RetiredPlaidItem.objects.count() == 1


def test_accounts_of_another_person_are_not_there_even_for_operators(bob, dave, bank, account):
    for person in (bob, dave):
        assert_problem(delete(person, bank, YES, account=account), 404, "not_found")
    assert Account.objects.get().status == "active"


def test_an_account_belongs_to_its_connection(alice, bank, account):
    assert_problem(delete(alice, make_bank(alice), YES, account=account), 404, "not_found")
    assert_problem(
        alice.api.delete(f"/api/v1/connections/{bank.pk}/accounts/{UNKNOWN}", YES, format="json"), 404, "not_found"
    )


def test_an_unlinked_bank_that_the_person_had_revoked_owes_nothing_more(alice, bank):
    PlaidItem.objects.update(removed_at=bank.created_at)
    delete(alice, bank, YES)
    assert not RetiredPlaidItem.objects.exists()
    assert disconnects_finish() == 1
