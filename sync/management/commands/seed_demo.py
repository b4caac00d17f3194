"""`manage.py seed_demo`: what the demo's workspace has, connected the way a person's would be."""

import logging
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from connections.audit import NotAudited
from sync.management.demo.api import Api
from sync.management.demo.banks import banks_link
from sync.management.demo.linking import places_link

PARTS = {"banks": banks_link, "places": places_link}


class Command(BaseCommand):
    """Through the API that is running, and the simulators beside it. What is there already stays as it is."""

    audit = NotAudited("goes through the API, which puts it on record")
    help = "Connect the demo's banks, and wait for their transactions; then its shop, books and data store."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--only", choices=[*PARTS], help="one part: the banks, or what is not a bank")

    def handle(self, *_args: Any, only: str | None, **_options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("There is no demo here: DEMO is 0.")
        logging.getLogger("connections.calls").setLevel(logging.WARNING)  # these calls are to ourselves
        api = Api()
        for name, link in PARTS.items():
            if only in (None, name):
                link(api, self.stdout.write)
