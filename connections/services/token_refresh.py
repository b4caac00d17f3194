"""Renewing OAuth tokens: by one at a time a connection, once an expiry, and without losing what the provider gives.

1. Whoever finds a token that ends claims the grant's row under a lease, and reads the token again: it may be new by now.
2. Before the call, which no transaction is open over, the row says which refresh token is sent.
3. The answer is kept in one transaction before anything is done with it, if what was sent is still what we hold.

Everybody else waits for the holder. Who dies between 2 and 3 leaves the row as it is: after the lease the next one sees
that an answer may have been lost, tries the token that we still have, and where that is refused says why.
docs/explanation/tokens.md tells the whole.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db import connection as database
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.errors import (
    CausewayError,
    KeysRefused,
    Misconfigured,
    NeedsReauth,
    NotSent,
    RateLimited,
    TemporaryError,
)
from connections.events import EventType, event_record
from connections.models import Connection, Credential, OAuthGrant, ProviderPause
from connections.models.connection import CLOSED, Status
from connections.providers import provider
from connections.providers.base import Access, Authorizes, Grant
from connections.services import lifecycle
from connections.services.provider_pauses import provider_pause

log = structlog.get_logger(__name__)

ACCESS_TOKEN, REFRESH_TOKEN, WHOLE = "access_token", "refresh_token", "grant"
SOON = timedelta(seconds=60)  # an access token with less than this left is renewed before it is used
SAVE_ATTEMPTS = 5
LOST_CODES = ("access_refused", "access_lost")  # what a person ends by signing in again
_HARD_EXPIRY_JITTER = timedelta(hours=1)
_RENEWED = (Status.VERIFIED, Status.ACTIVE, Status.FAILED, Status.PAUSED, Status.PENDING_CLEANUP)


@dataclass(frozen=True, slots=True)
class _Held:
    """What there is to get in with, as it was read a moment ago."""

    connection: Connection
    grant: OAuthGrant
    access: Credential
    refresh: Credential

    def usable(self, refused: str) -> str:
        """The access token, if it lasts and is not the one that was refused; else ""."""
        return self._token(refused, timezone.now() + SOON)

    def still_usable(self, refused: str) -> str:
        """The same with less time left: where a new one cannot be had now."""
        return self._token(refused, timezone.now())

    def _token(self, refused: str, until: datetime) -> str:
        token = self.access.reveal() if self.access.expires_at and self.access.expires_at > until else ""
        return token if token != refused else ""


# --- for whoever needs a token ---
def fresh_token(connection_id: UUID, refused: str = "") -> str:
    """An access token that is good for the next minute, renewed where it has to be; never called in a transaction.

    refused: the token that the provider has just answered with 401: another one is returned. Raises NeedsReauth where
    only a person can get in again, TemporaryError where the provider, or whoever renews it now, does not answer in time.
    """
    ends_at, wait_s = time.monotonic() + settings.OAUTH_TIMEOUT_S, 0.02
    while True:
        held = _held(connection_id)
        if token := _without_asking(held, refused):
            return token
        if lease := _claim(held.grant):
            if token := _renewed(connection_id, lease, refused):
                return token
            continue  # what was sent is not what we hold any more: somebody signed in meanwhile
        if time.monotonic() > ends_at:
            raise TemporaryError(
                provider=held.connection.provider,
                operator_detail="another process renews the access, and has not ended",
            )
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, 0.5)


def _held(connection_id: UUID) -> _Held:
    """Raises Misconfigured where nobody has signed in."""
    connection = Connection.objects.select_related("oauth_grant").get(pk=connection_id)
    rows = Credential.objects.filter(connection_id=connection_id, name__in=(ACCESS_TOKEN, REFRESH_TOKEN))
    found = {row.name: row for row in rows.filter(is_superseded=False)}
    grant = getattr(connection, "oauth_grant", None)
    if grant is None or len(found) != 2:
        words = "Sign in at the provider first: POST connections/{id}/oauth/authorize says where."
        detail = f"connection {connection_id} has no tokens"
        raise Misconfigured(code="connection_misconfigured", remediation=words, operator_detail=detail)
    return _Held(connection, grant, found[ACCESS_TOKEN], found[REFRESH_TOKEN])


def _without_asking(held: _Held, refused: str) -> str:
    """The token that is there, where it is good enough; "" where the provider has to be asked. Raises what is known."""
    if token := held.usable(refused):
        return token
    _refuse_hopeless(held)
    return _spared(held, refused)


def _refuse_hopeless(held: _Held) -> None:
    """Raise what is known already: the refresh token was refused, or the provider takes nothing from us now."""
    if held.grant.refused_fingerprint == held.refresh.fingerprint:
        raise _needs_reauth(held.connection.provider, held.grant.error_code)
    at_rest = ProviderPause.objects.filter(
        provider=held.connection.provider, environment=held.connection.environment
    ).first()
    if at_rest:
        raise Misconfigured(code=at_rest.code, provider=at_rest.provider, operator_detail=at_rest.operator_detail)


def _needs_reauth(provider_key: str, code: str, operator_detail: str = "") -> NeedsReauth:
    return NeedsReauth(
        code=code if code in LOST_CODES else "access_refused", provider=provider_key, operator_detail=operator_detail
    )


def _spared(held: _Held, refused: str) -> str:
    """While a failure waits for its next try nobody asks again: the token as it is, or the same failure."""
    now, again_at = timezone.now(), held.grant.next_attempt_at
    if again_at is None or again_at <= now:
        return ""
    if token := held.still_usable(refused):
        return token
    raise TemporaryError(
        code=held.grant.error_code or "provider_unavailable",
        provider=held.connection.provider,
        retry_after_s=(again_at - now).total_seconds(),
        operator_detail=held.grant.error_detail,
    )


# --- for the clock ---
def grants_due(*, limit: int = 1000) -> list[UUID]:
    """Ids of connections whose access token ends within TOKEN_REFRESH_AHEAD_S, the next to end first. One query."""
    now = timezone.now()
    ends = now + timedelta(seconds=settings.TOKEN_REFRESH_AHEAD_S)
    due = Credential.objects.filter(name=ACCESS_TOKEN, is_superseded=False, expires_at__lte=ends)
    due = due.filter(_is_free("connection__oauth_grant__", now), connection__status__in=_RENEWED)
    due = due.filter(
        Q(connection__oauth_grant__next_attempt_at=None) | Q(connection__oauth_grant__next_attempt_at__lte=now)
    )
    resting = ProviderPause.objects.filter(
        provider=OuterRef("connection__provider"), environment=OuterRef("connection__environment")
    )
    due = due.filter(~Exists(resting), connection__oauth_grant__refused_fingerprint="")
    return list(due.order_by("expires_at").values_list("connection_id", flat=True)[:limit])


def grants_refresh(*, deadline: float) -> int:
    """Renew what is due, until nothing is or the time is up. Returns how many. An idle call is one query.

    What fails is put down and tried again; one connection's trouble is not its neighbours'.
    """
    count = 0
    for connection_id in grants_due():
        if time.monotonic() > deadline:
            break
        try:
            count += grant_refresh(connection_id)
        except CausewayError as error:
            log.warning("token_not_refreshed", connection=str(connection_id), code=error.code)
        except Exception as error:
            log.exception("token_refresh_broke", connection=str(connection_id), error=type(error).__name__)
    return count


def grant_refresh(connection_id: UUID) -> bool:
    """Renew it if it still ends soon and nobody is at it. Raises what the provider refuses it with."""
    soon = timezone.now() + timedelta(seconds=settings.TOKEN_REFRESH_AHEAD_S)
    held = _held(connection_id)
    if held.access.expires_at and held.access.expires_at > soon:
        return False
    if not (lease := _claim(held.grant)):
        return False
    with correlation.bound(None):
        return bool(_renewed(connection_id, lease, held.access.reveal()))


# --- the holder ---
def _is_free(prefix: str, now: datetime) -> Q:
    return Q(**{f"{prefix}lease_expires_at": None}) | Q(**{f"{prefix}lease_expires_at__lt": now})


def _claim(grant: OAuthGrant) -> UUID | None:
    """The lease, if nobody has it. It outlives the call, so that nobody else asks while an answer is on its way."""
    now, lease = timezone.now(), uuid4()
    until = now + timedelta(seconds=settings.OAUTH_TIMEOUT_S + settings.LEASE_S)
    free = OAuthGrant.objects.filter(_is_free("", now), pk=grant.pk)
    return lease if free.update(lease_token=lease, lease_expires_at=until) else None


def _renewed(connection_id: UUID, lease: UUID, refused: str) -> str:
    """Under the lease: the new access token, or the one that somebody got meanwhile; "" where it has to be looked at anew."""
    held = _held(connection_id)
    try:
        token = _without_asking(held, refused)  # whoever had the lease until now may have got one, or failed
    except CausewayError:
        _let_go(lease)
        raise
    if token:
        _let_go(lease)
        return token
    was_lost = _note_sending(held, lease)
    try:
        grant = _authorizer(held.connection).refresh(_access(held))
    except NeedsReauth as error:
        return _refused(held, lease, error, was_lost=was_lost)
    except CausewayError as error:
        _failed(held, lease, error)
    if kept := _kept(held, lease, grant):
        return kept
    _give_back(held, grant)
    return ""


def _authorizer(connection: Connection) -> Authorizes:
    declared = provider(connection.provider)
    if declared.authorizes is None:
        raise Misconfigured(code="connection_misconfigured", provider=connection.provider)
    return declared.authorizes


def _access(held: _Held) -> Access:
    """With the very token that the row says is sent, whatever is stored meanwhile."""
    return access_with(held.connection, {REFRESH_TOKEN: held.refresh.reveal()})


def access_with(connection: Connection, secrets: dict[str, str]) -> Access:
    """The way in with these secrets and no others, for code that keeps nothing."""

    def nothing(*_values: Any) -> None:
        """Whoever calls keeps what comes back."""

    def no_token(_refused: str) -> NoReturn:
        raise Misconfigured(code="connection_misconfigured", provider=connection.provider)

    return Access(
        connection_id=connection.pk,
        environment=connection.environment,
        config=connection.config,
        secret=secrets.__getitem__,
        facts=dict(connection.facts),
        remember=nothing,
        keep_secret=nothing,
        fresh_token=no_token,
        callback_url=lambda _purpose: "",
    )


def _mine(lease: UUID) -> QuerySet[OAuthGrant]:
    return OAuthGrant.objects.filter(lease_token=lease)


def _let_go(lease: UUID, **changes: Any) -> None:
    _mine(lease).update(lease_token=None, lease_expires_at=None, **changes)


def _note_sending(held: _Held, lease: UUID) -> bool:
    """Say what is sent, before it is. True: it was sent before, and nobody knows what became of it."""
    was_lost = held.grant.sent_fingerprint == held.refresh.fingerprint
    changes: dict[str, Any] = {"sent_fingerprint": held.refresh.fingerprint, "sent_at": timezone.now()}
    if was_lost:
        changes |= {"lost_answers": F("lost_answers") + 1, "lost_at": timezone.now()}
        log.error("token_answer_lost", connection=str(held.connection.pk), sent_at=str(held.grant.sent_at))
    if not _mine(lease).update(**changes):
        raise TemporaryError(provider=held.connection.provider, operator_detail="the claim was lost before the call")
    return was_lost


# --- what comes back ---
def _kept(held: _Held, lease: UUID, grant: Grant) -> str:
    """Keep it, whatever the database does for a moment: this is the only copy. The access token, "" where ours is not it."""
    for attempt in range(1, SAVE_ATTEMPTS + 1):
        try:
            return _save(held, lease, grant)
        except (OperationalError, InterfaceError) as error:
            log.warning("token_not_kept_yet", connection=str(held.connection.pk), error=type(error).__name__)
            if attempt == SAVE_ATTEMPTS or database.in_atomic_block:
                raise
            database.close()
            time.sleep(0.2 * attempt)
    raise AssertionError  # the loop returns or raises


@transaction.atomic
def _save(held: _Held, lease: UUID, grant: Grant) -> str:
    """The fence is the token that was sent: while it is the one we hold, the answer to it is the newest there is.

    Not the lease: a holder that was stopped for long may have lost it, and still be the only one who knows the next token.
    """
    connection = Connection.objects.select_for_update(no_key=True).get(pk=held.connection.pk)
    rows = _rows(held)
    if connection.status == Status.DISCONNECTED or not _is_what_we_hold(rows, held):
        _let_go(lease)
        log.warning("token_answer_dropped", connection=str(connection.pk), status=connection.status)
        return ""
    credentials_keep(connection, rows, grant)
    ours = OAuthGrant.objects.filter(connection=connection)
    ours.update(
        **grant_ended(held.grant, grant), refreshes=F("refreshes") + 1, refreshed_at=timezone.now(), **NO_TROUBLE
    )
    if connection.status == Status.NEEDS_REAUTH and connection.error_code in LOST_CODES:
        lifecycle.apply(connection, lifecycle.Event.RECOVERED)  # it was refused to somebody who came too late
        lifecycle.forget_troubles(connection)
    connection.reauth_due_at = ours.values_list("hard_expires_at", flat=True).get()
    connection.save(update_fields=_MOVED)
    log.info("token_refreshed", connection=str(connection.pk))
    return grant.secrets[ACCESS_TOKEN]


_MOVED = [
    "status",
    "status_reason",
    "reauth_due_at",
    "failure_count",
    "failing_since",
    "next_attempt_at",
    "wait_reason",
    "error_code",
    "error_detail",
    "error_correlation_id",
    "error_at",
    "updated_at",
]
NO_TROUBLE: dict[str, Any] = {
    "lease_token": None,
    "lease_expires_at": None,
    "sent_fingerprint": "",
    "sent_at": None,
    "refused_fingerprint": "",
    "failure_count": 0,
    "next_attempt_at": None,
    "error_code": "",
    "error_detail": "",
}


def _rows(held: _Held) -> dict[str, Credential]:
    """The same rows as they are now, also where a newer configuration has superseded them."""
    return {row.name: row for row in Credential.objects.filter(pk__in=(held.access.pk, held.refresh.pk))}


def _is_what_we_hold(rows: dict[str, Credential], held: _Held) -> bool:
    return REFRESH_TOKEN in rows and rows[REFRESH_TOKEN].fingerprint == held.refresh.fingerprint


def _give_back(held: _Held, grant: Grant) -> None:
    """The connection ended over the call, and its access was withdrawn with the former token: so it is with this one."""
    if not Connection.objects.filter(pk=held.connection.pk, status=Status.DISCONNECTED).exists():
        return
    try:
        _authorizer(held.connection).revoke(access_with(held.connection, dict(grant.secrets)))
    except CausewayError as error:
        log.error("token_not_given_back", connection=str(held.connection.pk), code=error.code)


def credentials_keep(connection: Connection, rows: dict[str, Credential], grant: Grant) -> None:
    """Every secret of the grant, with the moment when it ends. The caller holds the connection's row."""
    for name, secret in grant.secrets.items():
        row = rows.get(name) or Credential(workspace_id=connection.workspace_id, connection=connection, name=name)
        row.seal(secret)
        row.expires_at = grant.expires_at.get(name)
        row.save()


