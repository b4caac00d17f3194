"""Replacing an Item's access token at Plaid, where somebody may have seen it: the Item and its history stay.

The call is made once and never repeated: the old token dies with it, and the answer is the only copy of the new one.

1. The Item is claimed as for a sync, so that none reads it meanwhile; a row is committed before the call.
2. The new token is kept, encrypted, in that row before anything else is done with the answer.
3. One transaction gives it to whoever needs it now: the connection, or, where it was re-linked meanwhile, the removal
   of its former Item.

Whatever died in between, `rotations_sweep` goes on with what was kept, and says of the rest that nobody knows.
"""

from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from config import correlation
from connections.audit import Action
from connections.errors import CausewayError, Conflict, Misconfigured, OutcomeUnknown
from connections.events import EventType, event_record
from connections.models import Connection, Credential, PlaidItem, PlaidTokenRotation, RetiredPlaidItem, User
from connections.models.connection import Provider
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.services.audit import security_event_record
from connections.services.plaid_items import ACCESS_TOKEN, credential_of
from connections.services.provider_pauses import refusals_noticed
from connections.waking import wake

log = structlog.get_logger(__name__)

Status = PlaidTokenRotation.Status
# Plaid's kinds of error that prove that a call changed nothing there; after any other the outcome is unknown.
_NOTHING_HAPPENED = ("INVALID_INPUT", "INVALID_REQUEST", "RATE_LIMIT_EXCEEDED", "ITEM_ERROR")


def access_token_rotate(*, connection_id: UUID, actor: User) -> PlaidTokenRotation:
    """Rotate the bank's access token now. Raises Conflict (no bank, closed, being read, an outcome still unknown),
    OutcomeUnknown, and whatever Plaid refuses it with."""
    environment = Connection.objects.values_list("environment", flat=True).get(pk=connection_id)
    client = PlaidClient(environment, item_key=str(connection_id))  # what lacks keys fails before anything is begun
    rotation, access_token = _begin(connection_id, actor)
    try:
        with refusals_noticed(environment):
            answer = client.access_token_invalidate(access_token)
        if not (isinstance(new_token := answer.get("new_access_token"), str) and new_token):
            raise records.malformed("no new_access_token", request_id=answer.get("request_id"))
    except CausewayError as error:
        _ended(rotation, error)
        if rotation.status == Status.REFUSED:
            raise
        raise OutcomeUnknown(code="rotation_unknown", provider="plaid", operator_detail=str(error)) from error
    rotation.seal(new_token)
    rotation.request_id = records.clean(answer.get("request_id"), 64)
    rotation.save(update_fields=["key_id", "ciphertext", "request_id"])
    return _finish(rotation.pk)


