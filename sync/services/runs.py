"""Runs: asking for one, and ending one."""

import hashlib
import json
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F

from config import correlation
from connections.audit import Action
from connections.errors import Conflict
from connections.models import Connection, PlaidItem, User
from connections.services import lifecycle
from connections.services.audit import security_event_record
from connections.waking import wake
from sync.models import RunStatus, SyncRun, Trigger
from sync.services.subscriptions import feed_refresh

INCREMENTAL: dict[str, Any] = {"mode": "incremental"}


def parameters_hash(parameters: dict[str, Any]) -> str:
    """Equal requests have equal hashes, in whatever order their fields came."""
    return hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode()).hexdigest()


@transaction.atomic
def run_request(*, connection_id: UUID, trigger: Trigger, requested_by: User | None = None) -> SyncRun:
    """Mark the bank dirty and return its waiting run, made if there is none: the path of a webhook, with a report to watch.

    A back-off ends; a wait that the provider imposed does not. Raises Conflict with the reason when no sync can start.
    """
    connection = Connection.objects.select_for_update(no_key=True).get(
        pk=connection_id
    )  # callers queue here: one run is made
    if connection.provider != "plaid":
        raise Conflict("Only banks can be refreshed this way.")
    lifecycle.refuse_unless_syncable(connection)
    if lifecycle.clear_backoff(connection):
        connection.save(update_fields=["next_attempt_at", "wait_reason", "updated_at"])
    linked = PlaidItem.objects.filter(connection=connection, removed_at=None)
    if not linked.update(dirty_seq=F("dirty_seq") + 1, offered_until=None):
        is_told = connection.error_code.startswith("bank_")
        raise Conflict(code=connection.error_code if is_told else "connection_not_active")
    feed_refresh(connection.pk)
    run, created = SyncRun.objects.get_or_create(
        connection=connection,
        parameters_hash=parameters_hash(INCREMENTAL),
        status=RunStatus.QUEUED,
        defaults={
            "workspace_id": connection.workspace_id,
            "trigger": trigger,
            "requested_by": requested_by,
            "correlation_id": correlation.current(),
        },
    )
    if requested_by:
        security_event_record(
            Action.SYNC_REQUESTED, actor=requested_by, workspace_id=connection.workspace_id, subject=connection
        )
    if created:
        wake("sync.tasks.dispatch")
    return run
