"""What a person may see of the inbox."""

from datetime import datetime

from django.db.models import Q, QuerySet

from connections.models import Membership, Role
from connections.selectors import connections_visible_to
from webhooks.models import WebhookEvent


def events_visible_to(membership: Membership) -> QuerySet[WebhookEvent]:
    """Events about connections that this member may see, newest first: one query, any length, without their bytes.

    Operators and owners also see those of the workspace that belong to no connection yet: ends of Link sessions.
    """
    events = WebhookEvent.objects.filter(workspace_id=membership.workspace_id).order_by("-pk").defer("body")
    if Role(membership.role).covers(Role.OPERATOR):
        return events
    return events.filter(connection__in=connections_visible_to(membership).order_by().values("pk"))


def events_between(since: datetime, until: datetime, *, workspace: str = "") -> QuerySet[WebhookEvent]:
    """Every event that came in from `since` on and before `until`, oldest first, of one workspace (slug) or of all."""
    mine = Q(workspace__slug=workspace) if workspace else Q()
    return WebhookEvent.objects.filter(mine, received_at__gte=since, received_at__lt=until).order_by(
        "received_at", "pk"
    )
