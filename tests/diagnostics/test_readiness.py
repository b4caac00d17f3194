"""/healthz and /readyz, as a supervisor asks them."""

import os
import subprocess
import sys
import time

import psycopg
import pytest
from django.test import Client

from config import liveness
from config.processes import wait_until
from diagnostics import readiness
from tests.conftest import call


@pytest.fixture
def client(servers, django_db_setup) -> Client:
    """Without the test's database access: neither address may use this thread's connection."""
    return Client(raise_request_exception=False)


@pytest.fixture
def alive(servers):
    """Worker and beat have just been heard of."""
    liveness.mark("worker"), liveness.mark("beat")
    yield
    liveness._redis(liveness.settings.REDIS_URL).delete(liveness._key("worker"), liveness._key("beat"))


def ready(client: Client) -> tuple[int, dict]:
    answer = client.get("/readyz")
    assert "no-store" in answer["Cache-Control"]
    body = answer.json()
    assert body["status"] == ("ok" if answer.status_code == 200 else "unavailable")
    return answer.status_code, body["checks"]


def why(client: Client) -> dict[str, str]:
    """What is wrong, by part."""
    status, checks = ready(client)
    assert status == 503
    return {name: check["why"] for name, check in checks.items() if not check["ok"]}


def test_healthz_asks_nobody(client, monkeypatch):
    monkeypatch.setattr(readiness, "checks", lambda: pytest.fail("asked"))
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert client.post("/healthz").status_code == 405


def test_ready_when_every_part_is_there(client, alive):
    assert ready(client) == (200, {name: {"ok": True} for name in ("database", "broker", "worker", "beat")})


def test_not_ready_before_worker_and_beat_were_heard_of(client):
    assert why(client) == {"worker": "Worker has not been heard of yet.", "beat": "Beat has not been heard of yet."}


def test_not_ready_when_worker_and_beat_fell_silent(client, alive, monkeypatch):
    monkeypatch.setattr(liveness, "stale_after_s", lambda: -1.0)
    assert why(client) == {"worker": "Worker was last heard of 0 s ago.", "beat": "Beat was last heard of 0 s ago."}


@pytest.mark.parametrize("tick_s, stale_s", [(0.2, 15), (2, 15), (10, 50)])
def test_silence_is_measured_against_the_tick(settings, tick_s, stale_s):
    settings.TICK_S = tick_s
    assert liveness.stale_after_s() == stale_s


def test_not_ready_without_broker(client, settings):
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    found = why(client)
    assert set(found) == {"broker", "worker", "beat"}
    assert found["broker"] == "The broker cannot be reached."


def test_lost_mark_harms_nobody(servers, settings):
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    liveness.mark("worker")


def test_age_counts_from_the_last_mark(alive):
    assert 0 <= liveness.age_s("worker") < 5
    assert liveness.age_s("nobody") is None


def test_not_ready_without_database(client, alive, settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "HOST", "/nowhere")
    assert why(client) == {"database": "The database cannot be reached."}


def test_not_ready_before_the_first_migration(client, alive, monkeypatch):
    class Empty:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def execute(self, _query):
            raise psycopg.errors.UndefinedTable

    monkeypatch.setattr(readiness.psycopg, "connect", lambda *args, **kwargs: Empty())
    assert "manage.py migrate" in why(client)["database"]


def test_part_that_hangs_is_not_waited_for(client, alive, monkeypatch):
    monkeypatch.setattr(readiness, "LIMIT_S", 0.2)
    monkeypatch.setitem(readiness._QUESTIONS, "database", lambda: time.sleep(1) or [])
    started = time.monotonic()
    assert why(client) == {"database": "No answer within 0.2 s."}
    assert time.monotonic() - started < 0.9


def test_demo_is_not_ready_while_its_data_is_made(client, alive, settings, tmp_path):
    settings.CAUSEWAY_HOME, settings.DEMO = tmp_path, True
    assert ready(client)[0] == 200
    (tmp_path / "seeding").touch()
    assert why(client) == {"demo_data": "The demo's data is still being made."}
    settings.DEMO = False
    assert ready(client)[0] == 200


def test_real_worker_and_beat_make_it_ready(live_web, process):
    assert call("GET", f"{live_web.url}/healthz") == (200, {"status": "ok"})
    assert call("GET", f"{live_web.url}/readyz")[0] == 503
    process("worker")
    status, answer = call("GET", f"{live_web.url}/readyz")
    assert (status, answer["checks"]["worker"]["ok"], answer["checks"]["beat"]["ok"]) == (503, True, False)
    process("beat")
    assert wait_until(lambda: call("GET", f"{live_web.url}/readyz")[0] == 200, 20)


def test_what_a_killed_supervisor_left_behind_is_not_ready(client, alive, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setenv("CAUSEWAY_SUPERVISOR", str(ended.pid))
    assert set(why(client)) == {"supervisor"}
    monkeypatch.setenv("CAUSEWAY_SUPERVISOR", str(os.getpid()))
    assert ready(client)[0] == 200
