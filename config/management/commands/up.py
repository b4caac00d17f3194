"""`manage.py up`: everything Causeway consists of, in one terminal."""

import contextlib
import http.client
import json
import os
import secrets
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core import checks
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.db import connections

from config.embedded import EmbeddedError
from config.processes import Console, Server, Speaker
from config.roles import RolesError, dsn_of, ensure_roles
from config.supervisor import Pace, Refused, Supervisor, refuse_taken_ports
from connections.audit import NotAudited

DATABASE_LIMIT_S = 30.0  # how long a database of somebody else's is waited for
PYTHON = [sys.executable, "-m"]
CELERY = [*PYTHON, "celery", "--quiet", "--skip-checks", "-A", "config.celery"]  # the checks have run by then
AS_ROOT_TOO = {"PYTHONWARNINGS": "ignore:You're running the worker"}  # a container has no other account
WORKER = [*CELERY, "worker", "--without-gossip", "--without-mingle"]


class Command(BaseCommand):
    """Servers, roles, migrations, simulators, web, workers, clock: in order of readiness, and stopped in reverse."""

    help = (
        "Run all of Causeway: what it needs is started first, what crashes is started again, Ctrl-C stops everything."
    )
    audit = NotAudited("starts processes; what they do is put on record by them")
    requires_system_checks: list[str] = []  # they run below, where their findings can be shown readably

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--follow-parent", action="store_true", help="stop when the process that started this one ends"
        )

    def handle(self, *_args: Any, follow_parent: bool, **_options: Any) -> None:
        console = Console(sys.stdout)
        supervisor = Supervisor(
            home=settings.CAUSEWAY_HOME,
            folder=settings.BASE_DIR,
            console=console,
            pace=Pace(first_s=settings.RESTART_BASE_S, longest_s=settings.RESTART_MAX_S),
            follows_parent=follow_parent,
        )
        is_ours = False
        try:
            check(console)
            with supervisor:
                is_ours = True
                Start(supervisor, console).everything()
                supervisor.run()
        except (Refused, RolesError, EmbeddedError) as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(f"CAUSEWAY_HOME ({settings.CAUSEWAY_HOME}) cannot be used: {error}.")
        finally:
            if is_ours:
                stop_servers()
        console.say("Stopped.")


def stop_servers() -> None:
    """Those of this home, too, that an earlier start left behind and that this one was stopped before it could adopt."""
    if settings.IS_EMBEDDED_POSTGRES or settings.IS_EMBEDDED_VALKEY:
        settings.EMBEDDED.stop()


def check(console: Console) -> None:
    """Show what the system checks find, a sentence each, before anything is started. Raises Refused where one is an error."""
    found = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in found:
        console.say(f"{message.msg} {message.hint or ''}".rstrip())
    if any(message.is_serious() for message in found):
        raise Refused("Causeway cannot start with the errors above.")


