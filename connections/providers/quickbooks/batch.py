"""A batch: up to 25 independent operations in one call, frozen so that a repeat under the same requestid is the same.

What one member does is not seen by the next: a customer and their invoice are two batches. Each has an answer of its own.
Source: Intuit developer docs, "Batch operation".
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from connections import bodies
from connections.errors import CausewayError
from connections.http import malformed
from connections.providers.base import Json
from connections.providers.quickbooks import faults
from connections.providers.quickbooks.entities import ENTITIES
from connections.providers.quickbooks.errors import PROVIDER, classify_fault

MAX_ITEMS = 25
MAX_REQUEST_ID = 36


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One operation. body: what the operation's own call would send; query: a statement instead of it."""

    operation: Literal["create", "update", "delete", "void", "query"]
    entity: str = ""
    body: Json | None = None
    query: str = ""

    @property
    def is_write(self) -> bool:
        return self.operation != "query"


@dataclass(frozen=True, slots=True)
class FrozenBatch:
    """What is sent, byte for byte. Whoever keeps `body` and `request_id` can send it again and get the first answer."""

    body: bytes
    request_id: str
    queries: int
    writes: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of one member: the record, the rows of a query, or an error."""

    record: Json | None = None
    rows: Sequence[Json] = ()
    error: CausewayError | None = None


def frozen(items: Sequence[BatchItem], *, request_id: str) -> FrozenBatch:
    """Members are named by their position, in order. request_id: at most 36 characters."""
    if not 1 <= len(items) <= MAX_ITEMS:
        raise ValueError(f"A batch has 1 to {MAX_ITEMS} members.")
    if not 1 <= len(request_id) <= MAX_REQUEST_ID:
        raise ValueError(f"A batch's request id has at most {MAX_REQUEST_ID} characters.")
    members = [_member(str(index), item) for index, item in enumerate(items)]
    writes = sum(item.is_write for item in items)
    return FrozenBatch(bodies.to_json({"BatchItemRequest": members}), request_id, len(items) - writes, writes)


def _member(name: str, item: BatchItem) -> Json:
    if item.operation == "query":
        return {"bId": name, "Query": item.query}
    if item.body is None:
        raise ValueError("A write has a body.")
    member: Json = {"bId": name, "operation": item.operation, item.entity: item.body}
    if item.operation == "void" and ENTITIES[item.entity].void == "include":
        member |= {"operation": "update", "optionsData": "void"}
    return member


def results(answer: Any, count: int, *, request_id: str = "") -> list[BatchResult]:
    """One for each member, in its order. A member without an answer fails the whole: nobody knows what became of it."""
    listed = answer.get("BatchItemResponse") if isinstance(answer, dict) else None
    by_name = {str(one.get("bId")): one for one in listed or () if isinstance(one, dict)}
    missing = [index for index in range(count) if str(index) not in by_name]
    if missing:
        raise malformed(PROVIDER, f"a batch's answer leaves out {len(missing)} of {count}", request_id=request_id)
    return [_result(by_name[str(index)], request_id) for index in range(count)]


def _result(told: Mapping[str, Any], request_id: str) -> BatchResult:
    if fault := faults.in_json(told):
        return BatchResult(error=classify_fault(fault, request_id=request_id))
    if isinstance(found := told.get("QueryResponse"), dict):
        return BatchResult(rows=list(rows_of(found)))
    record = next((value for name, value in told.items() if name[:1].isupper() and isinstance(value, dict)), None)
    if record is None:
        raise malformed(PROVIDER, "a batch's answer has a member without a record", request_id=request_id)
    return BatchResult(record=record)


def rows_of(response: Mapping[str, Any]) -> Iterable[Json]:
    """The records of a QueryResponse, whatever they are called; none where it is empty."""
    for name, value in response.items():
        if name[:1].isupper() and isinstance(value, list):
            yield from (row for row in value if isinstance(row, dict))
