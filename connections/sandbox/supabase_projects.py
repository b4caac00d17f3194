"""Simulated Supabase projects: what each consists of, and how one comes to be and goes in a real PostgreSQL.

A project is a database of its own in the server that SIMULATOR_DATABASE_URL names. Roles belong to the whole server, so
each project has its own under a prefix: `anon` of the project `abc` is `causeway_sim_abc_anon` there.
"""

from __future__ import annotations

import os
import re
import secrets
import string
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from . import supabase_keys, supabase_roles
from .journal import Journal
from .supabase_pool import Pool
from .supabase_schema import SchemaCache

PREFIX = "causeway_sim_"
API_ROLES = supabase_keys.ROLES
STATES = ("active", "paused", "restricted", "starting", "unreachable")
AUTH_FUNCTIONS = """
CREATE SCHEMA auth;
CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql STABLE
    AS $$ SELECT coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb $$;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT (auth.jwt() ->> 'sub')::uuid $$;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS $$ SELECT auth.jwt() ->> 'role' $$;
"""
# What a hosted project has too: whoever changes a table tells the Data API.
DDL_WATCH = """
CREATE FUNCTION auth.pgrst_watch() RETURNS event_trigger LANGUAGE plpgsql
    AS $$ BEGIN NOTIFY pgrst, 'ddl'; END $$;
CREATE EVENT TRIGGER pgrst_ddl_watch ON ddl_command_end EXECUTE FUNCTION auth.pgrst_watch();
CREATE EVENT TRIGGER pgrst_drop_watch ON sql_drop EXECUTE FUNCTION auth.pgrst_watch();
"""


class NoDatabase(Exception):
    """There is no PostgreSQL to keep projects in; the text says why."""


@dataclass
class Project:
    """One project, as it is kept in the journal."""

    ref: str
    name: str
    keys: dict[str, str]
    jwt_secret: str
    passwords: dict[str, str]
    roles: list[str] = field(default_factory=list)
    state: str = "active"
    exposed_schemas: list[str] = field(default_factory=lambda: ["public"])
    max_rows: int = 1000
    statement_timeout_ms: dict[str, int] = field(
        default_factory=lambda: {"anon": 3_000, "authenticated": 8_000, "service_role": 60_000}
    )
    switches: dict[str, bool] = field(
        default_factory=lambda: {
            "legacy_keys": True,
            "auto_reload": True,
            "safeupdate": False,
            "ssl_enforced": False,
        }
    )

    @property
    def database(self) -> str:
        return f"{PREFIX}{self.ref}"

    @property
    def prefix(self) -> str:
        return f"{PREFIX}{self.ref}_"

    @property
    def role_names(self) -> list[str]:
        return ["postgres", "authenticator", *API_ROLES, *self.roles]

    def role(self, name: str) -> str:
        """The role's name in the server."""
        return f"{self.prefix}{name}"

    def renamed(self, text: str) -> str:
        """The owner's SQL as the server understands it."""
        return supabase_roles.with_prefix(text, self.role_names, self.prefix)


@dataclass
class Live:
    """What a project needs while the process runs: connections and what the Data API knows of the tables."""

    pool: Pool
    schema: SchemaCache

    def close(self) -> None:
        self.schema.close()
        self.pool.close()


