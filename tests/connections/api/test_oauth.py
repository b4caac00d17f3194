"""Signing in at a provider: there, back, and what a person or a program is told."""

import hashlib
import time
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from connections.errors import CausewayError
from connections.models import Connection, Credential, DomainEvent, OAuthGrant, OAuthState, ProviderPause, Verification
from connections.providers.quickbooks import auth
from connections.services import oauth
from connections.services.verifying import verification_request, verifications_run
from tests.connections.api.scene import assert_problem, make_bank
from tests.connections.intuit import back, end_access, make_books, secret

pytestmark = pytest.mark.django_db

API = "/api/v1/"
BROWSER = {"HTTP_ACCEPT": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def books(alice) -> Connection:
    return make_books(alice)


def authorize(person, connection, status: int = 200) -> dict:
    answer = person.api.post(f"{API}connections/{connection.pk}/oauth/authorize")
    assert answer.status_code == status, answer.content
    return answer.json()


def came_back(answer: dict[str, str], **asked):
    return Client(raise_request_exception=False).get(back(answer), **asked)


# --- there ---
def test_authorize_says_where_to_go_until_when_and_what_to_register(alice, books, intuit, settings):
    begun = authorize(alice, books)
    url = urlsplit(begun["authorize_url"])
    query = {name: value for name, (value,) in parse_qs(url.query).items()}
    state = query.pop("state")
    assert query == {
        "client_id": "test-quickbooks-id",
        "response_type": "code",
        "scope": "com.intuit.quickbooks.accounting",
        "redirect_uri": begun["redirect_uri"],
    }
    assert begun["redirect_uri"] == f"{settings.PUBLIC_URL}/api/v1/oauth/quickbooks/callback"
    row = OAuthState.objects.get()
    assert len(state) >= 43, "256 bits"
    assert row.digest == hashlib.sha256(state.encode()).hexdigest()
    assert row.expires_at - row.created_at < timedelta(minutes=10, seconds=1)
    assert (row.user, row.connection, row.provider) == (alice.user, books, "quickbooks")
    assert state not in str(vars(row))


def test_production_asks_for_https(alice, settings):
    made = make_books(alice, environment="production")
    body = authorize(alice, made, 409)
    assert (body["code"], body["fixed_by"]) == ("https_required", "operator")
    assert OAuthState.objects.count() == 0
    settings.PUBLIC_URL = "https://hub.example.com"
    assert authorize(alice, made)["redirect_uri"] == "https://hub.example.com/api/v1/oauth/quickbooks/callback"


def test_plain_http_is_for_this_machine_only(alice, books, settings):
    settings.PUBLIC_URL = "http://hub.example.com"
    assert authorize(alice, books, 409)["code"] == "https_required"


def test_a_bank_and_a_connection_that_is_closed_have_nowhere_to_sign_in(alice, books):
    assert authorize(alice, make_bank(alice), 400)["code"] == "validation_failed"
    Connection.objects.filter(pk=books.pk).update(status="disconnected")
    assert authorize(alice, books, 409)["code"] == "connection_not_active"


def test_without_keys_the_installation_says_so(alice, books, settings):
    settings.QUICKBOOKS_CLIENT_SECRET = ""
    assert authorize(alice, books, 503)["code"] == "provider_not_configured"


def test_a_repeat_under_one_key_leads_to_the_same_place(alice, books):
    path = f"{API}connections/{books.pk}/oauth/authorize"
    first, second = (alice.api.post(path, headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.content == second.content
    assert OAuthState.objects.count() == 1


# --- and back ---
def test_a_draft_gets_its_access_its_company_and_a_new_version_to_verify(alice, books, intuit):
    realm = intuit.company()
    answer = came_back(intuit.consent(authorize(alice, books)["authorize_url"], realm))
    assert (answer.status_code, answer.json()) == (
        200,
        {"connection_id": str(books.pk), "provider": "quickbooks", "status": "draft"},
    )
    shown = alice.api.get(f"{API}connections/{books.pk}").json()
    assert (shown["status"], shown["config_version"], shown["oauth"]["account"]) == ("draft", 2, realm)
    assert all(shown["oauth"][name] for name in ("authorized_at", "access_expires_at", "refresh_expires_at"))
    assert secret(books) == intuit.grant(Connection.objects.get())["refresh_token"]
    grant = OAuthGrant.objects.get()
    assert (grant.authorized_by, grant.workspace) == (alice.user, alice.workspace)
    assert OAuthState.objects.get().status == "completed"
    text = str(shown)
    assert secret(books) not in text
    assert secret(books, "access_token") not in text


def test_a_person_sees_a_page_that_says_what_is_next(alice, books, intuit):
    answer = came_back(intuit.consent(authorize(alice, books)["authorize_url"], intuit.company()), **BROWSER)
    assert answer.headers["Content-Type"].startswith("text/html")
    text = answer.content.decode()
    assert "QuickBooks Online gave access" in text
    assert "activate it" in text
    assert (answer.headers["Referrer-Policy"], answer.headers["Cache-Control"]) == ("no-referrer", "no-store")


@pytest.mark.parametrize(("is_staff", "decision"), [(True, "approve"), (True, "deny"), (False, "approve")])
def test_the_page_leads_staff_back_to_the_connection_and_others_to_the_door(alice, books, intuit, is_staff, decision):
    alice.user.is_staff = is_staff
    alice.user.save()
    browser = Client(raise_request_exception=False)
    browser.force_login(alice.user)
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company(), decision)
    text = browser.get(back(answer), **BROWSER).content.decode()
    page = reverse("admin:connections_connection_change", args=[books.pk])
    assert (f'href="{page}"' in text) == is_staff
    assert ("Back to Causeway" in text) == (not is_staff)


def test_activation_keeps_the_day_on_which_the_access_ends(alice, books, intuit, settings):
    settings.QUICKBOOKS_SANDBOX_URL = f"{intuit.simulator.url}/quickbooks"
    came_back(intuit.consent(authorize(alice, books)["authorize_url"], intuit.company()))
    due = alice.api.get(f"{API}connections/{books.pk}").json()["reauth_due_at"]
    assert due
    verifications_run(deadline=time.monotonic() + 20)
    answer = alice.api.post(f"{API}connections/{books.pk}/activate")
    assert (answer.status_code, answer.json().get("reauth_due_at")) == (200, due), answer.json()


def test_a_refusal_is_a_page_for_people_and_a_problem_for_programs(alice, books, intuit):
    realm = intuit.company()
    denied = [intuit.consent(authorize(alice, books)["authorize_url"], realm, "deny") for _ in range(2)]
    assert denied[0]["error"] == "access_denied"
    assert_problem(came_back(denied[0]), 409, "authorization_denied")
    page = came_back(denied[1], **BROWSER)
    text = page.content.decode()
    assert page.status_code == 409
    assert "Start again" in text
    assert page.headers["X-Correlation-ID"] in text
    assert "authorization_denied" in text
    assert set(OAuthState.objects.values_list("status", "error_code")) == {("refused", "authorization_denied")}
    assert Credential.objects.count() == 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: answer | {"state": "x" * 43},
        lambda answer: {name: value for name, value in answer.items() if name != "state"},
        lambda answer: {name: value for name, value in answer.items() if name != "realmId"},
        lambda answer: answer | {"realmId": "../../9"},
        lambda answer: {"state": answer["state"]},
    ],
)
def test_an_answer_that_was_tampered_with_changes_nothing(alice, books, intuit, spoil):
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    assert_problem(came_back(spoil(answer)), 400, "authorization_expired")
    assert Credential.objects.count() == 0
    assert intuit.asked("authorization_code") == []


