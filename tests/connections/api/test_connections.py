"""Connections and accounts, as the API shows them."""

import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from connections.errors import CATALOGUE
from connections.models import Account, PlaidItem, PlaidItemAccount
from tests.connections.api.scene import UNKNOWN, assert_problem, make_account, make_bank, make_shop

pytestmark = pytest.mark.django_db


def test_list_is_newest_first_in_the_shape_that_others_rely_on(alice, bank):
    time.sleep(0.002)  # ids sort by the millisecond
    make_shop(alice)
    body = alice.api.get("/api/v1/connections").json()
    assert (body["next"], body["previous"]) == (None, None)
    assert [row["name"] for row in body["results"]] == ["Shop", "First Bank"]
    shown = body["results"][1]
    assert shown == {
        "id": str(bank.pk),
        "provider": "plaid",
        "name": "First Bank",
        "institution": {"id": "ins_1", "name": "First Bank", "color": "#004966"},
        "environment": "sandbox",
        "status": "active",
        "status_reason": "",
        "sync_needed": False,
        "last_sync_at": None,
        "last_verified_at": None,
        "next_attempt_at": None,
        "reauth_due_at": None,
        "account_selection_available": False,
        "error": None,
        "config": {},
        "config_version": 1,
        "owner": str(alice.user.pk),
        "created_at": bank.created_at.isoformat().replace("+00:00", "Z"),
    }
    assert body["results"][0]["institution"] is None


def test_one_connection_has_the_logo_too(alice, bank):
    body = alice.api.get(f"/api/v1/connections/{bank.pk}").json()
    assert body["institution"] == {"id": "ins_1", "name": "First Bank", "color": "#004966", "logo": "bG9nbw=="}


def test_list_costs_the_same_whatever_its_length(alice, django_assert_num_queries):
    def queries(expected: int) -> None:
        with django_assert_num_queries(expected):  # token, memberships, role, rows, role
            alice.api.get("/api/v1/connections")

    alice.api.get("/api/v1/connections")
    make_bank(alice)
    queries(5)
    for _ in range(10):
        make_bank(alice), make_shop(alice)
    queries(5)


def test_bank_that_has_news_needs_a_sync(alice, bank):
    PlaidItem.objects.update(dirty_seq=2)
    assert alice.api.get(f"/api/v1/connections/{bank.pk}").json()["sync_needed"] is True


def test_error_is_told_in_the_users_words(alice, bank):
    bank.status, bank.error_code, bank.error_correlation_id = "needs_reauth", "bank_sign_in_required", "abc"
    bank.error_detail = "ITEM_ERROR/ITEM_LOGIN_REQUIRED: the login details of this item have changed"
    bank.save()
    body = alice.api.get(f"/api/v1/connections/{bank.pk}").json()
    entry = CATALOGUE["bank_sign_in_required"]
    assert body["error"] == {
        "code": "bank_sign_in_required",
        "detail": entry.detail,
        "remediation": entry.remediation,
        "correlation_id": "abc",
    }
    assert "ITEM_LOGIN_REQUIRED" not in str(body)


def test_error_code_that_nobody_knows_any_more_keeps_its_name(alice, bank):
    bank.error_code = "of_an_older_version"
    bank.save()
    error = alice.api.get(f"/api/v1/connections/{bank.pk}").json()["error"]
    assert (error["code"], error["detail"]) == ("of_an_older_version", CATALOGUE["provider_error"].detail)


def test_secrets_in_the_configuration_are_masked(alice):
    shop = make_shop(
        alice, config={"store_url": "https://shop.example", "consumer_secret": "cs_1", "dsn": "postgres://a:b@c/d"}
    )
    config = alice.api.get(f"/api/v1/connections/{shop.pk}").json()["config"]
    assert config == {"store_url": "https://shop.example", "consumer_secret": "[hidden]", "dsn": "[hidden]"}


def test_accounts_have_exact_balances_and_the_banks_current_id(alice, bank, account):
    Account.objects.update(
        official_name="Gold Checking",
        mask="0000",
        type="depository",
        subtype="checking",
        balance_current=Decimal("110.10"),
        balance_available=Decimal("0.000000000000000001"),
        balances_at=datetime(2026, 5, 12, tzinfo=UTC),
    )
    PlaidItemAccount.objects.create(
        workspace_id=bank.workspace_id,
        item=bank.plaid_item,
        account=account,
        plaid_account_id="replaced",
        replaced_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    body = alice.api.get(f"/api/v1/connections/{bank.pk}/accounts").json()
    assert body["results"] == [
        {
            "id": str(account.pk),
            "external_id": f"plaid-{account.pk}",
            "name": "Checking",
            "official_name": "Gold Checking",
            "mask": "0000",
            "type": "depository",
            "subtype": "checking",
            "currency": "USD",
            "balance_current": "110.10",
            "balance_available": "0.000000000000000001",
            "balance_limit": None,
            "balances_at": "2026-05-12T00:00:00Z",
            "status": "active",
        }
    ]


def test_account_without_a_current_id_and_with_an_unofficial_currency(alice, bank, account):
    PlaidItemAccount.objects.update(replaced_at=datetime(2026, 1, 1, tzinfo=UTC))
    Account.objects.update(iso_currency=None, unofficial_currency="DOGE", balance_current=Decimal("1E+3"))
    (shown,) = alice.api.get(f"/api/v1/connections/{bank.pk}/accounts").json()["results"]
    assert (shown["external_id"], shown["currency"], shown["balance_current"]) == (None, "DOGE", "1000")


def test_accounts_come_newest_first_in_a_fixed_number_of_queries(alice, bank, django_assert_num_queries):
    made = [make_account(bank, f"Account {n}") for n in range(6)]
    alice.api.get("/api/v1/me")
    with django_assert_num_queries(7):  # token, memberships, role, connection, accounts, their ids, role
        body = alice.api.get(f"/api/v1/connections/{bank.pk}/accounts").json()
    assert [row["id"] for row in body["results"]] == sorted((str(account.pk) for account in made), reverse=True)


@pytest.mark.parametrize("tail", ["", "/accounts"])
@pytest.mark.parametrize(
    "pk", [UNKNOWN, "1", "x" * 300, "%00", "%FF", "..%2f..", "019A2F6E-7C1D-7B52-9A4E-3F1C5D7E9B2"]
)
def test_unknown_and_impossible_ids_are_404(alice, pk, tail):
    assert_problem(alice.api.get(f"/api/v1/connections/{pk}{tail}"), 404, "not_found")


def test_head_is_a_get_without_the_body(alice, bank):
    response = alice.api.head(f"/api/v1/connections/{bank.pk}")
    assert (response.status_code, response.content) == (200, b"")
