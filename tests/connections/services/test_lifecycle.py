"""The state machine of a connection, and what each class of error does to it."""

from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from connections import errors
from connections.errors import Conflict
from connections.models import Connection
from connections.models.connection import Status, Wait
from connections.services import lifecycle
from connections.services.lifecycle import TRANSITIONS, Event


def at(status: str, **fields) -> Connection:
    return Connection(name="Bank", provider="plaid", status=status, **fields)


@given(st.lists(st.sampled_from(list(Event))))
def test_any_order_of_events_ends_in_a_named_state_and_gone_is_for_ever(events):
    connection = at(Status.DRAFT)
    for event in events:
        was = connection.status
        moved = lifecycle.apply(connection, event)
        assert moved == (was in TRANSITIONS[event][0])
        assert connection.status == (TRANSITIONS[event][1] if moved else was)
        if was == Status.DISCONNECTED:
            assert not moved
        if was == Status.DISCONNECTING:
            assert connection.status in (Status.DISCONNECTING, Status.DISCONNECTED)


@given(st.lists(st.sampled_from(list(Event)), max_size=8), st.sampled_from(list(Event)))
def test_the_same_event_twice_is_the_same_event_once(events, last):
    connection = at(Status.ACTIVE)
    for event in events:
        lifecycle.apply(connection, event)
    lifecycle.apply(connection, last)
    once = connection.status
    lifecycle.apply(connection, last)
    assert connection.status == once


def test_reauth_stops_without_a_next_attempt():
    connection = at(Status.ACTIVE, next_attempt_at=timezone.now())
    lifecycle.record_failure(connection, errors.NeedsReauth(operator_detail="ITEM_LOGIN_REQUIRED access-sandbox-1-2"))
    assert (connection.status, connection.next_attempt_at) == (Status.NEEDS_REAUTH, None)
    assert "access-sandbox" not in connection.error_detail
    assert connection.failure_count == 0


def waits_of(connection: Connection, error: errors.CausewayError, times: int) -> list[float]:
    """How long it waits after each of so many failures in a row; failed from the third on."""
    waits = []
    for number in range(1, times + 1):
        lifecycle.record_failure(connection, error)
        waits.append((connection.next_attempt_at - timezone.now()).total_seconds())
        assert connection.status == (Status.ACTIVE if number < 3 else Status.FAILED)
    return waits


def test_the_third_failure_in_a_row_fails_it_and_it_is_tried_as_rarely_as_can_be(settings):
    settings.BACKOFF_BASE_S, settings.BACKOFF_MAX_S = 30, 6 * 3600
    connection = at(Status.ACTIVE)
    waits = waits_of(connection, errors.ProviderError(), 5)
    assert all(0.79 * 30 * 2**n < wait < 1.21 * 30 * 2**n for n, wait in enumerate(waits[:2]))
    assert all(6 * 3600 - 10 < wait <= 6 * 3600 for wait in waits[2:])
    assert connection.wait_reason == Wait.BACKOFF


def test_a_provider_that_is_away_is_asked_again_within_the_hour(settings):
    settings.BACKOFF_BASE_S, settings.BACKOFF_MAX_S, settings.BACKOFF_OUTAGE_MAX_S = 30, 6 * 3600, 3600
    waits = waits_of(at(Status.ACTIVE), errors.TemporaryError(), 12)
    assert all(0.79 * 30 * 2**n < wait < 1.21 * 30 * 2**n for n, wait in enumerate(waits[:6]))
    assert all(0.79 * 3600 < wait <= 3600 for wait in waits[7:])


def test_a_providers_limit_is_waited_for_with_jitter_and_never_less():
    waits = set()
    for _ in range(20):
        connection = at(Status.ACTIVE)
        lifecycle.record_failure(connection, errors.RateLimited(retry_after_s=60, provider_code="ITEM_GET_LIMIT"))
        waits.add(round((connection.next_attempt_at - timezone.now()).total_seconds(), 1))
    assert all(59.8 < wait <= 72 for wait in waits)
    assert len(waits) > 5


def test_a_permanent_failure_fails_at_once():
    connection = at(Status.ACTIVE)
    lifecycle.record_failure(connection, errors.PermanentError(code="bank_revoked"))
    assert (connection.status, connection.error_code) == (Status.FAILED, "bank_revoked")
    assert connection.next_attempt_at > timezone.now()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(errors.RateLimited(retry_after_s=42), Wait.RATE_LIMIT), (errors.Misconfigured(), Wait.CONFIGURATION)],
)
def test_waits_that_are_nobodys_failure_count_for_nothing(error, reason):
    connection = at(Status.ACTIVE)
    lifecycle.record_failure(connection, error)
    assert (connection.status, connection.failure_count, connection.wait_reason) == (Status.ACTIVE, 0, reason)
    assert not lifecycle.clear_backoff(connection)


