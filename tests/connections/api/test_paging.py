"""Lists in pages: nothing skipped, nothing doubled, whatever shares a date and whatever changes meanwhile."""

import random
from datetime import date, timedelta
from urllib.parse import urlsplit

import pytest
from django.db import connection

from connections import tenancy
from sync.models import SyncRun, Transaction
from sync.selectors import transactions_of
from tests.connections.api.scene import assert_problem

pytestmark = pytest.mark.django_db


def make_transactions(account, count: int, *, days: int = 3, start: date = date(2026, 1, 1)) -> list[Transaction]:
    """Rows whose ids and dates are in no order, many to a date."""
    values = {"workspace_id": account.workspace_id, "connection_id": account.connection_id, "account": account}
    values |= {"amount": 1, "iso_currency": "USD", "pending": False, "raw_json": {}}
    rows = [
        Transaction(
            **values,
            external_id=f"{start} {n}",
            name=f"Row {n}",
            date=start + timedelta(days=random.Random(n).randrange(days)),
        )
        for n in range(count)
    ]
    return Transaction.objects.bulk_create(rows)


@pytest.fixture
def path(bank) -> str:
    return f"/api/v1/connections/{bank.pk}/transactions"


def follow(person, url: str, direction: str = "next") -> list[list[str]]:
    """The ids on each page, from this one on."""
    pages = []
    while url:
        body = person.api.get(url).json()
        pages.append([row["id"] for row in body["results"]])
        url = body[direction]
        if url:
            url = f"{urlsplit(url).path}?{urlsplit(url).query}"
    return pages


def flat(pages) -> list[str]:
    return [pk for page in pages for pk in page]


def expected(rows) -> list[str]:
    return [str(row.pk) for row in sorted(rows, key=lambda row: (row.date, row.pk), reverse=True)]


@pytest.mark.parametrize("days", [1, 3, 400])
@pytest.mark.parametrize("size", [1, 7, 30, 60, 61])
def test_pages_hold_every_row_once_in_order(alice, account, path, size, days):
    rows = make_transactions(account, 60, days=days)
    pages = follow(alice, f"{path}?page_size={size}")
    assert flat(pages) == expected(rows)
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert pages[-1]


def test_way_back_is_the_same_way(alice, account, path):
    rows = make_transactions(account, 25)
    url, last = f"{path}?page_size=10", ""
    while url:
        last, url = url, alice.api.get(url).json()["next"]
    pages = follow(alice, last, "previous")
    assert flat(reversed(pages)) == expected(rows)
    assert [len(page) for page in pages] == [5, 10, 10]
    first = alice.api.get(f"{path}?page_size=10").json()
    assert (first["previous"], alice.api.get(alice.api.get(first["next"]).json()["previous"]).json()["next"]) == (
        None,
        first["next"],
    )


def test_rows_that_come_and_go_meanwhile_move_no_others(alice, account, path):
    rows = make_transactions(account, 30)
    order = expected(rows)
    first = alice.api.get(f"{path}?page_size=10").json()
    Transaction.objects.filter(pk__in=order[:3]).delete()  # already shown
    Transaction.objects.filter(pk=order[9]).delete()  # the very row at which the page ended
    (newest,) = make_transactions(account, 1, start=date(2027, 1, 1))
    rest = follow(alice, first["next"])
    assert flat(rest) == order[10:]
    assert str(newest.pk) not in flat(rest)


def test_page_whose_rows_have_all_gone_ends_the_list(alice, account, path):
    rows = make_transactions(account, 12)
    url = alice.api.get(f"{path}?page_size=10").json()["next"]
    Transaction.objects.filter(pk__in=expected(rows)[10:]).delete()
    assert alice.api.get(url).json() == {"next": None, "previous": None, "results": []}


def test_links_are_absolute_keep_mount_and_filters_and_follow_public_url(alice, account, bank, settings):
    settings.PUBLIC_URL = "https://causeway.example"
    make_transactions(account, 12)
    for mount in ("/api/v1", "/api"):
        url = f"{mount}/connections/{bank.pk}/transactions"
        body = alice.api.get(f"{url}?page_size=10&q=Row&archived=all", headers={"Host": "localhost"}).json()
        parts = urlsplit(body["next"])
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"https://causeway.example{url}"
        assert parts.query.startswith("page_size=10&q=Row&archived=all&cursor=")


def test_transactions_come_500_to_a_page_at_most_and_other_lists_100(alice, bank, account, path):
    make_transactions(account, 510)
    SyncRun.objects.bulk_create(
        SyncRun(workspace_id=bank.workspace_id, connection=bank, trigger="user", status="succeeded") for _ in range(110)
    )
    for url, default, most in ((path, 50, 500), ("/api/v1/sync/status", 50, 100)):
        assert len(alice.api.get(url).json()["results"]) == default
        assert len(alice.api.get(f"{url}?page_size=100000").json()["results"]) == most


def test_cursor_of_another_list_or_changed_by_one_character_is_refused(alice, bank, account, path):
    make_transactions(account, 12)
    cursor = urlsplit(alice.api.get(f"{path}?page_size=10").json()["next"]).query.split("cursor=")[1]
    assert_problem(alice.api.get(f"/api/v1/sync/status?cursor={cursor}"), 400, "validation_failed")
    changed = cursor[:5] + ("A" if cursor[5] != "A" else "B") + cursor[6:]
    assert_problem(alice.api.get(f"{path}?cursor={changed}"), 400, "validation_failed")


def test_page_deep_in_one_day_is_found_by_the_index(alice, account, bank):
    """As the tenant, whose policy comes first: the position has to be an index condition, not a filter over the day."""
    make_transactions(account, 5000, days=1)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    from django.db.models.fields.tuple_lookups import Tuple, TupleLessThan

    deep = Transaction.objects.order_by("-date", "-pk")[4000]
    tenancy.enter(alice.workspace.pk)
    page = transactions_of(bank).filter(TupleLessThan(Tuple("date", "id"), (deep.date, deep.pk)))[:50]
    plan = page.explain(analyze=True, costs=False, timing=False, summary=False)
    tenancy.leave()
    assert "ROW(date, id) < ROW(" in plan.split("Index Cond:")[1].splitlines()[0], plan
    assert "Rows Removed by Filter" not in plan, plan
