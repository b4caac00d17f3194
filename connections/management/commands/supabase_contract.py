"""`manage.py supabase_contract`: the SQL that the owner of a Supabase runs."""

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from connections.audit import NotAudited
from connections.errors import Misconfigured
from connections.models import Connection
from connections.models.connection import Provider
from connections.providers.supabase.contract import wanted
from connections.providers.supabase.ddl import SERVICE_ROLE, contract_of, contract_sql
from connections.services.access import access_of


class Command(BaseCommand):
    """Without a connection: the usual file, for a key's role and the schema public."""

    help = "Print the SQL file with the tables, keys and grants that a Supabase connection needs."
    audit = NotAudited("reads only")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--connection", type=UUID, help="its id; the file has its entities, its schema, its role")
        parser.add_argument("--schema", default="public", help="without a connection: where the tables are")
        parser.add_argument("--role", default=SERVICE_ROLE, help="without a connection: who writes there")

    def handle(self, *_args: Any, connection: UUID | None, schema: str, role: str, **_options: Any) -> None:
        self.stdout.write(_of(connection) if connection else contract_sql(wanted({}), schema=schema, role=role))


def _of(connection_id: UUID) -> str:
    connection = Connection.objects.filter(pk=connection_id, provider=Provider.SUPABASE).first()
    if connection is None:
        raise CommandError("There is no Supabase connection with this id.")
    try:
        return contract_of(access_of(connection))
    except Misconfigured as error:
        raise CommandError(error.detail) from error
