"""Runs of flows: asking for one, over one flow or several, and ending one before its time."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from config import correlation
from connections.audit import Action
from connections.errors import ConfirmationNeeded, Conflict
from connections.models import Connection, User
from connections.providers.base import Json
from connections.services import lifecycle
from connections.services.audit import security_event_record
from connections.waking import wake
from sync.flows.claims import Held
from sync.flows.gaps import is_kept_in_sandbox
from sync.flows.settling import parent_settle
from sync.models import Flow, FlowStatus, RunStatus, SyncRun, Trigger
from sync.services.runs import parameters_hash

MOST_UNCONFIRMED = 10  # records that may be named without a confirmation
OPEN = (RunStatus.QUEUED, RunStatus.RUNNING)
MOST_AT_ONCE = 200


def run_queue(
    flow: Flow,
    entity: str,
    *,
    trigger: Trigger,
    mode: str = "incremental",
    parameters: Json | None = None,
    requested_by: User | None = None,
) -> tuple[SyncRun, bool]:
    """The flow's waiting run with these parameters, made if there is none; and whether it was made."""
    asked = parameters or {}
    return SyncRun.objects.get_or_create(
        flow=flow,
        entity=entity,
        status=RunStatus.QUEUED,
        parameters_hash=parameters_hash({"mode": mode, **asked}),
        defaults={
            "workspace_id": flow.workspace_id,
            "connection_id": flow.source_id,
            "mode": mode,
            "parameters": asked,
            "trigger": trigger,
            "requested_by": requested_by,
            "correlation_id": correlation.current(),
        },
    )


@transaction.atomic
def sync_request(
    *,
    workspace_id: UUID,
    actor: User,
    entity: str,
    mode: str = "incremental",
    filters: Json | None = None,
    ids: list[str] | None = None,
    flow: Flow | None = None,
) -> SyncRun:
    """A person asks for a sync: of one flow, or of every active one with this entity, under one run over all of them.

    Work is accepted whatever its providers do at the moment. A back-off ends; a wait that a provider imposed does not.
    Equal requests that wait are one. Raises Conflict: no_active_flow, sandbox_mode, confirmation_required.
    """
    if ids and len(ids) > MOST_UNCONFIRMED:
        words = f"{len(ids)} records are named: more than {MOST_UNCONFIRMED} have to be confirmed."
        advice = f"Name at most {MOST_UNCONFIRMED} at a time, or leave ids out: what is equal costs no write."
        raise ConfirmationNeeded(words, remediation=advice, extra={"affected_count": len(ids)})
    flows = _flows(workspace_id, entity, flow)
    parameters = {name: value for name, value in (("filters", filters), ("ids", ids)) if value}
    asked: dict[str, Any] = {"mode": mode, "parameters": parameters, "trigger": Trigger.USER, "requested_by": actor}
    run = run_queue(flows[0], entity, **asked)[0] if flow else _over(flows, entity, asked)
    _end_waits(flows)
    security_event_record(Action.SYNC_REQUESTED, actor=actor, workspace_id=workspace_id, subject=run, entity=entity)
    wake("sync.tasks.dispatch_flows")
    return run


def _flows(workspace_id: UUID, entity: str, flow: Flow | None) -> list[Flow]:
    active = Flow.objects.filter(workspace_id=workspace_id, status=FlowStatus.ACTIVE, entities__contains=[entity])
    if flow:
        active = active.filter(pk=flow.pk)
    found = list(active.select_related("source", "target", "workspace").order_by("pk"))
    if not found:
        words = f"This flow is not active, or does not keep {entity} up." if flow else ""
        raise Conflict(words, code="no_active_flow")
    if all(is_kept_in_sandbox(one.workspace, one.target) for one in found):
        raise Conflict(code="sandbox_mode")
    return found


def _over(flows: list[Flow], entity: str, asked: Mapping[str, Any]) -> SyncRun:
    """The run over all these flows. One that waits already with the same request is joined."""
    children = [run_queue(flow, entity, **asked)[0] for flow in flows]
    free = [child.pk for child in children if child.parent_id is None]  # also those that a webhook or the clock queued
    if not free and children[0].parent is not None:  # all of it waits below an earlier request
        return children[0].parent
    over, _is_new = SyncRun.objects.get_or_create(
        workspace_id=flows[0].workspace_id,
        flow=None,
        connection=None,
        entity=entity,
        status=RunStatus.QUEUED,
        parameters_hash=parameters_hash({"mode": asked["mode"], **asked["parameters"]}),
        defaults={**asked, "correlation_id": correlation.current()},
    )
    SyncRun.objects.filter(pk__in=free).update(parent=over)
    return over


def _end_waits(flows: Iterable[Flow]) -> None:
    """Runs first, then connections in the order of their ids, as everywhere."""
    ids = {flow.pk for flow in flows}
    SyncRun.objects.filter(flow__in=ids, status__in=OPEN).exclude(next_attempt_at=None).update(
        next_attempt_at=None, offered_until=None
    )
    touched = {pk for flow in flows for pk in (flow.source_id, flow.target_id)}
    waiting = Connection.objects.filter(pk__in=touched).exclude(next_attempt_at=None).order_by("pk")
    for connection in waiting.select_for_update(no_key=True):
        if lifecycle.clear_backoff(connection):
            connection.save(update_fields=["next_attempt_at", "wait_reason", "updated_at"])


def parents_request(flow: Flow, held: Held, parents: Mapping[str, Iterable[str]]) -> None:
    """Have records fetched that others wait for and nobody has seen. Within the caller's transaction."""
    for entity, ids in parents.items():
        wanted = sorted(ids)
        for at in range(0, len(wanted), MOST_AT_ONCE):
            named = {"ids": wanted[at : at + MOST_AT_ONCE]}
            run_queue(flow, entity, trigger=Trigger.RETRY, parameters=named)


@transaction.atomic
def run_cancel_request(*, run_id: UUID, actor: User) -> SyncRun:
    """End it: at once where nobody has begun, else after what is being sent. What it wrote stays. Twice changes nothing.

    Raises Conflict for one that is over, and for a bank's.
    """
    run = SyncRun.objects.get(pk=run_id)
    if run.status not in OPEN:
        raise Conflict(f"This run is {run.get_status_display().lower()} already.")
    if run.flow_id is None and run.connection_id is not None:
        raise Conflict("A bank's sync ends by itself. Pause the connection to have none begin.")
    runs = [run.pk] if run.flow_id else list(run.children.values_list("pk", flat=True))
    now = timezone.now()
    for one in SyncRun.objects.filter(pk__in=runs, status__in=OPEN).order_by("pk").select_for_update(no_key=True):
        if one.status == RunStatus.QUEUED:
            one.status, one.finished_at = RunStatus.CANCELLED, now
        one.cancel_requested_at, one.next_attempt_at, one.offered_until = now, None, None
        one.save(update_fields=["status", "finished_at", "cancel_requested_at", "next_attempt_at", "offered_until"])
    parent_settle(run.parent_id if run.flow_id else run.pk)
    security_event_record(Action.SYNC_CANCELLED, actor=actor, workspace_id=run.workspace_id, subject=run)
    wake("sync.tasks.dispatch_flows")
    return SyncRun.objects.get(pk=run_id)
