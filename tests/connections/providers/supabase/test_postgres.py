"""A direct connection is bounded in time, by TLS, and leaves nothing behind that a pooler could give to others."""

import time
from pathlib import Path

import pytest

from connections.errors import TemporaryError
from connections.providers.supabase import dsn, postgres
from connections.providers.supabase.errors import Busy
from connections.providers.supabase.postgres import PostgresStore

from .conftest import customer


@pytest.fixture
def store(project):
    made = PostgresStore.of(project.access("postgres"))
    yield made
    made.close()


def test_every_transaction_has_its_limits_and_only_it(store):
    asked = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('application_name')"
    with store.transaction("SELECT") as cursor:
        assert cursor.execute(asked).fetchone() == ("30s", "5s", "Causeway")
    assert store.connect().execute(asked).fetchone()[0] != "30s"
    assert store.connect().pgconn.ssl_in_use


def test_a_server_that_says_nothing_is_left(store, monkeypatch):
    monkeypatch.setattr(postgres, "LIMIT_S", 0.3)
    started = time.monotonic()
    with pytest.raises(TemporaryError), store.transaction("SELECT") as cursor:
        cursor.execute("SELECT pg_sleep(20)")
    assert time.monotonic() - started < 5
    with store.transaction("SELECT") as cursor:  # connects anew
        assert cursor.execute("SELECT 1").fetchone() == (1,)


def test_a_row_that_somebody_holds_is_busy(project, store, monkeypatch):
    project.write(project.access("postgres"), [customer(1)])
    monkeypatch.setattr(postgres, "_LIMITS", "SET LOCAL lock_timeout = '200ms'")
    with store.transaction("SELECT") as cursor:
        cursor.execute("SELECT FROM customers FOR UPDATE")
        with pytest.raises(Busy) as raised:
            project.write(project.access("postgres"), [customer(1, name="other")])
    assert raised.value.provider_code == "55P03"


@pytest.mark.parametrize(("port", "threshold"), [(5432, 5), (6543, None), (6432, None)])
def test_only_a_port_of_postgresqls_own_keeps_prepared_statements(port, threshold):
    place = dsn.parsed(f"postgresql://u:p@db.example.com:{port}/postgres")
    assert place.prepare_threshold == threshold


def test_no_certificate_stays_behind(store, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store.connect()
    assert list(Path(tmp_path).iterdir()) == []
