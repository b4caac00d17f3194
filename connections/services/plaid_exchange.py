"""From a public token to a connection: the one call that must neither be lost nor repeated."""

import hashlib
import json
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.db.models import F, Q
from django.utils import timezone

from config import correlation
from connections.audit import Action
from connections.errors import CausewayError, Conflict, OutcomeUnknown, RequestError
from connections.events import EventType, event_record
from connections.models import (
    Account,
    Connection,
    Credential,
    PlaidExchange,
    PlaidItem,
    PlaidLink,
    User,
)
from connections.models.connection import Provider, Status
from connections.providers.base import Json
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.services import lifecycle
from connections.services.accounts import accounts_lock
from connections.services.audit import security_event_record
from connections.services.plaid_items import ACCESS_TOKEN, details_fetch, item_relink, item_retire
from connections.services.provider_pauses import refusals_noticed
from connections.waking import wake

log = structlog.get_logger(__name__)

_CLOSED = (Status.DISCONNECTING, Status.DISCONNECTED)
# Plaid's kinds of error that prove that a call changed nothing there; after any other the outcome is unknown.
_NOTHING_HAPPENED = ("INVALID_INPUT", "INVALID_REQUEST", "RATE_LIMIT_EXCEEDED")


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
    is_repeat: bool = False,
) -> Connection:
    """Exchange the token and return the active connection, dirty, so that its first sync follows at once.

    1. Duplicate check by `metadata` {institution {institution_id, name}, accounts [{name, mask}]}: the call bills.
    2. A `PlaidExchange` row is committed before the call: an answer that never comes leaves it `unknown` and visible.
    3. The access token is kept, encrypted, before anything else is done with the answer: whatever fails from then on,
       `exchanges_sweep` makes up for.
    4. Connection, Item and token in one transaction.
    5. Accounts and institution are read then; where that fails, in whatever way, the sync does it later.

    connection: re-link that one in place. is_repeat: the caller asks again for what it may have begun before: the answer
    is what became of that, and the call is not made twice. Raises Conflict (duplicate_item, public_token_used, exchange_in_progress),
    OutcomeUnknown, RequestError, TemporaryError.
    """
    refuse_other_environment(public_token, environment)
    if connection:
        _refuse_unlinkable(connection, environment)
    if is_repeat and (made := _made_before(user=user, workspace_id=workspace_id, public_token=public_token)):
        return _usable(made)
    client = PlaidClient(environment)
    exchange = _begin(
        user=user,
        workspace_id=workspace_id,
        public_token=public_token,
        environment=environment,
        metadata=records.link_metadata(metadata),
        connection=connection,
        allow_duplicate=allow_duplicate,
        link=link,
    )
    try:
        with refusals_noticed(environment):
            answer = client.public_token_exchange(public_token)
        access_token = answer.get("access_token")
        if not (isinstance(access_token, str) and access_token):
            raise records.malformed("the exchange's answer has no access_token", request_id=answer.get("request_id"))
    except CausewayError as error:
        if (ended := _ended(exchange, error)) is error:
            raise  # "from" would make it its own cause
        raise ended from error
    exchange.seal(access_token)
    exchange.item_id = records.identifier(answer.get("item_id"))
    exchange.request_id = records.clean(answer.get("request_id"), 64)
    exchange.save(update_fields=["key_id", "ciphertext", "item_id", "request_id"])
    try:
        connection = _finish(exchange)
    except Exception as error:
        # The Item exists and is billed, and its token is safe: whatever broke, the sweep makes the connection.
        log.exception("exchange_not_finished", exchange=str(exchange.pk), error=type(error).__name__)
        raise _made_up_for(exchange) from error
    return _usable(connection)


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
    if connection.status in _CLOSED:
        raise Conflict(code="connection_not_active")


