"""What is to do at a provider after a connection became active, and before its credentials are destroyed.

The errand stands on the connection's row, written with the change that calls for it. A worker takes it under a lease,
with no transaction open, and tries until it succeeds: both of a provider's hooks may be called again.
"""

import time
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.audit import Action
from connections.errors import CausewayError, Conflict, NeedsReauth, RequestError
from connections.events import EventType, event_record
from connections.models import Connection, User
from connections.models.connection import Errand, Status
from connections.providers import provider
from connections.services import lifecycle
from connections.services.access import access_of
from connections.services.audit import security_event_record
from connections.services.disconnecting import disconnect_finish
from connections.services.leasing import renewed
from connections.services.provider_pauses import NOT_PAUSED, provider_pause

log = structlog.get_logger(__name__)

FAILURES_UNTIL_TOLD = 3


def errands_run(*, deadline: float) -> int:
    """Do what is due, until nothing is or the time is up. Returns how many succeeded. An idle call is one query."""
    done = 0
    while time.monotonic() < deadline and (connection := _claim()):
        with correlation.bound(None):
            done += _run(connection)
    return done


def _claim() -> Connection | None:
    with database.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE connections_connection SET errand_lease = %s, errand_lease_at = now() + %s * interval '1 second',
                errand_attempts = errand_attempts + 1
            WHERE id = (
                SELECT id FROM connections_connection c
                WHERE errand <> '' AND errand_at <= now() AND (errand_lease_at IS NULL OR errand_lease_at < now())
                    AND {NOT_PAUSED}
                ORDER BY errand_at LIMIT 1 FOR NO KEY UPDATE OF c SKIP LOCKED
            ) RETURNING id
            """,
            [uuid4(), settings.LEASE_S],
        )
        row = cursor.fetchone()
    return Connection.objects.get(pk=row[0]) if row else None


def _run(connection: Connection) -> bool:
    """One errand. What goes wrong is tried again later, and keeps none of the others."""
    declared = provider(connection.provider)
    hook = declared.activated if connection.errand == Errand.ACTIVATED else declared.disconnecting
    try:
        with renewed(lambda: _renew(connection), name=f"{connection.errand} {connection.pk}"):
            if hook:
                hook(access_of(connection, is_good=True))
    except CausewayError as error:
        if error.is_service_wide:
            return _rests(connection, error)
        if not _is_over(connection, error):
            log.warning("errand_failed", errand=connection.errand, code=error.code, detail=error.operator_detail)
            return _failed(connection, error)
    except Exception as error:
        log.exception("errand_broke", errand=connection.errand, error=type(error).__name__)
        return _failed(connection, CausewayError(operator_detail=f"{type(error).__name__}: {error}"))
    return _done(connection)


def _is_over(connection: Connection, error: CausewayError) -> bool:
    """Whether there is nothing left to clear away: the provider does not let us in, or we have nothing to go in with."""
    gone = isinstance(error, NeedsReauth) or error.code == "connection_misconfigured"
    return gone and connection.errand == Errand.DISCONNECTING


def _renew(connection: Connection) -> bool:
    until = timezone.now() + timedelta(seconds=settings.LEASE_S)
    mine = Connection.objects.filter(pk=connection.pk, errand_lease=connection.errand_lease)
    return bool(mine.update(errand_lease_at=until))


def _locked(connection: Connection) -> tuple[Connection, bool]:
    """The row, and whether this is still what is to do: another errand, put down meanwhile, has waited for our lease."""
    row = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    if row.errand_lease != connection.errand_lease:
        return row, False
    row.errand_lease = row.errand_lease_at = None
    return row, (row.errand, row.errand_at) == (connection.errand, connection.errand_at)


@transaction.atomic
def _done(connection: Connection) -> bool:
    row, is_mine = _locked(connection)
    if is_mine:
        row.errand, row.errand_at, row.errand_attempts, row.errand_error = Errand.NONE, None, 0, ""
    row.save()
    if is_mine and row.status == Status.DISCONNECTING:
        disconnect_finish(row.pk)
    log.info("errand_done", connection=str(row.pk), errand=connection.errand, attempts=connection.errand_attempts)
    return is_mine


@transaction.atomic
def _rests(connection: Connection, error: CausewayError) -> bool:
    """Nobody gets through, so this is no trouble of this connection's: it is tried again as soon as somebody does."""
    provider_pause(error, environment=connection.environment)
    row, is_mine = _locked(connection)
    if is_mine:
        row.errand_attempts -= 1
    row.save()
    return False


@transaction.atomic
def _failed(connection: Connection, error: CausewayError) -> bool:
    """Try later; a disconnect that cannot end says so with the connection, and from the third time on to whoever listens."""
    row, is_mine = _locked(connection)
    if is_mine:
        said = scrub(error.operator_detail or error.detail)[:2_000]
        wait_s = max(error.retry_after_s or 0, lifecycle.backoff_s(row.errand_attempts))
        row.errand_at, row.errand_error = timezone.now() + timedelta(seconds=wait_s), said
        if row.status == Status.DISCONNECTING:
            _show(row, error)
    row.save()
    if is_mine and row.status == Status.DISCONNECTING and row.errand_attempts >= FAILURES_UNTIL_TOLD:
        told = {"code": error.code, "attempts": row.errand_attempts, "status": row.status}
        event_record(EventType.REMOVAL_FAILED, connection_id=row.pk, payload=told | {"next_attempt_at": row.errand_at})
    return False


def _show(row: Connection, error: CausewayError) -> None:
    row.failure_count, row.next_attempt_at = row.errand_attempts, row.errand_at
    row.error_code, row.error_detail = error.code, row.errand_error
    row.error_correlation_id, row.error_at = correlation.current(), timezone.now()


@transaction.atomic
def disconnect_settle(*, connection_id: UUID, reason: str, actor: User) -> Connection:
    """A person says that nothing of it opens anything at the provider any more: believed, with their name on record.

    Raises Conflict where no provider keeps the disconnect from its end.
    """
    reason = " ".join(reason.split())
    if not reason:
        raise RequestError("Say how you know that.", fields={"reason": ["This field is required."]})
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if connection.errand != Errand.DISCONNECTING:
        raise Conflict("No provider keeps this connection from its end.")
    connection.errand, connection.errand_at, connection.errand_error = Errand.NONE, None, ""
    connection.errand_lease = connection.errand_lease_at = None
    connection.save()
    security_event_record(
        Action.CONNECTION_SETTLED,
        actor=actor,
        workspace_id=connection.workspace_id,
        subject=connection,
        reason=scrub(reason),
    )
    disconnect_finish(connection.pk)
    return Connection.objects.get(pk=connection.pk)
