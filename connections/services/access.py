"""What a provider's code is given of a connection: settings, secrets and facts, without a model and without a lock."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.db import connection as database
from django.db import transaction

from connections.errors import Conflict, Misconfigured
from connections.models import Connection, Credential
from connections.models.connection import Status
from connections.providers.base import Access, Json
from connections.services.configuring import credential_keep
from connections.services.token_refresh import fresh_token


def access_of(
    connection: Connection, *, is_good: bool = False, remember: Callable[[Json], None] | None = None
) -> Access:
    """The way in. Secrets are read when they are asked for, each by one query; none is kept.

    is_good: with what was last activated, where a newer version is a draft. remember: where what the provider's code
    remembers goes, if not at once into the connection's facts.
    """
    good = connection.good if is_good and connection.good else None
    facts = dict(connection.facts)

    def keep_facts(found: Json) -> None:
        facts.update({name: value for name, value in found.items() if value is not None})
        for name in [name for name, value in found.items() if value is None]:
            facts.pop(name, None)
        (remember or _remember(connection))(found)

    def secret(name: str) -> str:
        return _secret(connection, name, preferred=good["credentials"] if good else ())

    return Access(
        connection_id=connection.pk,
        environment=good["environment"] if good else connection.environment,
        config=good["config"] if good else connection.config,
        secret=secret,
        facts=facts,
        remember=keep_facts,
        keep_secret=lambda name, value: _keep_secret(connection, name, value),
        fresh_token=lambda refused: fresh_token(connection.pk, refused),
        callback_url=lambda purpose: callback_url(connection, purpose),
    )


def callback_url(connection: Connection, purpose: str) -> str:
    """Where a provider reaches us: "webhook" of this connection; "oauth" and "keys" of its provider."""
    if purpose == "webhook":
        of_its_own = f"/{connection.pk}" if connection.provider == "woocommerce" else ""
        path = f"webhook/{connection.provider}{of_its_own}"
    else:
        path = f"api/v1/oauth/{connection.provider}/callback"
    return urljoin(f"{settings.PUBLIC_URL}/", path)


def facts_merge(connection: Connection, found: Json) -> None:
    """Merge into the connection's facts, whatever else is written there at this moment; None removes. One statement."""
    kept = {name: value for name, value in found.items() if value is not None}
    gone = [name for name, value in found.items() if value is None]
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE connections_connection SET facts = (facts || %s::jsonb) - %s::text[] WHERE id = %s",
            [json.dumps(kept), gone, connection.pk],
        )


def _remember(connection: Connection) -> Callable[[Json], None]:
    return lambda found: facts_merge(connection, found)


def _secret(connection: Connection, name: str, *, preferred: Any) -> str:
    rows = Credential.objects.filter(connection=connection, name=name)
    row = rows.filter(pk__in=preferred).first() if preferred else None
    row = row or rows.filter(is_superseded=False).first()
    if row is None:
        raise Misconfigured(
            code="connection_misconfigured",
            remediation=f"Give the connection its {name} and verify it again.",
            operator_detail=f"connection {connection.pk} has no credential {name}",
        )
    return row.reveal()


@transaction.atomic
def _keep_secret(connection: Connection, name: str, value: str) -> None:
    locked = Connection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    if locked.status == Status.DISCONNECTED:
        raise Conflict(code="connection_not_active")  # nothing may open it any more
    credential_keep(connection, name, value)
