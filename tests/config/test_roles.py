"""Roles are made in the run's own cluster, under names of their own."""

import threading

import psycopg
import pytest
from django.conf import settings
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from config.roles import RolesError, drop_database, dsn_of, ensure_roles
from tests.conftest import maintenance_dsn

pytestmark = pytest.mark.usefixtures("servers")


@pytest.fixture
def cluster(servers, request):
    """A set of role names and a database that nobody else uses, and how to log in as one of them."""
    if not settings.IS_EMBEDDED_POSTGRES:
        pytest.skip("needs a superuser")
    made = Cluster(f"roles_{abs(hash(request.node.nodeid)) % 10**8}")
    yield made
    made.remove()


class Cluster:
    def __init__(self, name: str) -> None:
        self.database = name
        self.roles = {part: f"{name}_{part}" for part in ("owner", "app", "tenant")}

    def ensure(self, dsn: str | None = None) -> None:
        ensure_roles(dsn or maintenance_dsn(), self.roles, database=self.database, passwords={"app": "secret"})

    def login(self, part: str) -> str:
        return make_conninfo(maintenance_dsn(), user=self.roles[part], dbname=self.database)

    def run(self, part: str, *statements: str):
        with psycopg.connect(self.login(part), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.format(**self.roles))
            return cursor.fetchall() if cursor.description else None

    def remove(self) -> None:
        drop_database(maintenance_dsn(), self.database)
        with psycopg.connect(maintenance_dsn(), autocommit=True) as connection:
            for role in ("tenant", "app", "owner"):
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(self.roles[role])))


def test_repeating_changes_nothing(cluster):
    cluster.ensure()
    cluster.ensure()
    assert cluster.run("app", "SELECT current_database()") == [(cluster.database,)]


def test_racing_processes_all_succeed(cluster):
    failures = []

    def ensure() -> None:
        try:
            cluster.ensure()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_application_uses_what_the_owner_makes_and_makes_nothing(cluster):
    cluster.ensure()
    cluster.run("owner", "CREATE TABLE thing (id int GENERATED ALWAYS AS IDENTITY, word text)")
    assert cluster.run("app", "INSERT INTO thing (word) VALUES ('a')", "SELECT word FROM thing") == [("a",)]
    with pytest.raises(errors.InsufficientPrivilege):
        cluster.run("app", "CREATE TABLE mine ()")
    with pytest.raises(errors.InsufficientPrivilege):
        cluster.run("app", "TRUNCATE thing")
    assert cluster.run("app", "CREATE TEMPORARY TABLE scratch (n int)", "SELECT n FROM scratch") == []


def test_application_may_become_the_tenant_and_has_nothing_of_it_before(cluster):
    cluster.ensure()
    cluster.run(
        "owner", "CREATE TABLE thing (n int)", "REVOKE ALL ON thing FROM {app}", "GRANT SELECT ON thing TO {tenant}"
    )
    with pytest.raises(errors.InsufficientPrivilege):
        cluster.run("app", "SELECT n FROM thing")
    assert cluster.run("app", "SET ROLE {tenant}", "SELECT n FROM thing") == []
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(cluster.login("tenant"))


def test_neither_escapes_a_policy(cluster):
    cluster.ensure()
    query = "SELECT count(*) FROM pg_roles WHERE rolname IN ('{app}', '{tenant}') AND (rolsuper OR rolbypassrls OR rolcreaterole)"
    assert cluster.run("app", query) == [(0,)]


def test_a_login_that_escapes_policies_is_refused(cluster):
    cluster.ensure()
    with psycopg.connect(maintenance_dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} BYPASSRLS").format(sql.Identifier(cluster.roles["app"])))
    with pytest.raises(RolesError, match="NOSUPERUSER NOBYPASSRLS"):
        cluster.ensure()


def test_one_login_for_both_is_refused(cluster):
    cluster.ensure()
    roles = cluster.roles | {"app": cluster.roles["owner"]}
    with pytest.raises(RolesError, match="the same login"):
        ensure_roles(maintenance_dsn(), roles, database=cluster.database)


def test_an_owner_with_createrole_makes_the_rest(cluster):
    with psycopg.connect(maintenance_dsn(), autocommit=True) as connection:
        owner, database = sql.Identifier(cluster.roles["owner"]), sql.Identifier(cluster.database)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(owner))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    cluster.ensure(cluster.login("owner"))
    cluster.ensure(cluster.login("owner"))
    cluster.run("owner", "CREATE TABLE thing (n int)")
    assert cluster.run("app", "SET ROLE {tenant}", "SELECT current_user") == [(cluster.roles["tenant"],)]
    with psycopg.connect(maintenance_dsn()) as connection:
        query = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
        assert connection.execute(query, [cluster.roles["app"]]).fetchone()[0].startswith("SCRAM-SHA-256$")


def test_an_owner_without_it_says_what_to_run(cluster):
    with psycopg.connect(maintenance_dsn(), autocommit=True) as connection:
        owner, database = sql.Identifier(cluster.roles["owner"]), sql.Identifier(cluster.database)
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(owner))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    with pytest.raises(RolesError, match=f"CREATE ROLE {cluster.roles['app']} LOGIN"):
        cluster.ensure(cluster.login("owner"))


def test_roles_made_beforehand_are_enough(cluster):
    cluster.ensure()
    cluster.ensure(cluster.login("owner"))


def test_a_missing_database_that_may_not_be_made_is_named(cluster):
    cluster.ensure()
    with pytest.raises(RolesError, match="CREATE DATABASE"):
        ensure_roles(cluster.login("owner"), cluster.roles, database=f"{cluster.database}_2")


def test_dsn_of_a_django_database():
    database = {
        "NAME": "d",
        "USER": "u",
        "PASSWORD": "p w",
        "HOST": "h",
        "PORT": 1,
        "OPTIONS": {"sslmode": "require", "pool": {}},
    }
    found = conninfo_to_dict(dsn_of(database))
    assert found == {"dbname": "d", "user": "u", "password": "p w", "host": "h", "port": "1", "sslmode": "require"}
