"""The tenant role for the length of a request: entered after authentication, left when the response is closed.

Leaving is idempotent and bound to everything that ends a request, so that the role can outlive neither an exception, nor
an answer that a middleware threw away, nor a stream whose client went away. An error is reported before it is left: the
record of it then belongs to the workspace.
"""

import threading
from typing import Any

import structlog
from django.core.signals import request_finished, request_started
from django.http import HttpResponseBase

from connections import tenancy
from connections.models import Membership

log = structlog.get_logger(__name__)
_thread = threading.local()  # as Django's connections are


def enter(membership: Membership) -> None:
    """From here on this thread's database connection shows one workspace only."""
    _thread.is_tenant = True
    tenancy.enter(membership.workspace_id)


def leave(**_signal: Any) -> None:
    """Back to the app role. Does nothing where the thread is not a tenant; never raises."""
    if not getattr(_thread, "is_tenant", False):
        return
    _thread.is_tenant = False
    try:
        tenancy.leave()
    except Exception as error:  # noqa: BLE001 - tenancy has closed the connection, so nothing is left of the role
        log.warning("tenant_connection_dropped", error=type(error).__name__)


def leave_when_closed(response: HttpResponseBase) -> None:
    """A stream reads as the tenant to its end: after its own closers, which were registered before."""
    response._resource_closers.append(leave)  # type: ignore[attr-defined]


for _signal in (request_finished, request_started):
    _signal.connect(leave, dispatch_uid="connections.api.tenant.leave")
