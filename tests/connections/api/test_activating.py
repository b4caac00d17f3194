"""From a draft to an active connection over the API, its provider asked over real HTTP; pauses; and the end."""

import threading
import time
from typing import Any

import pytest
from django.utils import timezone

from connections.models import Connection, Credential, DomainEvent, SecurityEvent, Verification
from connections.services.errands import errands_run
from connections.services.verifying import _claim, verification_run, verifications_run
from tests.connections.api.scene import assert_problem, make_bank
from tests.connections.corner import KEY, OTHER_KEY

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/connections"


@pytest.fixture
def draft(alice, corner) -> str:
    body = {"provider": "woocommerce", "config": {"store_url": corner.url}, "credentials": {"consumer_key": KEY}}
    response = alice.api.post(URL, body, format="json")
    assert response.status_code == 201, response.content
    return response.json()["id"]


def do(person, connection_id: str, verb: str, **headers: str):
    return person.api.post(f"{URL}/{connection_id}/{verb}", format="json", **headers)


def patch(person, connection_id: str, **change: Any) -> dict[str, Any]:
    return person.api.patch(f"{URL}/{connection_id}", change, format="json").json()


def seen(person, connection_id: str) -> dict[str, Any]:
    return person.api.get(f"{URL}/{connection_id}").json()


def work() -> int:
    """What a worker does with what is waiting."""
    return verifications_run(deadline=time.monotonic() + 20)


def verified(person, connection_id: str) -> dict[str, Any]:
    assert do(person, connection_id, "verify").status_code == 202
    work()
    return seen(person, connection_id)["verification"]


def run_errands() -> int:
    Connection.objects.exclude(errand="").update(errand_at=timezone.now())
    return errands_run(deadline=time.monotonic() + 20)


def active(person, connection_id: str) -> str:
    verified(person, connection_id)
    assert do(person, connection_id, "activate").json()["status"] == "active"
    run_errands()
    return connection_id


# --- verification ---
def test_what_is_asked_is_kept_with_every_answer_and_makes_the_draft_verified(alice, draft, corner):
    asked = do(alice, draft, "verify")
    assert (asked.status_code, asked.json()["status"], asked.json()["checks"]) == (202, "running", [])
    assert work() == 1
    found = seen(alice, draft)
    checks = found["verification"]["checks"]
    assert [(check["name"], check["status"]) for check in checks] == [
        ("settings", "passed"),
        ("reachable", "passed"),
        ("authentication", "passed"),
        ("version", "warning"),
    ]
    assert set(checks[0]) == {"name", "status", "duration_ms", "cause", "remediation"}
    assert all(isinstance(check["duration_ms"], int) for check in checks)
    assert (found["verification"]["status"], found["status"]) == ("passed", "verified")
    assert found["last_verified_at"]
    assert Connection.objects.get().facts == {"greeted": True}
    done = SecurityEvent.objects.get(action="connection_verified")
    assert done.details == {"version": 1, "outcome": "passed", "failing": []}
    assert SecurityEvent.objects.filter(action="verification_requested", actor=alice.user).count() == 1


def test_what_fails_says_why_and_what_to_do_without_the_key(alice, draft, corner):
    corner.keys = set()
    found = verified(alice, draft)
    assert found["status"] == "failed"
    assert found["checks"][-1] | {"duration_ms": 0} == {
        "name": "authentication",
        "status": "failed",
        "duration_ms": 0,
        "cause": "It does not know [hidden].",
        "remediation": "Make a new key.",
    }
    assert seen(alice, draft)["status"] == "draft"
    assert Connection.objects.get().facts == {}


@pytest.mark.parametrize(
    ("break_it", "name"),
    [(lambda corner: setattr(corner, "status", 503), "reachable"), (lambda corner: corner.close(), "reachable")],
)
def test_a_provider_that_is_away_fails_the_check_that_it_is_reachable(alice, draft, corner, break_it, name):
    break_it(corner)
    found = verified(alice, draft)
    assert [check["name"] for check in found["checks"] if check["status"] == "failed"] == [name]
    assert KEY not in str(Verification.objects.values_list("checks", flat=True))


