"""From a public token to a connection: the one call that must neither be lost nor repeated."""

import hashlib
from datetime import timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from config import correlation
from connections.errors import CausewayError, Conflict, OutcomeUnknown, RateLimited, RequestError, TemporaryError
from connections.models import Account, Connection, Credential, PlaidExchange, PlaidItem, PlaidLink, User
from connections.models.connection import Provider, Status
from connections.providers.base import Json
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.services import lifecycle
from connections.services.accounts import accounts_update
from connections.waking import wake

log = structlog.get_logger(__name__)

ACCESS_TOKEN = "access_token"  # noqa: S105 - the credential's name, not its value


def public_token_exchange(
    *,
    user: User,
    workspace_id: UUID,
    public_token: str,
    environment: str,
    metadata: Json | None = None,
    connection: Connection | None = None,
    allow_duplicate: bool = False,
    link: PlaidLink | None = None,
) -> Connection:
    """Exchange the token and return the active connection, dirty, so that its first sync follows at once.

    1. Duplicate check by `metadata` {institution {institution_id, name}, accounts [{name, mask}]}: the call bills.
    2. A `PlaidExchange` row is committed before the call: an answer that never comes leaves it `unknown` and visible.
    3. The access token is encrypted in the transaction that makes the connection.
    4. Accounts and institution are read then; where that fails the sync does it later.

    connection: re-link that one in place. Raises Conflict (duplicate_item, public_token_used, exchange_in_progress),
    OutcomeUnknown, RequestError, TemporaryError.
    """
    refuse_other_environment(public_token, environment)
    if connection:
        _refuse_unlinkable(connection, environment)
    client = PlaidClient(environment)
    metadata = metadata or {}
    _refuse_used(user=user, workspace_id=workspace_id, public_token=public_token)
    if not connection and not allow_duplicate:
        _refuse_duplicate(user=user, workspace_id=workspace_id, metadata=metadata)
    exchange = _begin(
        user=user,
        workspace_id=workspace_id,
        public_token=public_token,
        environment=environment,
        metadata=metadata,
        link=link,
    )
    try:
        answer = client.public_token_exchange(public_token)
        access_token, item_id = answer.get("access_token"), answer.get("item_id")
        if not (isinstance(access_token, str) and access_token and isinstance(item_id, str) and item_id):
            raise records.malformed("the exchange's answer lacks access_token or item_id")
    except CausewayError as error:
        if (ended := _ended(exchange, error)) is error:
            raise  # "from" would make it its own cause
        raise ended from error
    connection = _connect(
        exchange,
        connection,
        access_token=access_token,
        item_id=item_id,
        request_id=str(answer.get("request_id") or ""),
        metadata=metadata,
    )
    details_fetch(connection=connection, access_token=access_token)
    return connection


def refuse_other_environment(token: str, environment: str) -> None:
    """Plaid's tokens name their environment; a mix-up is our caller's, and cheaper to say here."""
    named = token.split("-")[1] if token.count("-") >= 2 else ""
    if named in ("sandbox", "production") and named != environment:
        raise RequestError(f"This token belongs to {named}, not to {environment}.", code="wrong_environment")


def _refuse_unlinkable(connection: Connection, environment: str) -> None:
    """Before the call, which bills: a re-link that could not be stored."""
    if connection.provider != Provider.PLAID:
        raise RequestError(
            "This connection is not a bank.", fields={"connection_id": ["This connection is not a bank."]}
        )
    if connection.environment != environment:
        raise RequestError(f"This connection belongs to {connection.environment}.", code="wrong_environment")
    if connection.status in (Status.DISCONNECTING, Status.DISCONNECTED):
        raise Conflict(code="connection_not_active")


def credential_of(connection: Connection) -> Credential:
    """The connection's access token, sealed. Raises Conflict where it was destroyed."""
    credential = Credential.objects.filter(connection=connection, name=ACCESS_TOKEN).first()
    if credential is None:
        raise Conflict(code="connection_not_active")
    return credential