def test_a_state_is_good_once(alice, books, intuit):
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    assert came_back(answer).status_code == 200
    before = secret(books)
    assert_problem(came_back(answer), 400, "authorization_expired")
    assert (secret(books), len(intuit.asked("authorization_code"))) == (before, 1)


def test_a_state_lives_ten_minutes(alice, books, intuit):
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    OAuthState.objects.update(expires_at=timezone.now())
    assert_problem(came_back(answer), 400, "authorization_expired")


def test_a_state_belongs_to_its_provider(alice, books, intuit):
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    for other in ("plaid", "supabase", "nobody"):
        response = Client().get(back(answer).replace("/quickbooks/", f"/{other}/"))
        assert_problem(response, 404, "not_found")
    assert came_back(answer).status_code == 200


def test_who_is_signed_in_has_to_be_who_began_it(alice, bob, books, intuit):
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    browser = Client()
    browser.force_login(bob.user)
    assert_problem(browser.get(back(answer)), 403, "permission_denied")
    assert_problem(bob.api.get(back(answer)), 403, "permission_denied")
    assert OAuthState.objects.get().status == "open", "nor does it use the other's sign-in up"
    browser.force_login(alice.user)
    assert browser.get(back(answer)).status_code == 200


@pytest.mark.parametrize("spoil", ["left", "inactive", "not theirs", "closed", "changed"])
def test_what_changed_in_the_ten_minutes_counts(alice, dave, intuit, spoil):
    books = make_books(dave)
    answer = intuit.consent(authorize(dave, books)["authorize_url"], intuit.company())
    match spoil:
        case "left":
            dave.membership.delete()
        case "inactive":
            dave.user.is_active = False
            dave.user.save()
        case "not theirs":
            Connection.objects.update(owner=alice.user)
        case "closed":
            Connection.objects.update(status="disconnected")
        case "changed":
            Connection.objects.update(environment="production")
    assert came_back(answer).status_code in (400, 403, 409)
    assert (Credential.objects.count(), intuit.asked("authorization_code")) == (0, [])


