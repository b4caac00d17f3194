"""What a faithful reader of /transactions/sync holds after reading pages: a second implementation, in plain Python.

Rows are kept by transaction id, tombstones too, each with what a user attached. `read` applies an update and returns the
ledger it must have. Written from docs/explanation/cursor-sync.md, not from the code.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

Wire = dict[str, Any]
Attached = tuple[str, str]  # note, category
NOTHING: Attached = ("", "")


@dataclass(slots=True)
class Row:
    wire: Wire
    attached: Attached = NOTHING
    is_archived: bool = False
    was_born_in: int = 0
    left_in: int = 0

    @property
    def likeness(self) -> tuple:
        return tuple(self.wire[name] for name in ("date", "amount", "name"))


class Reader:
    """`followed` counts how what was attached reached another row."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.followed: Counter[str] = Counter()
        self.in_doubt: set[str] = (
            set()
        )  # not told by a replay of a history that was not complete: they stay until it is
        self._update = 0

    @property
    def live(self) -> dict[str, Row]:
        return {key: row for key, row in self.rows.items() if not row.is_archived}

    def read(self, pages: list[Wire], *, is_replay: bool) -> Counter[str]:
        """Apply one whole update. is_replay: it began at the empty cursor though rows were here."""
        self._update += 1
        ledger: Counter[str] = Counter()
        for page in pages:
            ledger += self._read_page(page)
        is_complete = pages[-1]["transactions_update_status"] == "HISTORICAL_UPDATE_COMPLETE"
        told = {record["transaction_id"] for page in pages for record in page["added"] + page["modified"]}
        absent = self.live.keys() - told if is_replay else set()
        self.in_doubt = set() if is_complete else absent
        for key in absent - self.in_doubt:
            self._archive(self.rows[key])
            ledger.update(fetched=1, removed=1)
        self._follow_churn()
        return ledger

    def _read_page(self, page: Wire) -> Counter[str]:
        ledger: Counter[str] = Counter()
        entries = [(r["transaction_id"], r) for r in page["added"] + page["modified"]]
        entries += [(r["transaction_id"], None) for r in page["removed"]]
        latest = dict(entries)
        ledger.update(fetched=len(entries), skipped=len(entries) - len(latest))
        attached_before = {key: row.attached for key, row in self.rows.items()}
        for key, record in latest.items():
            ledger[self._put(key, record, attached_before) if record else self._remove(key)] += 1
        return ledger

    def _put(self, key: str, record: Wire, attached_before: dict[str, Attached]) -> str:
        row = self.rows.get(key)
        if row is None:
            attached = attached_before.get(record["pending_transaction_id"], NOTHING)
            self.followed["a posting"] += attached != NOTHING
            self.rows[key] = Row(record, attached, was_born_in=self._update)
            return "created"
        if row.wire == record and not row.is_archived:
            return "unchanged"
        row.wire, row.is_archived = record, False
        return "updated"

    def _remove(self, key: str) -> str:
        row = self.rows.get(key)
        if row is None:
            return "skipped"
        if row.is_archived:
            return "unchanged"
        self._archive(row)
        return "removed"

    def _archive(self, row: Row) -> None:
        row.is_archived, row.left_in = True, self._update

    def _follow_churn(self) -> None:
        """A row that left in this update and a new one that tells the same are one transaction."""
        for row in self.live.values():
            if row.was_born_in != self._update or row.attached != NOTHING:
                continue
            left = [
                gone
                for gone in self.rows.values()
                if gone.is_archived and gone.left_in == self._update > gone.was_born_in and gone.attached != NOTHING
                and gone.likeness == row.likeness
            ]  # fmt: skip
            if left:
                row.attached = left[-1].attached
                self.followed["a churn"] += 1
