"""A whole installation to be shot at: `manage.py up`, the simulated bank, and the workers of a second machine."""

import contextlib
import http.client
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import psycopg
from celery import Celery

from config.embedded import Embedded
from config.processes import Ledger, wait_until
from tests import plugin
from tests.conftest import WORKER, Process, Simulator, is_answering
from tests.installation import Installation

LEASE_S = 3
TAKEOVER_LIMIT_S = LEASE_S + 5
SECOND = "worker-second"  # takes from both queues, so that whoever is killed, somebody is left to take over
PROCESSES = ("postgres", "valkey", "web", "worker", "worker-large", "beat", SECOND)
QUIET = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")  # measured elsewhere; here it would only cost time
SETTINGS = {
    "DEMO": "0",
    "LEASE_S": str(LEASE_S),
    "TICK_S": "1",
    "OFFER_S": "1",
    "HOUSEKEEPING_S": "3",
    "SYNC_LARGE_PAGES": "6",  # the largest of the banks alone has more
    "SYNC_TASK_S": "20",
    "RESTART_BASE_S": "0.2",
    "RESTART_MAX_S": "1",
    "PLAID_TIMEOUT_S": "10",
    "PLAID_SYNC_PER_ITEM_MINUTE": "100000",
    "PLAID_SYNC_PER_CLIENT_MINUTE": "100000",
    "PLAID_ACCOUNTS_PER_ITEM_MINUTE": "100000",
}

# What the database itself saw of every claim, with its own clock: it is the witness, whatever the processes tell.
WITNESS = """
    CREATE SCHEMA chaos;
    CREATE TABLE chaos.lease (
        id bigserial PRIMARY KEY, at timestamptz NOT NULL, item_id text NOT NULL, by text NOT NULL,
        former uuid, former_until timestamptz, token uuid, has_moved boolean NOT NULL
    );
    CREATE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO chaos.lease (at, item_id, by, former, former_until, token, has_moved)
        VALUES (clock_timestamp(), NEW.item_id, split_part(current_setting('application_name'), ' ', 1), OLD.lease_token, OLD.lease_expires_at,
                NEW.lease_token, OLD.cursor <> NEW.cursor);
        RETURN NULL;
    END $$;
    CREATE TRIGGER chaos AFTER UPDATE ON connections_plaiditem FOR EACH ROW
    WHEN (OLD.lease_token IS DISTINCT FROM NEW.lease_token OR OLD.cursor <> NEW.cursor) EXECUTE FUNCTION chaos.note();
"""