def grant_ended(known: OAuthGrant | None, grant: Grant) -> dict[str, datetime | None]:
    """When all of it ends: as told first, since seconds that are counted anew at every answer differ a little."""
    told, before = grant.expires_at.get(WHOLE), known.hard_expires_at if known else None
    if told is None or (before and abs(told - before) < _HARD_EXPIRY_JITTER):
        told = before
    return {"hard_expires_at": told}


def _failed(held: _Held, lease: UUID, error: CausewayError) -> NoReturn:
    """Tried again later. What surely did not arrive, or was surely not acted on, is no longer on its way."""
    failures = held.grant.failure_count + 1
    wait_s = max(error.retry_after_s or 0, lifecycle.backoff_s(failures, max_s=settings.BACKOFF_OUTAGE_MAX_S))
    changes: dict[str, Any] = {
        "failure_count": failures,
        "next_attempt_at": timezone.now() + timedelta(seconds=wait_s),
        "error_code": error.code,
        "error_detail": scrub(error.operator_detail or error.detail)[:2000],
    }
    if isinstance(error, KeysRefused | NotSent | RateLimited) or not isinstance(error, TemporaryError):
        changes |= {"sent_fingerprint": "", "sent_at": None}
    if isinstance(error, KeysRefused):
        provider_pause(error, environment=held.connection.environment)
        changes |= {"next_attempt_at": None}
    _let_go(lease, **changes)
    raise error


