"""Signing in at a provider: to its page and back, once, for one person and one connection.

The state is all that the way back has to prove itself with, so it is random, kept as a digest, good once and for ten
minutes. It is consumed by one conditional UPDATE before the provider is asked, and the call is made outside of any
transaction. Whoever dies between the provider's answer and our keeping it leaves the state `started`, which
`states_sweep` makes `unknown`, to be seen in the console; the person signs in once more.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from config import correlation
from connections import selectors
from connections.audit import Action
from connections.errors import (
    CausewayError,
    Conflict,
    KeysRefused,
    NotFound,
    NotSent,
    OutcomeUnknown,
    PermissionRefused,
    RequestError,
    TemporaryError,
)
from connections.events import EventType, event_record
from connections.models import Connection, Credential, Membership, OAuthGrant, OAuthState, User
from connections.models.connection import Environment, Status
from connections.providers import PROVIDERS, provider
from connections.providers.base import Authorizes, Grant
from connections.services import lifecycle
from connections.services.access import access_of, callback_url, facts_merge
from connections.services.audit import security_event_record
from connections.services.provider_pauses import provider_pause
from connections.services.token_refresh import LOST_CODES, NO_TROUBLE, access_with, credentials_keep, grant_ended
from connections.services.verifying import verification_request
from connections.waking import wake

log = structlog.get_logger(__name__)

LIFE = timedelta(minutes=10)
KEPT = timedelta(days=30)  # what became of it
STATE_NAMES = ("state", "user_id")  # as OAuth calls it, and WooCommerce's key hand-over
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_GONE_ON = (Status.NEEDS_REAUTH, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Authorization:
    """Where to send the person, until when, and where the provider sends them back to."""

    authorize_url: str
    expires_at: datetime
    redirect_uri: str


# --- there ---
@transaction.atomic
def authorization_begin(*, connection_id: UUID, actor: User) -> Authorization:
    """Also for a connection that works: its access is renewed in place. Raises Conflict where it is closed,
    RequestError where its provider has nothing to sign in to, CausewayError (https_required, provider_not_configured)."""
    connection = Connection.objects.get(pk=connection_id)
    authorizes = _authorizer(connection)
    if connection.is_closed:
        raise Conflict(f"This connection is {connection.get_status_display().lower()}.", code="connection_not_active")
    if cause := provider(connection.provider).unavailable():
        raise CausewayError(code="provider_not_configured", provider=connection.provider, operator_detail=cause)
    redirect_uri = redirect_uri_checked(connection)
    state = secrets.token_urlsafe(32)
    row = OAuthState.objects.create(
        workspace_id=connection.workspace_id,
        digest=_digest(state),
        user=actor,
        connection=connection,
        provider=connection.provider,
        environment=connection.environment,
        config_version=connection.config_version,
        redirect_uri=redirect_uri,
        correlation_id=correlation.current(),
        expires_at=timezone.now() + LIFE,
    )
    url = authorizes.start(access_of(connection), state=state, redirect_uri=redirect_uri)
    _record(Action.AUTHORIZATION_STARTED, connection, actor)
    return Authorization(url, row.expires_at, redirect_uri)


def _authorizer(connection: Connection) -> Authorizes:
    declared = provider(connection.provider)
    if declared.authorizes is None:
        raise RequestError(
            f"{declared.label} has nothing to sign in to: its settings and secrets are given here.",
            remediation="Send them with PATCH connections/{id}.",
        )
    return declared.authorizes


def may_authorize(connection: Connection) -> bool:
    """Whether a person can sign in at the provider now and be sent back here."""
    declared = provider(connection.provider)
    if declared.authorizes is None or declared.unavailable():
        return False
    try:
        redirect_uri_checked(connection)
    except CausewayError:
        return False
    return True


def redirect_uri_checked(connection: Connection) -> str:
    """Where the provider sends people back to: it has to be registered there exactly so. Raises CausewayError."""
    uri = callback_url(connection, "oauth")
    parts = urlsplit(uri)
    may_be_plain = connection.environment == Environment.SANDBOX and parts.hostname in _LOOPBACK
    if parts.scheme == "https" or may_be_plain:
        return uri
    raise CausewayError(code="https_required", operator_detail=f"the redirect URI would be {uri}")


def _digest(state: str) -> str:
    """SHA-256: the state is 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(state.encode()).hexdigest()


