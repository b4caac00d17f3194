"""What a company's books hold: objects as JSON text, with the orders and look-ups that queries need."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from . import exact
from .quickbooks_fields import LISTS, TRANSACTIONS, Object

PACIFIC = ZoneInfo("America/Los_Angeles")
REMEMBERED_REQUESTS = 50_000
KEYS: dict[str, tuple[str, ...]] = {
    "Customer": ("DisplayName", "PrimaryEmailAddr"),
    "Vendor": ("DisplayName", "PrimaryEmailAddr"),
    "Item": ("Name", "Sku"),
} | dict.fromkeys(TRANSACTIONS, ("DocNumber", "CustomerRef", "VendorRef", "TxnDate"))
NAME_FIELD = {"Customer": "DisplayName", "Vendor": "DisplayName"}
PEOPLE = ("Customer", "Vendor")  # DisplayName is unique over both


def stamp(epoch: float, *, millis: bool = False) -> str:
    """An instant as Intuit writes it: with the Pacific offset, and milliseconds only in an envelope's `time`."""
    moment = dt.datetime.fromtimestamp(epoch, PACIFIC)
    return moment.isoformat(timespec="milliseconds" if millis else "seconds")


def instant(text: str) -> float | None:
    """Unix seconds of a date or time as it stands in a query; None if it is neither. Without an offset: Pacific."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=PACIFIC)).timestamp()


def value_of(shown: Object, path: str) -> Any:
    """A field as queries see it: a reference is its value, an address its text."""
    value: Any = shown
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict):
        return next((value[part] for part in ("value", "Address", "FreeFormNumber") if part in value), None)
    return value


class Row:
    """One stored object: its text, and what is asked about it often."""

    __slots__ = ("body", "id", "is_active", "keys", "updated")

    def __init__(self, entity: str, shown: Object):
        self.id: str = shown["Id"]
        self.is_active = shown.get("Active") is not False
        self.updated = int(instant(shown["MetaData"]["LastUpdatedTime"]) or 0)
        self.keys = tuple(value_of(shown, name) for name in KEYS.get(entity, ()))
        # A copy of its own size: the encoder's buffer is kibibytes, and what it gives back lies in holes nobody fills.
        self.body = bytes(memoryview(exact.dumps(shown)))

    def shown(self) -> Object:
        return exact.parse(self.body)


class Table:
    """One entity's objects. `rows` is in the order of their ids; `by_time` in that of (last updated, id number)."""

    def __init__(self, entity: str):
        self.entity = entity
        self.rows: dict[str, Row] = {}
        self.by_time: list[tuple[int, int, str]] = []
        self.by_key: dict[str, defaultdict[Any, set[str]]] = {name: defaultdict(set) for name in KEYS.get(entity, ())}
        self.gone: list[tuple[int, str]] = []  # deletions in their order: (when, id)

    def put(self, shown: Object) -> None:
        row = Row(self.entity, shown)
        if before := self.rows.get(row.id):
            self._unlink(before)
        self.rows[row.id] = row
        place = _place(row)
        if self.by_time and place < self.by_time[-1]:
            bisect.insort(self.by_time, place)
        else:
            self.by_time.append(place)
        for name, value in zip(self.by_key, row.keys, strict=True):
            if value is not None:
                self.by_key[name][value].add(row.id)

    def drop(self, object_id: str, now: int) -> None:
        self._unlink(self.rows.pop(object_id))
        bisect.insort(self.gone, (now, object_id))

    def _unlink(self, row: Row) -> None:
        del self.by_time[bisect.bisect_left(self.by_time, _place(row))]
        for name, value in zip(self.by_key, row.keys, strict=True):
            self.by_key[name][value].discard(row.id)

    def between(self, low: int | None, high: int | None) -> Iterator[Row]:
        """Rows last updated within [low, high], in that order."""
        start = 0 if low is None else bisect.bisect_left(self.by_time, (low, -1, ""))
        end = len(self.by_time) if high is None else bisect.bisect_left(self.by_time, (high + 1, -1, ""))
        return (self.rows[object_id] for _updated, _number, object_id in itertools.islice(self.by_time, start, end))


