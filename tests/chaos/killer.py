"""kill -9, of everything, at moments nobody chose; and how long it took until somebody else went on."""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import psycopg
import redis

from config.processes import wait_until
from tests.chaos.world import LEASE_S, SECOND, TAKEOVER_LIMIT_S, World

WORKERS = ("worker", "worker-large", SECOND)
VICTIMS = ("postgres", "worker", "valkey", "worker-large", "web", SECOND, "beat")
HOW = {  # a share of the process tree: all of it, the first process alone, or one of its children
    "worker": ("all", "all", "first", "child"),
    "worker-large": ("all", "first", "child"),
    SECOND: ("all", "child"),
    "web": ("all", "first", "child"),
    "beat": ("all",),
    "postgres": ("all", "all", "child"),  # a lost child makes PostgreSQL itself go through crash recovery
    "valkey": ("all",),
}
MEASURE_GRACE_S = 20  # a takeover that comes too late is still waited for, to tell how late
OVERLOAD = 3.0


@dataclass
class Takeover:
    """A claim whose worker was killed, until the database saw somebody else's claim."""

    victim: str
    item_id: str
    seconds: float | None  # None: not within TAKEOVER_LIMIT_S + MEASURE_GRACE_S
    by: str
    load: float  # what waited for each of this machine's cores then

    @property
    def is_late(self) -> bool:
        """Where the machine had no time for anybody, only that it came counts, not when."""
        return self.seconds is None or (self.seconds > TAKEOVER_LIMIT_S and self.load < OVERLOAD)


