"""A POST under an `Idempotency-Key`: done once, answered as often as it is asked."""

import json
import uuid
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection as database
from django.urls import path
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.response import Response

from config import problems
from connections.api.base import ApiView, WorkspaceView
from connections.api.matrix import API, routes, view_of
from connections.api.once import Idempotency
from connections.errors import CausewayError, Conflict, OutcomeUnknown, TemporaryError
from connections.models import Connection, IdempotencyKey, PlaidExchange, PlaidItem, PlaidLink, Role
from connections.services import plaid_links
from connections.services.idempotency import keys_purge
from connections.tasks import idempotency_keys_purge
from sync.models import SyncRun
from tests.connections.api.scene import assert_problem, make_bank, make_event

pytestmark = pytest.mark.django_db

HEADER = "Idempotency-Replayed"


def refresh(person, connection, key: str | None = "k1", body: dict | None = None, mount: str = "/api/v1", **headers):
    headers |= {"Idempotency-Key": key} if key is not None else {}
    return person.api.post(
        f"{mount}/connections/{connection.pk}/refresh", {} if body is None else body, format="json", headers=headers
    )


def abandon() -> None:
    """As if whoever was at it had died, and its lease had run out."""
    IdempotencyKey.objects.update(status="in_progress", ciphertext=None, key_id="", lease_expires_at=timezone.now())


