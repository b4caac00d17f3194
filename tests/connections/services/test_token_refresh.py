"""Renewing OAuth tokens: once an expiry, by one at a time, and nothing that the provider gave is lost."""

import json
import time
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection as database
from django.utils import timezone

from connections.errors import KeysRefused, Misconfigured, NeedsReauth, TemporaryError
from connections.models import Connection, DomainEvent, OAuthGrant, ProviderPause
from connections.services import provider_pauses
from connections.services.token_refresh import fresh_token, grants_due, grants_refresh
from tests.connections.intuit import end_access, secret

pytestmark = pytest.mark.django_db


@pytest.fixture
def books(alice, intuit) -> Connection:
    return intuit.connected(alice)


def refresh_all() -> int:
    return grants_refresh(deadline=time.monotonic() + 20)


def let_it_try_again() -> None:
    OAuthGrant.objects.update(next_attempt_at=None)


def test_a_token_that_lasts_is_given_out_without_a_call(books, intuit):
    assert fresh_token(books.pk) == secret(books, "access_token")
    assert intuit.asked() == []


def test_a_token_that_ends_within_ten_minutes_is_renewed_by_the_clock_once(books, intuit):
    end_access(books, left_s=601)
    assert refresh_all() == 0
    end_access(books, left_s=599)
    before = secret(books, "access_token")
    assert (refresh_all(), refresh_all()) == (1, 0)
    assert secret(books, "access_token") != before
    assert len(intuit.asked()) == 1
    grant = OAuthGrant.objects.get()
    assert (grant.refreshes, grant.sent_fingerprint, grant.lease_token) == (1, "", None)


def test_an_idle_tick_is_one_query(books, django_assert_num_queries):
    with django_assert_num_queries(1):
        assert refresh_all() == 0


@pytest.mark.parametrize(
    ("status", "is_due"), [("paused", 1), ("failed", 1), ("needs_reauth", 0), ("disconnecting", 0)]
)
def test_only_what_may_go_on_is_renewed(books, status, is_due):
    Connection.objects.update(status=status)
    end_access(books)
    assert len(grants_due()) == is_due


def test_the_rotated_refresh_token_is_kept_and_used_next(books, intuit):
    intuit.rotate_always()
    seen = {secret(books)}
    for _ in range(3):
        end_access(books)
        fresh_token(books.pk)
        seen.add(secret(books))
    assert len(seen) == 4
    assert secret(books) == intuit.grant(books)["refresh_token"]


def test_a_token_that_was_refused_is_renewed_though_it_should_last(books, intuit):
    before = secret(books, "access_token")
    after = fresh_token(books.pk, before)
    assert after != before
    assert fresh_token(books.pk, before) == after, "a second one who met the same 401 takes what the first one got"
    assert len(intuit.asked()) == 1


def test_expiries_are_kept_and_the_end_for_good_is_asked_for(books):
    found = {row.name: row.expires_at for row in books.credentials.all()}
    now, grant = timezone.now(), OAuthGrant.objects.get()
    assert timedelta(minutes=59) < found["access_token"] - now <= timedelta(hours=1)
    assert timedelta(days=99) < found["refresh_token"] - now < timedelta(days=102)
    assert timedelta(days=1800) < grant.hard_expires_at - now < timedelta(days=1900)
    assert Connection.objects.get().reauth_due_at == grant.hard_expires_at
    end_access(books)
    fresh_token(books.pk)
    assert OAuthGrant.objects.get().hard_expires_at == grant.hard_expires_at, "told first, kept"


# --- refused ---
def test_a_withdrawn_access_waits_for_its_owner_and_is_told_once(books, intuit):
    intuit.change(books, revoked=True)
    end_access(books)
    for _ in range(3):
        with pytest.raises(NeedsReauth) as raised:
            fresh_token(books.pk)
        assert raised.value.code == "access_refused"
    assert len(intuit.asked()) == 1
    found = Connection.objects.get()
    assert (found.status, found.error_code) == ("needs_reauth", "access_refused")
    told = list(DomainEvent.objects.filter(type__in=("ReauthRequired", "TokenRefreshFailed")).order_by("sequence"))
    assert [event.type for event in told] == ["ReauthRequired", "TokenRefreshFailed"]
    assert told[1].payload == {"code": "access_refused", "status": "needs_reauth", "is_answer_lost": False}
    assert (refresh_all(), len(intuit.asked())) == (0, 1)


def test_a_paused_connection_whose_access_is_withdrawn_stays_paused_and_says_so(books, intuit):
    Connection.objects.update(status="paused")
    intuit.change(books, revoked=True)
    end_access(books)
    refresh_all()
    found = Connection.objects.get()
    assert (found.status, found.error_code) == ("paused", "access_refused")
    assert DomainEvent.objects.filter(type="TokenRefreshFailed").count() == 1


def test_a_refusal_of_a_token_that_somebody_replaced_meanwhile_changes_nothing(alice, books, intuit, monkeypatch):
    """The person signs in again while a renewal with the old token is under way."""
    from connections.providers.quickbooks import auth

    real, realm = auth.Authorizer.refresh, books.facts["realm_id"]

    def slow(self, access):
        monkeypatch.setattr(auth.Authorizer, "refresh", real)
        intuit.change(books, revoked=True)
        intuit.sign_in(Connection.objects.get(), alice, realm)
        return real(self, access)

    monkeypatch.setattr(auth.Authorizer, "refresh", slow)
    end_access(books)
    assert fresh_token(books.pk) == secret(books, "access_token")
    assert Connection.objects.get().status == "active"
    assert DomainEvent.objects.filter(type="TokenRefreshFailed").count() == 0


