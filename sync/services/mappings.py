"""Mappings: making one, changing it by new versions, restoring an old one, removing it."""

from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from connections.audit import Action
from connections.errors import Conflict, RequestError
from connections.models import User
from connections.services.audit import security_event_record
from sync.flows.pairs import pair_of
from sync.mapping import TARGETS, RulesRefused, default_rules, field_table, rule_set
from sync.mapping.defaults import regions
from sync.models import Flow, FlowStatus, Mapping, MappingVersion, Watermark

Rules = list[dict[str, Any]]


@transaction.atomic
def mapping_create(
    *,
    workspace_id: UUID,
    actor: User,
    entity: str,
    flow_id: UUID | None = None,
    target: str = "",
    name: str = "",
    rules: Rules | None = None,
    region: str = "",
) -> Mapping:
    """Version 1 of the rules; the shipped ones of the region where none are given. With a flow it is at work there.

    Raises RequestError with the path of each mistake, Conflict (mapping_exists).
    """
    flow = _flow(flow_id) if flow_id else None
    target = _target(flow, entity, target)
    if flow and Mapping.objects.filter(flow=flow, entity=entity, removed_at=None).exists():
        raise Conflict(code="mapping_exists")
    rules = checked(target, entity, _shipped(target, entity, region) if rules is None else rules)
    made = Mapping(
        workspace_id=workspace_id,
        name=name or f"{entity.capitalize()} to {target}",
        flow=flow,
        entity=entity,
        target=target,
        created_by=actor,
    )
    made.save(force_insert=True)
    _add_version(made, 1, rules, actor)
    _follow(flow, entity)
    _record(Action.MAPPING_CREATED, made, actor)
    return made


@transaction.atomic
def mapping_change(
    *,
    mapping_id: UUID,
    actor: User,
    version: int,
    rules: Rules | None = None,
    restore: int | None = None,
    name: str = "",
) -> Mapping:
    """A version more, of these rules or of those of an earlier one. What says the same makes none.

    version: the one that the caller has seen. Raises Conflict (mapping_changed), RequestError with each mistake's path.
    """
    mapping = _locked(mapping_id)
    if mapping.version != version:
        raise Conflict(code="mapping_changed", extra={"version": mapping.version})
    if restore is not None:
        rules = _version(mapping, restore).rules
    rules = rules if rules is None else checked(mapping.target, mapping.entity, rules)
    is_new = rules is not None and rules != _version(mapping, mapping.version).rules
    if name and name != mapping.name:
        mapping.name = name
    elif not is_new:
        return mapping
    if is_new:
        mapping.version += 1
        _add_version(mapping, mapping.version, rules or [], actor, restored_from=restore)
        _follow(mapping.flow, mapping.entity)
    mapping.save()
    _record(Action.MAPPING_CHANGED, mapping, actor, restored_from=restore)
    return mapping


@transaction.atomic
def mapping_remove(*, mapping_id: UUID, actor: User) -> None:
    """Nothing follows it any more; its versions stay as history. Raises Conflict (mapping_in_use)."""
    mapping = _locked(mapping_id)
    if mapping.flow and mapping.flow.status == FlowStatus.ACTIVE:
        raise Conflict(code="mapping_in_use")
    mapping.removed_at = timezone.now()
    mapping.save()
    _follow(mapping.flow, mapping.entity)
    _record(Action.MAPPING_REMOVED, mapping, actor)


def checked(target: str, entity: str, rules: Any) -> Rules:
    """The rules with every part of each, in the form in which they are kept. Raises RequestError by path."""
    try:
        rule_set(field_table(target, entity), rules)
    except RulesRefused as refused:
        raise RequestError(fields=refused.errors) from refused
    return [
        {
            "target": rule["target"],
            "expression": rule["expression"],
            "default": rule.get("default") if rule.get("default") != "" else None,
            "required": rule.get("required", False),
            "lookup": rule.get("lookup"),
        }
        for rule in rules
    ]


def _flow(flow_id: UUID) -> Flow:
    """Locked: whoever makes the same mapping, or activates the flow, queues here."""
    flows = Flow.objects.select_for_update(no_key=True, of=("self",)).exclude(status=FlowStatus.REMOVED)
    return flows.select_related("source", "target").get(pk=flow_id)


def _locked(mapping_id: UUID) -> Mapping:
    """The flow's row comes first, as everywhere."""
    flow_id = Mapping.objects.values_list("flow_id", flat=True).get(pk=mapping_id)
    if flow_id:
        Flow.objects.select_for_update(no_key=True).get(pk=flow_id)
    mine = Mapping.objects.select_for_update(no_key=True, of=("self",)).select_related("flow")
    return mine.get(pk=mapping_id)


def _target(flow: Flow | None, entity: str, target: str) -> str:
    """The flow's, where there is one. Raises RequestError."""
    if flow is None:
        if target in TARGETS:
            return target
        raise RequestError(fields={"target": [f"Name a flow, or one of {', '.join(TARGETS)}."]})
    if target and target != flow.target.provider:
        raise RequestError(fields={"target": [f"The flow's target is {flow.target.provider}."]})
    pair = pair_of(flow.source.provider, flow.target.provider)
    if pair is None or entity not in pair.entities:
        raise RequestError(fields={"entity": ["This flow has no such records."]})
    return flow.target.provider


def _shipped(target: str, entity: str, region: str) -> Rules:
    if region and region not in regions(target):
        raise RequestError(fields={"region": [f"For {target} there are: {', '.join(regions(target))}."]})
    return default_rules(target, entity, region)


def _version(mapping: Mapping, number: int) -> MappingVersion:
    found = mapping.versions.filter(number=number).first()
    if found is None:
        raise RequestError(fields={"restore": ["There is no such version."]})
    return found


def _add_version(mapping: Mapping, number: int, rules: Rules, actor: User, *, restored_from: int | None = None) -> None:
    MappingVersion.objects.create(
        workspace_id=mapping.workspace_id,
        mapping=mapping,
        number=number,
        rules=rules,
        created_by=actor,
        author=actor.get_username(),
        restored_from=restored_from,
    )


def _follow(flow: Flow | None, entity: str) -> None:
    """Records become something else from now on: the next sync reads all of them again, and writes those that differ."""
    if flow:
        Flow.objects.filter(pk=flow.pk).update(version=F("version") + 1, updated_at=timezone.now())
        Watermark.objects.filter(flow=flow, entity=entity).update(position={}, updated_at=timezone.now())


def _record(action: Action, mapping: Mapping, actor: User, **details: Any) -> None:
    said = {"entity": mapping.entity, "target": mapping.target, "version": mapping.version, **details}
    security_event_record(action, actor=actor, workspace_id=mapping.workspace_id, subject=mapping, **said)
