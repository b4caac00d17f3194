"""QuickBooks Online's Accounting API for one company: thin, exact, bounded, and with one way to fail.

Every request names its minor version, every write a request id under which a repeat returns the first answer. Numbers
are Decimal both ways. A refused access token is renewed once and the request repeated once; redirects are not followed;
nothing else is repeated here: retries are rows (docs/explanation).
Source: Intuit developer docs, "REST API features" and "Minor versions"; Intuit blog, "Request ID update".
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils.dateparse import parse_datetime

from connections import bodies
from connections.errors import Misconfigured, NeedsReauth, RejectedRecord
from connections.http import Answer, Http, Params, malformed
from connections.providers.base import Json
from connections.providers.quickbooks import changes, pace, query
from connections.providers.quickbooks.batch import BatchItem, BatchResult, FrozenBatch, frozen, results, rows_of
from connections.providers.quickbooks.changes import Changes
from connections.providers.quickbooks.entities import ENTITIES, Entity
from connections.providers.quickbooks.errors import PROVIDER, TokenRefused, classify
from connections.providers.quickbooks.validation import UNKNOWN, Company, merged, prepared

MAX_REQUEST_ID = 50
TIMEOUT_S, LONG_TIMEOUT_S = 60.0, 120.0  # 120 s is when QuickBooks itself gives up
_REALM = re.compile(r"\d{1,32}")


@dataclass(frozen=True, slots=True)
class Rows:
    """One page of a query. told_at: the server's clock when it answered."""

    records: Sequence[Json]
    told_at: datetime | None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call that succeeded counts for. metered: reads, against the installation's monthly allowance; free: writes."""

    metered: int = 0
    free: int = 0


def _uncounted(_usage: Usage) -> None:
    return None


