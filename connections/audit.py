"""What is put on record about security, and what is not: every state-changing route and command decides.

A view says so beside its roles, `audit = {"POST": Audited(Action.SYNC_REQUESTED)}`; a test walks all routes and
commands, fails where one has not decided, and calls those that say they are audited to see that they are.
"""

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config.logs import scrub
from connections.api.throttling import client_address


class Action(StrEnum):
    """What can be on record. docs/reference/security-events.md lists when each is written."""

    SIGNED_IN = "signed_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGNED_OUT = "signed_out"
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - a name, not a token
    LINK_STARTED = "link_started"
    CONNECTION_LINKED = "connection_linked"
    CONNECTION_RELINKED = "connection_relinked"
    CONNECTION_IMPORTED = "connection_imported"
    CONNECTION_CREATED = "connection_created"
    CONNECTION_CONFIGURED = "connection_configured"
    ENVIRONMENT_CHANGED = "environment_changed"
    CONNECTION_RENAMED = "connection_renamed"
    AUTHORIZATION_STARTED = "authorization_started"
    CONNECTION_AUTHORIZED = "connection_authorized"
    VERIFICATION_REQUESTED = "verification_requested"
    CONNECTION_VERIFIED = "connection_verified"
    CONNECTION_ACTIVATED = "connection_activated"
    CONNECTION_SETTLED = "connection_settled"
    CONNECTION_PAUSED = "connection_paused"
    CONNECTION_RESUMED = "connection_resumed"
    CONNECTION_REMOVED = "connection_removed"
    ACCOUNT_REMOVED = "account_removed"
    ACCESS_TOKEN_ROTATED = "access_token_rotated"  # noqa: S105 - a name, not a token
    ITEM_SETTLED = "item_settled"
    SYNC_REQUESTED = "sync_requested"
    SYNC_CANCELLED = "sync_cancelled"
    FLOW_CREATED = "flow_created"
    FLOW_CHANGED = "flow_changed"
    FLOW_ACTIVATED = "flow_activated"
    FLOW_PAUSED = "flow_paused"
    FLOW_REMOVED = "flow_removed"
    MAPPING_CREATED = "mapping_created"
    MAPPING_CHANGED = "mapping_changed"
    MAPPING_REMOVED = "mapping_removed"
    FAILURE_RESOLVED = "failure_resolved"
    WEBHOOK_REPLAYED = "webhook_replayed"
    WEBHOOKS_REPLAYED = "webhooks_replayed"
    WEBHOOKS_SWITCHED = "webhooks_switched"
    EVENT_RETRIED = "event_retried"
    PERSON_BOOTSTRAPPED = "person_bootstrapped"
    KEYS_ROTATED = "keys_rotated"
    CONSOLE_CHANGED = "console_changed"


# --- decisions ---
@dataclass(frozen=True, slots=True)
class Audited:
    """What it does is put on record under these actions, by the service that does it."""

    actions: tuple[Action, ...]

    def __init__(self, *actions: Action) -> None:
        object.__setattr__(self, "actions", actions)


@dataclass(frozen=True, slots=True)
class NotAudited:
    """Nothing is put on record, because."""

    reason: str


Decision = Audited | NotAudited
_View = TypeVar("_View", bound=Callable[..., Any])


def audit(decision: Decision) -> Callable[[_View], _View]:
    """The decision of a plain function that is a view."""

    def decorate(view: _View) -> _View:
        view.audit = decision  # type: ignore[attr-defined]
        return view

    return decorate


# --- where a request comes from ---
@dataclass(frozen=True, slots=True)
class Origin:
    """ip: None where nobody asked over HTTP, or from a socket without an address."""

    ip: str | None = None
    user_agent: str = ""


_NOWHERE = Origin()
_origin: ContextVar[Origin] = ContextVar("origin", default=_NOWHERE)


def origin() -> Origin:
    """Of the request under way; empty in tasks and commands."""
    return _origin.get()


@contextmanager
def bound(found: Origin) -> Iterator[None]:
    token = _origin.set(found)
    try:
        yield
    finally:
        _origin.reset(token)


def origin_of(request: HttpRequest) -> Origin:
    """The caller's address as far as trusted proxies vouch for it, and what they call their program."""
    try:
        ip = str(ipaddress.ip_address(client_address(request).strip("[]")))
    except ValueError:
        ip = None
    agent = request.META.get("HTTP_USER_AGENT", "").encode("utf-8", "replace").decode()
    return Origin(ip, scrub("".join(char for char in agent if char.isprintable()))[:300])


class OriginMiddleware:
    """Remembers it for the length of the request, for services that know nothing of requests."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with bound(origin_of(request)):
            return self.get_response(request)
