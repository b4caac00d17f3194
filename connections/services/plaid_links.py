"""Plaid Link: asking for a link token, and following a Hosted Link session to its end."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from config import correlation
from connections.audit import Action
from connections.errors import AccessWithdrawn, CausewayError, Conflict, RequestError
from connections.models import Connection, PlaidItem, PlaidLink, ProviderPause, User
from connections.models.connection import Status
from connections.providers.plaid import records
from connections.providers.plaid.client import PlaidClient
from connections.services.audit import security_event_record
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_items import credential_of, relink_completed
from connections.services.plaid_webhook_address import webhook_url
from connections.services.provider_pauses import provider_pause, refusals_noticed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkToken:
    """What Link needs. hosted_link_url: a page of Plaid's where the person does it all; None unless asked for."""

    link_token: str
    expiration: datetime
    hosted_link_url: str | None
    link_id: UUID


def link_create(
    *,
    user: User,
    workspace_id: UUID,
    environment: str,
    connection: Connection | None = None,
    is_hosted: bool = False,
    redirect_uri: str = "",
    on_made: Callable[[LinkToken], object] = lambda _token: None,
) -> LinkToken:
    """A link token for a new bank, or, with `connection`, for repairing that one: in update mode while its Item exists
    and a sign-in can mend it, else for linking it anew.

    The session row is what a hosted link is followed by; its token is encrypted. on_made: called in the transaction that
    stores it. Raises Conflict, Misconfigured, TemporaryError.
    """
    if connection and connection.provider != "plaid":
        raise RequestError(
            "This connection is not a bank.", fields={"connection_id": ["This connection is not a bank."]}
        )
    if connection and connection.status in (Status.DISCONNECTING, Status.DISCONNECTED):
        raise Conflict(code="connection_not_active")
    environment = connection.environment if connection else environment
    options: Any = {"user": user, "is_hosted": is_hosted, "redirect_uri": redirect_uri}
    client, is_anew = PlaidClient(environment), is_link_anew(connection)
    with refusals_noticed(environment):
        try:
            answer = client.link_token_create(_request(connection=connection, **options))
        except AccessWithdrawn:  # its Item is gone at Plaid, and nobody had heard of that
            answer, is_anew = client.link_token_create(_request(connection=None, **options)), True
    token, expiration = (records.identifier(answer.get("link_token")), records.instant(answer.get("expiration")))
    url = answer.get("hosted_link_url") if is_hosted else None
    if not token or expiration is None or (is_hosted and not (isinstance(url, str) and url)):
        raise records.malformed("link/token/create without link_token, expiration or hosted_link_url")
    link = PlaidLink(
        workspace_id=workspace_id,
        user=user,
        connection=connection,
        environment=environment,
        digest=digest(token),
        is_hosted=is_hosted,
        is_anew=is_anew,
        next_poll_at=timezone.now() + timedelta(seconds=settings.LINK_POLL_S) if is_hosted else None,
        expires_at=expiration,
        correlation_id=correlation.current(),
    )
    link.seal(token)
    made = LinkToken(token, expiration, url, link.pk)
    with transaction.atomic():
        _keep(link, user)
        on_made(made)
    return made


def _keep(link: PlaidLink, user: User) -> None:
    link.save()
    subject, kind = link.connection or link, "repair" if link.connection else "new"
    security_event_record(
        Action.LINK_STARTED, actor=user, workspace_id=link.workspace_id, subject=subject, purpose=kind
    )


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _request(*, user: User, connection: Connection | None, is_hosted: bool, redirect_uri: str) -> dict:
    """Source: Plaid API, /link/token/create; update mode takes the access token and no products."""
    body: dict = {
        "client_name": settings.PLAID_CLIENT_NAME[:30],
        "language": settings.PLAID_LANGUAGE,
        "country_codes": settings.PLAID_COUNTRY_CODES,
        "user": {"client_user_id": str(user.pk)},
    }
    item = PlaidItem.objects.filter(connection=connection, removed_at=None).first() if connection else None
    if connection and item and not is_link_anew(connection):
        body["access_token"] = credential_of(connection).reveal()
        if connection.error_code == "bank_no_accounts" or item.account_selection_at:
            body["update"] = {"account_selection_enabled": True}
        if connection.error_code == "bank_consent_required":
            body["additional_consented_products"] = ["transactions"]
    else:
        body["products"] = ["transactions"]
        body["transactions"] = {"days_requested": min(settings.PLAID_DAYS_REQUESTED, 730)}
        body["webhook"] = webhook_url()
    if redirect_uri and not is_hosted:
        body["redirect_uri"] = redirect_uri
    if is_hosted:
        body["hosted_link"] = {"completion_redirect_uri": redirect_uri} if redirect_uri else {}
        body["webhook"] = webhook_url()
    return body


