"""Sliding-window rate limits per Item and per client."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque


class RateLimits:
    """Requests a window, by path. `rates[path]` = (per Item or None, per client)."""

    def __init__(self, rates: dict[str, tuple[int | None, int]], *, enabled: bool, window_s: float = 60):
        self.defaults = dict(rates)
        self.rates = dict(rates)
        self.enabled = enabled
        self.window_s = window_s
        self._seen: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def allows(self, path: str, item_id: str | None) -> bool:
        """Count one request and say whether it may pass. A refused request is not counted."""
        if not self.enabled or path not in self.rates:
            return True
        per_item, per_client = self.rates[path]
        scopes = [("client", per_client)]
        if item_id is not None and per_item is not None:
            scopes.append((item_id, per_item))
        now = time.monotonic()
        with self._lock:
            windows = [(self._recent(path, scope, now), limit) for scope, limit in scopes]
            if any(len(window) >= limit for window, limit in windows):
                return False
            for window, _limit in windows:
                window.append(now)
            return True

    def _recent(self, path: str, scope: str, now: float) -> deque[float]:
        window = self._seen[path, scope]
        while window and window[0] <= now - self.window_s:
            window.popleft()
        return window

    def change(
        self, *, enabled: bool | None = None, window_s: float | None = None, paths: dict | None = None
    ) -> dict[str, object]:
        """Change what is given, forget what was counted, return the whole state. `paths`: {path: {item, client}}."""
        with self._lock:
            if enabled is not None:
                self.enabled = enabled
            if window_s is not None:
                self.window_s = window_s
            for path, rate in (paths or {}).items():
                self.rates[path] = (rate.get("item"), rate.get("client", 10**9))
            self._seen.clear()
            shown = {path: {"item": item, "client": client} for path, (item, client) in self.rates.items()}
            return {"enabled": self.enabled, "window_s": self.window_s, "paths": shown}

    def restore(self) -> None:
        with self._lock:
            self.rates = dict(self.defaults)
            self._seen.clear()
