"""Transactions, as the API shows and filters them."""

from datetime import date
from decimal import Decimal

import pytest

from sync.models import Transaction
from tests.connections.api.scene import UNKNOWN, assert_problem, make_account, make_shop

pytestmark = pytest.mark.django_db


@pytest.fixture
def add(account):
    def add_transaction(name: str = "Coffee", **fields) -> Transaction:
        values = {
            "workspace_id": account.workspace_id,
            "connection_id": account.connection_id,
            "account": account,
            "external_id": f"t{Transaction.objects.count()}",
            "amount": Decimal("4.50"),
            "iso_currency": "USD",
            "date": date(2026, 5, 12),
            "pending": False,
            "raw_json": {"secret": "raw"},
        }
        return Transaction.objects.create(**values | {"name": name} | fields)

    return add_transaction


@pytest.fixture
def shown(alice, bank):
    """The names that a query finds."""

    def ask(query: str = "") -> set[str]:
        response = alice.api.get(f"/api/v1/connections/{bank.pk}/transactions?{query}")
        assert response.status_code == 200, response.content
        return {row["name"] for row in response.json()["results"]}

    return ask


def test_transaction_has_the_shape_that_others_rely_on(alice, bank, account, add):
    row = add(
        amount=Decimal("-72.1000000000000001"),
        authorized_date=date(2026, 5, 10),
        merchant_name="Walmart",
        pending_external_id="p1",
        category="GENERAL_MERCHANDISE",
    )
    (found,) = alice.api.get(f"/api/v1/connections/{bank.pk}/transactions").json()["results"]
    assert found == {
        "id": str(row.pk),
        "external_id": "t0",
        "account_id": str(account.pk),
        "amount": "-72.1000000000000001",
        "currency": "USD",
        "date": "2026-05-12",
        "authorized_date": "2026-05-10",
        "name": "Coffee",
        "merchant_name": "Walmart",
        "pending": False,
        "pending_external_id": "p1",
        "category": "GENERAL_MERCHANDISE",
        "archived": False,
        "updated_at": row.updated_at.isoformat().replace("+00:00", "Z"),
    }


@pytest.mark.parametrize("text", ["1E+3", "0E-10", "12345678901234567890.12345678", "-0.00000001"])
def test_amounts_are_exact_plain_text(alice, bank, add, text):
    add(amount=Decimal(text))
    (found,) = alice.api.get(f"/api/v1/connections/{bank.pk}/transactions").json()["results"]
    assert found["amount"] == format(Decimal(text), "f")


def test_archived_rows_are_shown_only_when_asked_for(shown, add):
    add("live"), add("gone", archived=True)
    assert shown() == shown("archived=false") == {"live"}
    assert shown("archived=true") == {"gone"}
    assert shown("archived=all") == {"live", "gone"}


def test_dates_are_inclusive(shown, add):
    for day in (10, 11, 12):
        add(f"on {day}", date=date(2026, 5, day))
    assert shown("date_from=2026-05-11") == {"on 11", "on 12"}
    assert shown("date_to=2026-05-11") == {"on 10", "on 11"}
    assert shown("date_from=2026-05-11&date_to=2026-05-11") == {"on 11"}
    assert shown("date_from=0001-01-01&date_to=9999-12-31") == {"on 10", "on 11", "on 12"}


def test_pending_and_account_narrow_the_list(shown, add, bank):
    other = make_account(bank, "Savings")
    add("posted"), add("pending", pending=True), add("elsewhere", account=other)
    assert shown() == {"posted", "pending", "elsewhere"}
    assert shown("pending=true") == {"pending"}
    assert shown("pending=false") == {"posted", "elsewhere"}
    assert shown(f"account_id={other.pk}") == {"elsewhere"}
    assert shown(f"account_id={UNKNOWN}") == set()


def test_search_looks_in_names_and_takes_its_characters_literally(shown, add):
    add("100% Wool"), add("Ünder_score"), add("other", merchant_name="Wool & Co"), add("\\ back")
    assert shown("q=wool") == {"100% Wool", "other"}
    assert shown("q=%25") == {"100% Wool"}
    assert shown("q=_") == {"Ünder_score"}
    assert shown("q=%5C") == {"\\ back"}
    assert shown("q=%C3%BCNDER") == {"Ünder_score"}
    assert shown("q=") == shown("q=%20") == shown()
    assert shown("q=%27%3B+DROP+TABLE") == set()


@pytest.mark.parametrize(
    "query,field",
    [
        ("archived=maybe", "archived"),
        ("account_id=1", "account_id"),
        ("date_from=yesterday", "date_from"),
        ("date_from=2026-02-30", "date_from"),
        ("date_to=99999-01-01", "date_to"),
        ("date_to=-1", "date_to"),
        ("date_from=2026-05-02&date_to=2026-05-01", "date_to"),
        ("pending=perhaps", "pending"),
        ("q=" + "x" * 201, "q"),
        ("page_size=0", "page_size"),
        ("cursor=x", "cursor"),
    ],
)
def test_filter_that_cannot_be_is_named(alice, bank, query, field):
    response = alice.api.get(f"/api/v1/connections/{bank.pk}/transactions?{query}")
    assert set(assert_problem(response, 400, "validation_failed")["errors"]) == {field}


def test_nobody_reads_another_persons_transactions(alice, bob, dave, vera, charlie, bank, add):
    add()
    for person in (bob, dave, vera, charlie):
        assert_problem(person.api.get(f"/api/v1/connections/{bank.pk}/transactions"), 404, "not_found")


def test_shop_has_no_transactions(alice, vera):
    shop = make_shop(alice)
    assert vera.api.get(f"/api/v1/connections/{shop.pk}/transactions").json()["results"] == []


def test_list_costs_the_same_whatever_its_length(alice, bank, add, django_assert_num_queries):
    for n in range(12):
        add(f"Row {n}")
    alice.api.get("/api/v1/me")
    with django_assert_num_queries(6) as captured:  # token, memberships, role, connection, rows, role
        alice.api.get(f"/api/v1/connections/{bank.pk}/transactions")
    assert not any("raw_json" in query["sql"] for query in captured.captured_queries)
