"""Numbers that operators watch: right, of the right workspace, and few queries, whatever the tables hold."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from connections.events import EventType, event_record
from connections.models import Connection, PlaidItem, ProviderPause
from diagnostics.figures import Figures, figures
from sync.models import RunStatus, SyncFailure, SyncRun
from tests.connections.api.scene import assert_problem, make_bank, make_shop
from webhooks.models import WebhookEvent, WebhookRefusal

pytestmark = pytest.mark.django_db


def webhook(connection, *, key: str, status: str = "processed", deliveries: int = 1, age_s: float = 5) -> None:
    at = timezone.now() - timedelta(seconds=age_s)
    WebhookEvent.objects.create(
        workspace_id=connection.workspace_id,
        connection=connection,
        provider="plaid",
        dedupe_key=key,
        body=b"{}",
        status=status,
        deliveries=deliveries,
        next_attempt_at=at,
        received_at=at,
        last_received_at=at,
    )


def run(connection, status: RunStatus) -> None:
    SyncRun.objects.create(workspace_id=connection.workspace_id, connection=connection, status=status, trigger="user")


@pytest.fixture
def scene(alice, charlie):
    """alice's workspace has news, trouble and duplicates; charlie's has one quiet bank."""
    now = timezone.now()
    bank, other = make_bank(alice), make_bank(charlie)
    PlaidItem.objects.filter(connection=bank).update(
        dirty_seq=2, last_synced_at=now - timedelta(hours=2), last_webhook_at=now - timedelta(minutes=1)
    )
    PlaidItem.objects.filter(connection=bank).update(dirty_at=now - timedelta(minutes=10))
    sleeping = make_bank(alice, status="needs_reauth")
    PlaidItem.objects.filter(connection=sleeping).update(reauth_needed_at=now - timedelta(hours=3))
    for status in (RunStatus.SUCCEEDED, RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED):
        run(bank, status)
    run(other, RunStatus.SUCCEEDED)
    webhook(bank, key="a", deliveries=3)
    webhook(bank, key="b", status="received", age_s=90)
    with transaction.atomic():
        event_record(EventType.SYNC_FAILED, connection_id=bank.pk, payload={"status": "active"})
    return bank


def test_each_figure_counts_what_it_says(scene, alice):
    found = figures(workspace_id=alice.workspace.pk)
    assert found.connections == {"active": 1, "needs_reauth": 1}
    assert found.banks_dirty == 1
    assert found.sync_lag_s == pytest.approx(600, abs=60)
    assert found.runs_24h == {"succeeded": 2, "partial": 1, "failed": 1}
    assert found.failure_ratio_24h == 0.25
    assert found.reauth_oldest_s == pytest.approx(3 * 3600, abs=60)
    assert found.webhooks_24h == {"processed": 1, "received": 1}
    assert (found.webhook_duplicates_24h, found.webhook_duplicate_ratio_24h) == (2, 0.5)
    assert found.webhook_lag_s == pytest.approx(90, abs=60)
    assert (found.outbox_waiting, found.outbox_parked) == (1, 0)
    assert found.failed_records_open == 0


def lag_s() -> float:
    return figures().sync_lag_s


def test_lag_is_counted_from_the_first_news_that_nobody_has_read(alice):
    bank = make_bank(alice)
    item, long_ago = PlaidItem.objects.filter(connection=bank), timezone.now() - timedelta(days=1)
    item.update(last_synced_at=long_ago)
    assert lag_s() == 0
    item.update(dirty_seq=2)  # a day after the last sync, as the clock does
    assert lag_s() < 60
    item.update(dirty_at=long_ago)
    item.update(dirty_seq=3, last_webhook_at=timezone.now())  # more of it changes nothing for the first
    assert lag_s() > 80_000
    item.update(synced_seq=2)  # read, while the rest came
    assert lag_s() < 60
    item.update(synced_seq=3)
    assert (lag_s(), item.get().dirty_at) == (0, None)
    assert PlaidItem.objects.create(workspace=bank.workspace, connection=make_shop(alice), item_id="new").dirty_seq == 1
    assert PlaidItem.objects.get(item_id="new").dirty_at


def test_a_wait_that_is_no_workers_fault_is_no_lag(alice):
    bank = make_bank(alice)
    PlaidItem.objects.update(dirty_seq=2)
    PlaidItem.objects.update(dirty_at=timezone.now() - timedelta(hours=6))
    assert lag_s() > 20_000
    Connection.objects.update(next_attempt_at=timezone.now() + timedelta(hours=1))
    assert lag_s() == 0
    Connection.objects.update(next_attempt_at=timezone.now() - timedelta(minutes=5))
    assert lag_s() == pytest.approx(300, abs=60)
    ProviderPause.objects.create(provider="plaid", environment=bank.environment, code="provider_misconfigured")
    assert (lag_s(), alice.api.get("/api/v1/integrations/health").json()["sync_lag_s"]) == (0, 0)


def test_a_webhook_that_is_not_due_is_no_lag(alice):
    """One that waits for its Item, is at work, or was replayed long after it came."""
    bank = make_bank(alice)
    webhook(bank, key="a", status="received", age_s=600)
    assert figures().webhook_lag_s == pytest.approx(600, abs=60)
    WebhookEvent.objects.update(next_attempt_at=timezone.now() + timedelta(seconds=20))
    assert figures().webhook_lag_s == 0
    WebhookEvent.objects.update(next_attempt_at=timezone.now())
    assert figures().webhook_lag_s < 60


@pytest.mark.parametrize(
    ("status", "expected"), [("active", 1), ("paused", 1), ("disconnecting", 0), ("disconnected", 0)]
)
def test_records_that_a_disconnected_bank_left_are_not_open(alice, bob, client, status, expected):
    bank = make_bank(alice, status=status)
    run(bank, RunStatus.PARTIAL)
    SyncFailure.objects.create(
        workspace=bank.workspace, connection=bank, run=SyncRun.objects.get(), external_id="odd-one", reason="odd"
    )
    assert figures(workspace_id=alice.workspace.pk).failed_records_open == figures().failed_records_open == expected
    assert alice.api.get("/api/v1/integrations/health").json()["failed_records_open"] == expected
    bob.user.is_superuser = True
    bob.user.save()
    client.force_login(bob.user)
    assert ("See why, and resolve them." in client.get("/admin/").content.decode()) is bool(expected)
    listed = {
        state: client.get(f"/admin/sync/syncfailure/?state={state}").content.decode() for state in ("open", "gone")
    }
    assert ["odd-one" in page for page in listed.values()] == [bool(expected), not expected]


def test_a_workspace_sees_its_own_and_the_installation_sees_all(scene, alice, charlie):
    assert figures(workspace_id=charlie.workspace.pk).runs_24h == {"succeeded": 1}
    assert figures().runs_24h == {"succeeded": 3, "partial": 1, "failed": 1}
    answer = alice.api.get("/api/v1/integrations/health").json()
    assert answer["runs_24h"] == {"succeeded": 2, "partial": 1, "failed": 1}
    assert answer["failure_ratio_24h"] == 0.25
    assert charlie.api.get("/api/v1/integrations/health").json()["connections"] == {"active": 1}


def test_nothing_at_all_is_zeros(db):
    assert figures() == Figures()
    assert figures().failure_ratio_24h == figures().webhook_duplicate_ratio_24h == 0


def test_they_take_few_queries(scene, django_assert_num_queries):
    with django_assert_num_queries(5):
        figures()


def scrape(token: str = "", **headers):
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    return APIClient(raise_request_exception=False).get("/metrics", headers=headers)


def test_prometheus_reads_them_with_its_token(scene, settings):
    settings.METRICS_TOKEN = "scrape-me"
    answer = scrape("scrape-me")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }
    assert samples["causeway_connections", "active"] == 2
    assert samples["causeway_reauth_waiting",] == 1
    assert samples["causeway_sync_failure_ratio_24h",] == 0.2
    assert samples["causeway_webhook_duplicates_24h",] == 2
    assert samples["causeway_outbox_waiting",] == 1
    assert samples["causeway_sync_lag_seconds",] > 500
    assert samples["causeway_alerts_open",] == 0


def test_refusals_of_an_hour_ago_are_over(settings, db):
    settings.METRICS_TOKEN = "scrape-me"
    now = timezone.now()
    for ago, count in ((timedelta(minutes=5), 3), (timedelta(minutes=50), 2), (timedelta(days=3), 40)):
        WebhookRefusal.objects.create(provider="plaid", hour=now - ago, count=count, last_at=now - ago)
    assert "causeway_webhooks_refused_last_hour 5.0" in scrape("scrape-me").content.decode()


@pytest.mark.parametrize("token", ["", "wrong", "scrape-me2"])
def test_nobody_else_reads_them(token, settings, scene):
    settings.METRICS_TOKEN = "scrape-me"
    assert_problem(scrape(token), 401, "not_authenticated")


def test_without_a_token_configured_there_is_no_such_page(settings):
    settings.METRICS_TOKEN = ""
    assert scrape("anything").status_code == 404
