"""The supervisor behind `manage.py up`: starts one thing after the other, keeps each running, stops all of it.

It knows processes only. What they are, and in which order they come, is in `config/management/commands/up.py`.
"""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from config.processes import Child, Console, Ledger, Server

PULSE_S = 0.2
HAND_OVER_S = 1.0  # a supervisor notices within this that it is to stop
STOP_LIMIT_S = 15.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Refused(RuntimeError):
    """Nothing can be started as things are; the text says what to change."""


class Stopped(BaseException):
    """A signal asked for the end. Not an Exception, so that nothing on the way mistakes it for a failure."""


@dataclass(frozen=True)
class Pace:
    """How soon a crashed unit starts again: each time twice as late, until it has been well for a while."""

    first_s: float = 1
    longest_s: float = 30
    healthy_after_s: float = 60


@dataclass
class Unit:
    """Something that is kept running, and how that goes."""

    what: Child | Server
    stage: int
    started_at: float = 0
    crashes: int = 0
    restart_at: float | None = None


class Supervisor:
    """Everything of one home. Use it as a context: leaving it stops what it started, in reverse order."""

    def __init__(
        self, *, home: Path, folder: Path, console: Console, pace: Pace | None = None, follows_parent: bool = False
    ) -> None:
        self.home, self.folder, self.console = home, folder, console
        self.pace = pace or Pace()
        self._parent = os.getppid() if follows_parent else None
        self.ledger = Ledger(home / "run" / "processes.json")
        self._units: list[Unit] = []
        self._stage = 0
        self._stop = threading.Event()
        self._signals = 0
        self._is_interruptible = False
        self._lock_file: int | None = None
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Supervisor":
        """The home is ours and holds no orphan, and signals are heard. Raises Refused."""
        heard = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
        # First of all, since a signal during the reaping must not end this process with half of it done. nohup stays nohup.
        self._handlers = {number: signal.signal(number, self._on_signal) for number in heard}
        self._claim()
        for name in self.ledger.reap():
            self.console.say(f"Ended {name}, left behind by an earlier start.")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> bool:
        self._is_interruptible = False
        self._announce("stopping")
        self.stop_all()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._lock_file is not None:
            os.close(self._lock_file)
        return kind is Stopped

    # --- start -----------------------------------------------------------------------------------------------------

    def child(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        """Start a process and keep it running from now on."""
        variables = {"CAUSEWAY_PROCESS": name, "CAUSEWAY_SUPERVISOR": str(os.getpid()), **(environment or {})}
        log = self.home / "logs" / f"{name}.log"
        made = Child(name, command, variables, self.console, log, self.ledger, self.folder)
        self._add(made)
        return made

    def server(self, made: Server) -> None:
        """Start an embedded server and keep it running from now on."""
        with self.interruptible():
            self._add(made)

    def next_stage(self) -> None:
        """What is started from here on is stopped, all of it, before what was started so far."""
        self._stage += 1

    def _add(self, what: Child | Server) -> None:
        if self._stop.is_set():
            raise Stopped
        unit = Unit(what, self._stage, started_at=time.monotonic())
        self._units.append(unit)  # first, so that it is stopped even if a signal comes while it starts
        what.start()

    def run_beside(self, work: Callable[[], object]) -> None:
        """Do the work in a thread while everything is kept running; raises what it raises. A stop does not wait for it."""
        raised: list[Exception] = []

        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised again below, in the thread that asked for the work
                raised.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            self._pulse()
        for error in raised:
            raise error

    def wait_for(self, what: str, is_ready: Callable[[], bool], limit_s: float = 60) -> None:
        """Keep everything running until the condition holds. Raises Refused where it does not within the limit."""
        deadline = time.monotonic() + limit_s
        while not is_ready():
            for _ in range(2):  # who asks too often fills the logs with it
                self._pulse()
            if time.monotonic() > deadline:
                raise Refused(f"{what} was not ready within {limit_s:.0f} s. The logs are in {self.home / 'logs'}")

    def run(self) -> None:
        """Keep everything running until a signal asks for the end."""
        with contextlib.suppress(Stopped):
            while True:
                self._pulse()

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, a signal raises Stopped wherever the program is; elsewhere it waits for the next pulse."""
        if self._stop.is_set():
            raise Stopped
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False

    # --- keep running ----------------------------------------------------------------------------------------------

    def _pulse(self) -> None:
        if self._parent and os.getppid() != self._parent:
            self.console.say("The process that started this one is gone.")
            self._stop.set()
        if self._stop.wait(PULSE_S):
            raise Stopped
        for unit in self._units:
            if unit.what.is_alive():
                continue
            if unit.restart_at is None:
                self._note_crash(unit)
            elif time.monotonic() >= unit.restart_at:
                self._restart(unit)

    def _note_crash(self, unit: Unit) -> None:
        now = time.monotonic()
        if now - unit.started_at > self.pace.healthy_after_s:
            unit.crashes = 0
        delay = min(self.pace.first_s * 2**unit.crashes, self.pace.longest_s)
        unit.crashes += 1
        unit.restart_at = now + delay
        self.console.say(f"{unit.what.name} {unit.what.ending()}; it starts again in {delay:g} s.")

    def _restart(self, unit: Unit) -> None:
        unit.restart_at, unit.started_at = None, time.monotonic()
        try:
            with self.interruptible():
                unit.what.restart()
        except (OSError, RuntimeError) as error:
            self.console.say(f"{unit.what.name}: {error}")

    # --- stop ------------------------------------------------------------------------------------------------------

    def stop_all(self) -> None:
        """Nothing that was started runs. Last stage first; within one, all are asked at once, the newest first."""
        while self._units:
            stage = max(unit.stage for unit in self._units)
            units = [unit.what for unit in reversed(self._units) if unit.stage == stage]
            self._units = [unit for unit in self._units if unit.stage != stage]
            for unit in units:
                unit.ask_to_stop()
            self._wait_for_end(units)
            for unit in units:
                if unit.is_alive():
                    self.console.say(f"{unit.name} did not stop in time and is killed.")
                    unit.kill()

    def _wait_for_end(self, units: Sequence[Child | Server]) -> None:
        began = time.monotonic()
        while waiting := [unit for unit in units if unit.is_alive()]:
            if self._signals > 1 or time.monotonic() - began > max(unit.stop_patience_s for unit in waiting):
                return
            time.sleep(0.02)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """The first signal asks for the end, a second one has no patience."""
        self._signals += 1
        self._stop.set()
        if self._is_interruptible:
            self._is_interruptible = False
            raise Stopped

    # --- one at a time ---------------------------------------------------------------------------------------------

    def _claim(self) -> None:
        """Hold the home's lock, which the kernel releases on any death. Raises Refused where another one holds it."""
        file = self.home / "run" / "supervisor.lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        began = time.monotonic()
        while not self._has_lock():
            holder, _, state = file.read_text().strip().partition(" ")
            if time.monotonic() - began > (STOP_LIMIT_S if state == "stopping" else HAND_OVER_S):
                os.close(self._lock_file)
                raise Refused(
                    f"Causeway already runs in {self.home} (process {holder or 'unknown'}). Stop it first, "
                    "or set CAUSEWAY_HOME, PORT and SIMULATOR_PORT to run a second one beside it."
                )
            time.sleep(0.1)
        self._announce("running")

    def _has_lock(self) -> bool:
        try:
            fcntl.flock(self._lock_file or -1, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _announce(self, state: str) -> None:
        """Tell the next start whether waiting for us is worth its while."""
        if self._lock_file is not None:
            os.ftruncate(self._lock_file, 0)
            os.pwrite(self._lock_file, f"{os.getpid()} {state}".encode(), 0)


def refuse_taken_ports(ports: Mapping[str, tuple[str, int]]) -> None:
    """Raises Refused, naming the variables, where one of the ports cannot be had: variable → (host, port)."""
    sentences = [sentence for name, address in ports.items() if (sentence := _obstacle(name, *address))]
    if sentences:
        raise Refused("\n".join(sentences))


def _obstacle(variable: str, host: str, port: int) -> str | None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"Port {port} is taken by another program. Stop that one, or set {variable} to a free port."
            return f"{host}:{port} cannot be listened on ({error.strerror}). Correct BIND_ADDRESS or {variable}."
    return None