def test_what_is_missing_is_said_before_anything_is_asked(alice, draft, corner):
    patch(alice, draft, credentials={"consumer_key": None})
    found = verified(alice, draft)
    assert [(check["name"], check["status"]) for check in found["checks"]] == [("settings", "failed")]
    assert "Key" in found["checks"][0]["cause"]
    assert corner.asked == []


def test_a_defect_of_the_providers_code_is_a_failed_check_and_hurts_nobody_else(alice, draft, corner, monkeypatch):
    monkeypatch.setattr("tests.connections.corner._ask", lambda *_args, **_kwargs: 1 / 0)
    found = verified(alice, draft)
    assert found["checks"][-1]["name"] == "internal"
    assert "ZeroDivision" not in str(found)


def test_who_asks_while_it_is_being_verified_joins(alice, bob, draft):
    first, second = do(alice, draft, "verify").json(), do(bob, draft, "verify").json()
    assert first["id"] == second["id"]
    assert work() == 1
    third = do(alice, draft, "verify").json()
    assert third["id"] != first["id"]


def test_the_answer_waits_for_the_end_where_that_is_asked_for(alice, draft):
    worker = threading.Timer(0.3, work_in_a_thread)
    worker.start()
    response = do(alice, draft, "verify?wait=1")
    worker.join()
    assert (response.status_code, response.json()["status"]) == (200, "passed")


def work_in_a_thread() -> None:
    from django.db import connection

    work()
    connection.close()


def test_waiting_ends_and_holds_no_connection_meanwhile(alice, draft, monkeypatch):
    import connections.api.waiting as waiting

    monkeypatch.setattr(waiting, "LIMIT_S", 0.3)
    held = []
    monkeypatch.setattr(waiting.time, "sleep", lambda _s: held.append(waiting.database.connection is not None))
    response = do(alice, draft, "verify?wait=1")
    assert (response.status_code, response.json()["status"]) == (202, "running")
    assert held
    assert not any(held)


@pytest.mark.parametrize("query", ["wait=yes", "wait=1&wait=1", "wiat=1"])
def test_a_mistyped_parameter_is_refused(alice, draft, query):
    assert_problem(do(alice, draft, f"verify?{query}"), 400, "validation_failed")


def test_what_was_asked_of_older_settings_counts_for_nothing(alice, draft, corner):
    corner.gate.clear()
    do(alice, draft, "verify")
    worker = threading.Thread(target=work_in_a_thread)
    worker.start()
    assert corner.is_reached.wait(5)
    assert patch(alice, draft, credentials={"consumer_key": OTHER_KEY})["config_version"] == 2
    corner.gate.set()
    worker.join()
    found = seen(alice, draft)
    assert (found["verification"]["status"], found["verification"]["config_version"]) == ("passed", 1)
    assert (found["status"], found["last_verified_at"]) == ("draft", None)
    assert_problem(do(alice, draft, "activate"), 409, "verification_required")


def test_settings_that_changed_before_anything_was_asked_are_not_asked_about(alice, draft, corner):
    do(alice, draft, "verify")
    patch(alice, draft, credentials={"consumer_key": OTHER_KEY})
    work()
    assert seen(alice, draft)["verification"]["status"] == "failed"
    assert corner.asked == []


def test_a_worker_that_died_is_followed_by_another_and_says_nothing_any_more(alice, draft):
    do(alice, draft, "verify")
    died = _claim()
    assert died is not None
    assert work() == 0  # its lease holds
    Verification.objects.update(lease_expires_at=timezone.now())
    assert work() == 1
    verification_run(died)  # it only slept
    done = Verification.objects.get()
    assert (done.status, done.attempts, len(done.checks)) == ("passed", 2, 4)
    assert SecurityEvent.objects.filter(action="connection_verified").count() == 1


def test_a_verification_that_kills_its_workers_ends_as_failed(alice, draft):
    do(alice, draft, "verify")
    for _ in range(3):
        assert _claim()
        Verification.objects.update(lease_expires_at=timezone.now())
    work()
    assert seen(alice, draft)["verification"]["checks"][0]["name"] == "interrupted"


def test_asking_takes_longer_than_the_lease_and_nobody_else_begins(alice, draft, corner, settings):
    settings.LEASE_S = 0.6
    corner.gate.clear()
    do(alice, draft, "verify")
    worker = threading.Thread(target=work_in_a_thread)
    worker.start()
    assert corner.is_reached.wait(5)
    time.sleep(1.2)
    assert _claim() is None
    corner.gate.set()
    worker.join()
    assert Verification.objects.get().status == "passed"


