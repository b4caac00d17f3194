"""What is written into the books. A module with the capability `Upserts`.

Each call is one batch under one requestid, made of the caller's key: a repeat gets the first answer. What has to be read
before it can be written (entities without sparse updates) goes in a batch of its own, whose requestid also names its
content: had the books moved on between two attempts, the same id would stand for another body.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from connections.errors import CausewayError, RejectedRecord
from connections.providers.base import Access, Json, TargetRecord, Written
from connections.providers.quickbooks import records, reference_data
from connections.providers.quickbooks.batch import MAX_ITEMS, MAX_REQUEST_ID, BatchItem, BatchResult, frozen
from connections.providers.quickbooks.client import QuickBooksClient, request_id, void_body
from connections.providers.quickbooks.company import client_of
from connections.providers.quickbooks.entities import ENTITIES, FLOW_ENTITIES
from connections.providers.quickbooks.errors import PROVIDER
from connections.providers.quickbooks.query import select, where
from connections.providers.quickbooks.validation import prepared

entities: tuple[str, ...] = tuple(FLOW_ENTITIES)
batch_size = MAX_ITEMS

_NAMED_BY = {"Customer": "DisplayName", "Vendor": "DisplayName", "Item": "Name"}
Ready = tuple[TargetRecord, BatchItem]


def upsert(access: Access, entity: str, given: Sequence[TargetRecord], *, idempotency_key: str) -> Iterable[Written]:
    """Write at most `batch_size` records; their `entity` says which kind of QuickBooks' each is, where a flow's has several."""
    client = client_of(access)
    needing = [record for record in given if _needs_current(record, entity)]
    current = _current(client, entity, needing)
    as_given: list[Ready] = []
    as_read: list[Ready] = []
    for record in given:
        try:
            (as_read if record in needing else as_given).append((record, _item(client, entity, record, current)))
        except RejectedRecord as error:
            yield Written(record.key, "failed", external_id=record.external_id, error=error)
    for ready, is_read in ((as_given, False), (as_read, True)):
        if ready:
            yield from _sent(access, client, ready, idempotency_key, names_content=is_read)


def find(access: Access, record: TargetRecord) -> Written | None:
    """By its id; else by its number, by its day and our marker in the private note, or by its name."""
    client = client_of(access)
    if record.external_id:
        found = _current(client, record.entity, [record]).get(record.external_id)
        return _told(record, record_kind(record.entity, record), found, "unchanged") if found else None
    kind = record_kind(record.entity, record)
    conditions = _looked_up_by(kind, record.values)
    if not conditions:
        return None
    rows = client.query(select(kind, *conditions)).records
    mine = [row for row in rows if _is_ours(kind, row, record.values)]
    return _told(record, kind, mine[0], "unchanged") if len(mine) == 1 else None


def record_kind(entity: str, record: TargetRecord) -> str:
    """Which of QuickBooks' entities it is. Raises ValueError where nothing says so."""
    if record.entity in ENTITIES:
        return record.entity
    if record.external_id:
        return records.kind_and_number(entity, record.external_id)[0]
    kinds = FLOW_ENTITIES[entity]
    if len(kinds) != 1:
        raise ValueError(f"One of {entity} is {' or '.join(kinds)}: the record has to say which.")
    return kinds[0]


# --- what is sent ---
def _needs_current(record: TargetRecord, entity: str) -> bool:
    """Whether it has to be read before it can be changed: all of it, or the version it has now."""
    if not record.external_id:
        return False
    kind = ENTITIES[record_kind(entity, record)]
    is_change = record.operation == "upsert" or (record.operation == "delete" and not kind.can_delete)
    return not record.version or (is_change and not kind.is_sparse)


def _current(client: QuickBooksClient, entity: str, wanted: Sequence[TargetRecord]) -> dict[str, Json]:
    """As they are now, by outside id: one query a kind."""
    by_kind: dict[str, list[str]] = {}
    for record in wanted:
        kind, number = records.kind_and_number(record_kind(entity, record), record.external_id)
        by_kind.setdefault(kind, []).append(number)
    found = {}
    for kind, numbers in by_kind.items():
        for row in client.query(select(kind, where("Id", "IN", numbers))).records:
            found[records.external_id(kind, str(row.get("Id")))] = row
    return found