def _refuse_duplicate(*, user: User, workspace_id: UUID, metadata: Json) -> None:
    institution_id = str((metadata.get("institution") or {}).get("institution_id") or "")
    offered = {
        (str(a.get("name") or ""), str(a.get("mask") or ""))
        for a in metadata.get("accounts") or []
        if isinstance(a, dict)
    }
    if not institution_id or not offered:
        return
    known = Account.objects.filter(
        workspace_id=workspace_id,
        connection__owner=user,
        connection__plaid_item__institution_id=institution_id,
        connection__plaid_item__removed_at=None,
    ).exclude(connection__status__in=[Status.DISCONNECTING, Status.DISCONNECTED])
    for account in known.only("name", "mask", "connection_id"):
        if (account.name, account.mask) in offered:
            raise Conflict(code="duplicate_item", extra={"connection_id": str(account.connection_id)})


def _begin(
    *, user: User, workspace_id: UUID, public_token: str, environment: str, metadata: Json, link: PlaidLink | None
) -> PlaidExchange:
    """The row that makes the token single use here too, committed before the call."""
    name = str((metadata.get("institution") or {}).get("name") or "")[:200]
    mine = {"digest": _digest(public_token), "workspace_id": workspace_id, "user": user}
    begun = {"status": PlaidExchange.Status.STARTED, "correlation_id": correlation.current()}
    try:
        with transaction.atomic():
            return PlaidExchange.objects.create(
                link=link, environment=environment, institution_name=name, **mine, **begun
            )
    except IntegrityError:
        # A token that Plaid refused may be tried again: the row is taken over, never doubled.
        refused = PlaidExchange.objects.filter(status=PlaidExchange.Status.REFUSED, **mine)
        if refused.update(started_at=timezone.now(), ended_at=None, error_code="", **begun):
            return PlaidExchange.objects.get(**mine)
        _refuse_used(user=user, workspace_id=workspace_id, public_token=public_token)
        raise Conflict(code="public_token_used") from None  # by somebody whose rows are not ours to see


def _refuse_used(*, user: User, workspace_id: UUID, public_token: str) -> None:
    """Raise what became of this token's exchange, where it was begun before and not refused."""
    earlier = PlaidExchange.objects.filter(digest=_digest(public_token), workspace_id=workspace_id, user=user).first()
    if earlier is None or earlier.status == PlaidExchange.Status.REFUSED:
        return
    if earlier.status == PlaidExchange.Status.UNKNOWN:
        raise OutcomeUnknown(provider="plaid")
    if earlier.status == PlaidExchange.Status.STARTED:
        raise Conflict(code="exchange_in_progress")
    extra = {"connection_id": str(earlier.connection_id)} if earlier.connection_id else {}
    raise Conflict(code="public_token_used", extra=extra)


def _digest(public_token: str) -> str:
    return hashlib.sha256(public_token.encode()).hexdigest()


def _ended(exchange: PlaidExchange, error: CausewayError) -> CausewayError:
    """Record how the call failed; the error to raise. Where Plaid may have acted, the outcome is unknown."""
    is_unknown = isinstance(error, TemporaryError) and not isinstance(error, RateLimited) and not error.provider_code
    exchange.status = PlaidExchange.Status.UNKNOWN if is_unknown else PlaidExchange.Status.REFUSED
    exchange.error_code, exchange.request_id, exchange.ended_at = (error.code, error.request_id, timezone.now())
    exchange.save(update_fields=["status", "error_code", "request_id", "ended_at"])
    if not is_unknown:
        return error
    log.error("exchange_outcome_unknown", exchange=str(exchange.pk), operator_detail=error.operator_detail)
    return OutcomeUnknown(provider="plaid", operator_detail=f"exchange {exchange.pk}: {error.operator_detail}")


