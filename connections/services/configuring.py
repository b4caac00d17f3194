"""A connection's settings and secrets: its draft, and every change of them.

Each change of settings, secrets or environment counts `config_version` up and makes the connection a draft: its runs
wait until the new version is verified and activated. What was active before is kept until then: the settings in `good`,
the secrets as credentials that are superseded.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction

from connections.audit import Action
from connections.configuration import Settings, settings_checked
from connections.errors import CausewayError, Conflict, RequestError
from connections.events import EventType, event_record
from connections.models import Connection, Credential, User
from connections.models.connection import Provider as Key
from connections.models.credential import fingerprint
from connections.providers import provider
from connections.services import lifecycle
from connections.services.audit import security_event_record

LINKED = "Banks are linked at the bank itself: begin with POST plaid/link-token."


@transaction.atomic
def connection_draft(
    *,
    user: User,
    workspace_id: UUID,
    provider_key: str,
    environment: str,
    name: str = "",
    config: Mapping[str, Any] | None = None,
    credentials: Mapping[str, Any] | None = None,
) -> Connection:
    """A draft, to be verified and activated. name: "" for the provider's. Raises RequestError by field path."""
    if provider_key == Key.PLAID:
        raise RequestError(LINKED, remediation=LINKED, fields={"provider": [LINKED]})
    declared = provider(provider_key)
    if cause := declared.unavailable():
        raise CausewayError(code="provider_not_configured", provider=provider_key, operator_detail=cause)
    given = settings_checked(declared, config=config or {}, credentials=credentials or {})
    connection = Connection.objects.create(
        workspace_id=workspace_id,
        owner=user,
        provider=provider_key,
        name=name or declared.label,
        environment=environment,
        config=given.config,
    )
    for secret_name, secret in given.secrets.items():
        credential_keep(connection, secret_name, secret)
    told = {"provider": provider_key, "environment": environment}
    _record(Action.CONNECTION_CREATED, connection, user, **told, fields=sorted([*given.config, *given.secrets]))
    event_record(EventType.CONNECTION_CREATED, connection_id=connection.pk, payload=told)
    return connection


@transaction.atomic
def connection_change(
    *,
    connection_id: UUID,
    actor: User,
    name: str | None = None,
    environment: str | None = None,
    config: Mapping[str, Any] | None = None,
    credentials: Mapping[str, Any] | None = None,
) -> Connection:
    """Change what is given; equal values change nothing. The name alone leaves the status where it is.

    Raises RequestError by field path, Conflict for a connection that is disconnected.
    """
    connection = Connection.objects.select_for_update(no_key=True).get(pk=connection_id)
    changed = []
    if environment is not None or config is not None or credentials is not None:
        changed = _configure(connection, actor, environment, config or {}, credentials or {})
    if name is not None and name != connection.name:
        _record(Action.CONNECTION_RENAMED, connection, actor, was=connection.name, now=name)
        connection.name = name
        connection.save(update_fields=["name", "updated_at"])
    if changed:
        _reconfigured(connection)
    return connection


def _configure(
    connection: Connection,
    actor: User,
    environment: str | None,
    config: Mapping[str, Any],
    credentials: Mapping[str, Any],
) -> list[str]:
    """Names of what differs now; the row is not saved yet."""
    declared = provider(connection.provider)
    _refuse_unconfigurable(connection, environment, config, credentials)
    now = {row.name: row for row in Credential.objects.filter(connection=connection, is_superseded=False)}
    own = {found.name for found in declared.fields if found.is_secret}
    made = settings_checked(
        declared, config=config, credentials=credentials, before=connection.config, kept=[n for n in now if n in own]
    )
    changed = _differences(connection, made, now)
    _replace_secrets(connection, made, now)
    if environment is not None and environment != connection.environment:
        _record(Action.ENVIRONMENT_CHANGED, connection, actor, was=connection.environment, now=environment)
        connection.environment = environment
        for row in now.values():
            if row.name not in own:  # what was given for the other environment opens nothing in this one
                _take_away(connection, row)
        changed = [*changed, "environment"]
    connection.config = made.config
    if fields := [found for found in changed if found != "environment"]:
        _record(Action.CONNECTION_CONFIGURED, connection, actor, fields=fields, version=connection.config_version + 1)
    return changed


def _refuse_unconfigurable(
    connection: Connection, environment: str | None, config: Mapping[str, Any], credentials: Mapping[str, Any]
) -> None:
    if connection.is_closed:
        raise Conflict(f"This connection is {connection.get_status_display().lower()}.", code="connection_not_active")
    if connection.provider != Key.PLAID:
        return
    given = {"config": config, "credentials": credentials, "environment": environment}
    if fields := {name: [LINKED] for name, value in given.items() if value and value != connection.environment}:
        raise RequestError(LINKED, remediation=LINKED, fields=fields)


def _differences(connection: Connection, made: Settings, now: Mapping[str, Credential]) -> list[str]:
    names = {*connection.config, *made.config}
    changed = [name for name in sorted(names) if connection.config.get(name) != made.config.get(name)]
    for name, secret in sorted(made.secrets.items()):
        if name not in now or now[name].fingerprint != fingerprint(secret):
            changed.append(name)
    return [*changed, *sorted(made.dropped)]


def _replace_secrets(connection: Connection, made: Settings, now: Mapping[str, Credential]) -> None:
    for name in made.dropped:
        _take_away(connection, now[name])
    for name, secret in made.secrets.items():
        if name not in now or now[name].fingerprint != fingerprint(secret):
            if name in now:
                _take_away(connection, now[name])
            credential_keep(connection, name, secret)


def _take_away(connection: Connection, row: Credential) -> None:
    """It holds no more; one that belongs to what was active is kept until the next activation."""
    if str(row.pk) in (connection.good or {}).get("credentials", ()):
        row.is_superseded = True
        row.save(update_fields=["is_superseded", "updated_at"])
    else:
        row.delete()


def credential_keep(connection: Connection, name: str, secret: str) -> Credential:
    """The connection's secret of this name, from now on. The caller holds the connection's row."""
    row = Credential.objects.filter(connection=connection, name=name, is_superseded=False).first()
    row = row or Credential(workspace_id=connection.workspace_id, connection=connection, name=name)
    row.seal(secret)
    row.save()
    return row


def _reconfigured(connection: Connection) -> None:
    """A newer version is a draft: whatever was wrong with the one before, or is waited for, is over."""
    connection.config_version += 1
    lifecycle.apply(connection, lifecycle.Event.RECONFIGURED, reason="Its settings were changed")
    lifecycle.forget_troubles(connection)
    connection.reauth_due_at = None  # only the environment of an access changes, and none of the other holds there
    connection.save()


def _record(action: Action, connection: Connection, actor: User, **details: Any) -> None:
    security_event_record(action, actor=actor, workspace_id=connection.workspace_id, subject=connection, **details)