@transaction.atomic
def _begin(connection_id: UUID, actor: User) -> tuple[PlaidTokenRotation, str]:
    """The row, committed before the call, and the token as it is once the Item is claimed."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if connection.provider != Provider.PLAID or connection.is_closed:
        raise Conflict(code="connection_not_active")
    _settle_proved(connection_id)
    now, lease_token = timezone.now(), uuid4()
    free = PlaidItem.objects.filter(
        Q(lease_expires_at=None) | Q(lease_expires_at__lt=now), connection_id=connection_id, removed_at=None
    )
    until = now + timedelta(seconds=settings.PLAID_TIMEOUT_S + settings.LEASE_S)
    if not free.update(lease_token=lease_token, lease_expires_at=until):
        raise Conflict("This bank is being read at this moment.", remediation="Try again when its sync has ended.")
    access_token = credential_of(connection).reveal()
    try:
        with transaction.atomic():
            rotation = PlaidTokenRotation.objects.create(
                workspace_id=connection.workspace_id,
                connection=connection,
                actor=actor,
                item_id=connection.plaid_item.item_id,
                lease_token=lease_token,
                correlation_id=correlation.current(),
            )
    except IntegrityError:
        raise Conflict(code="rotation_unknown") from None
    security_event_record(
        Action.ACCESS_TOKEN_ROTATED, actor=actor, workspace_id=connection.workspace_id, subject=connection
    )
    return rotation, access_token


@transaction.atomic
def _ended(rotation: PlaidTokenRotation, error: CausewayError) -> None:
    """Without a new token: refused is only what proves that Plaid did not act; of anything else operators are told."""
    is_refused = error.provider_type in _NOTHING_HAPPENED or isinstance(error, Misconfigured)
    rotation.status = Status.REFUSED if is_refused else Status.UNKNOWN
    rotation.error_code, rotation.ended_at = error.code, timezone.now()
    rotation.request_id = records.clean(error.request_id, 64)
    rotation.save(update_fields=["status", "error_code", "request_id", "ended_at"])
    if not is_refused:
        _tell_unknown(rotation, error.operator_detail)
    _let_go(rotation)


def _tell_unknown(rotation: PlaidTokenRotation, operator_detail: str) -> None:
    log.error("rotation_outcome_unknown", rotation=str(rotation.pk), operator_detail=operator_detail)
    told = {"code": "rotation_unknown", "item_id": rotation.item_id, "rotation": rotation.pk}
    event_record(EventType.TOKEN_REFRESH_FAILED, connection_id=rotation.connection_id, payload=told)


def _let_go(rotation: PlaidTokenRotation) -> None:
    mine = PlaidItem.objects.filter(connection_id=rotation.connection_id, lease_token=rotation.lease_token)
    mine.update(lease_token=None, lease_expires_at=None, offered_until=None)
    wake("sync.tasks.dispatch")


@transaction.atomic
def _finish(rotation_id: UUID) -> PlaidTokenRotation:
    """Give the new token to whoever needs it, and end the rotation. Safe to repeat."""
    found = PlaidTokenRotation.objects.get(pk=rotation_id)
    connection = Connection.objects.select_for_update(no_key=True).get(pk=found.connection_id)
    item = PlaidItem.objects.select_for_update(no_key=True).get(connection=connection)
    rotation = PlaidTokenRotation.objects.select_for_update(no_key=True).get(pk=rotation_id)
    if rotation.ciphertext is None:
        return rotation  # somebody else finished it
    new_token = rotation.reveal()
    if item.item_id == rotation.item_id:
        for credential in Credential.objects.filter(connection=connection, name=ACCESS_TOKEN):
            credential.seal(new_token)
            credential.save()
    left = RetiredPlaidItem.objects.filter(item_id=rotation.item_id, status=RetiredPlaidItem.Status.PENDING)
    for retired in left.filter(connection=connection).exclude(ciphertext=None):
        retired.seal(new_token)
        retired.save(update_fields=["key_id", "ciphertext"])
    rotation.forget()
    rotation.status, rotation.error_code, rotation.ended_at = Status.COMPLETED, "", timezone.now()
    rotation.save()
    event_record(
        EventType.TOKEN_ROTATED, connection_id=connection.pk, payload={"item_id": rotation.item_id, "is_rotated": True}
    )
    _let_go(rotation)
    log.info("access_token_rotated", connection=str(connection.pk), rotation=str(rotation.pk))
    return rotation


# --- what a process that died left behind ---
def rotations_sweep() -> int:
    """Go on with what kept its token, say of what has none that nobody knows, and settle what a sync has proved since.

    Returns how many are settled.
    """
    late = timezone.now() - timedelta(seconds=settings.PLAID_TIMEOUT_S + settings.LEASE_S)
    died = PlaidTokenRotation.objects.filter(status=Status.STARTED, started_at__lt=late)
    settled = 0
    for rotation in died.exclude(ciphertext=None):
        try:
            settled += _finish(rotation.pk).status == Status.COMPLETED
        except CausewayError as error:  # the key it was sealed with may come back
            log.error("rotation_not_finished", rotation=str(rotation.pk), operator_detail=error.operator_detail)
    for rotation in died.filter(ciphertext=None):
        _give_up(rotation)
    return settled + _settle_proved()


@transaction.atomic
def _give_up(rotation: PlaidTokenRotation) -> None:
    mine = PlaidTokenRotation.objects.filter(pk=rotation.pk, status=Status.STARTED, ciphertext=None)
    if mine.update(status=Status.UNKNOWN, error_code="outcome_unknown", ended_at=timezone.now()):
        _tell_unknown(rotation, "the process died over the call")


@transaction.atomic
def _settle_proved(connection_id: UUID | None = None) -> int:
    """The Item was read since with the token that we have: it is the one that works, whatever became of the call."""
    proved = PlaidTokenRotation.objects.filter(
        status=Status.UNKNOWN,
        connection__last_sync_at__gt=F("ended_at"),
        connection__plaid_item__item_id=F("item_id"),
        **({"connection_id": connection_id} if connection_id else {}),
    )
    count = 0
    for rotation in proved:
        if PlaidTokenRotation.objects.filter(pk=rotation.pk, status=Status.UNKNOWN).update(status=Status.REFUSED):
            count += 1
            told = {"item_id": rotation.item_id, "is_rotated": False}
            event_record(EventType.TOKEN_ROTATED, connection_id=rotation.connection_id, payload=told)
    return count