# --- repeats ---
def test_repeat_gets_the_first_answer_and_does_nothing(alice, bank):
    first = refresh(alice, bank)
    SyncRun.objects.update(status="succeeded")  # a refresh that was done again would queue another run
    again = refresh(alice, bank)
    assert (first.status_code, again.status_code, again.json()) == (202, 202, first.json())
    assert (HEADER in first.headers, again.headers[HEADER]) == (False, "true")
    for name in ("Content-Type", "Cache-Control"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["X-Correlation-ID"] != first.headers["X-Correlation-ID"]
    assert (SyncRun.objects.count(), PlaidItem.objects.get().dirty_seq) == (1, 2)


def test_without_a_key_every_request_counts(alice, bank):
    refresh(alice, bank, key=None), refresh(alice, bank, key=None)
    assert PlaidItem.objects.get().dirty_seq == 3
    assert not IdempotencyKey.objects.exists()


def test_both_mounts_are_one_route_and_the_body_field_is_the_same_key(alice, bank):
    first = refresh(alice, bank, mount="/api")
    for response in (refresh(alice, bank), refresh(alice, bank, key=None, body={"idempotency_key": "k1"})):
        assert (response.json(), response.headers[HEADER]) == (first.json(), "true")
    assert refresh(alice, bank, body={"idempotency_key": "k1"}).headers[HEADER] == "true"


def test_webhook_is_replayed_once_under_one_key(alice, bank):
    event = make_event(bank)
    type(event).objects.update(status="processed")
    url = f"/api/v1/webhook-events/{event.pk}/replay"
    first = alice.api.post(url, {}, format="json", headers={"Idempotency-Key": "k1"})
    type(event).objects.update(status="processed")
    again = alice.api.post(url, {}, format="json", headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.json(), again.headers[HEADER]) == (202, first.json(), "true")
    event.refresh_from_db()
    assert (event.replays, event.status) == (1, "processed")


@pytest.mark.parametrize(
    "change",
    [
        {"body": {"a": 1}},
        {"body": {"idempotency_key": "k1", "a": None}},
    ],
)
def test_other_body_under_the_same_key_is_refused(alice, bank, change):
    refresh(alice, bank)
    assert_problem(refresh(alice, bank, **change), 409, "idempotency_mismatch")
    assert PlaidItem.objects.get().dirty_seq == 2


def test_other_connection_or_query_under_the_same_key_is_refused(alice, bank):
    refresh(alice, bank)
    other = make_bank(alice, "Second Bank")
    assert_problem(refresh(alice, other), 409, "idempotency_mismatch")
    again = alice.api.post(
        f"/api/v1/connections/{bank.pk}/refresh?wait=1", {}, format="json", headers={"Idempotency-Key": "k1"}
    )
    assert_problem(again, 409, "idempotency_mismatch")


def test_same_fields_in_another_order_are_the_same_body(alice, bank):
    refresh(alice, bank, body={"a": {"x": 1, "y": [1, 2]}, "b": 2})
    assert HEADER in refresh(alice, bank, body={"b": 2, "a": {"y": [1, 2], "x": 1}}).headers
    assert_problem(refresh(alice, bank, body={"b": 2, "a": {"y": [2, 1], "x": 1}}), 409, "idempotency_mismatch")


def test_people_workspaces_and_routes_have_keys_of_their_own(simulator, alice, bob, charlie, bank):
    refresh(alice, bank)
    assert HEADER not in refresh(bob, bank).headers
    assert HEADER not in refresh(charlie, make_bank(charlie)).headers
    assert_problem(refresh(charlie, bank, key="k2"), 404, "not_found")
    made = alice.api.post("/api/v1/plaid/link-token", {}, format="json", headers={"Idempotency-Key": "k1"})
    assert (made.status_code, HEADER in made.headers) == (200, False)
    assert IdempotencyKey.objects.count() == 5


def test_request_that_is_refused_before_its_method_takes_no_key(alice, vera, bank):
    assert_problem(refresh(vera, bank), 403, "permission_denied")
    anonymous = type("Nobody", (), {"api": alice.api})
    anonymous.api.credentials()
    assert_problem(refresh(anonymous, bank), 401, "not_authenticated")
    assert_problem(
        alice.api.post(
            f"/api/v1/connections/{bank.pk}/refresh",
            b"[1]",
            content_type="application/json",
            headers={"Idempotency-Key": "k1"},
        ),
        400,
        "malformed_request",
    )
    assert not IdempotencyKey.objects.exists()


def test_get_ignores_the_header(alice, bank):
    for key in ("k1", "", "not a key"):
        response = alice.api.get("/api/v1/connections", headers={"Idempotency-Key": key})
        assert (response.status_code, HEADER in response.headers) == (200, False)
    assert not IdempotencyKey.objects.exists()


# --- the key itself ---
@pytest.mark.parametrize("key", ["!", "~" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "order:17/run#2"])
def test_key_may_be_any_visible_text(alice, bank, key):
    assert refresh(alice, bank, key=key).status_code == 202
    assert refresh(alice, bank, key=key).headers[HEADER] == "true"


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "caf\u00e9", "a\tb", "\x7f"])
def test_malformed_key_in_the_header_is_named(alice, bank, key):
    body = assert_problem(refresh(alice, bank, key=key), 400, "validation_failed")
    assert set(body["errors"]) == {"Idempotency-Key"}
    assert "255" in body["detail"]
    assert PlaidItem.objects.get().dirty_seq == 1


@pytest.mark.parametrize("key", ["", 5, True, ["k"], {"k": 1}, "caf\u00e9", "x" * 256])
def test_malformed_key_in_the_body_is_named(alice, bank, key):
    body = assert_problem(refresh(alice, bank, key=None, body={"idempotency_key": key}), 400, "validation_failed")
    assert set(body["errors"]) == {"idempotency_key"}


def test_two_different_keys_in_one_request_are_refused(alice, bank):
    body = assert_problem(refresh(alice, bank, body={"idempotency_key": "k2"}), 400, "validation_failed")
    assert set(body["errors"]) == {"idempotency_key"}
    assert not IdempotencyKey.objects.exists()


def test_null_in_the_body_is_no_key(alice, bank):
    assert refresh(alice, bank, key=None, body={"idempotency_key": None}).status_code == 202
    assert not IdempotencyKey.objects.exists()


