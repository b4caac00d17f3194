"""manage.py role_matrix: docs/reference/roles.md, made from the URL table."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from connections.api.matrix import page
from connections.audit import NotAudited

PATH = settings.BASE_DIR / "docs" / "reference" / "roles.md"


class Command(BaseCommand):
    audit = NotAudited("writes a page of the documentation")
    help = "Write docs/reference/roles.md: who may call what. --check only compares."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="Fail where the page is out of date; write nothing.")

    def handle(self, *args, check: bool, **options) -> None:
        text = page()
        if not check:
            PATH.parent.mkdir(parents=True, exist_ok=True)
            PATH.write_text(text)
        elif not PATH.exists() or PATH.read_text() != text:
            raise CommandError("docs/reference/roles.md is out of date. Run: manage.py role_matrix")
