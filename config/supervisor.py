"""The supervisor behind `manage.py up`: starts what Causeway consists of, keeps it running, stops all of it."""

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

CLOCK_TOLERANCE_S = 2.0  # a process's start time is counted from a boot time that a clock correction moves


@dataclass(frozen=True)
class Entry:
    """One process that was started: its pid, and when, since pids are used again."""

    name: str
    pid: int
    started_at: float


class Ledger:
    """The processes started here, on disk, so that the next start finds what a killed one left behind.

    Every process leads a session of its own, so one pid stands for whatever it started in turn.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def add(self, name: str, pid: int) -> None:
        """Note a process just started. One that has ended already is none."""
        with suppress(psutil.NoSuchProcess):
            self._write([*self._entries(), Entry(name, pid, psutil.Process(pid).create_time())])

    def discard(self, pid: int) -> None:
        self._write(entry for entry in self._entries() if entry.pid != pid)

    def reap(self, patience_s: float = 3.0) -> list[str]:
        """End every process noted that still runs, with all of its session. Returns their names."""
        found = [(entry, list(self._survivors(entry))) for entry in self._entries()]
        left = [process for _, processes in found for process in processes]
        for sent in (signal.SIGTERM, signal.SIGKILL):
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(sent)  # psutil compares the start time first
            _, left = psutil.wait_procs(left, timeout=patience_s)
        self._write([])
        return [entry.name for entry, processes in found if processes]

    def _survivors(self, entry: Entry) -> Iterator[psutil.Process]:
        """The noted process and its session's others. A session keeps its leader's pid from being used again."""
        leader_is_ours = True
        with suppress(psutil.NoSuchProcess):
            leader_is_ours = abs(psutil.Process(entry.pid).create_time() - entry.started_at) < CLOCK_TOLERANCE_S
        if not leader_is_ours:
            return
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                is_younger = process.create_time() > entry.started_at - CLOCK_TOLERANCE_S
                if os.getsid(process.pid) == entry.pid and is_younger and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def _entries(self) -> list[Entry]:
        try:
            return [Entry(**entry) for entry in json.loads(self.file.read_text())]
        except (FileNotFoundError, ValueError, TypeError):
            return []

    def _write(self, entries: Iterable[Entry]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps([asdict(entry) for entry in entries]))
        draft.replace(self.file)


def wait_until(condition, limit_s: float, pause_s: float = 0.05) -> bool:  # noqa: ANN001
    """Whether the condition came true within the limit."""
    deadline = time.monotonic() + limit_s
    while not (is_true := condition()) and time.monotonic() < deadline:
        time.sleep(pause_s)
    return bool(is_true)
