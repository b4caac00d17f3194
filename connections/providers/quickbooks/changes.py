"""Change data capture: what was changed or deleted in a company since a moment, told in one answer, up to a thousand.

A thousand in an answer mean that there may be more, and QuickBooks does not say which it left out. Asked again with a
later beginning it tells the later ones whole; what lies before that is known to be changed only by asking for it.
Source: Intuit developer docs, "Change data capture".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_datetime

from connections.http import malformed
from connections.providers.base import Json
from connections.providers.quickbooks import faults
from connections.providers.quickbooks.errors import PROVIDER, classify_fault

MAX_AGE = timedelta(days=30)
MAX_OBJECTS = 1000
SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Changes:
    """By entity: records in full, deleted ones with Id and status only. told_at: the server's clock."""

    records: Mapping[str, Sequence[Json]]
    told_at: datetime

    @property
    def is_cut(self) -> bool:
        return sum(map(len, self.records.values())) >= MAX_OBJECTS


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one entity. complete_since: whatever changed after this is in `records`; before, it may be missing."""

    records: Sequence[Json]
    told_at: datetime
    complete_since: datetime


def read(answer: Any, entities: Sequence[str], *, request_id: str = "") -> Changes:
    """An answer, taken apart. Raises what a fault inside it means."""
    told = parse_datetime(str(answer.get("time"))) if isinstance(answer, dict) else None
    listed = answer.get("CDCResponse") if isinstance(answer, dict) else None
    if told is None or not isinstance(listed, list):
        raise malformed(PROVIDER, "an answer of change data capture without its list", request_id=request_id)
    records: dict[str, list[Json]] = {name: [] for name in entities}
    for response in _responses(listed, request_id):
        for name in entities:
            if isinstance(found := response.get(name), list):
                records[name] += [record for record in found if isinstance(record, dict)]
    return Changes(records, told)


def _responses(listed: Sequence[Any], request_id: str) -> Iterator[Mapping[str, Any]]:
    for one in listed:
        if fault := faults.in_json(one):
            raise classify_fault(fault, request_id=request_id)
        for response in one.get("QueryResponse") or () if isinstance(one, dict) else ():
            if fault := faults.in_json(response):
                raise classify_fault(fault, request_id=request_id)
            if isinstance(response, dict):
                yield response


def whole(
    ask: Callable[[Sequence[str], datetime], Changes], entities: Sequence[str], since: datetime
) -> dict[str, Told]:
    """Everything that can be told of each entity: together, one by one where that is cut, then by halves of the time."""
    together = ask(entities, since)
    if not together.is_cut:
        return {name: Told(together.records[name], together.told_at, since) for name in entities}
    return {name: _alone(ask, name, since) for name in entities}


def _alone(ask: Callable[[Sequence[str], datetime], Changes], entity: str, since: datetime) -> Told:
    found: dict[str, Json] = {}
    begins = since
    while True:
        part = ask([entity], begins)
        for record in part.records[entity]:
            found[str(record.get("Id"))] = record
        if not part.is_cut:
            return Told(list(found.values()), part.told_at, begins)
        if part.told_at - begins < SHORTEST:  # a thousand within a minute
            return Told(list(found.values()), part.told_at, part.told_at)
        begins += (part.told_at - begins) / 2