@transaction.atomic
def _connect(
    exchange: PlaidExchange,
    connection: Connection | None,
    *,
    access_token: str,
    item_id: str,
    request_id: str,
    metadata: Json,
) -> Connection:
    """Connection, Item and sealed token in one transaction, and the exchange completed with them."""
    institution = metadata.get("institution") or {}
    name = str(institution.get("name") or "")[:200]
    if connection is None:
        connection = Connection.objects.create(
            workspace_id=exchange.workspace_id,
            owner_id=exchange.user_id,
            provider=Provider.PLAID,
            name=name or "Bank",
            environment=exchange.environment,
            status=Status.ACTIVE,
        )
        PlaidItem.objects.create(
            workspace_id=exchange.workspace_id,
            connection=connection,
            item_id=item_id,
            institution_id=str(institution.get("institution_id") or "")[:64],
            institution_name=name,
        )
    else:
        connection = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk)
        _relink(connection, item_id=item_id)
    credential = Credential.objects.filter(connection=connection, name=ACCESS_TOKEN).first()
    credential = credential or Credential(
        workspace_id=connection.workspace_id, connection=connection, name=ACCESS_TOKEN
    )
    credential.seal(access_token)
    credential.save()
    exchange.status, exchange.connection, exchange.request_id, exchange.ended_at = (
        PlaidExchange.Status.COMPLETED,
        connection,
        request_id,
        timezone.now(),
    )
    exchange.save(update_fields=["status", "connection", "request_id", "ended_at"])
    wake("sync.tasks.dispatch")
    return connection


def _relink(connection: Connection, *, item_id: str) -> None:
    """The same connection under a new token. A new Item starts its history anew: its cursor belongs to it alone."""
    item = PlaidItem.objects.select_for_update(no_key=True).get(connection=connection)
    if item.item_id != item_id:
        item.item_id, item.cursor, item.history_complete, item.is_new_history = (item_id, "", False, True)
        item.lease_token = item.lease_expires_at = None  # whoever reads the old Item loses its claim
    item.reauth_needed_at, item.last_sync_error, item.removed_at, item.offered_until = (None, "", None, None)
    item.dirty_seq = F("dirty_seq") + 1
    item.save()
    _repaired(connection)


@transaction.atomic
def relink_completed(*, connection: Connection) -> None:
    """The person has repaired the login in update mode: token, Item and cursor are unchanged, a sync shows whether it works."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    PlaidItem.objects.filter(connection=connection).update(
        dirty_seq=F("dirty_seq") + 1, reauth_needed_at=None, offered_until=None
    )
    _repaired(connection)
    wake("sync.tasks.dispatch")


def _repaired(connection: Connection) -> None:
    lifecycle.apply(connection, lifecycle.Event.RECOVERED)
    connection.failure_count, connection.next_attempt_at, connection.wait_reason = (0, None, "")
    connection.error_code = connection.error_detail = ""
    connection.save()


def details_fetch(*, connection: Connection, access_token: str) -> bool:
    """Read accounts, consent and institution. False where Plaid could not say; the next sync asks again."""
    item = PlaidItem.objects.get(connection=connection)
    client = PlaidClient(connection.environment, item_key=item.item_id)
    try:
        accounts = records.bank_accounts(client.accounts_get(access_token))
        accounts_update(item=item, accounts=accounts, is_complete=True)
        found = client.item_get(access_token).get("item") or {}
        institution_id = str(found.get("institution_id") or item.institution_id)
        item.consent_expires_at = found.get("consent_expiration_time")
        if institution_id and not item.institution_logo:
            institution = records.institution(client.institution_get(institution_id))
            item.institution_id, item.institution_name = (institution_id, institution.name or item.institution_name)
            item.institution_logo, item.institution_color = (institution.logo, institution.color)
    except CausewayError as error:
        log.warning(
            "item_details_missing",
            connection=str(connection.pk),
            code=error.code,
            operator_detail=error.operator_detail,
        )
        return False
    item.save(
        update_fields=[
            "consent_expires_at",
            "institution_id",
            "institution_name",
            "institution_logo",
            "institution_color",
        ]
    )
    named = item.institution_name if connection.name in ("", "Bank") else connection.name
    Connection.objects.filter(pk=connection.pk).update(name=named or "Bank", reauth_due_at=item.consent_expires_at)
    return True


def exchanges_sweep() -> int:
    """Exchanges whose process died before the answer: their outcome is unknown, and says so. Returns how many."""
    late = timezone.now() - timedelta(seconds=settings.PLAID_TIMEOUT_S + settings.LEASE_S)
    died = PlaidExchange.objects.filter(status=PlaidExchange.Status.STARTED, started_at__lt=late)
    if count := died.update(status=PlaidExchange.Status.UNKNOWN, error_code="outcome_unknown", ended_at=timezone.now()):
        log.error("exchange_outcome_unknown", count=count)
    return count
