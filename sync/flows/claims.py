"""Claims of a flow's runs: one worker goes on with a run at a time, and proves with every change that it still may.

A run is claimed where its flow is active, both of its connections can be used now, no other run of its flow and entity
is under way, and none that was asked for before is still busy with records that its own refer to. One whose end was
asked for is claimed whatever stands in the way.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from connections.errors import LeaseLost
from connections.providers.base import Json
from connections.services.provider_pauses import NOT_PAUSED
from sync.flows.pairs import ENTITIES
from sync.leases import SYNCABLE
from sync.ledger import Ledger

_RANK = "array_position(ARRAY[{}]::text[], {{}}::text)".format(", ".join(f"'{entity}'" for entity in ENTITIES))


def _usable(alias: str) -> str:
    """SQL: the connection can be read or written now."""
    can = f"c.status IN {SYNCABLE} AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= now()) AND {NOT_PAUSED}"
    return f"EXISTS (SELECT FROM connections_connection c WHERE c.id = {alias} AND {can})"


# SQL: the run `r` of the flow `f` may be gone on with now.
RUNNABLE = f"""
    r.status IN ('queued', 'running') AND (r.lease_expires_at IS NULL OR r.lease_expires_at < now())
    AND (r.cancel_requested_at IS NOT NULL OR (
        f.status = 'active' AND (r.next_attempt_at IS NULL OR r.next_attempt_at <= now())
        AND {_usable("f.source_id")} AND {_usable("f.target_id")}
        AND NOT EXISTS (
            SELECT FROM sync_syncrun o WHERE o.flow_id = r.flow_id AND o.status IN ('queued', 'running') AND o.id <> r.id
              AND (o.entity = r.entity AND (o.status = 'running' OR o.id < r.id AND r.status = 'queued')
                   OR o.id < r.id AND o.waiting_code = '' AND {_RANK.format("o.entity")} < {_RANK.format("r.entity")}))))
"""

_CLAIM = f"""
    WITH taken AS (
        UPDATE sync_syncrun r SET status = 'running', started_at = coalesce(r.started_at, now()), lease_token = %(token)s,
            lease_expires_at = now() + %(lease_s)s * interval '1 second',
            dirty_seq = coalesce(r.dirty_seq, (
                SELECT n.dirty_seq FROM connections_recordnews n
                WHERE n.connection_id = f.source_id AND n.entity = r.entity), 0)
        FROM sync_flow f WHERE r.id = %(run)s AND f.id = r.flow_id AND {RUNNABLE}
        RETURNING r.*
    ), over AS (
        UPDATE sync_syncrun p SET status = 'running', started_at = now() FROM taken t WHERE p.id = t.parent_id AND p.status = 'queued'
    )
    SELECT id, lease_token, workspace_id, flow_id, parent_id, entity, mode, parameters, dirty_seq, page_count, next_cursor,
        attempts, correlation_id, cancel_requested_at IS NOT NULL FROM taken
"""


@dataclass(slots=True)
class Held:
    """One run, claimed. position: where the source is read on, once a page was kept; is_read: there is no page left."""

    run_id: UUID
    token: UUID
    workspace_id: UUID
    flow_id: UUID
    parent_id: UUID | None
    entity: str
    mode: str
    parameters: Json
    dirty_seq: int
    page_count: int
    cursor: str
    attempts: int
    correlation_id: str
    is_cancelled: bool
    is_flow_active: bool = field(default=True, init=False)

    @property
    def position(self) -> Json | None:
        """None before the first page."""
        return json.loads(self.cursor)["at"] if self.cursor else None

    @property
    def is_read(self) -> bool:
        return bool(self.cursor) and bool(json.loads(self.cursor)["end"])

    @property
    def moves_watermark(self) -> bool:
        """Whether it reads everything, so that its position says how far the flow has come."""
        return self.mode in ("incremental", "full") and not self.parameters


def claim(run_id: UUID | str) -> Held | None:
    """Claim the run, if it may be gone on with: one statement. None: there is nothing to do for this worker."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_CLAIM, {"run": str(run_id), "token": uuid4(), "lease_s": settings.LEASE_S})
            row = cursor.fetchone()
    except IntegrityError:  # another run of this flow and entity was begun in this moment
        return None
    if row is None:
        return None
    values = list(row)
    values[7] = values[7] if isinstance(values[7], dict) else json.loads(values[7] or "{}")
    return Held(*values)


def renew(held: Held) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE sync_syncrun SET lease_expires_at = now() + %s * interval '1 second' WHERE id = %s AND lease_token = %s",
            [settings.LEASE_S, held.run_id, held.token],
        )
        return cursor.rowcount == 1


_COUNTED = ", ".join(f"records_{name} = records_{name} + %({name})s" for name in asdict(Ledger()))
LET_GO = "lease_token = NULL, lease_expires_at = NULL, offered_until = NULL"


def advance(
    held: Held, *, ledger: Ledger | None = None, sets: str = "", values: Mapping[str, Any] | None = None
) -> None:
    """Change the run, if it is still ours, and learn whether to go on. First in its transaction, whose other changes it
    fences: until that ends nobody else can claim the run. Raises LeaseLost.

    sets: SQL for further columns.
    """
    counted = f"{_COUNTED}, attempts = 0, waiting_code = '', next_attempt_at = NULL" if ledger else ""
    assignments = ", ".join(part for part in (counted, sets) if part)
    given = {"run": held.run_id, "token": held.token, **(asdict(ledger) if ledger else {}), **(values or {})}
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE sync_syncrun r SET {assignments} FROM sync_flow f "
            "WHERE r.id = %(run)s AND r.lease_token = %(token)s AND f.id = r.flow_id "
            "RETURNING r.cancel_requested_at IS NOT NULL, f.status = 'active'",
            given,
        )
        row = cursor.fetchone()
    if row is None:
        raise LeaseLost
    held.is_cancelled, held.is_flow_active = row
