"""What flows have to do: news to read, times that have come, records to try again, runs to go on with.

Rows say what has to be done; one query finds all of it, and is the whole of an idle tick.
"""

from collections import defaultdict
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from connections.errors import CausewayError
from connections.providers.base import Json
from connections.services.lifecycle import backoff_s
from connections.waking import wake
from sync.flows.claims import RUNNABLE
from sync.flows.settling import error_entry, parent_settle
from sync.models import Flow, FlowStatus, RunStatus, SyncFailure, SyncRun, Trigger, Watermark
from sync.services.flow_runs import MOST_AT_ONCE, OPEN, run_queue
from sync.services.runs import INCREMENTAL, parameters_hash

MOST_A_TICK = 1000
BATCH = 10  # runs a message

_KEPT_UP = """
    JOIN sync_flow f ON f.id = w.flow_id AND f.status = 'active' AND f.entities ? w.entity
"""
_DUE = f"""
    (SELECT 'run', r.id, r.entity, r.page_count >= %(large)s FROM sync_syncrun r JOIN sync_flow f ON f.id = r.flow_id
     WHERE r.flow_id IS NOT NULL AND coalesce(r.offered_until, '-infinity'::timestamptz) < now() AND {RUNNABLE}
     ORDER BY r.id LIMIT %(limit)s)
    UNION ALL
    (SELECT 'webhook', w.flow_id, w.entity, false FROM connections_recordnews n
     JOIN sync_flow f ON f.source_id = n.connection_id AND f.status = 'active' AND f.entities ? n.entity
     JOIN sync_watermark w ON w.flow_id = f.id AND w.entity = n.entity AND w.news_seq < n.dirty_seq
     WHERE n.dirty_seq > n.pulled_seq AND NOT EXISTS (
        SELECT FROM sync_syncrun q WHERE q.flow_id = f.id AND q.entity = n.entity AND q.status IN ('queued', 'running')
          AND (q.status = 'queued' AND q.parameters_hash = %(plain)s OR q.status = 'running' AND q.dirty_seq >= n.dirty_seq
               AND q.mode <> 'reconcile' AND q.parameters = '{{}}'))
     LIMIT %(limit)s)
    UNION ALL
    (SELECT 'schedule', w.flow_id, w.entity, false FROM sync_watermark w {_KEPT_UP}
     WHERE w.next_sync_at <= now() LIMIT %(limit)s)
    UNION ALL
    (SELECT 'reconcile', w.flow_id, w.entity, false FROM sync_watermark w {_KEPT_UP}
     WHERE w.next_reconcile_at <= now() LIMIT %(limit)s)
    UNION ALL
    (SELECT 'over', r.id, r.entity, false FROM sync_syncrun r JOIN sync_flow f ON f.id = r.flow_id
     WHERE r.flow_id IS NOT NULL AND r.status IN ('queued', 'running')
       AND (r.lease_expires_at IS NULL OR r.lease_expires_at < now()) AND EXISTS (
        SELECT FROM connections_connection c WHERE c.id IN (f.source_id, f.target_id)
          AND c.status IN ('disconnecting', 'disconnected')) LIMIT %(limit)s)
    UNION ALL
    (SELECT DISTINCT 'retry', x.flow_id, x.entity, false FROM sync_syncfailure x
     JOIN sync_flow f ON f.id = x.flow_id AND f.status = 'active'
     WHERE x.next_attempt_at <= now() AND x.resolved_at IS NULL LIMIT %(limit)s)
"""

Due = dict[str, list[tuple[UUID, str, bool]]]


def due() -> Due:
    """By what it is: run, over, webhook, schedule, reconcile, retry. (run's or flow's id, entity, is it large)."""
    values: Json = {"limit": MOST_A_TICK, "large": settings.SYNC_LARGE_PAGES, "plain": parameters_hash(INCREMENTAL)}
    found: Due = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_DUE, values)
        for kind, pk, entity, is_large in cursor.fetchall():
            found[kind].append((pk, entity, is_large))
    return found


