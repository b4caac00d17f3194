"""Row-level security, as the database enforces it."""

import uuid

import psycopg
import pytest
from django.conf import settings
from django.db import ProgrammingError, connection, transaction

from connections import tenancy
from connections.models import Connection, Membership

pytestmark = pytest.mark.django_db


def bank(person, name: str) -> Connection:
    return Connection.objects.create(
        workspace=person.workspace, owner=person.user, provider="plaid", name=name, status="active"
    )


def rows(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return len(cursor.fetchall())


def test_every_tenant_table_has_its_policies():
    """A table with workspace_id that forgot ProtectTable fails here."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname, c.relrowsecurity, coalesce(array_agg(p.polname::text) FILTER (WHERE p.polname IS NOT NULL), '{}')
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_policy p ON p.polrelid = c.oid
            WHERE n.nspname = 'public' AND c.relkind = 'r' AND EXISTS (
                SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped)
            GROUP BY 1, 2
            """
        )
        tables = cursor.fetchall()
    assert len(tables) >= 12
    unprotected = [
        name for name, is_on, policies in tables if not is_on or not {"app_all", "tenant_own"} <= set(policies)
    ]
    assert unprotected == []


def test_tests_run_as_the_application_login_without_special_rights():
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (settings.DATABASE_ROLES["app"], False, False)


def test_tenant_sees_only_its_workspace(alice, charlie):
    bank(alice, "hers"), bank(charlie, "his")
    tenancy.enter(alice.workspace.pk)
    assert [c.name for c in Connection.objects.all()] == ["hers"]
    assert Membership.objects.count() == 1
    tenancy.leave()
    assert Connection.objects.count() == 2


@pytest.mark.parametrize("workspace_id", ["", str(uuid.uuid4())])
def test_raw_sql_without_or_with_another_workspace_sees_nothing(alice, workspace_id):
    bank(alice, "hers")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('role', %s, false), set_config('app.workspace_id', %s, false)",
            [settings.DATABASE_ROLES["tenant"], workspace_id],
        )
        cursor.execute("SELECT tablename FROM pg_policies WHERE schemaname = 'public' AND policyname = 'tenant_own'")
        tables = [table for (table,) in cursor.fetchall()]
    assert {table: rows(f"SELECT 1 FROM {table}") for table in tables} == dict.fromkeys(tables, 0)
    tenancy.leave()


def test_tenant_cannot_write_into_another_workspace(alice, charlie):
    tenancy.enter(alice.workspace.pk)
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        bank(charlie, "smuggled")
    tenancy.leave()


def test_tenant_cannot_read_people_or_tokens(alice):
    tenancy.enter(alice.workspace.pk)
    for table in ("connections_user", "connections_accesstoken", "django_session"):
        with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
            rows(f"SELECT 1 FROM {table}")
    tenancy.leave()


def test_pool_reset_drops_role_and_workspace(alice, servers):
    from config.pool import reset_connection
    from config.roles import dsn_of

    with psycopg.connect(dsn_of(settings.DATABASES["default"]), autocommit=True) as pooled:
        pooled.execute(
            "SELECT set_config('role', %s, false), set_config('app.workspace_id', %s, false)",
            [settings.DATABASE_ROLES["tenant"], str(alice.workspace.pk)],
        )
        reset_connection(pooled)
        assert pooled.execute("SELECT current_user, current_setting('app.workspace_id')").fetchone() == (
            settings.DATABASE_ROLES["app"],
            "",
        )
