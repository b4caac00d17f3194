"""The processes the supervisor starts: what it says of them, where it notes them, and how it starts and ends one."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TextIO

import psutil

CLOCK_TOLERANCE_S = 2.0  # a process's start time is counted from a boot time that a clock correction moves
LOG_LIMIT_BYTES = 10_000_000
LONGEST_LINE_BYTES = 64 * 1024
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95)


class Console:
    """One place to write to, a line at a time, each with the name of who said it."""

    WIDTH = 12

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._is_colourful = stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, int] = {}
        self._lock = threading.Lock()

    def say(self, text: str, *, name: str = "causeway") -> None:
        with self._lock:
            for line in text.splitlines():
                self._write(f"{self._prefix(name)} {line}\n")

    def _prefix(self, name: str) -> str:
        label = f"{name:<{self.WIDTH}} |"
        if not self._is_colourful:
            return label
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\x1b[{colour}m{label}\x1b[0m"

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the log files go on
            self._stream = None


class Speaker:
    """A stream for `print`: whole lines go to the console under a name."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name, self._pending = console, name, ""

    def write(self, text: str) -> None:
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._console.say(line or " ", name=self._name)

    def flush(self) -> None:
        """Lines are shown as they come."""


class LogFile:
    """A log that keeps its last 10 to 20 MB, in two files."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def _open(self) -> None:
        if self.file.exists() and self.file.stat().st_size > LOG_LIMIT_BYTES:
            self.file.replace(self.file.with_suffix(".log.1"))
        self._handle: IO[bytes] = self.file.open("ab", buffering=0)

    def write(self, line: bytes) -> None:
        with suppress(OSError):  # a full disk must not stop what is being logged
            self._handle.write(line)
            if self._handle.tell() > LOG_LIMIT_BYTES:
                self._handle.close()
                self._open()

    def close(self) -> None:
        self._handle.close()


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
        if found:
            self._write([])
        return [entry.name for entry, processes in found if processes]

    def _survivors(self, entry: Entry) -> Iterator[psutil.Process]:
        """The noted process and its session's others. A session keeps its leader's pid from being used again."""
        with suppress(psutil.NoSuchProcess):
            if abs(psutil.Process(entry.pid).create_time() - entry.started_at) > CLOCK_TOLERANCE_S:
                return  # the pid has been used again, so the session is over
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


@dataclass
class Child:
    """A process of ours in a session of its own; its output goes to the console and to its log."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    console: Console
    log: Path
    ledger: Ledger
    folder: Path
    stop_patience_s: float = 6.5
    _popen: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _relaying: threading.Thread | None = field(default=None, init=False)
    _is_cleared: bool = field(default=True, init=False)

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    @property
    def code(self) -> int | None:
        """Its exit code, negative where a signal ended it; None while it runs."""
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        self._popen = subprocess.Popen(
            self.command,
            cwd=self.folder,
            env={**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._is_cleared = False
        self.ledger.add(self.name, self._popen.pid)
        self._relaying = threading.Thread(target=self._relay, args=[self._popen.stdout], name=self.name, daemon=True)
        self._relaying.start()

    def restart(self) -> None:
        self.start()

    def is_alive(self) -> bool:
        """Whether it runs. One that has ended takes what it had started with it, and is noted no more."""
        if self._popen is None:
            return False
        if self._popen.poll() is None:
            return True
        self._clear()
        return False

    def ending(self) -> str:
        """How it ended, in words."""
        code = self.code
        if code is not None and code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def ask_to_stop(self) -> None:
        if self._popen and self._popen.poll() is None:
            self._popen.terminate()

    def kill(self) -> None:
        if self._popen:
            self._clear()
            self._popen.wait()

    def _clear(self) -> None:
        """Nothing of its session is left, grandchildren included. Once: later the pid may be somebody else's."""
        if self._popen and not self._is_cleared:
            self._is_cleared = True
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self.ledger.discard(self._popen.pid)
            if self._relaying:
                self._relaying.join(0.5)  # its last words come before what is said about its end

    def _relay(self, output: IO[bytes]) -> None:
        log = LogFile(self.log)
        with output:
            while line := output.readline(LONGEST_LINE_BYTES):
                log.write(line)
                self.console.say(line.decode(errors="replace").rstrip("\r\n") or " ", name=self.name)
        log.close()


@dataclass
class Server:
    """An embedded server, which is no child of ours: it may have been running before us, and outlive a kill -9.

    start_it: is told for how many seconds to try. One that is started again gets few of them, since meanwhile nobody
    else is started again: its next turn comes.
    """

    name: str
    start_it: Callable[[float], object]
    pid_of_it: Callable[[], int | None]
    stop_it: Callable[[float], None]
    stop_patience_s: float = 1.5
    start_patience_s: float = 60
    restart_patience_s: float = 1

    @property
    def pid(self) -> int | None:
        return self.pid_of_it()

    def start(self) -> None:
        self.start_it(self.start_patience_s)

    def restart(self) -> None:
        self.start_it(self.restart_patience_s)

    def is_alive(self) -> bool:
        return self.pid_of_it() is not None

    def ending(self) -> str:
        return "is gone"

    def ask_to_stop(self) -> None:
        self.stop_it(self.stop_patience_s)

    def kill(self) -> None:
        """`stop_it` has done that by itself."""


def wait_until(condition: Callable[[], bool], limit_s: float, pause_s: float = 0.05) -> bool:
    """Whether the condition came true within the limit."""
    deadline = time.monotonic() + limit_s
    while not (is_true := condition()) and time.monotonic() < deadline:
        time.sleep(pause_s)
    return is_true