@dataclass
class Killer:
    """Its choices follow from `rng`; what they hit does not."""

    world: World
    rng: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)  # what was going on at the moment of a kill
    takeovers: list[Takeover] = field(default_factory=list)
    emptied: int = 0
    kept: list[tuple] = field(default_factory=list)  # staged pages that outlived a database crash: there may be none

    @property
    def total(self) -> int:
        return self.kills.total()

    # --- one kill ---
    def strike(self, victim: str) -> None:
        """At a random moment, or in the middle of a run; a worker often while everybody else is well, and then measured."""
        if victim in WORKERS and self.rng.random() < 0.5 and self.measure(victim):
            return
        time.sleep(self.rng.uniform(0, 1.8))
        if self.rng.random() < 0.5:
            self._wait_for("SELECT FROM sync_syncrun WHERE status = 'running' AND page_count > 0", 3)
        if victim == "postgres":
            self.crash_postgres(self.rng.choice(HOW["postgres"]))
        else:
            self.kill(victim, self.rng.choice(HOW[victim]))

    def kill(self, victim: str, how: str = "all") -> float:
        """Returns when, by the clock that PostgreSQL reads, too. The victim is up before, however young."""
        self.world.revive_second()
        assert wait_until(lambda: self.world.main(victim) is not None, 60), f"{victim} was not started again"
        first = self.world.main(victim)
        assert first is not None
        with contextlib.suppress(psutil.Error):
            children = first.children(recursive=True)
            struck = {"all": [first, *children], "first": [first], "child": [self.rng.choice(children or [first])]}[how]
            at = time.time()
            for process in struck:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self.kills[f"{victim}, {how}" if how != "all" else victim] += 1
        if how != "child":
            wait_until(lambda: self.world.main(victim) != first, 2, 0.02)
        self.world.revive_second()
        return at

    def crash_postgres(self, how: str = "all") -> None:
        """What was staged must be gone when it is back: the table is unlogged, and a stage with holes is never merged."""
        staged = self._staged()
        self.hits["postgres with pages staged"] += bool(staged)
        started = self._started_at()
        self.kill("postgres", how)
        assert wait_until(lambda: self._started_at() not in (None, started), 90), "PostgreSQL did not come back"
        if not wait_until(lambda: self._staged() is not None, 30):
            return
        self.kept += set(staged or ()) & set(self._staged() or ())
        self.emptied += len(staged or ())

    def _staged(self) -> list[tuple] | None:
        with contextlib.suppress(psycopg.OperationalError):
            return self.world.ask("SELECT run_id, page_number, lease_token FROM sync_stagedpage")
        return None

    def _started_at(self) -> tuple | None:
        """When it last began to serve, a recovery of its own included: then its checkpointer is a new one."""
        query = """SELECT pg_postmaster_start_time(), pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"""
        with contextlib.suppress(psycopg.OperationalError):
            found = self.world.ask(query)
            return found[0] if found else None
        return None

    # --- a broker that is away ---
    @contextlib.contextmanager
    def broker_kept_down(self) -> Iterator[None]:
        """Killed as often as it is started again, until the block ends."""
        end = threading.Event()

        def keep_down() -> None:
            while not end.wait(0.01):
                with contextlib.suppress(psutil.Error):
                    if found := self.world.main("valkey"):
                        found.kill()
                        self.kills["valkey"] += 1

        keeper = threading.Thread(target=keep_down, name="keeper", daemon=True)
        keeper.start()
        try:
            assert wait_until(lambda: not self.world.servers.is_valkey_ready(), 10, 0.02)
            yield
        finally:
            end.set()
            keeper.join(10)

    @contextlib.contextmanager
    def broker_stopped(self) -> Iterator[None]:
        """It takes connections and never answers, until the block ends."""
        broker = self.world.main("valkey")
        assert broker is not None
        broker.suspend()
        self.hits["valkey stopped"] += 1
        try:
            yield
        finally:
            broker.resume()

    @contextlib.contextmanager
    def broker_wiped(self) -> Iterator[None]:
        """All that it knew is gone as the block begins, and once more as it ends."""
        self.wipe_broker()
        yield
        self.wipe_broker()

    def wipe_broker(self) -> None:
        assert wait_until(self.world.servers.is_valkey_ready, 60)
        with contextlib.closing(redis.Redis(unix_socket_path=str(self.world.servers.valkey_socket))) as client:
            client.flushall()
        self.hits["valkey wiped"] += 1

    # --- takeover ---
    def measure(self, *victims: str, patience_s: float = 4) -> bool:
        """Kill the first of them that holds a claim while everybody else is well, and wait for the takeover.

        False: there was no such moment.
        """
        if not wait_until(self._is_calm, patience_s, 0.2):
            return False
        if not wait_until(lambda: any(map(self._held_by, victims)), patience_s, 0.01):
            return False
        victim = next((name for name in victims if self._held_by(name)), victims[0])
        last = self.world.ask("SELECT coalesce(max(id), 0) FROM chaos.lease")[0][0]
        at = self.kill(victim)
        self.world.simulator.control("DELETE", "faults")  # whoever takes over has its hands free soon
        time.sleep(0.2)  # what it had sent to PostgreSQL before it died is executed
        orphaned = self._held_by(victim)
        if not orphaned:
            return True  # it had just let go
        deadline = time.monotonic() + TAKEOVER_LIMIT_S + MEASURE_GRACE_S
        for item_id, token in orphaned:
            self._await_takeover(victim, item_id, token, at, last, deadline)
        return True

    def _await_takeover(self, victim: str, item_id: str, token: str, at: float, last: int, deadline: float) -> None:
        query = """SELECT extract(epoch FROM at)::float8, by FROM chaos.lease
                   WHERE item_id = %s AND former = %s AND token IS NOT NULL AND id >= %s"""
        found: list[tuple] = []

        def is_taken() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                found[:] = self.world.ask(query, item_id, token, last)
            return bool(found)

        wait_until(is_taken, max(0.1, deadline - time.monotonic()), 0.1)
        seconds, by = (found[0][0] - at, found[0][1]) if found else (None, "nobody")
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        self.takeovers.append(Takeover(victim, item_id, seconds, by.removeprefix("causeway-"), load))

    def _is_calm(self) -> bool:
        """Database, broker, clock and three workers are well."""
        self.world.revive_second()
        return bool(self._staged() is not None and self.world.main("beat") and len(self.world.nodes()) == 3)

    def _held_by(self, victim: str) -> list[tuple[str, str]]:
        query = """SELECT i.item_id, i.lease_token::text FROM connections_plaiditem i
                   WHERE i.lease_expires_at > now() AND (
                       SELECT l.by FROM chaos.lease l WHERE l.item_id = i.item_id ORDER BY l.id DESC LIMIT 1) = %s"""
        with contextlib.suppress(psycopg.OperationalError):
            return self.world.ask(query, f"causeway-{victim}")
        return []

    def _wait_for(self, query: str, limit_s: float) -> None:
        wait_until(lambda: self.world.answers(query), limit_s, 0.02)

    # --- a worker that is not dead, only late ---
    def stall(self, victim: str) -> None:
        """Stopped for longer than a lease, then let go on: by then somebody else has taken over."""
        self._wait_for("SELECT FROM connections_plaiditem WHERE lease_expires_at > now()", 3)
        first = self.world.main(victim)
        if first is None:
            return
        with contextlib.suppress(psutil.Error):
            stopped = [first, *first.children(recursive=True)]
            for process in stopped:
                process.suspend()
            time.sleep(LEASE_S + 2)
            for process in stopped:
                with contextlib.suppress(psutil.Error):
                    process.resume()
            self.hits[f"{victim} stalled"] += 1
