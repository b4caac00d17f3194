"""Two tenants take turns on one database connection, with everything in between that could leave a role behind."""

import pytest
from django.conf import settings
from django.db import connection
from django.http import StreamingHttpResponse
from django.urls import path
from rest_framework.response import Response

from config import problems
from connections import tenancy
from connections.api import tenant
from connections.api.base import WorkspaceView
from connections.models import Connection, Role
from tests.connections.api.scene import assert_problem, make_shop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def seen() -> str:
    """Who the database thinks asks, and what it shows without any filter of ours."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, pg_backend_pid()")
        role, pid = cursor.fetchone()
    names = ",".join(Connection.objects.order_by("name").values_list("name", flat=True))
    return f"{'tenant' if role == settings.DATABASE_ROLES['tenant'] else 'app'} {pid} {names}\n"


class Plain(WorkspaceView):
    roles = {"GET": Role.VIEWER}

    def get(self, request):
        return Response(seen())


class Streamed(WorkspaceView):
    roles = {"GET": Role.VIEWER}

    def get(self, request):
        return StreamingHttpResponse(seen() for _ in range(3))


class Failing(WorkspaceView):
    roles = {"GET": Role.VIEWER}

    def get(self, request):
        seen()
        raise RuntimeError("on purpose")


class Unrenderable(WorkspaceView):
    roles = {"GET": Role.VIEWER}

    def get(self, request):
        return Response({"key": object.__new__(type("Unprintable", (), {"__str__": lambda _self: 1 / 0}))})


class Interrupted(WorkspaceView):
    roles = {"GET": Role.VIEWER}

    def get(self, request):
        raise KeyboardInterrupt


def outside(request):
    from django.http import HttpResponse

    return HttpResponse(seen())


urlpatterns = [
    path("api/plain", Plain.as_view()),
    path("api/stream", Streamed.as_view()),
    path("api/fail", Failing.as_view()),
    path("api/unrenderable", Unrenderable.as_view()),
    path("api/interrupt", Interrupted.as_view()),
    path("outside", outside),
]
handler500 = problems.server_error


class Discarding:
    """A middleware that loses the answer it was given."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        self.get_response(request)
        raise RuntimeError("lost it")


@pytest.fixture(autouse=True)
def shops(alice, charlie):
    make_shop(alice, "hers"), make_shop(charlie, "his")


def pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def assert_app() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, coalesce(current_setting('app.workspace_id', true), '')")
        assert cursor.fetchone() == (settings.DATABASE_ROLES["app"], "")
    assert Connection.objects.count() == 2


def test_two_tenants_alternate_around_an_exception_and_a_stream(alice, charlie):
    ours, shown = pid(), []
    for turn in ("plain", "fail", "plain", "stream", "plain", "unrenderable", "plain"):
        for person, name in ((alice, "hers"), (charlie, "his")):
            response = person.api.get(f"/api/{turn}")
            if turn in ("fail", "unrenderable"):
                assert_problem(response, 500, "internal_error")
            else:
                text = b"".join(response).decode() if response.streaming else response.json()
                assert set(text.splitlines()) == {f"tenant {ours} {name}"}
                shown.append(name)
            assert_app()
    assert shown == ["hers", "his"] * 5
    assert pid() == ours


def test_stream_that_nobody_reads_to_its_end_leaves_no_role(alice, charlie):
    response = alice.api.get("/api/stream")
    assert next(iter(response)).decode().startswith("tenant")
    response.close()
    assert_app()


def test_role_lasts_until_the_last_chunk(alice):
    response = alice.api.get("/api/stream")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        assert cursor.fetchone() == (settings.DATABASE_ROLES["tenant"],)
    assert len(list(response)) == 3
    assert_app()


def test_answer_that_a_middleware_throws_away_leaves_no_role(alice, client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.Discarding"]
    assert_problem(alice.api.get("/api/plain"), 500, "internal_error")
    assert_app()


def test_interrupt_leaves_no_role(alice):
    with pytest.raises(KeyboardInterrupt):
        alice.api.get("/api/interrupt")
    assert_app()


def test_next_request_begins_as_the_app_whatever_the_last_one_left(alice, client):
    tenant.enter(alice.membership)
    assert client.get("/outside").content.decode().startswith("app")
    assert_app()


def test_connection_that_cannot_be_switched_back_is_closed(alice, monkeypatch):
    before = pid()
    tenant.enter(alice.membership)

    def break_off() -> None:
        connection.close()
        raise RuntimeError

    monkeypatch.setattr(tenancy, "leave", break_off)
    tenant.leave()
    assert pid() != before
    assert_app()


def test_refused_requests_never_become_the_tenant(alice, charlie, monkeypatch):
    monkeypatch.setattr(tenancy, "enter", lambda _workspace: pytest.fail("entered"))
    assert_problem(alice.api.post("/api/plain"), 405, "method_not_allowed")
    assert_problem(alice.api.get("/api/plain", headers={"X-Workspace": "globex"}), 404, "not_found")


def test_failing_entry_is_an_error_and_leaves_nothing(alice, monkeypatch):
    def fail(_workspace) -> None:
        raise RuntimeError("no role")

    monkeypatch.setattr(tenancy, "enter", fail)
    assert_problem(alice.api.get("/api/plain"), 500, "internal_error")
    assert_app()
