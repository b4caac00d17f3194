"""Row-level security: who the database thinks is asking, and the migration operation that protects a table.

A request on behalf of a workspace runs as the *tenant* role with `app.workspace_id` set; PostgreSQL then shows and
accepts that workspace's rows only, whatever the query says. Everything else (sign-in, receivers, workers, the console)
stays the *app* role, which has a policy of its own. docs/explanation/row-security.md says why.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings
from django.db import connection, models
from django.db.migrations.operations.base import Operation

from connections.ids import uuid7


def enter(workspace_id: UUID) -> None:
    """Switch this thread's database connection to the tenant role, for one workspace. One statement."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('role', %s, false), set_config('app.workspace_id', %s, false)",
            [settings.DATABASE_ROLES["tenant"], str(workspace_id)],
        )


def leave() -> None:
    """Switch back to the app role. A connection that cannot be switched back is closed, never reused."""
    if connection.connection is None:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('role', 'none', false), set_config('app.workspace_id', '', false)")
    except Exception:
        connection.close()
        raise


@contextmanager
def stepped_out() -> Iterator[None]:
    """As the app role, for what belongs to the installation and no workspace; whoever this thread was is back afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('role'), current_setting('app.workspace_id', true)")
        role, workspace_id = cursor.fetchone()
    if role != settings.DATABASE_ROLES["tenant"]:
        yield
        return
    leave()
    try:
        yield
    finally:
        enter(UUID(workspace_id))


class TenantModel(models.Model):
    """A row that belongs to one workspace. Its table needs `ProtectTable` in the migration that makes it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.ForeignKey("connections.Workspace", on_delete=models.PROTECT, related_name="+")

    class Meta:
        abstract = True


class ProtectTable(Operation):
    """Turn row-level security on for a table: the app sees all of it, a tenant its own workspace.

    column: the column that holds the workspace id.
    grants: what the tenant role may do to its own rows: what API requests need and no more; "" for nothing at all.
    parents: foreign key columns and the protected tables that they point at. Foreign keys are checked as the tables'
    owner, whom no policy binds, so the tenant's own policy looks whether the tenant sees the row. The tenant has to
    have SELECT on it.
    is_append_only: the application itself may read and insert, and nothing else.
    """

    reversible = True

    def __init__(
        self,
        table: str,
        *,
        column: str = "workspace_id",
        grants: str = "SELECT",
        parents: Mapping[str, str] | None = None,
        is_append_only: bool = False,
    ) -> None:
        self.table, self.column, self.grants, self.is_append_only = table, column, grants, is_append_only
        self.parents = dict(parents or {})

    def state_forwards(self, app_label, state) -> None:
        """The models stay as they are."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state) -> None:
        quote = schema_editor.quote_name
        table, column = quote(self.table), quote(self.column)
        app, tenant = (quote(settings.DATABASE_ROLES["app"]), quote(settings.DATABASE_ROLES["tenant"]))
        mine = f"{column} = nullif(current_setting('app.workspace_id', true), '')::uuid"
        schema_editor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        schema_editor.execute(f"CREATE POLICY app_all ON {table} TO {app} USING (true) WITH CHECK (true)")
        schema_editor.execute(f"CREATE POLICY tenant_own ON {table} TO {tenant} USING ({mine}) WITH CHECK ({mine})")
        restrict(schema_editor, self.table, self.parents)
        if self.is_append_only:
            schema_editor.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {app}")
        if self.grants:
            schema_editor.execute(f"GRANT {self.grants} ON {table} TO {tenant}")

    def database_backwards(self, app_label, schema_editor, from_state, to_state) -> None:
        table = schema_editor.quote_name(self.table)
        tenant = schema_editor.quote_name(settings.DATABASE_ROLES["tenant"])
        schema_editor.execute(f"REVOKE ALL ON {table} FROM {tenant}")
        for policy in (*(("tenant_updates", "tenant_inserts") if self.parents else ()), "tenant_own", "app_all"):
            schema_editor.execute(f"DROP POLICY {policy} ON {table}")
        schema_editor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

    def describe(self) -> str:
        return f"Protect {self.table} with row-level security"

    @property
    def migration_name_fragment(self) -> str:
        return f"protect_{self.table}"

    def deconstruct(self):
        options: dict[str, object] = {"column": self.column, "grants": self.grants, "parents": self.parents}
        if self.is_append_only:
            options["is_append_only"] = True
        return (self.__class__.__qualname__, [self.table], options)


class ProtectParents(Operation):
    """Say anew which rows a protected table's foreign keys may point at, and what the tenant role may do to its own.

    parents: all of them, as ProtectTable has them; was: those of before. grants: rights that are added.
    """

    reversible = True

    def __init__(
        self, table: str, *, parents: Mapping[str, str], was: Mapping[str, str] | None = None, grants: str = ""
    ) -> None:
        self.table, self.parents, self.was, self.grants = table, dict(parents), dict(was or {}), grants

    def state_forwards(self, app_label, state) -> None:
        """The models stay as they are."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state) -> None:
        self._replace(schema_editor, self.parents)
        if self.grants:
            schema_editor.execute(f"GRANT {self._of_tenant(schema_editor, 'TO')}")

    def database_backwards(self, app_label, schema_editor, from_state, to_state) -> None:
        if self.grants:
            schema_editor.execute(f"REVOKE {self._of_tenant(schema_editor, 'FROM')}")
        self._replace(schema_editor, self.was)

    def _of_tenant(self, schema_editor, word: str) -> str:
        quote = schema_editor.quote_name
        return f"{self.grants} ON {quote(self.table)} {word} {quote(settings.DATABASE_ROLES['tenant'])}"

    def _replace(self, schema_editor, parents: Mapping[str, str]) -> None:
        for policy in ("tenant_updates", "tenant_inserts"):
            schema_editor.execute(f"DROP POLICY IF EXISTS {policy} ON {schema_editor.quote_name(self.table)}")
        restrict(schema_editor, self.table, parents)

    def describe(self) -> str:
        return f"Say what {self.table} may point at"

    @property
    def migration_name_fragment(self) -> str:
        return f"parents_of_{self.table}"

    def deconstruct(self):
        return (
            self.__class__.__qualname__,
            [self.table],
            {"parents": self.parents, "was": self.was, "grants": self.grants},
        )


def restrict(schema_editor, table: str, parents: Mapping[str, str]) -> None:
    """Policies of their own for writing: reading pays nothing for them, and a table may be its own parent (a policy
    that reads its own table would never come to an end)."""
    quote = schema_editor.quote_name
    tenant = quote(settings.DATABASE_ROLES["tenant"])
    if seen := " AND ".join(_is_seen(quote, table, key, parent) for key, parent in parents.items()):
        on = f"ON {quote(table)} AS RESTRICTIVE"
        schema_editor.execute(f"CREATE POLICY tenant_inserts {on} FOR INSERT TO {tenant} WITH CHECK ({seen})")
        schema_editor.execute(
            f"CREATE POLICY tenant_updates {on} FOR UPDATE TO {tenant} USING (true) WITH CHECK ({seen})"
        )


def _is_seen(quote: Callable[[str], str], table: str, key: str, parent: str) -> str:
    """SQL: the foreign key is empty, or points at a row that whoever asks may see."""
    column = f"{quote(table)}.{quote(key)}"
    return f"({column} IS NULL OR EXISTS (SELECT FROM {quote(parent)} p WHERE p.id = {column}))"
