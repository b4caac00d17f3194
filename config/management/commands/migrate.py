"""`manage.py migrate`, as the owner of the tables: the application's own login may not change them."""

from django.core.management.base import CommandParser
from django.core.management.commands.migrate import Command as DjangoCommand

from connections.audit import NotAudited


class Command(DjangoCommand):
    """Django's command with another default for --database."""

    audit = NotAudited("done by the tables' owner, and before there is anything to put it on record in")

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="owner")