@pytest.mark.parametrize("is_shared", [False, True], ids=["its own company", "a company that another one has"])
def test_an_access_given_to_a_connection_that_ended_over_the_call_is_withdrawn(alice, intuit, monkeypatch, is_shared):
    realm = intuit.connected(alice).facts["realm_id"] if is_shared else intuit.company()
    books = make_books(alice, "Late")
    answer = intuit.consent(authorize(alice, books)["authorize_url"], realm)
    real = auth.Authorizer.complete

    def slow(self, access, **given):
        grant = real(self, access, **given)
        Connection.objects.filter(pk=books.pk).update(status="disconnected")
        return grant

    monkeypatch.setattr(auth.Authorizer, "complete", slow)
    monkeypatch.setattr(oauth, "_refuse_account", lambda connection, account: None)
    assert_problem(came_back(answer), 409, "connection_not_active")
    assert not Credential.objects.filter(connection=books).exists()
    grants = [one for one in intuit.control("grants", method="GET")["grants"] if one["realm"] == realm]
    assert [one["is_revoked"] for one in grants] == ([False] * len(grants) if is_shared else [True])


def test_an_expired_code_leads_back_to_the_start(alice, books, intuit):
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    assert_problem(came_back(answer | {"code": "XABgone"}), 409, "authorization_refused")


def test_a_lost_answer_is_kept_as_unknown_and_signing_in_again_is_safe(alice, books, intuit):
    realm = intuit.company()
    intuit.fault("commit_then_drop")
    answer = intuit.consent(authorize(alice, books)["authorize_url"], realm)
    assert_problem(came_back(answer), 409, "authorization_unknown")
    assert OAuthState.objects.get().status == "unknown"
    intuit.sign_in(books, alice, realm)
    assert secret(books)


def test_who_dies_between_answer_and_save_is_seen(alice, books, intuit, monkeypatch):
    monkeypatch.setattr(oauth, "_save", lambda state, grant: (_ for _ in ()).throw(SystemExit))
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    with pytest.raises(SystemExit):
        came_back(answer)
    row = OAuthState.objects.get()
    assert (row.status, oauth.states_sweep()) == ("started", 0)
    OAuthState.objects.update(used_at=timezone.now() - timedelta(minutes=5))
    assert (oauth.states_sweep(), oauth.states_sweep()) == (1, 0)
    row.refresh_from_db()
    assert (row.status, row.error_code) == ("unknown", "authorization_unknown")


def test_states_are_forgotten_in_time(alice, books):
    authorize(alice, books)
    oauth.states_sweep()
    assert OAuthState.objects.count() == 1
    OAuthState.objects.update(expires_at=timezone.now() - timedelta(days=1, minutes=1))
    oauth.states_sweep()
    assert OAuthState.objects.count() == 0


def test_refused_keys_let_all_work_there_rest(alice, books, intuit):
    intuit.control("apps/test-quickbooks-id", {"secret": "changed"})
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    assert_problem(came_back(answer), 503, "provider_misconfigured")
    assert ProviderPause.objects.get().provider == "quickbooks"


