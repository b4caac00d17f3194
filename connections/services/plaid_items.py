"""A bank login after it was linked: its token, its repair or re-link, and what the bank says of it."""

from datetime import datetime
from typing import TypeVar

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from config import correlation
from connections.errors import CausewayError, Conflict, NeedsReauth
from connections.events import EventType, event_record
from connections.models import Connection, Credential, PlaidItem, RetiredPlaidItem
from connections.models.connection import CLOSED
from connections.providers.base import ItemDetails, Json
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.services import lifecycle
from connections.services.accounts import accounts_update
from connections.services.plaid_webhook_address import webhook_address_set
from connections.waking import wake

log = structlog.get_logger(__name__)

ACCESS_TOKEN = "access_token"  # noqa: S105 - the credential's name, not its value


def credential_of(connection: Connection) -> Credential:
    """The connection's access token, sealed. Raises Conflict where it was destroyed."""
    credential = Credential.objects.filter(connection=connection, name=ACCESS_TOKEN).first()
    if credential is None:
        raise Conflict(code="connection_not_active")
    return credential


def item_relink(connection: Connection, *, item_id: str) -> None:
    """The same connection under a new token. A new Item starts its history anew: its cursor belongs to it alone.

    The old Item goes on being billed until it is removed, so it is put down for that.
    """
    item = PlaidItem.objects.select_for_update(no_key=True).get(connection=connection)
    if item.item_id != item_id:
        if item.removed_at is None:
            item_retire(connection, item_id=item.item_id, access_token=readable_token(connection))
        item.item_id, item.cursor, item.history_complete, item.is_new_history = (item_id, "", False, True)
        item.username_refused_at = None
        item.lease_token = item.lease_expires_at = None  # whoever reads the old Item loses its claim
    item.reauth_needed_at, item.last_sync_error, item.removed_at, item.offered_until = (None, "", None, None)
    item.details_at = item.consent_expires_at = item.account_selection_at = None
    item.repaired_at = timezone.now()
    item.dirty_seq = F("dirty_seq") + 1
    item.save()
    _repaired(connection)


_Error = TypeVar("_Error", bound=CausewayError)


def link_anew_if_repeated(item: PlaidItem, error: _Error) -> _Error | NeedsReauth:
    """What the bank's refusal of a changed user name means: once, a sign-in; once more after a repair, a new link.

    The caller holds the connection's row. Any sync that goes through forgets the first one.
    """
    if error.provider_code != "INVALID_UPDATED_USERNAME":
        return error
    first_at = item.username_refused_at
    if first_at and item.repaired_at and item.repaired_at > first_at:
        detail, code = error.operator_detail, error.provider_code
        return NeedsReauth(
            code="bank_link_again",
            operator_detail=detail,
            provider=error.provider,
            provider_code=code,
            request_id=error.request_id,
        )
    if first_at is None:
        item.username_refused_at = timezone.now()
        item.save(update_fields=["username_refused_at"])
    return error


def readable_token(connection: Connection) -> str:
    """The connection's access token; "" where it is gone or cannot be decrypted."""
    try:
        return credential_of(connection).reveal()
    except CausewayError as error:
        log.error("retired_item_without_token", connection=str(connection.pk), operator_detail=error.operator_detail)
        return ""


def item_retire(connection: Connection, *, item_id: str, access_token: str | None) -> None:
    """Put an Item down for removal at Plaid, in the transaction that takes it away from its connection.

    access_token: None where the connection's own credential opens it and stays until then; "" where nobody can read it.
    """
    retired = RetiredPlaidItem(
        workspace_id=connection.workspace_id,
        connection=connection,
        item_id=item_id,
        environment=connection.environment,
        correlation_id=correlation.current(),
    )
    if access_token:
        retired.seal(access_token)
    elif access_token is not None:
        retired.last_error = "Its access token cannot be read: remove the Item on Plaid's dashboard."
        told = {"item_id": item_id, "code": "credential_unreadable", "attempts": 0, "status": connection.status}
        event_record(EventType.REMOVAL_FAILED, connection_id=connection.pk, payload=told)
    retired.save()


