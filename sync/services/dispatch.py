"""Handing out what is due. Rows say what has to be done; messages only say that somebody should look."""

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from connections.services.provider_pauses import NOT_PAUSED
from sync.leases import SYNCABLE
from sync.models import RunStatus

MOST_A_TICK = 2000

_OFFER = f"""
    WITH due AS (
        SELECT i.id FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id
        WHERE i.dirty_seq > i.synced_seq AND i.removed_at IS NULL
          AND (i.offered_until IS NULL OR i.offered_until < now())
          AND (i.lease_expires_at IS NULL OR i.lease_expires_at < now())
          AND c.status IN {SYNCABLE} AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now()) AND {NOT_PAUSED}
        ORDER BY i.offered_until NULLS FIRST LIMIT %(limit)s
        FOR NO KEY UPDATE OF i SKIP LOCKED
    )
    UPDATE connections_plaiditem i SET offered_until = now() + %(offer_s)s * interval '1 second'
    FROM due WHERE i.id = due.id RETURNING i.id, i.is_large
"""


@dataclass(frozen=True, slots=True)
class Offered:
    """Ids of Items to sync now: the ordinary ones, and those whose update is long."""

    small: list[UUID]
    large: list[UUID]


def items_offer(*, limit: int = MOST_A_TICK) -> Offered:
    """Mark due Items as handed out, for OFFER_S, and return them: one statement. What nobody then claims is offered again."""
    with connection.cursor() as cursor:
        cursor.execute(_OFFER, {"limit": limit, "offer_s": settings.OFFER_S})
        rows = cursor.fetchall()
    return Offered([row[0] for row in rows if not row[1]], [row[0] for row in rows if row[1]])


def items_return(item_ids: list[UUID] | list[str]) -> None:
    """A task that stops before its time is up gives back what it has not begun."""
    if item_ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE connections_plaiditem SET offered_until = NULL WHERE id = ANY(%s::uuid[])",
                [list(map(str, item_ids))],
            )


def items_poll(*, limit: int = MOST_A_TICK) -> int:
    """Mark Items dirty that nobody has looked at for PLAID_POLL_S: webhooks are hints, and hints get lost. Returns how many.

    An Item whose history is not complete yet is looked at five times as often.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH late AS (
                SELECT i.id FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id
                WHERE i.removed_at IS NULL AND i.dirty_seq = i.synced_seq AND c.status IN ('active', 'pending_cleanup')
                  AND i.last_synced_at < now() - CASE WHEN i.history_complete THEN 1 ELSE 0.2 END * %(poll_s)s * interval '1 second'
                ORDER BY i.last_synced_at LIMIT %(limit)s FOR NO KEY UPDATE OF i SKIP LOCKED
            )
            UPDATE connections_plaiditem i SET dirty_seq = dirty_seq + 1 FROM late WHERE i.id = late.id
            """,
            {"poll_s": settings.PLAID_POLL_S, "limit": limit},
        )
        return cursor.rowcount


def runs_sweep() -> int:
    """End runs that nobody will go on with, because their connection left the states in which it syncs. Returns how many.

    Those of a paused connection wait for its resumption.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH stranded AS (
                SELECT r.id FROM sync_syncrun r
                JOIN connections_connection c ON c.id = r.connection_id
                LEFT JOIN connections_plaiditem i ON i.connection_id = c.id
                WHERE r.status IN ('running', 'queued') AND c.status NOT IN {SYNCABLE} AND c.status <> 'paused'
                  AND (i.lease_expires_at IS NULL OR i.lease_expires_at < now())
                FOR NO KEY UPDATE OF r SKIP LOCKED
            ), cleared AS (
                DELETE FROM sync_stagedpage p USING stranded s WHERE p.run_id = s.id
            )
            UPDATE sync_syncrun r SET status = %s, finished_at = %s, lease_token = NULL,
                errors = jsonb_build_array(jsonb_build_object('code', 'connection_not_active', 'correlation_id', r.correlation_id,
                    'detail', 'The connection stopped syncing before this run could end.', 'remediation', 'Nothing was lost; the next sync goes on.'))
            FROM stranded s WHERE r.id = s.id
            """,
            [RunStatus.CANCELLED, timezone.now()],
        )
        return cursor.rowcount
