"""What a mapping makes of one record: as its source tells it, in canonical form, and as its target would have it."""

from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from connections.errors import Conflict, NotFound, RejectedRecord, RequestError
from connections.models import Connection
from connections.providers import provider
from connections.providers.base import Json, SourceRecord
from connections.services.access import access_of
from sync.canonical import Canonical, from_json, to_json
from sync.flows.rules import compiled_rules, current_rules
from sync.mapping import Mapped, Outcome, applied, stores
from sync.mapping.functions import string
from sync.models import LinkState, Mapping, RecordLink
from sync.services.mappings import Rules
from sync.sources import canonical_of
from sync.targets import supabase


@dataclass(frozen=True, slots=True)
class Preview:
    """source: the payload, None where the record was given in canonical form. target: values by the target's own names.

    rules: what each came to, in their order, lines one by one. failures: empty where the record could be written so.
    """

    source: Json | None
    canonical: Json
    target: Json
    rules: list[Json]
    failures: list[Json]


def mapping_preview(
    *,
    mapping: Mapping,
    record: Any = None,
    source_record: Any = None,
    external_id: str = "",
    rules: Rules | None = None,
    document: str = "",
) -> Preview:
    """Run the rules over one record: given in canonical form, or as its source writes it, or asked for by its id there;
    over the flow's latest where none is named. rules: to try instead of those that count. Changes nothing, and calls
    the provider with no transaction open.

    Raises RequestError, NotFound, Conflict (connection_not_active), and what the provider answers with.
    """
    ruled = current_rules(mapping) if rules is None else compiled_rules(mapping.target, mapping.entity, rules)
    source: Json | None = None
    if record is not None:
        found = _canonical_given(mapping, record)
    else:
        told = _source_given(mapping, source_record) if source_record is not None else _fetched(mapping, external_id)
        source = told.payload
        found = _canonical(mapping, told)
    mapped = ruled.mapped(found, document=document)
    return Preview(
        source, to_json(found), _target(mapping, found, mapped), _told(mapped), [asdict(one) for one in mapped.failures]
    )


# --- the record ---
def _canonical_given(mapping: Mapping, record: Any) -> Canonical:
    told = {"entity": mapping.entity, **record} if isinstance(record, dict) else record
    try:
        found = from_json(told)
    except RejectedRecord as error:
        raise RequestError(fields={f"record.{path}": why for path, why in (error.fields or {}).items()}) from error
    if found.entity != mapping.entity:
        raise RequestError(fields={"record.entity": [f"This mapping is for {mapping.entity}."]})
    return found


def _source_given(mapping: Mapping, payload: Any) -> SourceRecord:
    if not isinstance(payload, dict):
        raise RequestError(fields={"source_record": ["This is an object, as the source writes it."]})
    if mapping.flow is None:
        words = "Without a flow nobody knows whose record this is: give it in canonical form, as record."
        raise RequestError(fields={"source_record": [words]})
    return SourceRecord(
        entity=mapping.entity, external_id=str(payload.get("id") or payload.get("Id") or ""), payload=payload
    )


def _canonical(mapping: Mapping, told: SourceRecord) -> Canonical:
    source = _source(mapping)
    facts = source.facts | ({"currency": told_currency} if (told_currency := _currency(mapping, told)) else {})
    try:
        found = canonical_of(source.provider, told, facts)
    except RejectedRecord as error:
        raise RequestError(
            fields={f"source_record.{path}": why for path, why in (error.fields or {}).items()}
        ) from error
    if found is None:
        words = "The flow takes nothing of this record as it is now: it is gone, a draft, or of a kind that no flow carries."
        raise RequestError(words, fields={"source_record": [words]})
    return found


def _currency(mapping: Mapping, told: SourceRecord) -> str:
    """A shop's refund names none: it is its order's."""
    parent = told.payload.get("parent_id")
    if mapping.entity != "refunds" or not parent:
        return ""
    links = RecordLink.objects.filter(source=_source(mapping), entity="orders", external_id=str(parent))
    return links.exclude(currency="").values_list("currency", flat=True).first() or ""


def _fetched(mapping: Mapping, external_id: str) -> SourceRecord:
    source = _source(mapping)
    if not source.is_syncable:
        raise Conflict(code="connection_not_active")
    pulls = provider(source.provider).pulls
    if pulls is None or mapping.entity not in pulls.entities:
        raise RequestError(fields={"external_id": ["This source has no such records: give one as record."]})
    wanted = external_id or _latest(mapping, source)
    try:
        found = next(iter(pulls.fetch(access_of(source, is_good=True), mapping.entity, [wanted])), None)
    except ValueError as error:
        raise RequestError(fields={"external_id": ["This is not how the source names its records."]}) from error
    if found is None or found.is_removed:
        raise NotFound("The source has no such record.", remediation="Check its id there.")
    return found


def _latest(mapping: Mapping, source: Connection) -> str:
    """The record that was linked last: one look at an index."""
    links = RecordLink.objects.filter(source=source, entity=mapping.entity, state=LinkState.LINKED)
    if mapping.flow:
        links = links.filter(target_id=mapping.flow.target_id)
    if latest := links.order_by("-pk").values_list("external_id", flat=True).first():
        return latest
    words = "Nothing has been synced yet: name a record of the source by its id, or give one as record."
    raise RequestError(words, fields={"external_id": [words]})


def _source(mapping: Mapping) -> Connection:
    if mapping.flow is None:
        words = "This mapping belongs to no flow, so it has no source to ask: give a record in canonical form."
        raise RequestError(words, fields={"record": [words]})
    return mapping.flow.source


# --- what comes of it ---
def _target(mapping: Mapping, found: Canonical, mapped: Mapped) -> Json:
    """A store's whole row. In the books that which the rules give: money, lines and links follow when it is written."""
    if mapping.target == stores.TARGET and mapping.flow:
        made = supabase.target_record(
            found, connection_id=mapping.flow.source_id, source_system=mapping.flow.source.provider
        )
        return {name: _plain(value) for name, value in applied(made.values, mapped).items()}
    lines = {mapped.table.lines: list(mapped.lines)} if mapped.table.lines else {}
    return {name: _plain(value) for name, value in {**mapped.header, **lines}.items()}


def _told(mapped: Mapped) -> list[Json]:
    return [_outcome(one) for one in mapped.outcomes]


def _outcome(one: Outcome) -> Json:
    failure = asdict(one.failure) if one.failure else None
    told = {"rule": one.rule, "target": one.target, "line": one.line}
    return told | {"value": _plain(one.value), "result": _plain(one.result), "failure": failure}


def _plain(value: Any) -> Any:
    """As JSON has it: amounts as texts, like everywhere."""
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal | datetime | date):
        return string(value)
    return value if value is None or isinstance(value, bool | str | int) else str(value)
