"""Reading a list that changes while it is read, and leaving nothing out.

Two ways, both resumable at every page, their positions a few kilobytes at most:

*by date* (`by_date`): always the first page of "changed since T", T moving with what was read. A row that changes
meanwhile gets a later date and turns up further on; rows of one second are told apart by leaving out those read
(`exclude`). Where a second has more rows than an address has room for, its pages are read from the last to the first:
a row that leaves the second moves those behind it towards the beginning, where they are still to be read.

*by id* (`by_id`): for lists without such a filter. Each page begins with the last row of the one before; where it does
not, something before it was deleted, and the reading steps back until it is sure that nothing was passed over.

The watermark is the latest date read, never a clock of ours. A reading that has come to the end begins the next time
`OVERLAP` before that: what a shop commits late is still found. It begins earlier where a page left out rows that were
read before and that may have changed since then (`since`, `passed`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Any

from connections.providers.base import Json
from connections.providers.woocommerce import answers
from connections.providers.woocommerce.client import Shop, comma_joined
from connections.providers.woocommerce.records import instant, wire_date
from connections.providers.woocommerce.windows import window, zone_of

OVERLAP = timedelta(minutes=5)
SECOND = timedelta(seconds=1)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC) + SECOND
MAX_EXCLUDE = 3000  # characters of ids, commas counted as they go on the wire: the address stays below 4 kB
MAX_STEP_BACK = 20
OVER_S = 2.5  # after which a second is over, and whoever changed something in it has committed


@dataclass(frozen=True, slots=True)
class DatedList:
    """A list that can be read by date: of changes, or of creations where its records never change."""

    path: str
    params: Json = field(default_factory=dict)
    date: str = "date_modified_gmt"
    after: str = "modified_after"
    before: str = "modified_before"
    orderby: str = "modified"


@dataclass(slots=True)
class _Mark:
    """How far a reading by date has come.

    at: the latest second read. seen, prior: ids read of it and of the second before, left out of the next page.
    since: the shop's time when the first of those was read: what they became since then may have been passed over.
    passed: the earliest such time that a page went beyond. top: the latest date ever, also of earlier readings.
    step: the page to read next of a second that is read page by page, with its size.
    """

    at: datetime
    top: datetime
    seen: list[int]
    prior: list[int]
    since: datetime | None = None
    passed: datetime | None = None
    step: tuple[int, int] | None = None

    @classmethod
    def of(cls, position: Json) -> "_Mark":
        at = instant(position.get("at")) or BEGINNING
        step = position.get("step")
        return cls(
            at=at,
            top=instant(position.get("top")) or at,
            seen=list(position.get("seen") or ()),
            prior=list(position.get("prior") or ()),
            since=instant(position.get("since")),
            passed=instant(position.get("passed")),
            step=(int(step[0]), int(step[1])) if step else None,
        )

    @property
    def excluded(self) -> list[int]:
        return [*self.prior, *self.seen]

    def position(self) -> Json:
        dates = {"at": self.at, "top": self.top, "since": self.since, "passed": self.passed}
        found: Json = {name: wire_date(moment) for name, moment in dates.items() if moment}
        lists = {"seen": self.seen, "prior": self.prior, "step": list(self.step or ())}
        return found | {name: value for name, value in lists.items() if value}

    def end_position(self) -> Json:
        """Where the next reading begins."""
        begins = min(self.top, self.passed or self.top) - OVERLAP
        return _Mark(max(begins, BEGINNING), self.top, [], []).position()


def by_date(
    shop: Shop, source: DatedList, position: Json, *, until: datetime | None = None
) -> Iterator[tuple[list[Json], Json, bool]]:
    """(rows, where to go on, whether there is more), oldest first. until: the last second to read."""
    mark = _Mark.of(position)
    while True:
        if mark.step is None and _length(mark.excluded) > MAX_EXCLUDE:
            mark.step = _last_page(shop, source, mark)
        if mark.step is not None:
            yield _stepped(shop, source, mark), mark.position(), True
            continue
        rows = shop.page(source.path, _since(shop, source, mark, until))
        is_end = len(rows) < shop.per_page
        is_stuck = not _advance(shop, source, mark, rows, is_end=is_end)
        if is_end:
            yield rows, mark.end_position(), False
            return
        if is_stuck:  # the shop does not leave out what it was told to
            mark.step = _last_page(shop, source, mark)
        yield rows, mark.position(), True


def _since(shop: Shop, source: DatedList, mark: _Mark, until: datetime | None) -> Json:
    """Both bounds leave themselves out, hence the seconds."""
    ends = until + SECOND if until else None
    return {
        **source.params,
        "orderby": source.orderby,
        "order": "asc",
        **_between(shop, source, mark.at - SECOND, ends),
        "exclude": comma_joined(mark.excluded) or None,
    }


def _between(shop: Shop, source: DatedList, begins: datetime, ends: datetime | None) -> Json:
    return window(zone_of(shop.access), after=(source.after, begins), before=(source.before, ends))


def _advance(shop: Shop, source: DatedList, mark: _Mark, rows: Sequence[Json], *, is_end: bool) -> bool:
    """Take note of what was read: the latest date, and the ids within a second of it. False: nothing new was there."""
    dated = [(_id(row), instant(row.get(source.date)) or mark.at) for row in rows]
    latest = max([mark.at, *(moment for _, moment in dated)])
    if mark.excluded and mark.since and (is_end or latest >= mark.since):
        mark.passed = min(mark.since, mark.passed or mark.since)
    known, moved = set(mark.excluded), latest - mark.at
    if moved == SECOND:
        mark.prior, mark.seen = mark.seen, []
    elif moved > SECOND:
        mark.prior, mark.seen, mark.since = [], [], None
    mark.at, mark.top = latest, max(mark.top, latest)
    new = [(one, moment) for one, moment in dated if one not in known]
    mark.prior += [one for one, moment in new if moment == latest - SECOND]
    mark.seen += [one for one, moment in new if moment == latest]
    mark.since = mark.since or _asked_at(shop)
    return bool(new)


# --- a second with more rows than an address has room for ---
def _length(ids: Sequence[int]) -> int:
    return sum(len(str(one)) + 3 for one in ids)


def _within(shop: Shop, source: DatedList, mark: _Mark) -> Json:
    """The one second `at`."""
    return {
        **source.params,
        "orderby": "id",
        "order": "asc",
        **_between(shop, source, mark.at - SECOND, mark.at + SECOND),
    }


def _last_page(shop: Shop, source: DatedList, mark: _Mark) -> tuple[int, int]:
    """(the last page of this second, the size of its pages). A second that is not over yet is waited for."""
    if mark.at >= _asked_at(shop):
        sleep(OVER_S)
    params = _within(shop, source, mark)
    rows = shop.page(source.path, {**params, "_fields": "id"})
    total = answers.total_of(shop.last_answer) if shop.last_answer else None
    if total is not None:
        return max(1, -(-total // shop.per_page)), shop.per_page
    number = 1
    while len(rows) == shop.per_page:  # a cache has dropped the header: count
        number += 1
        rows = shop.page(source.path, {**params, "_fields": "id", "page": number})
    return number, shop.per_page


def _stepped(shop: Shop, source: DatedList, mark: _Mark) -> list[Json]:
    """The next page of the second, from the last to the first; after the first the reading goes on behind it."""
    number, size = mark.step or (1, shop.per_page)
    if shop.per_page != size:
        number, size = _resized(number, size, shop.per_page), shop.per_page
    rows = shop.page(source.path, {**_within(shop, source, mark), "page": number})
    if shop.per_page != size:  # halved during this very call: what was read is another part of the list
        mark.step = (_resized(number, size, shop.per_page), shop.per_page)
        return rows
    mark.step = (number - 1, size) if number > 1 else None
    if mark.step is None:
        mark.at, mark.seen, mark.prior, mark.since = mark.at + SECOND, [], [], None
    return rows


def _resized(number: int, size: int, new_size: int) -> int:
    """The page of the new size up to which everything may be unread."""
    return -(-number * size // new_size)


def _asked_at(shop: Shop) -> datetime:
    """A time by the shop's clock that was not later than its last reading; by ours where it does not tell."""
    answer = shop.last_answer
    took = timedelta(milliseconds=answer.duration_ms if answer else 0)
    told = (answers.date_of(answer) if answer else None) or datetime.now(UTC)
    return (told - took - SECOND).replace(microsecond=0)