def _item(client: QuickBooksClient, entity: str, record: TargetRecord, current: Mapping[str, Json]) -> BatchItem:
    """The operation for one record. Raises RejectedRecord where QuickBooks would refuse it."""
    kind = record_kind(entity, record)
    if not record.external_id:
        if record.operation != "upsert":
            raise _refused("There is nothing to take away: the record was never written.")
        return BatchItem("create", kind, prepared(ENTITIES[kind], record.values, "create", client.company))
    number = records.kind_and_number(kind, record.external_id)[1]
    now = current.get(record.external_id)
    if now is None and _needs_current(record, entity):
        raise _refused("QuickBooks has no such record any more.")
    version = record.version or str((now or {}).get("SyncToken", ""))
    if record.operation == "void":
        return BatchItem("void", kind, void_body(kind, number, version))
    if record.operation == "delete" and ENTITIES[kind].can_delete:
        return BatchItem("delete", kind, {"Id": number, "SyncToken": version})
    values = {"Active": False} if record.operation == "delete" else record.values
    return BatchItem("update", kind, client.update_body(kind, number, version, values, current=now))


def _sent(
    access: Access, client: QuickBooksClient, ready: Sequence[Ready], key: str, *, names_content: bool
) -> Iterator[Written]:
    items = [item for _record, item in ready]
    made = frozen(items, request_id=request_id(key, length=MAX_REQUEST_ID))
    if names_content:
        made = frozen(items, request_id=request_id(key, made.digest, length=MAX_REQUEST_ID))
    for (record, item), result in zip(ready, client.batch_send(made), strict=True):
        if result.error and result.error.extra.get("references"):
            reference_data.forget(access)
        yield _written(record, item, result)


def _written(record: TargetRecord, item: BatchItem, result: BatchResult) -> Written:
    if result.error or result.record is None:
        return Written(record.key, "failed", external_id=record.external_id, error=result.error or _lost())
    if record.operation != "upsert":
        return _told(record, item.entity, result.record, "removed")
    return _told(record, item.entity, result.record, "updated" if record.external_id else "created")


def _told(record: TargetRecord, kind: str, row: Json, outcome: Any) -> Written:
    return Written(
        record.key,
        outcome,
        external_id=records.external_id(kind, str(row.get("Id", ""))),
        version=str(row.get("SyncToken") or ""),
        payload=row,
        total=records.total(row),
    )


def _lost() -> CausewayError:
    return RejectedRecord(provider=PROVIDER, operator_detail="the batch's answer has no record for it")


def _refused(why: str) -> RejectedRecord:
    return RejectedRecord(why, provider=PROVIDER, operator_detail=why)


# --- looking up what an earlier attempt may have made ---
def _looked_up_by(kind: str, values: Mapping[str, Any]) -> list[str]:
    if name := values.get(_NAMED_BY.get(kind, "")):
        return [where(_NAMED_BY[kind], "=", str(name))]
    if number := values.get("DocNumber"):
        return [where("DocNumber", "=", str(number))]
    if (day := values.get("TxnDate")) and values.get("PrivateNote"):
        return [where("TxnDate", "=", str(day))]
    return []


def _is_ours(kind: str, row: Json, values: Mapping[str, Any]) -> bool:
    """A name is a record's own. A form is ours by the marker in its private note, and for the same customer."""
    if kind in _NAMED_BY:
        return True
    if _marker(row) != _marker(values):
        return False
    whose = "VendorRef" if kind == "Bill" else "CustomerRef"
    wanted = values.get(whose) or {}
    return not wanted or (row.get(whose) or {}).get("value") == wanted.get("value")


def _marker(values: Mapping[str, Any]) -> str:
    """The first line: below it people write, and so do we."""
    return str(values.get("PrivateNote") or "").partition("\n")[0].strip()
