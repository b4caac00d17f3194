"""Signing in and out, and what each kind of token is good for."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from connections.models import AccessToken, Membership, User, Workspace
from connections.services.tokens import token_issue, token_revoke
from tests.connections.api.scene import assert_problem

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


@pytest.fixture
def anonymous() -> APIClient:
    return APIClient(raise_request_exception=False)


@pytest.fixture
def erin(workspace) -> User:
    return User.objects.create_user("erin", password=PASSWORD)


def sign_in(client, username="erin", password=PASSWORD):
    return client.post("/api/v1/auth/token", {"username": username, "password": password}, format="json")


def test_sign_in_gives_a_token_that_works_and_is_stored_as_a_digest(anonymous, erin, settings):
    response = sign_in(anonymous)
    assert response.status_code == 200
    assert set(response.json()) == {"token", "expires_at"}
    assert response.headers["Cache-Control"] == "no-store"
    token = response.json()["token"]
    assert not AccessToken.objects.filter(digest=token).exists()
    anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert anonymous.get("/api/me").json()["user"]["username"] == "erin"


@pytest.mark.parametrize(
    "username,password", [("erin", "wrong"), ("nobody", PASSWORD), ("ERIN", PASSWORD), (" erin", PASSWORD)]
)
def test_wrong_name_and_wrong_password_are_answered_alike(anonymous, erin, username, password):
    body = assert_problem(sign_in(anonymous, username, password), 401, "invalid_login")
    assert body["detail"] == "No active account matches that username and password."


def test_inactive_person_cannot_sign_in(anonymous, erin):
    User.objects.update(is_active=False)
    assert_problem(sign_in(anonymous), 401, "invalid_login")


def test_person_without_a_password_cannot_sign_in(anonymous, alice):
    assert_problem(sign_in(anonymous, "alice", ""), 400, "validation_failed")
    assert_problem(sign_in(anonymous, "alice", "!"), 401, "invalid_login")


def test_unknown_name_takes_as_long_as_a_wrong_password(anonymous, erin):
    def median_s(username: str) -> float:
        times = []
        for _ in range(7):
            started = time.perf_counter()
            sign_in(anonymous, username, "wrong")
            times.append(time.perf_counter() - started)
        return sorted(times)[3]

    known, unknown = median_s("erin"), median_s("nobody")
    assert 0.5 < unknown / known < 2


@pytest.mark.parametrize(
    "body,field",
    [
        ({}, "username"),
        ({"username": "erin"}, "password"),
        ({"username": ["erin"], "password": "x"}, "username"),
        ({"username": None, "password": "x"}, "username"),
        ({"username": "x" * 151, "password": "x"}, "username"),
        ({"username": "erin", "password": "x" * 1025}, "password"),
        ({"username": "erin", "password": {"$ne": 1}}, "password"),
    ],
)
def test_input_that_cannot_be_is_named_by_field(anonymous, body, field):
    assert (
        field
        in assert_problem(anonymous.post("/api/v1/auth/token", body, format="json"), 400, "validation_failed")["errors"]
    )


def test_bad_authorization_header_does_not_keep_one_from_signing_in(anonymous, erin):
    anonymous.credentials(HTTP_AUTHORIZATION="Bearer expired")
    assert sign_in(anonymous).status_code == 200


def test_sign_ins_are_limited_by_address_before_a_password_is_hashed(anonymous, erin, settings, servers, monkeypatch):
    settings.THROTTLE_LOGIN, settings.BUDGET_NAMESPACE = 2, f"login-{time.time_ns()}"
    anonymous.defaults["REMOTE_ADDR"] = f"2001:db8::{time.time_ns() % 0xFFFF:x}"
    for _ in range(2):
        assert_problem(sign_in(anonymous, password="wrong"), 401, "invalid_login")
    monkeypatch.setattr("connections.api.views.authenticate", lambda *_args, **_kwargs: pytest.fail("hashed"))
    response = sign_in(anonymous)
    assert assert_problem(response, 429, "throttled")["retryable"]
    assert 1 <= int(response.headers["Retry-After"]) <= 60


def test_requests_are_limited_by_person(alice, bob, settings, servers):
    settings.THROTTLE_USER = 2
    for _ in range(2):
        assert alice.api.get("/api/v1/me").status_code == 200
    assert_problem(alice.api.get("/api/v1/me"), 429, "throttled")
    assert bob.api.get("/api/v1/me").status_code == 200


def test_signing_out_ends_this_token_only(alice):
    other, _ = token_issue(user=alice.user)
    response = alice.api.delete("/api/v1/auth/token")
    assert (response.status_code, response.content) == (204, b"")
    assert_problem(alice.api.get("/api/v1/me"), 401, "token_expired")
    assert APIClient(headers={"Authorization": f"Bearer {other}"}).get("/api/v1/me").status_code == 200


def test_signing_out_needs_a_token(anonymous, db):
    assert_problem(anonymous.delete("/api/v1/auth/token"), 401, "not_authenticated")


def test_me_lists_every_workspace_with_the_role_there(alice):
    Membership.objects.create(
        workspace=Workspace.objects.create(slug="zeta", name="Zeta"), user=alice.user, role="viewer"
    )
    body = alice.api.get("/api/v1/me").json()
    assert body["user"] == {"id": str(alice.user.pk), "username": "alice", "email": "", "is_staff": False}
    assert [(m["workspace"]["slug"], m["workspace"]["name"], m["role"]) for m in body["memberships"]] == [
        ("acme", "Acme", "owner"),
        ("zeta", "Zeta", "viewer"),
    ]
    assert body["token"]["scope"] == "full"
    assert body["token"]["expires_at"].endswith("Z")


def test_me_works_without_any_workspace(erin, anonymous):
    anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {token_issue(user=erin)[0]}")
    assert anonymous.get("/api/v1/me").json()["memberships"] == []


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic YWxpY2U6eA==",
        "Bearer",
        "Bearer a b",
        "Bearer cwt_unknown",
        "Bearer " + "x" * 201,
        "Bearer \xc3\xa4\xff",
        "bearer",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/connections"])
def test_malformed_and_unknown_tokens_are_401(anonymous, db, path, header):
    response = anonymous.get(path, HTTP_AUTHORIZATION=header)
    assert_problem(response, 401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="causeway"'


def test_expired_and_revoked_tokens_and_those_of_inactive_people_are_401(alice, anonymous):
    expired, _ = token_issue(user=alice.user, lifetime=timedelta(seconds=-1))
    revoked, row = token_issue(user=alice.user)
    token_revoke(token=row, actor=row.user)
    for token in (expired, revoked):
        anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
        assert_problem(anonymous.get("/api/v1/connections"), 401, "token_expired")
    User.objects.update(is_active=False)
    assert_problem(alice.api.get("/api/v1/connections"), 401, "token_expired")


def test_read_token_reads_and_does_nothing_else(alice, anonymous):
    token, _ = token_issue(user=alice.user, scope="read")
    anonymous.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert anonymous.get("/api/v1/connections").status_code == 200
    body = assert_problem(anonymous.post("/api/v1/plaid/link-token", {}, format="json"), 403, "permission_denied")
    assert body["detail"] == "This token may only read."
    assert anonymous.delete("/api/v1/auth/token").status_code == 204


def test_use_of_a_token_is_noted(alice):
    alice.api.get("/api/v1/me")
    assert AccessToken.objects.get(user=alice.user).last_used_at > timezone.now() - timedelta(minutes=1)
