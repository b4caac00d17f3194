"""Flows: making, changing, activating, pausing and removing one."""

from dataclasses import asdict
from datetime import date
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from connections.audit import Action
from connections.errors import Conflict, RequestError
from connections.models import Connection, User
from connections.services.audit import security_event_record
from connections.services.disconnecting import by_person
from connections.waking import wake
from sync.flows.gaps import Gap, gaps_of
from sync.flows.pairs import Pair, in_order, options_of, pair_of
from sync.models import ConflictPolicy, Flow, FlowStatus, RunStatus, SyncRun, Watermark


@transaction.atomic
def flow_create(
    *,
    workspace_id: UUID,
    actor: User,
    source: Connection,
    target: Connection,
    name: str = "",
    entities: list[str] | None = None,
    statuses: list[str] | None = None,
    start_date: date | None = None,
    conflict_policy: str = ConflictPolicy.SOURCE_WINS,
    options: dict[str, Any] | None = None,
    is_active: bool = False,
) -> Flow:
    """A draft, or one that is active at once. entities: all that the pair has, if none are named.

    Raises RequestError, Conflict (flow_exists, flow_not_ready).
    """
    pair = _pair(source, target)
    Connection.objects.select_for_update(no_key=True).get(pk=source.pk)  # whoever makes the same one queues here
    if Flow.objects.exclude(status=FlowStatus.REMOVED).filter(source=source, target=target).exists():
        raise Conflict(code="flow_exists")
    made = Flow(
        workspace_id=workspace_id,
        created_by=actor,
        name=name or f"{source.name} → {target.name}"[:200],
        source=source,
        target=target,
        entities=_entities(pair, entities),
        statuses=list(dict.fromkeys(statuses or [])),
        start_date=start_date,
        conflict_policy=conflict_policy,
        options=options_of(pair, options),
    )
    made.save(force_insert=True)
    _record(Action.FLOW_CREATED, made, actor, entities=made.entities)
    return flow_activate(flow_id=made.pk, actor=actor) if is_active else made


def _pair(source: Connection, target: Connection) -> Pair:
    if pair := pair_of(source.provider, target.provider):
        return pair
    words = f"Records cannot go from {source.provider} to {target.provider} in this version."
    raise RequestError(words, fields={"target_connection_id": [words]})


def _entities(pair: Pair, given: list[str] | None) -> list[str]:
    if unfit := [entity for entity in given or () if entity not in pair.entities]:
        words = f"Not between these two: {', '.join(unfit)[:100]}. Choose from {', '.join(pair.entities)}."
        raise RequestError(words, fields={"entities": [words]})
    return in_order(given or pair.entities)


# What makes another record of the same one, or takes records that were left out before: everything is read again.
_READ_AGAIN = ("entities", "statuses", "start_date", "options")


@transaction.atomic
def flow_change(*, flow_id: UUID, actor: User, status: str = "", **given: Any) -> Flow:
    """Change what is given, then activate or pause it where `status` says so. What an active flow may not become is refused. Raises RequestError, Conflict (flow_not_ready).

    A change of what is taken, or of what becomes of it, has the next sync read everything again; what is equal still
    costs no write.
    """
    flow = _locked(flow_id)
    pair = _pair(flow.source, flow.target)
    if "entities" in given:
        given["entities"] = _entities(pair, given["entities"])
    if "statuses" in given:
        given["statuses"] = list(dict.fromkeys(given["statuses"]))
    if "options" in given:
        given["options"] = options_of(pair, {**flow.options, **given["options"]})
    changed = [name for name, value in given.items() if getattr(flow, name) != value]
    for name in changed:
        setattr(flow, name, given[name])
    if flow.status == FlowStatus.ACTIVE:
        _refuse_gaps(flow)
    if "options" in changed:
        flow.version += 1
    if set(changed) & set(_READ_AGAIN):
        Watermark.objects.filter(flow=flow).update(position={}, updated_at=timezone.now())
    if changed:
        flow.save()
        _record(Action.FLOW_CHANGED, flow, actor, fields=sorted(changed))
    if status:
        return (flow_activate if status == FlowStatus.ACTIVE else flow_pause)(flow_id=flow.pk, actor=actor)
    return flow


@transaction.atomic
def flow_activate(*, flow_id: UUID, actor: User) -> Flow:
    """Active: it may be synced, and what was synced once is kept up. Twice changes nothing. Raises Conflict with the gaps."""
    flow = _locked(flow_id)
    if flow.status == FlowStatus.ACTIVE:
        return flow
    _refuse_gaps(flow)
    flow.status, flow.status_reason = FlowStatus.ACTIVE, ""
    flow.save()
    _record(Action.FLOW_ACTIVATED, flow, actor)
    wake("sync.tasks.dispatch_flows")
    return flow


@transaction.atomic
def flow_pause(*, flow_id: UUID, actor: User) -> Flow:
    """Its runs wait where they are; what comes in meanwhile is kept. Raises Conflict where it is a draft."""
    flow = _locked(flow_id)
    if flow.status == FlowStatus.DRAFT:
        raise Conflict("This flow is a draft: nothing runs that could be paused.")
    if flow.status == FlowStatus.ACTIVE:
        flow.status, flow.status_reason = FlowStatus.PAUSED, by_person("Paused", actor)
        flow.save()
        _record(Action.FLOW_PAUSED, flow, actor)
    return flow


@transaction.atomic
def flow_remove(*, flow_id: UUID, actor: User) -> None:
    """It moves nothing any more. Its runs stay as history, and what it linked stays linked: a new flow doubles none."""
    flow = _locked(flow_id)
    flow.status, flow.status_reason = FlowStatus.REMOVED, by_person("Removed", actor)
    flow.save()
    open_runs = SyncRun.objects.filter(flow=flow, status__in=(RunStatus.QUEUED, RunStatus.RUNNING))
    open_runs.update(cancel_requested_at=timezone.now(), next_attempt_at=None, offered_until=None)
    _record(Action.FLOW_REMOVED, flow, actor)
    wake("sync.tasks.dispatch_flows")


def _locked(flow_id: UUID) -> Flow:
    mine = Flow.objects.select_for_update(no_key=True, of=("self",)).exclude(status=FlowStatus.REMOVED)
    return mine.select_related("source", "target", "workspace").get(pk=flow_id)


def _refuse_gaps(flow: Flow) -> None:
    if gaps := gaps_of(flow):
        raise not_ready(gaps)


def not_ready(gaps: list[Gap]) -> Conflict:
    return Conflict(
        " ".join(gap.detail for gap in gaps), code="flow_not_ready", extra={"gaps": [asdict(gap) for gap in gaps]}
    )


def _record(action: Action, flow: Flow, actor: User, **details: Any) -> None:
    security_event_record(action, actor=actor, workspace_id=flow.workspace_id, subject=flow, **details)
