"""How a turn at a run ends: the run over, put off until its provider is back, given up, cancelled, or let go of."""

import json
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config import correlation
from connections.errors import CausewayError, Misconfigured, NeedsReauth, RateLimited
from connections.events import EventType, event_record
from connections.models import Connection
from connections.providers.base import Json
from connections.services import lifecycle
from connections.services.provider_pauses import provider_pause
from sync.flows.claims import LET_GO, Held, advance
from sync.flows.writing import intents_drop
from sync.models import Flow, RunStatus, SyncRun

log = structlog.get_logger(__name__)

_LEDGER = ("fetched", "created", "updated", "unchanged", "removed", "skipped", "parked", "failed")
_SETTLED = " + ".join(f"r.records_{name}" for name in _LEDGER[1:])


def error_entry(error: CausewayError) -> dict[str, str]:
    """An element of a run's errors[]: the user's words, and the id by which an operator finds the rest."""
    told = {"code": error.code, "detail": error.detail, "remediation": error.remediation}
    return told | {"correlation_id": correlation.current()}


@transaction.atomic
def run_end(flow: Flow, held: Held) -> RunStatus:
    """Everything was read and written: the ledger decides how it ended. Watermark, news, connections and parent follow.

    A ledger that does not balance fails the run, and moves no watermark. Raises LeaseLost.
    """
    advance(
        held,
        sets=f"finished_at = now(), next_attempt_at = NULL, waiting_code = '', {LET_GO}, status = CASE "
        f"WHEN r.records_fetched <> {_SETTLED} THEN 'failed' WHEN r.records_failed > 0 THEN 'partial' ELSE 'succeeded' END, "
        f"errors = CASE WHEN r.records_fetched <> {_SETTLED} THEN %(unbalanced)s::jsonb "
        "WHEN r.records_failed > 0 THEN %(rejected)s::jsonb ELSE '[]'::jsonb END",
        values={
            "unbalanced": json.dumps([error_entry(CausewayError(code="ledger_unbalanced"))]),
            "rejected": json.dumps([error_entry(CausewayError(code="record_rejected"))]),
        },
    )
    run = SyncRun.objects.get(pk=held.run_id)
    if run.status != RunStatus.FAILED and held.moves_watermark:
        _watermark_end(flow, held)
    parent_settle(held.parent_id)
    if run.status == RunStatus.FAILED:
        log.error("ledger_unbalanced", run=str(run.pk))
        event_record(EventType.SYNC_FAILED, connection_id=flow.source_id, payload=_told(flow, run, "ledger_unbalanced"))
    else:
        _connections_succeeded(flow, run)
    return RunStatus(run.status)


def _told(flow: Flow, run: SyncRun, code: str = "") -> dict[str, object]:
    counts = {name: getattr(run, f"records_{name}") for name in _LEDGER}
    return {"run_id": run.pk, "flow_id": flow.pk, "entity": run.entity, **({"code": code} if code else counts)}


def _watermark_end(flow: Flow, held: Held) -> None:
    """Where the next reading begins, the news that this one has read, and when the clock looks again."""
    values: Json = {
        "workspace": held.workspace_id,
        "flow": held.flow_id,
        "source": flow.source_id,
        "entity": held.entity,
        "position": json.dumps(held.position or {}),
        "seq": held.dirty_seq,
        "poll_s": settings.FLOW_POLL_S,
        "reconcile_s": settings.FLOW_RECONCILE_S,
    }
    with database.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sync_watermark AS w (id, workspace_id, flow_id, entity, position, news_seq, synced_at, next_sync_at,
                next_reconcile_at, created_at, updated_at)
            VALUES (causeway_uuid7(), %(workspace)s, %(flow)s, %(entity)s, %(position)s::jsonb, %(seq)s, now(),
                now() + %(poll_s)s * interval '1 second', now() + %(reconcile_s)s * interval '1 second', now(), now())
            ON CONFLICT (flow_id, entity) DO UPDATE SET position = excluded.position, synced_at = now(), updated_at = now(),
                news_seq = greatest(w.news_seq, excluded.news_seq), next_sync_at = excluded.next_sync_at,
                next_reconcile_at = coalesce(w.next_reconcile_at, excluded.next_reconcile_at)
            """,
            values,
        )
        # News are taken once every flow that keeps this entity up has read them.
        cursor.execute(
            """
            UPDATE connections_recordnews n SET pulled_seq = greatest(n.pulled_seq, (
                SELECT min(w.news_seq) FROM sync_watermark w JOIN sync_flow f ON f.id = w.flow_id
                WHERE f.source_id = n.connection_id AND f.status = 'active' AND w.entity = n.entity))
            WHERE n.connection_id = %(source)s AND n.entity = %(entity)s
            """,
            values,
        )


def _connections_succeeded(flow: Flow, run: SyncRun) -> None:
    """Both answered: every trace of trouble is over. Told where something is new, or was wrong before."""
    is_news = bool(run.records_created or run.records_updated or run.records_removed or run.records_failed)
    for connection_id in sorted({flow.source_id, flow.target_id}):
        is_recovery = connection_succeeded(connection_id)
        if is_recovery or (is_news and connection_id == flow.source_id):
            told = {**_told(flow, run), "recovered": is_recovery}
            event_record(EventType.SYNC_SUCCEEDED, connection_id=connection_id, payload=told)


def connection_succeeded(connection_id: UUID) -> bool:
    """Active again where it was not. Returns whether it was in trouble. The caller's transaction."""
    with database.cursor() as cursor:
        cursor.execute(
            f"""
            WITH before AS (
                SELECT id AS before_id, {lifecycle.recovering()} OR failure_count > 0 AS is_recovery
                FROM connections_connection WHERE id = %s FOR NO KEY UPDATE
            )
            UPDATE connections_connection SET {lifecycle.success_assignments()} FROM before WHERE id = before_id
            RETURNING is_recovery
            """,
            [connection_id],
        )
        row = cursor.fetchone()
    return bool(row and row[0])


