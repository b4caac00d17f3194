"""Runs before Django's settings: gives every test run a home of its own, and servers that nothing else uses.

A `-p` plugin, because pytest-django loads the settings before any conftest.py.
"""

import os
import re
from pathlib import Path

import pytest

from config.embedded import Embedded, abandoned
from config.processes import Ledger

BASE_DIR = Path(__file__).resolve().parent.parent
HOMES = BASE_DIR / ".causeway" / "test"
KEPT = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")  # a person may point a run at servers of their own
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # gw0, gw1, …; xdist's workers inherit the environment of the first
IS_FIRST = not WORKER
ENVIRONMENT = {
    "CAUSEWAY_ENV": "test",
    "DEMO": "0",
    "LOG_FORMAT": "text",
    "SECRET_KEY": "a-fixed-key-for-tests-only-a-fixed-key-for-tests-only",
    "ENCRYPTION_KEYS": "test1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "JOBS_SECRET": "jobs-secret-for-tests",
    "PLAID_CLIENT_ID": "test-client-id",
    "PLAID_SECRET": "test-plaid-secret",
    "PLAID_SANDBOX_URL": "http://127.0.0.1:9/plaid",  # nothing listens on the discard port: a test that needs a bank
    "PLAID_PRODUCTION_URL": "http://127.0.0.1:9/plaid",  # asks for the `simulator` fixture, and no other can leave
    "QUICKBOOKS_CLIENT_ID": "test-quickbooks-id",
    "QUICKBOOKS_CLIENT_SECRET": "test-quickbooks-secret",
    "INTUIT_AUTHORIZE_URL": "http://127.0.0.1:9/quickbooks/oauth2/authorize",
    "INTUIT_TOKEN_URL": "http://127.0.0.1:9/quickbooks/oauth2/tokens",
    "INTUIT_REVOKE_URL": "http://127.0.0.1:9/quickbooks/oauth2/revoke",
    "PLAID_OWN_WEBHOOKS": "0",  # simulated Items call nobody, unless a test gives them an address
    "LEASE_S": "2",
    "TICK_S": "0.2",
    "OFFER_S": "1",
    "BACKOFF_BASE_S": "0.2",
    "BACKOFF_MAX_S": "2",
    "EVENT_BACKOFF_S": "0.1",
    "ALERT_BACKOFF_S": "0.1",
    "RATE_LIMIT_WAIT_S": "0.5",
    "SYNC_RESTART_JITTER_S": "0.05",
    "THROTTLE_USER": "0",
    "THROTTLE_LOGIN": "0",
    "STAFF_OTP": "optional",
    "ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8,::1/128",  # where the simulators are
}


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A random UUID in a test's name would give xdist's workers different tests to collect."""
    return argname if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(val)) else None


def pytest_unconfigure(config: pytest.Config) -> None:
    if IS_FIRST:
        _remove(SERVERS)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test has to tell beyond that it passed: `record_property("summary", …)`, the figures of a storm."""
    for reports in list(terminalreporter.stats.values()):
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "summary" and report.when == "call":
                    terminalreporter.section(report.nodeid.rpartition("::")[2])
                    terminalreporter.write_line(text)


def _set_environment() -> Path:
    """Nothing of a developer's shell or .env reaches a test. Returns the run's home."""
    if IS_FIRST:
        for name in re.findall(r"^#?\s*([A-Z][A-Z_]+)=", (BASE_DIR / ".env.example").read_text(), re.MULTILINE):
            if name not in KEPT:
                os.environ.pop(name, None)
        os.environ.update(ENVIRONMENT)
        os.environ["CAUSEWAY_HOME"] = str(HOMES / str(os.getpid()))
        os.environ["COVERAGE_FILE"] = str(
            HOMES / str(os.getpid()) / "coverage"
        )  # child processes write theirs beside it
    os.environ["CAUSEWAY_DATABASE"] = f"test_causeway_{WORKER or 'main'}"
    os.environ.setdefault(
        "CAUSEWAY_TEST_EMBEDDED", "".join(n for n in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(n))
    )
    return Path(os.environ["CAUSEWAY_HOME"])


def _own_broker_database(url: str) -> str:
    """Each xdist worker counts its Valkey database up from the run's, so that nothing crosses."""
    number = int(WORKER.removeprefix("gw") or -1) + 1 if WORKER else 0
    if url.startswith("unix://"):
        return f"{url.partition('?')[0]}?db={number}"
    return f"{url.rstrip('/')}/{number}" if url.count("/") == 2 else re.sub(r"/\d*$", f"/{number}", url)


def _remove(servers: Embedded) -> None:
    """Nothing of a run is left: neither its processes, nor its servers, nor their data."""
    for ledger in (servers.home / "run").glob("processes-*.json"):
        Ledger(ledger).reap()
    for home in servers.home.glob("*/home"):  # a whole installation that a test had started
        Ledger(home / "run" / "processes.json").reap()
        Embedded(home).remove()
    servers.remove()


HOME = _set_environment()
SERVERS = Embedded(HOME, durable=False)
os.environ["REDIS_URL"] = _own_broker_database(os.environ.get("REDIS_URL") or f"unix://{SERVERS.valkey_socket}")
if IS_FIRST:
    for left_behind in abandoned(HOMES):  # by runs that were killed
        _remove(Embedded(left_behind))
    HOME.mkdir(parents=True, exist_ok=True)


def start_servers() -> None:
    """Start what the environment does not name. Quick where it runs already; workers race safely."""
    embedded = os.environ["CAUSEWAY_TEST_EMBEDDED"]
    if "DATABASE_URL" in embedded:
        SERVERS.start_postgres()
    if "REDIS_URL" in embedded:
        SERVERS.start_valkey()
