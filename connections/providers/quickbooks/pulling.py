"""What is read of a company, entity by entity. A module with the capability `Pulls`.

What changed within the last weeks is asked for by change data capture: one call for all kinds of an entity, deletions
included. Everything else, and what is too much for that, is read by queries in the order of change. A query's pages are
not told apart by their number but by the moment at which the last one ended: a record that is changed meanwhile moves to
the end, and would push another one across the edge of a page unseen. Only where a whole page shares one second are
there numbers, and each of those pages begins with the last record of the one before, to see that nothing has moved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import structlog
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from connections.errors import MutationDuringPagination
from connections.http import malformed
from connections.providers.base import Access, Json, Page, SourceRecord
from connections.providers.quickbooks import changes, records
from connections.providers.quickbooks.client import QuickBooksClient
from connections.providers.quickbooks.company import client_of
from connections.providers.quickbooks.entities import FLOW_ENTITIES
from connections.providers.quickbooks.errors import PROVIDER
from connections.providers.quickbooks.query import CREATED, MAX_RESULTS, UPDATED, count, select, updated_between, where

log = structlog.get_logger(__name__)

entities: tuple[str, ...] = tuple(FLOW_ENTITIES)

OVERLAP = timedelta(minutes=5)  # read again: a record may become visible later than its time says
CAPTURED = changes.MAX_AGE - timedelta(days=1)  # how far back we trust change data capture to go
FETCH_AT_ONCE = 100
RESTARTS = 5
page_size = MAX_RESULTS  # tests make it smaller


@dataclass(frozen=True, slots=True)
class _Reading:
    """How far the queries of one pull have come. at: when the last record read was changed; start: only within a second."""

    until: str
    since: str = ""
    kind: int = 0
    at: str = ""
    start: int = 1
    anchor: str = ""


def pull(access: Access, entity: str, position: Json, *, until: datetime | None = None) -> Iterator[Page]:
    """position: {"since": moment} between pulls, {"reading": …} within one that goes by queries."""
    client, kinds = client_of(access), FLOW_ENTITIES[entity]
    since = _moment(position.get("since", ""))
    if reading := position.get("reading"):
        yield from _by_query(client, kinds, _Reading(**reading))
    elif since and timezone.now() - since < CAPTURED:
        yield from _by_changes(client, kinds, since, until)
    else:
        yield from _by_query(client, kinds, None, since=since, until=until)


def fetch(access: Access, entity: str, external_ids: Sequence[str]) -> Iterator[SourceRecord]:
    """A query for a hundred of a kind; those that it leaves out are gone."""
    client = client_of(access)
    by_kind: dict[str, list[str]] = {}
    for wanted in external_ids:
        kind, number = records.kind_and_number(entity, wanted)
        by_kind.setdefault(kind, []).append(number)
    for kind, numbers in by_kind.items():
        for first in range(0, len(numbers), FETCH_AT_ONCE):
            some = numbers[first : first + FETCH_AT_ONCE]
            found = {str(row.get("Id")): row for row in client.query(select(kind, where("Id", "IN", some))).records}
            for number in some:
                if row := found.get(number):
                    yield records.source_record(kind, row)
                else:
                    yield records.removed(entity, records.external_id(kind, number))


def ids(access: Access, entity: str, *, since: datetime | None = None) -> Iterator[Sequence[str]]:
    """There is no projection: it costs as much as reading everything, and is meant for the night."""
    client = client_of(access)
    made = [where(CREATED, ">=", since)] if since else []
    for kind in FLOW_ENTITIES[entity]:
        reading: _Reading | None = _Reading(until=_clock(client, kind)[1].isoformat())
        while reading:
            rows, reading = _page(client, kind, reading, made)
            if rows:
                yield [records.external_id(kind, str(row.get("Id"))) for row in rows]


# --- by change data capture ---
def _by_changes(
    client: QuickBooksClient, kinds: Sequence[str], since: datetime, until: datetime | None
) -> Iterator[Page]:
    told = changes.whole(client.changes, kinds, since - OVERLAP)
    found = [records.source_record(kind, row) for kind in kinds for row in told[kind].records]
    if any(part.complete_since > since for part in told.values()):
        # Deletions that lie before that may be left out; comparing with `ids` finds them.
        log.warning("quickbooks_changes_cut", connection=client.connection_id, kinds=list(kinds))
        gone = [record for record in found if record.is_removed]
        yield Page(gone, {"since": since.isoformat()}, has_more=True)
        yield from _by_query(client, kinds, None, since=since, until=until)
        return
    ends_at = min(part.told_at for part in told.values())
    if until and until < ends_at:
        ends_at = until
        found = [record for record in found if not record.modified_at or record.modified_at <= until]
    found.sort(key=lambda record: (record.modified_at or since, record.external_id))
    for first in range(0, len(found) - page_size, page_size):
        yield Page(found[first : first + page_size], {"since": since.isoformat()}, has_more=True)
    rest = found[(len(found) - 1) // page_size * page_size :] if found else []
    yield Page(rest, {"since": ends_at.isoformat()}, has_more=False, expected=len(found))


# --- by queries ---
def _by_query(
    client: QuickBooksClient,
    kinds: Sequence[str],
    reading: _Reading | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Page]:
    expected = None
    if reading is None:
        expected, now = _clock(client, *kinds)
        ends_at = min(until, now) if until else now
        begins = (since - OVERLAP).isoformat() if since else ""
        reading = _Reading(until=ends_at.isoformat(), since=begins)
        expected = None if since else expected
    while True:
        rows, following = _page(client, kinds[reading.kind], reading)
        found = [records.source_record(kinds[reading.kind], row) for row in rows]
        if following is None and reading.kind + 1 < len(kinds):
            following = _Reading(until=reading.until, since=reading.since, kind=reading.kind + 1)
        if following is None:
            yield Page(found, {"since": reading.until}, has_more=False, expected=expected)
            return
        yield Page(found, {"reading": asdict(following)}, has_more=True, expected=expected)
        reading = following


def _clock(client: QuickBooksClient, *kinds: str) -> tuple[int, datetime]:
    """(how many records there are, the server's clock before any of them is read)."""
    total, told_at = 0, None
    for kind in kinds:
        rows = client.query(count(kind))
        total, told_at = total + (rows.total or 0), told_at or rows.told_at
    if told_at is None:
        raise malformed(PROVIDER, "a count without the server's time")
    return total, told_at


def _page(
    client: QuickBooksClient, kind: str, reading: _Reading, also: Sequence[str] = ()
) -> tuple[Sequence[Json], _Reading | None]:
    """(the records of the next page, where to go on; None: this kind is read)."""
    for _attempt in range(RESTARTS):
        begins = _moment(reading.at or reading.since)
        between = updated_between(begins, _moment(reading.until))
        statement = select(kind, *also, *between, order_by=UPDATED, start=reading.start, limit=page_size)
        rows = client.query(statement).records
        if not reading.anchor or (rows and str(rows[0].get("Id")) == reading.anchor):
            return rows, _following(rows, reading)
        reading = replace(reading, start=1, anchor="")  # somebody moved: this second is read from its beginning
    raise MutationDuringPagination(provider=PROVIDER, operator_detail=f"{kind} does not hold still within a second")


def _following(rows: Sequence[Json], reading: _Reading) -> _Reading | None:
    if len(rows) < page_size:
        return None
    last = records.modified_at(rows[-1])
    if last is None:
        raise malformed(PROVIDER, "a record without its time")
    if (known := _moment(reading.at)) is None or last > known:
        return replace(reading, at=last.isoformat(), start=1, anchor="")
    return replace(reading, start=reading.start + page_size - 1, anchor=str(rows[-1].get("Id")))


def _moment(text: str) -> datetime | None:
    return parse_datetime(text) if text else None
