"""manage.py bootstrap: a person with a role in a workspace, and a token to start with."""

import json

from django.core.management.base import BaseCommand, CommandError, CommandParser

from connections.audit import Action, Audited
from connections.errors import RequestError
from connections.models import Role
from connections.services.workspaces import person_bootstrap


class Command(BaseCommand):
    audit = Audited(Action.PERSON_BOOTSTRAPPED)
    help = "Make (or update) a person and their workspace. Prints {user_id, workspace, token} as JSON; the token is new each time."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument("--password", required=True)
        parser.add_argument("--workspace", required=True, help="Its slug, or a name from which one is made.")
        parser.add_argument("--role", choices=Role.values, default=Role.OWNER.value)
        parser.add_argument("--staff", action="store_true", help="Also open the operations console to them.")

    def handle(self, *args, username: str, password: str, workspace: str, role: str, staff: bool, **options) -> None:
        try:
            made = person_bootstrap(
                username=username, password=password, workspace=workspace, role=Role(role), is_staff=staff
            )
        except RequestError as error:
            raise CommandError(error.detail) from None
        answer = {"user_id": str(made.user.pk), "workspace": made.membership.workspace.slug, "token": made.token}
        self.stdout.write(json.dumps(answer))
