"""What a person may see of connections: the visibility rule lives here and nowhere else."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection as database
from django.db.models import Q, QuerySet

from connections.ids import is_uuid, oldest_id
from connections.models import Account, Connection, Membership, OAuthGrant, Role, SecurityEvent, User
from connections.models.connection import Provider
from connections.providers import provider
from connections.services.access import callback_url


def connections_visible_to(membership: Membership) -> QuerySet[Connection]:
    """The workspace's connections that this member may see, newest first: one query.

    Operators and owners see all; a member every connection but other people's banks; a viewer no bank at all.
    """
    connections = (
        Connection.objects.filter(workspace_id=membership.workspace_id).select_related("plaid_item").order_by("-pk")
    )
    role = Role(membership.role)
    if role.covers(Role.OPERATOR):
        return connections
    if role == Role.VIEWER:
        return connections.exclude(provider=Provider.PLAID)
    return connections.filter(~Q(provider=Provider.PLAID) | Q(owner_id=membership.user_id))


def connections_managed_by(membership: Membership) -> QuerySet[Connection]:
    """Those this member may change: their own, or, from operator on, all."""
    connections = connections_visible_to(membership)
    if Role(membership.role).covers(Role.OPERATOR):
        return connections
    return connections.filter(owner_id=membership.user_id)


def bank_data_visible_to(membership: Membership) -> QuerySet[Connection]:
    """Those whose accounts and transactions this member may read: nobody reads another person's bank, whatever their role."""
    return connections_visible_to(membership).filter(~Q(provider=Provider.PLAID) | Q(owner_id=membership.user_id))


def bank_data_managed_by(membership: Membership) -> QuerySet[Connection]:
    """Those whose accounts this member may remove: connections they manage, and no other person's bank."""
    return connections_managed_by(membership).filter(~Q(provider=Provider.PLAID) | Q(owner_id=membership.user_id))


@dataclass(frozen=True, slots=True)
class OAuthShown:
    """What may be told of the access that was given at a provider."""

    redirect_uri: str
    account: str
    authorized_at: datetime | None
    access_expires_at: datetime | None
    refresh_expires_at: datetime | None
    hard_expires_at: datetime | None


def oauth_of(connection: Connection) -> OAuthShown | None:
    """None where nobody signs in at the provider; empty before somebody did: two queries."""
    declared = provider(connection.provider)
    if declared.authorizes is None:
        return None
    grant = OAuthGrant.objects.filter(connection=connection).first()
    rows = connection.credentials.filter(is_superseded=False, expires_at__isnull=False)
    ends = dict(rows.values_list("name", "expires_at"))
    return OAuthShown(
        redirect_uri=callback_url(connection, "oauth"),
        account=str(connection.facts.get(declared.account_fact) or "") if declared.account_fact else "",
        authorized_at=grant.authorized_at if grant else None,
        access_expires_at=ends.get("access_token"),
        refresh_expires_at=ends.get("refresh_token"),
        hard_expires_at=grant.hard_expires_at if grant else None,
    )


def accounts_of(connection: Connection) -> QuerySet[Account]:
    """The connection's accounts with their current Plaid ids, newest first: two queries, any length."""
    return Account.objects.filter(connection=connection).prefetch_related("item_accounts").order_by("-pk")


def memberships_of(user: User) -> QuerySet[Membership]:
    """The workspaces a person works in, by slug, with their role there: one query. For the app role: a tenant sees one."""
    return Membership.objects.filter(user=user).select_related("workspace").order_by("workspace__slug")


def connections_listed_to(membership: Membership) -> QuerySet[Connection]:
    """`connections_visible_to` for lists: one query, without the banks' logos, which weigh more than all the rest."""
    return connections_visible_to(membership).defer("plaid_item__institution_logo")


def security_events_of(
    membership: Membership,
    *,
    action: str = "",
    actor: str = "",
    since: datetime | None = None,
    to: datetime | None = None,
) -> QuerySet[SecurityEvent]:
    """What was done in the workspace, newest first: one query by its index. actor: a username or a user's id."""
    events = SecurityEvent.objects.filter(workspace_id=membership.workspace_id).order_by("-pk")
    if action:
        events = events.filter(action=action)
    if actor:
        events = events.filter(Q(actor_name=actor) | (Q(actor_id=actor) if is_uuid(actor) else Q()))
    if since:
        events = events.filter(pk__gte=oldest_id(since))  # ids sort by time
    return events.filter(pk__lt=oldest_id(to)) if to else events


@dataclass(frozen=True, slots=True)
class OutboxLag:
    """How far the telling of events is behind. oldest_age_s: of the oldest event that somebody still waits for, 0 without."""

    waiting: int
    oldest_age_s: float
    parked: int


def outbox_lag() -> OutboxLag:
    """For metrics, readiness and the console: one query over what waits and what is parked, not over what was told."""
    with database.cursor() as cursor:
        cursor.execute("""
            SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(occurred_at)), 0)::float,
                (SELECT count(*) FROM connections_domainevent WHERE parked_at IS NOT NULL)
            FROM connections_domainevent WHERE dispatched_at IS NULL
        """)
        return OutboxLag(*cursor.fetchone())
