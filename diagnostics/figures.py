"""How the work goes, in numbers: read from the rows themselves, so that no worker that dies takes them along."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from connections.ids import oldest_id
from connections.services.provider_pauses import NOT_PAUSED

WINDOW = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one workspace, or of the installation. `_24h`: of the last 24 hours; `_s`: seconds; a ratio of nothing is 0."""

    connections: dict[str, int] = field(default_factory=dict)  # by status
    banks_dirty: int = 0
    sync_lag_s: float = 0  # how long the news that waits longest for a worker has waited
    runs_24h: dict[str, int] = field(default_factory=dict)  # by status
    reauth_oldest_s: float = 0
    webhooks_24h: dict[str, int] = field(default_factory=dict)  # by status
    webhook_duplicates_24h: int = 0
    webhook_lag_s: float = 0  # how long the one that waits longest for a worker has been due
    outbox_waiting: int = 0
    outbox_parked: int = 0
    outbox_lag_s: float = 0
    failed_records_open: int = 0

    @property
    def failure_ratio_24h(self) -> float:
        """Of the runs that ended."""
        ended = sum(self.runs_24h.get(status, 0) for status in ("succeeded", "partial", "failed"))
        return round(self.runs_24h.get("failed", 0) / ended, 4) if ended else 0.0

    @property
    def webhook_duplicate_ratio_24h(self) -> float:
        """Of all deliveries."""
        deliveries = sum(self.webhooks_24h.values()) + self.webhook_duplicates_24h
        return round(self.webhook_duplicates_24h / deliveries, 4) if deliveries else 0.0


def figures(*, workspace_id: UUID | None = None) -> Figures:
    """Six queries, over what waits and over the last day. workspace_id None: all workspaces."""
    since = oldest_id(timezone.now() - WINDOW)
    webhooks, duplicates = _webhooks(workspace_id, since)
    waiting, parked, outbox_lag_s = _row(
        """SELECT count(*) FILTER (WHERE dispatched_at IS NULL), count(*) FILTER (WHERE parked_at IS NOT NULL),
                  coalesce(extract(epoch FROM now() - min(occurred_at) FILTER (WHERE dispatched_at IS NULL)), 0)::float8
           FROM connections_domainevent t WHERE (dispatched_at IS NULL OR parked_at IS NOT NULL) AND {mine}""",
        workspace_id,
    )
    dirty, lag_s, reauth_s, webhook_lag_s, failed_records = _waits(workspace_id)
    return Figures(
        connections=_counts(
            "SELECT status, count(*) FROM connections_connection t WHERE {mine} GROUP BY 1", workspace_id
        ),
        banks_dirty=dirty,
        sync_lag_s=lag_s,
        runs_24h=_counts(
            "SELECT status, count(*) FROM sync_syncrun t WHERE id >= %(since)s AND {mine} GROUP BY 1",
            workspace_id,
            since,
        ),
        reauth_oldest_s=reauth_s,
        webhooks_24h=webhooks,
        webhook_duplicates_24h=duplicates,
        webhook_lag_s=webhook_lag_s,
        outbox_waiting=waiting,
        outbox_parked=parked,
        outbox_lag_s=outbox_lag_s,
        failed_records_open=failed_records,
    )


def _webhooks(workspace_id: UUID | None, since: UUID) -> tuple[dict[str, int], int]:
    rows = _rows(
        """SELECT status, count(*), coalesce(sum(deliveries - 1), 0) FROM webhooks_webhookevent t
           WHERE id >= %(since)s AND {mine} GROUP BY 1""",
        workspace_id,
        since,
    )
    return {status: count for status, count, _ in rows}, int(sum(again for _, _, again in rows))


def _waits(workspace_id: UUID | None) -> tuple[Any, ...]:
    """(dirty banks, the longest wait of one that could be read now, the longest wait for a sign-in, for a webhook's processing; open failed records)."""
    return _row(
        """
        SELECT dirty.count, dirty.lag_s, reauth.lag_s, inbox.lag_s, failed.count
        FROM (
            SELECT count(*), coalesce(max(extract(epoch FROM now() - greatest(t.dirty_at, c.next_attempt_at)))
                       FILTER (WHERE (c.next_attempt_at IS NULL OR c.next_attempt_at <= now()) AND {not_paused}), 0
                   )::float8 AS lag_s
            FROM connections_plaiditem t JOIN connections_connection c ON c.id = t.connection_id
            WHERE t.dirty_seq > t.synced_seq AND t.removed_at IS NULL
              AND c.status IN ('active', 'failed', 'pending_cleanup') AND {mine}
        ) dirty, (
            SELECT coalesce(max(extract(epoch FROM now() - t.reauth_needed_at)), 0)::float8 AS lag_s
            FROM connections_plaiditem t JOIN connections_connection c ON c.id = t.connection_id
            WHERE c.status = 'needs_reauth' AND t.removed_at IS NULL AND {mine}
        ) reauth, (
            SELECT coalesce(max(extract(epoch FROM now() - t.next_attempt_at)), 0)::float8 AS lag_s
            FROM webhooks_webhookevent t WHERE t.status = 'received' AND t.next_attempt_at <= now() AND {mine}
        ) inbox, (
            SELECT count(*) FROM sync_syncfailure t JOIN connections_connection c ON c.id = t.connection_id
            WHERE t.resolved_at IS NULL AND c.status NOT IN ('disconnecting', 'disconnected') AND {mine}
        ) failed
        """,
        workspace_id,
    )


def _counts(sql: str, workspace_id: UUID | None, since: UUID | None = None) -> dict[str, int]:
    return dict(_rows(sql, workspace_id, since))


def _row(sql: str, workspace_id: UUID | None) -> tuple[Any, ...]:
    return _rows(sql, workspace_id)[0]


def _rows(sql: str, workspace_id: UUID | None, since: UUID | None = None) -> list[tuple[Any, ...]]:
    mine = "t.workspace_id = %(workspace)s" if workspace_id else "true"
    with connection.cursor() as cursor:
        cursor.execute(sql.format(mine=mine, not_paused=NOT_PAUSED), {"workspace": workspace_id, "since": since})
        return cursor.fetchall()