class Projects:
    """All projects, by ref. `dsn`: a login that makes databases and roles, a superuser at best; "": there is none."""

    def __init__(self, journal: Path, dsn: str | None = None):
        self.dsn = os.environ.get("SIMULATOR_DATABASE_URL", "") if dsn is None else dsn
        self.journal = Journal(journal)
        self.lock = threading.RLock()
        self.projects: dict[str, Project] = {}
        self._live: dict[str, Live] = {}
        self._address: tuple[str, int] | None = None
        for event in self.journal.replay():
            self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        if event["e"] == "gone":
            self.projects.pop(event["ref"], None)
        else:
            self.projects[event["ref"]] = Project(**{name: value for name, value in event.items() if name != "e"})

    def save(self, project: Project) -> None:
        self.projects[project.ref] = project
        self.journal.append({"e": "project"} | asdict(project))

    def close(self) -> None:
        with self.lock:
            for live in self._live.values():
                live.close()
            self._live.clear()
            self.journal.close()

    # --- the server ---

    def admin(self, database: str | None = None) -> psycopg.Connection:
        """A connection of the login that makes projects. Raises NoDatabase."""
        if not self.dsn:
            raise NoDatabase(
                "The simulated Supabase needs a PostgreSQL of its own: set SIMULATOR_DATABASE_URL to a login that may "
                "create databases and roles with BYPASSRLS."
            )
        try:
            given = conninfo_to_dict(self.dsn)
            target = database or given.get("dbname") or "postgres"
            return psycopg.connect(
                make_conninfo(self.dsn, dbname=target, connect_timeout="5", application_name="causeway-simulators"),
                autocommit=True,
            )
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[-1]
            raise NoDatabase(f"The simulated Supabase cannot reach its PostgreSQL: {reason}") from None

    def address(self) -> tuple[str, int]:
        """Where the server listens: host or socket folder, and port. Raises NoDatabase."""
        if self._address is None:
            with self.admin() as admin:
                self._address = (admin.info.host, admin.info.port)
        return self._address

    def dsn_of(self, project: Project, role: str) -> str:
        """How a role of the project logs in."""
        return make_conninfo(
            self.dsn,
            dbname=project.database,
            user=project.role(role),
            password=project.passwords[role],
            connect_timeout="5",
            application_name="postgrest",
        )

    def owner(self, project: Project) -> psycopg.Connection:
        """A connection as the tables' owner, who is no superuser. Raises NoDatabase."""
        try:
            return psycopg.connect(self.dsn_of(project, "postgres"), autocommit=True)
        except psycopg.Error as error:
            raise NoDatabase(f"The project's database cannot be reached: {error}") from None

    def live(self, project: Project) -> Live:
        """What serves the project, its database made again (empty) where somebody took it away. Raises NoDatabase."""
        with self.lock:
            if project.ref not in self._live:
                self._rebuild_lost(project)
                pool = Pool(self.dsn_of(project, "authenticator"))
                self._live[project.ref] = Live(pool, SchemaCache(self.dsn_of(project, "authenticator")))
            return self._live[project.ref]

    # --- making and removing ---

    def named(self, name: str) -> Project | None:
        return next((one for one in self.projects.values() if one.name == name), None)

    def create(self, *, name: str, ref: str | None = None) -> Project:
        """A project with its database and roles. Raises ValueError, NoDatabase."""
        ref = ref or "".join(secrets.choice(string.ascii_lowercase) for _ in range(20))
        if not re.fullmatch(r"[a-z0-9]{1,20}", ref) or ref in self.projects or ref in ("rest", "auth"):
            raise ValueError("ref must be new, of at most 20 small letters and digits")
        jwt_secret = secrets.token_urlsafe(32)
        project = Project(
            ref=ref,
            name=name,
            keys={kind: supabase_keys.new_key(kind) for kind in ("publishable", "secret")}
            | {role: supabase_keys.legacy_key(role, ref, jwt_secret) for role in ("anon", "service_role")},
            jwt_secret=jwt_secret,
            passwords={role: secrets.token_urlsafe(18) for role in ("postgres", "authenticator")},
        )
        with self.lock:
            self._build(project)
            self.save(project)
        return project

    def _rebuild_lost(self, project: Project) -> None:
        with self.admin() as admin:
            found = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [project.database]).fetchone()
            if found:
                return
            self._demolish(admin, project)
        extra, project.roles = project.roles, []
        self._build(project)
        for name in extra:
            self.add_role(project, name, project.passwords.get(name))

    def _build(self, project: Project) -> None:
        with self.admin() as admin:
            try:
                self._make_roles(admin, project)
                self._execute(admin, "CREATE DATABASE {} OWNER {}", project.database, project.role("postgres"))
            except psycopg.Error as error:
                self._demolish(admin, project)
                raise NoDatabase(f"The project cannot be made: {error.diag.message_primary or error}") from None
            is_superuser = admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        with self.owner(project) as owner:
            names = [sql.Identifier(project.role(role)) for role in API_ROLES]
            for schema in ("public", "auth"):
                if schema == "auth":
                    owner.execute(AUTH_FUNCTIONS)
                grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}")
                owner.execute(grant.format(sql.Identifier(schema), sql.SQL(", ").join(names)))
        if is_superuser and is_superuser[0]:
            with self.admin(project.database) as inside:
                inside.execute(DDL_WATCH)

    def _make_roles(self, admin: psycopg.Connection, project: Project) -> None:
        for role in ("postgres", "authenticator"):
            verifier = self._verifier(admin, project.role(role), project.passwords[role])
            rights = "CREATEROLE" if role == "postgres" else "NOINHERIT"
            self._execute(admin, f"CREATE ROLE {{}} LOGIN {rights} PASSWORD {{!}}", project.role(role), verifier)
            self._execute(admin, "GRANT {} TO CURRENT_USER", project.role(role))  # a superuser would not need it
        for role in API_ROLES:
            rights = "BYPASSRLS" if role == "service_role" else ""
            self._execute(admin, f"CREATE ROLE {{}} NOLOGIN NOINHERIT {rights}", project.role(role))
            self._execute(admin, "GRANT {} TO {}", project.role(role), project.role("authenticator"))
            self._execute(admin, "GRANT {} TO {} WITH ADMIN OPTION", project.role(role), project.role("postgres"))

    @staticmethod
    def _verifier(connection: psycopg.Connection, role: str, password: str) -> str:
        return connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()

    @staticmethod
    def _execute(connection: psycopg.Connection, statement: str, *names: str) -> None:
        """Run it with names in place of `{}` and a text in place of `{!}`, which comes last."""
        parts = re.split(r"(\{!?\})", statement)
        values = iter(names)
        made = [
            sql.Identifier(next(values))
            if part == "{}"
            else sql.Literal(next(values))
            if part == "{!}"
            else sql.SQL(part)
            for part in parts
        ]
        connection.execute(sql.Composed(made))

    def add_role(self, project: Project, name: str, password: str | None) -> str:
        """A login of the project's own with no grants, or a new password for it. Returns the password."""
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,28}", name) or name in (*API_ROLES, "authenticator"):
            raise ValueError(
                "name must be of at most 29 small letters, digits and underscores, and no role of Supabase's"
            )
        password = password or secrets.token_urlsafe(18)
        with self.lock, self.admin() as admin:
            verb = "ALTER" if name in project.role_names else "CREATE"
            verifier = self._verifier(admin, project.role(name), password)
            self._execute(admin, f"{verb} ROLE {{}} LOGIN PASSWORD {{!}}", project.role(name), verifier)
            if verb == "CREATE":
                self._execute(admin, "GRANT {} TO {} WITH ADMIN OPTION", project.role(name), project.role("postgres"))
                project.roles.append(name)
            project.passwords[name] = password
            self.save(project)
        return password

    def rotate(self, project: Project) -> None:
        """New opaque keys."""
        project.keys |= {kind: supabase_keys.new_key(kind) for kind in ("publishable", "secret")}
        self.save(project)

    def note_roles(self, project: Project, names: list[str]) -> None:
        """Roles that the owner's own SQL is about to make."""
        if new := [name for name in dict.fromkeys(names) if name not in project.role_names]:
            with self.lock:
                project.roles.extend(new)
                self.save(project)

    def remove(self, project: Project) -> None:
        """Neither database nor roles are left."""
        with self.lock:
            if live := self._live.pop(project.ref, None):
                live.close()
            with self.admin() as admin:
                self._demolish(admin, project)
            self.projects.pop(project.ref, None)
            self.journal.append({"e": "gone", "ref": project.ref})

    def _demolish(self, admin: psycopg.Connection, project: Project) -> None:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        admin.execute(drop.format(sql.Identifier(project.database)))
        for role in reversed(project.role_names):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(project.role(role))))
