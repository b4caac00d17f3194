"""Failed records: putting one aside for good."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from connections.audit import Action
from connections.errors import Conflict, RequestError
from connections.models import User
from connections.services.audit import security_event_record
from sync.models import SyncFailure


@transaction.atomic
def failure_resolve(*, failure_id: UUID, reason: str, actor: User) -> SyncFailure:
    """Mark the failure resolved, with the reason and the person on record. Raises Conflict where it is resolved already."""
    reason = " ".join(reason.split())
    if not reason:
        raise RequestError("Say why this record needs nothing more.", fields={"reason": ["This field is required."]})
    failure = SyncFailure.objects.select_for_update(no_key=True).get(pk=failure_id)
    if failure.resolved_at:
        raise Conflict("This failure is resolved already.")
    by = f" ({actor.get_username()})"
    limit = SyncFailure._meta.get_field("resolution").max_length or 200
    failure.resolved_at = timezone.now()
    failure.resolution = (reason[: limit - len(by)] + by)[:limit]
    failure.next_attempt_at = None
    failure.save(update_fields=["resolved_at", "resolution", "next_attempt_at", "updated_at"])
    security_event_record(Action.FAILURE_RESOLVED, actor=actor, workspace_id=failure.workspace_id, subject=failure)
    return failure
