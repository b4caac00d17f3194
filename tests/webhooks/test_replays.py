"""Replaying: one by one and by span; what it would change is said first; and how long the inbox is kept."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from connections.models import Connection, PlaidItem, RetiredPlaidItem
from connections.models.connection import Status
from tests.connections.api.scene import make_event
from tests.webhooks.conftest import UPDATES, link
from webhooks import tasks
from webhooks.models import WebhookEvent, WebhookRefusal
from webhooks.services import plaid, replays, retention

pytestmark = pytest.mark.django_db


@pytest.fixture
def inbox(bank, deliver, woken) -> None:
    """Four webhooks about a bank and one about nobody, all processed."""
    for code in ("SYNC_UPDATES_AVAILABLE", "RECURRING_TRANSACTIONS_UPDATE"):
        deliver(UPDATES | {"webhook_code": code, "item_id": bank.item_id})
    for code in ("LOGIN_REPAIRED", "USER_PERMISSION_REVOKED"):
        deliver({"webhook_type": "ITEM", "webhook_code": code, "item_id": bank.item_id})
    deliver(UPDATES | {"item_id": "nobody's"})
    tasks.sweep()
    WebhookEvent.objects.filter(status="received").update(status="ignored")


def replay(*arguments: str) -> str:
    out = StringIO()
    call_command("replay_webhooks", *(arguments or ("--since", since())), stdout=out)
    return out.getvalue()


def since(**ago) -> str:
    return (timezone.now() - timedelta(**(ago or {"hours": 1}))).isoformat()


def everything() -> list:
    """What webhooks can change."""
    tables = (Connection, PlaidItem, RetiredPlaidItem, WebhookEvent)
    return [list(table.objects.order_by("pk").values()) for table in tables]


def test_dry_run_says_what_would_change_and_changes_nothing(bank, updates, woken):
    updates()
    tasks.sweep()
    bank.change(synced_seq=4)
    before = everything()
    said = replay("--since", since(), "--dry-run")
    assert "1 webhooks about 1 connections would be processed again:" in said
    assert "TRANSACTIONS.SYNC_UPDATES_AVAILABLE: processed (A sync is due.)" in said
    assert "Nothing was changed." in said
    assert everything() == before


def test_replay_says_what_changes_and_has_it_processed(bank, updates, woken):
    updates()
    tasks.sweep()
    bank.change(synced_seq=4)
    said = replay()
    assert said.index("would be processed again") < said.index("1 webhooks wait to be processed again")
    assert WebhookEvent.objects.get().status == "received"
    tasks.sweep()
    event = WebhookEvent.objects.get()
    assert (event.status, event.replays, bank.dirty_seq) == ("processed", 1, 5)


def test_replaying_everything_twice_changes_nothing_more_than_once(bank, inbox):
    replay()
    tasks.sweep()
    WebhookEvent.objects.filter(status="received").update(status="ignored")
    once = everything()
    replay()
    tasks.sweep()
    WebhookEvent.objects.filter(status="received").update(status="ignored")
    assert everything()[:3] == once[:3]
    assert RetiredPlaidItem.objects.count() == 1
    assert set(WebhookEvent.objects.values_list("replays", flat=True)) == {2}


def test_what_happened_since_counts_more_than_a_replay(bank, deliver, woken):
    deliver(
        {
            "webhook_type": "ITEM",
            "webhook_code": "ERROR",
            "item_id": bank.item_id,
            "error": {"error_type": "ITEM_ERROR", "error_code": "ITEM_LOGIN_REQUIRED"},
        }
    )
    tasks.sweep()
    assert bank.connection.status == Status.NEEDS_REAUTH
    bank.change(status=Status.ACTIVE, error_code="", error_at=None, repaired_at=timezone.now())
    assert "The login was repaired since." in replay()
    tasks.sweep()
    assert bank.connection.status == Status.ACTIVE


def test_span_begins_with_since_and_ends_before_until(bank):
    now = timezone.now()
    for hours in (1, 2, 3):
        make_event(bank.connection, received_at=now - timedelta(hours=hours), item_id=bank.item_id, code=f"C{hours}")
    said = replay("--since", (now - timedelta(hours=3)).isoformat(), "--until", (now - timedelta(hours=1)).isoformat())
    assert "2 webhooks about 1 connections" in said
    assert set(WebhookEvent.objects.filter(replays=1).values_list("code", flat=True)) == {"C2", "C3"}


def test_workspace_limits_the_replay(bank, charlie, alice):
    make_event(bank.connection, item_id=bank.item_id)
    make_event(link(charlie, "item-2").connection, item_id="item-2")
    replay("--since", since(), "--workspace", charlie.workspace.slug)
    assert WebhookEvent.objects.get(replays=1).item_id == "item-2"


def test_what_waits_is_left_alone(bank, updates, woken):
    updates()
    assert "0 webhooks" in replay()
    assert WebhookEvent.objects.get().replays == 0


def test_handler_that_breaks_is_foretold(bank, updates, woken, monkeypatch):
    updates()
    tasks.sweep()
    monkeypatch.setitem(plaid._HANDLERS, ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE"), lambda *_: 1 / 0)
    assert "failed (ZeroDivisionError: division by zero)" in replay("--since", since(), "--dry-run")


def test_many_are_replayed_in_batches(bank, monkeypatch):
    monkeypatch.setattr(replays, "BATCH", 2)
    for _ in range(5):
        make_event(bank.connection, item_id=bank.item_id)
    replay()
    assert WebhookEvent.objects.filter(status="received", replays=1).count() == 5


@pytest.mark.parametrize(
    "arguments", [("--since", "yesterday"), (), ("--since", "2030-01-02", "--until", "2030-01-01")]
)
def test_span_that_makes_no_sense_is_refused(db, arguments):
    with pytest.raises((CommandError, TypeError)):
        call_command("replay_webhooks", *arguments)


# --- retention ---
def test_what_is_older_than_the_retention_is_deleted_and_what_waits_is_not(bank, settings):
    settings.WEBHOOK_RETENTION_DAYS = 30
    old = timezone.now() - timedelta(days=31)
    for status in ("processed", "ignored", "failed", "received"):
        make_event(bank.connection, status=status, received_at=old)
    make_event(bank.connection, code="YOUNG")
    WebhookRefusal.objects.create(provider="plaid", hour=old, last_at=old)
    assert tasks.purge() == 3
    assert set(WebhookEvent.objects.values_list("status", "code")) == {
        ("received", "SYNC_UPDATES_AVAILABLE"),
        ("processed", "YOUNG"),
    }
    assert not WebhookRefusal.objects.exists()


def test_retention_deletes_in_batches(bank):
    for _ in range(5):
        make_event(bank.connection, received_at=timezone.now() - timedelta(days=400))
    assert retention.events_purge(batch=2) == 5
