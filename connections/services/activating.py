"""Putting a verified configuration to work."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from connections.audit import Action
from connections.errors import Conflict
from connections.models import Connection, Credential, User, Verification
from connections.models.connection import Errand, Status
from connections.providers import provider
from connections.services import lifecycle
from connections.services.audit import security_event_record
from connections.waking import wake


@transaction.atomic
def connection_activate(*, connection_id: UUID, actor: User) -> Connection:
    """Active, with the settings whose latest verification passed; what they replace is forgotten. Twice changes nothing.

    What is to be set up at the provider follows after the commit, and is tried until it succeeds. Raises Conflict:
    verification_required, verification_running, verification_failed with the failing checks; connection_paused,
    connection_not_active where there is nothing to activate.
    """
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if connection.status == Status.ACTIVE:
        return connection
    _refuse_others(connection)
    _refuse_unverified(connection)
    lifecycle.forget_troubles(connection)
    lifecycle.apply(connection, lifecycle.Event.ACTIVATED)
    Credential.objects.filter(connection=connection, is_superseded=True).delete()
    connection.good = {
        "config": connection.config,
        "environment": connection.environment,
        "version": connection.config_version,
        "credentials": [str(pk) for pk in connection.credentials.values_list("pk", flat=True)],
    }
    if provider(connection.provider).activated:
        errand_begin(connection, Errand.ACTIVATED)
    connection.save()
    security_event_record(
        Action.CONNECTION_ACTIVATED,
        actor=actor,
        workspace_id=connection.workspace_id,
        subject=connection,
        version=connection.config_version,
    )
    wake("sync.tasks.dispatch")
    return connection


def errand_begin(connection: Connection, errand: Errand) -> None:
    """Put it down for a worker, in place of what was to do before (not saved here). Whoever is at that now ends first."""
    connection.errand, connection.errand_at = errand, timezone.now()
    connection.errand_attempts, connection.errand_error = 0, ""
    wake("connections.tasks.errands")


def _refuse_others(connection: Connection) -> None:
    if connection.status == Status.PAUSED:
        raise Conflict(code="connection_paused")
    if connection.status not in (Status.DRAFT, Status.VERIFIED):
        words = f"This connection is {connection.get_status_display().lower()}: it was activated already."
        raise Conflict(words, code="connection_not_active", remediation="See what is wrong with it, and mend that.")


def _refuse_unverified(connection: Connection) -> None:
    """By the latest verification of the settings as they are now, whatever earlier ones said."""
    asked = Verification.objects.filter(connection=connection, config_version=connection.config_version)
    latest = asked.order_by("-pk").first()
    if latest is None:
        raise Conflict(code="verification_required")
    told = {"verification_id": str(latest.pk), "checks": latest.failing}
    if latest.status == Verification.Status.RUNNING:
        raise Conflict(code="verification_running", retry_after_s=2, extra=told)
    if latest.status == Verification.Status.FAILED:
        raise Conflict(code="verification_failed", extra=told)