# --- one realm, one connection ---
def test_a_company_is_connected_once_in_the_installation(alice, charlie, intuit):
    first = intuit.connected(alice)
    realm = first.facts["realm_id"]
    for person in (alice, charlie):
        other = make_books(person, "Other")
        answer = intuit.consent(authorize(person, other)["authorize_url"], realm)
        before = len(intuit.asked("authorization_code"))
        assert_problem(came_back(answer), 409, "account_in_use")
        assert len(intuit.asked("authorization_code")) == before, "what could not be kept is not asked for"
        assert not Credential.objects.filter(connection=other).exists()
        verification_request(connection_id=other.pk, actor=person.user)
        verifications_run(deadline=time.monotonic() + 10)
        [failing] = Verification.objects.get(connection=other).failing
        assert failing["name"] == "account"
        assert "connected already" in failing["cause"]
        assert "choose another" in failing["remediation"]
    Connection.objects.filter(pk=first.pk).update(status="disconnected")
    assert intuit.sign_in(other, charlie, realm).facts["realm_id"] == realm
    verification_request(connection_id=other.pk, actor=charlie.user)
    verifications_run(deadline=time.monotonic() + 10)
    checks = {check["name"]: check["status"] for check in Verification.objects.latest("pk").checks}
    assert checks["account"] == "passed"


def test_two_who_come_at_once_are_told_apart_by_the_database(alice, intuit, monkeypatch):
    first = intuit.connected(alice)
    other = make_books(alice, "Other")
    answer = intuit.consent(authorize(alice, other)["authorize_url"], first.facts["realm_id"])
    monkeypatch.setattr(oauth, "_refuse_account", lambda connection, account: None)
    assert_problem(came_back(answer), 409, "account_in_use")
    assert not Credential.objects.filter(connection=other).exists()
    assert OAuthState.objects.filter(connection=other, status="refused").count() == 1


# --- again ---
@pytest.mark.parametrize("status", ["needs_reauth", "failed"])
def test_reconnecting_keeps_the_connection_and_ends_its_trouble(alice, intuit, status):
    books = intuit.connected(alice)
    Connection.objects.update(status=status, error_code="access_refused", failure_count=3)
    before = set(Credential.objects.values_list("pk", flat=True))
    again = intuit.sign_in(books, alice, books.facts["realm_id"])
    again.refresh_from_db()
    assert (again.pk, again.status, again.error_code, again.failure_count) == (books.pk, "active", "", 0)
    assert again.config_version == books.config_version
    assert set(Credential.objects.values_list("pk", flat=True)) == before, "in place"
    assert DomainEvent.objects.filter(type="ConnectionActivated").count() == 1
    assert again.reauth_due_at == OAuthGrant.objects.get().hard_expires_at


def test_renewing_what_works_leaves_it_active(alice, intuit):
    books = intuit.connected(alice)
    before = secret(books)
    assert intuit.sign_in(books, alice, books.facts["realm_id"]).status == "active"
    assert secret(books) != before


def test_a_paused_connection_stays_paused_and_its_alert_ends(alice, intuit):
    books = intuit.connected(alice, status="paused", error_code="access_refused")
    assert intuit.sign_in(books, alice, books.facts["realm_id"]).status == "paused"
    assert DomainEvent.objects.filter(type="TokenRotated").count() == 1


@pytest.mark.parametrize("status", ["active", "needs_reauth", "failed", "paused"])
def test_another_company_is_refused_on_reconnect(alice, intuit, status):
    books = intuit.connected(alice, status=status)
    before = secret(books)
    answer = intuit.consent(authorize(alice, books)["authorize_url"], intuit.company())
    body = assert_problem(came_back(answer), 409, "other_account")
    assert "same" in body["remediation"] or "it had" in body["remediation"]
    found = Connection.objects.get()
    assert (secret(books), found.status, found.facts) == (before, status, books.facts)


def test_a_draft_may_still_choose_another_company(alice, books, intuit):
    intuit.sign_in(books, alice, intuit.company())
    realm = intuit.company()
    assert intuit.sign_in(Connection.objects.get(), alice, realm).facts["realm_id"] == realm


def test_after_a_refusal_was_put_down_signing_in_lets_renewals_go_on(alice, intuit):
    books = intuit.connected(alice)
    intuit.change(books, revoked=True)
    end_access(books)
    from connections.services.token_refresh import fresh_token

    with pytest.raises(CausewayError):
        fresh_token(books.pk)
    intuit.sign_in(Connection.objects.get(), alice, books.facts["realm_id"])
    end_access(books)
    assert fresh_token(books.pk)
    assert Connection.objects.get().status == "active"
