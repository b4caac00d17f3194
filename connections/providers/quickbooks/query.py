"""QuickBooks' query language, written so that no value can become a part of the statement.

    select("Customer", where("DisplayName", "=", "O'Neil"), limit=1)

No OR, no joins, no projection. Names of entities and fields are ours and case-sensitive; values may be anybody's.
Source: Intuit developer docs, "Query operations and syntax".
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal

Value = str | int | bool | Decimal | date | datetime
MAX_RESULTS = 1000
OPERATORS = ("=", "<", ">", "<=", ">=", "LIKE", "IN")
LISTS = frozenset({"Account", "Class", "Customer", "Department", "Employee", "Item", "PaymentMethod", "TaxCode", "Term", "Vendor"})  # fmt: skip
_ENTITY = re.compile(r"[A-Z][A-Za-z]{1,40}")
_FIELD = re.compile(r"[A-Z][A-Za-z0-9]{0,60}(\.[A-Z][A-Za-z0-9]{0,60})?")
UPDATED, CREATED = "MetaData.LastUpdatedTime", "MetaData.CreateTime"


def select(
    entity: str,
    *conditions: str,
    order_by: str = "",
    start: int = 1,
    limit: int = MAX_RESULTS,
    with_inactive: bool = True,
) -> str:
    """The statement for one page of whole records.

    start: position of the first, from 1. with_inactive: lists (`LISTS`) leave inactive records out unless they are asked for.
    """
    if not (1 <= limit <= MAX_RESULTS and start >= 1):
        raise ValueError("A page has 1 to 1000 records and begins at 1 or later.")
    found = [f"SELECT * FROM {_entity(entity)}", *_where(entity, conditions, with_inactive=with_inactive)]
    if order_by:
        found.append(f"ORDERBY {_field(order_by)} ASC")
    return " ".join([*found, f"STARTPOSITION {start}", f"MAXRESULTS {limit}"])


def count(entity: str, *conditions: str, with_inactive: bool = True) -> str:
    """The statement for how many there are."""
    where = _where(entity, conditions, with_inactive=with_inactive)
    return " ".join([f"SELECT COUNT(*) FROM {_entity(entity)}", *where])


def where(field: str, operator: str, value: Value | Iterable[Value]) -> str:
    """One condition. IN takes several values. LIKE knows `%` only, which is always a wildcard."""
    if operator not in OPERATORS:
        raise ValueError(f"There is no operator {operator!r}.")
    if operator != "IN":
        if not isinstance(value, Value):
            raise ValueError(f"{operator} takes one value.")
        return f"{_field(field)} {operator} {literal(value)}"
    values = [value] if isinstance(value, Value) else list(value)
    if not values:
        raise ValueError("IN takes at least one value.")
    return f"{_field(field)} IN ({', '.join(literal(each) for each in values)})"


def updated_between(since: datetime | None, until: datetime | None) -> list[str]:
    """Conditions for records last changed from `since` on and up to `until`; both ends belong to it."""
    ends = ((">=", since), ("<=", until))
    return [where(UPDATED, operator, end) for operator, end in ends if end is not None]


def literal(value: Value) -> str:
    """The value as the language writes it: quoted, the two characters that end or bend a text escaped."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("A time without its zone could be any.")
        return f"'{value.isoformat(timespec='seconds')}'"
    if isinstance(value, date):
        return f"'{value.isoformat()}'"
    if isinstance(value, Decimal | int):
        return f"'{value:f}'" if isinstance(value, Decimal) else f"'{value}'"
    if not isinstance(value, str):
        raise ValueError(f"A {type(value).__name__} has no form in a query.")
    if not value.isprintable():
        raise ValueError("A text with control characters cannot be looked up.")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _where(entity: str, conditions: Sequence[str], *, with_inactive: bool) -> list[str]:
    found = list(conditions)
    if with_inactive and entity in LISTS:
        found.append("Active IN (true, false)")
    return [f"WHERE {' AND '.join(found)}"] if found else []


def _entity(name: str) -> str:
    if not _ENTITY.fullmatch(name):
        raise ValueError(f"{name!r} is not an entity.")
    return name


def _field(name: str) -> str:
    if not _FIELD.fullmatch(name):
        raise ValueError(f"{name!r} is not a field.")
    return name
