"""Tables of a simulated shop: rows by id, kept in order of id, creation and change, so that a page is a slice."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MASK = 0xFFFFFFFF  # an index entry is (second << 32) | id: one number, compared and moved fast
UNLISTED = frozenset({"trash", "auto-draft", "checkout-draft"})  # what status `any` leaves out


@dataclass(slots=True, eq=False)
class Row:
    """One object. `body` None: as the seed makes it, at any time again. `owner` is the customer or the parent."""

    id: int
    created: int
    modified: int
    status: str = ""
    owner: int = 0
    name: str = ""
    body: dict[str, Any] | None = None


@dataclass(slots=True)
class Wanted:
    """What a list request asks for. Bounds are exclusive Unix seconds."""

    order_by: str = "date"
    is_descending: bool = True
    offset: int = 0
    limit: int = 10
    created_after: int | None = None
    created_before: int | None = None
    modified_after: int | None = None
    modified_before: int | None = None
    include: list[int] | None = None
    exclude: frozenset[int] = frozenset()
    pool: Iterable[int] | None = None  # only these ids, in any order
    passes: Callable[[Row], bool] | None = None
    sort_key: Callable[[Row], Any] | None = None  # for orders that no index keeps

    @property
    def has_created(self) -> bool:
        return self.created_after is not None or self.created_before is not None

    @property
    def has_modified(self) -> bool:
        return self.modified_after is not None or self.modified_before is not None

    def in_bounds(self, row: Row) -> bool:
        return _between(row.created, self.created_after, self.created_before) and _between(
            row.modified, self.modified_after, self.modified_before
        )


def _between(second: int, after: int | None, before: int | None) -> bool:
    return (after is None or second > after) and (before is None or second < before)


def _window(index: list[int], after: int | None, before: int | None) -> tuple[int, int]:
    low = 0 if after is None else bisect_right(index, (after << 32) | MASK)
    high = len(index) if before is None else bisect_left(index, before << 32)
    return low, max(low, high)


@dataclass(slots=True)
class Table:
    """Rows of one kind. The three indexes hold the listed rows only; `owned` holds all, by owner."""

    rows: dict[int, Row] = field(default_factory=dict)
    by_id: list[int] = field(default_factory=list)
    by_created: list[int] = field(default_factory=list)
    by_modified: list[int] = field(default_factory=list)
    owned: dict[int, list[int]] = field(default_factory=dict)
    unlisted: set[int] = field(default_factory=set)

    def load(self, rows: Iterable[Row]) -> None:
        """Take many new rows at once."""
        for row in rows:
            self.rows[row.id] = row
            self.owned.setdefault(row.owner, []).append(row.id)
            if row.status in UNLISTED:
                self.unlisted.add(row.id)
                continue
            self.by_id.append(row.id)
            self.by_created.append((row.created << 32) | row.id)
            self.by_modified.append((row.modified << 32) | row.id)
        for index in (self.by_id, self.by_created, self.by_modified, *self.owned.values()):
            index.sort()

    def put(self, row: Row) -> None:
        """Add the row, or replace the one of this id."""
        self.drop(row.id)
        self.rows[row.id] = row
        insort(self.owned.setdefault(row.owner, []), row.id)
        if row.status in UNLISTED:
            self.unlisted.add(row.id)
            return
        insort(self.by_id, row.id)
        insort(self.by_created, (row.created << 32) | row.id)
        insort(self.by_modified, (row.modified << 32) | row.id)

    def drop(self, row_id: int) -> None:
        """Forget the row, if there is one. Replace rows by `put`, never change the indexed fields of one in place."""
        row = self.rows.pop(row_id, None)
        if row is None:
            return
        _take(self.owned[row.owner], row_id)
        if row_id in self.unlisted:
            self.unlisted.discard(row_id)
            return
        _take(self.by_id, row_id)
        _take(self.by_created, (row.created << 32) | row_id)
        _take(self.by_modified, (row.modified << 32) | row_id)

    def find(self, wanted: Wanted) -> tuple[int, list[Row]]:
        """How many match, and the rows of the page."""
        index = {"id": self.by_id, "date": self.by_created, "modified": self.by_modified}.get(wanted.order_by)
        is_simple = wanted.passes is None and wanted.pool is None and wanted.include is None and index is not None
        other = (wanted.has_created and wanted.order_by != "date") or (
            wanted.has_modified and wanted.order_by != "modified"
        )
        if is_simple and index is not None and not other:
            return self._sliced(index, wanted)
        return self._scanned(wanted)

    def _sliced(self, index: list[int], wanted: Wanted) -> tuple[int, list[Row]]:
        """The page as a slice of the index, at a cost that does not depend on the table's length."""
        low, high = 0, len(index)
        if wanted.order_by == "date":
            low, high = _window(index, wanted.created_after, wanted.created_before)
        elif wanted.order_by == "modified":
            low, high = _window(index, wanted.modified_after, wanted.modified_before)
        skipped = sorted(place for place in self._places(index, wanted) if low <= place < high)
        if wanted.is_descending:
            skipped.reverse()
        total = high - low - len(skipped)
        step = -1 if wanted.is_descending else 1
        at = (high - 1 - wanted.offset) if wanted.is_descending else low + wanted.offset
        for place in skipped:
            if (place - at) * step <= 0:
                at += step
        found: list[Row] = []
        away = set(skipped)
        while low <= at < high and len(found) < wanted.limit:
            if at not in away:
                found.append(self.rows[index[at] & MASK])
            at += step
        return total, found

    def _places(self, index: list[int], wanted: Wanted) -> Iterable[int]:
        for row_id in wanted.exclude:
            if (row := self.rows.get(row_id)) and row_id not in self.unlisted:
                yield bisect_left(index, _key(row, wanted.order_by))

    def _scanned(self, wanted: Wanted) -> tuple[int, list[Row]]:
        rows = [
            row
            for row in self._candidates(wanted)
            if row.id not in wanted.exclude and wanted.in_bounds(row) and (wanted.passes is None or wanted.passes(row))
        ]
        if wanted.order_by == "include" and wanted.include:
            place = {row_id: number for number, row_id in enumerate(wanted.include)}
            rows.sort(key=lambda row: place[row.id])
        elif wanted.order_by in ("id", "date", "modified"):
            rows.sort(key=lambda row: _key(row, wanted.order_by), reverse=wanted.is_descending)
        elif sort_key := wanted.sort_key:
            rows.sort(key=lambda row: (sort_key(row), row.id), reverse=wanted.is_descending)
        else:
            rows.sort(key=lambda row: (row.name.lower(), row.id), reverse=wanted.is_descending)
        return len(rows), rows[wanted.offset : wanted.offset + wanted.limit]

    def _candidates(self, wanted: Wanted) -> Iterable[Row]:
        """The smallest set at hand that holds all matches."""
        if wanted.include is not None:
            ids: Iterable[int] = [row_id for row_id in dict.fromkeys(wanted.include) if row_id in self.rows]
            allowed = None if wanted.pool is None else set(wanted.pool)
            return [
                self.rows[row_id]
                for row_id in ids
                if (row_id not in self.unlisted if allowed is None else row_id in allowed)
            ]
        if wanted.pool is not None:
            return [self.rows[row_id] for row_id in wanted.pool if row_id in self.rows]
        index, after, before = self.by_id, None, None
        if wanted.has_modified:
            index, after, before = self.by_modified, wanted.modified_after, wanted.modified_before
        elif wanted.has_created:
            index, after, before = self.by_created, wanted.created_after, wanted.created_before
        low, high = _window(index, after, before)
        return [self.rows[key & MASK] for key in index[low:high]]


def _key(row: Row, order_by: str) -> int:
    if order_by == "id":
        return row.id
    return ((row.created if order_by == "date" else row.modified) << 32) | row.id


def _take(index: list[int], key: int) -> None:
    at = bisect_left(index, key)
    if at < len(index) and index[at] == key:
        del index[at]
