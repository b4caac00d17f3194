"""Finding out whether a connection's settings work: asked of its provider by a worker, kept check by check.

A verification is a row before the first question. A worker claims it under a lease, and no transaction is open while it
asks; where the worker dies, another begins anew. What it says counts for the version of the settings that it asked
about: if that is not the current one any more when it ends, nothing follows from it.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections import configuration
from connections.audit import Action
from connections.errors import CATALOGUE, CausewayError, Conflict, LeaseLost, NeedsReauth
from connections.models import Connection, Credential, OAuthState, User, Verification
from connections.models.connection import Provider as Key
from connections.models.connection import Status
from connections.providers import provider
from connections.providers.base import Check, Json
from connections.services import lifecycle
from connections.services.access import access_of, facts_merge
from connections.services.audit import security_event_record
from connections.services.leasing import renewed
from connections.services.plaid_items import relink_completed
from connections.services.provider_pauses import refusals_noticed
from connections.waking import wake

log = structlog.get_logger(__name__)

LIMIT_S = 120  # for all questions together; each has a limit of its own
MOST_ATTEMPTS = 3
_CHECK_OF = {  # the question that an error answers, by its code
    "provider_unavailable": "reachable",
    "provider_timeout": "reachable",
    "provider_malformed": "reachable",
    "tls_failed": "tls",
    "connection_misconfigured": "settings",
}


@transaction.atomic
def verification_request(*, connection_id: UUID, actor: User | None) -> Verification:
    """The verification under way of the settings as they are now, begun if there is none. Raises Conflict for a closed connection."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    if connection.is_closed:
        raise Conflict(f"This connection is {connection.get_status_display().lower()}.", code="connection_not_active")
    running = {
        "connection": connection,
        "config_version": connection.config_version,
        "status": Verification.Status.RUNNING,
    }
    asked = {"workspace_id": connection.workspace_id, "requested_by": actor, "correlation_id": correlation.current()}
    verification, is_new = Verification.objects.get_or_create(**running, defaults=asked)
    if is_new:
        _record(Action.VERIFICATION_REQUESTED, connection, actor, version=connection.config_version)
        wake("connections.tasks.verify")
    return verification


def verifications_purge(*, batch: int = 1_000) -> int:
    """Delete what ended VERIFICATION_DAYS ago, a batch a statement. Returns how many.

    The latest of each version of a connection's settings stays: an activation may rest on it.
    """
    before, count = timezone.now() - timedelta(days=settings.VERIFICATION_DAYS), 0
    same = Verification.objects.filter(connection=OuterRef("connection"), config_version=OuterRef("config_version"))
    later = same.filter(finished_at__isnull=False, pk__gt=OuterRef("pk"))
    old = Verification.objects.filter(Exists(later), finished_at__lt=before).order_by("finished_at")
    while pks := list(old.values_list("pk", flat=True)[:batch]):
        count += Verification.objects.filter(pk__in=pks).delete()[0]
    return count


# --- the worker ---
def verifications_run(*, deadline: float) -> int:
    """Answer what is waiting, until nothing is or the time is up. Returns how many. An idle call is one query."""
    count = 0
    while time.monotonic() < deadline and (claimed := _claim()):
        verification_run(claimed)
        count += 1
    return count


def verification_answer(verification_id: UUID) -> None:
    """Answer this one, if nobody is at it."""
    if claimed := _claim("id = %s AND", [verification_id]):
        verification_run(claimed)


