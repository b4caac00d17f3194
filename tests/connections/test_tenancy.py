"""Row-level security, as the database enforces it."""

import uuid
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import ProgrammingError, connection, transaction
from django.utils import timezone

from connections import tenancy
from connections.ids import uuid7
from connections.models import (
    Account,
    Connection,
    Credential,
    DomainEvent,
    Membership,
    PlaidExchange,
    PlaidItem,
    PlaidItemAccount,
    PlaidLink,
    RetiredPlaidItem,
    Verification,
)
from connections.services.plaid_items import item_retire
from diagnostics.models import ErrorEvent
from sync.models import Flow, Mapping, MappingVersion, RunStatus, SyncRun, Trigger

pytestmark = pytest.mark.django_db

REPLAYED = ("status", "note", "attempts", "replays", "is_marked", "next_attempt_at", "processed_at")
# All that a request on behalf of a workspace may do. A right more is a decision: it belongs here and into its migration.
GRANTS = {
    "connections_workspace": {"SELECT", "UPDATE of webhooks_enabled"},
    "connections_membership": {"SELECT"},
    "connections_connection": {"SELECT", "INSERT", "UPDATE"},
    "connections_credential": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "connections_verification": {"SELECT", "INSERT"},
    "connections_meteredcalls": {"SELECT"},
    "connections_recordnews": {"SELECT"},
    "connections_oauthgrant": {"SELECT"},
    "connections_oauthstate": {"SELECT", "INSERT"},
    "connections_plaiditem": {"SELECT", "INSERT", "UPDATE"},
    "connections_account": {"SELECT", "INSERT", "UPDATE"},
    "connections_plaiditemaccount": {"SELECT", "INSERT", "UPDATE"},
    "connections_plaidlink": {"SELECT", "INSERT"},
    "connections_plaidexchange": {"SELECT", "INSERT", "UPDATE"},
    "connections_retiredplaiditem": {"INSERT"},
    "connections_domainevent": {"SELECT", "INSERT"},
    "connections_securityevent": {"SELECT", "INSERT"},
    "connections_providerpause": {f"SELECT of {column}" for column in ("id", "provider", "environment", "code")},
    "connections_idempotencykey": {"SELECT", "INSERT", "UPDATE"},
    "sync_transaction": {"SELECT"},
    "sync_flow": {"SELECT", "INSERT", "UPDATE"},
    "sync_mapping": {"SELECT", "INSERT", "UPDATE"},
    "sync_mappingversion": {"SELECT", "INSERT"},
    "sync_watermark": {"SELECT", "UPDATE"},
    "sync_recordlink": {"SELECT"},
    "sync_writeintent": {"SELECT"},
    "sync_syncrun": {"SELECT", "INSERT", "UPDATE"},
    "sync_syncfailure": {"SELECT"},
    "sync_subscription": {"SELECT"},
    "sync_subscriptionfeed": {"SELECT", "UPDATE of due_at"},
    "webhooks_webhookevent": {"SELECT", *(f"UPDATE of {column}" for column in REPLAYED)},
    "diagnostics_errorevent": {"SELECT", "INSERT"},
}
# Foreign keys of what a tenant may write, which another workspace's row must not be put into.
POINTERS = [
    ("connections_credential", "connection_id"),
    ("connections_verification", "connection_id"),
    ("connections_plaiditem", "connection_id"),
    ("connections_account", "connection_id"),
    ("connections_plaiditemaccount", "item_id"),
    ("connections_plaiditemaccount", "account_id"),
    ("connections_plaidlink", "connection_id"),
    ("connections_plaidexchange", "connection_id"),
    ("connections_plaidexchange", "link_id"),
    ("connections_domainevent", "connection_id"),
    ("sync_syncrun", "connection_id"),
    ("sync_syncrun", "parent_id"),
    ("sync_syncrun", "flow_id"),
    ("sync_flow", "source_id"),
    ("sync_flow", "target_id"),
    ("sync_mapping", "flow_id"),
    ("sync_mappingversion", "mapping_id"),
    ("diagnostics_errorevent", "connection_id"),
]


