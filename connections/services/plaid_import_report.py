"""What an import did: counted, and written as JSON row by row, so that a hundred thousand rows need no memory."""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from config import correlation
from config.logs import scrub
from connections.services.plaid_import import WENT_WRONG, Options, Outcome

WRONG_ROWS_KEPT = 200


class ImportReport:
    """Totals of the outcomes it is given. path: also a file with every row, complete and in place only at the end.

    The file is its owner's alone (mode 600); one that a killed import left behind ends in `.part`.
    """

    def __init__(self, *, options: Options, path: Path | None = None) -> None:
        self.statuses: Counter[str] = Counter()
        self.accounts: Counter[str] = Counter()
        self.wrong: list[Outcome] = []  # the first of them, to be told at the end
        self.stopped = ""
        self._options, self._path, self._is_first = options, path, True
        self._write: Callable[[str], Any] = lambda _text: None

    def __enter__(self) -> Self:
        if self._path:
            self._part = self._path.with_name(self._path.name + ".part")
            self._part.unlink(missing_ok=True)
            self._file = os.fdopen(
                os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
            )
            self._write = self._file.write
        told = {"is_dry_run": self._options.is_dry_run, "correlation_id": correlation.current()}
        self._write(_json(told).removesuffix("}") + ', "rows": [')
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if kind is None:
            self._write(f'\n], "totals": {_json(self.totals)}, "stopped": {_json(self.stopped)}}}\n')
        if self._path:
            self._file.close()
        if self._path and kind is None:
            self._part.replace(self._path)

    @property
    def wrong_count(self) -> int:
        return sum(self.statuses[status] for status in WENT_WRONG)

    @property
    def totals(self) -> dict[str, Any]:
        return {
            "rows": self.statuses.total(),
            "statuses": dict(self.statuses),
            "accounts": {
                name: self.accounts[name] for name in ("in_export", "found", "matched", "missing", "unlisted")
            },
            "items_with_accounts_unchecked": self.accounts["unchecked"],
        }

    def add(self, outcome: Outcome) -> None:
        self.statuses[str(outcome.status)] += 1
        if outcome.status in WENT_WRONG:
            if len(self.wrong) < WRONG_ROWS_KEPT:
                self.wrong.append(outcome)
        else:
            self._count(outcome)
        self._write(("" if self._is_first else ",") + "\n" + _json(as_json(outcome)))
        self._is_first = False

    def _count(self, outcome: Outcome) -> None:
        told = outcome.accounts
        self.accounts["in_export"] += told.in_export or 0
        self.accounts["found"] += told.found or 0
        self.accounts["unchecked"] += not told.is_checked
        for name in ("matched", "missing", "unlisted"):
            self.accounts[name] += len(getattr(told, name))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """One row of the report."""
    told = outcome.accounts
    accounts = {
        "is_checked": told.is_checked,
        "in_export": told.in_export,
        "found": told.found,
        "matched": [asdict(account) | {"account": ours or None} for account, ours in told.matched],
        "missing": [asdict(account) for account in told.missing],
        "unlisted": told.unlisted,
    }
    fields = ("line", "status", "reason", "detail", "workspace", "owner", "environment", "item_id", "institution")
    named = {name: getattr(outcome, name) for name in (*fields, "reference", "fingerprint", "history", "webhook")}
    connection = {"connection": outcome.connection_id or None, "connection_status": outcome.connection_status or None}
    return scrub(named | connection | {"accounts": accounts})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
