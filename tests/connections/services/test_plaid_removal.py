"""Items that a re-link left behind are removed at Plaid, for as long as that takes, and their tokens destroyed."""

import threading
import time
from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from connections.models import Credential, PlaidItem, RetiredPlaidItem
from connections.services.event_dispatch import events_dispatch
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_removal import retired_item_settle, retired_items_remove
from diagnostics.models import Alert

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def retired(alice, simulator) -> RetiredPlaidItem:
    """The first Item of a connection that was re-linked as another."""
    connection = None
    for _ in range(2):
        made = simulator.control("POST", "items", {"transactions": 5, "life": False})
        connection = public_token_exchange(
            user=alice.user,
            workspace_id=alice.workspace.pk,
            public_token=made["public_token"],
            environment="sandbox",
            connection=connection,
        )
    return RetiredPlaidItem.objects.get()


def removals(simulator) -> int:
    return sum(row["path"] == "/item/remove" for row in simulator.control("GET", "log")["requests"])


def is_removed(simulator, item_id: str) -> bool:
    return simulator.control("GET", f"items/{item_id}")["removed"]


def test_it_is_removed_once_and_its_token_destroyed(retired, simulator):
    assert retired_items_remove() == 1
    retired.refresh_from_db()
    assert (retired.status, retired.ciphertext, retired.key_id) == ("removed", None, "")
    assert retired.removed_at
    assert is_removed(simulator, retired.item_id)
    assert not is_removed(simulator, PlaidItem.objects.get().item_id)
    assert retired_items_remove() == 0
    assert removals(simulator) == 1


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ITEM_ERROR", "ITEM_NOT_FOUND"),
        ("ITEM_ERROR", "ITEM_CONCURRENTLY_DELETED"),
        ("INVALID_INPUT", "USER_PERMISSION_REVOKED"),
    ],
)
def test_one_that_is_gone_already_is_removed(retired, simulator, kind, code):
    fault = {"kind": "error", "status": 400, "error_type": kind, "error_code": code}
    simulator.control("POST", "faults", {"path": "/item/remove"} | fault)
    assert retired_items_remove() == 1
    retired.refresh_from_db()
    assert (retired.status, retired.ciphertext) == ("removed", None)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html", "status": 502},
        {"kind": "commit_then_drop"},
        {"kind": "error", "status": 400, "error_type": "INVALID_INPUT", "error_code": "INVALID_ACCESS_TOKEN"},
    ],
)
def test_any_other_failure_keeps_the_token_and_tries_again_later(retired, simulator, fault):
    simulator.control("POST", "faults", {"path": "/item/remove"} | fault)
    assert retired_items_remove() == 0
    retired.refresh_from_db()
    assert (retired.status, retired.attempts) == ("pending", 1)
    assert retired.last_error
    assert "access-sandbox" not in retired.last_error
    assert retired.next_attempt_at > timezone.now()
    assert retired.reveal()
    assert retired_items_remove() == 0  # not yet
    RetiredPlaidItem.objects.update(next_attempt_at=timezone.now())
    assert retired_items_remove() == 1


def test_a_bug_with_one_does_not_keep_the_others(retired, simulator, monkeypatch):
    monkeypatch.setattr(RetiredPlaidItem, "reveal", lambda row: 1 / 0)
    assert retired_items_remove() == 0
    assert RetiredPlaidItem.objects.get().last_error.startswith("ZeroDivisionError")


def test_two_at_once_ask_once(retired, simulator):
    simulator.control("POST", "faults", {"path": "/item/remove", "kind": "latency", "seconds": 0.5})

    def call():
        retired_items_remove()
        database.close()

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert removals(simulator) == 1
    assert RetiredPlaidItem.objects.get().status == "removed"


def test_one_that_is_linked_again_is_left_alone(retired, simulator):
    PlaidItem.objects.update(item_id=retired.item_id)
    assert retired_items_remove() == 1
    assert removals(simulator) == 0


def test_one_whose_token_nobody_can_read_is_told_until_a_person_settles_it(alice, simulator):
    connection = None
    for _ in range(2):
        made = simulator.control("POST", "items", {"transactions": 5, "life": False})
        connection = public_token_exchange(
            user=alice.user,
            workspace_id=alice.workspace.pk,
            public_token=made["public_token"],
            environment="sandbox",
            connection=connection,
        )
        Credential.objects.update(ciphertext=b"damaged beyond repair, quite")
    retired = RetiredPlaidItem.objects.get()
    assert retired.ciphertext is None
    events_dispatch(deadline=time.monotonic() + 10)
    alert = Alert.objects.get(subject=f"item:{retired.item_id}")
    assert (alert.cause, alert.recovered_at) == ("removal_failed", None)
    retired_item_settle(retired_id=retired.pk, reason="removed on the dashboard", actor=alice.user)
    events_dispatch(deadline=time.monotonic() + 10)
    alert.refresh_from_db()
    assert alert.recovered_at


def test_one_without_a_token_waits_for_a_person(retired, simulator):
    RetiredPlaidItem.objects.update(ciphertext=None, next_attempt_at=timezone.now() - timedelta(days=1))
    assert retired_items_remove() == 0
    assert (RetiredPlaidItem.objects.get().status, removals(simulator)) == ("pending", 0)