@transaction.atomic
def run_wait(held: Held, error: CausewayError, blamed: Connection) -> None:
    """The provider of one side does not let us go on: the run keeps its place and is gone on with by itself.

    Several runs that meet one outage count as one failure of their connection. Raises LeaseLost.
    """
    advance(
        held,
        sets=f"attempts = r.attempts + 1, waiting_code = %(code)s, errors = %(errors)s::jsonb, {LET_GO}",
        values={"code": error.code, "errors": json.dumps([error_entry(error)])},
    )
    if error.is_service_wide:
        provider_pause(error, environment=blamed.environment)
    locked = Connection.objects.select_for_update(no_key=True).get(pk=blamed.pk)
    now = timezone.now()
    if not error.is_service_wide and not (locked.next_attempt_at and locked.next_attempt_at > now):
        _blame(locked, error, {"run_id": held.run_id, "flow_id": held.flow_id, "entity": held.entity})
    until = locked.next_attempt_at
    if until is None and not isinstance(error, NeedsReauth):
        until = now + timedelta(seconds=lifecycle.backoff_s(held.attempts + 1))
    SyncRun.objects.filter(pk=held.run_id).update(next_attempt_at=until)
    log.info("run_waits", run=str(held.run_id), code=error.code, until=until.isoformat() if until else None)


def _blame(locked: Connection, error: CausewayError, told: Json) -> None:
    """What went wrong counts for this connection, as the error's class says, and is told."""
    lifecycle.record_failure(locked, error)
    locked.save()
    if not isinstance(error, RateLimited):
        told = told | {"code": error.code, "status": locked.status, "failures": locked.failure_count}
        told["is_operators"] = isinstance(error, Misconfigured)
        event_record(EventType.SYNC_FAILED, connection_id=locked.pk, payload=told)


@transaction.atomic
def run_fail(flow: Flow, held: Held, error: CausewayError, blamed: Connection | None) -> None:
    """Given up. What it sent without learning its outcome is settled by the next run, before that sends anything.

    Raises LeaseLost.
    """
    advance(
        held,
        sets=f"status = 'failed', finished_at = now(), next_attempt_at = NULL, waiting_code = '', errors = %(errors)s::jsonb, {LET_GO}",
        values={"errors": json.dumps([error_entry(error)])},
    )
    _drop(held)
    parent_settle(held.parent_id)
    told = {"run_id": held.run_id, "flow_id": flow.pk, "entity": held.entity}
    if blamed is None:
        event_record(EventType.SYNC_FAILED, connection_id=flow.source_id, payload=told | {"code": error.code})
    else:
        _blame(Connection.objects.select_for_update(no_key=True).get(pk=blamed.pk), error, told)
    log.warning("run_failed", run=str(held.run_id), code=error.code, operator_detail=error.operator_detail)


@transaction.atomic
def run_cancel(held: Held) -> None:
    """A person ended it. What was not sent yet is left out, and found again by the next run. Raises LeaseLost."""
    sets = f"status = 'cancelled', finished_at = now(), next_attempt_at = NULL, waiting_code = '', {LET_GO}"
    advance(held, sets=sets)
    _drop(held)
    parent_settle(held.parent_id)


def _drop(held: Held) -> None:
    """What was read and is not written is left out: it stands behind the watermark, where the next run finds it."""
    SyncRun.objects.filter(pk=held.run_id).update(records_skipped=F("records_skipped") + intents_drop(held))


def run_release(held: Held) -> None:
    """Let go, for another turn or another worker to go on. Raises LeaseLost."""
    advance(held, sets=LET_GO)


# --- runs over several flows ---
_PARENT = """
    UPDATE sync_syncrun p SET {sums}, errors = c.errors,
        finished_at = CASE WHEN c.is_over THEN now() ELSE NULL END,
        status = CASE WHEN NOT c.is_over THEN p.status WHEN c.is_all_failed THEN 'failed' WHEN c.is_all_cancelled THEN 'cancelled'
                      WHEN c.is_any_short THEN 'partial' ELSE 'succeeded' END
    FROM (
        SELECT {totals}, bool_and(status NOT IN ('queued', 'running')) AS is_over, bool_and(status = 'failed') AS is_all_failed,
            bool_and(status = 'cancelled') AS is_all_cancelled,
            bool_or(status IN ('failed', 'partial', 'cancelled')) AS is_any_short,
            (SELECT coalesce(jsonb_agg(e), '[]') FROM sync_syncrun o, jsonb_array_elements(o.errors) e
             WHERE o.parent_id = %(parent)s) AS errors
        FROM sync_syncrun WHERE parent_id = %(parent)s
    ) c WHERE p.id = %(parent)s AND p.status IN ('queued', 'running')
""".format(
    sums=", ".join(f"records_{name} = c.records_{name}" for name in _LEDGER),
    totals=", ".join(f"sum(records_{name}) AS records_{name}" for name in _LEDGER),
)


def parent_settle(parent_id: UUID | None) -> None:
    """Add up what the runs of its flows came to; it is over when they are. The caller has changed one of them."""
    if parent_id is None:
        return
    SyncRun.objects.select_for_update(no_key=True).get(pk=parent_id)  # two that end together add up one after the other
    with database.cursor() as cursor:
        cursor.execute(_PARENT, {"parent": parent_id})
