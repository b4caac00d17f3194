"""Stopping a connection's syncs for a while, and letting them go on."""

from uuid import UUID

from django.db import transaction

from connections.audit import Action
from connections.errors import Conflict
from connections.models import Connection, User
from connections.services import lifecycle
from connections.services.audit import security_event_record
from connections.services.disconnecting import by_person
from connections.services.plaid_news import item_unproved
from connections.waking import wake


@transaction.atomic
def connection_pause(*, connection_id: UUID, actor: User) -> Connection:
    """Pause it: waiting runs stay where they are, a running one finishes. Raises Conflict where its status does not allow it."""
    connection = _move(connection_id, lifecycle.Event.PAUSED, by_person("Paused", actor))
    _record(Action.CONNECTION_PAUSED, connection, actor)
    return connection


@transaction.atomic
def connection_resume(*, connection_id: UUID, actor: User) -> Connection:
    """Active again; what came in meanwhile is synced now, without a back-off. Raises Conflict where it is not paused.

    What needed its owner, or failed, before the pause is asked anew: nobody has looked since.
    """
    connection = _move(connection_id, lifecycle.Event.RESUMED, "")
    item_unproved(connection)
    connection.save(update_fields=["status", "status_reason", "next_attempt_at", "wait_reason"])
    _record(Action.CONNECTION_RESUMED, connection, actor)
    wake("sync.tasks.dispatch")
    return connection


def _record(action: Action, connection: Connection, actor: User) -> None:
    security_event_record(action, actor=actor, workspace_id=connection.workspace_id, subject=connection)


def _move(connection_id: UUID, event: lifecycle.Event, reason: str) -> Connection:
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if not lifecycle.apply(connection, event, reason=reason):
        raise Conflict(f"This connection is {connection.get_status_display().lower()}.", code="connection_not_active")
    connection.save(update_fields=["status", "status_reason", "updated_at"])
    return connection
