"""Handing out what is due. Rows say what has to be done; messages only say that somebody should look."""

from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from connections.services.provider_pauses import NOT_PAUSED
from sync.leases import SYNCABLE
from sync.models import RunStatus

MOST_AT_ONCE = 10_000

_OFFER = f"""
    WITH due AS (
        SELECT i.id FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id
        WHERE i.dirty_seq > i.synced_seq AND i.removed_at IS NULL
          AND coalesce(i.offered_until, '-infinity'::timestamptz) < now()
          AND (i.lease_expires_at IS NULL OR i.lease_expires_at < now())
          AND c.status IN {SYNCABLE} AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now()) AND {NOT_PAUSED}
        ORDER BY coalesce(i.offered_until, '-infinity'::timestamptz) LIMIT %(limit)s
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


def items_offer(*, limit: int = MOST_AT_ONCE) -> Offered:
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


# The next time of day, or of whatever period, that is this Item's own: its id says which, so that all are spread over it.
_NEXT_SLOT = """to_timestamp(
    (floor((extract(epoch FROM now()) - slot.offset_s) / %(period_s)s) + 1) * %(period_s)s + slot.offset_s)"""


def items_schedule(*, limit: int = MOST_AT_ONCE) -> int:
    """Mark active Items dirty whose own time of the period PLAID_POLL_S has come, news or not. Returns how many.

    With the default that is once a day, each at a time of its own. An Item that has no time yet is given one.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH due AS (
                SELECT i.id, i.auto_sync_at IS NOT NULL AND c.status IN ('active', 'pending_cleanup') AS is_due,
                       mod(abs(hashtextextended(i.id::text, 0)::numeric), %(period_s)s::numeric)::float8 AS offset_s
                FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id
                WHERE i.removed_at IS NULL AND (i.auto_sync_at IS NULL OR i.auto_sync_at <= now())
                ORDER BY i.auto_sync_at NULLS FIRST LIMIT %(limit)s FOR NO KEY UPDATE OF i SKIP LOCKED
            ), moved AS (
                UPDATE connections_plaiditem i
                SET auto_sync_at = {_NEXT_SLOT}, dirty_seq = dirty_seq + slot.is_due::int
                FROM due slot WHERE i.id = slot.id RETURNING slot.is_due
            )
            SELECT count(*) FROM moved WHERE is_due
            """,
            {"period_s": settings.PLAID_POLL_S, "limit": limit},
        )
        return cursor.fetchone()[0]


def items_poll(*, limit: int = MOST_AT_ONCE) -> int:
    """Mark active Items dirty that neither a webhook nor a sync has touched for SAFETY_NET_S. Returns how many.

    Webhooks are hints, and hints get lost. One whose history is not complete yet is looked at five times as often.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH late AS (
                SELECT i.id FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id
                WHERE i.removed_at IS NULL AND i.dirty_seq = i.synced_seq AND c.status IN ('active', 'pending_cleanup')
                  AND i.last_synced_at < now() - CASE WHEN i.history_complete THEN 1 ELSE 0.2 END * %(window_s)s * interval '1 second'
                  AND (NOT i.history_complete OR i.last_webhook_at IS NULL
                       OR i.last_webhook_at < now() - %(window_s)s * interval '1 second')
                ORDER BY i.last_synced_at LIMIT %(limit)s FOR NO KEY UPDATE OF i SKIP LOCKED
            )
            UPDATE connections_plaiditem i SET dirty_seq = dirty_seq + 1 FROM late WHERE i.id = late.id
            """,
            {"window_s": settings.SAFETY_NET_S, "limit": limit},
        )
        return cursor.rowcount


def leases_end() -> int:
    """Take back Items whose worker died, so that they are offered with the next tick. Returns how many.

    Its token stays good until somebody claims the Item: a worker that only slept may still end what it does.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH dead AS (
                SELECT id FROM connections_plaiditem
                WHERE lease_expires_at < now() AND offered_until > now() AND dirty_seq > synced_seq AND removed_at IS NULL
                FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE connections_plaiditem i SET offered_until = NULL FROM dead WHERE i.id = dead.id
            """
        )
        return cursor.rowcount


def runs_sweep() -> int:
    """End runs that nobody will go on with: their connection left the states in which it syncs, or its Item is removed.

    Returns how many. Those of a paused connection wait for its resumption, those of one whose settings were changed for
    its activation.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH stranded AS (
                SELECT r.id FROM sync_syncrun r
                JOIN connections_connection c ON c.id = r.connection_id
                LEFT JOIN connections_plaiditem i ON i.connection_id = c.id
                WHERE r.status IN ('running', 'queued') AND r.flow_id IS NULL
                  AND (c.status NOT IN {SYNCABLE} AND c.status NOT IN ('paused', 'draft', 'verified') OR i.removed_at IS NOT NULL)
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