class World:
    """Started by `start`, gone after `end`. Whatever is killed in between is started again by the product's own supervisor."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.installation = Installation(folder / "home", **(plugin.ENVIRONMENT | SETTINGS | variables))
        for name in QUIET:
            self.installation.environment.pop(name, None)
        self.servers = Embedded(self.installation.home)
        self.simulator: Simulator
        self.simulator_process: Process | None = None
        self.second: Process | None = None
        self.token = ""
        self.second_starts = 0

    # --- start and end ---
    def start(self) -> None:
        self.folder.mkdir(parents=True)
        self._start_simulator()
        self.installation.start()
        self._make_person()
        with self.database() as superuser:
            superuser.execute(WITNESS)
        self.start_second()
        assert wait_until(lambda: len(self.nodes()) == 3, 60), self.nodes()

    def end(self) -> None:
        """Nothing of it is left: only processes that were started here are ended, each by its pid."""
        with contextlib.ExitStack() as last:  # whatever one step raises, the others follow
            last.callback(self.servers.remove)
            last.callback(Ledger(self.installation.home / "run" / "processes.json").reap)
            if self.simulator_process:
                last.callback(self.simulator_process.stop)
            last.callback(self.installation.stop)
            if self.second:
                last.callback(self.second.kill)

    def _start_simulator(self) -> None:
        home = self.folder / "simulators"
        command = ["connections.sandbox", "--port", "0", "--home", str(home), "--ready-after-s", "0", "--no-limits"]
        process = Process("simulators", command, self.log("simulators"), dict.fromkeys(QUIET, ""))
        self.simulator_process = process
        process.wait_until(lambda: "simulators ready http" in process.output())
        url = process.output().split("simulators ready ")[1].split()[0]
        self.simulator = Simulator(process, url)
        self.installation.environment |= {"PLAID_SANDBOX_URL": f"{url}/plaid", "PLAID_PRODUCTION_URL": f"{url}/plaid"}

    def _make_person(self) -> None:
        command = [sys.executable, "manage.py", "bootstrap", "--username", "alice", "--password", "a password of hers"]
        made = subprocess.run(
            [*command, "--workspace", "home"],
            cwd=plugin.BASE_DIR,
            env=self.installation.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr
        self.token = json.loads(made.stdout)["token"]

    def revive_second(self) -> None:
        """What a supervisor of that machine does. A worker that is only half dead ends, too: nothing of it may go on."""
        if self.second and not self.second.is_running:
            self.second.kill()
            self.start_second()

    def start_second(self) -> None:
        """The worker of another machine."""
        self.second_starts += 1
        ours = dict.fromkeys((*plugin.ENVIRONMENT, "CAUSEWAY_DATABASE", "DATABASE_URL", "REDIS_URL", *QUIET), "")
        command = [*WORKER, "-n", f"second-{self.second_starts}@chaos", "-Q", "sync,large", "-c", "3"]
        log = self.log(f"{SECOND}-{self.second_starts}")
        self.second = Process(SECOND, command, log, ours | self.installation.environment | {"CAUSEWAY_PROCESS": SECOND})

    # --- processes ---
    def main(self, name: str) -> psutil.Process | None:
        """The first process of web, worker, …, postgres or valkey, if it runs."""
        found = None
        if name == "postgres":
            found = self.servers.postgres_pid
        elif name == "valkey":
            found = self.servers.valkey_pid
        elif name == SECOND:
            found = self.second.pid if self.second and self.second.is_running else None
        else:
            noted = json.loads((self.installation.home / "run" / "processes.json").read_text())
            found = next((entry["pid"] for entry in reversed(noted) if entry["name"] == name), None)
        with contextlib.suppress(psutil.Error):
            if found and psutil.Process(found).status() != psutil.STATUS_ZOMBIE:
                return psutil.Process(found)
        return None

    def await_processes(self) -> None:
        """Everything runs, however lately it was killed."""
        self.revive_second()
        assert wait_until(lambda: all(self.main(name) for name in PROCESSES), 60), "not all were started again"

    def restarts(self) -> Counter[str]:
        """How often each was started again, by the supervisor's own account."""
        found = Counter(re.findall(r"\| (\S+) (?:was ended|ended|is gone).*starts again", self.installation.screen()))
        return found + Counter({SECOND: self.second_starts - 1})

    def nodes(self) -> list[str]:
        """The workers that answer over the broker."""
        url = f"redis+socket://{self.servers.valkey_socket}"
        probe = Celery("chaos", broker=url, set_as_current=False)
        probe.conf.broker_transport_options = {"global_keyprefix": "causeway:", "socket_timeout": 2}
        try:
            return sorted(name for answer in probe.control.ping(timeout=3, limit=3) for name in answer)
        except Exception:  # noqa: BLE001 - a broker that was just killed fails in many ways
            return []
        finally:
            probe.close()

    def log(self, name: str) -> Path:
        return plugin.HOME / "logs" / self.folder.name / f"{name}.log"

    # --- database ---
    def database(self) -> psycopg.Connection:
        """The superuser's own connection, each statement committed. Raises OperationalError while PostgreSQL is away."""
        return psycopg.connect(self.servers.superuser_dsn("causeway"), autocommit=True, connect_timeout=2)

    def ask(self, query: str, *values: Any) -> list[tuple]:
        with contextlib.closing(self.database()) as superuser:
            return superuser.execute(query, values).fetchall()

    def answers(self, query: str, *values: Any) -> bool:
        """Whether the query finds a row. False while PostgreSQL is away."""
        with contextlib.suppress(psycopg.OperationalError):
            return bool(self.ask(query, *values))
        return False

    # --- web ---
    def is_ready(self) -> bool:
        return is_answering(f"{self.installation.url}/readyz")

    def post(self, path: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
        """A request of alice's: status and answer. Status 0: there was no answer. key: its Idempotency-Key."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": key} if key else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.installation.port, timeout=15)
        try:
            connection.request("POST", f"/api/v1/{path}", json.dumps(body or {}), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or "null")
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def post_until_accepted(self, path: str, body: Any = None, limit_s: float = 60, *, key: str = "") -> Any:
        deadline = time.monotonic() + limit_s
        while True:
            status, answer = self.post(path, body, key=key)
            if 200 <= status < 300:
                return answer
            assert time.monotonic() < deadline, (path, status, answer)
            time.sleep(0.3)


def counted(what: Counter) -> str:
    """How many of each, in a line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(what.items(), key=str))
