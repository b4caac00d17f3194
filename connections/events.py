"""Domain events: news that travels upward, as rows.

`event_record` writes one in the transaction of the change; a later transaction hands it to the handlers that the apps
above registered in their `apps.py`. docs/explanation/events-and-audit.md says what is promised.
"""

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection as database
from django.db.transaction import TransactionManagementError

from config import correlation
from config.logs import scrub
from connections.ids import uuid7
from connections.waking import wake

if TYPE_CHECKING:
    from connections.models import DomainEvent

INSTALLATION = UUID(int=0)  # the line of events that belong to no workspace


class EventType(StrEnum):
    """Everything that may be told. docs/reference/events.md lists when each is written, and its payload."""

    CONNECTION_CREATED = "ConnectionCreated"
    CONNECTION_ACTIVATED = "ConnectionActivated"
    CONNECTION_DISCONNECTED = "ConnectionDisconnected"
    CLEANUP_NOTICED = "CleanupNoticed"
    ITEM_REMOVED = "ItemRemoved"
    REMOVAL_FAILED = "RemovalFailed"
    REAUTH_DUE = "ReauthDue"
    REAUTH_DUE_ENDED = "ReauthDueEnded"
    REAUTH_REQUIRED = "ReauthRequired"
    SYNC_SUCCEEDED = "SyncSucceeded"
    SYNC_FAILED = "SyncFailed"
    TOKEN_ROTATED = "TokenRotated"  # noqa: S105 - a name, not a token
    TOKEN_REFRESH_FAILED = "TokenRefreshFailed"  # noqa: S105 - a name, not a token
    PROVIDER_PAUSED = "ProviderPaused"
    PROVIDER_RESUMED = "ProviderResumed"
    WEBHOOKS_REFUSED = "WebhooksRefused"
    WEBHOOKS_REFUSED_ENDED = "WebhooksRefusedEnded"
    HEARTBEAT_FAILED = "HeartbeatFailed"
    INCIDENT_OPENED = "IncidentOpened"
    INCIDENT_RESOLVED = "IncidentResolved"


# --- who listens ---
Handler = Callable[["DomainEvent"], None]
_handlers: dict[EventType, dict[str, Handler]] = {}


def event_subscribe(*types: EventType, name: str, handler: Handler) -> None:
    """Have `handler` called with every event of these types. Called in an app's `ready()`.

    name: of the delivery rows, unique among the handlers of a type; one that changes makes another handler of it.
    The handler runs inside a transaction of its own, which also marks the delivery: what it writes happens once. What
    it does beyond the database may happen twice, and belongs into work that its rows describe, since no transaction is
    open across a call to others. An exception of it is tried again later.
    """
    for type_ in types:
        if _handlers.setdefault(type_, {}).setdefault(name, handler) is not handler:
            raise ValueError(f"Two handlers of {type_} are called {name}.")


def handlers_of(type_: str) -> Mapping[str, Handler]:
    """By name. A type that this version does not know has none."""
    return _handlers.get(type_, {})  # type: ignore[call-overload] # a StrEnum's member is found by its text


# --- writing one ---
# Whoever takes the next number holds the connection's row until the end, so that numbers become visible in their order.
def event_sql(numbered: str, *, payload: str = "%(event_payload)s::jsonb") -> str:
    """An INSERT for a statement that moves the connection anyway: one event a row of the CTE `numbered`.

    numbered: the connection's id, workspace_id and event_seq as it is now. Its parameters come from `event_values`.
    """
    return f"""
        INSERT INTO connections_domainevent (id, workspace_id, connection_id, line, sequence, type, version, payload,
            correlation_id, occurred_at, attempts)
        SELECT %(event_id)s, workspace_id, id, id, event_seq, %(event_type)s, %(event_version)s, {payload},
            %(event_correlation)s, clock_timestamp(), 0 FROM {numbered}
    """


def event_values(type_: EventType, payload: Mapping[str, Any], *, version: int = 1) -> dict[str, Any]:
    """The parameters of `event_sql`. payload: ids and instants become text, what is or looks like a secret is hidden."""
    return {
        "event_id": uuid7(),
        "event_type": str(type_),
        "event_version": version,
        "event_payload": json.dumps(scrub(json.loads(json.dumps(payload, default=str)))),
        "event_correlation": correlation.current(),
    }


_OF_CONNECTION = f"""
    WITH taken AS (
        UPDATE connections_connection SET event_seq = event_seq + 1 WHERE id = %(connection)s
        RETURNING id, workspace_id, event_seq
    ) {event_sql("taken")}
"""
_OF_LINE = """
    INSERT INTO connections_domainevent (id, workspace_id, line, sequence, type, version, payload, correlation_id,
        occurred_at, attempts)
    SELECT %(event_id)s, %(workspace)s, %(line)s, coalesce(max(sequence), 0) + 1, %(event_type)s, %(event_version)s,
        %(event_payload)s, %(event_correlation)s, clock_timestamp(), 0 FROM connections_domainevent WHERE line = %(line)s
"""


def event_record(
    type_: EventType,
    *,
    connection_id: UUID | None = None,
    workspace_id: UUID | None = None,
    payload: Mapping[str, Any] | None = None,
    version: int = 1,
) -> UUID:
    """Write the event in the transaction under way, as late in it as possible; returns its id. One statement.

    It holds the connection's row (or its workspace's line) until the transaction ends. payload: nothing secret.
    Raises TransactionManagementError outside of a transaction: an event must not outlive a change that is rolled back,
    nor be lost with one that is not.
    """
    if not database.in_atomic_block:
        raise TransactionManagementError("An event is written in the transaction of the change it tells of.")
    line = connection_id or workspace_id or INSTALLATION
    values = event_values(type_, payload or {}, version=version)
    values |= {"connection": connection_id, "workspace": workspace_id, "line": line}
    with database.cursor() as cursor:
        if connection_id is None:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"events:{line}"])
        cursor.execute(_OF_CONNECTION if connection_id else _OF_LINE, values)
        if cursor.rowcount != 1:
            raise ValueError(f"There is no connection {connection_id} whose event this could be.")
    if handlers_of(type_):
        wake("connections.tasks.events_dispatch")  # else the next tick is soon enough
    return values["event_id"]