def _refuse_duplicate(*, user: User, workspace_id: UUID, metadata: Json, digest: str) -> None:
    """The same accounts of the same bank, connected already or about to be. Under the lock of `_begin`."""
    institution_id = metadata["institution"]["institution_id"]
    mine = {"workspace_id": workspace_id, "connection__owner": user, "connection__plaid_item__removed_at": None}
    gone = Q(connection__status__in=_CLOSED)
    known = Account.objects.filter(connection__plaid_item__institution_id=institution_id, **mine).exclude(gone)
    offered = {(account["name"], account["mask"]) for account in metadata["accounts"]}
    for account in known.only("name", "mask", "connection_id"):
        if (account.name, account.mask) in offered:
            raise Conflict(code="duplicate_item", extra={"connection_id": str(account.connection_id)})
    same = PlaidExchange.objects.filter(user=user, workspace_id=workspace_id, accounts_digest=digest)
    # Its accounts may not have been read yet, or under other names; then what Link offered tells.
    linked = same.filter(status=PlaidExchange.Status.COMPLETED, **mine).exclude(gone)
    if earlier := linked.first():
        raise Conflict(code="duplicate_item", extra={"connection_id": str(earlier.connection_id)})
    under_way = Q(status=PlaidExchange.Status.STARTED, started_at__gte=_late()) | Q(ciphertext__isnull=False)
    if same.filter(under_way).exists():
        raise Conflict(code="exchange_in_progress")


def _accounts_digest(metadata: Json) -> str:
    """What tells one login's accounts from another's; "" where Link did not say."""
    institution_id, accounts = metadata["institution"]["institution_id"], metadata["accounts"]
    if not institution_id or not accounts:
        return ""
    offered = sorted((account["name"], account["mask"]) for account in accounts)
    return hashlib.sha256(json.dumps([institution_id, offered]).encode()).hexdigest()


@transaction.atomic
def _begin(
    *,
    user: User,
    workspace_id: UUID,
    public_token: str,
    environment: str,
    metadata: Json,
    connection: Connection | None,
    allow_duplicate: bool,
    link: PlaidLink | None,
) -> PlaidExchange:
    """The row that makes the token single use here too, committed before the call.

    Those who connect the same bank at the same time come here one after the other: both calls would bill.
    """
    _refuse_used(user=user, workspace_id=workspace_id, public_token=public_token)
    digest, institution = _accounts_digest(metadata), metadata["institution"]
    if digest and not connection and not allow_duplicate:
        _lock(f"exchange:{user.pk}:{institution['institution_id']}")
        _refuse_duplicate(user=user, workspace_id=workspace_id, metadata=metadata, digest=digest)
    try:
        with transaction.atomic():
            return PlaidExchange.objects.create(
                workspace_id=workspace_id,
                user=user,
                digest=_digest(public_token),
                link=link,
                connection=connection,
                environment=environment,
                institution_id=institution["institution_id"],
                institution_name=institution["name"],
                accounts_digest=digest,
                correlation_id=correlation.current(),
            )
    except IntegrityError:
        _refuse_used(user=user, workspace_id=workspace_id, public_token=public_token)
        raise Conflict(code="public_token_used") from None  # by somebody whose rows are not ours to see


def _lock(name: str) -> None:
    """Hold this name until the transaction ends."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])


def _earlier(*, user: User, workspace_id: UUID, public_token: str) -> PlaidExchange | None:
    """The person's exchange of this token, begun before and not refused."""
    mine = PlaidExchange.objects.filter(digest=_digest(public_token), workspace_id=workspace_id, user=user)
    return mine.exclude(status=PlaidExchange.Status.REFUSED).select_related("connection").first()


def _made_before(*, user: User, workspace_id: UUID, public_token: str) -> Connection | None:
    """The connection that an interrupted request made, or housekeeping for it; None where the call was not begun.

    Raises OutcomeUnknown where it was, and did not come to an end that we know.
    """
    earlier = _earlier(user=user, workspace_id=workspace_id, public_token=public_token)
    if earlier is None or earlier.status == PlaidExchange.Status.COMPLETED:
        return earlier.connection if earlier else None
    if earlier.ciphertext:
        raise _made_up_for(earlier)
    raise OutcomeUnknown(
        "The first request was interrupted, so we do not know whether the bank was connected.",
        remediation="Look at your connections in a few minutes. If the bank is not there, start Link again; the attempt "
        "is kept under Exchanges in the console, for an operator to look at.",
        provider="plaid",
        operator_detail=f"exchange {earlier.pk} was repeated while its outcome was not known",
    )


def _refuse_used(*, user: User, workspace_id: UUID, public_token: str) -> None:
    """Raise what became of this token's exchange, where it was begun before and not refused."""
    earlier = _earlier(user=user, workspace_id=workspace_id, public_token=public_token)
    if earlier is None:
        return
    if earlier.status == PlaidExchange.Status.UNKNOWN:
        raise _made_up_for(earlier) if earlier.ciphertext else OutcomeUnknown(provider="plaid")
    if earlier.status == PlaidExchange.Status.STARTED:
        raise Conflict(code="exchange_in_progress")
    extra = {"connection_id": str(earlier.connection_id)} if earlier.connection_id else {}
    raise Conflict(code="public_token_used", extra=extra)


