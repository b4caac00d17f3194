"""The simulated Supabase in trouble: faults, states of a project, no database at all."""

from __future__ import annotations

import os
import signal

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.conftest import maintenance_dsn

from .conftest import Simulator, Supabase

ORDER = {"source_id": "1"}


@pytest.mark.parametrize("status", [402, 429, 502, 503, 504, 520, 521, 522, 523, 524, 540, 544])
def test_gateway_answers_in_its_own_shape(supabase: Supabase, status):
    supabase.fault("error", status=status, path="/rest/v1/orders")
    answer = supabase.call("POST", "/orders", ORDER)
    assert answer.status_code == status
    assert "code" not in answer.text
    assert answer.headers["content-type"].startswith("text/html" if 520 <= status <= 524 else "application/json")
    assert ("retry-after" in answer.headers) == (status == 429)
    assert supabase.rows("orders") == []
    assert supabase.call("POST", "/orders", ORDER).status_code == 201


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("PGRST000", 503), ("PGRST001", 503), ("PGRST002", 503), ("PGRST003", 504), ("40001", 500), ("40P01", 500),
        ("55P03", 500), ("57014", 500), ("57P01", 503), ("53300", 503), ("53400", 500), ("08006", 503), ("PGRST303", 401),
    ],
)  # fmt: skip
def test_any_code_of_the_data_api_can_be_asked_for(supabase: Supabase, code, status):
    supabase.fault("error", code=code)
    answer = supabase.call("GET", "/orders")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"code", "message", "details", "hint"}


def test_faults_are_for_a_method_a_path_and_a_number_of_times(supabase: Supabase):
    supabase.fault("error", status=503, path="POST /rest/v1/orders", skip=1, times=2)
    statuses = [supabase.call("POST", "/orders", {"source_id": str(number)}).status_code for number in range(4)]
    assert statuses == [201, 503, 503, 201]
    supabase.fault("error", status=401, path="GET /rest/v1/orders", body="")
    assert supabase.call("DELETE", "/orders?id=eq.0").status_code == 204
    answer = supabase.call("GET", "/orders")
    assert (answer.status_code, answer.content) == (401, b"")


def test_lost_answers_have_their_effect(supabase: Supabase):
    for number, kind in enumerate(("commit_then_drop", "truncated")):
        supabase.fault(kind)
        with pytest.raises(httpx.RemoteProtocolError):
            supabase.call("POST", "/orders", {"source_id": str(number)}, prefer="return=representation")
    supabase.fault("malformed")
    with pytest.raises(ValueError, match="JSON|Expecting|Extra|Unterminated|delimiter"):
        supabase.call("POST", "/orders", {"source_id": "3"}, prefer="return=representation").json()
    assert len(supabase.rows("orders")) == 3


def test_unsent_answers_have_none(supabase: Supabase):
    supabase.fault("reset")
    with pytest.raises(httpx.TransportError):
        supabase.call("POST", "/orders", ORDER)
    supabase.fault("html")
    assert supabase.call("POST", "/orders", ORDER).text.startswith("<html>")
    supabase.fault("hang", seconds=0.2)
    with pytest.raises(httpx.TransportError):
        supabase.call("POST", "/orders", ORDER)
    assert supabase.rows("orders") == []


def test_projects_can_be_paused_and_woken(supabase: Supabase):
    found = {}
    for state in ("paused", "restricted", "starting", "unreachable", "active"):
        supabase.set(state=state)
        found[state] = supabase.call("GET", "/orders").status_code
    assert found == {"paused": 540, "restricted": 402, "starting": 503, "unreachable": 503, "active": 200}


def test_projects_are_apart_and_survive_a_kill(servers, tmp_path):
    simulator = Simulator(tmp_path, SIMULATOR_DATABASE_URL=maintenance_dsn())
    one, other = Supabase(simulator, "one"), Supabase(simulator, "other")
    try:
        one.sql(Supabase.ORDERS)
        one.call("POST", "/orders", ORDER)
        assert other.refused("GET", "/orders") == (404, "PGRST205")
        assert one.http.get("/orders", headers={"apikey": other.keys["secret"]}).status_code == 401
        simulator.stop(signal.SIGKILL)
        simulator.start()
        again = httpx.get(
            f"{simulator.origin}/supabase/{one.ref}/rest/v1/orders", headers={"apikey": one.keys["secret"]}
        )
        assert [row["source_id"] for row in again.json()] == ["1"]
        assert (tmp_path / "simulators" / "supabase.jsonl").stat().st_mode & 0o077 == 0
    finally:
        for made in (one, other):
            made.close()
        simulator.stop()


