"""The rules that a flow follows, ready to run: compiled once a version, since a version never changes."""

from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet

from connections.errors import RequestError
from sync.mapping import RuleSet, RulesRefused, field_table, rule_set
from sync.models import Flow, Mapping, MappingVersion

_KEPT = "_rules_by_entity"


def compiled_rules(target: str, entity: str, rules: Any) -> RuleSet:
    """Raises RequestError with the path of each mistake."""
    try:
        return rule_set(field_table(target, entity), rules)
    except RulesRefused as refused:
        raise RequestError(fields=refused.errors) from refused


def current_rules(mapping: Mapping) -> RuleSet:
    """Those of the version that counts: one query."""
    return _compiled(_current(MappingVersion.objects.filter(mapping=mapping)).get())


def rules_of_flow(flow: Flow, entity: str) -> RuleSet | None:
    """What it follows for these records; None where it has no mapping for them. One query, once for each row of `flow`.

    A change makes the flow's `version` another in the same transaction: what is written by rules that are newer than
    the row at hand is written once more, and nothing is left by older ones.
    """
    known: dict[str, RuleSet | None] = flow.__dict__.setdefault(_KEPT, {})
    if entity not in known:
        versions = MappingVersion.objects.filter(
            mapping__flow=flow, mapping__entity=entity, mapping__removed_at=None, workspace_id=flow.workspace_id
        )
        found = _current(versions).first()
        known[entity] = _compiled(found) if found else None
    return known[entity]


def _current(versions: QuerySet[MappingVersion]) -> QuerySet[MappingVersion, UUID]:
    return versions.filter(number=F("mapping__version")).values_list("pk", flat=True)


@lru_cache(maxsize=256)
def _compiled(version_id: UUID) -> RuleSet:
    version = MappingVersion.objects.select_related("mapping").get(pk=version_id)
    return rule_set(field_table(version.mapping.target, version.mapping.entity), version.rules)