def _refused(held: _Held, lease: UUID, error: NeedsReauth, *, was_lost: bool) -> str:
    """The connection waits for a person, unless there is another token by now: then "", and it is looked at anew."""
    code = "access_lost" if was_lost else "access_refused"
    known = _needs_reauth(held.connection.provider, code, error.operator_detail)
    known.provider_code, known.request_id = error.provider_code, error.request_id
    if _put_down_refusal(held, lease, known):
        raise known from error
    return ""


@transaction.atomic
def _put_down_refusal(held: _Held, lease: UUID, error: NeedsReauth) -> bool:
    connection = Connection.objects.select_for_update(no_key=True).get(pk=held.connection.pk)
    rows = _rows(held)
    if not _is_what_we_hold(rows, held):
        _let_go(lease)
        return False
    changes = NO_TROUBLE | {
        "refused_fingerprint": held.refresh.fingerprint,
        "error_code": error.code,
        "error_detail": scrub(error.operator_detail)[:2000],
    }
    OAuthGrant.objects.filter(connection=connection).update(**changes)
    if connection.status in CLOSED:
        return True
    lifecycle.record_failure(connection, error)
    connection.save()
    told = {"code": error.code, "status": connection.status, "is_answer_lost": error.code == "access_lost"}
    event_record(EventType.TOKEN_REFRESH_FAILED, connection_id=connection.pk, payload=told)
    log.error("token_refused", connection=str(connection.pk), code=error.code, operator_detail=error.operator_detail)
    return True
