"""Putting on record who did what."""

from typing import Any
from uuid import UUID

from django.db.models import Model
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.audit import Action, origin
from connections.ids import uuid7
from connections.models import Membership, SecurityEvent, User


def security_event_record(
    action: Action,
    *,
    actor: User | None,
    workspace_id: UUID | None = None,
    subject: Model | None = None,
    **details: Any,
) -> None:
    """One plain insert, in the transaction of what it tells of. Address and program come from the request under way.

    actor: None for the system. workspace_id: None for what concerns the whole installation. subject: what it was done
    to. details: JSON; what is or looks like a secret is hidden.
    """
    SecurityEvent.objects.create(**_values(action, actor, subject, details), workspace_id=workspace_id)


def security_event_record_of_person(action: Action, *, person: User, actor: User | None, **details: Any) -> None:
    """The same in every workspace where the person works, whose owners it concerns; in the installation's without any."""
    works_in: list[UUID | None] = list(Membership.objects.filter(user=person).values_list("workspace_id", flat=True))
    values = _values(action, actor, person, details)
    rows = [SecurityEvent(**values | {"id": uuid7()}, workspace_id=workspace_id) for workspace_id in works_in or [None]]
    SecurityEvent.objects.bulk_create(rows)


def _values(action: Action, actor: User | None, subject: Model | None, details: dict[str, Any]) -> dict[str, Any]:
    asked = origin()
    return {
        "id": uuid7(),
        "action": str(action),
        "actor_id": actor.pk if actor else None,
        "actor_name": actor.get_username() if actor else "",
        "object_type": subject._meta.model_name if subject else "",
        "object_id": str(subject.pk) if subject else "",
        "ip": asked.ip,
        "user_agent": asked.user_agent,
        "correlation_id": correlation.current(),
        "details": scrub({name: value for name, value in details.items() if value not in (None, "")}),
        "at": timezone.now(),
    }