def test_news_ends_a_back_off():
    connection = at(Status.ACTIVE)
    lifecycle.record_failure(connection, errors.TemporaryError())
    assert lifecycle.clear_backoff(connection)
    assert connection.next_attempt_at is None


def test_a_bank_that_is_down_alarms_nobody_for_a_day_and_is_asked_less_and_less(settings):
    settings.BACKOFF_BASE_S, settings.BACKOFF_MAX_S = 30, 6 * 3600
    long_ago = timezone.now() - timedelta(days=3)  # it was paused, or has no news and is read once a day
    connection, waits = at(Status.ACTIVE, last_sync_at=long_ago, created_at=long_ago), []
    down = errors.TemporaryError(code="bank_unavailable", retry_after_s=900)
    for _ in range(6):
        lifecycle.record_failure(connection, down)
        waits.append((connection.next_attempt_at - timezone.now()).total_seconds())
    assert connection.status == Status.ACTIVE
    assert all(0.79 * 900 * 2**n < wait < 1.21 * 900 * 2**n for n, wait in enumerate(waits[:4]))
    assert waits[5] <= 6 * 3600 * 1.2
    connection.failing_since = timezone.now() - timedelta(hours=23, minutes=59)
    lifecycle.record_failure(connection, down)
    assert connection.status == Status.ACTIVE
    connection.failing_since -= timedelta(minutes=2)
    lifecycle.record_failure(connection, down)
    assert connection.status == Status.FAILED


def test_our_own_pacing_is_no_error():
    connection = at(Status.ACTIVE)
    lifecycle.record_failure(connection, errors.RateLimited(retry_after_s=20))
    assert (connection.wait_reason, connection.error_code) == (Wait.RATE_LIMIT, "")
    lifecycle.record_failure(connection, errors.RateLimited(provider_code="TRANSACTIONS_SYNC_LIMIT"))
    assert connection.error_code == "provider_rate_limited"


def test_an_error_text_that_no_column_holds_is_cleaned():
    connection = at(Status.ACTIVE)
    lifecycle.record_failure(connection, errors.ProviderError(operator_detail="a\0b\ud800c"))
    assert connection.error_detail == "ab?c"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"status": Status.PAUSED}, "connection_paused"),
        ({"status": Status.NEEDS_REAUTH}, "reauth_required"),
        ({"status": Status.NEEDS_REAUTH, "error_code": "bank_no_accounts"}, "bank_no_accounts"),
        ({"status": Status.DISCONNECTED}, "connection_not_active"),
        ({"status": Status.ACTIVE, "wait_reason": "rate_limit"}, "rate_limit_wait"),
        ({"status": Status.ACTIVE, "wait_reason": "configuration"}, "provider_misconfigured"),
    ],
)
def test_the_reason_why_no_sync_can_start_is_said(fields, code):
    connection = at(next_attempt_at=timezone.now() + timedelta(minutes=1), **fields)
    with pytest.raises(Conflict) as caught:
        lifecycle.refuse_unless_syncable(connection)
    assert caught.value.code == code


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.ACTIVE, Status.FAILED, Status.PENDING_CLEANUP])
def test_a_failing_connection_may_be_tried(status):
    lifecycle.refuse_unless_syncable(at(status, wait_reason="backoff", next_attempt_at=timezone.now() + timedelta(1)))


def test_every_code_has_words_and_a_status():
    for code, entry in errors.CATALOGUE.items():
        assert 400 <= entry.status < 600, code
        assert entry.title
        assert entry.detail.endswith(".")
        assert entry.remediation.endswith(".")
    for kind in (errors.CausewayError, *errors.CausewayError.__subclasses__(), *errors.ProviderError.__subclasses__()):
        assert kind.default_code in errors.CATALOGUE


def test_a_wait_for_the_next_month_ends_within_the_hour_after_it_began(monkeypatch):
    monkeypatch.setattr(lifecycle, "uniform", lambda _least, most: most)
    month_s = 30 * 86_400.0
    connection = Connection(status=Status.ACTIVE)
    error = errors.RateLimited(code="provider_credits_exhausted", provider_code="3001", retry_after_s=month_s)
    lifecycle.record_failure(connection, error)
    assert connection.next_attempt_at - timezone.now() <= timedelta(seconds=month_s + 3600)
