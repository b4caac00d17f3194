"""The three database roles that row-level security rests on, and the database they share.

*owner* owns the tables and migrates, *app* logs in without any way around a policy, *tenant* cannot log in and is what
the application becomes while it works for one workspace. Roles belong to the whole cluster, so they are made at start
and not in a migration, under a lock in the maintenance database: advisory locks belong to one database.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

LOCK = 0x6361757365776179  # "causeway"
LOCK_LIMIT_S = 60


class RolesError(RuntimeError):
    """The roles are not there and this login may not make them; the text says what to run."""


def ensure_roles(
    maintenance_dsn: str, roles: Mapping[str, str], *, database: str, passwords: Mapping[str, str] | None = None
) -> None:
    """The roles, the database and their privileges are in place. Safe to repeat, and from several processes at once.

    maintenance_dsn: a login that may do it, into any database; `postgres` is used, where that login may enter it.
    roles: names by part: owner, app, tenant. passwords: by part, used only for a login that is made here.
    Raises RolesError.
    """
    with _locked(maintenance_dsn) as maintenance:
        for part in ("owner", "app", "tenant"):
            _ensure_role(maintenance, roles[part], can_login=part != "tenant", password=(passwords or {}).get(part))
        _refuse_privileged(maintenance, roles)
        _ensure_membership(maintenance, roles)
        _ensure_database(maintenance, database, roles["owner"])
        with _connect(make_conninfo(maintenance_dsn, dbname=database)) as connection:
            _ensure_privileges(connection, database, roles)


def drop_database(maintenance_dsn: str, database: str) -> None:
    """The database does not exist; whoever is connected to it is cut off. For tests."""
    with _locked(maintenance_dsn) as maintenance:
        maintenance.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


@contextmanager
def _locked(maintenance_dsn: str) -> Iterator[psycopg.Connection]:
    try:
        connection = _connect(make_conninfo(maintenance_dsn, dbname="postgres"))
    except psycopg.OperationalError:  # some hosts let nobody in there: then all of ours meet in the application's
        connection = _connect(maintenance_dsn)
    with connection:
        connection.execute(sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{LOCK_LIMIT_S}s")))
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield connection  # closing it releases the lock


def _connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=10, application_name="causeway-roles")


def _ensure_role(connection: psycopg.Connection, name: str, *, can_login: bool, password: str | None) -> None:
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
        return
    statement = sql.SQL("CREATE ROLE {} {} NOSUPERUSER NOBYPASSRLS NOCREATEROLE").format(
        sql.Identifier(name), sql.SQL("LOGIN" if can_login else "NOLOGIN")
    )
    if password:  # sent as its SCRAM verifier: the server may log statements
        verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        statement += sql.SQL(" PASSWORD {}").format(sql.Literal(verifier))
    try:
        with suppress(errors.DuplicateObject, errors.UniqueViolation):  # somebody else was faster: done
            connection.execute(statement)
    except errors.InsufficientPrivilege:
        kind = "LOGIN PASSWORD '…'" if can_login else "NOLOGIN"
        raise RolesError(
            f"The database role {name} does not exist, and {connection.info.user} may not create it. "
            f"Give {connection.info.user} CREATEROLE, or run as an administrator: CREATE ROLE {name} {kind};"
        ) from None


def _refuse_privileged(connection: psycopg.Connection, roles: Mapping[str, str]) -> None:
    """Policies do not bind a superuser, a role with BYPASSRLS, or (unless forced) the tables' owner."""
    query = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND (rolsuper OR rolbypassrls)"
    if found := connection.execute(query, [[roles["app"], roles["tenant"]]]).fetchone():
        raise RolesError(
            f"The database role {found[0]} is a superuser or has BYPASSRLS, so no policy would hold it back. "
            f"Run as an administrator: ALTER ROLE {found[0]} NOSUPERUSER NOBYPASSRLS;"
        )
    if len(set(roles.values())) < len(roles):
        raise RolesError(
            "DATABASE_URL and DATABASE_OWNER_URL name the same login. Use two: no policy holds an owner back."
        )


