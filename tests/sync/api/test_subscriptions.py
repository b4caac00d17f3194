"""Subscriptions, as the API shows and filters them."""

from datetime import date
from decimal import Decimal

import pytest
from django.utils import timezone

from sync.models import Subscription
from tests.connections.api.scene import UNKNOWN, assert_problem, make_account, make_bank, make_shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def add(account):
    def add_subscription(name: str = "Gym", **fields) -> Subscription:
        values = {
            "workspace_id": account.workspace_id,
            "connection_id": account.connection_id,
            "account": account,
            "external_id": f"s{Subscription.objects.count()}",
            "status": "verified",
            "direction": "outflow",
            "frequency": "MONTHLY",
            "source_status": "MATURE",
            "is_active": True,
            "last_amount": Decimal("39.90"),
            "iso_currency": "USD",
            "raw_json": {"secret": "raw"},
        }
        return Subscription.objects.create(**values | {"description": name} | fields)

    return add_subscription


@pytest.fixture
def shown(alice, bank):
    """The descriptions that a query finds, in their order."""

    def ask(query: str = "") -> list[str]:
        response = alice.api.get(f"/api/v1/connections/{bank.pk}/subscriptions?{query}")
        assert response.status_code == 200, response.content
        return [row["description"] for row in response.json()["results"]]

    return ask


def test_subscription_has_the_shape_that_others_rely_on(alice, bank, account, add):
    ended_at = timezone.now()
    row = add(
        status="cancelled",
        cancelled_at=ended_at,
        merchant_name="Copperline",
        category="PERSONAL_CARE",
        average_amount=Decimal("39.9000000000000001"),
        first_date=date(2025, 6, 2),
        last_date=date(2026, 5, 2),
        predicted_next_date=date(2026, 6, 1),
    )
    (found,) = alice.api.get(f"/api/v1/connections/{bank.pk}/subscriptions").json()["results"]
    assert found == {
        "id": str(row.pk),
        "external_id": "s0",
        "account_id": str(account.pk),
        "status": "cancelled",
        "direction": "outflow",
        "description": "Gym",
        "merchant_name": "Copperline",
        "category": "PERSONAL_CARE",
        "frequency": "MONTHLY",
        "source_status": "MATURE",
        "is_active": True,
        "average_amount": "39.9000000000000001",
        "last_amount": "39.90",
        "currency": "USD",
        "first_date": "2025-06-02",
        "last_date": "2026-05-02",
        "predicted_next_date": "2026-06-01",
        "cancelled_at": ended_at.isoformat().replace("+00:00", "Z"),
        "updated_at": row.updated_at.isoformat().replace("+00:00", "Z"),
    }


def test_what_the_source_does_not_tell_is_null(alice, bank, add):
    add(last_amount=None, iso_currency=None)
    (found,) = alice.api.get(f"/api/v1/connections/{bank.pk}/subscriptions").json()["results"]
    assert (found["last_amount"], found["currency"], found["predicted_next_date"]) == (None, None, None)


def test_status_direction_and_account_narrow_the_list(shown, add, bank):
    savings = make_account(bank, "Savings")
    add("gym"), add("pay", direction="inflow"), add("over", status="cancelled"), add("old", status="unverified")
    add("elsewhere", account=savings)
    assert shown() == ["elsewhere", "old", "over", "pay", "gym"]
    assert shown("status=verified") == ["elsewhere", "pay", "gym"]
    assert shown("status=unverified") == ["old"]
    assert shown("status=cancelled") == ["over"]
    assert shown("direction=inflow") == ["pay"]
    assert shown(f"account_id={savings.pk}&direction=outflow") == ["elsewhere"]
    assert shown(f"account_id={UNKNOWN}") == []


def test_pages_follow_each_other_whatever_comes_meanwhile(alice, bank, add):
    for number in range(5):
        add(f"Row {number}")
    first = alice.api.get(f"/api/v1/connections/{bank.pk}/subscriptions?page_size=2&status=verified").json()
    add("newer")
    second = alice.api.get(first["next"]).json()
    third = alice.api.get(second["next"]).json()
    names = [row["description"] for page in (first, second, third) for row in page["results"]]
    assert names == [f"Row {number}" for number in (4, 3, 2, 1, 0)]
    assert third["next"] is None


@pytest.mark.parametrize(
    "query,field",
    [
        ("status=active", "status"),
        ("direction=sideways", "direction"),
        ("account_id=1", "account_id"),
        ("page_size=0", "page_size"),
        ("cursor=x", "cursor"),
        ("archived=true", "archived"),
    ],
)
def test_filter_that_cannot_be_is_named(alice, bank, query, field):
    response = alice.api.get(f"/api/v1/connections/{bank.pk}/subscriptions?{query}")
    assert set(assert_problem(response, 400, "validation_failed")["errors"]) == {field}


def test_nobody_reads_another_persons_subscriptions(alice, bob, dave, vera, charlie, bank, add):
    add()
    for person in (bob, dave, vera, charlie):
        assert_problem(person.api.get(f"/api/v1/connections/{bank.pk}/subscriptions"), 404, "not_found")


def test_each_bank_shows_its_own(alice, shown, add):
    add("gym")
    other = make_bank(alice, "Second Bank")
    assert alice.api.get(f"/api/v1/connections/{other.pk}/subscriptions").json()["results"] == []
    assert shown() == ["gym"]


def test_shop_has_no_subscriptions(alice, vera):
    shop = make_shop(alice)
    assert vera.api.get(f"/api/v1/connections/{shop.pk}/subscriptions").json()["results"] == []


def test_list_costs_the_same_whatever_its_length(alice, bank, add, django_assert_num_queries):
    for number in range(12):
        add(f"Row {number}")
    alice.api.get("/api/v1/me")
    with django_assert_num_queries(6) as captured:  # token, memberships, role, connection, rows, role
        alice.api.get(f"/api/v1/connections/{bank.pk}/subscriptions")
    assert not any("raw_json" in query["sql"] for query in captured.captured_queries)