def test_owner_is_no_superuser_and_names_roles_shortly(supabase: Supabase):
    owner = supabase.sql("SELECT rolsuper OR rolbypassrls AS mighty FROM pg_roles WHERE rolname = current_user")
    assert owner == [{"mighty": False}]
    supabase.sql("""
        CREATE ROLE hub LOGIN PASSWORD 'to service_role'; -- grant nothing to hub
        DO $$ BEGIN GRANT SELECT ON orders TO hub, "authenticated"; END $$;
        ALTER TABLE orders ADD hub text DEFAULT 'x to hub';
    """)
    granted = supabase.sql("SELECT grantee FROM information_schema.role_table_grants WHERE privilege_type = 'SELECT'")
    prefix = f"causeway_sim_{supabase.ref}_"
    roles = {row["grantee"].removeprefix(prefix) for row in granted}
    assert {"hub", "authenticated", "service_role"} <= roles
    supabase.call("POST", "/orders", ORDER)
    assert supabase.rows("orders")[0]["hub"] == "x to hub"


@pytest.mark.parametrize("dsn", ["", "postgres://nobody@127.0.0.1:9/x"])
def test_without_a_database_the_others_work_and_supabase_says_why(tmp_path, dsn):
    simulator = Simulator(tmp_path, "--demo", SIMULATOR_DATABASE_URL=dsn)
    try:
        for path in ("/supabase/abc/rest/v1/orders", "/supabase/_control/projects"):
            method = "POST" if "_control" in path else "GET"
            answer = httpx.request(method, f"{simulator.origin}{path}", timeout=20)
            if dsn and "_control" not in path:
                continue  # no project could be made, so there is none to ask
            assert answer.status_code == 503
            assert "PostgreSQL" in answer.text
        assert simulator.item().page()["added"]
    finally:
        simulator.stop()


def test_a_login_that_is_no_superuser_is_enough(servers, tmp_path):
    name = f"sim_lesser_{os.getpid()}"
    with psycopg.connect(maintenance_dsn(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN CREATEDB CREATEROLE BYPASSRLS PASSWORD 'lesser'")
    dsn = make_conninfo(maintenance_dsn(), user=name, password="lesser", dbname="postgres")
    simulator = Simulator(tmp_path, SIMULATOR_DATABASE_URL=dsn)
    made = Supabase(simulator, "lesser")
    try:
        made.sql(Supabase.ORDERS)
        assert made.call("POST", "/orders", ORDER).status_code == 201
        assert made.control(f"projects/{made.ref}/disconnect")["disconnected"] > 0
    finally:
        made.close()
        simulator.stop()
        with psycopg.connect(maintenance_dsn(), autocommit=True) as admin:
            admin.execute(f"DROP ROLE {name}")


def test_a_database_that_was_taken_away_is_made_again(servers, tmp_path):
    simulator = Simulator(tmp_path, SIMULATOR_DATABASE_URL=maintenance_dsn())
    made = Supabase(simulator, "lost")
    try:
        simulator.stop()
        with psycopg.connect(maintenance_dsn(), autocommit=True) as admin:
            admin.execute(f"DROP DATABASE causeway_sim_{made.ref} WITH (FORCE)")
        simulator.start()
        url = f"{simulator.origin}/supabase/{made.ref}/rest/v1/orders"
        answer = httpx.get(url, headers={"apikey": made.keys["secret"]})
        assert (answer.status_code, answer.json()["code"]) == (404, "PGRST205")
    finally:
        made.close()
        simulator.stop()


def test_demo_has_one_project_that_stays(servers, tmp_path):
    simulator = Simulator(tmp_path, "--demo", SIMULATOR_DATABASE_URL=maintenance_dsn())
    url = f"{simulator.origin}/supabase/_control/projects"
    try:
        (first,) = httpx.get(url).json()["projects"]
        simulator.stop()
        simulator.start()
        url = f"{simulator.origin}/supabase/_control/projects"
        (again,) = httpx.get(url).json()["projects"]
        assert (again["ref"], again["name"], again["keys"]) == (first["ref"], "demo", first["keys"])
        assert httpx.post(url, json={"name": "demo", "if_missing": True}).json()["ref"] == first["ref"]
    finally:
        httpx.delete(f"{url}/demo")
        simulator.stop()
