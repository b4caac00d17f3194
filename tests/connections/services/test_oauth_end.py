"""The end of an access: withdrawn on disconnect, forecast before it comes, handed over anew by a shop."""

import time
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from connections.models import Connection, Credential, DomainEvent, OAuthGrant, OAuthState, ProviderPause
from connections.services.consent import notices_record
from connections.services.disconnecting import connection_disconnect
from connections.services.errands import errands_run
from connections.services.provider_pauses import providers_probe
from connections.services.token_refresh import fresh_token
from tests.connections.api.scene import assert_problem, make_shop
from tests.connections.intuit import end_access, make_state, secret

pytestmark = pytest.mark.django_db


@pytest.fixture
def books(alice, intuit) -> Connection:
    return intuit.connected(alice)


def disconnect(connection: Connection) -> Connection:
    connection_disconnect(connection_id=connection.pk, reason="Enough")
    return work()


def work() -> Connection:
    Connection.objects.exclude(errand="").update(
        errand_at=timezone.now() - timedelta(hours=1)
    )  # the test is one transaction
    errands_run(deadline=time.monotonic() + 10)
    return Connection.objects.get()


# --- withdrawn ---
def test_disconnecting_revokes_the_grant_and_destroys_the_tokens(books, intuit):
    assert disconnect(books).status == "disconnected"
    assert intuit.grant(books)["is_revoked"] is True
    assert Credential.objects.count() == 0


@pytest.mark.parametrize("how", ["there", "by us, and we did not hear of it"])
def test_an_access_that_is_withdrawn_already_is_no_error(books, intuit, how):
    if how == "there":
        intuit.change(books, revoked=True)
        assert disconnect(books).status == "disconnected"
        return
    intuit.fault("commit_then_drop", "revoke")
    assert disconnect(books).status == "disconnecting"
    assert work().status == "disconnected"


def test_while_the_call_fails_the_tokens_are_kept_and_operators_told(books, intuit):
    intuit.fault("error", "revoke", status=503, times=3)
    assert disconnect(books).status == "disconnecting"
    assert [work().status for _ in range(2)] == ["disconnecting"] * 2
    assert Credential.objects.count() == 2
    assert DomainEvent.objects.filter(type="RemovalFailed").exists()
    assert work().status == "disconnected"
    assert intuit.grant(books)["is_revoked"] is True


def test_keys_that_are_refused_meanwhile_are_nobodys_failure_and_it_ends_when_they_are_taken(books, intuit):
    intuit.control("apps/test-quickbooks-id", {"secret": "changed"})
    for _ in range(4):
        ended = disconnect(books) if books.status == "active" else work()
        books.refresh_from_db()
        assert (ended.status, ended.error_code, ended.errand_attempts) == ("disconnecting", "", 0)
    assert ProviderPause.objects.get().code == "provider_misconfigured"
    assert not DomainEvent.objects.filter(type="RemovalFailed").exists()
    intuit.control("apps/test-quickbooks-id", {"secret": "test-quickbooks-secret"})
    ProviderPause.objects.update(next_probe_at=timezone.now())
    assert providers_probe() == 1
    assert work().status == "disconnected"
    assert intuit.grant(books)["is_revoked"] is True


def test_a_refusal_that_is_no_proof_keeps_the_tokens(books, intuit, settings):
    """What Intuit says of a request that it did not like is not what it says of a grant that is gone."""
    settings.INTUIT_REVOKE_URL = settings.INTUIT_TOKEN_URL  # whatever is sent there this way is an invalid_request
    assert disconnect(books).status == "disconnecting"
    assert secret(books) == intuit.grant(books)["refresh_token"]
    assert intuit.grant(books)["is_revoked"] is False


def test_a_renewal_whose_connection_ended_over_the_call_is_given_back(books, intuit, monkeypatch):
    from connections.errors import CausewayError
    from connections.providers.quickbooks import auth

    real = auth.Authorizer.refresh

    def slow(self, access):
        monkeypatch.setattr(auth.Authorizer, "refresh", real)
        answer = real(self, access)
        Credential.objects.all().delete()
        Connection.objects.update(status="disconnected")
        return answer

    monkeypatch.setattr(auth.Authorizer, "refresh", slow)
    end_access(books)
    with pytest.raises(CausewayError):
        fresh_token(books.pk)
    assert intuit.grant(books)["is_revoked"] is True


