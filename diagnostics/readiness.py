"""Whether this installation can do its work: each part asked at once, none waited for longer than the limit."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import cast

import psutil
import psycopg
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from config import liveness
from config.roles import dsn_of

log = structlog.get_logger(__name__)

LIMIT_S = 1.8
# What hangs keeps its thread until its own limit; with all of them taken the next answer is "no answer" too.
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="readiness")


@dataclass(frozen=True, slots=True)
class Check:
    """One part's answer. why: in words for an operator, "" where it is well."""

    name: str
    why: str = ""

    @property
    def is_ok(self) -> bool:
        return not self.why

    @property
    def shown(self) -> dict[str, object]:
        return {"ok": True} if self.is_ok else {"ok": False, "why": self.why}


def checks() -> list[Check]:
    """Database, broker, worker and beat, and the demo's data while it is being made. At most LIMIT_S."""
    asked: dict[str, Future[list[Check]]] = {name: _threads.submit(ask) for name, ask in _QUESTIONS.items()}
    wait(asked.values(), timeout=LIMIT_S)
    answered = [check for name, answer in asked.items() for check in _answer(name, answer)]
    return [*answered, *_supervised(), *_seeding()]


def _answer(name: str, answer: Future[list[Check]]) -> list[Check]:
    if answer.done():
        return answer.result()
    answer.cancel()
    return [Check(part, f"No answer within {LIMIT_S} s.") for part in _PARTS[name]]


def _database() -> list[Check]:
    """A connection of its own: the pool of this process may be busy while the database is well."""
    try:
        dsn = dsn_of(cast(Mapping[str, object], settings.DATABASES["default"]))
        with psycopg.connect(dsn, connect_timeout=2, autocommit=True) as connection:
            connection.execute("SELECT FROM django_migrations LIMIT 1")
    except psycopg.errors.UndefinedTable:
        return [Check("database", "The database has no tables yet: run manage.py migrate --database owner.")]
    except psycopg.Error as error:
        log.warning("database_not_ready", error=type(error).__name__, exc_info=error)
        return [Check("database", "The database cannot be reached.")]
    return [Check("database")]


def _redis() -> list[Check]:
    """The broker, and through it the marks of worker and beat."""
    try:
        worker, beat = liveness.ages_s("worker", "beat")
    except RedisError as error:
        log.warning("broker_not_ready", error=type(error).__name__)
        unknown = "Unknown: the broker cannot be reached."
        return [Check("broker", "The broker cannot be reached."), Check("worker", unknown), Check("beat", unknown)]
    return [Check("broker"), _alive("worker", worker), _alive("beat", beat)]


def _alive(name: str, age_s: float | None) -> Check:
    label = name.capitalize()
    if age_s is None:
        return Check(name, f"{label} has not been heard of yet.")
    if age_s > liveness.stale_after_s():
        return Check(name, f"{label} was last heard of {age_s:.0f} s ago.")
    return Check(name)


def _supervised() -> list[Check]:
    """A process that a killed supervisor left behind must not speak for the start that is about to end it."""
    supervisor = os.environ.get("CAUSEWAY_SUPERVISOR", "")
    if supervisor.isdecimal() and not psutil.pid_exists(int(supervisor)):
        return [Check("supervisor", "The process that started this one is gone.")]
    return []


def _seeding() -> list[Check]:
    if settings.DEMO and (settings.CAUSEWAY_HOME / "seeding").exists():
        return [Check("demo_data", "The demo's data is still being made.")]
    return []


_QUESTIONS: dict[str, Callable[[], list[Check]]] = {"database": _database, "redis": _redis}
_PARTS = {"database": ("database",), "redis": ("broker", "worker", "beat")}