def bank(person, name: str) -> Connection:
    return Connection.objects.create(
        workspace=person.workspace, owner=person.user, provider="plaid", name=name, status="active"
    )


def everything_of(person) -> dict[str, Any]:
    """One row of each table that a tenant may write, by table; none points at anything but its owner's."""
    bank_ = bank(person, "bank")
    mine = {"workspace": person.workspace}
    item = PlaidItem.objects.create(**mine, connection=bank_, item_id=f"item-{person.user}")
    account = Account.objects.create(**mine, connection=bank_, name="Chequing")
    asked = {**mine, "user": person.user, "connection": bank_, "environment": "production"}
    link = PlaidLink.objects.create(**asked, digest=f"link-{person.user}", ciphertext=b"", expires_at=timezone.now())
    run = {**mine, "connection": bank_, "trigger": Trigger.USER}
    store = Connection.objects.create(**mine, owner=person.user, provider="supabase", name="store")
    flow = Flow.objects.create(**mine, name="flow", source=bank_, target=store)
    mapping = Mapping.objects.create(**mine, name="mapping", flow=flow, entity="orders", target="supabase")
    past = SyncRun.objects.create(**run, parameters_hash="past", status=RunStatus.SUCCEEDED)
    made = [
        Credential.objects.create(**mine, connection=bank_, name="access_token", ciphertext=b""),
        item,
        account,
        Verification.objects.create(**mine, connection=bank_, config_version=1),
        PlaidItemAccount.objects.create(**mine, item=item, account=account, plaid_account_id="a"),
        link,
        PlaidExchange.objects.create(**asked, link=link, digest=f"exchange-{person.user}"),
        DomainEvent.objects.create(**mine, connection=bank_, line=bank_.pk, sequence=1, type="SyncFailed"),
        SyncRun.objects.create(**run, parent=past, flow=flow, parameters_hash="waiting"),
        flow,
        mapping,
        MappingVersion.objects.create(**mine, mapping=mapping, number=1),
        ErrorEvent.objects.create(**mine, connection=bank_, status=500),
    ]
    return {row._meta.db_table: row for row in made}


def values(row, **changed: Any) -> dict[str, Any]:
    """The row's values by column, as raw SQL wants them."""
    found = {
        field.column: field.get_db_prep_save(getattr(row, field.attname), connection) for field in row._meta.fields
    }
    return found | changed


def insert(table: str, columns: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(columns.values()))


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
        cursor.execute(
            # CASE: else the planner may ask for the privilege first, of tables that are not on the search path.
            "SELECT tablename FROM pg_policies WHERE CASE WHEN schemaname = 'public' AND policyname = 'tenant_own' "
            "THEN has_table_privilege(quote_ident(tablename), 'SELECT') END"
        )
        tables = [table for (table,) in cursor.fetchall()]
    assert len(tables) >= 12
    assert {table: rows(f"SELECT 1 FROM {table}") for table in tables} == dict.fromkeys(tables, 0)
    tenancy.leave()


def test_tenant_cannot_write_into_another_workspace(alice, charlie):
    tenancy.enter(alice.workspace.pk)
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        bank(charlie, "smuggled")
    tenancy.leave()


@pytest.mark.parametrize("table, column", POINTERS)
def test_tenant_cannot_point_at_another_workspaces_row(alice, charlie, table, column):
    """Foreign keys are checked as the tables' owner, whom no policy binds: the tenant's policy has to look itself."""
    hers, his = everything_of(alice)[table], everything_of(charlie)[table]
    smuggled = getattr(his, column)
    assert smuggled
    tenancy.enter(alice.workspace.pk)
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        insert(table, values(hers, id=uuid7(), **{column: smuggled}))
    if "UPDATE" in GRANTS[table]:
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            rows(f"UPDATE {table} SET {column} = '{smuggled}' WHERE id = '{hers.pk}' RETURNING 1")
        assert rows(f"UPDATE {table} SET {column} = {column} WHERE id = '{hers.pk}' RETURNING 1") == 1
    tenancy.leave()