def _digest(public_token: str) -> str:
    return hashlib.sha256(public_token.encode()).hexdigest()


def _ended(exchange: PlaidExchange, error: CausewayError) -> CausewayError:
    """Record how the call failed; the error to raise. Refused is only what proves that Plaid did not act."""
    is_refused = error.provider_type in _NOTHING_HAPPENED or error.code == "provider_not_configured"
    exchange.status = PlaidExchange.Status.REFUSED if is_refused else PlaidExchange.Status.UNKNOWN
    exchange.error_code, exchange.ended_at = (error.code, timezone.now())
    exchange.request_id = records.clean(error.request_id, 64)
    exchange.save(update_fields=["status", "error_code", "request_id", "ended_at"])
    if is_refused:
        return error
    log.error("exchange_outcome_unknown", exchange=str(exchange.pk), operator_detail=error.operator_detail)
    return OutcomeUnknown(provider="plaid", operator_detail=f"exchange {exchange.pk}: {error.operator_detail}")


def _made_up_for(exchange: PlaidExchange) -> OutcomeUnknown:
    return OutcomeUnknown(
        "The bank was connected, but the connection could not be stored completely. It is finished by itself.",
        remediation="Wait a few minutes and look at your connections; do not connect the bank again meanwhile.",
        provider="plaid",
        operator_detail=f"exchange {exchange.pk} holds its access token and is gone on with by housekeeping",
    )


def _usable(connection: Connection) -> Connection:
    if connection.status in _CLOSED:
        raise Conflict(code="connection_not_active")
    return connection


# --- from an answer to a connection ---
def _finish(exchange: PlaidExchange) -> Connection:
    """Make the connection from the token that the exchange holds, and read its details. Safe to repeat."""
    access_token = exchange.reveal()
    if not exchange.item_id:
        client = PlaidClient(exchange.environment, item_key=str(exchange.pk))
        with refusals_noticed(exchange.environment):
            exchange.item_id = records.item_details(client.item_get(access_token)).external_id
        if not exchange.item_id:
            raise records.malformed("neither the exchange nor /item/get says a usable item_id")
        exchange.save(update_fields=["item_id"])
    connection = _connect(exchange.pk, actor=exchange.user, access_token=access_token, item_id=exchange.item_id)
    if connection.status not in _CLOSED:
        try:
            details_fetch(connection=connection, access_token=access_token)
        except Exception as error:
            # The connection exists and is billed. Its details stay due, and the next sync reads them.
            log.exception("item_details_missing", connection=str(connection.pk), error=type(error).__name__)
    return connection


@transaction.atomic
def _connect(exchange_id: UUID, *, actor: User, access_token: str, item_id: str) -> Connection:
    """Connection, Item and sealed token in one transaction, and the exchange completed with them.

    Where the connection to re-link was disconnected meanwhile, the new Item is only put down for removal.
    """
    exchange = PlaidExchange.objects.select_for_update(no_key=True).get(pk=exchange_id)
    if exchange.status == PlaidExchange.Status.COMPLETED and exchange.connection:
        return exchange.connection  # somebody else finished it
    connection = _connection_for(exchange, item_id)
    is_new = connection is None
    if connection is None:
        connection = _new_connection(exchange, item_id)
    elif connection.status in _CLOSED:
        item_retire(connection, item_id=item_id, access_token=access_token)
    else:
        item_relink(connection, item_id=item_id)
    if connection.status not in _CLOSED:
        credential = Credential.objects.filter(connection=connection, name=ACCESS_TOKEN).first()
        credential = credential or Credential(
            workspace_id=connection.workspace_id, connection=connection, name=ACCESS_TOKEN
        )
        credential.seal(access_token)
        credential.save()
    exchange.status, exchange.connection, exchange.ended_at = (
        PlaidExchange.Status.COMPLETED,
        connection,
        timezone.now(),
    )
    exchange.error_code, exchange.next_attempt_at = "", None
    exchange.forget()
    exchange.save()
    action = Action.CONNECTION_LINKED if is_new else Action.CONNECTION_RELINKED
    told = {"environment": connection.environment, "item_id": item_id}
    security_event_record(action, actor=actor, workspace_id=connection.workspace_id, subject=connection, **told)
    if is_new:
        told = {"provider": connection.provider, "environment": connection.environment}
        event_record(EventType.CONNECTION_CREATED, connection_id=connection.pk, payload=told)
        event_record(EventType.CONNECTION_ACTIVATED, connection_id=connection.pk, payload={"was": ""})
    wake("sync.tasks.dispatch")
    return connection


