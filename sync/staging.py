"""Pages of an update that is not complete: kept aside, in order, until the last one is there.

Every write is fenced by the run's lease token, so that a worker which lost its claim cannot add a page to the stage of
the one that took over. The table is unlogged: after a database crash it is empty, and the loop starts again.
"""

from dataclasses import asdict
from uuid import UUID

from django.db import DataError, connection, transaction
from psycopg.types.json import Jsonb

from config.cursors import server_side_cursor
from connections.errors import LeaseLost, TemporaryError
from sync import poison
from sync.leases import Claim


def stage(held: Claim, run_id: UUID, *, page_number: int, raw: bytes, next_cursor: str) -> None:
    """Keep one page and the position after it, or neither. Records that PostgreSQL cannot hold are kept beside it.

    Raises LeaseLost, and TemporaryError for a page that nobody can read.
    """
    try:
        _keep(held, run_id, page_number, raw, next_cursor, [])
    except DataError:
        sound, poisoned = without_poison(raw)
        _keep(held, run_id, page_number, sound, next_cursor, poisoned)


@transaction.atomic
def _keep(
    held: Claim, run_id: UUID, page_number: int, raw: bytes, next_cursor: str, poisoned: list[poison.Poisoned]
) -> None:
    with server_side_cursor() as cursor:
        cursor.execute(
            """
            WITH mine AS (
                UPDATE sync_syncrun SET page_count = %(page)s, next_cursor = %(next_cursor)s
                WHERE id = %(run)s AND lease_token = %(token)s RETURNING id
            )
            INSERT INTO sync_stagedpage (run_id, page_number, workspace_id, lease_token, body, failed)
            SELECT id, %(page)s, %(workspace)s, %(token)s, %(body)s, %(failed)s FROM mine
            """,
            {
                "run": run_id,
                "page": page_number,
                "next_cursor": next_cursor,
                "workspace": held.workspace_id,
                "token": held.token,
                "body": Jsonb(raw, dumps=lambda page: page),
                "failed": Jsonb([asdict(record) for record in poisoned]),
            },
        )
        if cursor.rowcount != 1:
            raise LeaseLost


def is_contiguous(run_id: UUID, page_count: int) -> bool:
    """Whether the stage holds exactly the pages 1 … page_count."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(max(page_number), 0) FROM sync_stagedpage WHERE run_id = %s", [run_id]
        )
        return cursor.fetchone() == (page_count, page_count)


@transaction.atomic
def drop(held: Claim, run_id: UUID, *, first_cursor: str, is_restart: bool) -> None:
    """Forget what was staged and begin again at `first_cursor`. Raises LeaseLost.

    The run keeps its `dirty_seq`: older than needed costs one sync without news, newer would strand a run that waits.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_syncrun SET page_count = 0, first_cursor = %s, next_cursor = %s, source_id = %s, restarts = restarts + %s
            WHERE id = %s AND lease_token = %s
            """,
            [first_cursor, first_cursor, held.plaid_item_id, int(is_restart), run_id, held.token],
        )
        if cursor.rowcount != 1:
            raise LeaseLost
    clear(run_id)


def clear(run_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM sync_stagedpage WHERE run_id = %s", [run_id])


def poisoned(run_id: UUID) -> list[poison.Poisoned]:
    """The records that were taken out of the staged pages, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT entry->>'external_id', entry->>'reason', entry->>'payload'
            FROM sync_stagedpage, jsonb_array_elements(failed) AS entry WHERE run_id = %s ORDER BY page_number
            """,
            [run_id],
        )
        return [poison.Poisoned(*row) for row in cursor.fetchall()]


def without_poison(raw: bytes) -> tuple[bytes, list[poison.Poisoned]]:
    """A page that PostgreSQL has refused, with every record that jsonb refuses taken out, and those records."""
    try:
        return poison.extract(raw)
    except (ValueError, RecursionError) as error:
        raise TemporaryError(
            code="provider_malformed", operator_detail=f"a page that neither jsonb nor Python reads: {error}"
        ) from error