def is_link_anew(connection: Connection | None) -> bool:
    """Whether signing in again is of no use: the bank is linked as a new Item, which takes the old one's place."""
    return connection is not None and connection.error_code == "bank_link_again"


# --- following hosted sessions ---
def links_due(*, limit: int = 50) -> list[UUID]:
    """Hosted sessions whose result may be there by now. One indexed query."""
    now = timezone.now()
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=now)
    due = PlaidLink.objects.filter(free, status=PlaidLink.Status.OPEN, is_hosted=True, next_poll_at__lte=now)
    due = due.exclude(environment__in=ProviderPause.objects.filter(provider="plaid").values("environment"))
    return list(due.order_by("next_poll_at").values_list("pk", flat=True)[:limit])


def link_hint(*, digest: str) -> bool:
    """A webhook says that the session with this token digest finished: look now. False: none of ours is open."""
    is_open = PlaidLink.objects.filter(digest=digest, status=PlaidLink.Status.OPEN)
    return bool(is_open.update(next_poll_at=timezone.now()))


def link_poll(link_id: UUID) -> None:
    """Ask Plaid once what became of the session, and exchange what it gave. A second caller at the same time does nothing."""
    lease = uuid4()
    now = timezone.now()
    free = Q(lease_expires_at=None) | Q(lease_expires_at__lt=now)
    claim = PlaidLink.objects.filter(free, pk=link_id, status=PlaidLink.Status.OPEN)
    if not claim.update(
        lease_token=lease, lease_expires_at=now + timedelta(seconds=settings.LEASE_S + settings.PLAID_TIMEOUT_S)
    ):
        return
    link = PlaidLink.objects.select_related("user", "connection").get(pk=link_id)
    is_broken = False
    with correlation.bound(link.correlation_id or None):
        try:
            status, reason = _follow(link)
        except CausewayError as error:
            log.warning("link_poll_failed", link=str(link.pk), code=error.code, operator_detail=error.operator_detail)
            if error.is_service_wide:
                provider_pause(error, environment=link.environment)
            gave_up = not (error.entry.is_retryable or error.is_service_wide)
            status, reason = ((PlaidLink.Status.FAILED if gave_up else PlaidLink.Status.OPEN), error.detail)
        except Exception as error:  # a bug over one session must not keep the others from being asked for
            log.exception("link_poll_broke", link=str(link.pk), error=type(error).__name__)
            status, reason, is_broken = (PlaidLink.Status.OPEN, "", True)
    if status == PlaidLink.Status.OPEN and link.expires_at < timezone.now():
        status = PlaidLink.Status.EXPIRED
    age_s = (timezone.now() - link.created_at).total_seconds()
    wait_s = settings.LINK_POLL_S if age_s < 600 and not is_broken else settings.LINK_POLL_S * 5
    PlaidLink.objects.filter(pk=link_id, lease_token=lease).update(
        status=status,
        status_reason=reason[:300],
        next_poll_at=timezone.now() + timedelta(seconds=wait_s),
        lease_token=None,
        lease_expires_at=None,
    )


def _follow(link: PlaidLink) -> tuple[PlaidLink.Status, str]:
    """(the session's status now, why)."""
    results, state = records.link_results(PlaidClient(link.environment).link_token_get(link.reveal()))
    has_item = PlaidItem.objects.filter(connection=link.connection_id, removed_at=None).exists()
    if link.connection and has_item and not link.is_anew and (results or state == "ended"):
        relink_completed(connection=link.connection)  # update mode: the access token is unchanged, nothing is exchanged
        return PlaidLink.Status.FINISHED, ""
    refused = ""
    for public_token, metadata in results:
        try:
            public_token_exchange(
                user=link.user,
                workspace_id=link.workspace_id,
                public_token=public_token,
                environment=link.environment,
                metadata=metadata,
                link=link,
                connection=link.connection,
            )
        except CausewayError as error:
            if error.code == "public_token_used":
                continue  # it came by the other way first
            if error.is_service_wide or (error.entry.is_retryable and error.code != "outcome_unknown"):
                raise
            refused = error.detail
    if refused:
        return PlaidLink.Status.FAILED, refused
    # A session that ended without results may still get them: it is asked again until it expires.
    ends = {"finished": PlaidLink.Status.FINISHED, "exited": PlaidLink.Status.EXITED}
    return ends.get(state, PlaidLink.Status.OPEN), ""


@transaction.atomic
def links_expire() -> int:
    """Close sessions that nobody finished in time. Returns how many."""
    late = PlaidLink.objects.filter(status=PlaidLink.Status.OPEN, expires_at__lt=timezone.now() - timedelta(minutes=5))
    return late.update(status=PlaidLink.Status.EXPIRED)
