"""Direct connections to the simulated Supabase: TLS, passwords, both poolers' ways."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor, wait

import psycopg
import pytest
from psycopg import errors

from tests.conftest import maintenance_dsn

from .conftest import Simulator, Supabase

UPSERT = """
    INSERT INTO orders AS cur (source_id, total) VALUES (%s, %s), ('b', 2)
    ON CONFLICT (source_id) DO UPDATE SET total = EXCLUDED.total WHERE cur.total IS DISTINCT FROM EXCLUDED.total
    RETURNING source_id, (xmax = 0) AS inserted
"""


class Direct:
    """How to connect to the test's project."""

    def __init__(self, supabase: Supabase, ca_file: str):
        self.shown = supabase.control(f"projects/{supabase.ref}", "GET")["direct"]
        self.ca_file = ca_file

    def connect(self, mode: str = "session", **given) -> psycopg.Connection:
        defaults = {
            "host": "127.0.0.1",
            "port": self.shown["ports"][mode],
            "user": self.shown["user"],
            "password": self.shown["password"],
            "dbname": "postgres",
            "sslmode": "verify-full",
            "sslrootcert": self.ca_file,
            "connect_timeout": 10,
        }
        return psycopg.connect(**(defaults | given))


@pytest.fixture
def direct(supabase, tmp_path) -> Direct:
    ca_file = tmp_path / "ca.pem"
    made = Direct(supabase, str(ca_file))
    ca_file.write_text(made.shown["ca_pem"])
    return made


def refused(direct: Direct, **given) -> str:
    with pytest.raises(psycopg.OperationalError) as failure:
        direct.connect(**given)
    return str(failure.value)


def test_owner_upserts_over_verified_tls(supabase: Supabase, direct: Direct):
    with direct.connect() as connection:
        assert connection.pgconn.ssl_in_use
        assert sorted(connection.execute(UPSERT, ["a", "1.5"])) == [("a", True), ("b", True)]
        assert connection.execute(UPSERT, ["a", "3"]).fetchall() == [("a", False)]
    assert {row["source_id"]: row["total"] for row in supabase.rows("orders")} == {"a": 3, "b": 2}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "aws-0-ca-central-1.pooler.supabase.test"])
def test_certificate_is_for_the_names_it_answers_to(direct: Direct, host):
    direct.connect(host=host, hostaddr="127.0.0.1").close()


def test_direct_host_needs_no_ref_in_the_user(supabase: Supabase, direct: Direct):
    host = direct.shown["host_name"]
    direct.connect(host=host, hostaddr="127.0.0.1", user="postgres").close()
    assert "Tenant or user not found" in refused(direct, user="postgres")
    assert "Tenant or user not found" in refused(
        direct, mode="transaction", host=host, hostaddr="127.0.0.1", user="postgres"
    )


def test_verify_full_fails_with_another_name_or_authority(direct: Direct, own_authority):
    other = refused(direct, host="db.example.test", hostaddr="127.0.0.1")
    assert "db.example.test" in other
    assert "certificate verify failed" in refused(direct, sslrootcert=own_authority)
    assert "certificate verify failed" in refused(direct, sslrootcert="system", host="localhost")


@pytest.fixture
def own_authority(servers, tmp_path_factory) -> str:
    """The certificate of another installation's authority."""
    home = tmp_path_factory.mktemp("other")
    simulator = Simulator(home, SIMULATOR_DATABASE_URL=maintenance_dsn())
    simulator.stop()
    return str(home / "simulators" / "supabase-tls" / "ca.pem")


def test_plaintext_is_taken_unless_the_project_enforces_tls(supabase: Supabase, direct: Direct):
    with direct.connect(sslmode="disable") as connection:
        assert not connection.pgconn.ssl_in_use
    supabase.set(ssl_enforced=True)
    assert "SSL connection is required" in refused(direct, sslmode="disable")
    direct.connect().close()


def test_wrong_passwords_and_unknown_names_are_refused(supabase: Supabase, direct: Direct):
    assert 'password authentication failed for user "postgres"' in refused(direct, password="wrong")
    assert "authentication failed" in refused(direct, user=f"causeway.{supabase.ref}")
    assert "Tenant or user not found" in refused(direct, user="postgres.nobody")
    assert 'database "shop" does not exist' in refused(direct, dbname="shop")
    assert 'authentication failed for user "anon"' in refused(direct, user=f"anon.{supabase.ref}")


def test_own_role_has_the_grants_it_was_given(supabase: Supabase, direct: Direct):
    password = supabase.control(f"projects/{supabase.ref}/roles", name="hub")["password"]
    login = {"user": f"hub.{supabase.ref}", "password": password}
    with direct.connect(**login) as connection, pytest.raises(errors.InsufficientPrivilege, match="table orders"):
        connection.execute("SELECT * FROM orders")
    with direct.connect() as owner:
        owner.execute("GRANT SELECT, INSERT ON orders TO hub; ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    with direct.connect(**login) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == []
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            connection.execute("INSERT INTO orders (source_id) VALUES ('a')")


def test_roles_made_in_sql_log_in(supabase: Supabase, direct: Direct):
    supabase.sql("CREATE ROLE writer LOGIN PASSWORD 'long enough'; GRANT SELECT ON orders TO writer")
    with direct.connect(user=f"writer.{supabase.ref}", password="long enough") as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)