@dataclass(frozen=True, slots=True)
class QuickBooksClient:
    """One company's books.

    fresh_token: an access token; given the one that was refused, a newer one. counted: told what each call counts for.
    company: what of its preferences decides over fields, for the validation before a write.
    """

    realm: str
    environment: str
    fresh_token: Callable[[str], str] = field(repr=False)
    connection_id: str = ""
    counted: Callable[[Usage], None] = _uncounted
    company: Company = UNKNOWN

    MINOR_VERSION = 75  # pinned: payload shapes change in a commit of ours, not on Intuit's calendar

    # --- records ---
    def read(self, entity: str, external_id: str) -> Json:
        """The record as it is now. Raises RejectedRecord (610) where there is none."""
        answer = self._get(f"{entity.lower()}/{_id(external_id)}")
        return self._record(answer, entity)

    def create(
        self, entity: str, values: Mapping[str, Any], *, request_id: str, allow_same_number: bool = False
    ) -> Json:
        """Make a record and return it as stored. allow_same_number: a DocNumber may be one that is taken.

        Raises RejectedRecord by field (also before anything is sent), DuplicateRecord, and whatever any call may raise.
        """
        body = prepared(ENTITIES[entity], values, "create", self.company)
        params = {"include": "allowduplicatedocnum"} if allow_same_number else {}
        return self._write(entity, body, request_id=request_id, **params)

    def update(
        self,
        entity: str,
        external_id: str,
        version: str,
        values: Mapping[str, Any],
        *,
        request_id: str,
        current: Mapping[str, Any] | None = None,
    ) -> Json:
        """Change these fields and return the record as stored. Lines that are given replace all lines.

        version: the SyncToken that this was decided on. current: the record as it was read with it, for entities that
        know no sparse update; read here where it is missing. Raises StaleObject where there is a newer version.
        """
        body = self.update_body(entity, external_id, version, values, current=current)
        return self._write(entity, body, request_id=request_id)

    def update_body(
        self,
        entity: str,
        external_id: str,
        version: str,
        values: Mapping[str, Any],
        *,
        current: Mapping[str, Any] | None = None,
    ) -> Json:
        """What `update` sends."""
        kind = ENTITIES[entity]
        made = prepared(kind, values, "update", self.company)
        where = {"Id": _id(external_id), "SyncToken": version}
        if kind.is_sparse:
            return where | {"sparse": True} | made
        return merged(kind, {**(current or self.read(entity, external_id)), **where}, made)

    def delete(self, entity: str, external_id: str, version: str, *, request_id: str) -> Json:
        """For good: transactions only. Prefer to void what is in the books. Returns {Id, status, domain}."""
        if not ENTITIES[entity].can_delete:
            raise _impossible(f"A {entity} cannot be deleted, only made inactive.")
        body = {"Id": _id(external_id), "SyncToken": version}
        return self._write(entity, body, request_id=request_id, operation="delete")

    def void(self, entity: str, external_id: str, version: str, *, request_id: str) -> Json:
        """Keep the record with zero amounts; returns it."""
        body = void_body(entity, external_id, version)
        if ENTITIES[entity].void == "operation":
            return self._write(entity, body, request_id=request_id, operation="void")
        return self._write(entity, body, request_id=request_id, operation="update", include="void")

    # --- many ---
    def query(self, statement: str) -> Rows:
        """One page. The statement goes in the body: it may hold names, and addresses are logged."""
        params, kind = self._params(), {"Content-Type": "application/text"}
        answer = self._call("POST", "query", params=params, content=statement.encode(), headers=kind, usage=Usage(1))
        found = answer.json()
        response = found.get("QueryResponse") if isinstance(found, dict) else None
        if not isinstance(response, dict):
            raise self._malformed(answer, "a query")
        total = response.get("totalCount")
        return Rows(list(rows_of(response)), _told_at(found), int(total) if total is not None else None)

    def count(self, entity: str, *conditions: str) -> int:
        found = self.query(query.count(entity, *conditions))
        if found.total is None:
            raise malformed(PROVIDER, "a count without a number")
        return found.total

    def batch(self, items: Sequence[BatchItem], *, request_id: str) -> list[BatchResult]:
        """Up to 25 independent operations; one result each, in their order. Writes are not validated here."""
        return self.batch_send(frozen(items, request_id=request_id))

    def batch_send(self, made: FrozenBatch) -> list[BatchResult]:
        """The same for a batch that was frozen before, perhaps by somebody whose answer was lost."""
        params = self._params(requestid=made.request_id)
        kind = {"Content-Type": "application/json"}
        answer = self._call(
            "POST",
            "batch",
            params=params,
            content=made.body,
            headers=kind,
            timeout_s=LONG_TIMEOUT_S,
            usage=Usage(made.queries, made.writes),
            is_batch=True,
        )
        return results(answer.json(), made.queries + made.writes, request_id=answer.request_id)

    def changes(self, entities: Sequence[str], since: datetime) -> Changes:
        """What was changed and deleted since then, at most 30 days ago; QuickBooks tells at most 1,000 at once.

        Source: Intuit developer docs, "Change data capture".
        """
        params = self._params(entities=",".join(entities), changedSince=since.isoformat(timespec="seconds"))
        answer = self._call("GET", "cdc", params=params, timeout_s=LONG_TIMEOUT_S, usage=Usage(1))
        return changes.read(answer.json(), entities, request_id=answer.request_id)

    # --- the company ---
    def company_info(self) -> tuple[Json, Answer]:
        """Who it is, with the whole answer: its time and its headers tell about the way there."""
        answer = self._get(f"companyinfo/{self.realm}")
        return self._record(answer, "CompanyInfo"), answer

    def preferences(self) -> Json:
        return self._record(self._get("preferences"), "Preferences")

    def write_probe(self, *, request_id: str) -> None:
        """Ask for a customer without a name: QuickBooks refuses it (RejectedRecord) to whoever may write, and makes nothing."""
        self._write("Customer", {"Notes": "May this connection write? Refused: it has no name."}, request_id=request_id)

    # --- transport ---
    def _get(self, path: str) -> Answer:
        return self._call("GET", path, params=self._params(), usage=Usage(1))

    def _write(self, entity: str, body: Json, *, request_id: str, **params: str) -> Json:
        if not 1 <= len(request_id) <= MAX_REQUEST_ID:
            raise ValueError(f"A request id has at most {MAX_REQUEST_ID} characters.")
        named = self._params(requestid=request_id, **params)
        kind = {"Content-Type": "application/json"}
        answer = self._call(
            "POST", entity.lower(), params=named, content=bodies.to_json(body), headers=kind, usage=Usage(free=1)
        )
        return self._record(answer, entity)

    def _params(self, **more: str) -> dict[str, str]:
        return {"minorversion": str(self.MINOR_VERSION), **more}

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Params,
        usage: Usage,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_s: float = TIMEOUT_S,
        is_batch: bool = False,
    ) -> Answer:
        """The answer, or one of our errors. A refused token: once more with a newer one, then NeedsReauth."""
        http = self._http()
        token = self.fresh_token("")
        for is_last in (False, True):
            sent = {**(headers or {}), "Authorization": f"Bearer {token}"}
            try:
                with pace.turn(self.realm, is_batch=is_batch):
                    answer = http.request(
                        method, path, params=params, headers=sent, content=content, timeout_s=timeout_s
                    )
            except TokenRefused as refused:
                if is_last or (newer := self.fresh_token(token)) == token:
                    raise _reauth(refused) from refused
                token = newer
            else:
                self.counted(usage)
                return answer
        raise AssertionError("unreachable")

    def _http(self) -> Http:
        if not _REALM.fullmatch(self.realm):
            raise Misconfigured(
                code="connection_misconfigured",
                provider=PROVIDER,
                remediation="Connect it to a company in QuickBooks.",
                operator_detail="the connection has no realm",
            )
        base = base_url(self.environment)
        return Http(
            provider=PROVIDER,
            base_url=f"{base.rstrip('/')}/v3/company/{self.realm}",
            timeout_s=TIMEOUT_S,
            guard=False,
            connection_id=self.connection_id,
            request_id_header="intuit_tid",
            classify=classify,
        )

    def _record(self, answer: Answer, entity: str) -> Json:
        found = answer.json()
        record = found.get(entity) if isinstance(found, dict) else None
        if not isinstance(record, dict):
            raise self._malformed(answer, entity)
        return record

    def _malformed(self, answer: Answer, what: str) -> Exception:
        return malformed(PROVIDER, f"{answer.url} answered without {what}", request_id=answer.request_id)


