"""What a person may see of runs and records."""

from datetime import date
from uuid import UUID

from django.db.models import Q, QuerySet

from connections.models import Connection, Membership
from connections.models.connection import CLOSED
from connections.selectors import connections_visible_to
from sync.models import Flow, FlowStatus, Mapping, Subscription, SyncFailure, SyncRun, Transaction


def runs_visible_to(membership: Membership) -> QuerySet[SyncRun]:
    """Runs of the connections this member may see, and those over flows, newest first: one query, any length."""
    visible = connections_visible_to(membership).order_by().values("pk")
    runs = SyncRun.objects.filter(workspace_id=membership.workspace_id).order_by("-pk")
    return runs.filter(Q(connection__in=visible) | Q(connection=None))


def flows_visible_to(membership: Membership) -> QuerySet[Flow]:
    """The workspace's flows, newest first, with their connections: one query. Everybody may look; no bank is among them."""
    flows = Flow.objects.filter(workspace_id=membership.workspace_id).exclude(status=FlowStatus.REMOVED)
    return flows.select_related("source", "target", "workspace").order_by("-pk")


def mappings_visible_to(membership: Membership) -> QuerySet[Mapping]:
    """The workspace's mappings, newest first, with their flows: one query. Everybody may look."""
    mappings = Mapping.objects.filter(workspace_id=membership.workspace_id, removed_at=None)
    return mappings.select_related("flow").order_by("-pk")


def failures_open() -> QuerySet[SyncFailure]:
    """Records set aside that somebody can still do something about: those of a bank that is gone arrive no more."""
    return SyncFailure.objects.filter(resolved_at=None).exclude(connection__status__in=CLOSED)


def transactions_of(
    connection: Connection,
    *,
    archived: str = "false",
    account_id: UUID | None = None,
    date_from: date | None = None,
    date_to: date | None = None,
    pending: bool | None = None,
    q: str = "",
) -> QuerySet[Transaction]:
    """The connection's transactions, newest first. archived: "false", "true" or "all". One query on (connection, date, id)."""
    transactions = Transaction.objects.filter(connection=connection).order_by("-date", "-pk")
    if archived != "all":
        transactions = transactions.filter(archived=archived == "true")
    if account_id:
        transactions = transactions.filter(account_id=account_id)
    if date_from:
        transactions = transactions.filter(date__gte=date_from)
    if date_to:
        transactions = transactions.filter(date__lte=date_to)
    if pending is not None:
        transactions = transactions.filter(pending=pending)
    if q:
        transactions = transactions.filter(Q(name__icontains=q) | Q(merchant_name__icontains=q))
    return transactions.defer("raw_json")


def subscriptions_of(
    connection: Connection, *, status: str = "", direction: str = "", account_id: UUID | None = None
) -> QuerySet[Subscription]:
    """The connection's subscriptions, newest first; those that ended are among them. One query on (connection, id)."""
    wanted = {"status": status, "direction": direction, "account_id": account_id}
    subscriptions = Subscription.objects.filter(
        connection=connection, **{name: value for name, value in wanted.items() if value}
    )
    return subscriptions.order_by("-pk").defer("raw_json")