# --- while it is going on, and after nobody is at it any more ---
def test_repeat_of_what_is_going_on_is_told_to_wait(alice, bank, settings):
    settings.LEASE_S = 60
    refresh(alice, bank)
    abandon()
    IdempotencyKey.objects.update(lease_expires_at=timezone.now() + timedelta(seconds=50))
    response = refresh(alice, bank)
    assert assert_problem(response, 409, "idempotency_in_progress")["retryable"] is True
    assert 10 <= int(response.headers["Retry-After"]) <= 12  # as long again as it has been going on
    assert_problem(refresh(alice, bank, body={"a": 1}), 409, "idempotency_mismatch")
    assert PlaidItem.objects.get().dirty_seq == 2


def test_repeat_takes_over_what_nobody_is_at_any_more(alice, bank):
    refresh(alice, bank)
    abandon()
    assert_problem(refresh(alice, bank, body={"a": 1}), 409, "idempotency_mismatch")
    response = refresh(alice, bank)
    assert (response.status_code, HEADER in response.headers) == (202, False)
    assert refresh(alice, bank).headers[HEADER] == "true"


def test_answer_is_kept_for_a_day_and_then_forgotten(alice, bank):
    first = refresh(alice, bank)
    IdempotencyKey.objects.update(
        created_at=timezone.now() - timedelta(hours=23, minutes=59), lease_expires_at=timezone.now()
    )
    assert keys_purge() == 0
    assert refresh(alice, bank).json() == first.json()
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert HEADER not in refresh(alice, bank, body={"another": "body"}).headers  # whether housekeeping was there or not
    IdempotencyKey.objects.update(lease_expires_at=timezone.now())
    assert refresh(alice, bank, body={"another": "body"}).headers[HEADER] == "true"  # its day has begun anew
    assert (PlaidItem.objects.get().dirty_seq, keys_purge()) == (3, 0)
    IdempotencyKey.objects.update(
        created_at=timezone.now() - timedelta(hours=24, seconds=1),
        lease_expires_at=timezone.now() + timedelta(seconds=9),
    )
    assert keys_purge() == 0  # its lease is not over
    IdempotencyKey.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    idempotency_keys_purge()
    assert (keys_purge(), IdempotencyKey.objects.count()) == (0, 0)


# --- what is kept ---
def test_nothing_of_an_answer_or_a_body_stands_in_the_row_in_clear(simulator, alice):
    body = {"redirect_uri": "https://app.example.com/a-canary"}
    headers = {"Idempotency-Key": "access-sandbox-canary"}  # what people send as a key may be anything, too
    made = alice.api.post("/api/v1/plaid/link-token", body, format="json", headers=headers)
    with database.cursor() as cursor:
        cursor.execute("SELECT t::text, encode(ciphertext, 'escape') FROM connections_idempotencykey t")
        ((row, raw),) = cursor.fetchall()
    for secret in (made.json()["link_token"], "link_token", "canary", made.json()["link_id"]):
        assert secret not in row
        assert secret not in raw
    again = alice.api.post("/api/v1/plaid/link-token", body, format="json", headers=headers)
    assert (again.json(), again.headers[HEADER], PlaidLink.objects.count()) == (made.json(), "true", 1)


def test_answer_moved_to_another_row_does_not_open(alice, bank):
    refresh(alice, bank), refresh(alice, bank, key="k2")
    one, other = IdempotencyKey.objects.order_by("created_at")
    IdempotencyKey.objects.filter(pk=other.pk).update(ciphertext=one.ciphertext)
    assert_problem(refresh(alice, bank, key="k2"), 500, "credential_unreadable")


def test_link_token_and_its_answer_are_stored_together_or_not_at_all(simulator, alice, monkeypatch):
    """Another request took over while Plaid was asked: what this one made is undone."""
    asked = plaid_links._request

    def slowly(**given):
        IdempotencyKey.objects.update(lease_token=uuid.uuid4())
        return asked(**given)

    monkeypatch.setattr(plaid_links, "_request", slowly)
    response = alice.api.post("/api/v1/plaid/link-token", {}, format="json", headers={"Idempotency-Key": "k1"})
    assert_problem(response, 409, "idempotency_in_progress")
    assert not PlaidLink.objects.exists()
    assert IdempotencyKey.objects.get().status == "in_progress"