def _claim(which: str = "", values: Sequence[Any] = ()) -> Verification | None:
    """One that nobody is at: new, or left behind by a worker that died. which: a condition in SQL, with its AND."""
    with database.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE connections_verification SET lease_token = %s, lease_expires_at = now() + %s * interval '1 second',
                attempts = attempts + 1, checks = '[]'
            WHERE id = (
                SELECT id FROM connections_verification
                WHERE {which} status = 'running' AND (lease_expires_at IS NULL OR lease_expires_at < now())
                ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
            ) RETURNING id
            """,
            [uuid4(), settings.LEASE_S, *values],
        )
        row = cursor.fetchone()
    return Verification.objects.select_related("connection").get(pk=row[0]) if row else None


def verification_run(claimed: Verification) -> None:
    """Ask, keep every answer as it comes, and draw the conclusion. Somebody else's claim ends it without a trace."""
    learnt: Json = {}
    with correlation.bound(claimed.correlation_id or None):
        try:
            with renewed(lambda: _renew(claimed), name=str(claimed)) as lease:
                for check in _timed(_answers(claimed, learnt)):
                    lease.check()
                    _keep(claimed, check)
            _finish(claimed, learnt)
        except LeaseLost:
            log.warning("verification_lost", verification=str(claimed.pk))


def _renew(claimed: Verification) -> bool:
    until = timezone.now() + timedelta(seconds=settings.LEASE_S)
    return bool(_mine(claimed).update(lease_expires_at=until))


def _mine(claimed: Verification) -> Any:
    running = {"status": Verification.Status.RUNNING, "lease_token": claimed.lease_token}
    return Verification.objects.filter(pk=claimed.pk, **running)


def _answers(claimed: Verification, learnt: Json) -> Iterator[Check]:
    """Everything that is asked: of the settings themselves, then of the provider."""
    connection = claimed.connection
    if refusal := _cannot_ask(claimed):
        yield refusal
        return
    declared, started = provider(connection.provider), time.monotonic()
    yield Check("settings", "passed")
    if account := _account_check(connection):
        yield account
        if account.status == "failed":
            return
    try:
        assert declared.verifies is not None  # noqa: S101 - `_cannot_ask` looked
        with refusals_noticed(connection.environment):
            for check in declared.verifies.verify(access_of(connection, remember=learnt.update)):
                yield check
                if time.monotonic() - started > LIMIT_S:
                    yield Check(
                        "time",
                        "failed",
                        cause=f"The provider's answers took longer than {LIMIT_S} seconds.",
                        remediation="Verify again when it is less busy.",
                    )
                    return
    except CausewayError as error:
        log.info("verification_refused", code=error.code, operator_detail=error.operator_detail)
        yield _check_of(error)
    except Exception as error:
        log.exception("verification_broke", verification=str(claimed.pk), error=type(error).__name__)
        yield Check(
            "internal",
            "failed",
            cause="Something broke on our side; the settings may be right.",
            remediation=f"Verify again; if it fails again, tell an operator the id {correlation.current()}.",
        )


def _cannot_ask(claimed: Verification) -> Check | None:
    """Why there is nothing to ask: what is missing here."""
    connection, declared = claimed.connection, provider(claimed.connection.provider)
    if claimed.attempts > MOST_ATTEMPTS:
        return _no("interrupted", "The worker that asked was stopped several times.", "Verify again.")
    if connection.is_closed or connection.config_version != claimed.config_version:
        return _no("settings", "The settings were changed before anything was asked.", "Verify again.")
    if cause := declared.unavailable():
        return _no("installation", cause, "An operator has to set what is missing.")
    secrets = set(Credential.objects.filter(connection=connection, is_superseded=False).values_list("name", flat=True))
    if lacking := configuration.missing(declared, config=connection.config, secrets=secrets):
        names = ", ".join(found.label for found in lacking)
        return _no("settings", f"These are missing: {names}.", "Fill them in, or connect at the provider.")
    if declared.verifies is None:
        return _no("installation", f"This version cannot verify {declared.label}.", "Update Causeway.")
    return None


