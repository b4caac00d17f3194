"""An Item's change log: what happened to which row, in order; a cursor is a position in it."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

Kind = Literal["added", "modified", "removed"]


class Update(NamedTuple):
    kind: Kind
    row: int


class Span(NamedTuple):
    """A stretch of the log, positions from `start`: many rows added at once (`rows`), or single changes (`changes`)."""

    start: int
    rows: range
    changes: list[Update]

    @property
    def end(self) -> int:
        """The position of its last change."""
        return self.start - 1 + (len(self.rows) or len(self.changes))


class ChangeLog:
    """Positions count from 1; `head` is the newest. A million rows added at once are one span.

    `is_raw`: every change since the cursor is shown where it happened, so that a row may come and go within one
    update. Otherwise only what became of it, at the place of its last change, as the real service mostly does.
    Locking is the caller's.
    """

    def __init__(self, *, is_raw: bool = False) -> None:
        self.is_raw = is_raw
        self.head = 0
        self.live = 0
        self._spans: list[Span] = []
        self._starts: list[int] = []
        self._history: dict[int, list[tuple[int, Kind]]] = {}  # rows with more than their span's addition

    def add_rows(self, rows: range) -> None:
        """Many rows added, in this order."""
        if rows:
            self._open(Span(self.head + 1, rows, []))
            self.head += len(rows)
            self.live += len(rows)

    def append(self, kind: Kind, index: int) -> None:
        """One change. A change that makes no sense (removing what is not there) raises ValueError."""
        is_live = self.is_live(index)
        if is_live == (kind == "added"):
            raise ValueError(f"row {index} cannot be {kind}: it is {'there' if is_live else 'not there'}")
        history = self._history.get(index)
        if history is None:
            first = self._span_position(index)
            history = self._history[index] = [(first, "added")] if first else []
        if not self._spans or self._spans[-1].rows:
            self._open(Span(self.head + 1, range(0), []))
        self._spans[-1].changes.append(Update(kind, index))
        self.head += 1
        history.append((self.head, kind))
        self.live += {"added": 1, "modified": 0, "removed": -1}[kind]

    def _open(self, span: Span) -> None:
        self._spans.append(span)
        self._starts.append(span.start)

    def _span_position(self, index: int) -> int:
        """Where a span added the row; 0 where none did."""
        for span in self._spans:
            if index in span.rows:
                return span.start + span.rows.index(index)
        return 0

    def is_live(self, index: int) -> bool:
        history = self._history.get(index)
        return history[-1][1] != "removed" if history else self._span_position(index) > 0

    def _known_at(self, index: int, position: int) -> bool:
        """Whether the row was there for a reader who had read up to `position`."""
        kinds = [kind for at, kind in self._history.get(index, ()) if at <= position]
        return bool(kinds) and kinds[-1] != "removed"

    def live_rows(self, after: int = -1) -> Iterator[int]:
        """Numbers of the rows that exist now and are greater than `after`, ascending."""
        touched = sorted(index for index in self._history if index > after)
        spans = sorted((span.rows for span in self._spans if span.rows), key=lambda rows: rows.start)
        untouched = (index for rows in spans for index in range(max(rows.start, after + 1), rows.stop))
        history = self._history
        position = 0
        for index in untouched:
            while position < len(touched) and touched[position] < index:
                if history[touched[position]][-1][1] != "removed":
                    yield touched[position]
                position += 1
            if index not in history:
                yield index
        for index in touched[position:]:
            if history[index][-1][1] != "removed":
                yield index

    def page(
        self, position: int, *, start: int, count: int, wanted: Callable[[int], bool] | None = None
    ) -> tuple[list[Update], int, bool]:
        """Up to `count` updates after `position`, the position they end at, and whether more follow.

        `start` is where the reader's loop began: it decides between added and modified. `wanted` filters rows.
        """
        updates: list[Update] = []
        for at, update in self._updates(position, start):
            if wanted is not None and not wanted(update.row):
                continue
            if len(updates) == count:
                return updates, at - 1, True
            updates.append(update)
        return updates, self.head, False

    def _updates(self, position: int, start: int) -> Iterator[tuple[int, Update]]:
        history = self._history
        at = position + 1
        for span in self._spans[max(0, bisect.bisect_right(self._starts, at) - 1) :]:
            at = max(at, span.start)
            for index in span.rows[at - span.start :]:
                if index not in history:
                    yield at, Update("added", index)
                elif shown := self._shown(at, Update("added", index), start):
                    yield at, shown
                at += 1
            for change in span.changes[at - span.start :] if span.changes else ():
                if shown := self._shown(at, change, start):
                    yield at, shown
                at += 1

    def _shown(self, at: int, change: Update, start: int) -> Update | None:
        """What a reader who began at `start` sees at this place of the log, if anything."""
        index = change.row
        history = self._history[index]
        if self.is_raw:
            # A row that left and came back is there: showing the leaving after the return would be a lie.
            last_added = max((place for place, kind in history if kind == "added"), default=0)
            return None if start < at < last_added and history[-1][1] != "removed" else change
        if history[-1][0] != at:
            return None
        was_known = self._known_at(index, start)
        if history[-1][1] == "removed":
            return Update("removed", index) if was_known else None
        return Update("modified" if was_known else "added", index)