def test_provider_that_is_away_leaves_the_key_free(simulator, alice):
    simulator.control("POST", "faults", {"path": "/link/token/create", "kind": "html", "times": 1})
    headers = {"Idempotency-Key": "k1"}
    assert_problem(alice.api.post("/api/v1/plaid/link-token", headers=headers), 503, "provider_unavailable")
    simulator.control("DELETE", "faults")
    for is_replayed in (False, True):
        response = alice.api.post("/api/v1/plaid/link-token", headers=headers)
        assert (response.status_code, HEADER in response.headers) == (200, is_replayed)


# --- exchange ---
@pytest.fixture
def exchange(simulator, alice):
    item = simulator.control("POST", "items", {"transactions": 3, "ready": "historical"})

    def call(key: str = "k1"):
        body = {"public_token": item["public_token"]}
        return alice.api.post("/api/v1/plaid/exchange-token", body, format="json", headers={"Idempotency-Key": key})

    return call


def test_exchange_is_answered_again_and_no_secret_of_it_is_in_the_row(exchange):
    first, again = exchange(), exchange()
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert again.headers[HEADER] == "true"
    assert_problem(exchange("k2"), 409, "public_token_used")
    with database.cursor() as cursor:
        cursor.execute("SELECT t::text FROM connections_idempotencykey t")
        assert not [row for (row,) in cursor.fetchall() if "public-sandbox" in row or first.json()["id"] in row]


def test_exchange_that_was_cut_off_after_the_change_is_answered_with_what_it_made(exchange):
    first = exchange()
    abandon()
    again = exchange()
    assert (again.status_code, again.json()["id"], HEADER in again.headers) == (201, first.json()["id"], False)
    assert Connection.objects.count() == 1
    assert exchange().headers[HEADER] == "true"


@pytest.mark.parametrize("status", ["started", "unknown"])
def test_exchange_whose_call_was_begun_is_never_made_again(simulator, exchange, status):
    exchange()
    abandon()
    PlaidExchange.objects.update(status=status, connection=None)
    for _ in range(2):
        body = assert_problem(exchange(), 409, "outcome_unknown")
        assert "Look at your connections" in body["remediation"]
    calls = [row for row in simulator.control("GET", "log")["requests"] if row["path"].endswith("exchange")]
    assert len(calls) == 1


def test_unknown_outcome_is_not_kept_since_it_may_become_known(simulator, alice, exchange):
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange", "kind": "commit_then_drop"})
    assert_problem(exchange(), 409, "outcome_unknown")
    made = make_bank(alice)
    PlaidExchange.objects.update(status="completed", connection=made)  # as housekeeping does where it has the token
    response = exchange()
    assert (response.status_code, response.json()["id"]) == (201, str(made.pk))


# --- what is final and what is not ---
class Acting(WorkspaceView):
    """Makes a connection and then does what the test wants."""

    roles = {"POST": Role.VIEWER}
    idempotency = Idempotency.ONE_TRANSACTION
    then: list = []

    def post(self, request):
        made = Connection.objects.create(
            workspace=self.membership.workspace, owner=self.user, provider="woocommerce", name="made"
        )
        todo = self.then.pop(0) if self.then else None
        if isinstance(todo, BaseException):
            raise todo
        if callable(todo):
            todo()
        return Response({"id": made.pk}, status=201, headers={"Location": f"/x/{made.pk}", "X-Other": "1"})


urlpatterns = [path("api/act", Acting.as_view())]
handler500 = problems.server_error


@pytest.fixture
def act(alice, settings, monkeypatch):
    settings.ROOT_URLCONF = __name__

    def call(*then, body: dict | None = None):
        monkeypatch.setattr(Acting, "then", list(then))
        return alice.api.post("/api/act", body or {}, format="json", headers={"Idempotency-Key": "k1"})

    return call


