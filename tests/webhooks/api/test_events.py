"""GET webhook-events, POST webhook-events/{id}/replay, settings/webhooks. Who may: the role matrix."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from connections.models import Workspace
from tests.connections.api.scene import assert_problem, make_bank, make_event
from webhooks.models import WebhookEvent

pytestmark = pytest.mark.django_db
EVENTS, SETTINGS = "/api/v1/webhook-events", "/api/v1/settings/webhooks"


def ids(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


# --- reading ---
def test_events_are_listed_newest_first_without_their_messages(alice, bank):
    events = [make_event(bank, code=f"C{number}") for number in range(3)]
    answer = alice.api.get(EVENTS)
    assert ids(answer) == [str(event.pk) for event in reversed(events)]
    row = answer.json()["results"][0]
    assert (row["code"], row["connection_id"], row["status"]) == ("C2", str(bank.pk), "processed")
    assert not {"payload", "body", "headers", "dedupe_key"} & set(row)


def test_one_event_shows_its_message(alice, bank):
    event = make_event(bank, payload={"webhook_code": "X", "public_token": "[hidden]"})
    found = alice.api.get(f"{EVENTS}/{event.pk}").json()
    assert (found["id"], found["payload"]) == (str(event.pk), {"webhook_code": "X", "public_token": "[hidden]"})
    assert "body" not in found


@pytest.mark.parametrize(
    "name, value",
    [
        ("status", "failed"),
        ("provider", "quickbooks"),
        ("event_type", "ITEM"),
        ("code", "ERROR"),
        ("item_id", "item-7"),
    ],
)
def test_list_is_filtered(alice, bank, name, value):
    make_event(bank)
    wanted = make_event(bank, **{name: value})
    assert ids(alice.api.get(EVENTS, {name: value})) == [str(wanted.pk)]


def test_list_of_one_connection_and_of_a_span(alice, bank):
    now = timezone.now()
    old, new = (make_event(bank, received_at=now - timedelta(hours=hours)) for hours in (3, 1))
    other = make_event(make_bank(alice, "Other"), received_at=now)
    assert ids(alice.api.get(EVENTS, {"connection_id": str(bank.pk)})) == [str(new.pk), str(old.pk)]
    span = {"since": (now - timedelta(hours=4)).isoformat(), "until": (now - timedelta(hours=1)).isoformat()}
    assert ids(alice.api.get(EVENTS, span)) == [str(old.pk)]  # until is exclusive
    assert ids(alice.api.get(EVENTS, {"since": now.isoformat()})) == [str(other.pk)]


@pytest.mark.parametrize(
    "query",
    [
        {"status": "x"},
        {"connection_id": "x"},
        {"since": "yesterday"},
        {"since": "2026-05-02T00:00:00Z", "until": "2026-05-01T00:00:00Z"},
        {"statuz": "failed"},
    ],
)
def test_filters_that_make_no_sense_are_refused(alice, query):
    assert_problem(alice.api.get(EVENTS, query), 400, "validation_failed")


def test_list_takes_a_fixed_number_of_queries(alice, bank, django_assert_max_num_queries):
    for _ in range(5):
        make_event(bank)
    with django_assert_max_num_queries(6):
        alice.api.get(EVENTS)


def test_events_of_no_connection_yet_are_for_operators(alice, bob, dave, workspace):
    event = make_event(None, workspace=workspace, event_type="LINK")
    assert ids(alice.api.get(EVENTS)) == ids(bob.api.get(EVENTS)) == [str(event.pk)]
    assert ids(dave.api.get(EVENTS)) == []


def test_events_of_nobody_are_shown_to_nobody(alice):
    event = make_event(None)
    assert ids(alice.api.get(EVENTS)) == []
    assert_problem(alice.api.get(f"{EVENTS}/{event.pk}"), 404, "not_found")


# --- replay ---
@pytest.mark.parametrize("status", ["processed", "ignored", "failed"])
def test_replayed_event_waits_again_and_keeps_when_it_came(bob, bank, status):
    event = make_event(bank, status=status, attempts=8, is_marked=True, note="Something.")
    answer = bob.api.post(f"{EVENTS}/{event.pk}/replay")
    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["id"], shown["status"], shown["replays"], shown["note"]) == (str(event.pk), "received", 1, "")
    again = WebhookEvent.objects.get()
    assert (again.attempts, again.is_marked, again.processed_at) == (0, False, None)
    assert again.next_attempt_at <= timezone.now()
    assert again.received_at == event.received_at


def test_replaying_what_waits_changes_nothing(bob, bank):
    event = make_event(bank, status="received", attempts=3, is_marked=True, lease_token=uuid4())
    assert bob.api.post(f"{EVENTS}/{event.pk}/replay").status_code == 202
    same = WebhookEvent.objects.get()
    assert (same.replays, same.attempts, same.is_marked, same.lease_token) == (0, 3, True, event.lease_token)


def test_replay_of_an_unknown_event_is_404(bob):
    assert_problem(bob.api.post(f"{EVENTS}/{uuid4()}/replay"), 404, "not_found")


# --- settings ---
def test_owner_switches_webhooks_off_and_on(alice, bob, workspace, charlie):
    assert bob.api.get(SETTINGS).json() == {"enabled": True}
    answer = alice.api.patch(SETTINGS, {"enabled": False}, format="json")
    assert (answer.status_code, answer.json()) == (200, {"enabled": False})
    assert bob.api.get(SETTINGS).json() == {"enabled": False}
    switched = dict(Workspace.objects.values_list("slug", "webhooks_enabled"))
    assert switched == {workspace.slug: False, charlie.workspace.slug: True}
    assert alice.api.patch(SETTINGS, {"enabled": True}, format="json").json() == {"enabled": True}


@pytest.mark.parametrize("body", [{}, {"enabled": "off"}, {"enabled": None}, {"enabled": 1}])
def test_switch_needs_true_or_false(alice, body):
    assert_problem(alice.api.patch(SETTINGS, body, format="json"), 400, "validation_failed")
    assert Workspace.objects.get().webhooks_enabled is True
