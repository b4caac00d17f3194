"""QuickBooks' records as what crosses the border, and their ids, which count anew for every kind of record."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_datetime

from connections.providers.base import Json, SourceRecord
from connections.providers.quickbooks.entities import FLOW_ENTITIES, FLOW_ENTITY_OF

DELETED = "Deleted"


def source_record(kind: str, row: Json) -> SourceRecord:
    """A record, or what is told of one that was deleted."""
    return SourceRecord(
        entity=FLOW_ENTITY_OF[kind],
        external_id=external_id(kind, str(row.get("Id", ""))),
        payload=row,
        modified_at=modified_at(row),
        version=str(row.get("SyncToken") or ""),
        is_removed=row.get("status") == DELETED,
    )


def removed(entity: str, wanted: str) -> SourceRecord:
    """For an id that QuickBooks does not have."""
    return SourceRecord(entity=entity, external_id=wanted, payload={}, is_removed=True)


def external_id(kind: str, number: str) -> str:
    """The id outside: with its kind where a flow's entity has several, since an invoice and a receipt may share one."""
    return f"{kind}:{number}" if len(FLOW_ENTITIES[FLOW_ENTITY_OF[kind]]) > 1 else number


def kind_and_number(entity: str, wanted: str) -> tuple[str, str]:
    """(kind, Id) of an outside id. entity: of a flow, or the kind itself. Raises ValueError where the kind is not told."""
    kind, is_told, number = wanted.rpartition(":")
    kinds = FLOW_ENTITIES.get(entity, (entity,))
    if is_told and kind in kinds:
        return kind, number
    if len(kinds) == 1 and not is_told:
        return kinds[0], wanted
    raise ValueError(f"An id of {entity} begins with its kind: {', '.join(f'{one}:1' for one in kinds)}.")


def modified_at(row: Mapping[str, Any]) -> datetime | None:
    told = row.get("MetaData")
    moment = told.get("LastUpdatedTime") if isinstance(told, dict) else None
    try:
        found = parse_datetime(moment) if isinstance(moment, str) else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None


def total(row: Mapping[str, Any]) -> Decimal | None:
    found = row.get("TotalAmt")
    return found if isinstance(found, Decimal) else None
