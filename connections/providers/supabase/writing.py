"""What is written into a store, over either kind: the capability `Upserts`.

Every entity has one table, and a record is found again by its source's connection, system and id, so everything may be
repeated. `void` leaves a tombstone (`deleted_at`), which is what a removal at the source becomes; `delete` is for where
a mapping asks for it in so many words.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, cast

from connections.errors import CausewayError
from connections.providers.base import Access, Operation, TargetRecord, Written
from connections.providers.supabase import records
from connections.providers.supabase.contract import DEFAULTS, Table
from connections.providers.supabase.errors import PROVIDER, NotPrepared, StaleSchema
from connections.providers.supabase.postgres import PostgresStore
from connections.providers.supabase.records import MAX_ROWS, Current, Key, Row
from connections.providers.supabase.rest import Outcome, RestStore

_SEEN_AFTER = timedelta(seconds=50)  # what the API's cache did not know a minute ago is not there


class Store(Protocol):
    """One store, over either kind. Rows come with what became of them, or with why they could not be written."""

    def current(self, table: Table, keys: Iterable[Key]) -> dict[Key, Current]: ...
    def hashes(self, table: Table, scope: tuple[str, str]) -> Iterator[tuple[str, Current]]: ...
    def write(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]: ...
    def bury(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]: ...
    def delete(self, table: Table, rows: Sequence[Row]) -> Iterator[Outcome]: ...
    def close(self) -> None: ...


def store_of(access: Access) -> Store:
    return PostgresStore.of(access) if access.config.get("kind") == "postgres" else RestStore.of(access)


class Writing:
    """Writing into these tables: the contract's own, or those that a mapping has made."""

    batch_size = MAX_ROWS

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self.entities = tuple(tables)

    def upsert(
        self, access: Access, entity: str, given: Sequence[TargetRecord], *, idempotency_key: str
    ) -> Iterable[Written]:
        """One answer each. A record is refused alone; of several with one key the last is written and answers for all.

        The key of the attempt is not needed: rows are found by their own, and equal ones are left alone.
        """
        table = self.tables[entity]
        with closing(store_of(access)) as store:
            ready: dict[Operation, list[Row]] = {"upsert": [], "void": [], "delete": []}
            for found in records.rows(table, given):
                if isinstance(found, Row):
                    ready[found.operation].append(found)
                else:
                    refused, error = found
                    yield from (Written(record.key, "failed", error=error) for record in refused)
            yield from _retried_once(access, entity, _outcomes(store, table, ready))

    def find(self, access: Access, record: TargetRecord) -> Written | None:
        """The record's row as it is, or None. outcome: unchanged where it is as the record says, else stale."""
        table = self.tables[record.entity]
        row = records.row_of(table, record)
        with closing(store_of(access)) as store:
            current = store.current(table, [row.key]).get(row.key)
        if current is None:
            return None
        is_equal = current.hash == row.hash
        return Written(
            record.key, "unchanged" if is_equal else "stale", records.external_id(row.key), current.hash or ""
        )

    def hashes(
        self, access: Access, entity: str, *, connection_id: str, source_system: str
    ) -> Iterator[tuple[str, str]]:
        """(source_id, hash) of everything that one source has there, flat in memory; tombstones have records.REMOVED."""
        with closing(store_of(access)) as store:
            for source_id, current in store.hashes(self.tables[entity], (connection_id, source_system)):
                yield source_id, current.hash or ""


def _outcomes(store: Store, table: Table, ready: Mapping[Operation, list[Row]]) -> Iterator[Written]:
    verbs = {"upsert": store.write, "void": store.bury, "delete": store.delete}
    for operation, rows in ready.items():
        for batch in records.batches(rows):
            for row, outcome in verbs[operation](table, batch):
                yield from _answers(row, outcome)


def _answers(row: Row, outcome: str | CausewayError) -> Iterator[Written]:
    for record in row.records:
        if isinstance(outcome, CausewayError):
            yield Written(record.key, "failed", error=outcome)
            continue
        total = row.values.get("total")
        yield Written(
            record.key,
            cast("Any", outcome),  # one of the words of Written
            records.external_id(row.key),
            records.REMOVED if outcome == "removed" else row.hash,
            total=Decimal(total) if total is not None else None,
        )


def _retried_once(access: Access, entity: str, outcomes: Iterator[Written]) -> Iterator[Written]:
    """What the API's cache does not know may have come a moment ago: it is given a minute, then it is missing."""
    fact = f"stale_{entity}"
    try:
        yield from outcomes
    except StaleSchema as error:
        since = access.facts.get(fact)
        now = datetime.now(UTC)
        if since and now - datetime.fromisoformat(since) >= _SEEN_AFTER:
            access.remember({fact: None})
            raise NotPrepared(
                error.detail,
                provider=PROVIDER,
                provider_code=error.provider_code,
                operator_detail=error.operator_detail,
            ) from error
        if not since:
            access.remember({fact: now.isoformat()})
        raise
    if access.facts.get(fact):
        access.remember({fact: None})


WRITING = Writing(DEFAULTS)
