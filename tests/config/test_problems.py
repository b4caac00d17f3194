"""Any error becomes a problem with a code, what to do about it, and the correlation id."""

import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse, UnreadablePostError
from django.test import RequestFactory
from django.urls import path
from rest_framework import exceptions, serializers
from rest_framework.response import Response

from config import problems
from config.correlation import HEADER
from config.problems import error_reported, field_messages, headers, problem_response, translate
from connections.api.base import ApiView
from connections.errors import CATALOGUE, CausewayError, Conflict, RateLimited
from tests.connections.api.scene import assert_problem

RAISES: dict[str, tuple[Exception, int, str]] = {
    "ours": (Conflict(code="duplicate_item", extra={"connection_id": "c1"}), 409, "duplicate_item"),
    "validation": (exceptions.ValidationError({"a": ["wrong"]}), 400, "validation_failed"),
    "parse": (exceptions.ParseError("not JSON"), 400, "malformed_request"),
    "authentication": (exceptions.AuthenticationFailed(), 401, "not_authenticated"),
    "unauthenticated": (exceptions.NotAuthenticated(), 401, "not_authenticated"),
    "permission": (exceptions.PermissionDenied(), 403, "permission_denied"),
    "missing": (exceptions.NotFound(), 404, "not_found"),
    "method": (exceptions.MethodNotAllowed("BREW"), 405, "method_not_allowed"),
    "format": (exceptions.NotAcceptable(), 406, "not_acceptable"),
    "type": (exceptions.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
    "throttled": (exceptions.Throttled(wait=6.4), 429, "throttled"),
    "django-404": (Http404("secret"), 404, "not_found"),
    "django-403": (PermissionDenied("secret"), 403, "permission_denied"),
    "too-big": (RequestDataTooBig("secret"), 413, "request_too_large"),
    "host": (DisallowedHost("secret"), 400, "malformed_request"),
    "suspicious": (SuspiciousOperation("secret"), 400, "malformed_request"),
    "bad": (BadRequest("secret"), 400, "malformed_request"),
    "unreadable": (UnreadablePostError("secret"), 400, "malformed_request"),
    "database-away": (OperationalError("secret"), 503, "not_ready"),
    "connection-closed": (InterfaceError("secret"), 503, "not_ready"),
    "bug": (ZeroDivisionError("secret"), 500, "internal_error"),
}


class Raising(ApiView):
    authentication_classes = ()
    permission_classes = ()

    def get(self, request, kind):
        raise RAISES[kind][0]


class Nested(ApiView):
    authentication_classes = ()
    permission_classes = ()

    def post(self, request):
        class Line(serializers.Serializer):
            amount = serializers.DecimalField(max_digits=5, decimal_places=2)
            tags = serializers.ListField(child=serializers.IntegerField(), required=False)

        class Order(serializers.Serializer):
            lines = Line(many=True)

            def validate(self, attrs):
                raise serializers.ValidationError("does not add up")

        return Response(self.valid(Order, request.data))


def plain_bug(request):
    raise ZeroDivisionError("secret")


def plain_refusal(request, kind):
    raise RAISES[kind][0]


def plain_problem(request):
    return problem_response(request, RateLimited(retry_after_s=0.2))


def fine(request):
    return HttpResponse("fine")


urlpatterns = [
    path("api/raise/<str:kind>", Raising.as_view()),
    path("api/nested", Nested.as_view()),
    path("api/plain-bug", plain_bug),
    path("page/bug", plain_bug),
    path("page/raise/<str:kind>", plain_refusal),
    path("webhook/raise/<str:kind>", plain_refusal),
    path("page/problem", plain_problem),
    path("page/fine", fine),
    path("docs/errors/<str:code>", problems.error_page),
]
handler400, handler403 = problems.bad_request, problems.permission_denied
handler404, handler500 = problems.page_not_found, problems.server_error

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


@pytest.fixture
def web(client):
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("kind", RAISES)
def test_every_kind_of_error_is_its_problem_and_gives_nothing_away(web, kind):
    _, status, code = RAISES[kind]
    response = web.get(f"/api/raise/{kind}")
    body = assert_problem(response, status, code)
    assert "secret" not in response.content.decode()
    assert body["instance"] == f"/api/raise/{kind}"
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


def test_own_fields_and_headers_of_an_error_come_along(web):
    assert web.get("/api/raise/ours").json()["connection_id"] == "c1"
    assert web.get("/api/raise/throttled").headers["Retry-After"] == "7"
    assert web.get("/page/problem").headers["Retry-After"] == "1"
    assert web.get("/api/raise/host").json()["detail"] == "This installation does not answer for that host name."


def test_validation_keeps_the_path_of_every_field(web):
    lines = [{"amount": "1.00"}, {"amount": "x"}, {}, {"amount": "2", "tags": [1, "two"]}]
    body = assert_problem(web.post("/api/nested", {"lines": lines}, "application/json"), 400, "validation_failed")
    assert body["errors"] == {
        "lines.1.amount": ["A valid number is required."],
        "lines.2.amount": ["This field is required."],
        "lines.3.tags.1": ["A valid integer is required."],
    }
    body = web.post("/api/nested", {"lines": [{"amount": 1}]}, "application/json").json()
    assert body["errors"] == {"": ["does not add up"]}


@pytest.mark.parametrize(
    "detail,found",
    [
        ("plain", {"": ["plain"]}),
        (["one", "two"], {"": ["one", "two"]}),
        ({"a": "text"}, {"a": ["text"]}),
        ({"a": {"non_field_errors": ["x"]}}, {"a": ["x"]}),
        ({"a": {"non_field_errors": ["x"], "b": ["y"]}}, {"a": ["x"], "a.b": ["y"]}),
        ([{}, {"a": ["x"]}], {"1.a": ["x"]}),
        ({"a": [{}, ["x"]]}, {"a.1": ["x"]}),
    ],
)
def test_field_messages_flatten_whatever_nests(detail, found):
    assert field_messages(detail) == found


# --- addresses that no API view answers ---
@pytest.mark.parametrize("address", ["/api", "/api/nope", "/api/v1/nope", "/webhook", "/webhook/nope"])
def test_unknown_api_addresses_are_problems(web, address):
    assert_problem(web.get(address), 404, "not_found")


@pytest.mark.parametrize(
    "kind,status,code",
    [
        ("suspicious", 400, "malformed_request"),
        ("django-403", 403, "permission_denied"),
        ("django-404", 404, "not_found"),
        ("too-big", 413, "request_too_large"),
        ("bug", 500, "internal_error"),
    ],
)
def test_plain_views_answer_machines_with_problems_and_people_with_text(web, kind, status, code):
    assert_problem(web.get(f"/webhook/raise/{kind}"), status, code)
    response = web.get(f"/page/raise/{kind}")
    assert (response.status_code, response.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    text = response.content.decode()
    assert text.startswith(CATALOGUE[code].title)
    assert response.headers[HEADER] in text
    assert "secret" not in text


def test_host_that_we_do_not_answer_for_is_400(web):
    body = assert_problem(web.get("/api/raise/bug", headers={"Host": "evil.example"}), 400, "malformed_request")
    assert "host name" in body["detail"]


def test_bug_in_a_plain_view_is_500(web):
    assert_problem(web.get("/api/plain-bug"), 500, "internal_error")
    assert web.get("/page/bug").status_code == 500


def test_whoever_records_errors_hears_of_each_once(web):
    heard = []

    def listen(sender, *, request, error, problem, **_kwargs):
        heard.append((request.path, type(error), problem["status"]))

    error_reported.connect(listen)
    try:
        for address in ("/api/raise/bug", "/api/nope", "/page/problem", "/page/nope", "/page/fine"):
            web.get(address)
    finally:
        error_reported.disconnect(listen)
    assert heard == [
        ("/api/raise/bug", ZeroDivisionError, 500),
        ("/api/nope", CausewayError, 404),
        ("/page/problem", RateLimited, 503),
        ("/page/nope", CausewayError, 404),
    ]


def test_every_refusal_is_one_line_and_a_bug_has_its_traceback_once(web, caplog):
    def lines(address: str, **headers: str) -> list[tuple[str, str, bool]]:
        caplog.clear()
        web.get(address, headers=headers)
        return [(record.name, record.levelname, bool(record.exc_info)) for record in caplog.records]

    ours = [("config.problems", "INFO", False)]
    for address in ("/api/raise/ours", "/api/nope", "/page/nope", "/page/problem", "/page/raise/suspicious"):
        assert lines(address) == ours, address
    assert lines("/page/fine", Host="evil.example") == ours
    for address in ("/api/raise/bug", "/page/bug"):
        found = lines(address)
        assert [(name, level) for name, level, _ in found] == [("config.problems", "ERROR")]
        assert "exc_info" in caplog.records[0].msg  # structlog's, until it is rendered


@pytest.mark.parametrize("length", ["1048577", "9" * 30, "9" * 5000, "0" * 20 + "9" * 20])
def test_length_above_the_limit_is_413_before_anything_is_read(web, length):
    class Unread(BytesIO):
        def read(self, *_size):
            pytest.fail("read")

    meta = {"CONTENT_LENGTH": length, "wsgi.input": Unread()}
    for address in ("/api/nested", "/api/nope", "/webhook/nope"):
        assert_problem(web.generic("POST", address, b"", "application/json", **meta), 413, "request_too_large")
    assert web.generic("POST", "/page/fine", b"", "text/plain", **meta).status_code == 413


@pytest.mark.parametrize("length", ["", "0", "1048576", "nonsense", "-1"])
def test_any_other_length_is_for_the_view_to_judge(web, length):
    assert web.generic("POST", "/page/fine", b"", "text/plain", CONTENT_LENGTH=length).status_code == 200


# --- correlation ids ---
@pytest.mark.parametrize(
    "address", ["/page/fine", "/page/nope", "/page/bug", "/api/nope", "/api/raise/bug", "/api/raise/host"]
)
def test_callers_id_comes_back_on_every_answer(web, address):
    assert web.get(address, headers={HEADER: "Ab-1._z"}).headers[HEADER] == "Ab-1._z"
    assert re.fullmatch("[0-9a-f]{32}", web.get(address).headers[HEADER])


@pytest.mark.parametrize(
    "given,is_kept",
    [("x", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("ä", False), ("", False), ("a\n", False)],
)
def test_id_of_another_form_is_replaced(web, given, is_kept):
    assert (web.get("/api/nope", headers={HEADER: given}).headers[HEADER] == given) == is_kept


# --- the pages a problem leads to ---
@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_has_a_page_that_says_what_to_do(web, code):
    response = web.get(f"/docs/errors/{code}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    from django.utils.html import escape

    text = response.content.decode()
    for words in (CATALOGUE[code].title, CATALOGUE[code].detail, CATALOGUE[code].remediation, code):
        assert escape(words) in text


@pytest.mark.parametrize("code", ["nope", "%00", "<script>"])
def test_unknown_code_has_none(web, code):
    assert web.get(f"/docs/errors/{code}").status_code == 404


def test_reference_lists_every_code():
    text = (Path(django_settings.BASE_DIR) / "docs" / "reference" / "errors.md").read_text()
    missing = [line for line in map(reference_line, CATALOGUE) if line not in text]
    assert missing == [], "put these lines into docs/reference/errors.md"
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) == len(CATALOGUE)


def reference_line(code: str) -> str:
    entry = CATALOGUE[code]
    retry = "yes" if entry.is_retryable else "no"
    return f"| `{code}` | {entry.status} | {entry.detail} | {entry.remediation} | {entry.fixed_by} | {retry} |"


# --- details ---
def test_translation_leaves_our_own_errors_alone():
    error = Conflict(code="conflict")
    assert translate(error) is error
    assert headers(error) == {}


def test_body_is_json_whatever_the_error_carries():
    request = RequestFactory().get("/api/x")
    response = problem_response(request, CausewayError("Ünïcode ✓", fields={"a.0": ["b"]}))
    body = json.loads(response.content)
    assert (body["detail"], body["errors"]) == ("Ünïcode ✓", {"a.0": ["b"]})