def _connection_for(exchange: PlaidExchange, item_id: str) -> Connection | None:
    """The connection that this login belongs to already: the one to re-link, or the one that has this very Item. Locked."""
    same = PlaidItem.objects.filter(
        item_id=item_id, workspace_id=exchange.workspace_id, connection__owner_id=exchange.user_id
    )
    connection_id = exchange.connection_id or same.values_list("connection_id", flat=True).first()
    if connection_id is None:
        return None
    if owned := PlaidItem.objects.filter(connection_id=connection_id).first():
        accounts_lock(owned.pk)  # whoever writes accounts of the Item before is done first
    return Connection.objects.select_for_update(no_key=True).get(pk=connection_id)


def _new_connection(exchange: PlaidExchange, item_id: str) -> Connection:
    connection = Connection.objects.create(
        workspace_id=exchange.workspace_id,
        owner_id=exchange.user_id,
        provider=Provider.PLAID,
        name=exchange.institution_name or "Bank",
        environment=exchange.environment,
        status=Status.ACTIVE,
    )
    PlaidItem.objects.create(
        workspace_id=exchange.workspace_id,
        connection=connection,
        item_id=item_id,
        institution_id=exchange.institution_id,
        institution_name=exchange.institution_name,
    )
    return connection


# --- what a process that died left behind ---
def _late() -> datetime:
    """Exchanges begun before this are under way nowhere any more."""
    return timezone.now() - timedelta(seconds=settings.PLAID_TIMEOUT_S + settings.LEASE_S)


def exchanges_sweep() -> int:
    """Go on with exchanges that hold their token, and say of those without an answer that their outcome is unknown.

    Returns how many became unknown.
    """
    exchanges_recover()
    died = PlaidExchange.objects.filter(status=PlaidExchange.Status.STARTED, started_at__lt=_late(), ciphertext=None)
    if count := died.update(status=PlaidExchange.Status.UNKNOWN, error_code="outcome_unknown", ended_at=timezone.now()):
        log.error("exchange_outcome_unknown", count=count)
    return count


def exchanges_recover(*, limit: int = 5) -> int:
    """Make the connections of exchanges whose token was kept and whose process did not come further. Returns how many."""
    now = timezone.now()
    due = PlaidExchange.objects.filter(
        Q(next_attempt_at=None) | Q(next_attempt_at__lte=now), ciphertext__isnull=False, started_at__lt=_late()
    )
    return sum(_recover(pk) for pk in due.order_by("started_at").values_list("pk", flat=True)[:limit])


def _recover(exchange_id: UUID) -> bool:
    """One of them, if nobody else is at it; a failure waits longer each time, and is shown as an unknown outcome."""
    now = timezone.now()
    free = PlaidExchange.objects.filter(
        Q(next_attempt_at=None) | Q(next_attempt_at__lte=now), pk=exchange_id, ciphertext__isnull=False
    )
    lease = now + timedelta(seconds=settings.PLAID_TIMEOUT_S + settings.LEASE_S)
    if not free.update(next_attempt_at=lease, attempts=F("attempts") + 1):
        return False
    exchange = PlaidExchange.objects.get(pk=exchange_id)
    with correlation.bound(exchange.correlation_id or None):
        try:
            connection = _finish(exchange)
        except Exception as error:
            log.exception("exchange_not_finished", exchange=str(exchange_id), error=type(error).__name__)
            code = error.code if isinstance(error, CausewayError) else "internal_error"
            PlaidExchange.objects.filter(pk=exchange_id, ciphertext__isnull=False).update(
                status=PlaidExchange.Status.UNKNOWN,
                error_code=code,
                ended_at=timezone.now(),
                next_attempt_at=timezone.now() + timedelta(seconds=lifecycle.backoff_s(exchange.attempts)),
            )
            return False
        log.warning("exchange_recovered", exchange=str(exchange_id), connection=str(connection.pk))
    return True
