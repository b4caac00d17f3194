"""`manage.py simulators`: the provider simulators, in this process's place."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from connections.audit import NotAudited


class Command(BaseCommand):
    """Becomes `python -m connections.sandbox`, which needs neither Django nor a database."""

    audit = NotAudited("starts the simulators")
    help = "Run the provider simulators (Plaid and friends) for demos and tests."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=None, help="default: SIMULATOR_PORT; 0 takes a free port")
        parser.add_argument("--life-interval-s", type=float, default=20, help="mean time between bank days; 0: none")
        parser.add_argument("--no-limits", action="store_true", help="start with rate limits off")

    def handle(self, *_args: Any, **options: Any) -> None:
        port = settings.SIMULATOR_PORT if options["port"] is None else options["port"]
        command = [sys.executable, "-m", "connections.sandbox", "--host", options["host"], "--port", str(port)]
        command += ["--home", str(settings.CAUSEWAY_HOME), "--life-interval-s", str(options["life_interval_s"])]
        if options["no_limits"]:
            command.append("--no-limits")
        os.chdir(settings.BASE_DIR)
        os.environ["SIMULATOR_DATABASE_URL"] = settings.SIMULATOR_DATABASE
        os.execv(command[0], command)  # noqa: S606 - a list made here
