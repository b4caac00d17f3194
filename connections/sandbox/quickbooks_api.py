"""The Accounting API below /v3/company/{realm}: from a request that may be here to the answer's body."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import exact, quickbooks_query
from .quickbooks_books import Books
from .quickbooks_errors import QuickBooksFault, fault
from .quickbooks_fields import BY_PATH, TABLES, Object
from .quickbooks_store import Company, Work, instant, stamp
from .wire import Request

if TYPE_CHECKING:
    from .quickbooks import QuickBooksSimulator

MINOR_VERSION = "75"
MAX_BATCH, MAX_REQUEST_ID, MAX_BATCH_REQUEST_ID, MAX_BATCH_ID = 30, 50, 36, 10
CDC_DAYS, CDC_OBJECTS = 30, 1000
NOT_IN_CDC = frozenset(("JournalCode", "TaxAgency", "TimeActivity", "TaxCode", "TaxRate"))


@dataclass(slots=True)
class Call:
    """One API call, allowed already. `entry` is its line in the request log."""

    simulator: QuickBooksSimulator
    request: Request
    company: Company
    names: list[str]  # the path after the realm
    entry: dict[str, Any]
    writes: list[Object] = field(default_factory=list)

    def answer(self) -> bytes:
        """The body of a 200. Raises QuickBooksFault."""
        resource = self.names[0] if self.names else ""
        special = {"query": self._query, "batch": self._batch, "cdc": self._changes}.get(resource)
        if special and len(self.names) == 1:
            return special()
        if resource in ("companyinfo", "preferences"):
            return self._single(resource)
        entity = BY_PATH.get(resource)
        if entity is None:
            raise fault("500", f"Operation {resource} is not supported.")
        if self.request.method == "GET" and len(self.names) == 2:
            return self._read(entity)
        if self.request.method == "POST" and len(self.names) == 1:
            return self._write(entity)
        raise fault("500", "Operation is not supported.")

    def _now(self) -> str:
        return stamp(self.company.now(), millis=True)

    def _enveloped(self, name: str, body: bytes) -> bytes:
        return b'{"%b":%b,"time":"%b"}' % (name.encode(), body, self._now().encode())

    # --- reading ---

    def _single(self, resource: str) -> bytes:
        if self.request.method != "GET":
            raise fault("500", "Operation create or update is not supported.")
        if resource == "companyinfo":
            if self.names[1:] not in ([self.company.realm], ["1"]):
                raise fault("610", "", "Id")
            return self._enveloped("CompanyInfo", exact.dumps(self.company.info))
        return self._enveloped("Preferences", exact.dumps(self.company.preferences))

    def _read(self, entity: str) -> bytes:
        with self.company.lock:
            row = self.company.tables[entity].rows.get(self.names[1])
        if row is None:
            raise fault("610", "Something you're trying to use has been deleted or never was.", "Id")
        return self._enveloped(entity, row.body)

    def _query(self) -> bytes:
        if self.request.method == "POST":
            if self.request.headers["content-type"].partition(";")[0] not in ("application/text", "text/plain"):
                raise fault("500", "The statement is sent as application/text.")
            text = _decoded(self.request.body)
        else:
            text = self.request.query.get("query", "")
        self.entry["query"] = text
        with self.company.lock:
            return self._enveloped("QueryResponse", quickbooks_query.answer(self.company, text))

    def _changes(self) -> bytes:
        """Change data capture: what changed since, deletions as stubs, at most 1000 objects."""
        names = [name for name in self.request.query.get("entities", "").split(",") if name]
        since = instant(self.request.query.get("changedSince", ""))
        if not names or since is None:
            raise fault("2020", "Required parameters entities and changedSince", "changedSince")
        if since < self.company.now() - CDC_DAYS * 86400:
            raise fault("2170", f"changedSince is more than {CDC_DAYS} days ago", "changedSince")
        for name in names:
            if name not in TABLES or name in NOT_IN_CDC:
                raise fault("2170", f"{name} has no change data capture", "entities")
        with self.company.lock:
            left, parts = CDC_OBJECTS, []
            for name in names:
                found = list(self._changed(name, int(since), left))
                left -= len(found)
                shown = b'{"%b":[%b],"startPosition":1,"maxResults":%d}' % (name.encode(), b",".join(found), len(found))
                parts.append(shown if found else b"{}")
            return self._enveloped("CDCResponse", b'[{"QueryResponse":[%b]}]' % b",".join(parts))

    def _changed(self, entity: str, since: int, left: int) -> Iterator[bytes]:
        table = self.company.tables[entity]
        for row in table.between(since, None):
            if left <= 0:
                return
            left -= 1
            yield row.body
        for when, object_id in table.gone:
            if when >= since and left > 0:
                left -= 1
                yield exact.dumps(
                    {
                        "domain": "QBO",
                        "status": "Deleted",
                        "Id": object_id,
                        "MetaData": {"LastUpdatedTime": stamp(when)},
                    }
                )

    # --- writing ---

    def _write(self, entity: str) -> bytes:
        query = self.request.query
        body = self._json()
        operation = query.get("operation", "")
        is_void = operation == "void" or (operation == "update" and query.get("include") == "void")
        verb = "delete" if operation == "delete" else "void" if is_void else "save"
        if operation not in ("", "create", "update", "delete", "void"):
            raise fault("500", f"Operation {operation} is not supported.")
        may_repeat = "allowduplicatedocnum" in query.get("include", "")
        with self.company.lock:
            request_id = self._request_id(MAX_REQUEST_ID)
            if (known := self._replayed(request_id)) is not None:
                return known
            work, shown = self._performed(entity, verb, body, may_repeat=may_repeat)
            return self._committed([work], request_id, self._enveloped(entity, exact.dumps(shown)))

    def _performed(
        self, entity: str, verb: str, body: Object, *, may_repeat: bool = False, unseen: Any = ()
    ) -> tuple[Work, Object]:
        """Carry out one write, not yet committed."""
        work = Work(self.company)
        books = Books(self.company, work, may_repeat_number=may_repeat, unseen=unseen)
        shown = getattr(books, verb)(entity, body)
        self._note(entity, verb, body, shown)
        return work, shown

    def _note(self, entity: str, verb: str, body: Object, shown: Object) -> None:
        verb = ("update" if body.get("Id") else "create") if verb == "save" else verb
        self.writes.append({"entity": entity, "operation": verb, "id": shown["Id"]})
        self.entry["writes"] = self.writes

    def _committed(self, works: list[Work], request_id: str, answer: bytes) -> bytes:
        """Journal what was done together with the answer, so that a repeat after a restart finds it too."""
        events = [work.commit() for work in works]
        merged: Object = {"e": "write", "realm": self.company.realm, "puts": [], "drops": []}
        for event in events:
            merged["puts"] += event["puts"]
            merged["drops"] += event["drops"]
        if request_id:
            merged |= {"request_id": request_id, "answer": answer.decode()}
            self.company.remember(request_id, answer)
        self.company.record(merged)
        self.simulator.announce(self.company, [event for work in works for event in work.events])
        return answer

    def _request_id(self, limit: int) -> str:
        given = self.request.query.get("requestid", "")
        if len(given) > limit:
            raise fault("2050", f"Min:0 Max:{limit} supported. Supplied length:{len(given)}", "requestid")
        self.entry["request_id"] = given or None
        return given

    def _replayed(self, request_id: str) -> bytes | None:
        """The first answer to this request id, whatever came with it this time."""
        known = self.company.replays.get(request_id) if request_id else None
        if known is not None:
            self.entry["replayed"] = True
        return known

    def _json(self) -> Object:
        if "application/json" not in self.request.headers["content-type"]:
            raise fault("500", "The body must be application/json.")
        try:
            body = exact.parse(_decoded(self.request.body))
        except (ValueError, RecursionError) as error:
            raise fault("2010", f"Property Name:{type(error).__name__}: the body is no JSON") from error
        if not isinstance(body, dict):
            raise fault("2010", "Property Name:the body must be an object")
        return body

    # --- batch ---

    def _batch(self) -> bytes:
        """Independent items in one request: 200, and each item tells for itself."""
        if self.request.method != "POST":
            raise fault("500", "Operation is not supported.")
        items = self._json().get("BatchItemRequest")
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            raise fault("2020", "Required parameter BatchItemRequest is missing in the request", "BatchItemRequest")
        if len(items) > MAX_BATCH:
            raise fault("2050", f"Max:{MAX_BATCH} items supported. Supplied:{len(items)}", "BatchItemRequest")
        with self.company.lock:
            request_id = self._request_id(MAX_BATCH_REQUEST_ID)
            self._check_ids(items, request_id)
            if (known := self._replayed(request_id)) is not None:
                return known
            self.entry["items"] = len(items)
            return self._run(items, request_id)

    @staticmethod
    def _check_ids(items: list[Object], request_id: str) -> None:
        ids = [item.get("bId") for item in items]
        if not all(isinstance(one, str) and one for one in ids):
            raise fault("2020", "Required parameter bId is missing in the request", "bId")
        if len(set(ids)) < len(ids):
            raise fault("2010", "Property Name:bId is not unique", "bId")
        if request_id and any(len(str(one)) > MAX_BATCH_ID for one in ids):
            raise fault("2050", f"Max:{MAX_BATCH_ID} supported with requestid", "bId")

    def _run(self, items: list[Object], request_id: str) -> bytes:
        """Queries are answered first and no write sees what another made: items know nothing of each other."""
        answers: dict[str, bytes] = {}
        events: Object = {"e": "write", "realm": self.company.realm, "puts": [], "drops": []}
        told: list[tuple[str, str, str]] = []
        made: set[tuple[str, str]] = set()
        for item in sorted(items, key=lambda one: "Query" not in one):
            try:
                name, body, work = self._item(item, made)
            except QuickBooksFault as error:
                name, body, work = "Fault", exact.dumps(error.shown()), None
            answers[item["bId"]] = b'{"%b":%b,"bId":%b}' % (name.encode(), body, exact.dumps(item["bId"]))
            if work:
                event = work.commit()
                made |= {(entity, key) for entity, key, operation in work.events if operation == "Create"}
                events["puts"] += event["puts"]
                events["drops"] += event["drops"]
                told += work.events
        ordered = b",".join(answers[item["bId"]] for item in items)
        answer = self._enveloped("BatchItemResponse", b"[%b]" % ordered)
        if request_id:
            events |= {"request_id": request_id, "answer": answer.decode()}
            self.company.remember(request_id, answer)
        if events["puts"] or events["drops"] or request_id:
            self.company.record(events)
        self.simulator.announce(self.company, told)
        return answer

    def _item(self, item: Object, made: set[tuple[str, str]]) -> tuple[str, bytes, Work | None]:
        if "Query" in item:
            return "QueryResponse", quickbooks_query.answer(self.company, str(item["Query"])), None
        entity = next((name for name in item if name in TABLES), None)
        if entity is None or not isinstance(item[entity], dict):
            raise fault("2010", "Property Name:the item names no entity")
        operation, body = item.get("operation"), item[entity]
        if operation == "create" and body.get("Id"):
            raise fault("2010", "Property Name:Id is not given on create", "Id")
        if operation == "update" and not body.get("Id"):
            raise fault("2020", "Required parameter Id is missing in the request", "Id")
        options = str(item.get("optionsData", ""))
        is_void = operation == "void" or (operation == "update" and options == "void")
        verb = "void" if is_void else "delete" if operation == "delete" else "save"
        if operation not in ("create", "update", "delete", "void"):
            raise fault("500", f"Operation {operation} is not supported.")
        work, shown = self._performed(entity, verb, body, may_repeat="allowduplicatedocnum" in options, unseen=made)
        return entity, exact.dumps(shown), work


def _decoded(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise fault("500", "The bytes are no UTF-8.") from None
