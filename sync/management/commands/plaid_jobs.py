"""`manage.py plaid_jobs process|safety-net|cleanup`: one of the clock's jobs, now."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from connections.audit import NotAudited
from sync.services.jobs import JOBS, job_run


class Command(BaseCommand):
    audit = NotAudited("the clock's own work, a little earlier; what it ends is on record as the system's")
    help = "Run one of the clock's jobs over banks. Prints what it did as JSON; repeating it is harmless."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", choices=sorted(JOBS))

    def handle(self, *_args: Any, job: str, **_options: Any) -> None:
        self.stdout.write(json.dumps(job_run(job)))
