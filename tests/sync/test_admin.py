"""Runs, failed records and transactions in the console."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from connections.models.connection import Status
from connections.services.workspaces import operations_group
from sync.models import RunStatus, SyncRun, Transaction, Trigger
from tests.e2e import rows

pytestmark = pytest.mark.django_db


@pytest.fixture
def bank(workspace, alice):
    return rows.connection(workspace, alice.user)


@pytest.fixture
def console(bob) -> Client:
    bob.user.groups.add(operations_group())
    client = Client()
    client.force_login(bob.user)
    return client


def page_of(client: Client, row) -> str:
    return client.get(
        reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    ).content.decode()


def do(client: Client, row, verb: str, **answer) -> str:
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_verb", args=[row.pk, verb])
    return client.post(url, answer, follow=True).content.decode()


def test_refreshing_queues_one_run_however_often_it_is_asked_for(console, bank, bob):
    for _ in range(2):
        assert "has been asked for" in do(console, bank, "refresh")
    run = SyncRun.objects.get(connection=bank)
    assert (run.status, run.trigger, run.requested_by) == (RunStatus.QUEUED, Trigger.USER, bob.user)


def test_refreshing_several_shows_the_reason_of_each_that_refuses(console, bank, workspace, alice):
    waits = rows.connection(workspace, alice.user, number=1, status=Status.NEEDS_REAUTH)
    selected = {"action": "refresh", "_selected_action": [bank.pk, waits.pk]}
    page = console.post(reverse("admin:connections_connection_changelist"), selected, follow=True).content.decode()
    assert SyncRun.objects.filter(connection=bank).count() == 1
    assert not SyncRun.objects.filter(connection=waits).exists()
    assert "Refresh now: done for 1 connection." in page
    assert "sign in again" in page


def test_a_connection_says_that_it_is_syncing(console, bank):
    rows.run(bank, status=RunStatus.RUNNING, finished_at=None)
    assert "Syncing" in page_of(console, bank)


def test_the_ledger_is_an_equation_that_adds_up(console, bank):
    run = rows.run(bank)
    page = page_of(console, run)
    counts = [int(count.replace(",", "")) for count in re.findall(r"<b>([\d,]+)</b>", page[page.index("cw-ledger") :])]
    assert counts[0] == sum(counts[1:]) == 500
    assert "Every record that was fetched has exactly one outcome." in page
    assert f"run__id__exact={run.pk}" in page


def test_a_ledger_that_does_not_balance_says_by_how_much(console, bank):
    assert "480 without an outcome" in page_of(console, rows.run(bank, records_unchanged=0))


def test_resolving_needs_a_reason_and_keeps_who_gave_it(console, bank):
    failure = rows.failure(rows.run(bank))
    assert "Say why this record needs nothing more." in do(console, failure, "resolve", answer="  ")
    do(console, failure, "resolve", answer="A duplicate of txn-7")
    failure.refresh_from_db()
    assert failure.resolved_at
    assert failure.resolution == "A duplicate of txn-7 (bob)"
    assert "Mark resolved" not in page_of(console, failure)
    assert "This failure is resolved already." in do(console, failure, "resolve", answer="again")


def test_what_the_bank_sent_is_shown_digit_by_digit_and_escaped(console, bank):
    transaction = rows.transactions(bank, 1)[0]
    raw = '{"amount": 12.30000000000000000001, "name": "<b>bold</b>"}'
    Transaction.objects.filter(pk=transaction.pk).update(raw_json={})
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE sync_transaction SET raw_json = %s::jsonb WHERE id = %s", [raw, transaction.pk])
    page = page_of(console, transaction)
    assert "12.30000000000000000001" in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_transactions_come_by_date_within_one_connection_and_by_arrival_otherwise(console, bank):
    rows.transactions(bank, 9)
    url = reverse("admin:sync_transaction_changelist")
    dates = [row.date for row in console.get(url, {"connection__id__exact": str(bank.pk)}).context["cl"].result_list]
    assert dates == sorted(dates, reverse=True)
    keys = [row.pk for row in console.get(url).context["cl"].result_list]
    assert keys == sorted(keys, reverse=True)


def test_runs_since_yesterday_are_found_by_their_ids(console, bank):
    recent = rows.run(bank)
    old = rows.run(bank)
    SyncRun.objects.filter(pk=old.pk).update(id="01800000-0000-7000-8000-000000000000")
    page = console.get(reverse("admin:sync_syncrun_changelist"), {"since": "24h"})
    assert [run.pk for run in page.context["cl"].result_list] == [recent.pk]
