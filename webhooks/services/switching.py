"""Switching a workspace's webhooks off and on."""

from uuid import UUID

import structlog
from django.db import transaction

from connections.audit import Action
from connections.models import User, Workspace
from connections.services.audit import security_event_record

log = structlog.get_logger(__name__)


@transaction.atomic
def webhooks_switch(*, workspace_id: UUID, is_enabled: bool, actor: User) -> None:
    """Off: webhooks are kept and ignored, syncs run by schedule. On: what comes from now on counts again."""
    changed = Workspace.objects.filter(pk=workspace_id).exclude(webhooks_enabled=is_enabled)
    if changed.update(webhooks_enabled=is_enabled):
        where = Workspace(pk=workspace_id)
        security_event_record(
            Action.WEBHOOKS_SWITCHED, actor=actor, workspace_id=workspace_id, subject=where, is_enabled=is_enabled
        )
        log.info("webhooks_switched", workspace=str(workspace_id), is_enabled=is_enabled, actor=actor.get_username())
