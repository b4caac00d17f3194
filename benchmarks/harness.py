"""A Causeway of its own for one benchmark: servers, simulator and database on loopback, all gone when it ends.

Import this before anything that reads Django's settings: it decides the environment that they are read from.
"""

import contextlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

UNLIMITED = str(10**9)
HOME = Path(tempfile.mkdtemp(prefix="causeway-benchmark-"))
os.environ |= {
    "CAUSEWAY_ENV": "test",
    "CAUSEWAY_HOME": str(HOME),
    "DEMO": "0",
    "LOG_LEVEL": "ERROR",
    "SECRET_KEY": "a-fixed-key-for-benchmarks-only-a-fixed-key-for-benchmarks",
    "ENCRYPTION_KEYS": "bench1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "PLAID_CLIENT_ID": "benchmark-client-id",
    "PLAID_SECRET": "benchmark-secret",
    "PLAID_SYNC_PER_ITEM_MINUTE": UNLIMITED,
    "PLAID_SYNC_PER_CLIENT_MINUTE": UNLIMITED,
    "PLAID_ACCOUNTS_PER_ITEM_MINUTE": UNLIMITED,
    "DJANGO_SETTINGS_MODULE": "config.settings",
}
for _name in ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "CAUSEWAY_DATABASE"):
    os.environ.pop(_name, None)  # never a database that is somebody's


@dataclass
class Simulator:
    """The provider simulators, in a process of their own, without rate limits."""

    url: str

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, f"{self.url}/plaid/_control/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()


@contextlib.contextmanager
def causeway() -> Iterator[Simulator]:
    """Everything runs and is migrated; the servers keep what they commit, as in production."""
    import django

    servers = None
    try:
        with _simulator() as simulator:
            os.environ["PLAID_SANDBOX_URL"] = f"{simulator.url}/plaid"
            django.setup()
            from django.conf import settings

            servers = settings.EMBEDDED
            servers.start_postgres()
            servers.start_valkey()
            _migrate()
            yield simulator
    finally:
        with contextlib.suppress(Exception):
            from django.db import connections

            connections.close_all()
        if servers:
            servers.remove()
        shutil.rmtree(HOME, ignore_errors=True)


@contextlib.contextmanager
def _simulator() -> Iterator[Simulator]:
    command = ["connections.sandbox", "--port", "0", "--home", str(HOME), "--no-limits"]
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            ready = process.stdout.readline().split()  # simulators ready http://127.0.0.1:PORT
            if len(ready) != 3:
                sys.exit("The simulators did not start.")
            yield Simulator(ready[2])
        finally:
            process.terminate()


def _migrate() -> None:
    from django.conf import settings
    from django.core.management import call_command

    from config.roles import ensure_roles

    ensure_roles(settings.EMBEDDED.superuser_dsn(), settings.DATABASE_ROLES, database="causeway")
    call_command("migrate", database="owner", verbosity=0, interactive=False)


def owner(statement: str) -> None:
    """Run one statement as the tables' owner, committed."""
    import psycopg
    from django.conf import settings

    from config.roles import dsn_of

    with psycopg.connect(dsn_of(settings.DATABASES["owner"]), autocommit=True) as connection:
        connection.execute(statement)


def checkpoint() -> None:
    """What earlier work left to write is written, so that the next measurement does not pay for it."""
    import psycopg
    from django.conf import settings

    with psycopg.connect(settings.EMBEDDED.superuser_dsn(), autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def peak_rss_mb() -> float:
    """The most memory this process has ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if platform.system() == "Linux" else peak / 1024 / 1024


@contextlib.contextmanager
def rss_growth() -> Iterator[Callable[[], float]]:
    """How many MB this process grows to in the block, over what it has at the beginning; looked at ten times a second."""
    import psutil

    process, stop = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def look() -> None:
        nonlocal most
        while not stop.wait(0.1):
            most = max(most, process.memory_info().rss)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    yield lambda: (most - before) / 2**20
    stop.set()
    watcher.join()


def median(values: list[float]) -> float:
    return statistics.median(values)


def say(text: str) -> None:
    """Progress, for a person; the result is the one line on stdout."""
    print(text, file=sys.stderr, flush=True)


def result(**figures: Any) -> None:
    """The benchmark's last line: JSON."""
    print(json.dumps(figures))
