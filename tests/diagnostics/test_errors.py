"""Every error that somebody met can be found by its correlation id."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from celery.signals import task_failure
from django.db import OperationalError, connection
from django.http import Http404
from django.test import RequestFactory
from django.utils import timezone

from config import correlation
from config.problems import problem_response, server_error
from connections import tenancy
from connections.errors import NotFound, TemporaryError
from diagnostics import tasks
from diagnostics.models import ErrorEvent
from diagnostics.services import errors

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_budget(servers, monkeypatch):
    """The count of a minute is not shared with other tests."""
    counts: dict[tuple, int] = {}

    def take(*key: str, per_minute: int) -> float:
        counts[key] = counts.get(key, 0) + 1
        return 0.0 if counts[key] <= per_minute else 30.0

    monkeypatch.setattr(errors.budgets, "take", take)
    monkeypatch.setattr(errors, "_unrecorded", type(errors._unrecorded)())


def request(path: str = "/api/v1/x", user=None, route: str | None = "api/v1/x"):
    made = RequestFactory().post(path)
    made.user = user
    made.resolver_match = SimpleNamespace(route=route) if route else None
    return made


def answered(error: Exception, **fields) -> ErrorEvent | None:
    """The record of this error, answered as the API answers it."""
    with correlation.bound("c-1"):
        try:
            raise error
        except type(error) as raised:
            problem_response(request(**fields), raised)
    return ErrorEvent.objects.order_by("pk").last()


def test_refusal_is_recorded_without_a_stack(alice):
    event = answered(NotFound(operator_detail="no such row"), user=alice.user)
    assert (event.correlation_id, event.code, event.status, event.operator_detail) == (
        "c-1",
        "not_found",
        404,
        "no such row",
    )
    assert (event.method, event.path, event.user, event.workspace, event.stack) == (
        "POST",
        "/api/v1/x",
        alice.user,
        None,
        "",
    )
    assert str(event) == "not_found POST /api/v1/x"


def test_framework_error_is_recorded_too():
    assert answered(Http404("secret")).code == "not_found"
    assert ErrorEvent.objects.get().operator_detail == ""


def test_provider_error_keeps_what_the_provider_said():
    error = TemporaryError(provider="plaid", provider_code="INTERNAL", request_id="r-1", operator_detail="it said\0 no")
    event = answered(error)
    assert (event.provider, event.provider_code, event.provider_request_id) == ("plaid", "INTERNAL", "r-1")
    assert (event.status, event.operator_detail) == (503, "it said no")


def test_defect_is_recorded_with_its_stack_and_without_its_secrets():
    event = answered(RuntimeError("the token was access-sandbox-123-abc"))
    assert (event.status, event.code) == (500, "internal_error")
    assert "in answered" in event.stack
    assert "access-sandbox" not in event.stack + event.operator_detail
    assert event.operator_detail == "RuntimeError: the token was [hidden]"


def test_long_stack_keeps_its_end():
    def deep(level: int):
        if level:
            deep(level - 1)
        raise RuntimeError("x" * 30_000 + "the end")

    try:
        deep(3)
    except RuntimeError as error:
        event = answered(error)
    assert len(event.stack) <= errors.STACK_LIMIT
    assert event.stack.startswith("…")
    assert event.stack.rstrip().endswith("the end")


def test_handler_without_the_exception_finds_the_one_under_way():
    """Django's handler500 gets no exception."""
    with correlation.bound("c-2"):
        try:
            raise RuntimeError("plain view")
        except RuntimeError:
            server_error(request())
    assert "plain view" in ErrorEvent.objects.get().stack


def test_error_raised_by_nobody_has_a_stack_of_its_own():
    with correlation.bound("c-3"):
        server_error(request())
    assert "internal_error" in ErrorEvent.objects.get().stack


def test_path_is_scrubbed_and_cut():
    event = answered(NotFound(), path="/api/v1/access-sandbox-123-abc/" + "x" * 600)
    assert event.path.startswith("/api/v1/[hidden]")
    assert len(event.path) <= 500


def test_tenant_records_its_own_error_and_reads_it(alice, charlie):
    tenancy.enter(alice.workspace.pk)
    event = answered(NotFound(), user=alice.user)
    tenancy.leave()
    assert event.workspace_id == alice.workspace.pk
    tenancy.enter(charlie.workspace.pk)
    assert ErrorEvent.objects.count() == 0
    tenancy.leave()


