"""Throttles per realm and app, and the meter of reads that the partner programme counts."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Rates:
    """The published figures. None switches one off."""

    per_second: int | None = 10
    per_minute: int | None = 500
    batches_per_minute: int | None = 40
    batches_per_realm_minute: int | None = 120
    concurrent: int | None = 10


class Throttles:
    """Sliding windows. A refused request is not counted."""

    def __init__(self, *, enabled: bool):
        self.starts_enabled = enabled
        self._lock = threading.Lock()
        self.restore()

    def restore(self) -> None:
        with self._lock:
            self.enabled = self.starts_enabled
            self.rates = Rates()
            self.read_cap: int | None = None  # calls a month; None: unmetered
            self.reads = 0
            self.is_metering_sandbox = False
            self._seen: defaultdict[tuple[str, ...], deque[float]] = defaultdict(deque)
            self._running: defaultdict[tuple[str, str], int] = defaultdict(int)

    def enter(self, client_id: str, realm: str, *, is_batch: bool) -> str | None:
        """Count a request in. Returns what it is too much of, None where it may pass; then `leave` has to follow."""
        rates, now, both = self.rates, time.monotonic(), (client_id, realm)
        windows: list[tuple[tuple[str, ...], float, int | None]] = [
            (("second", *both), 1, rates.per_second),
            (("minute", *both), 60, rates.per_minute),
        ]
        if is_batch:
            windows += [
                (("batch", *both), 60, rates.batches_per_minute),
                (("batch", realm), 60, rates.batches_per_realm_minute),
            ]
        with self._lock:
            if self.enabled:
                for key, span, limit in windows:
                    if limit is not None and self._count(key, span, now) >= limit:
                        return key[0]
                if rates.concurrent is not None and self._running[both] >= rates.concurrent:
                    return "concurrent"
                for key, _span, _limit in windows:
                    self._seen[key].append(now)
            self._running[both] += 1
        return None

    def leave(self, client_id: str, realm: str) -> None:
        with self._lock:
            self._running[client_id, realm] -= 1

    def _count(self, key: tuple[str, ...], span: float, now: float) -> int:
        window = self._seen[key]
        while window and window[0] <= now - span:
            window.popleft()
        return len(window)

    def is_read_allowed(self) -> bool:
        with self._lock:
            return self.read_cap is None or self.reads < self.read_cap

    def count_read(self) -> None:
        with self._lock:
            self.reads += 1

    def change(self, given: dict[str, Any]) -> dict[str, Any]:
        """Change what is given, forget what was counted in the windows, return the whole state."""
        given = dict(given)
        with self._lock:
            self.enabled = bool(given.pop("enabled", self.enabled))
            self.read_cap = given.pop("read_cap", self.read_cap)
            self.reads = int(given.pop("reads", self.reads))
            self.is_metering_sandbox = bool(given.pop("meter_sandbox", self.is_metering_sandbox))
            if unknown := set(given) - set(asdict(self.rates)):
                raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
            self.rates = Rates(**asdict(self.rates) | given)
            self._seen.clear()
            return {
                "enabled": self.enabled,
                "read_cap": self.read_cap,
                "reads": self.reads,
                "meter_sandbox": self.is_metering_sandbox,
            } | asdict(self.rates)