# --- an answer that was lost ---
def test_an_answer_that_never_came_is_noted_and_the_old_token_tried_again(books, intuit):
    intuit.fault("commit_then_drop")
    end_access(books)
    with pytest.raises(TemporaryError):
        fresh_token(books.pk)
    assert OAuthGrant.objects.get().sent_fingerprint
    let_it_try_again()
    assert fresh_token(books.pk)
    grant = OAuthGrant.objects.get()
    assert (grant.lost_answers, grant.sent_fingerprint, grant.error_code) == (1, "", "")
    assert Connection.objects.get().status == "active"


def test_where_the_lost_answer_held_the_next_token_the_cause_says_so(books, intuit):
    intuit.rotate_always()
    intuit.control("settings", {"grace_s": 0})
    intuit.fault("commit_then_drop")
    end_access(books)
    with pytest.raises(TemporaryError):
        fresh_token(books.pk)
    let_it_try_again()
    with pytest.raises(NeedsReauth) as raised:
        fresh_token(books.pk)
    assert raised.value.code == "access_lost"
    assert Connection.objects.get().error_code == "access_lost"
    assert DomainEvent.objects.get(type="TokenRefreshFailed").payload["is_answer_lost"] is True


def test_a_holder_that_was_stopped_for_long_still_saves_the_only_copy(books, intuit, monkeypatch):
    """Its lease ran out, another one was refused with the old token, and then it goes on."""
    from connections.providers.quickbooks import auth

    intuit.rotate_always()
    intuit.control("settings", {"grace_s": 0})
    real = auth.Authorizer.refresh

    def stopped(self, access):
        answer = real(self, access)
        monkeypatch.setattr(auth.Authorizer, "refresh", real)
        OAuthGrant.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        with pytest.raises(NeedsReauth):
            fresh_token(books.pk)
        assert Connection.objects.get().status == "needs_reauth"
        return answer

    monkeypatch.setattr(auth.Authorizer, "refresh", stopped)
    end_access(books)
    assert fresh_token(books.pk) == secret(books, "access_token")
    assert (Connection.objects.get().status, Connection.objects.get().error_code) == ("active", "")
    assert secret(books) == intuit.grant(books)["refresh_token"]


def test_what_was_refused_before_it_was_sent_is_not_called_lost(books, settings):
    settings.INTUIT_TOKEN_URL = "http://127.0.0.1:9/tokens"
    end_access(books)
    with pytest.raises(TemporaryError):
        fresh_token(books.pk)
    assert OAuthGrant.objects.get().sent_fingerprint == ""


# --- the provider, or its keys, in trouble ---
def test_while_the_provider_is_away_the_old_token_serves_and_nobody_storms_it(books, intuit):
    end_access(books, left_s=30)
    intuit.fault("error", status=503, times=99)
    with pytest.raises(TemporaryError):
        fresh_token(books.pk)
    for _ in range(3):
        assert fresh_token(books.pk) == secret(books, "access_token"), "it has half a minute left"
    end_access(books)
    for _ in range(3):
        with pytest.raises(TemporaryError) as raised:
            fresh_token(books.pk)
        assert raised.value.retry_after_s is not None
    assert OAuthGrant.objects.get().failure_count == 1
    assert Connection.objects.get().status == "active"


def test_refused_keys_are_the_installations_trouble_and_all_work_there_rests(books, intuit):
    intuit.control("apps/test-quickbooks-id", {"secret": "changed"})
    end_access(books)
    with pytest.raises(KeysRefused):
        fresh_token(books.pk)
    found = Connection.objects.get()
    assert (found.status, found.error_code) == ("active", "")
    pause = ProviderPause.objects.get()
    assert (pause.provider, pause.environment, pause.code) == ("quickbooks", "sandbox", "provider_misconfigured")
    with pytest.raises(Misconfigured):
        fresh_token(books.pk)
    assert (refresh_all(), grants_due()) == (0, [])
    pause.next_probe_at = timezone.now()
    pause.save()
    assert provider_pauses.providers_probe() == 0
    intuit.control("apps/test-quickbooks-id", {"secret": "test-quickbooks-secret"})
    ProviderPause.objects.update(next_probe_at=timezone.now())
    assert provider_pauses.providers_probe() == 1
    assert fresh_token(books.pk)


def test_without_a_sign_in_there_is_nothing_to_renew(alice, simulator):
    from tests.connections.intuit import make_books

    with pytest.raises(Misconfigured) as raised:
        fresh_token(make_books(alice).pk)
    assert "authorize" in raised.value.remediation


def test_no_secret_is_in_the_row_or_in_an_error(books, intuit):
    intuit.change(books, revoked=True)
    end_access(books)
    with pytest.raises(NeedsReauth) as raised:
        fresh_token(books.pk)
    with database.cursor() as cursor:
        cursor.execute("SELECT g::text || c::text FROM connections_oauthgrant g, connections_connection c")
        text = "".join(row[0] for row in cursor.fetchall())
    for name in ("access_token", "refresh_token"):
        assert secret(books, name) not in text + str(raised.value) + raised.value.operator_detail


def test_what_the_provider_quotes_of_what_we_sent_is_hidden(books, intuit):
    quoted = f"{secret(books)} and {settings.QUICKBOOKS_CLIENT_SECRET}"
    intuit.fault("error", status=400, body=json.dumps({"error": quoted, "error_description": f"no {quoted}"}))
    end_access(books)
    with pytest.raises(Misconfigured) as raised:
        fresh_token(books.pk)
    told = f"{raised.value.operator_detail} {raised.value.provider_code} {OAuthGrant.objects.get().error_detail}"
    assert "unreadable no [hidden] and [hidden]" in told
    assert secret(books) not in told