class Start:
    """One start, step by step."""

    def __init__(self, supervisor: Supervisor, console: Console) -> None:
        self.supervisor, self.console = supervisor, console
        self.home: Path = settings.CAUSEWAY_HOME
        self.began = time.monotonic()
        self.people: list[dict[str, str]] = []

    def everything(self) -> None:
        self.refuse_taken_ports()
        self.start_servers()
        with self.supervisor.interruptible():
            self.prepare_database()
            self.seed_people()
        self.supervisor.next_stage()
        self.start_simulators()
        self.supervisor.next_stage()
        self.start_processes()
        self.seed("banks", "Its banks")
        (self.home / "seeding").unlink(missing_ok=True)
        self.supervisor.wait_for("Causeway", lambda: self.answers("/readyz"))
        self.welcome()
        self.seed("places", "Its shop, books and data store")  # who waits for readiness does not wait for this

    def refuse_taken_ports(self) -> None:
        ports = {"PORT": (settings.BIND_ADDRESS, settings.PORT)}
        if settings.DEMO:
            ports["SIMULATOR_PORT"] = ("127.0.0.1", settings.SIMULATOR_PORT)
        refuse_taken_ports(ports)

    def start_servers(self) -> None:
        if settings.IS_EMBEDDED_POSTGRES:
            servers = settings.EMBEDDED
            self.supervisor.server(
                Server("postgres", servers.start_postgres, lambda: servers.postgres_pid, servers.stop_postgres)
            )
        if settings.IS_EMBEDDED_VALKEY:
            servers = settings.EMBEDDED
            self.supervisor.server(
                Server("valkey", servers.start_valkey, lambda: servers.valkey_pid, servers.stop_valkey)
            )

    def prepare_database(self) -> None:
        """Roles, then tables."""
        database = settings.DATABASES["default"]
        if settings.IS_EMBEDDED_POSTGRES:
            dsn = settings.EMBEDDED.superuser_dsn()
        else:
            dsn = dsn_of(settings.DATABASES["owner"])
            self.wait_for_database(dsn)
        ensure_roles(
            dsn, settings.DATABASE_ROLES, database=database["NAME"], passwords={"app": database.get("PASSWORD", "")}
        )
        output = StringIO()
        call_command("migrate", interactive=False, stdout=output, no_color=True)
        applied = [line.strip() for line in output.getvalue().splitlines() if line.rstrip().endswith(" OK")]
        self.console.say(
            f"The database is up to date ({len(applied)} migrations applied)."
            if applied
            else "The database is up to date."
        )

    def wait_for_database(self, dsn: str) -> None:
        deadline = time.monotonic() + DATABASE_LIMIT_S
        while True:
            try:
                psycopg.connect(dsn, connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    reason = str(error).strip().splitlines()[-1]
                    raise Refused(f"DATABASE_OWNER_URL leads to no database: {reason}") from None
                time.sleep(1)
            else:
                return

    def seed_people(self) -> None:
        """The demo's two logins, and `demo.json` for whoever reads it once /readyz answers 200."""
        seeding = self.home / "seeding"
        if not settings.DEMO:
            seeding.unlink(missing_ok=True)
            return
        seeding.touch()  # /readyz answers 503 as long as it exists
        words = settings.DEMO_SECRETS
        user = bootstrap("demo", words["USER_PASSWORD"], "owner")
        operator = bootstrap("operator", words["OPERATOR_PASSWORD"], "operator", "--staff")
        connections.close_all()
        self.people = [user, operator]
        demo = {
            "url": settings.PUBLIC_URL,
            "simulator_url": settings.SIMULATOR_URL,
            "workspace": "demo",
            "user": user,
            "operator": operator,
            "jobs_secret": settings.JOBS_SECRET,
        }
        write_privately(self.home / "demo.json", json.dumps(demo, indent=2) + "\n")

    def start_simulators(self) -> None:
        if not settings.DEMO:
            return
        command = [*PYTHON, "connections.sandbox", "--host", "127.0.0.1", "--port", str(settings.SIMULATOR_PORT)]
        command += ["--home", str(self.home), "--life-interval-s", "20", "--demo"]
        variables = {
            "PLAID_CLIENT_ID": settings.PLAID_CLIENT_ID,
            "PLAID_SECRET": settings.PLAID_SECRET,
            "SIMULATOR_DATABASE_URL": settings.SIMULATOR_DATABASE,
            "QUICKBOOKS_CLIENT_ID": settings.QUICKBOOKS_CLIENT_ID,
            "QUICKBOOKS_CLIENT_SECRET": settings.QUICKBOOKS_CLIENT_SECRET,
            "QUICKBOOKS_WEBHOOK_VERIFIER": settings.QUICKBOOKS_WEBHOOK_VERIFIER,
            "QUICKBOOKS_WEBHOOK_URL": f"{settings.PUBLIC_URL}/webhook/quickbooks",
        }
        self.supervisor.child("simulators", command, variables)
        self.supervisor.wait_for(
            "The simulators", lambda: is_answering("127.0.0.1", settings.SIMULATOR_PORT, "/healthz"), limit_s=30
        )

    def start_processes(self) -> None:
        host = f"[{settings.BIND_ADDRESS}]" if ":" in settings.BIND_ADDRESS else settings.BIND_ADDRESS
        web = [*PYTHON, "gunicorn", "config.wsgi:application", "--bind", f"{host}:{settings.PORT}"]
        web += ["--worker-class", "config.gunicorn.Worker", "--workers", "2", "--threads", "16"]
        web += ["--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning"]
        web += ["--preload"]  # its workers share what is loaded
        self.supervisor.child("web", web)
        self.supervisor.child("worker", [*WORKER, "-n", "worker@%h", "-Q", "sync", "-c", "2"], AS_ROOT_TOO)
        self.supervisor.child("beat", [*CELERY, "beat"])
        self.supervisor.wait_for("The web server", lambda: self.answers("/healthz"))
        # Nothing that /readyz waits for, so it does not compete with what is.
        self.supervisor.child("worker-large", [*WORKER, "-n", "worker-large@%h", "-Q", "large", "-c", "1"], AS_ROOT_TOO)

    def seed(self, part: str, what: str) -> None:
        """One part of the demo's data, where this is the demo. What goes wrong is said, and keeps nobody from starting."""
        if not settings.DEMO:
            return
        output = Speaker(self.console, "seed")
        try:
            self.supervisor.run_beside(lambda: call_command("seed_demo", only=part, stdout=output, no_color=True))
        except Exception as error:  # noqa: BLE001 - the demo without its data is still worth having
            self.console.say(f"{what} could not be made; everything else is there. {type(error).__name__}: {error}")

    def answers(self, path: str) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.BIND_ADDRESS, settings.BIND_ADDRESS)  # noqa: S104
        return is_answering(host, settings.PORT, path)

    def welcome(self) -> None:
        url = settings.PUBLIC_URL
        lines = [
            "",
            f"Causeway is ready after {time.monotonic() - self.began:.0f} s.",
            "",
            f"  Console   {url}/admin/",
            f"  API       {url}/api/docs/",
        ]
        if self.people:
            logins = [f"  Login     {person['username']} / {person['password']}" for person in self.people]
            lines += ["", *logins, "", f"  The same with tokens: {self.home / 'demo.json'}"]
        self.console.say("\n".join([*lines, "", "Ctrl-C stops everything.", ""]).replace("\n\n", "\n \n"))


def bootstrap(username: str, password: str, role: str, *flags: str) -> dict[str, str]:
    """A login of the demo workspace, made or found, with a fresh token."""
    output = StringIO()
    call_command(
        "bootstrap",
        "--username",
        username,
        "--password",
        password,
        "--workspace",
        "demo",
        "--role",
        role,
        *flags,
        stdout=output,
    )
    return {"username": username, "password": password, "token": json.loads(output.getvalue())["token"]}


def write_privately(file: Path, text: str) -> None:
    """Write for the owner's eyes only (mode 600), at once or not at all."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    draft.replace(file)


def is_answering(host: str, port: int, path: str) -> bool:
    """Whether a GET answers 200."""
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        contextlib.closing(http.client.HTTPConnection(host, port, timeout=5)) as connection,
    ):
        connection.request("GET", path, headers={"Host": f"127.0.0.1:{port}"})
        return connection.getresponse().status == 200
    return False
