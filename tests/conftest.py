"""The database as the application sees it, and real processes to test against."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connections
from django.test import TransactionTestCase
from psycopg import sql
from pytest_django.fixtures import _disable_migrations

from config.processes import Ledger, wait_until
from config.roles import drop_database, dsn_of, ensure_roles
from tests import plugin

KEPT_TABLES = ("django_migrations", "django_content_type", "auth_permission")
WRITTEN_TABLES = """
    SELECT quote_ident(relname), pg_relation_size(oid) > 256 * 1024 FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> ALL(%s) AND pg_relation_size(oid) > 0
"""
START_LIMIT_S = 60
# What these prove, other tests have walked through already: to trace every line again would take half of their time.
UNTRACED = (
    "benchmarks/",
    "chaos/",
    "config/test_up.py",
    "connections/api/test_isolation_under_load.py",
    "connections/services/test_key_rotation_live.py",
    "e2e/",
    "property/",
    "security/",
)
INSTALLATIONS = ("chaos/", "config/test_up.py", "e2e/", "security/")
TRACER = "COVERAGE_PROCESS_CONFIG"  # what has a child process traced


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Untraced tests are the slow ones: some of xdist's workers begin with them, and all end with quick ones.

    A worker gets one piece of the list, and takes from the end of others' pieces when it is through with its own. Those
    that start whole installations begin at one worker, one after the other: side by side they only wait for each other.
    """
    slow: list[list[pytest.Item]] = [[], []]
    quick = []
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        if name.startswith(UNTRACED):
            item.add_marker(pytest.mark.no_cover)
            slow[0 if name.startswith(INSTALLATIONS) else 1].append(item)
        else:
            quick.append(item)
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    size = -(-len(items) // workers)
    pieces: list[list[pytest.Item]] = [[] for _ in range(workers)]
    pieces[0] += slow[0]
    pieces[-1] += slow[1]
    for piece in pieces:
        taken = max(0, size - len(piece))
        piece += quick[:taken]
        del quick[:taken]
    items[:] = [item for piece in pieces for item in piece] + quick


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Processes that an untraced test starts are not traced, either."""
    kept = os.environ.pop(TRACER, None) if item.get_closest_marker("no_cover") else None
    try:
        return (yield)
    finally:
        if kept is not None:
            os.environ[TRACER] = kept


# --- database --------------------------------------------------------------------------------------------------------


def owner_dsn() -> str:
    return dsn_of(django_settings.DATABASES["owner"])


def maintenance_dsn() -> str:
    """A login that makes roles and databases: the embedded superuser, or the owner of a server given to the tests."""
    return plugin.SERVERS.superuser_dsn() if django_settings.IS_EMBEDDED_POSTGRES else owner_dsn()


@pytest.fixture(scope="session")
def servers() -> None:
    """PostgreSQL and Valkey run. Enough for a test that needs the cache or the broker and no tables."""
    plugin.start_servers()


@pytest.fixture(scope="session")
def django_db_setup(
    servers, django_db_blocker, django_db_use_migrations, django_db_keepdb, django_db_createdb
) -> Iterator[None]:
    """A migrated database for this process. `--reuse-db` keeps it, `--create-db` makes it anew.

    Django's own set-up would create it as the application's login, which may not.
    """
    name = django_settings.DATABASES["default"]["NAME"]
    if not django_db_keepdb or django_db_createdb:
        drop_database(maintenance_dsn(), name)
    passwords = {
        part: django_settings.DATABASES[alias].get("PASSWORD")
        for part, alias in (("app", "default"), ("owner", "owner"))
    }
    ensure_roles(maintenance_dsn(), django_settings.DATABASE_ROLES, database=name, passwords=passwords)
    with psycopg.connect(owner_dsn(), autocommit=True) as owner:  # two that wait for each other fail, and say for what
        owner.execute(sql.SQL("ALTER DATABASE {} SET lock_timeout = '30s'").format(sql.Identifier(name)))
    if not django_db_use_migrations:
        _disable_migrations()
    with django_db_blocker.unblock():
        call_command(
            "migrate", database="owner", verbosity=0, interactive=False, run_syncdb=not django_db_use_migrations
        )
        connections.close_all()
    yield
    if not django_db_keepdb:
        with django_db_blocker.unblock():
            connections.close_all()
        drop_database(maintenance_dsn(), name)


@pytest.fixture
def owner_connection(django_db_setup) -> Iterator[psycopg.Connection]:
    """The owner's own connection, each statement committed: it does not see what a test's transaction holds."""
    with psycopg.connect(owner_dsn(), autocommit=True) as connection:
        yield connection


def empty_all_tables(_test_case: TransactionTestCase | None = None) -> None:
    """What Django's flush does, which as the application's login would need TRUNCATE.

    TRUNCATE makes a file anew for every table and index that hangs on the one it empties: 70 ms, after every test. Few
    rows are deleted instead, in any order, which only a superuser's session may.
    """
    login = maintenance_dsn() if django_settings.IS_EMBEDDED_POSTGRES else owner_dsn()
    with psycopg.connect(login, dbname=django_settings.DATABASES["default"]["NAME"], autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")
        tables = connection.execute(WRITTEN_TABLES, [list(KEPT_TABLES)]).fetchall()
        if not tables:
            return
        if django_settings.IS_EMBEDDED_POSTGRES and not any(is_large for _name, is_large in tables):
            connection.execute("SET session_replication_role = replica")
            connection.execute("; ".join(f"DELETE FROM {name}" for name, _is_large in tables))
        else:
            connection.execute(f"TRUNCATE {', '.join(name for name, _is_large in tables)} RESTART IDENTITY CASCADE")


TransactionTestCase._fixture_teardown = empty_all_tables  # type: ignore[method-assign]

# --- processes -------------------------------------------------------------------------------------------------------


class Process:
    """A real process of Causeway's, its output in a file, in a session of its own."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        environment: dict[str, str] | None = None,
        *,
        traced: bool = True,
    ) -> None:
        self.name, self.log = name, log
        self.url = ""
        log.parent.mkdir(parents=True, exist_ok=True)
        variables = os.environ | {"CAUSEWAY_PROCESS": name, "PYTHONUNBUFFERED": "1"} | (environment or {})
        if not traced:
            variables.pop(TRACER, None)
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=plugin.BASE_DIR,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._ledger = Ledger(plugin.HOME / "run" / f"processes-{plugin.WORKER or 'main'}.json")
        self._ledger.add(name, self.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9, with everything it started."""
        self._signal_all(signal.SIGKILL)
        self.wait()

    def terminate(self) -> None:
        """Ask it to end; `wait` for it."""
        self._popen.terminate()

    def wait(self, limit_s: float = 15) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        code = self._popen.wait(limit_s)
        self._ledger.discard(self.pid)
        return code

    def stop(self) -> None:
        """Ended, politely where it listens: that is when its coverage is written."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(10)
        self._signal_all(signal.SIGKILL)
        self.wait()

    def wait_until(self, condition: Callable[[], bool], limit_s: float = START_LIMIT_S) -> None:
        """Wait while it runs. Fails with its output where the condition stays untrue."""
        if not wait_until(lambda: not self.is_running or condition(), limit_s) or not self.is_running:
            pytest.fail(f"{self.name} did not get there; its output:\n{self.output()[-4000:]}")

    def _signal_all(self, sent: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, sent)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    """One request to a process on loopback: its status, and what its JSON says."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    with contextlib.closing(connection):
        headers = {"Content-Type": "application/json"} if body is not None else {}
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text[:1] in (b"{", b"[") else text.decode(errors="replace")


def is_answering(url: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return call("GET", url)[0] == 200
    return False


WORKER = ["celery", "-A", "config.celery", "worker", "-P", "prefork", "-c", "1", "--without-gossip", "--without-mingle"]


def gunicorn(port: int) -> list[str]:
    """The command of a web process."""
    return [
        "gunicorn",
        "config.wsgi:application",
        "--bind",
        f"127.0.0.1:{port}",
        "--worker-class",
        "config.gunicorn.Worker",
        "--threads",
        "4",
        "--graceful-timeout",
        "2",
    ]


def _is_worker_ready(process: Process, node: str) -> bool:
    from config.celery import app

    return process.is_running and bool(app.control.ping(destination=[node], timeout=0.5))


@contextlib.contextmanager
def processes(label: str) -> Iterator[Callable[..., Process]]:
    """A factory of real processes on the test database and broker, which is emptied first; see the fixture `process`."""
    started: list[Process] = []
    file_name = re.sub(r"[^\w.-]+", "_", label)[:80]
    _empty_broker()

    def start(name: str, **environment: str) -> Process:
        number = len(started)
        log = plugin.HOME / "logs" / f"{file_name}-{number}-{name}.log"
        node = f"{name}-{number}-{time.monotonic_ns()}@test"
        port = free_port()
        commands = {
            "worker": [*WORKER, "-n", node, "-Q", "sync"],
            "worker-large": [*WORKER, "-n", node, "-Q", "large"],
            "beat": ["celery", "-A", "config.celery", "beat"],
            "web": gunicorn(port),
        }
        variables = {variable: value.replace("{port}", str(port)) for variable, value in environment.items()}
        made = Process(name, commands[name], log, variables)
        started.append(made)
        if name == "web":
            made.url = f"http://127.0.0.1:{port}"
            made.wait_until(lambda: is_answering(f"{made.url}/healthz"))
        elif name != "beat":
            made.wait_until(lambda: _is_worker_ready(made, node))
        return made

    try:
        yield start
    finally:
        for made in reversed(started):
            made.stop()


@pytest.fixture
def process(transactional_db, request: pytest.FixtureRequest) -> Iterator[Callable[..., Process]]:
    """A factory of real processes on this test's database and broker: worker, worker-large, beat, web.

    `process("worker", SYNC_TASK_S="5")` returns when it is ready; several of one kind are fine, and each can be
    killed. Whatever still runs when the test ends is stopped, newest first. `{port}` in a value is its port.
    """
    with processes(request.node.name) as start:
        yield start


def _empty_broker() -> None:
    """No message or budget of an earlier test is left in this process's Valkey database."""
    import redis

    with contextlib.closing(redis.Redis.from_url(django_settings.REDIS_URL)) as client:
        client.flushdb()


@pytest.fixture
def worker(process) -> Process:
    """A Celery worker of the sync queue."""
    return process("worker")


@pytest.fixture
def beat(process) -> Process:
    """Celery beat."""
    return process("beat")


@pytest.fixture
def live_web(process) -> Process:
    """gunicorn with the application; `.url` is where."""
    return process("web")


class Simulator:
    """The provider simulators of this test process, in a process of their own."""

    def __init__(self, process: Process, url: str) -> None:
        self.process, self.url = process, url

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call a control endpoint below `/plaid/_control/`, or any other path that starts with `/`."""
        target = path if path.startswith("/") else f"/plaid/_control/{path}"
        status, answer = call(method, self.url + target, body)
        assert status < 300, f"{method} {target}: {status} {answer}"
        return answer


@pytest.fixture(scope="session")
def _simulators() -> Iterator[Simulator]:
    name = f"simulators-{plugin.WORKER or 'main'}"
    home = plugin.HOME / name
    command = ["connections.sandbox", "--port", "0", "--home", str(home), "--ready-after-s", "0"]
    variables = {"SIMULATOR_DATABASE_URL": maintenance_dsn()}
    # Their own tests start others: here every call of every other test would wait for the tracer.
    process = Process("simulators", command, plugin.HOME / "logs" / f"{name}.log", variables, traced=False)
    process.wait_until(lambda: "simulators ready http" in process.output())
    found = re.search(r"simulators ready (\S+)", process.output())
    assert found
    yield Simulator(process, found[1])
    process.stop()


SIMULATED = {
    "PLAID_SANDBOX_URL": "/plaid",
    "PLAID_PRODUCTION_URL": "/plaid",
    "INTUIT_AUTHORIZE_URL": "/quickbooks/oauth2/authorize",
    "INTUIT_TOKEN_URL": "/quickbooks/oauth2/tokens",
    "INTUIT_REVOKE_URL": "/quickbooks/oauth2/revoke",
}


@pytest.fixture
def simulator(_simulators: Simulator, settings, monkeypatch) -> Simulator:
    """The simulators, as if new, with the clients pointed at them; processes started by `process` are, too."""
    for name, path in SIMULATED.items():
        setattr(settings, name, _simulators.url + path)
        monkeypatch.setenv(name, _simulators.url + path)
    _simulators.control("POST", "reset", {})
    _simulators.control("POST", "/quickbooks/_control/reset", {})
    return _simulators


# --- cast ------------------------------------------------------------------------------------------------------------

with contextlib.suppress(ModuleNotFoundError):
    from tests.factories import *  # noqa: F403 - alice owns, bob operates, charlie is a stranger