# --- and back ---
def authorization_complete(*, provider_key: str, answer: Mapping[str, str], person: User | None = None) -> Connection:
    """The connection with its new access: as it was before its trouble, or a draft that can be verified.

    person: who is signed in where the answer came in, if anybody: nobody else may finish what another began. Raises
    NotFound, CausewayError (authorization_…, account_in_use, other_account), Conflict, and what the provider fails with.
    """
    state = _consumed(provider_key, answer, person)
    try:
        connection = _completed(state, answer)
    except CausewayError as error:
        ended = _ended(state, error)
        if ended is error:
            raise  # "from" would make it its own cause
        raise ended from error
    if connection.status == Status.DRAFT:  # what was handed over proves nothing before it has worked
        verification_request(connection_id=connection.pk, actor=state.user)
    return connection


def state_of(*, provider_key: str, answer: Mapping[str, str]) -> OAuthState | None:
    """What the answer belongs to, whatever became of it. For telling; consumes nothing."""
    given = next((answer[name] for name in STATE_NAMES if answer.get(name)), "")
    found = (
        OAuthState.objects.filter(digest=_digest(given), provider=provider_key) if given else OAuthState.objects.none()
    )
    return found.select_related("connection", "user").first()


def _consumed(provider_key: str, answer: Mapping[str, str], person: User | None) -> OAuthState:
    """From here on it is used, whatever comes of it. A wrong person does not use it up."""
    if provider_key not in PROVIDERS or provider(provider_key).authorizes is None:
        raise NotFound
    state = state_of(provider_key=provider_key, answer=answer)
    if state is None:
        raise RequestError(code="authorization_expired")
    if person and person.pk != state.user_id:
        raise PermissionRefused(
            "Somebody else began this sign-in. Nothing was changed.",
            remediation="Sign in here as the person who began it, or start again from the connection.",
        )
    now = timezone.now()
    open_ = OAuthState.objects.filter(pk=state.pk, status=OAuthState.Status.OPEN, expires_at__gt=now)
    if not open_.update(status=OAuthState.Status.STARTED, used_at=now):
        raise RequestError(code="authorization_expired")
    return state


def _completed(state: OAuthState, answer: Mapping[str, str]) -> Connection:
    connection = Connection.objects.get(pk=state.connection_id)
    _refuse_stale(state, connection)
    authorizes = _authorizer(connection)
    _refuse_account(connection, authorizes.account(answer))
    access = access_of(connection)
    grant = authorizes.complete(access, answer=answer, redirect_uri=state.redirect_uri)
    try:
        return _save(state, grant)
    except CausewayError:
        _give_back(state, grant)
        raise


def _refuse_stale(state: OAuthState, connection: Connection) -> None:
    """Much can happen in ten minutes: the connection was closed or changed, the person works here no more."""
    if connection.is_closed:
        raise Conflict(f"This connection is {connection.get_status_display().lower()}.", code="connection_not_active")
    if (connection.environment, connection.config_version) != (state.environment, state.config_version):
        raise RequestError("The connection was changed meanwhile.", code="authorization_expired")
    if not state.user.is_active:
        raise PermissionRefused
    membership = Membership.objects.filter(workspace_id=connection.workspace_id, user=state.user).first()
    manages = membership and selectors.connections_managed_by(membership).filter(pk=connection.pk).exists()
    if not manages and not state.user.is_staff:
        raise PermissionRefused("Only its owner and the workspace's operators may do this with the connection.")


def _refuse_account(connection: Connection, account: str) -> None:
    """Before the call: what could not be kept is not asked for. The index decides where two come at once."""
    fact = provider(connection.provider).account_fact
    if not (fact and account):
        return
    had = connection.facts.get(fact)
    was_active = connection.good is not None and connection.good.get("environment") == connection.environment
    if had and had != account and (was_active or connection.status in _GONE_ON):
        raise Conflict(code="other_account", provider=connection.provider)
    if _is_in_use(connection, account):
        raise Conflict(code="account_in_use", provider=connection.provider)


def _is_in_use(connection: Connection, account: str) -> bool:
    """Whether another connection has this account at the provider."""
    fact = provider(connection.provider).account_fact
    same = Connection.objects.filter(provider=connection.provider, **{f"facts__{fact}": account})
    return same.exclude(pk=connection.pk).exclude(status=Status.DISCONNECTED).exists()


