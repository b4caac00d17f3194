"""What is missing before a flow can move records: each thing by itself, with what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass

from connections.models import Connection, Workspace
from connections.models.connection import Environment, Status
from connections.providers import provider
from connections.providers.supabase.contract import wanted
from sync.flows.pairs import pair_of
from sync.models import ConflictPolicy, Flow


@dataclass(frozen=True, slots=True)
class Gap:
    """field: of the flow, which it is about."""

    code: str
    field: str
    detail: str
    remediation: str


_NOT_ACTIVE = {
    Status.DRAFT: "Verify it, and activate it.",
    Status.VERIFIED: "Activate it.",
    Status.NEEDS_REAUTH: "Sign in at the provider again.",
    Status.PAUSED: "Resume it.",
    Status.DISCONNECTING: "Make a new connection, and a flow for it.",
    Status.DISCONNECTED: "Make a new connection, and a flow for it.",
}


def gaps_of(flow: Flow) -> list[Gap]:
    """Everything that is missing now; [] where the flow may be active. Reads the two connections and the workspace."""
    return [*_of_kinds(flow), *_of_policy(flow), *_of_states(flow), *_of_environments(flow), *_of_tables(flow)]


def _of_kinds(flow: Flow) -> Iterator[Gap]:
    source, target = flow.source, flow.target
    pair = pair_of(source.provider, target.provider)
    if pair is None:
        detail = f"Records cannot go from {_label(source)} to {_label(target)} in this version."
        yield Gap("pair_not_available", "target_connection_id", detail, "Choose two connections that fit together.")
        return
    for entity in flow.entities:
        if entity not in pair.entities:
            detail = f"{entity} do not go from {_label(source)} to {_label(target)}."
            yield Gap("entity_not_available", "entities", detail, f"Choose from {', '.join(pair.entities)}.")
    if not flow.entities:
        yield Gap("entities_missing", "entities", "The flow has no entities.", "Say which records are to be kept up.")


def _of_policy(flow: Flow) -> Iterator[Gap]:
    """A flow that said otherwise would overwrite what somebody asked to keep."""
    if flow.conflict_policy != ConflictPolicy.SOURCE_WINS:
        detail = "In this version the source always wins."
        yield Gap("policy_not_available", "conflict_policy", detail, "Choose source_wins.")


def _of_states(flow: Flow) -> Iterator[Gap]:
    for field, connection in (("source_connection_id", flow.source), ("target_connection_id", flow.target)):
        if not connection.is_syncable:
            detail = f"The connection {connection} is {connection.get_status_display().lower()}."
            yield Gap(
                "connection_not_active", field, detail, _NOT_ACTIVE.get(Status(connection.status), "Activate it.")
            )


def _of_environments(flow: Flow) -> Iterator[Gap]:
    source, target = flow.source, flow.target
    if source.environment != target.environment:
        detail = f"{source} belongs to {source.environment}, {target} to {target.environment}."
        yield Gap("environments_differ", "target_connection_id", detail, "Choose two of the same environment.")
    if is_kept_in_sandbox(flow.workspace, target):
        detail = "The workspace is in sandbox mode: nothing is written to a production connection."
        yield Gap("sandbox_mode", "target_connection_id", detail, "Leave sandbox mode, or choose a sandbox's target.")


def is_kept_in_sandbox(workspace: Workspace, target: Connection) -> bool:
    """Whether the workspace's sandbox mode keeps everything from being written there."""
    return workspace.sandbox_mode and target.environment == Environment.PRODUCTION


def _of_tables(flow: Flow) -> Iterator[Gap]:
    """A store was verified for the tables that its connection names, and for no others."""
    if flow.target.provider != "supabase":
        return
    config = (flow.target.good or {}).get("config") or flow.target.config
    there = {table.entity for table in wanted(config)}
    for entity in flow.entities:
        if entity not in there:
            detail = f"The store {flow.target} keeps no {entity}."
            yield Gap(
                "table_missing",
                "entities",
                detail,
                f"Add {entity} to the connection's entities, run its SQL file, then verify and activate it.",
            )


def _label(connection: Connection) -> str:
    return provider(connection.provider).label
