"""From a canonical record to what is written: what its target's transformer makes of it, and the flow's rules over that.

A target is chosen by the provider of the flow's target; one that is not here has no pair in `sync.flows.pairs` either.
"""

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import orjson

from connections.providers.base import Json, SourceRecord, TargetRecord
from sync.canonical import Canonical, content_hash
from sync.flows.rules import rules_of_flow
from sync.mapping import applied
from sync.models import Flow
from sync.targets import supabase

Target = Callable[[Flow, Canonical, Json], TargetRecord]
Removal = Callable[[Flow, SourceRecord], TargetRecord]


def _to_supabase(flow: Flow, record: Canonical, payload: Json) -> TargetRecord:
    return supabase.target_record(
        record,
        connection_id=flow.source_id,
        source_system=flow.source.provider,
        raw=payload if flow.options.get("keep_raw") else None,
    )


def _gone_from_supabase(flow: Flow, record: SourceRecord) -> TargetRecord:
    return supabase.removed(
        record.entity,
        record.external_id,
        connection_id=flow.source_id,
        source_system=flow.source.provider,
        modified_at=record.modified_at,
    )


_TARGETS: dict[str, tuple[Target, Removal]] = {"supabase": (_to_supabase, _gone_from_supabase)}


def target_record(flow: Flow, record: Canonical, payload: Json) -> TargetRecord:
    """What is to be at the target. Raises RejectedRecord, also where a rule of the flow's mapping has no value for it."""
    made = _TARGETS[flow.target.provider][0](flow, record, payload)
    rules = rules_of_flow(flow, record.entity)
    if rules is None:
        return made
    mapped = rules.mapped(record)
    mapped.refuse_failures()
    return replace(made, values=applied(made.values, mapped))


def removed_record(flow: Flow, record: SourceRecord) -> TargetRecord:
    """What becomes of one at the target that its source does not have any more."""
    return _TARGETS[flow.target.provider][1](flow, record)


def content_of(flow: Flow, record: Canonical, payload: Json) -> str:
    """A hash of everything that decides what is to be at the target: equal, and nothing has to be written."""
    told: list[object] = [content_hash(record), flow.version]
    if flow.options.get("keep_raw"):
        told.append(sha256(orjson.dumps(payload, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest())
    return sha256(orjson.dumps(told)).hexdigest()
