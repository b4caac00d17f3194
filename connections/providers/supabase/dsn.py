"""A connection string that somebody pasted: what may stand in it, and where it leads. Everything else is refused.

libpq lets a connection string read files, run as another service and set options of the server; none of that is a
stranger's to choose. Nothing here quotes the string: it holds the password.
"""

import re
from dataclasses import dataclass, field

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

_ALLOWED = {"host", "port", "user", "password", "dbname", "sslmode"}
_TLS = {"require", "verify-ca", "verify-full"}
_EXAMPLE = "postgresql://user:password@host:port/database, from Connect in Supabase."


@dataclass(frozen=True, slots=True)
class Dsn:
    """Where a store's database is, and the login there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str
    is_verified: bool  # by the string itself, whatever else was chosen

    @property
    def role(self) -> str:
        """The role in the database: poolers are told the project as well, after a dot."""
        return self.user.rpartition(".")[0] or self.user

    @property
    def prepare_threshold(self) -> int | None:
        """psycopg's: None for a pooler that works by transactions, where nothing prepared is there for the next one."""
        return 5 if self.port == 5432 else None


def parsed(value: str) -> Dsn:
    """Raises ValueError with a sentence that says what to do, and quotes nothing."""
    if not re.match(r"postgres(ql)?://", value):
        raise ValueError(f"Not a connection string: {_EXAMPLE}")
    if "[YOUR-PASSWORD]" in value.upper() or "[PASSWORD]" in value.upper():
        raise ValueError("Put the database's password in the place of [YOUR-PASSWORD].")
    try:
        given = {name: str(text) for name, text in conninfo_to_dict(value).items() if text is not None}
    except (ProgrammingError, UnicodeError, ValueError):
        raise ValueError(
            f"This cannot be read as a connection string: {_EXAMPLE} In a password, write / as %2F, @ as %40, # as %23;"
            " leave out what other programs have added after a ?."
        ) from None
    if surplus := sorted(set(given) - _ALLOWED):
        raise ValueError(f"Leave these out of the connection string: {', '.join(surplus)}.")
    if given.get("sslmode", "require") not in _TLS:
        raise ValueError("Leave sslmode out of the connection string: it is never connected without TLS.")
    return _checked(given)


def _checked(given: dict[str, str]) -> Dsn:
    host = given.get("host", "")
    if not host or host.startswith(("/", "@")) or "," in host or "," in given.get("port", ""):
        raise ValueError("The connection string has to name one host, by its name or address.")
    if missing := [name for name in ("user", "password") if not given.get(name)]:
        raise ValueError(f"The connection string has no {' and no '.join(missing)}.")
    port = given.get("port", "5432")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 0 < int(port) < 65536:
        raise ValueError("The connection string's port is not a number up to 65535.")
    if any("\x00" in text for text in given.values()):
        raise ValueError("The connection string holds a character that none has.")
    return Dsn(
        host=host,
        port=int(port),
        user=given["user"],
        password=given["password"],
        dbname=given.get("dbname") or "postgres",
        is_verified=given.get("sslmode") == "verify-full",
    )