# --- forecast ---
def told() -> list[int]:
    return [event.payload["days"] for event in DomainEvent.objects.filter(type="ReauthDue").order_by("sequence")]


def ends_in(days: float) -> None:
    at = timezone.now() + timedelta(days=days)
    OAuthGrant.objects.update(hard_expires_at=at)
    Connection.objects.update(reauth_due_at=at)


def test_the_end_for_good_is_told_sixty_thirty_and_seven_days_ahead(books):
    at = timezone.now() + timedelta(days=70)
    given = []
    for day in range(70):
        left = at - timedelta(days=day)
        OAuthGrant.objects.update(hard_expires_at=left)
        noticed = Connection.objects.get().reauth_noticed_on
        Connection.objects.update(reauth_due_at=left, reauth_noticed_on=noticed and (left.date() if noticed else None))
        given.append(notices_record())
    assert sum(given) == 3
    assert told() == [60, 30, 7]


def test_a_grant_that_nobody_renews_is_told_once_fourteen_days_ahead(books, intuit):
    rows = Credential.objects.filter(name="refresh_token")
    rows.update(expires_at=timezone.now() + timedelta(days=15))
    assert notices_record() == 0
    rows.update(expires_at=timezone.now() + timedelta(days=13))
    assert (notices_record(), notices_record()) == (1, 0)
    assert told() == [14]
    assert Connection.objects.get().reauth_due_at == rows.get().expires_at
    end_access(books)
    fresh_token(books.pk)
    assert Connection.objects.get().reauth_due_at == OAuthGrant.objects.get().hard_expires_at
    assert notices_record() == 0
    assert DomainEvent.objects.filter(type="ReauthDueEnded").count() == 1, "renewed: it holds no longer"


def test_near_its_end_for_good_the_rolling_end_says_nothing_of_its_own(books):
    ends_in(12)
    Credential.objects.filter(name="refresh_token").update(expires_at=timezone.now() + timedelta(days=12, seconds=-5))
    assert notices_record() == 1
    assert told() == [30], "no notice of fourteen days"


# --- a shop's keys ---
KEYS = {"consumer_key": "ck_" + "0a" * 20, "consumer_secret": "cs_" + "1b" * 20, "key_permissions": "read_write"}


@pytest.fixture
def shop(alice) -> Connection:
    made = make_shop(alice, status="draft", environment="sandbox", config={"store_url": "https://shop.example.com"})
    make_state(made, "the-state")
    return made


def hand_over(**changes: object):
    body = {"key_id": 1, "user_id": "the-state", **KEYS} | changes
    return Client().post("/api/v1/oauth/woocommerce/callback", body, "application/json")


def came_back(success: str, **asked):
    query = f"success={success}&user_id=the-state"
    return Client().get(f"/api/v1/oauth/woocommerce/callback?{query}", **asked)


def test_a_shop_hands_its_keys_over_once_to_whoever_holds_the_state(shop):
    assert came_back("1").status_code == 202, "the browser may come first, and proves nothing"
    assert hand_over().status_code == 200
    assert secret(shop, "consumer_secret") == KEYS["consumer_secret"]
    found = Connection.objects.get()
    assert (found.status, found.config_version) == ("draft", 2), "to be verified before anything is done with them"
    assert not OAuthGrant.objects.exists()
    assert_problem(hand_over(consumer_secret="cs_" + "2c" * 20), 400, "authorization_expired")
    assert secret(shop, "consumer_secret") == KEYS["consumer_secret"]
    assert came_back("1").status_code == 200
    assert OAuthState.objects.get().status == "completed"


def test_keys_without_a_good_state_are_not_kept(shop):
    for changes in ({"user_id": "another"}, {"user_id": ""}):
        assert_problem(hand_over(**changes), 400, "authorization_expired")
    OAuthState.objects.update(expires_at=timezone.now())
    assert_problem(hand_over(), 400, "authorization_expired")
    assert Credential.objects.count() == 0


def test_a_shopkeeper_who_says_no_reads_so(shop):
    page = came_back("0", HTTP_ACCEPT="text/html")
    assert page.status_code == 409
    assert "Access not given" in page.content.decode()
    assert came_back("1", HTTP_ACCEPT="text/html").content.decode().count("Almost there") == 2
