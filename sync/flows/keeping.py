"""Writing down what a page came to: links, records set aside, and how far its flow has come. Within the caller's transaction."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from config.logs import scrub
from connections.errors import CausewayError, StaleObject, TemporaryError
from connections.ids import uuid7
from connections.providers.base import Json
from connections.services.lifecycle import backoff_s
from sync.flows.claims import Held
from sync.flows.deciding import Failed
from sync.models import Flow, LinkState, SyncFailure, WriteIntent


# --- links ---
@dataclass(frozen=True, slots=True)
class Linked:
    """What a link is to say. content_hash: None leaves what it says (something later is at the target)."""

    external_id: str
    state: LinkState
    target_external_id: str = ""
    target_version: str = ""
    content_hash: str | None = ""
    modified_at: datetime | None = None
    currency: str = ""


_LINK = """
    INSERT INTO sync_recordlink AS l (id, workspace_id, source_id, target_id, entity, external_id, state, target_external_id,
        target_version, content_hash, source_modified_at, currency, created_at, updated_at)
    SELECT causeway_uuid7(), %(workspace)s, %(source)s, %(target)s, %(entity)s, external_id, state, target_external_id,
        target_version, coalesce(content_hash, ''), modified_at, currency, now(), now()
    FROM jsonb_to_recordset(%(rows)s::jsonb) AS r(external_id text, state text, target_external_id text, target_version text,
        content_hash text, modified_at timestamptz, currency text)
    ORDER BY external_id
    ON CONFLICT (source_id, target_id, entity, external_id) DO UPDATE SET
        state = excluded.state, updated_at = now(), source_modified_at = excluded.source_modified_at,
        target_external_id = coalesce(nullif(excluded.target_external_id, ''), l.target_external_id),
        target_version = coalesce(nullif(excluded.target_version, ''), l.target_version),
        currency = coalesce(nullif(excluded.currency, ''), l.currency),
        content_hash = CASE WHEN %(keeps)s::jsonb ? excluded.external_id THEN l.content_hash ELSE excluded.content_hash END
"""


def links_keep(flow: Flow, entity: str, links: Sequence[Linked]) -> None:
    """One statement, in the order of their ids, whatever order they come in."""
    if not links:
        return
    rows = [
        {
            "external_id": link.external_id,
            "state": link.state,
            "target_external_id": link.target_external_id,
            "target_version": link.target_version,
            "content_hash": link.content_hash,
            "modified_at": link.modified_at.isoformat() if link.modified_at else None,
            "currency": link.currency,
        }
        for link in links
    ]
    values: Json = {"workspace": flow.workspace_id, "source": flow.source_id, "target": flow.target_id}
    values["entity"] = entity
    values["rows"] = json.dumps(rows)
    values["keeps"] = json.dumps([link.external_id for link in links if link.content_hash is None])
    with connection.cursor() as cursor:
        cursor.execute(_LINK, values)


def noted_keep(flow: Flow, entity: str, noted: Mapping[str, LinkState]) -> None:
    """Records that have no place at the target: not taken, or gone before they came."""
    links_keep(flow, entity, [Linked(external_id, state) for external_id, state in noted.items()])


# --- records set aside ---
_FAIL = """
    INSERT INTO sync_syncfailure AS f (id, workspace_id, connection_id, run_id, flow_id, entity, external_id, code, reason,
        payload, attempts, next_attempt_at, waits_for_entity, waits_for_id, resolution, created_at, updated_at)
    VALUES (%(id)s, %(workspace)s, %(connection)s, %(run)s, %(flow)s, %(entity)s, %(external_id)s, %(code)s, %(reason)s,
        %(payload)s, 1, %(next)s, %(waits_for_entity)s, %(waits_for_id)s, '', now(), now())
    ON CONFLICT (flow_id, entity, external_id) WHERE resolved_at IS NULL AND flow_id IS NOT NULL DO UPDATE SET
        attempts = f.attempts + 1, run_id = excluded.run_id, code = excluded.code, reason = excluded.reason,
        payload = excluded.payload, next_attempt_at = excluded.next_attempt_at, updated_at = now(),
        waits_for_entity = excluded.waits_for_entity, waits_for_id = excluded.waits_for_id