@transaction.atomic
def relink_completed(*, connection: Connection, repaired_at: datetime | None = None) -> None:
    """The login is repaired: token, Item and cursor are unchanged, a sync shows whether it works.

    repaired_at: when, where it was repaired elsewhere and we were told. Else the person was at Link's update mode just
    now, where they could also choose their accounts.
    """
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    if connection.is_closed:
        return  # disconnected while the person was at the bank
    PlaidItem.objects.filter(connection=connection).update(
        account_selection_at=F("account_selection_at") if repaired_at else None,
        dirty_seq=F("dirty_seq") + 1,
        reauth_needed_at=None,
        offered_until=None,
        details_at=None,
        consent_expires_at=None,
        repaired_at=repaired_at or timezone.now(),
    )
    _repaired(connection)
    wake("sync.tasks.dispatch")


def _repaired(connection: Connection) -> None:
    """Active again, its troubles forgotten; a wait that the provider imposed stays."""
    lifecycle.apply(connection, lifecycle.Event.RECOVERED)
    lifecycle.clear_backoff(connection)
    connection.failure_count, connection.failing_since, connection.reauth_due_at = 0, None, None
    connection.last_used_at = timezone.now()  # whoever repairs it wants it
    connection.error_code = connection.error_detail = connection.error_correlation_id = ""
    connection.error_at = None
    connection.save()


def details_fetch(*, connection: Connection, access_token: str) -> bool:
    """Read accounts, consent and, while it has no name, the institution. False where Plaid could not say.

    Sets `details_at`, so that they are not read again for a day; where news came meanwhile they stay due.
    """
    item = PlaidItem.objects.select_related("connection").get(connection=connection)
    client = PlaidClient(connection.environment, item_key=item.item_id)
    try:
        accounts = records.bank_accounts(_shared(client, access_token))
        accounts_update(item=item, accounts=accounts, is_complete=True)
        answer = client.item_get(access_token)
        found = records.item_details(answer)
    except CausewayError as error:
        log.warning(
            "item_details_missing",
            connection=str(connection.pk),
            code=error.code,
            operator_detail=error.operator_detail,
        )
        return False
    webhook_address_set(item=item, client=client, access_token=access_token, told=records.item_webhook(answer))
    facts = _institution_facts(client, item, found)
    same = PlaidItem.objects.filter(pk=item.pk, item_id=item.item_id).exclude(connection__status__in=CLOSED)
    if not same.update(**facts):
        return False  # re-linked or disconnected meanwhile
    if (
        ends_at := found.consent_expires_at
    ):  # null is no news: the notice of a webhook stays until the login is repaired
        same.update(consent_expires_at=ends_at)
        Connection.objects.filter(pk=connection.pk).update(reauth_due_at=ends_at)
    same.filter(dirty_seq=item.dirty_seq).update(details_at=timezone.now())
    if named := facts["institution_name"]:
        Connection.objects.filter(pk=connection.pk, name__in=["", "Bank"]).update(name=named)
    return True


def _shared(client: PlaidClient, access_token: str) -> list[Json]:
    """The accounts that the bank shares now. That there are none is an answer, and no error."""
    try:
        return client.accounts_get(access_token)
    except NeedsReauth as error:
        if error.code != "bank_no_accounts":
            raise
        return []


def _institution_facts(client: PlaidClient, item: PlaidItem, found: ItemDetails) -> dict[str, str]:
    """Name and looks of the bank. Asked for until it has a name; a logo that it does not have is not asked for again."""
    facts = {
        "institution_id": found.institution_id or item.institution_id,
        "institution_name": item.institution_name or found.institution_name,
    }
    is_new = item.details_at is None and not item.institution_logo
    if not facts["institution_id"] or (item.institution_name and not is_new):
        return facts
    try:
        bank = records.institution(client.institution_get(facts["institution_id"]))
    except CausewayError as error:
        log.warning("institution_missing", institution=facts["institution_id"], code=error.code)
        return facts
    looks = {"institution_logo": bank.logo, "institution_color": bank.color}
    return facts | {"institution_name": bank.name or facts["institution_name"], **looks}
