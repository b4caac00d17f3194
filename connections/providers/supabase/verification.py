"""Whether a store can be worked with: the capability `Verifies`, over either kind.

Nothing stays written: over REST an upsert of no rows asks for every permission, over PostgreSQL a row is written and
rolled back. Every trouble names the table, the column or the grant, and the SQL that mends it.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from connections.providers.base import Access, Check, CheckStatus
from connections.providers.supabase.ddl import quoted

RUN_THE_SQL = (
    "Run the connection's SQL file in Supabase's SQL editor: from the connection's page, or"
    " `manage.py supabase_contract`. It may be run again at any time."
)
SKEW_WARNING_S = 60
OLDEST = 140000  # the oldest PostgreSQL that Supabase gives


def verify(access: Access) -> Iterator[Check]:
    """The checks, each as soon as it is answered; ends with the first whose failure makes the others pointless."""
    from connections.providers.supabase import verifying_postgres, verifying_rest

    kind = verifying_postgres if access.config.get("kind") == "postgres" else verifying_rest
    yield from kind.verify(access)


class Clock:
    """How long a check took."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def check(self, name: str, status: CheckStatus = "passed", cause: str = "", remediation: str = "") -> Check:
        took, self.started = round((time.monotonic() - self.started) * 1000), time.monotonic()
        return Check(name, status, took, cause, remediation)

    def verdict(self, name: str, lacking: list[str], mend: str) -> Check:
        """Passed where nothing is lacking; lacking: sentences or names, told together."""
        return self.check(name, "failed", " ".join(lacking), mend) if lacking else self.check(name)


def grant_sql(schema: str, grants: dict[str, set[str]], role: str) -> str:
    """The statements that give what is missing: by table, the privileges."""
    order = ("select", "insert", "update", "delete")
    return " ".join(
        f"grant {', '.join(one for one in order if one in lacking)} on {quoted(schema)}.{quoted(table)} to {quoted(role)};"
        for table, lacking in grants.items()
    )


def key_sql(schema: str, name: str, key: tuple[str, ...]) -> str:
    return f"alter table {quoted(schema)}.{quoted(name)} add unique ({', '.join(map(quoted, key))});"


def version_check(clock: Clock, number: int) -> Check:
    major = number // 10000
    if number < OLDEST:
        return clock.check("version", "warning", f"PostgreSQL {major} is old.", "Upgrade the project's database.")
    return clock.check("version")


def skew_check(clock: Clock, there: datetime) -> Check:
    skew_s = abs((datetime.now(UTC) - there).total_seconds())
    if skew_s <= SKEW_WARNING_S:
        return clock.check("clock_skew")
    told = f"The store's clock and ours are {round(skew_s)} seconds apart."
    return clock.check("clock_skew", "warning", told, "Have both clocks set by a time server.")
