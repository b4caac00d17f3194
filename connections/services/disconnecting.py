"""The end of a connection: its access withdrawn at the provider, then its credentials destroyed. The history stays.

A connection is `disconnecting` from the person's word on, and `disconnected` only once nothing of it is left at the
provider: every Item that it ever read is removed there, and whatever else its provider clears away. How long that takes does not matter: it is never reported gone
while somebody still bills for it.
"""

from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from connections.audit import Action
from connections.models import Account, Connection, Credential, PlaidItem, RetiredPlaidItem, User
from connections.models.connection import Errand, Status
from connections.providers import provider
from connections.services import lifecycle
from connections.services.accounts import accounts_lock
from connections.services.activating import errand_begin
from connections.services.audit import security_event_record
from connections.services.plaid_items import item_retire
from connections.waking import wake

log = structlog.get_logger(__name__)


def by_person(verb: str, actor: User) -> str:
    """The reason shown: who did it, and when."""
    return f"{verb} by {actor.get_username()} on {timezone.now():%-d %B %Y, %H:%M} UTC"


@transaction.atomic
def connection_disconnect(*, connection_id: UUID, reason: str, actor: User | None = None) -> Connection:
    """Begin its end; a worker does the rest. A second time changes nothing.

    actor: None for the system. Nothing is read from here on: a sync that runs now loses its claim. The credentials are
    kept until they have cleared away what there is at the provider.
    """
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if not lifecycle.apply(connection, lifecycle.Event.DISCONNECTING, reason=reason):
        return connection
    lifecycle.forget_troubles(connection)
    connection.reauth_due_at = None
    _put_down_errand(connection)
    connection.save()
    item = PlaidItem.objects.select_for_update(no_key=True).filter(connection=connection).first()
    if item is not None:
        if item.removed_at is None:
            item_retire(connection, item_id=item.item_id, access_token=None)
        item.lease_token = item.lease_expires_at = item.offered_until = item.cleanup_notified_at = None
        item.save(update_fields=["lease_token", "lease_expires_at", "offered_until", "cleanup_notified_at"])
    _record(Action.CONNECTION_REMOVED, connection, actor)
    wake("connections.tasks.withdraw")
    return connection


def _put_down_errand(connection: Connection) -> None:
    """What the provider has to clear away, where there is anything to go in with."""
    has_way_in = Credential.objects.filter(connection=connection).exists()
    if provider(connection.provider).disconnecting and has_way_in:
        errand_begin(connection, Errand.DISCONNECTING)
    else:
        connection.errand, connection.errand_at, connection.errand_error = Errand.NONE, None, ""


@transaction.atomic
def account_archive(*, connection_id: UUID, account_id: UUID, reason: str, actor: User | None = None) -> Account:
    """Stop reading one account; what was read stays. With the last one that is active, the connection ends.

    Waits for whoever writes the Item's accounts or transactions now. A second time changes nothing.
    """
    if item := PlaidItem.objects.filter(connection_id=connection_id).first():
        accounts_lock(item.pk)  # of two who remove the last two accounts, the second sees what the first did
    account = Account.objects.select_for_update(no_key=True).get(pk=account_id, connection_id=connection_id)
    if account.status == Account.Status.ARCHIVED:
        return account
    account.status = Account.Status.ARCHIVED
    account.save(update_fields=["status", "updated_at"])
    _record(Action.ACCOUNT_REMOVED, account, actor)
    if not Account.objects.filter(connection_id=connection_id, status=Account.Status.ACTIVE).exists():
        connection_disconnect(connection_id=connection_id, reason=reason, actor=actor)
    return account


def disconnects_finish(*, limit: int = 200) -> int:
    """End the connections of which nothing is left at the provider. Returns how many. An idle call is one query."""
    waiting = Connection.objects.filter(status=Status.DISCONNECTING, errand=Errand.NONE).exclude(
        retired_items__status=RetiredPlaidItem.Status.PENDING
    )
    return sum(disconnect_finish(pk) for pk in waiting.order_by("updated_at").values_list("pk", flat=True)[:limit])


@transaction.atomic
def disconnect_finish(connection_id: UUID) -> bool:
    """Destroy the credentials and end the connection, if it is ending and nothing of it is left at the provider."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    pending = RetiredPlaidItem.objects.filter(connection=connection, status=RetiredPlaidItem.Status.PENDING)
    if connection.status != Status.DISCONNECTING or connection.errand or pending.exists():
        return False
    Credential.objects.filter(connection=connection).delete()
    PlaidItem.objects.filter(connection=connection, removed_at=None).update(removed_at=timezone.now())
    lifecycle.forget_troubles(connection)
    connection.reauth_due_at = None
    lifecycle.apply(connection, lifecycle.Event.DISCONNECTED, reason=connection.status_reason)
    connection.save()
    return True


def _record(action: Action, subject: Connection | Account, actor: User | None) -> None:
    security_event_record(action, actor=actor, workspace_id=subject.workspace_id, subject=subject)