"""


def failures_keep(flow: Flow, held: Held, entity: str, failed: Sequence[Failed]) -> None:
    """One open failure a record: one that failed before is told again, not twice. Who waits for another has no time."""
    if not failed:
        return
    before = _attempts(flow, entity, [one.external_id for one in failed])
    with connection.cursor() as cursor:
        for one in sorted(failed, key=lambda one: one.external_id):
            waits_for = one.waits_for or ("", "")
            cursor.execute(
                _FAIL,
                {
                    "id": uuid7(),
                    "workspace": flow.workspace_id,
                    "connection": flow.source_id,
                    "run": held.run_id,
                    "flow": flow.pk,
                    "entity": entity,
                    "external_id": one.external_id,
                    "code": one.error.code,
                    "reason": _reason(one.error),
                    "payload": one.payload.replace("\x00", "\\u0000"),
                    "next": next_attempt(one, before.get(one.external_id, 0) + 1),
                    "waits_for_entity": waits_for[0],
                    "waits_for_id": waits_for[1],
                },
            )


def _attempts(flow: Flow, entity: str, external_ids: list[str]) -> dict[str, int]:
    open_ = SyncFailure.objects.filter(flow=flow, entity=entity, external_id__in=external_ids, resolved_at=None)
    return dict(open_.values_list("external_id", "attempts"))


def next_attempt(failed: Failed, attempts: int) -> datetime | None:
    """When it is tried again by itself: where that can help, later each time."""
    is_retryable = isinstance(failed.error, TemporaryError | StaleObject) or failed.error.entry.is_retryable
    if failed.waits_for or not is_retryable:
        return None
    return timezone.now() + timedelta(seconds=backoff_s(attempts))


def _reason(error: CausewayError) -> str:
    fields = "; ".join(f"{path}: {' '.join(words)}" for path, words in (error.fields or {}).items())
    said = f"{error.detail} {fields}".strip() if fields else f"{error.detail} {error.operator_detail}".strip()
    return str(scrub(said)).replace("\x00", "\\u0000")[:2_000]


def failures_settle(flow: Flow, entity: str, external_ids: Iterable[str]) -> None:
    """These records have arrived, or need nothing any more."""
    if ids := list(external_ids):
        open_ = SyncFailure.objects.filter(flow=flow, entity=entity, external_id__in=ids, resolved_at=None)
        now = timezone.now()
        open_.update(resolved_at=now, updated_at=now, next_attempt_at=None, resolution="It arrived, or is gone.")


def children_release(flow: Flow, entity: str, external_ids: Iterable[str]) -> None:
    """Those that waited for these records are tried at once."""
    if ids := list(external_ids):
        parked = SyncFailure.objects.filter(flow=flow, waits_for_entity=entity, waits_for_id__in=ids, resolved_at=None)
        parked.update(next_attempt_at=timezone.now())


# --- how far the flow has come ---
_MOVE = """
    INSERT INTO sync_watermark AS w (id, workspace_id, flow_id, entity, position, news_seq, created_at, updated_at)
    VALUES (%(id)s, %(workspace)s, %(flow)s, %(entity)s, %(position)s::jsonb, 0, now(), now())
    ON CONFLICT (flow_id, entity) DO UPDATE SET position = excluded.position, updated_at = now()
"""


def watermark_move(held: Held, position: dict[str, Any]) -> None:
    """Everything before the position is at the target, or on record as set aside. One statement."""
    values: Json = {"id": uuid7(), "workspace": held.workspace_id, "flow": held.flow_id, "entity": held.entity}
    with connection.cursor() as cursor:
        cursor.execute(_MOVE, values | {"position": json.dumps(position)})


def is_any_intent_open(run_id: UUID) -> bool:
    return WriteIntent.objects.filter(run_id=run_id, confirmed_at=None).exists()