def _ensure_membership(connection: psycopg.Connection, roles: Mapping[str, str]) -> None:
    """The application may become the tenant, and has nothing of it until it does."""
    query = """SELECT bool_or(set_option) AND NOT bool_or(inherit_option) FROM pg_auth_members
               WHERE roleid = %(tenant)s::regrole AND member = %(app)s::regrole"""
    quoted = {part: sql.Identifier(name).as_string() for part, name in roles.items()}
    found = connection.execute(query, quoted).fetchone()
    if found and found[0]:
        return
    tenant, app = sql.Identifier(roles["tenant"]), sql.Identifier(roles["app"])
    grant = sql.SQL("GRANT {} TO {} WITH INHERIT FALSE, SET TRUE").format(tenant, app)
    try:
        connection.execute(grant)
    except errors.InsufficientPrivilege:
        raise RolesError(
            f"{roles['app']} may not become {roles['tenant']}, and {connection.info.user} may not allow it. "
            f"Run as an administrator: {grant.as_string()};"
        ) from None


def _ensure_database(connection: psycopg.Connection, database: str, owner: str) -> None:
    query = "SELECT pg_get_userbyid(datdba) = %s, pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s"
    found = connection.execute(query, [owner, database]).fetchone()
    if found and found[0]:
        return
    name, role = sql.Identifier(database), sql.Identifier(owner)
    verb = sql.SQL("ALTER DATABASE {} OWNER TO {}" if found else "CREATE DATABASE {} OWNER {}").format(name, role)
    try:
        with suppress(errors.DuplicateDatabase, errors.UniqueViolation):
            connection.execute(verb)
    except errors.InsufficientPrivilege:
        if found:
            return  # somebody else's database is fine, if its public schema is ours to use: checked next
        raise RolesError(
            f"The database {database} does not exist, and {connection.info.user} may not create it. "
            f"Run as an administrator: {verb.as_string()};"
        ) from None


def _ensure_privileges(connection: psycopg.Connection, database: str, roles: Mapping[str, str]) -> None:
    """Only the owner creates; the application reads and writes what the owner made, the tenant what it was granted."""
    names = {part: sql.Identifier(name) for part, name in roles.items()} | {"database": sql.Identifier(database)}
    defaults = "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT"
    statements = [
        "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {app}",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE, CREATE ON SCHEMA public TO {owner}",
        "GRANT USAGE ON SCHEMA public TO {app}, {tenant}",
        f"{defaults} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {{app}}",
        f"{defaults} USAGE, SELECT ON SEQUENCES TO {{app}}",
        f"{defaults} EXECUTE ON FUNCTIONS TO {{app}}, {{tenant}}",
    ]
    for statement in statements:
        try:
            connection.execute(sql.SQL(statement).format(**names))
        except errors.InsufficientPrivilege:
            if not _is_enough(connection, roles):
                raise RolesError(
                    f"{connection.info.user} may not grant in the database {database}. "
                    f"Run as an administrator: ALTER DATABASE {database} OWNER TO {roles['owner']};"
                ) from None


def _is_enough(connection: psycopg.Connection, roles: Mapping[str, str]) -> bool:
    query = """SELECT has_schema_privilege(%(owner)s, 'public', 'CREATE') AND has_schema_privilege(%(app)s, 'public', 'USAGE')
               AND has_schema_privilege(%(tenant)s, 'public', 'USAGE')
               AND has_database_privilege(%(app)s, current_database(), 'CONNECT')
               AND has_database_privilege(%(app)s, current_database(), 'TEMPORARY')"""
    found = connection.execute(query, dict(roles)).fetchone()
    return bool(found and found[0])


def dsn_of(database: Mapping[str, object]) -> str:
    """A connection string for one of settings.DATABASES."""
    parts = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    dsn = make_conninfo(**{name: str(database[key]) for name, key in parts.items() if database.get(key)})
    options = database.get("OPTIONS")
    known = (
        {name: value for name, value in options.items() if name.startswith("ssl")} if isinstance(options, dict) else {}
    )
    return make_conninfo(dsn, **known)
