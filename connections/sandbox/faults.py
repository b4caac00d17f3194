"""Faults on demand: which request goes wrong next, and how. Kinds and options: docs/reference/simulators.md."""

from __future__ import annotations

import itertools
import threading
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

BEFORE = frozenset({"latency", "error", "html", "hang", "reset", "mutation"})  # the request has no effect, but latency
AFTER = frozenset(
    {"malformed", "truncated", "commit_then_drop", "oversized", "missing_field", "new_enum"}
)  # it has; the answer suffers
WEBHOOK = frozenset({"duplicate", "late", "reorder", "forge", "clock_skew"})
KINDS = BEFORE | AFTER | WEBHOOK


@dataclass(slots=True)
class Fault:
    """`times` matching requests go wrong after `skip` were let through. `path` may hold `*`, also for a part of it."""

    id: int
    path: str
    kind: str
    item_id: str | None = None
    skip: int = 0
    times: int = 1
    hits: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def matches(self, path: str, item_id: str | None, kinds: frozenset[str]) -> bool:
        return (
            self.times > 0
            and self.kind in kinds
            and (self.path == path or fnmatchcase(path, self.path))
            and (self.item_id is None or self.item_id == item_id)
        )


class Faults:
    """The queue of armed faults, of these kinds. The first that matches is used up first."""

    def __init__(self, kinds: frozenset[str] = KINDS) -> None:
        self._kinds = kinds
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._faults: list[Fault] = []

    def add(self, given: dict[str, Any]) -> dict[str, Any]:
        """Arm one fault. Raises ValueError where `kind` is unknown or `path` is missing."""
        options = dict(given)
        kind = options.pop("kind", None)
        if kind not in self._kinds:
            raise ValueError(f"kind must be one of {', '.join(sorted(self._kinds))}")
        path = options.pop("path", "webhook" if kind in WEBHOOK else None)
        if path is None:
            raise ValueError("path is required")
        fault = Fault(
            id=next(self._ids),
            path=path,
            kind=kind,
            item_id=options.pop("item_id", None),
            skip=int(options.pop("skip", 0)),
            times=int(options.pop("times", 1)),
            options=options,
        )
        with self._lock:
            self._faults.append(fault)
        return asdict(fault)

    def take(self, path: str, item_id: str | None, kinds: frozenset[str]) -> Fault | None:
        """The fault for this request, counted down; None where it goes well."""
        with self._lock:
            for fault in self._faults:
                if not fault.matches(path, item_id, kinds):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                fault.hits += 1
                return fault
        return None

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def clear(self, fault_id: int | None = None) -> int:
        """Disarm one fault, or all. Returns how many went."""
        with self._lock:
            kept = [fault for fault in self._faults if fault_id is not None and fault.id != fault_id]
            gone = len(self._faults) - len(kept)
            self._faults = kept
        return gone