def _place(row: Row) -> tuple[int, int, str]:
    return row.updated, int(row.id) if row.id.isdigit() else 0, row.id


class Company:
    """One realm. `lock` guards everything; a write is a `Work` that commits as a whole or not at all."""

    def __init__(self, realm: str, born: Object, record: Callable[[Object], None]):
        self.realm = realm
        self.born = born  # what the seed data follows from
        self.record = record
        self.lock = threading.RLock()
        self.tables: dict[str, Table] = defaultdict_of_tables()
        self.preferences: Object = {}
        self.info: Object = {}
        self.settings: Object = {"deleted_suffix": True, "clash_names_id": False, "suspended": False, "life": False}
        self.replays: OrderedDict[str, bytes] = OrderedDict()
        self.names: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        self.next_ids: defaultdict[str, int] = defaultdict(lambda: 1)
        self.next_number = 1001
        self.clock_offset_s = 0.0
        self.ticks = 0

    @property
    def environment(self) -> str:
        return self.born["environment"]

    @property
    def country(self) -> str:
        return self.info["Country"]

    @property
    def home(self) -> str:
        return self.preferences["CurrencyPrefs"]["HomeCurrency"]["value"]

    def now(self) -> float:
        return time.time() + self.clock_offset_s

    def today(self) -> str:
        return dt.datetime.fromtimestamp(self.now(), PACIFIC).date().isoformat()

    def preference(self, path: str) -> Any:
        group, name = path.split(".")
        return self.preferences[group].get(name)

    def get(self, entity: str, object_id: str) -> Object | None:
        row = self.tables[entity].rows.get(object_id)
        return row.shown() if row else None

    def new_id(self, entity: str) -> str:
        """Transactions share one sequence, each list has its own."""
        sequence = "transaction" if entity in TRANSACTIONS else entity
        given = self.next_ids[sequence]
        self.next_ids[sequence] = given + 1
        return str(given)

    def put(self, entity: str, shown: Object) -> None:
        table = self.tables[entity]
        before = table.rows.get(shown["Id"])
        if entity in PEOPLE or entity in LISTS:
            self._rename(entity, before.shown() if before else None, shown)
        table.put(shown)
        sequence = "transaction" if entity in TRANSACTIONS else entity
        if shown["Id"].isdigit():
            self.next_ids[sequence] = max(self.next_ids[sequence], int(shown["Id"]) + 1)
        number = shown.get("DocNumber")
        if number and number.isdigit() and len(number) < 12:
            self.next_number = max(self.next_number, int(number) + 1)

    def _rename(self, entity: str, before: Object | None, shown: Object) -> None:
        if before:
            self.names[name_key(entity, before)].discard((entity, before["Id"]))
        self.names[name_key(entity, shown)].add((entity, shown["Id"]))

    def namesakes(self, entity: str, shown: Object) -> set[tuple[str, str]]:
        """Who else has this name, inactive ones too."""
        return self.names[name_key(entity, shown)] - {(entity, shown.get("Id", ""))}

    def remember(self, request_id: str, body: bytes) -> None:
        self.replays[request_id] = body
        while len(self.replays) > REMEMBERED_REQUESTS:
            self.replays.popitem(last=False)

    def apply(self, event: Object) -> None:
        """Take over one journalled write."""
        for entity, shown in event["puts"]:
            self.put(entity, shown)
        for entity, object_id, when in event["drops"]:
            self.tables[entity].drop(object_id, when)
        if event.get("request_id"):
            self.remember(event["request_id"], event["answer"].encode())


def defaultdict_of_tables() -> dict[str, Table]:
    class Tables(dict[str, Table]):
        def __missing__(self, entity: str) -> Table:
            table = self[entity] = Table(entity)
            return table

    return Tables()


