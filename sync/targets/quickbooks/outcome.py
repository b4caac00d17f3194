"""What becomes of a record on its way into the books: a draft, nothing, or a reason to hold it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from functools import wraps
from typing import Any, Literal, ParamSpec

import orjson

from connections.errors import CATALOGUE, RejectedRecord
from connections.providers.base import Json, TargetRecord
from sync.canonical import ZERO

VOIDED = "Voided"
# Given when a document is made, left as they are when it is changed.
SETTLED = frozenset({"TxnDate", "DocNumber", "CurrencyRef", "ExchangeRate"})


@dataclass(frozen=True, slots=True)
class Held:
    """It is not written, because a person has to decide or to set something right. code: stable, snake_case."""

    code: str
    detail: str
    remediation: str

    def error(self) -> RejectedRecord:
        """As the engine keeps it: the reason under `reason`, in the catalogue's words where it has some."""
        code = self.code if self.code in CATALOGUE else ""
        return RejectedRecord(
            self.detail,
            code=code,
            remediation=self.remediation,
            operator_detail=f"held: {self.code}",
            extra={"reason": self.code},
        )


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to write. why: unpaid, cancelled, unchanged, before_start, empty, not_sold …"""

    why: str


@dataclass(frozen=True, slots=True)
class Flag:
    """It is written, and a person should look at it. amount: what it is about, of the document's currency."""

    code: str
    detail: str
    amount: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Match:
    """One way to find a record that was made by somebody else: the only active `kind` whose `field` is `value`."""

    kind: str
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class Need:
    """A reference to be resolved before a draft can be written; it stands in the values where the reference will.

    It is what is linked to (entity, source_id); else the first that `steps` find; else `create` is written, or `fallback`
    is an Id that stands in. Two needs for the same record are equal.
    """

    entity: str
    source_id: str
    steps: tuple[Match, ...] = field(default=(), compare=False)
    create: TargetRecord | None = field(default=None, compare=False)
    fallback: str = field(default="", compare=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.entity, self.source_id


@dataclass(frozen=True, slots=True)
class Draft:
    """What to write, once its needs are resolved. digest: equal for drafts that would leave the same in the books."""

    target: TargetRecord
    flags: tuple[Flag, ...] = ()

    @property
    def needs(self) -> tuple[Need, ...]:
        """Each once, in the order of the values."""
        return tuple(dict.fromkeys(_needs(self.target.values)))

    @property
    def digest(self) -> str:
        told = {name: _told(value) for name, value in self.target.values.items() if name not in SETTLED}
        made = [self.target.entity, self.target.operation, told]
        return hashlib.sha256(orjson.dumps(made, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def resolved(self, found: Mapping[tuple[str, str], str]) -> TargetRecord:
        """With the Ids in place of the needs, by their keys. Raises KeyError where one is missing."""
        return replace(self.target, values=_filled(self.target.values, found))


Outcome = Draft | Held | Nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A document as QuickBooks has it. digest: of the draft that was written last. balance: what is open of it."""

    kind: str
    external_id: str
    version: str = ""
    digest: str = ""
    currency: str = ""
    dated_on: date | None = None
    total: Decimal = ZERO
    balance: Decimal = ZERO
    customer_id: str = ""
    is_voided: bool = False
    is_deposited: bool = False
    is_linked: bool = False

    @property
    def number(self) -> str:
        """The Id within its kind."""
        return self.external_id.rpartition(":")[2]

    @classmethod
    def of(cls, kind: str, external_id: str, payload: Mapping[str, Any], *, digest: str = "") -> "Existing":
        """As its payload tells it."""
        links = [str(one.get("TxnType")) for one in payload.get("LinkedTxn") or [] if isinstance(one, Mapping)]
        total = Decimal(payload.get("TotalAmt") or 0)
        left = "RemainingCredit" if kind == "CreditMemo" else "Balance"
        return cls(
            kind=kind,
            external_id=external_id,
            version=str(payload.get("SyncToken") or ""),
            digest=digest,
            currency=_value(payload, "CurrencyRef"),
            dated_on=_day(payload.get("TxnDate")),
            total=total,
            balance=Decimal(payload.get(left) or 0),
            customer_id=_value(payload, "CustomerRef"),
            is_voided=str(payload.get("PrivateNote") or "").startswith(VOIDED) and not total,
            is_deposited="Deposit" in links,
            is_linked=bool(links),
        )


# --- holding ---
class Hold(Exception):
    """Raised deep within a builder; its face turns it into a Held."""

    def __init__(self, code: str, detail: str, remediation: str) -> None:
        self.held = Held(code, detail, remediation)
        super().__init__(code)


Given = ParamSpec("Given")


def held(builder: Callable[Given, Outcome]) -> Callable[Given, Outcome]:
    """The builder, with whatever it has to hold as its result."""

    @wraps(builder)
    def built(*given: Given.args, **named: Given.kwargs) -> Outcome:
        try:
            return builder(*given, **named)
        except Hold as hold:
            return hold.held

    return built


def drafted(
    kind: str,
    key: str,
    values: Json,
    *,
    existing: Existing | None = None,
    flags: tuple[Flag, ...] = (),
    operation: Literal["upsert", "void"] = "upsert",
) -> Draft | Nothing:
    """A new record, or a change of the one that there is: nothing where it was written just so before."""
    kept = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    draft = Draft(TargetRecord(kind, key, kept, operation=operation), flags)
    if existing is None:
        return draft
    if existing.digest and existing.digest == draft.digest:
        return Nothing("unchanged")
    changed = {name: value for name, value in kept.items() if name not in SETTLED}
    return Draft(
        TargetRecord(
            kind, key, changed, external_id=existing.external_id, version=existing.version, operation=operation
        ),
        flags,
    )


# --- values with needs in them ---
def reference(found: "str | Need") -> Any:
    """As it stands in the values: a reference, or what will become one."""
    return found if isinstance(found, Need) else {"value": found}


def _needs(value: Any) -> Iterator[Need]:
    if isinstance(value, Need):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _needs(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _needs(inner)


def _filled(value: Any, found: Mapping[tuple[str, str], str]) -> Any:
    if isinstance(value, Need):
        return {"value": found[value.key]}
    if isinstance(value, Mapping):
        return {name: _filled(inner, found) for name, inner in value.items()}
    return [_filled(inner, found) for inner in value] if isinstance(value, list | tuple) else value


def _told(value: Any) -> Any:
    if isinstance(value, Need):
        return list(value.key)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f") if value else "0"
    if isinstance(value, Mapping):
        return {name: _told(inner) for name, inner in value.items()}
    return [_told(inner) for inner in value] if isinstance(value, list | tuple) else value


def _value(payload: Mapping[str, Any], name: str) -> str:
    found = payload.get(name)
    return str(found.get("value") or "") if isinstance(found, Mapping) else ""


def _day(told: Any) -> date | None:
    try:
        return date.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        return None