def test_errors_of_the_real_api_are_recorded_under_their_correlation_id(alice):
    for answer in (
        alice.api.get("/api/v1/connections/00000000-0000-0000-0000-000000000000"),
        alice.api.get("/api/v1/nowhere"),
        alice.api.post("/api/v1/auth/token", b"{", content_type="application/json"),
    ):
        assert answer.status_code >= 400
        event = ErrorEvent.objects.get(correlation_id=answer["X-Correlation-ID"])
        assert (event.status, event.code) == (answer.status_code, answer.json()["code"])


# --- never another error ---
def test_lost_record_harms_no_answer(monkeypatch, caplog):
    monkeypatch.setattr(ErrorEvent, "save", lambda *args, **kwargs: 1 / 0)
    assert answered(NotFound()) is None
    assert "error_event_lost" in caplog.text


def test_broken_transaction_harms_no_answer():
    from django.db import transaction

    with transaction.atomic():
        connection.needs_rollback = True
        answered_status = problem_response(request(), NotFound()).status_code
        connection.needs_rollback = False
    assert answered_status == 404


def test_database_that_is_away_is_not_asked_again(django_assert_num_queries):
    lost = OperationalError("gone")
    lost.__cause__ = Refused()
    wrapped = TemporaryError()
    wrapped.__cause__ = lost
    with django_assert_num_queries(0):
        for error in (lost, wrapped):
            problem_response(request(), error)


class Refused(Exception):
    sqlstate = None


class Deadlock(Exception):
    sqlstate = "40P01"


def test_database_that_refused_is_asked():
    error = OperationalError("deadlock")
    error.__cause__ = Deadlock()
    assert answered_as_is(error).status == 503


def answered_as_is(error: Exception) -> ErrorEvent:
    problem_response(request(), error)
    return ErrorEvent.objects.get()


# --- limits ---
def test_flood_is_limited_and_counted(monkeypatch):
    monkeypatch.setattr(errors, "ANYBODY_PER_MINUTE", 3)
    for _ in range(8):
        answered(NotFound())
    assert ErrorEvent.objects.count() == 3
    monkeypatch.setattr(errors, "ANYBODY_PER_MINUTE", 100)
    assert answered(NotFound()).unrecorded_before == 5
    assert answered(NotFound()).unrecorded_before == 0


def test_other_errors_and_people_have_limits_of_their_own(monkeypatch, alice, dave):
    monkeypatch.setattr(errors, "ANYBODY_PER_MINUTE", 1)
    monkeypatch.setattr(errors, "PERSON_PER_MINUTE", 2)
    for user in (None, alice.user, dave.user):
        for route in ("a", "b", None):
            for _ in range(4):
                answered(NotFound(), user=user, route=route)
    assert ErrorEvent.objects.count() == 3 * (1 + 2 + 2)


def test_memory_of_what_was_left_out_is_bounded(monkeypatch):
    monkeypatch.setattr(errors, "ANYBODY_PER_MINUTE", 0)
    monkeypatch.setattr(errors, "_UNRECORDED_KEYS", 2)
    for route in "abca":
        answered(NotFound(), route=route)
    assert sorted(errors._unrecorded.values()) == [1, 2]


# --- tasks ---
def test_failed_task_is_recorded():
    with correlation.bound("c-4"):
        try:
            raise ValueError("cwt_secret is wrong")
        except ValueError as error:
            task_failure.send(sender=tasks.error_events_purge, exception=error)
    event = ErrorEvent.objects.get()
    assert (event.correlation_id, event.method, event.path) == ("c-4", "TASK", "diagnostics.tasks.error_events_purge")
    assert (event.code, event.status) == ("internal_error", 500)
    assert "ValueError" in event.stack
    assert "cwt_secret" not in event.stack


def test_failed_task_keeps_the_code_of_our_taxonomy():
    task_failure.send(sender=None, exception=TemporaryError(provider="plaid"))
    event = ErrorEvent.objects.get()
    assert (event.code, event.path, event.provider) == ("provider_unavailable", "unknown", "plaid")


# --- retention ---
def test_old_events_are_purged_and_young_ones_kept():
    for age_days in (0, 29, 31, 40, 50):
        event = ErrorEvent.objects.create(correlation_id=str(age_days), code="x", status=500, method="GET", path="/")
        ErrorEvent.objects.filter(pk=event.pk).update(created_at=timezone.now() - timedelta(days=age_days))
    assert errors.error_events_purge(batch=2) == 3
    assert tasks.error_events_purge() == 0
    assert set(ErrorEvent.objects.values_list("correlation_id", flat=True)) == {"0", "29"}