def name_key(entity: str, shown: Object) -> str:
    """Names are compared without regard to case; customers and vendors share theirs, the other lists do not."""
    group = "people" if entity in PEOPLE else entity
    name = shown.get(NAME_FIELD.get(entity, "Name")) or ""
    parent = value_of(shown, "ParentRef") if entity not in PEOPLE else ""
    return f"{group}\0{parent or ''}\0{name.casefold()}"


class Work:
    """One write in the making: what it reads it may change, and nothing shows before `commit`."""

    def __init__(self, company: Company):
        self.company = company
        self.objects: dict[tuple[str, str], Object | None] = {}
        self.events: list[tuple[str, str, str]] = []  # (entity, id, operation) for webhooks
        self.now = company.now()

    def get(self, entity: str, object_id: str) -> Object | None:
        key = entity, object_id
        if key in self.objects:
            return self.objects[key]
        return self.company.get(entity, object_id)

    def add(self, entity: str, shown: Object) -> Object:
        """Make a new object; it gets its id, token and times here."""
        when = stamp(self.now)
        system = {"Id": self.company.new_id(entity), "SyncToken": "0", "domain": "QBO", "sparse": False}
        shown = shown | system | {"MetaData": {"CreateTime": when, "LastUpdatedTime": when}}
        self.objects[entity, shown["Id"]] = shown
        self.events.append((entity, shown["Id"], "Create"))
        return shown

    def save(self, entity: str, shown: Object, operation: str = "Update") -> Object:
        """Keep a change: token and time move on."""
        token = str(int(shown["SyncToken"]) + 1)
        times = shown["MetaData"] | {"LastUpdatedTime": stamp(self.now)}
        shown = shown | {"SyncToken": token, "sparse": False, "MetaData": times}
        self.objects[entity, shown["Id"]] = shown
        self.events.append((entity, shown["Id"], operation))
        return shown

    def remove(self, entity: str, object_id: str) -> None:
        self.objects[entity, object_id] = None
        self.events.append((entity, object_id, "Delete"))

    def commit(self) -> Object:
        """Put it into the books. Returns the event to journal. Hold the company's lock."""
        self._balance()
        puts = [(entity, shown) for (entity, _id), shown in self.objects.items() if shown is not None]
        drops = [(entity, key, int(self.now)) for (entity, key), shown in self.objects.items() if shown is None]
        event = {"e": "write", "realm": self.company.realm, "puts": puts, "drops": drops}
        self.company.apply(event)
        return event

    def _balance(self) -> None:
        """What customers owe and vendors are owed follows; their own token and time do not move with it."""
        moved: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for (entity, object_id), after in list(self.objects.items()):
            for shown, sign in ((self.company.get(entity, object_id), -1), (after, 1)):
                if shown and (owner := owner_of(entity, shown)):
                    moved[owner] += sign * owed(entity, shown)
        for owner, amount in moved.items():
            if amount and (person := self.get(*owner)):
                balance = Decimal(person.get("Balance") or 0) + amount
                more = {"BalanceWithJobs": balance} if owner[0] == "Customer" else {}
                self.objects[owner] = person | {"Balance": balance} | more


def owner_of(entity: str, shown: Object) -> tuple[str, str] | None:
    field = {"Invoice": "CustomerRef", "CreditMemo": "CustomerRef", "Payment": "CustomerRef", "Bill": "VendorRef"}
    name = field.get(entity)
    return (name.removesuffix("Ref"), shown[name]["value"]) if name else None


def owed(entity: str, shown: Object) -> Decimal:
    """What the object adds to its owner's balance."""
    if entity == "Payment":
        return -Decimal(shown.get("UnappliedAmt") or 0)
    if entity == "CreditMemo":
        return -Decimal(shown.get("RemainingCredit") or 0)
    return Decimal(shown.get("Balance") or 0)


def texts(rows: Iterable[Row]) -> bytes:
    return b",".join(row.body for row in rows)
