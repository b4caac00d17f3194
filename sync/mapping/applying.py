"""What rules give, laid over what a target's own transformer has made of the record."""

from collections.abc import Sequence
from typing import Any

from sync.mapping import books
from sync.mapping.rules import Mapped

Json = dict[str, Any]
_DETAIL = "SalesItemLineDetail"
_IN_LINE = ("Description",)  # of QuickBooks' line itself; the others are in its detail
# Its transformer sends these when a record is made, and where the company wants them; never where they are settled.
_SETTLED = ("DisplayName", "Name", "Type", "DocNumber")


def applied(values: Json, mapped: Mapped, *, line_ids: Sequence[str] = ()) -> Json:
    """A copy of the values with those of the rules. values: a TargetRecord's.

    In a store an empty one is NULL, and lines know their ids. In the books an empty one is left out, since null there
    blanks what somebody typed, and line_ids says of each line there which of the record's it comes from, or "": without
    it lines stay as they are.
    """
    return _in_books(values, mapped, line_ids) if mapped.table.target == books.TARGET else _in_store(values, mapped)


def _in_store(values: Json, mapped: Mapped) -> Json:
    made = {**values, **mapped.header}
    name, given = mapped.table.lines, _by_id(mapped)
    if name and isinstance(lines := values.get(name), list | tuple):
        made[name] = [{**line, **given.get(line.get("line_id"), {})} for line in lines]
    return made


def _in_books(values: Json, mapped: Mapped, line_ids: Sequence[str]) -> Json:
    header = {name: value for name, value in mapped.header.items() if name in values or name not in _SETTLED}
    made, given = _over(values, header), _by_id(mapped)
    name = mapped.table.lines
    if name and isinstance(lines := values.get(name), list | tuple):
        ids = [*line_ids, *("" for _line in lines)]
        made[name] = [_line(line, given.get(of, {})) for line, of in zip(lines, ids, strict=False)]
    return made


def _by_id(mapped: Mapped) -> dict[Any, Json]:
    return dict(zip(mapped.line_ids, mapped.lines, strict=True))


def _over(values: Json, given: Json) -> Json:
    kept = {name: value for name, value in values.items() if name not in given}
    return {**kept, **{name: value for name, value in given.items() if value is not None}}


def _line(line: Json, given: Json) -> Json:
    made = _over(line, {name: value for name, value in given.items() if name in _IN_LINE})
    if isinstance(detail := line.get(_DETAIL), dict):
        made[_DETAIL] = _over(detail, {name: value for name, value in given.items() if name not in _IN_LINE})
    return made
