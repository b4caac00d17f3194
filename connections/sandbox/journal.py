"""An append-only journal of JSON lines: what happened, in order, so that a restart can live through it again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from . import exact

Event = dict[str, Any]


class Journal:
    """Events on disk. Written through to the system before `append` returns: killing the process loses nothing."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        path.touch(mode=0o600, exist_ok=True)
        self._cut_torn_line()
        self._file = path.open("ab", buffering=0)

    def _cut_torn_line(self) -> None:
        """Drop what follows the last newline: a write that a kill interrupted, so nobody was told it happened."""
        with self.path.open("rb+") as file:
            size = position = file.seek(0, 2)
            while position:
                start = max(0, position - 65536)
                file.seek(start)
                newline = file.read(position - start).rfind(b"\n")
                if newline >= 0:
                    position = start + newline + 1
                    break
                position = start
            if position < size:
                file.truncate(position)

    def append(self, event: Event) -> None:
        line = exact.dumps(event, newline=True)
        with self._lock:
            self._file.write(line)

    def replay(self, parse: Callable[[bytes], Event] = orjson.loads) -> Iterator[Event]:
        """Every event, oldest first. A line that is no JSON (a damaged disk) ends the replay quietly."""
        with self.path.open("rb") as file:
            for line in file:
                try:
                    yield parse(line)
                except ValueError:
                    return

    def restart(self, events: list[Event]) -> None:
        """Forget everything but `events`."""
        with self._lock:
            self._file.truncate(0)
            for event in events:
                self._file.write(exact.dumps(event, newline=True))

    def close(self) -> None:
        with self._lock:
            self._file.close()