def test_session_mode_keeps_what_a_session_has(direct: Direct):
    with direct.connect(autocommit=True, prepare_threshold=0) as connection:
        connection.execute("SET lock_timeout = '7s'")
        for _ in range(3):
            assert connection.execute("SELECT current_setting('lock_timeout'), %s::int", [1]).fetchone() == ("7s", 1)


def test_transaction_mode_keeps_nothing_between_transactions(direct: Direct):
    with direct.connect("transaction", autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SET lock_timeout = '7s'")
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)
        connection.execute("SELECT pg_advisory_lock(7)")
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '7s'")
            connection.execute("CREATE TEMPORARY TABLE t ON COMMIT DROP AS SELECT 1")
            assert connection.execute("SHOW lock_timeout").fetchone() == ("7s",)


def test_prepared_statements_fail_in_transaction_mode(direct: Direct):
    with direct.connect("transaction", autocommit=True, prepare_threshold=0) as connection:
        with pytest.raises(errors.InvalidSqlStatementName):
            for _ in range(3):
                connection.execute("SELECT %s::int", [1])
        connection.prepare_threshold = None
        assert connection.execute("SELECT %s::int", [1]).fetchone() == (1,)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_copy_pipelines_and_errors_pass_through(supabase: Supabase, direct: Direct, mode):
    with direct.connect(mode, autocommit=True, prepare_threshold=None) as connection:
        with connection.cursor() as cursor, cursor.copy("COPY orders (source_id) FROM STDIN") as copy:
            for number in range(5000):
                copy.write_row([f"c{number}"])
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int", [number]) for number in range(20)]
        assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(20)]
        with pytest.raises(errors.UniqueViolation):
            connection.execute("INSERT INTO orders (source_id) VALUES ('c1')")
        with (
            pytest.raises(errors.UniqueViolation),
            connection.cursor() as cursor,
            cursor.copy("COPY orders (source_id) FROM STDIN") as copy,
        ):
            copy.write_row(["c1"])
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (5000,)
        rows = connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 20000)").fetchall()
        assert len(rows) == 20000


def test_many_at_once_and_no_more_than_the_session_pool_has(direct: Direct):
    def count(number: int) -> int:
        with direct.connect("transaction", prepare_threshold=None) as connection:
            return sum(connection.execute("SELECT %s::int", [number]).fetchone()[0] for _ in range(10))

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(count, range(20))) == [10 * number for number in range(20)]
    with contextlib.ExitStack() as stack:
        for _ in range(15):
            stack.enter_context(direct.connect())
        assert "MaxClientsInSessionMode" in refused(direct)
        host = {"host": direct.shown["host_name"], "hostaddr": "127.0.0.1", "user": "postgres"}
        stack.enter_context(direct.connect(**host))


def test_a_running_statement_can_be_cancelled(direct: Direct):
    with direct.connect() as connection, ThreadPoolExecutor(1) as pool:
        running = pool.submit(connection.execute, "SELECT pg_sleep(30)")
        while not running.done():
            connection.cancel_safe()
            wait([running], timeout=0.05)
        assert isinstance(running.exception(), errors.QueryCanceled)


def test_faults_meet_direct_connections(supabase: Supabase, direct: Direct):
    supabase.fault("error", path="postgres")
    assert "too many clients" in refused(direct)
    supabase.fault("error", path="postgres", code="57P03", message="the database system is in recovery mode")
    assert "in recovery mode" in refused(direct)
    supabase.fault("reset", path="postgres")
    assert refused(direct)
    supabase.set(state="paused")
    assert "Tenant or user not found" in refused(direct)
    supabase.set(state="active")
    with direct.connect() as connection:
        supabase.control(f"projects/{supabase.ref}/disconnect")
        with pytest.raises(errors.AdminShutdown):
            connection.execute("SELECT 1")
    assert supabase.call("GET", "/orders").status_code == 200


def test_commit_whose_answer_is_lost_has_happened(supabase: Supabase, direct: Direct):
    supabase.fault("commit_then_drop", path="postgres")
    connection = direct.connect()
    connection.execute("INSERT INTO orders (source_id) VALUES ('a')")
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    assert len(supabase.rows("orders")) == 1


def test_ports_stay_the_homes_own(servers, tmp_path):
    simulator = Simulator(tmp_path, SIMULATOR_DATABASE_URL=maintenance_dsn())
    before = Supabase(simulator, "ports")
    try:
        ports = before.shown["direct"]["ports"]
        simulator.stop()
        with socket.create_server(("127.0.0.1", ports["transaction"])):
            simulator.start()
            after = before.control(f"projects/{before.ref}", "GET")["direct"]
        assert after["ports"]["session"] == ports["session"]
        assert after["ports"]["transaction"] != ports["transaction"]
        assert after["ca_pem"] == before.shown["direct"]["ca_pem"]
    finally:
        before.close()
        simulator.stop()


def test_nonsense_harms_nobody_else(direct: Direct):
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x08\x04\xd2\x16\x2fnonsense", b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", direct.shown["ports"]["session"])) as client:
            client.sendall(nonsense)
    direct.connect().close()
