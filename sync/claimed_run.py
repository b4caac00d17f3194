"""The run of a claim: opened, or taken over where a worker left it; ended with its ledger, suspended, or failed.

Every statement is conditional on the claim's token: a worker that lost its claim changes nothing (LeaseLost).
"""

import json
from dataclasses import asdict, astuple, dataclass
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.errors import (
    AccessWithdrawn,
    AccountsChanged,
    CausewayError,
    LeaseLost,
    Misconfigured,
    NeedsReauth,
    RateLimited,
    RemovedMeanwhile,
)
from connections.events import EventType, event_record, event_sql, event_values
from connections.ids import uuid7
from connections.models import Connection, PlaidItem
from connections.models.connection import Wait
from connections.providers.base import SyncPage
from connections.services import lifecycle, plaid_news
from connections.services.plaid_items import link_anew_if_repeated
from connections.services.provider_pauses import provider_pause
from sync import staging
from sync.leases import Claim, fence
from sync.ledger import Ledger
from sync.models import SyncFailure, SyncRun
from sync.models.run import RunStatus
from sync.poison import Poisoned
from sync.services.runs import INCREMENTAL, parameters_hash

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Position:
    """Where a run stands: its staged pages, and the cursor after them."""

    run_id: UUID
    correlation_id: str
    first_cursor: str
    next_cursor: str
    page_count: int
    restarts: int
    dirty_seq: int
    source_id: str
    is_resumed: bool


_OPEN = """
    WITH mine AS (
        SELECT id FROM connections_plaiditem WHERE id = %(item)s AND lease_token = %(token)s
    ), waiting AS (
        SELECT id, status FROM sync_syncrun
        WHERE connection_id = %(connection)s AND entity = 'transactions' AND status IN ('running', 'queued')
          AND EXISTS (SELECT FROM mine)
        ORDER BY status = 'running' DESC, id LIMIT 1 FOR NO KEY UPDATE
    ), taken AS (
        UPDATE sync_syncrun r SET status = 'running', lease_token = %(token)s, started_at = coalesce(r.started_at, now()),
            first_cursor = CASE WHEN w.status = 'running' THEN r.first_cursor ELSE %(cursor)s END,
            next_cursor = CASE WHEN w.status = 'running' THEN r.next_cursor ELSE %(cursor)s END,
            dirty_seq = CASE WHEN w.status = 'running' THEN r.dirty_seq ELSE %(dirty_seq)s END,
            source_id = CASE WHEN w.status = 'running' THEN r.source_id ELSE %(source)s END
        FROM waiting w WHERE r.id = w.id
        RETURNING r.id, r.correlation_id, r.first_cursor, r.next_cursor, r.page_count, r.restarts, r.dirty_seq, r.source_id, w.status = 'running'
    ), made AS (
        INSERT INTO sync_syncrun (id, workspace_id, connection_id, entity, mode, trigger, parameters_hash, status, correlation_id,
            created_at, started_at, lease_token, dirty_seq, source_id, first_cursor, next_cursor, page_count, restarts, records_fetched,
            records_created, records_updated, records_unchanged, records_removed, records_skipped, records_parked, records_failed, errors)
        SELECT %(id)s, %(workspace)s, %(connection)s, 'transactions', 'incremental', %(trigger)s, %(hash)s, 'running', %(correlation)s,
            now(), now(), %(token)s, %(dirty_seq)s, %(source)s, %(cursor)s, %(cursor)s, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '[]'
        FROM mine WHERE NOT EXISTS (SELECT FROM waiting)
        RETURNING id, correlation_id, first_cursor, next_cursor, page_count, restarts, dirty_seq, source_id, false
    )
    SELECT * FROM taken UNION ALL SELECT * FROM made
"""


def run_open(held: Claim) -> Position | None:
    """The run of this claim: one left running by a worker that stopped, else the one that waits, else a new one.

    One statement. None: the claim was lost meanwhile.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _OPEN,
            {
                "id": uuid7(),
                "item": held.item_id,
                "connection": held.connection_id,
                "workspace": held.workspace_id,
                "token": held.token,
                "cursor": held.cursor,
                "dirty_seq": held.dirty_seq,
                "source": held.plaid_item_id,
                "trigger": held.trigger,
                "hash": parameters_hash(INCREMENTAL),
                "correlation": correlation.current() or correlation.accept(None),
            },
        )
        row = cursor.fetchone()
        return Position(*row) if row else None


def run_end(held: Claim, position: Position, final: SyncPage, ledger: Ledger) -> None:
    """Write the ledger, clear the connection's troubles, tell of news or recovery: one statement.

    A ledger that does not balance fails the run.
    """
    errors = [_error_entry(CausewayError(code="record_rejected"))] if ledger.failed else []
    if not ledger.is_balanced:
        raise CausewayError(code="internal_error", operator_detail=f"the ledger does not balance: {astuple(ledger)}")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH before AS (
                SELECT id AS before_id, {lifecycle.recovering()} OR failure_count > 0 OR wait_reason = '{Wait.CONFIGURATION.value}' AS is_recovery
                FROM connections_connection WHERE id = %(connection)s FOR NO KEY UPDATE
            ), healthy AS (
                UPDATE connections_connection SET {lifecycle.success_assignments()},
                    event_seq = event_seq + (%(is_news)s OR is_recovery)::int
                FROM before WHERE id = before_id RETURNING id, workspace_id, event_seq, is_recovery
            ), news AS (
                SELECT * FROM healthy WHERE %(is_news)s OR is_recovery
            ), told AS ({event_sql("news", payload="%(event_payload)s::jsonb || jsonb_build_object('recovered', is_recovery)")})
            UPDATE sync_syncrun SET status = %(status)s, finished_at = now(), lease_token = NULL, errors = %(errors)s,
                records_fetched = %(fetched)s, records_created = %(created)s, records_updated = %(updated)s,
                records_unchanged = %(unchanged)s, records_removed = %(removed)s, records_skipped = %(skipped)s,
                records_parked = %(parked)s, records_failed = %(failed)s, page_count = %(pages)s, next_cursor = %(next_cursor)s
            WHERE id = %(run)s AND lease_token = %(token)s
            """,
            {
                "connection": held.connection_id,
                "run": position.run_id,
                "token": held.token,
                "is_news": ledger.has_news,
                **event_values(EventType.SYNC_SUCCEEDED, {"run_id": position.run_id, **asdict(ledger)}),
                "pages": max(position.page_count, 1),
                "next_cursor": final.next_position,
                "status": RunStatus.PARTIAL if ledger.failed else RunStatus.SUCCEEDED,
                "errors": json.dumps(errors),
                **asdict(ledger),
            },
        )
        if cursor.rowcount != 1:
            raise LeaseLost