def flows_dispatch() -> int:
    """Queue runs for what is due, and hand out those that can be gone on with. Returns how many were handed out."""
    found = due()
    made = sum(_queue(kind, flow_id, entity) for kind in _QUEUE for flow_id, entity, _ in found.get(kind, ()))
    for run_id, _, _ in found.get("over", ()):
        run_strand(run_id)
    if made:
        found = due()
    return runs_offer(found.get("run", []))


@transaction.atomic
def run_strand(run_id: UUID) -> None:
    """End a run that nobody can go on with: one of its connections is being disconnected."""
    run = SyncRun.objects.select_for_update(no_key=True).get(pk=run_id)
    is_held = run.lease_expires_at and run.lease_expires_at > timezone.now()
    if is_held or run.status not in OPEN:
        return
    run.status, run.finished_at = RunStatus.CANCELLED, timezone.now()
    run.lease_token = run.lease_expires_at = run.next_attempt_at = None
    run.errors = [error_entry(CausewayError(code="connection_not_active"))]
    run.save(update_fields=["status", "finished_at", "lease_token", "lease_expires_at", "next_attempt_at", "errors"])
    parent_settle(run.parent_id)


# --- queueing ---
_QUEUE = ("webhook", "schedule", "reconcile", "retry")


@transaction.atomic
def _queue(kind: str, flow_id: UUID, entity: str) -> int:
    """One run, and when it is due next: together, so that neither is lost."""
    flow = Flow.objects.filter(pk=flow_id, status=FlowStatus.ACTIVE).first()
    if flow is None:
        return 0
    if kind == "retry":
        return _queue_retry(flow, entity)
    mark = Watermark.objects.filter(flow=flow, entity=entity)
    if kind == "schedule":
        mark.update(next_sync_at=timezone.now() + timedelta(seconds=settings.FLOW_POLL_S))
    if kind == "reconcile":
        mark.update(next_reconcile_at=timezone.now() + timedelta(seconds=settings.FLOW_RECONCILE_S))
        return int(run_queue(flow, entity, mode="reconcile", trigger=Trigger.SCHEDULE)[1])
    return int(run_queue(flow, entity, trigger=Trigger(kind))[1])


def _queue_retry(flow: Flow, entity: str) -> int:
    """The failed records whose time has come, read again by their ids. Their next time is set before it is known how it ends."""
    now = timezone.now()
    open_ = SyncFailure.objects.filter(flow=flow, entity=entity, resolved_at=None, next_attempt_at__lte=now)
    rows = list(open_.order_by("next_attempt_at").values_list("pk", "external_id", "attempts")[:MOST_AT_ONCE])
    if not rows:
        return 0
    for attempts in {attempts for _, _, attempts in rows}:
        these = [pk for pk, _, found in rows if found == attempts]
        later = now + timedelta(seconds=backoff_s(attempts + 1))
        SyncFailure.objects.filter(pk__in=these).update(next_attempt_at=later)
    ids = sorted(external_id for _, external_id, _ in rows)
    return int(run_queue(flow, entity, trigger=Trigger.RETRY, parameters={"ids": ids})[1])


# --- handing out ---
def runs_offer(rows: list[tuple[UUID, str, bool]]) -> int:
    """Mark them as handed out, for OFFER_S, and wake workers. What nobody then claims is offered again."""
    if not rows:
        return 0
    until = timezone.now() + timedelta(seconds=settings.OFFER_S)
    mine = SyncRun.objects.filter(pk__in=[pk for pk, _, _ in rows])
    mine.update(offered_until=until)
    for task, is_large in (("sync.tasks.execute_flows", False), ("sync.tasks.execute_flows_large", True)):
        ids = [str(pk) for pk, _, large in rows if large == is_large]
        for at in range(0, len(ids), BATCH):
            wake(task, ids[at : at + BATCH], expires_s=max(settings.OFFER_S, 1))
    return len(rows)


def runs_return(run_ids: list[str]) -> None:
    """A task that stops before its time is up gives back what it has not begun."""
    if run_ids:
        SyncRun.objects.filter(pk__in=run_ids).update(offered_until=None)