# --- by id ---
def by_id(shop: Shop, path: str, params: Json, position: Json) -> Iterator[tuple[list[Json], Json, bool]]:
    """(rows, where to go on, whether there is more), ids ascending. A row made meanwhile is read if its id is later."""
    last, offset = int(position.get("last") or 0), int(position.get("offset") or 0)
    query = {**params, "orderby": "id", "order": "asc"}
    while True:
        rows, start = _from_anchor(shop, path, query, last, offset)
        is_end = len(rows) < shop.per_page
        new = [row for row in rows if _id(row) > last]
        last = max([last, *(_id(row) for row in new)])
        offset = start + len(rows)
        if is_end:
            yield new, {}, False
            return
        yield new, {"last": last, "offset": offset}, True


def _from_anchor(shop: Shop, path: str, query: Json, last: int, offset: int) -> tuple[list[Json], int]:
    """(a page that begins with a row read already, or with the first of all; its offset)."""
    start = max(0, offset - 1)
    for stepped in range(MAX_STEP_BACK):
        rows = shop.page(path, {**query, "offset": start})
        if start == 0 or (rows and _id(rows[0]) <= last):
            break
        start = max(0, start - 2**stepped * (shop.per_page // 2))
    return rows, start


def _id(row: Any) -> int:
    found = row.get("id")
    return int(found) if found is not None else 0