def _error_entry(error: CausewayError) -> dict[str, str]:
    """An element of a run's errors[]: the user's words, and the id by which an operator finds the rest."""
    return {
        "code": error.code,
        "detail": error.detail,
        "remediation": error.remediation,
        "correlation_id": correlation.current(),
    }


def records_set_aside(held: Claim, run_id: UUID, poisoned: list[Poisoned]) -> Ledger:
    """One SyncFailure a record; a record that failed before is told again, not twice."""
    for record in poisoned:
        failure, is_new = SyncFailure.objects.get_or_create(
            connection_id=held.connection_id,
            entity="transactions",
            external_id=record.external_id,
            resolved_at=None,
            defaults={
                "workspace_id": held.workspace_id,
                "run_id": run_id,
                "reason": record.reason,
                "payload": record.payload,
            },
        )
        if not is_new:
            failure.attempts, failure.run_id, failure.payload, failure.reason = (
                failure.attempts + 1,
                run_id,
                record.payload,
                record.reason,
            )
            failure.save(update_fields=["attempts", "run", "payload", "reason", "updated_at"])
    return Ledger(fetched=len(poisoned), failed=len(poisoned))


def run_suspend(held: Claim, position: Position, wait: RateLimited) -> None:
    """The provider's rate is used up: keep run and stage, and let the dispatcher come back when it is free again.

    Raises LeaseLost.
    """
    with transaction.atomic():
        locked = Connection.objects.select_for_update(no_key=True).get(pk=held.connection_id)
        lifecycle.record_failure(locked, wait)
        locked.save()
        fence(held, "offered_until = NULL, ")
    log.info(
        "sync_waits",
        run=str(position.run_id),
        until=locked.next_attempt_at.isoformat() if locked.next_attempt_at else None,
    )


def run_hold(held: Claim, position: Position, error: CausewayError) -> None:
    """The provider lets nobody through: let go, with run, stage and connection as they are, until a probe gets through.

    Raises LeaseLost.
    """
    with transaction.atomic():
        provider_pause(error, environment=held.environment)
        fence(held, "offered_until = NULL, ")
    log.info("sync_waits", run=str(position.run_id), code=error.code)


def run_fail(held: Claim, position: Position, error: CausewayError) -> None:
    """End the run as failed, and the connection as the error's class says. The Item stays dirty: the work is not forgotten.

    Raises LeaseLost.
    """
    with transaction.atomic():
        locked = Connection.objects.select_for_update(no_key=True).get(pk=held.connection_id)
        error = link_anew_if_repeated(PlaidItem.objects.get(pk=held.item_id), error)
        if isinstance(error, AccessWithdrawn):
            plaid_news.access_end(locked, item_id=held.plaid_item_id, error=error)
        else:
            lifecycle.record_failure(locked, error)
            locked.save()
        mine = SyncRun.objects.filter(pk=position.run_id, lease_token=held.token)
        mine.update(status=RunStatus.FAILED, finished_at=timezone.now(), lease_token=None, errors=[_error_entry(error)])
        staging.clear(position.run_id)
        told = {
            "run_id": position.run_id,
            "code": error.code,
            "status": locked.status,
            "failures": locked.failure_count,
            "is_quiet": isinstance(error, RemovedMeanwhile),
            "is_operators": isinstance(error, Misconfigured),
        }
        event_record(EventType.SYNC_FAILED, connection_id=locked.pk, payload=told)
        fence(
            held,
            "offered_until = NULL, is_large = false, last_sync_error = %(error)s, "
            "removed_at = CASE WHEN %(is_over)s THEN now() ELSE removed_at END, "
            "details_at = CASE WHEN %(is_churned)s THEN NULL ELSE details_at END, "
            "reauth_needed_at = CASE WHEN %(is_reauth)s THEN coalesce(reauth_needed_at, now()) ELSE reauth_needed_at END, ",
            {
                "error": scrub(f"{error.code}: {error.operator_detail or error.detail}"),
                "is_reauth": isinstance(error, NeedsReauth),
                "is_over": isinstance(error, AccessWithdrawn),
                "is_churned": isinstance(error, AccountsChanged) or error.code == "bank_no_accounts",
            },
        )
    log.warning(
        "sync_failed",
        run=str(position.run_id),
        code=error.code,
        provider_code=error.provider_code,
        request_id=error.request_id,
        operator_detail=error.operator_detail,
    )