def test_tenant_cannot_take_another_workspaces_unique_slots(alice, charlie):
    """Whoever waits for one_queued_run or one_credential_per_name would find them taken by a row that it cannot see."""
    hers, theirs = everything_of(alice), bank(charlie, "empty")
    tenancy.enter(alice.workspace.pk)
    for table in ("sync_syncrun", "connections_credential", "connections_plaiditem"):
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            insert(table, values(hers[table], id=uuid7(), connection_id=theirs.pk))
    tenancy.leave()


def test_tenant_points_at_its_own_rows(alice):
    hers = everything_of(alice)
    parent = hers["sync_syncrun"]
    tenancy.enter(alice.workspace.pk)
    for parent_id in (parent.pk, None):
        insert("sync_syncrun", values(parent, id=uuid7(), parent_id=parent_id, parameters_hash=uuid7().hex))
    insert("diagnostics_errorevent", values(hers["diagnostics_errorevent"], id=uuid7(), connection_id=None))
    tenancy.leave()


def test_tenant_puts_an_item_down_for_removal_without_reading_those_that_are(alice):
    left = bank(alice, "re-linked")
    tenancy.enter(alice.workspace.pk)
    item_retire(left, item_id="item-1", access_token="access-production-1")
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        RetiredPlaidItem.objects.count()
    tenancy.leave()
    assert RetiredPlaidItem.objects.get().reveal() == "access-production-1"


def test_every_foreign_key_to_a_protected_table_is_checked_by_policy():
    """A ProtectTable that forgot one of its `parents` fails here."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT f.conrelid::regclass::text, a.attname, f.confrelid::regclass::text, r.attname
            FROM pg_constraint f
            JOIN pg_class c ON c.oid = f.conrelid AND c.relrowsecurity
            JOIN pg_class p ON p.oid = f.confrelid AND p.relrowsecurity
            JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = ANY(f.conkey)
            JOIN pg_attribute r ON r.attrelid = f.confrelid AND r.attnum = ANY(f.confkey)
            WHERE f.contype = 'f'
            """
        )
        keys = cursor.fetchall()
        cursor.execute(
            """
            SELECT polrelid::regclass::text, polcmd, polpermissive,
                regexp_replace(pg_get_expr(polwithcheck, polrelid), '[[:space:]]+', ' ', 'g')
            FROM pg_policy WHERE %s::regrole = ANY(polroles) AND polwithcheck IS NOT NULL
            """,
            [f'"{settings.DATABASE_ROLES["tenant"]}"'],
        )
        policies = cursor.fetchall()
    assert len(keys) >= 30
    assert {(table, column) for table, column, _, _ in keys} >= set(POINTERS)

    def is_checked(table: str, column: str, parent: str, key: str, command: str) -> bool:
        if parent == "connections_workspace":
            wanted, kind = f"({column} = (NULLIF(current_setting('app.workspace_id'", ("*", True)
        else:
            wanted, kind = f"FROM {parent} p WHERE (p.{key} = {table}.{column})", (command, False)
        return any(wanted in check for name, *of, check in policies if name == table and tuple(of) == kind)

    assert [(key, command) for key in keys for command in "aw" if not is_checked(*key, command)] == []


def test_tenant_may_do_what_requests_need_and_no_more():
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
            WHERE c.relnamespace = 'public'::regnamespace AND a.grantee IN (%(tenant)s::regrole, 0)
            UNION ALL
            SELECT c.relname, a.privilege_type || ' of ' || t.attname
            FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
            WHERE c.relnamespace = 'public'::regnamespace AND a.grantee IN (%(tenant)s::regrole, 0)
            """,
            {"tenant": f'"{settings.DATABASE_ROLES["tenant"]}"'},
        )
        found: dict[str, set[str]] = {}
        for table, privilege in cursor.fetchall():
            found.setdefault(table, set()).add(privilege)
    assert found == GRANTS


def test_tenant_cannot_read_people_tokens_or_staged_pages(alice):
    tenancy.enter(alice.workspace.pk)
    for table in ("connections_user", "connections_accesstoken", "django_session", "sync_stagedpage"):
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
