"""Applying a snapshot of recurring streams to the subscriptions, in sets, inside PostgreSQL."""

from dataclasses import asdict, dataclass
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from config.cursors import server_side_cursor
from connections.providers.base import RecurringStream

_COLUMNS = (
    "account_id", "source_id", "status", "direction", "description", "merchant_name", "category", "frequency", "source_status",
    "is_active", "average_amount", "last_amount", "iso_currency", "unofficial_currency", "first_date", "last_date",
    "predicted_next_date", "raw_json", "cancelled_at",
)  # fmt: skip

_TOLD = """
    told AS MATERIALIZED (
        SELECT DISTINCT ON (external_id) * FROM jsonb_to_recordset(%(streams)s) AS stream(
            external_id text, external_account_id text, direction text, description text, merchant_name text, category text,
            frequency text, source_status text, is_active boolean, average_amount numeric, last_amount numeric,
            iso_currency text, unofficial_currency text, first_date date, last_date date, predicted_next_date date, raw jsonb
        ) ORDER BY external_id
    ), placed AS MATERIALIZED (
        -- An account that its owner removed is not looked at any more; one that is unknown comes with the next sync.
        SELECT told.*, m.account_id FROM told
        JOIN connections_plaiditemaccount m ON m.item_id = %(item)s AND m.plaid_account_id = told.external_account_id
        JOIN connections_account a ON a.id = m.account_id AND a.status <> 'archived'
    )
"""

# A bank that is linked as another Item tells all its streams under new ids: rows that tell the same go on as one.
_CARRY_OVER = f"""
WITH {_TOLD}, former AS (
    SELECT id, account_id, direction, description,
           row_number() OVER (PARTITION BY account_id, direction, description ORDER BY id) AS nth
    FROM sync_subscription WHERE connection_id = %(connection)s AND source_id <> %(source)s AND status <> 'cancelled'
), fresh AS (
    SELECT external_id, account_id, direction, description,
           row_number() OVER (PARTITION BY account_id, direction, description ORDER BY external_id) AS nth
    FROM placed WHERE NOT EXISTS (
        SELECT FROM sync_subscription s WHERE s.connection_id = %(connection)s AND s.external_id = placed.external_id)
)
UPDATE sync_subscription s SET external_id = fresh.external_id, source_id = %(source)s, updated_at = now()
FROM former JOIN fresh USING (account_id, direction, description, nth) WHERE s.id = former.id
"""

_MERGE = f"""
WITH {_TOLD}, upserted AS (
    INSERT INTO sync_subscription AS s (
        id, workspace_id, connection_id, external_id, {", ".join(_COLUMNS)}, created_at, updated_at
    )
    SELECT causeway_uuid7(), %(workspace)s, %(connection)s, external_id, account_id, %(source)s,
           CASE WHEN has_ended THEN 'cancelled' ELSE 'verified' END, direction, description, merchant_name, category, frequency,
           source_status, is_active, average_amount, last_amount, iso_currency, unofficial_currency, first_date, last_date,
           predicted_next_date, raw, CASE WHEN has_ended THEN now() END, now(), now()
    FROM (SELECT *, NOT is_active OR source_status = 'TOMBSTONED' AS has_ended FROM placed) AS judged
    ON CONFLICT (connection_id, external_id) DO UPDATE SET
        {", ".join(f"{column} = excluded.{column}" for column in _COLUMNS if column != "cancelled_at")},
        cancelled_at = CASE WHEN excluded.status = 'cancelled' THEN coalesce(s.cancelled_at, now()) END, updated_at = now()
    WHERE (s.raw_json, s.status, s.account_id, s.source_id)
          IS DISTINCT FROM (excluded.raw_json, excluded.status, excluded.account_id, excluded.source_id)
    RETURNING (xmax = 0) AS is_new
), untold AS (
    -- Gone, where its account is still shared; else the source just does not say.
    SELECT s.id, CASE WHEN a.status = 'active' THEN 'cancelled' ELSE 'unverified' END AS status
    FROM sync_subscription s JOIN connections_account a ON a.id = s.account_id
    WHERE s.connection_id = %(connection)s AND s.status <> 'cancelled'
      AND (a.status = 'archived' OR %(is_whole)s AND NOT EXISTS (SELECT FROM told WHERE told.external_id = s.external_id))
), ended AS (
    UPDATE sync_subscription s
    SET status = u.status, updated_at = now(), cancelled_at = CASE WHEN u.status = 'cancelled' THEN now() END,
        raw_json = CASE WHEN u.status = 'cancelled' THEN s.raw_json || '{{"source_removed": true}}' ELSE s.raw_json END
    FROM untold u WHERE s.id = u.id AND s.status <> u.status
    RETURNING s.status
)
SELECT (SELECT count(*) FROM told), (SELECT count(*) FROM told) - (SELECT count(*) FROM placed),
       (SELECT count(*) FROM upserted WHERE is_new), (SELECT count(*) FROM upserted WHERE NOT is_new),
       (SELECT count(*) FROM ended WHERE status = 'cancelled')
"""


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of a snapshot. skipped: of accounts that are unknown or removed."""

    told: int
    skipped: int
    created: int
    updated: int
    cancelled: int


def merge_streams(
    streams: list[RecurringStream], *, workspace: UUID, connection: UUID, item: UUID, source: str, is_whole: bool
) -> Merged:
    """Make the connection's subscriptions equal to what its source tells now: two statements, only rows that differ.

    is_whole: every stream of the answer could be read; else absence proves nothing.
    """
    told = orjson.dumps([asdict(stream) | {"raw": orjson.Fragment(stream.raw)} for stream in streams])
    parameters = {
        "workspace": workspace,
        "connection": connection,
        "item": item,
        "source": source,
        "is_whole": is_whole,
    }
    with server_side_cursor() as cursor:
        parameters["streams"] = Jsonb(told, dumps=bytes)
        cursor.execute(_CARRY_OVER, parameters)
        row = cursor.execute(_MERGE, parameters).fetchone()
    return Merged(*row) if row else Merged(0, 0, 0, 0, 0)