@transaction.atomic
def _save(state: OAuthState, grant: Grant) -> Connection:
    """Everything that the answer brought, in one transaction. Raises Conflict, with nothing changed."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=state.connection_id)
    _refuse_stale(state, connection)
    rows = {row.name: row for row in Credential.objects.filter(connection=connection, is_superseded=False)}
    credentials_keep(connection, rows, grant)
    try:
        with transaction.atomic():
            facts_merge(connection, grant.facts)
    except IntegrityError:
        raise Conflict(code="account_in_use", provider=connection.provider) from None
    connection.refresh_from_db(fields=["facts"])
    if grant.expires_at:
        _keep_grant(state, connection, grant)
    _move(connection)
    done = {"status": OAuthState.Status.COMPLETED, "ended_at": timezone.now(), "error_code": ""}
    OAuthState.objects.filter(pk=state.pk).update(**done)
    _record(Action.CONNECTION_AUTHORIZED, connection, state.user, environment=connection.environment)
    return connection


def _give_back(state: OAuthState, grant: Grant) -> None:
    """What a connection was given that ended over the call opens nothing at the provider either.

    Unless another connection has the account: with one access to it, the provider ends them all.
    """
    connection = Connection.objects.get(pk=state.connection_id)
    account = str(grant.facts.get(provider(connection.provider).account_fact) or "")
    if not connection.is_closed or (account and _is_in_use(connection, account)):
        return
    try:
        _authorizer(connection).revoke(access_with(connection, dict(grant.secrets)))
    except CausewayError as error:
        log.error("authorization_not_given_back", connection=str(connection.pk), code=error.code)


def _keep_grant(state: OAuthState, connection: Connection, grant: Grant) -> None:
    """Whoever renews the former access now finds another token than it sent, and drops its answer."""
    ends = grant_ended(None, grant)
    given = {"authorized_by": state.user, "authorized_at": timezone.now(), **ends}
    OAuthGrant.objects.update_or_create(
        connection=connection,
        defaults={**given, **NO_TROUBLE},
        create_defaults={**given, "workspace_id": connection.workspace_id},
    )
    connection.reauth_due_at = ends["hard_expires_at"]


def _move(connection: Connection) -> None:
    """A draft has another version to verify; what waited for this goes on; what worked goes on working."""
    was_lost = connection.error_code in LOST_CODES
    if connection.status in (Status.DRAFT, Status.VERIFIED):
        lifecycle.apply(connection, lifecycle.Event.RECONFIGURED, reason="Its access was given anew")
        connection.config_version += 1
    else:
        lifecycle.apply(connection, lifecycle.Event.RECOVERED)
        wake("sync.tasks.dispatch")
    lifecycle.forget_troubles(connection)
    connection.save()
    if was_lost and connection.status != Status.ACTIVE:  # an active one has said so by becoming it
        event_record(EventType.TOKEN_ROTATED, connection_id=connection.pk, payload={"is_rotated": True})


def _ended(state: OAuthState, error: CausewayError) -> CausewayError:
    """Refused, or, where the provider may have given something that never arrived, unknown. The error to raise."""
    if isinstance(error, KeysRefused):
        provider_pause(error, environment=state.environment)
    is_unknown = isinstance(error, TemporaryError) and not isinstance(error, NotSent)
    status = OAuthState.Status.UNKNOWN if is_unknown else OAuthState.Status.REFUSED
    mine = OAuthState.objects.filter(pk=state.pk, status=OAuthState.Status.STARTED)
    mine.update(status=status, error_code=error.code, ended_at=timezone.now())
    log.warning("authorization_ended", status=status.value, code=error.code, operator_detail=error.operator_detail)
    if not is_unknown:
        return error
    return OutcomeUnknown(code="authorization_unknown", provider=state.provider, operator_detail=str(error))


# --- what is left behind ---
def states_sweep() -> int:
    """Say of what somebody died over that its answer is lost, and forget what is long over. Returns how many are unknown.

    An idle call is two queries.
    """
    now = timezone.now()
    late = now - timedelta(seconds=settings.OAUTH_TIMEOUT_S + settings.LEASE_S)
    died = OAuthState.objects.filter(status=OAuthState.Status.STARTED, used_at__lt=late)
    count = died.update(status=OAuthState.Status.UNKNOWN, error_code="authorization_unknown", ended_at=now)
    if count:
        log.error("authorization_answer_lost", count=count)
    OAuthState.objects.filter(expires_at__lt=now - timedelta(days=1), status=OAuthState.Status.OPEN).delete()
    OAuthState.objects.filter(expires_at__lt=now - KEPT).exclude(status=OAuthState.Status.STARTED).delete()
    return count


def _record(action: Action, connection: Connection, actor: User, **details: Any) -> None:
    security_event_record(action, actor=actor, workspace_id=connection.workspace_id, subject=connection, **details)