def _account_check(connection: Connection) -> Check | None:
    """Whether the account that was chosen at the provider is this connection's alone; None where none has been chosen.

    The database lets no second connection have it, so one that wants the same was refused as its person came back.
    """
    fact = provider(connection.provider).account_fact
    if not fact:
        return None
    if connection.facts.get(fact):
        return Check("account", "passed")
    latest = OAuthState.objects.filter(connection=connection).exclude(used_at=None).order_by("-pk").first()
    if latest is None or latest.error_code != "account_in_use":
        return None
    known = CATALOGUE["account_in_use"]
    return _no("account", known.detail, f"{known.remediation} Or sign in again, and choose another.")


def _no(name: str, cause: str, remediation: str) -> Check:
    return Check(name, "failed", cause=cause, remediation=remediation)


def _check_of(error: CausewayError) -> Check:
    name = "authentication" if isinstance(error, NeedsReauth) else _CHECK_OF.get(error.code, "provider")
    return Check(name, "failed", cause=error.detail, remediation=error.remediation)


def _timed(checks: Iterator[Check]) -> Iterator[Check]:
    """With the time that each took, where its provider did not say."""
    asked_at = time.monotonic()
    for check in checks:
        took_ms = round((time.monotonic() - asked_at) * 1000)
        yield check if check.duration_ms else replace(check, duration_ms=took_ms)
        asked_at = time.monotonic()


def _keep(claimed: Verification, check: Check) -> None:
    """Append the answer, if the claim is still ours. Raises LeaseLost."""
    kept = scrub(asdict(check))
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE connections_verification SET checks = checks || %s::jsonb"
            " WHERE id = %s AND lease_token = %s AND status = 'running'",
            [json.dumps([kept]), claimed.pk, claimed.lease_token],
        )
        if cursor.rowcount != 1:
            raise LeaseLost
    claimed.checks.append(kept)


@transaction.atomic
def _finish(claimed: Verification, learnt: Json) -> None:
    """Passed or failed; for the current settings, with what follows from it. Raises LeaseLost."""
    connection = Connection.objects.select_for_update(no_key=True).get(pk=claimed.connection_id)
    has_passed = bool(claimed.checks) and not claimed.failing
    ended = Verification.Status.PASSED if has_passed else Verification.Status.FAILED
    let_go = {"lease_token": None, "lease_expires_at": None}
    if not _mine(claimed).update(status=ended, finished_at=timezone.now(), **let_go):
        raise LeaseLost
    told = {"version": claimed.config_version, "outcome": ended.value}
    failing = [check["name"] for check in claimed.failing]
    _record(Action.CONNECTION_VERIFIED, connection, claimed.requested_by, **told, failing=failing)
    log.info("connection_verified", connection=str(connection.pk), failing=failing, **told)
    if connection.config_version != claimed.config_version or connection.is_closed:
        return
    if has_passed:
        _passed(connection, learnt)
    else:
        lifecycle.apply(connection, lifecycle.Event.VERIFICATION_FAILED, reason=f"Failed: {', '.join(failing)}")
    connection.save()


def _passed(connection: Connection, learnt: Json) -> None:
    """Ready to be activated; one that waited for a person at the provider goes on, since the provider lets us in again."""
    facts_merge(connection, learnt)
    connection.refresh_from_db(fields=["facts"])
    connection.last_verified_at = timezone.now()
    if connection.status == Status.NEEDS_REAUTH:
        _repaired(connection)
    else:
        lifecycle.apply(connection, lifecycle.Event.VERIFIED)
        lifecycle.clear_backoff(connection)


def _repaired(connection: Connection) -> None:
    if connection.provider == Key.PLAID:
        connection.save(update_fields=["last_verified_at"])
        relink_completed(connection=connection, repaired_at=timezone.now())
        connection.refresh_from_db()
        return
    lifecycle.apply(connection, lifecycle.Event.RECOVERED)
    lifecycle.forget_troubles(connection)
    wake("sync.tasks.dispatch")


def _record(action: Action, connection: Connection, actor: User | None, **details: Any) -> None:
    security_event_record(action, actor=actor, workspace_id=connection.workspace_id, subject=connection, **details)