def test_headers_that_belong_to_the_answer_are_kept(act):
    first, again = act(), act()
    assert again.headers["Location"] == first.headers["Location"]
    assert "X-Other" not in again.headers


@pytest.mark.parametrize(
    "error,status",
    [
        (CausewayError(code="not_found"), 404),
        (Conflict(), 409),
        (PermissionDenied(), 403),
        (exceptions.ValidationError({"a": ["b"]}), 400),
        (CausewayError(code="gone"), 410),
    ],
)
def test_refusal_is_final_and_changes_nothing(act, error, status):
    first, again = act(error), act()
    assert (first.status_code, again.status_code) == (status, status)
    assert (again.json(), again.headers[HEADER]) == (first.json(), "true")
    assert again.headers["Content-Type"] == "application/problem+json"
    assert not Connection.objects.exists()
    assert_problem(act(body={"a": 1}), 409, "idempotency_mismatch")


@pytest.mark.parametrize(
    "error,status",
    [
        (RuntimeError("a bug"), 500),
        (TemporaryError(), 503),
        (CausewayError(code="not_authenticated"), 401),
        (exceptions.Throttled(wait=3), 429),
        (Conflict(code="rate_limit_wait"), 409),  # it says itself that the same request may succeed later
    ],
)
def test_what_may_go_otherwise_next_time_leaves_the_key_free_and_changes_nothing(act, error, status):
    assert act(error).status_code == status
    assert not Connection.objects.exists()
    response = act(body={"even": "another body"})
    assert (response.status_code, HEADER in response.headers) == (201, False)


def test_unknown_outcome_binds_the_key_and_is_asked_about_again(act):
    assert_problem(act(OutcomeUnknown()), 409, "outcome_unknown")
    assert_problem(act(body={"a": 1}), 409, "idempotency_mismatch")
    assert act().status_code == 201


def test_process_that_dies_leaves_the_key_to_its_lease(act):
    with pytest.raises(KeyboardInterrupt):
        act(KeyboardInterrupt())
    assert not Connection.objects.exists()
    assert_problem(act(), 409, "idempotency_in_progress")
    IdempotencyKey.objects.update(lease_expires_at=timezone.now())
    assert act().status_code == 201
    assert Connection.objects.count() == 1


def test_who_lost_the_lease_changes_nothing(act):
    """It took longer than its lease, and somebody else is at it."""
    response = act(lambda: IdempotencyKey.objects.update(lease_token=uuid.uuid4()))
    assert_problem(response, 409, "idempotency_in_progress")
    assert int(response.headers["Retry-After"]) >= 1
    assert not Connection.objects.exists()


# --- the URL table ---
def test_every_post_honours_keys_or_says_why_not():
    posts = {(route, view_of(callback)) for route, callback in routes() if route.startswith(API)}
    posts = {(route, view) for route, view in posts if hasattr(view, "post")}
    assert len(posts) >= 7
    undecided = [
        route
        for route, view in posts
        if bool(getattr(view, "idempotency", None)) == bool(getattr(view, "ignores_keys_because", ""))
    ]
    assert undecided == [], "set `idempotency` or `ignores_keys_because`, and not both"
    assert {route.removeprefix(API) for route, view in posts if view.ignores_keys_because} == {
        "auth/token",
        "oauth/<slug:provider>/callback",
        "plaid/sync",
        "plaid/refresh-metadata",
        "jobs/plaid/process",
        "jobs/plaid/safety-net",
        "jobs/plaid/cleanup",
        "mappings/<uuid:mapping_id>/preview",
    }
    assert all(
        issubclass(view, WorkspaceView if view.idempotency else ApiView)
        for _, view in posts
        if hasattr(view, "idempotency")
    )


def test_replaced_endpoints_ignore_keys(alice):
    for body in ({}, {"a": 1}):
        response = alice.api.post(
            "/api/v1/plaid/sync", json.dumps(body), content_type="application/json", headers={"Idempotency-Key": "k1"}
        )
        assert_problem(response, 410, "gone")
    assert not IdempotencyKey.objects.exists()