def base_url(environment: str) -> str:
    """Where the companies of this environment are: sandbox tokens open nothing in production, and the other way round."""
    return settings.QUICKBOOKS_PRODUCTION_URL if environment == "production" else settings.QUICKBOOKS_SANDBOX_URL


def request_id(*parts: object, length: int = MAX_REQUEST_ID) -> str:
    """The same for the same parts, for ever: a repeat of the same write gets the first answer."""
    told = "|".join(str(part).replace("\\", "\\\\").replace("|", "\\p") for part in parts)
    return hashlib.sha256(told.encode()).hexdigest()[:length]


def void_body(entity: str, external_id: str, version: str) -> Json:
    """What voiding sends. Raises RejectedRecord for what cannot be voided."""
    kind: Entity = ENTITIES[entity]
    if not kind.void:
        raise _impossible(f"A {entity} cannot be voided through QuickBooks' API.")
    body: Json = {"Id": _id(external_id), "SyncToken": version}
    return body | {"sparse": True} if kind.void == "include" else body


def _impossible(why: str) -> RejectedRecord:
    return RejectedRecord(why, provider=PROVIDER, operator_detail=why)


def _reauth(refused: TokenRefused) -> NeedsReauth:
    return NeedsReauth(
        code="access_refused",
        provider=PROVIDER,
        provider_code=refused.provider_code,
        provider_type=refused.provider_type,
        request_id=refused.request_id,
        operator_detail=refused.operator_detail,
        extra=refused.extra,
    )


def _id(external_id: str) -> str:
    """An id as QuickBooks gives them: it becomes a part of an address."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", external_id):
        raise _impossible("This is not an id of QuickBooks'.")
    return external_id


def _told_at(found: Mapping[str, Any]) -> datetime | None:
    told = found.get("time")
    return parse_datetime(told) if isinstance(told, str) else None
