"""The clock's jobs over HTTP and as commands."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from connections.models import Connection, PlaidItem
from sync.services.jobs import JOBS
from tests.connections.api.scene import assert_problem, make_bank

pytestmark = pytest.mark.django_db


@pytest.fixture
def item(alice) -> PlaidItem:
    """Dirty, as after linking."""
    connection = make_bank(alice)
    PlaidItem.objects.update(dirty_seq=2)
    return PlaidItem.objects.get(connection=connection)


def ask(job: str, **headers):
    return APIClient(raise_request_exception=False).post(f"/api/v1/jobs/plaid/{job}", headers=headers)


@pytest.mark.parametrize("job", JOBS)
def test_each_job_answers_counts_to_whoever_has_the_secret(job, settings, item):
    answer = ask(job, **{"X-Jobs-Secret": settings.JOBS_SECRET})
    assert answer.status_code == 200
    assert answer.json()
    assert all(isinstance(count, int) for count in answer.json().values())


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("headers", [{}, {"X-Jobs-Secret": "wrong"}, {"X-Jobs-Secret": ""}, {"X-Jobs-Secret": "ü"}])
def test_without_the_secret_it_is_refused(job, headers, item):
    assert_problem(ask(job, **headers), 403, "permission_denied")
    assert PlaidItem.objects.get().offered_until is None


@pytest.mark.parametrize("job", JOBS)
def test_where_none_is_configured_there_is_nothing(job, settings):
    settings.JOBS_SECRET = ""
    assert_problem(ask(job, **{"X-Jobs-Secret": ""}), 404, "not_found")


def test_a_bearer_token_is_not_the_secret(alice, settings):
    assert_problem(alice.api.post("/api/v1/jobs/plaid/process"), 403, "permission_denied")
    assert alice.api.get("/api/v1/jobs/plaid/process").status_code == 405


def test_process_hands_dirty_items_out_once(settings, item):
    secret = {"X-Jobs-Secret": settings.JOBS_SECRET}
    assert ask("process", **secret).json() == {"offered": 1, "offered_large": 0}
    assert ask("process", **secret).json() == {"offered": 0, "offered_large": 0}


def test_the_command_does_the_same(item):
    output = StringIO()
    call_command("plaid_jobs", "process", stdout=output)
    assert json.loads(output.getvalue()) == {"offered": 1, "offered_large": 0}


def test_the_safety_net_finds_who_had_neither_webhook_nor_sync(settings, item):
    day = timedelta(seconds=settings.SAFETY_NET_S)
    quiet = {"dirty_seq": 5, "synced_seq": 5, "history_complete": True, "auto_sync_at": timezone.now() + day}
    quiet["last_synced_at"] = timezone.now() - day * 1.1
    PlaidItem.objects.update(**quiet, last_webhook_at=timezone.now() - day / 2)
    assert JOBS["safety-net"]()["polled"] == 0
    PlaidItem.objects.update(last_webhook_at=timezone.now() - day * 1.1)
    assert JOBS["safety-net"]()["polled"] == 1
    assert PlaidItem.objects.get().is_dirty


def test_the_safety_net_takes_back_what_a_dead_worker_held(settings, item):
    now = timezone.now()
    held = {"offered_until": now + timedelta(hours=1), "lease_expires_at": now - timedelta(seconds=1)}
    PlaidItem.objects.update(**held, lease_token=item.pk)
    assert JOBS["safety-net"]()["leases_ended"] == 1
    assert JOBS["process"]()["offered"] == 1


def test_a_step_that_breaks_keeps_none_of_the_others_from_its_work(monkeypatch, item):
    def breaks() -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("sync.services.dispatch.items_schedule", breaks)
    now = timezone.now()
    held = {"offered_until": now + timedelta(hours=1), "lease_expires_at": now - timedelta(seconds=1)}
    PlaidItem.objects.update(**held, lease_token=item.pk)
    with pytest.raises(ZeroDivisionError):
        JOBS["safety-net"]()
    assert PlaidItem.objects.get().offered_until is None


def test_every_bank_is_synced_once_a_day_each_at_a_time_of_its_own(alice, settings, item):
    settings.PLAID_POLL_S = 86_400
    banks = [make_bank(alice, name=f"Bank {number}") for number in range(20)]
    PlaidItem.objects.update(dirty_seq=1, synced_seq=1)
    assert JOBS["safety-net"]()["scheduled"] == 0  # each is given its time
    times = sorted(PlaidItem.objects.values_list("auto_sync_at", flat=True))
    assert len({moment.hour for moment in times}) > 5
    assert times[-1] - times[0] < timedelta(days=1)
    assert all(timezone.now() < moment <= timezone.now() + timedelta(days=1) for moment in times)
    before = dict(PlaidItem.objects.values_list("pk", "auto_sync_at"))
    PlaidItem.objects.filter(connection=banks[0]).update(auto_sync_at=timezone.now() - timedelta(seconds=5))
    assert JOBS["safety-net"]()["scheduled"] == 1
    assert dict(PlaidItem.objects.values_list("pk", "auto_sync_at")) == before  # the same time, tomorrow
    assert PlaidItem.objects.get(connection=banks[0]).is_dirty


def test_a_paused_bank_keeps_its_time_and_rests(item):
    Connection.objects.update(status="paused")
    PlaidItem.objects.update(dirty_seq=1, synced_seq=1, auto_sync_at=timezone.now() - timedelta(hours=1))
    assert JOBS["safety-net"]()["scheduled"] == 0
    assert not PlaidItem.objects.get().is_dirty
    assert PlaidItem.objects.get().auto_sync_at > timezone.now()
