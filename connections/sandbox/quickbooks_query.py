"""The query language: tokens, a parsed statement, and its answer over one company's tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from . import exact
from .quickbooks_errors import QuickBooksFault, fault
from .quickbooks_fields import LISTS, LISTS_READ_ONLY, TABLES, Object
from .quickbooks_store import KEYS, Company, Row, Table, instant, texts, value_of

DEFAULT_RESULTS, MAX_RESULTS = 100, 1000
TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?)(?![\w.])|(?P<word>[A-Za-z_][\w.]*)|(?P<sign><=|>=|[=<>(),*]))"
)
TIMES = ("MetaData.CreateTime", "MetaData.LastUpdatedTime")
_PERSON: tuple[str, ...] = (
    "DisplayName",
    "GivenName",
    "MiddleName",
    "FamilyName",
    "CompanyName",
    "PrimaryEmailAddr",
    "Balance",
)
_PERSON += ("PrimaryPhone", "PrintOnCheckName", "Active")
_MONEY = ("DocNumber", "TxnDate", "TotalAmt", "Balance", "DueDate")
FILTERABLE: dict[str, tuple[str, ...]] = {
    "Customer": (*_PERSON, "FullyQualifiedName", "Job", "Taxable"),
    "Vendor": (*_PERSON, "AcctNum", "Vendor1099"),
    "Item": ("Name", "FullyQualifiedName", "Sku", "Type", "Active", "UnitPrice", "QtyOnHand", "ParentRef", "Level"),
    "Invoice": (*_MONEY, "CustomerRef"),
    "SalesReceipt": (*_MONEY[:4], "CustomerRef", "PaymentRefNum"),
    "RefundReceipt": (*_MONEY[:4], "CustomerRef"),
    "CreditMemo": (*_MONEY[:4], "CustomerRef"),
    "Payment": ("TxnDate", "TotalAmt", "CustomerRef", "PaymentRefNum", "UnappliedAmt"),
    "Bill": (*_MONEY, "VendorRef"),
    "Account": ("Name", "FullyQualifiedName", "AccountType", "AccountSubType", "Classification", "Active", "AcctNum"),
}
NUMBERS = frozenset(("Balance", "TotalAmt", "UnitPrice", "QtyOnHand", "UnappliedAmt", "Level"))
SINGLE = ("CompanyInfo", "Preferences")


@dataclass(frozen=True, slots=True)
class Condition:
    """`name sign value`; for IN the value is a tuple."""

    name: str
    sign: str
    value: Any


@dataclass(slots=True)
class Statement:
    """A parsed query."""

    entity: str
    is_count: bool = False
    conditions: list[Condition] = field(default_factory=list)
    order: str | None = None
    is_descending: bool = False
    start: int = 1
    limit: int = DEFAULT_RESULTS


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


class Parser:
    """One statement. Raises fault 4000 where the grammar breaks, 4001 where a name or value cannot be."""

    def __init__(self, text: str):
        self.tokens = list(self._tokens(text))
        self.position = 0

    @staticmethod
    def _tokens(text: str) -> Iterator[tuple[str, str]]:
        position, text = 0, text.rstrip()
        while position < len(text):
            match = TOKEN.match(text, position)
            if not match:
                raise _broken(text[position : position + 20])
            position = match.end()
            kind = str(match.lastgroup)
            yield kind, match[kind]

    def parse(self) -> Statement:
        self._keyword("SELECT")
        is_count = self._selection()
        self._keyword("FROM")
        statement = Statement(self._kind("word"), is_count)
        if statement.entity not in TABLES and statement.entity not in SINGLE:
            raise fault("4001", f"QueryValidationError: Metadata not found for Entity: {statement.entity}")
        if self._accept("WHERE"):
            statement.conditions.append(self._condition(statement.entity))
            while self._accept("AND"):
                statement.conditions.append(self._condition(statement.entity))
        self._rest(statement)
        return statement

    def _selection(self) -> bool:
        if self._accept("COUNT"):
            for sign in "(*)":
                self._sign(sign)
            return True
        while True:
            if self._next() is None:
                raise _broken("end of query")
            kind, text = self.tokens[self.position]
            if text != "*" and kind != "word":
                raise _broken(text)
            self.position += 1
            if not self._accept(","):
                return False

    def _condition(self, entity: str) -> Condition:
        name = self._kind("word")
        require_filterable(entity, name)
        if self._accept("IN"):
            self._sign("(")
            values = [self._value(name)]
            while self._accept(","):
                values.append(self._value(name))
            self._sign(")")
            return Condition(name, "IN", tuple(values))
        if self._accept("LIKE"):
            pattern = self._value(name)
            if not isinstance(pattern, str) or name in TIMES:
                raise fault("4001", f"QueryValidationError: LIKE needs text: {name}")
            return Condition(name, "LIKE", pattern)
        sign = self._kind("sign")
        if sign not in ("=", "<", ">", "<=", ">="):
            raise _broken(sign)
        return Condition(name, sign, self._value(name))

    def _value(self, name: str) -> Any:
        following = self._next()
        if following is None:
            raise _broken("end of query")
        kind, text = following
        self.position += 1
        if kind == "word" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind not in ("text", "number"):
            raise _broken(text)
        return _typed(name, _unquoted(text) if kind == "text" else text)

    def _rest(self, statement: Statement) -> None:
        if self._accept("ORDERBY") or (self._accept("ORDER") and self._keyword("BY")):
            statement.order = self._kind("word")
            require_filterable(statement.entity, statement.order)
            statement.is_descending = self._accept("DESC") or (self._accept("ASC") and False)
        if self._accept("STARTPOSITION"):
            statement.start = self._whole("STARTPOSITION", 1, 10**9)
        if self._accept("MAXRESULTS"):
            statement.limit = self._whole("MAXRESULTS", 1, MAX_RESULTS)
        if following := self._next():
            raise _broken(following[1])

    def _whole(self, name: str, low: int, high: int) -> int:
        text = self._kind("number")
        if not text.isdigit() or not low <= int(text) <= high:
            raise fault("4001", f"QueryValidationError: {name} must be from {low} to {high}: {text}")
        return int(text)

    def _next(self) -> tuple[str, str] | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def _accept(self, word: str) -> bool:
        following = self._next()
        if following is None or following[0] == "text" or following[1].upper() != word:
            return False
        self.position += 1
        return True

    def _keyword(self, word: str) -> bool:
        if not self._accept(word):
            following = self._next()
            raise _broken(following[1] if following else "end of query")
        return True

    _sign = _keyword

    def _kind(self, kind: str) -> str:
        following = self._next()
        if following is None or following[0] != kind:
            raise _broken(following[1] if following else "end of query")
        self.position += 1
        return following[1]


def _broken(near: str) -> QuickBooksFault:
    return fault("4000", f'QueryParserError: Encountered "{near}"')


def require_filterable(entity: str, name: str) -> None:
    if name == "Id" or name in TIMES or name in FILTERABLE.get(entity, ("Name", "Active")):
        return
    known = name.split(".", maxsplit=1)[0] in TABLES.get(entity, {})
    reason = f"property '{name}' is not queryable" if known else f"Property {name} not found for Entity {entity}"
    raise fault("4001", f"QueryValidationError: {reason}")


def _typed(name: str, text: str) -> Any:
    """A literal as the field is compared: times in seconds, amounts as numbers, ids as text."""
    if name in TIMES:
        seconds = instant(text)
        if seconds is None:
            raise fault("4001", f"QueryValidationError: value {text} is not a date or time")
        return seconds
    if name in NUMBERS:
        try:
            return Decimal(text)
        except InvalidOperation:
            raise fault("4001", f"QueryValidationError: value {text} is not a number") from None
    if name in ("Active", "Job", "Taxable", "Vendor1099"):
        return text.lower() == "true"
    return text


def _comparable(shown: Object, name: str) -> Any:
    value = value_of(shown, name)
    if value is None:
        return None
    if name in TIMES:
        return instant(value)
    return Decimal(str(value)) if name in NUMBERS else value


def _like(pattern: str) -> Callable[[str], bool]:
    expression = re.compile(".*".join(re.escape(part) for part in pattern.split("%")), re.DOTALL)
    return lambda value: expression.fullmatch(value) is not None


SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, given: value == given,
    "<": lambda value, given: value < given,
    ">": lambda value, given: value > given,
    "<=": lambda value, given: value <= given,
    ">=": lambda value, given: value >= given,
    "IN": lambda value, given: value in given,
}


class Subject:
    """A row under test: what its keys hold is at hand, the rest is read from its text once."""

    __slots__ = ("_names", "_shown", "row")

    def __init__(self, row: Row, names: tuple[str, ...]):
        self.row = row
        self._names = names
        self._shown: Object | None = None

    def value(self, name: str) -> Any:
        if name in self._names:
            return self.row.keys[self._names.index(name)]
        if self._shown is None:
            self._shown = self.row.shown()
        return _comparable(self._shown, name)


def _test(condition: Condition) -> Callable[[Subject], bool]:
    name, given = condition.name, condition.value
    if condition.sign == "LIKE":
        likes = _like(given)
        return lambda subject: (value := subject.value(name)) is not None and likes(str(value))
    compare = SIGNS[condition.sign]
    if name == "Id" and condition.sign != "IN":
        return lambda subject: compare(_id_order(subject.row.id), _id_order(str(given)))
    if name == "Active":
        return lambda subject: compare(subject.row.is_active, given)
    return lambda subject: (value := subject.value(name)) is not None and compare(value, given)


def _id_order(object_id: str) -> tuple[int, str]:
    return (int(object_id), "") if object_id.isdigit() else (-1, object_id)


class Search:
    """One statement over one table. An equality on a key, an id or a span of times is looked up; the rest is read."""

    def __init__(self, table: Table, statement: Statement):
        self.table = table
        self.statement = statement
        is_list = table.entity in LISTS or table.entity in LISTS_READ_ONLY
        self.hides_inactive = is_list and all(one.name != "Active" for one in statement.conditions)
        self.left = list(statement.conditions)

    def rows(self) -> list[Row]:
        """The page."""
        rows: Iterable[Row] = self._matching()
        statement = self.statement
        if self._needs_sorting:
            rows = self._sorted(rows)
        return list(itertools.islice(rows, statement.start - 1, statement.start - 1 + statement.limit))

    def count(self) -> int:
        return sum(1 for _row in self._matching())

    def _matching(self) -> Iterator[Row]:
        rows = self._candidates()
        if self.hides_inactive:
            rows = (row for row in rows if row.is_active)
        tests = [_test(condition) for condition in self.left]
        if not tests:
            return iter(rows)
        names = KEYS.get(self.table.entity, ())
        return (row for row in rows if _passes(Subject(row, names), tests))

    def _candidates(self) -> Iterable[Row]:
        """The smallest set that an index offers, in the order asked for where the index has one."""
        order = self.statement.order
        self._needs_sorting = order not in (None, "Id") or self.statement.is_descending
        if (wanted := self._keyed()) is not None:
            return [row for object_id in sorted(wanted, key=_id_order) if (row := self.table.rows.get(object_id))]
        span = [one for one in self.left if one.name == "MetaData.LastUpdatedTime" and one.sign not in ("IN", "LIKE")]
        in_order = order == "MetaData.LastUpdatedTime"
        if not span and not in_order:
            return self.table.rows.values()
        self.left = [one for one in self.left if one not in span]
        rows = self.table.between(*_bounds(span))
        if in_order and not self.statement.is_descending:
            self._needs_sorting = False
        elif order is None:
            return sorted(rows, key=lambda row: _id_order(row.id))
        return rows

    def _keyed(self) -> set[str] | None:
        """Ids that an equality leaves, None where there is none."""
        found: set[str] | None = None
        for one in self.left:
            values = one.value if one.sign == "IN" else (one.value,) if one.sign == "=" else None
            if values is None or (one.name != "Id" and one.name not in self.table.by_key):
                continue
            if one.name == "Id":
                ids = {str(value) for value in values}
            else:
                known = self.table.by_key[one.name]
                ids = {object_id for value in values for object_id in known.get(value, ())}
            found = ids if found is None else found & ids
        return found

    def _sorted(self, rows: Iterable[Row]) -> list[Row]:
        name, reverse = self.statement.order, self.statement.is_descending
        if name == "MetaData.LastUpdatedTime":
            return sorted(rows, key=lambda row: (row.updated, _id_order(row.id)), reverse=reverse)
        if name == "Id":
            return sorted(rows, key=lambda row: _id_order(row.id), reverse=reverse)
        known: list[tuple[Any, tuple[int, str], Row]] = [
            (_comparable(row.shown(), str(name)), _id_order(row.id), row) for row in rows
        ]
        nothing = [row for value, _id, row in known if value is None]
        some = sorted(
            ((value, place, row) for value, place, row in known if value is not None),
            key=lambda one: one[:2],
            reverse=reverse,
        )
        return nothing + [row for _value, _place, row in some]


def _passes(subject: Subject, tests: list[Callable[[Subject], bool]]) -> bool:
    return all(test(subject) for test in tests)


def _bounds(span: list[Condition]) -> tuple[int | None, int | None]:
    """Whole seconds, both ends included: that is as fine as objects keep their times."""
    lows, highs = [], []
    for one in span:
        whole = int(one.value // 1)
        is_whole = whole == one.value
        if one.sign in (">", ">=", "="):
            lows.append(whole if one.sign != ">" and is_whole else whole + 1)
        if one.sign in ("<", "<=", "="):
            highs.append(whole - 1 if one.sign == "<" and is_whole else whole)
    return max(lows, default=None), min(highs, default=None)


def answer(company: Company, text: str) -> bytes:
    """The JSON object that belongs under `QueryResponse`. Raises QuickBooksFault."""
    statement = Parser(text).parse()
    if statement.entity in SINGLE:
        single = company.info if statement.entity == "CompanyInfo" else company.preferences
        return exact.dumps({statement.entity: [single], "maxResults": 1})
    search = Search(company.tables[statement.entity], statement)
    if statement.is_count:
        return exact.dumps({"totalCount": search.count()})
    rows = search.rows()
    if not rows:
        return b"{}"
    head = statement.entity.encode(), texts(rows), statement.start, len(rows)
    return b'{"%b":[%b],"startPosition":%d,"maxResults":%d}' % head