# --- activation ---
def test_nothing_is_activated_before_it_is_verified_and_the_answer_says_what_fails(alice, draft, corner):
    assert_problem(do(alice, draft, "activate"), 409, "verification_required")
    do(alice, draft, "verify")
    assert_problem(do(alice, draft, "activate"), 409, "verification_running")
    corner.keys = set()
    work()
    problem = assert_problem(do(alice, draft, "activate"), 409, "verification_failed")
    assert [check["name"] for check in problem["checks"]] == ["authentication"]
    assert problem["checks"][0]["remediation"] == "Make a new key."
    found = seen(alice, draft)
    assert found["status"] == "draft"
    assert Connection.objects.get().errand == ""


def test_a_later_failure_takes_the_way_to_activation_back(alice, draft, corner):
    verified(alice, draft)
    corner.keys = set()
    assert verified(alice, draft)["status"] == "failed"
    assert seen(alice, draft)["status"] == "draft"
    assert_problem(do(alice, draft, "activate"), 409, "verification_failed")


def test_activated_once_and_set_up_at_the_provider_after_the_commit(alice, draft, corner):
    verified(alice, draft)
    answers = [do(alice, draft, "activate", HTTP_IDEMPOTENCY_KEY="k").json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert do(alice, draft, "activate").json()["status"] == "active"
    assert corner.webhooks == {}
    assert run_errands() == 1
    assert run_errands() == 0
    assert corner.webhooks == {"1": f"http://127.0.0.1:8000/webhook/woocommerce/{draft}"}
    connection = Connection.objects.get()
    assert connection.facts["webhook"] == "1"
    assert connection.good["version"] == 1
    assert SecurityEvent.objects.filter(action="connection_activated").count() == 1
    assert DomainEvent.objects.filter(type="ConnectionActivated").count() == 1


def test_setting_up_is_tried_until_it_succeeds_and_the_connection_is_active_meanwhile(alice, draft, corner):
    verified(alice, draft)
    do(alice, draft, "activate")
    corner.status = 500
    assert run_errands() == 0
    connection = Connection.objects.get()
    assert (connection.status, connection.errand, connection.errand_attempts) == ("active", "activated", 1)
    assert "500" in connection.errand_error
    assert KEY not in connection.errand_error
    assert connection.errand_at > timezone.now()
    corner.status = 0
    assert run_errands() == 1
    assert Connection.objects.get().errand_error == ""


def test_an_active_connection_that_fails_its_verification_stays_active_and_shows_it(alice, draft, corner):
    active(alice, draft)
    corner.keys = set()
    assert verified(alice, draft)["status"] == "failed"
    assert seen(alice, draft)["status"] == "active"


def test_one_that_waits_for_a_person_goes_on_once_it_is_let_in_again(alice, draft):
    active(alice, draft)
    Connection.objects.update(status="needs_reauth", error_code="bank_sign_in_required")
    assert verified(alice, draft)["status"] == "passed"
    found = seen(alice, draft)
    assert (found["status"], found["error"]) == ("active", None)


def test_new_settings_wait_for_their_activation_and_the_old_ones_are_forgotten_then(alice, draft, corner):
    active(alice, draft)
    corner.keys |= {OTHER_KEY}
    assert patch(alice, draft, credentials={"consumer_key": OTHER_KEY})["status"] == "draft"
    assert Credential.objects.filter(name="consumer_key").count() == 2
    active(alice, draft)
    kept = Credential.objects.get(name="consumer_key")
    assert (kept.reveal(), kept.is_superseded) == (OTHER_KEY, False)
    connection = Connection.objects.get()
    assert (connection.good["version"], str(kept.pk) in connection.good["credentials"]) == (2, True)
    assert len(corner.webhooks) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("paused", "connection_paused"),
        ("failed", "connection_not_active"),
        ("needs_reauth", "connection_not_active"),
        ("disconnecting", "connection_not_active"),
        ("disconnected", "connection_not_active"),
    ],
)
def test_what_is_not_a_draft_is_not_activated(alice, draft, status, code):
    verified(alice, draft)
    Connection.objects.update(status=status)
    assert_problem(do(alice, draft, "activate"), 409, code)


# --- pauses ---
@pytest.mark.parametrize("kind", ["shop", "bank"])
def test_a_pause_says_who_and_when_and_a_resumption_ends_it(alice, bob, draft, kind):
    pk = active(alice, draft) if kind == "shop" else str(make_bank(alice).pk)
    paused = do(bob, pk, "pause").json()
    assert (paused["status"], paused["status_reason"].startswith("Paused by bob on ")) == ("paused", True)
    assert_problem(do(bob, pk, "pause"), 409, "connection_not_active")
    Connection.objects.filter(pk=pk).update(wait_reason="backoff", next_attempt_at=timezone.now())
    resumed = do(bob, pk, "resume").json()
    assert (resumed["status"], resumed["status_reason"], resumed["next_attempt_at"]) == ("active", "", None)
    assert_problem(do(bob, pk, "resume"), 409, "connection_not_active")
    told = SecurityEvent.objects.filter(object_id=pk, actor=bob.user).values_list("action", flat=True)
    assert {"connection_paused", "connection_resumed"} <= set(told)


def test_drafts_cannot_be_paused(alice, draft):
    assert_problem(do(alice, draft, "pause"), 409, "connection_not_active")


# --- the end ---
def disconnect(person, connection_id: str) -> dict[str, Any]:
    return person.api.delete(f"{URL}/{connection_id}", {"confirmed": True}, format="json").json()


def test_a_disconnect_clears_away_at_the_provider_before_it_destroys_the_secrets(alice, draft, corner):
    active(alice, draft)
    assert disconnect(alice, draft)["status"] == "disconnecting"
    assert Credential.objects.count() == 2
    assert run_errands() == 1
    assert corner.webhooks == {}
    assert seen(alice, draft)["status"] == "disconnected"
    assert not Credential.objects.exists()
    assert DomainEvent.objects.filter(type="ConnectionDisconnected").count() == 1


def test_a_disconnect_uses_what_was_active_where_newer_settings_are_a_draft(alice, draft, corner):
    active(alice, draft)
    patch(alice, draft, config={"store_url": "http://127.0.0.1:9"}, credentials={"consumer_key": OTHER_KEY})
    disconnect(alice, draft)
    assert run_errands() == 1
    assert corner.webhooks == {}
    assert not Credential.objects.exists()


def test_a_provider_that_is_away_keeps_the_disconnect_open_and_it_says_so(alice, draft, corner):
    active(alice, draft)
    disconnect(alice, draft)
    corner.status = 503
    for _ in range(3):
        assert run_errands() == 0
    found = seen(alice, draft)
    assert (found["status"], found["error"]["code"]) == ("disconnecting", "provider_unavailable")
    assert DomainEvent.objects.filter(type="RemovalFailed").count() == 1
    assert Credential.objects.exists()
    corner.status = 0
    assert run_errands() == 1
    assert seen(alice, draft)["status"] == "disconnected"


def test_keys_that_the_provider_does_not_know_any_more_keep_no_disconnect_open(alice, draft, corner):
    active(alice, draft)
    corner.keys = set()
    disconnect(alice, draft)
    assert run_errands() == 1
    assert seen(alice, draft)["status"] == "disconnected"


def test_a_draft_without_secrets_just_ends(alice, corner):
    from connections.services.disconnecting import disconnects_finish

    made = alice.api.post(URL, {"provider": "woocommerce", "config": {"store_url": corner.url}}, format="json").json()
    disconnect(alice, made["id"])
    assert disconnects_finish() == 1
    assert corner.asked == []


def test_a_disconnect_waits_for_whoever_sets_it_up_and_leaves_nothing_behind(alice, draft, corner):
    verified(alice, draft)
    do(alice, draft, "activate")
    corner.gate.clear()
    corner.is_reached.clear()
    setting_up = threading.Thread(target=errands_in_a_thread)
    setting_up.start()
    assert corner.is_reached.wait(5)
    disconnect(alice, draft)
    assert run_errands() == 0  # the other one holds its lease
    corner.gate.set()
    setting_up.join()
    run_errands()
    assert corner.webhooks == {}
    assert seen(alice, draft)["status"] == "disconnected"


def errands_in_a_thread() -> None:
    from django.db import connection

    errands_run(deadline=time.monotonic() + 0.01)
    connection.close()
