"""Applying pages of bank transactions to the live rows, in sets, inside PostgreSQL.

One statement a page: it unpacks the raw page, tells sound records from poison, upserts, tombstones, sets poison aside,
and counts what became of each. Pages are merged in their order inside one transaction, so the last one that names a
record wins. Money never leaves `numeric`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from django.db import connection
from psycopg.types.json import Jsonb

from config.cursors import server_side_cursor
from sync.leases import Claim
from sync.ledger import Ledger

MAX_ID_LENGTH = 255  # an index entry must fit a page
MAX_AMOUNT = "1e24"
MAX_SCALE = 24

_COLUMNS = (
    "account_id", "amount", "iso_currency", "unofficial_currency", "date", "authorized_date", "name", "merchant_name",
    "pending", "pending_external_id", "category", "raw_json",
)  # fmt: skip

# What was attached moves once, when the two rows are first told to be one: a note that its owner cleared stays cleared.
_NEWLY_LINKED = "t.pending_external_id IS DISTINCT FROM excluded.pending_external_id"

_STAGED = "(SELECT body FROM sync_stagedpage WHERE run_id = %(run)s AND page_number = %(page)s)"

# One row by its whole key. Said as a range in an order, because only the unique index has that order: see looking_up_each.
_IS = "external_id >= {id} AND external_id <= {id} ORDER BY external_id LIMIT 1"

_MERGE = f"""
WITH page AS MATERIALIZED (SELECT {{body}} AS body),
arrived AS MATERIALIZED (
    SELECT rank, is_removal, position, record,
           CASE WHEN jsonb_typeof(record->'transaction_id') = 'string'
                 AND length(record->>'transaction_id') BETWEEN 1 AND {MAX_ID_LENGTH}
                THEN record->>'transaction_id' END AS named
    FROM (
        SELECT 1 AS rank, false AS is_removal, position, record
        FROM page, jsonb_array_elements(body->'added') WITH ORDINALITY AS list(record, position)
        UNION ALL
        SELECT 2, false, position, record
        FROM page, jsonb_array_elements(body->'modified') WITH ORDINALITY AS list(record, position)
        UNION ALL
        SELECT 3, true, position, record
        FROM page, jsonb_array_elements(body->'removed') WITH ORDINALITY AS list(record, position)
    ) AS lists
),
latest AS MATERIALIZED (
    SELECT DISTINCT ON (external_id) *
    FROM (SELECT *, coalesce(named, 'unnamed-' || md5(record::text)) AS external_id FROM arrived) AS keyed
    ORDER BY external_id, rank DESC, position DESC
),
judged AS MATERIALIZED (
    SELECT l.external_id, l.is_removal, l.record, m.account_id,
           coalesce(a.status = 'archived', false) AS is_unwanted,
           CASE
               WHEN named IS NULL THEN 'transaction_id is missing or unusable'
               WHEN is_removal THEN NULL
               WHEN jsonb_typeof(record->'amount') IS DISTINCT FROM 'number' THEN 'amount is not a number'
               WHEN abs((record->'amount')::numeric) > {MAX_AMOUNT} OR scale((record->'amount')::numeric) > {MAX_SCALE}
                   THEN 'amount is out of range'
               WHEN (record->>'date') !~ '^\\d{{{{4}}}}-\\d{{{{2}}}}-\\d{{{{2}}}}$' IS NOT FALSE
                    OR NOT pg_input_is_valid(record->>'date', 'date') THEN 'date is not a date'
               WHEN jsonb_typeof(record->'pending') IS DISTINCT FROM 'boolean' THEN 'pending is not true or false'
               WHEN m.account_id IS NULL THEN 'account is unknown'
           END AS reason
    FROM latest l
    LEFT JOIN connections_plaiditemaccount m ON m.item_id = %(item)s AND m.plaid_account_id = l.record->>'account_id'
    LEFT JOIN connections_account a ON a.id = m.account_id
),
upserted AS (
    INSERT INTO sync_transaction AS t (
        id, workspace_id, connection_id, external_id, source_id, {", ".join(_COLUMNS)}, archived, note, user_category, created_at, updated_at
    )
    SELECT causeway_uuid7(), %(workspace)s, %(connection)s, j.external_id, %(source)s,
           j.account_id, (record->'amount')::numeric, record->>'iso_currency_code', record->>'unofficial_currency_code',
           (record->>'date')::date,
           CASE WHEN record->>'authorized_date' ~ '^\\d{{{{4}}}}-\\d{{{{2}}}}-\\d{{{{2}}}}$' AND pg_input_is_valid(record->>'authorized_date', 'date')
                THEN (record->>'authorized_date')::date END,
           coalesce(record->>'name', ''), record->>'merchant_name', (record->'pending')::boolean,
           record->>'pending_transaction_id', record->'personal_finance_category'->>'primary', record,
           false, coalesce(p.note, ''), coalesce(p.user_category, ''), now(), now()
    FROM judged j
    -- What a user attached to the pending row moves along to the row that replaces it.
    LEFT JOIN LATERAL (
        SELECT note, user_category FROM sync_transaction
        WHERE connection_id = %(connection)s AND {_IS.format(id="record->>'pending_transaction_id'")}
    ) p ON true
    WHERE NOT is_removal AND reason IS NULL AND NOT is_unwanted
    ON CONFLICT (connection_id, external_id) DO UPDATE SET
        {", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)},
        source_id = excluded.source_id, archived = false, archived_at = NULL, updated_at = now(),
        note = CASE WHEN {_NEWLY_LINKED} AND t.note = '' THEN excluded.note ELSE t.note END,
        user_category = CASE WHEN {_NEWLY_LINKED} AND t.user_category = '' THEN excluded.user_category ELSE t.user_category END
    WHERE t.raw_json IS DISTINCT FROM excluded.raw_json OR t.account_id <> excluded.account_id OR t.archived
    RETURNING (xmax = 0) AS is_new
),
known AS (
    SELECT t.id, j.external_id, t.archived FROM judged j
    CROSS JOIN LATERAL (
        SELECT id, archived FROM sync_transaction
        WHERE connection_id = %(connection)s AND {_IS.format(id="j.external_id")}
    ) t
    WHERE j.is_removal AND j.reason IS NULL
),
tombstoned AS (
    UPDATE sync_transaction t
    SET archived = true, archived_at = now(), updated_at = now(), raw_json = raw_json || '{{{{"source_removed": true}}}}'
    WHERE t.id = ANY(ARRAY(SELECT id FROM known WHERE NOT archived))
    RETURNING 1
),
withdrawn AS (  -- set aside before, and gone at the source: nothing is left that anybody could mend
    UPDATE sync_syncfailure f SET resolved_at = now(), resolution = 'removed at the source', updated_at = now()
    FROM judged j
    WHERE j.is_removal AND j.reason IS NULL AND f.connection_id = %(connection)s AND f.entity = 'transactions'
      AND f.external_id = j.external_id AND f.resolved_at IS NULL
),
rejected AS (
    INSERT INTO sync_syncfailure AS f (
        id, workspace_id, connection_id, run_id, entity, external_id, code, reason, payload, attempts, resolution, created_at, updated_at
    )
    SELECT causeway_uuid7(), %(workspace)s, %(connection)s, %(run)s, 'transactions', external_id, 'record_rejected', reason,
           left(record::text, 20000), 1, '', now(), now()
    FROM judged WHERE reason IS NOT NULL
    ON CONFLICT (connection_id, entity, external_id) WHERE resolved_at IS NULL AND flow_id IS NULL DO UPDATE SET
        attempts = f.attempts + 1, run_id = excluded.run_id, reason = excluded.reason, payload = excluded.payload, updated_at = now()
    RETURNING 1
),
balances AS (  -- written once a run unless they differ: every look at an account passes by all of its versions of this transaction
    UPDATE connections_account a
    SET balance_current = b.current, balance_available = b.available, balance_limit = b."limit",
        balances_at = now(), updated_at = now()
    FROM (
        SELECT account->>'account_id' AS plaid_account_id,
               nullif(account->'balances'->'current', 'null')::numeric AS current,
               nullif(account->'balances'->'available', 'null')::numeric AS available,
               nullif(account->'balances'->'limit', 'null')::numeric AS "limit"
        FROM page, jsonb_array_elements(CASE WHEN jsonb_typeof(body->'accounts') = 'array' THEN body->'accounts' ELSE '[]' END) AS account
        WHERE jsonb_typeof(account->'balances') = 'object' AND NOT EXISTS (
            SELECT FROM jsonb_path_query(account->'balances', '$.keyvalue()') AS entry
            WHERE entry->>'key' IN ('current', 'available', 'limit') AND jsonb_typeof(entry->'value') NOT IN ('number', 'null'))
    ) b
    JOIN connections_plaiditemaccount m ON m.item_id = %(item)s AND m.plaid_account_id = b.plaid_account_id AND m.replaced_at IS NULL
    WHERE a.id = m.account_id AND a.status <> 'archived'
      AND (a.balances_at, a.balance_current, a.balance_available, a.balance_limit)
          IS DISTINCT FROM (now(), b.current, b.available, b."limit")
)
SELECT (SELECT count(*) FROM arrived),
       (SELECT count(*) FROM upserted WHERE is_new),
       (SELECT count(*) FROM upserted WHERE NOT is_new),
       (SELECT count(*) FROM judged WHERE NOT is_removal AND reason IS NULL AND NOT is_unwanted),
       (SELECT count(*) FROM tombstoned),
       (SELECT count(*) FROM known WHERE archived),
       (SELECT count(*) FROM rejected),
       -- Skipped: overtaken by a later entry of the same page, of an account its owner removed, or the end of a row we never had.
       (SELECT count(*) FROM arrived) - (SELECT count(*) FROM latest)
           + (SELECT count(*) FROM judged WHERE NOT is_removal AND reason IS NULL AND is_unwanted)
           + (SELECT count(*) FROM judged j WHERE is_removal AND reason IS NULL
              AND NOT EXISTS (SELECT FROM known k WHERE k.external_id = j.external_id))
"""
_MERGE_BODY = _MERGE.format(body="%(body)s")
_MERGE_STAGED = _MERGE.format(body=_STAGED)


def merge_page(held: Claim, run_id: UUID, *, raw: bytes) -> Ledger:
    """Apply one page given as the provider's bytes. Raises DataError for bytes that jsonb refuses."""
    return _execute(_MERGE_BODY, held, run_id, body=Jsonb(raw, dumps=_as_is))


def merge_staged(held: Claim, run_id: UUID, *, page: int) -> Ledger:
    """Apply one staged page."""
    return _execute(_MERGE_STAGED, held, run_id, page=page)


def check_references() -> None:
    """Check the foreign keys of everything merged so far, instead of at the commit.

    From the end of the run on this transaction holds the connection's and the Item's rows; a big merge would hold them
    for as long as the checks of all its rows take.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _as_is(raw: bytes) -> bytes:
    return raw


def _execute(statement: str, held: Claim, run_id: UUID, **parameters) -> Ledger:
    parameters |= {
        "run": run_id,
        "item": held.item_id,
        "source": held.plaid_item_id,
        "workspace": held.workspace_id,
        "connection": held.connection_id,
    }
    # Django's own cursor would escape the whole page into the text of the statement; this one sends it beside it.
    with server_side_cursor() as cursor:
        row = cursor.execute(statement, parameters).fetchone()
    fetched, created, updated, sound, removed, removed_before, failed, skipped = row or (0,) * 8
    return Ledger(
        fetched=fetched,
        created=created,
        updated=updated,
        unchanged=sound - created - updated + removed_before,
        removed=removed,
        skipped=skipped,
        failed=failed,
    )


@contextmanager
def looking_up_each() -> Iterator[None]:
    """Pages merged in this block look each of their records up by its key, whatever the statistics say. Inside a transaction.

    They cannot be trusted here: rows that are not committed yet count for nothing, so that an ANALYZE during a first
    history makes a large table an empty one. It would be read whole for every page then, or all of the bank's rows for
    every record, since each index that begins with the connection seems to cost the same. Without sorts, the one whose
    order is asked for is the only one that will do.
    """
    ways = ("seqscan", "hashjoin", "mergejoin", "sort", "incremental_sort")
    with connection.cursor() as cursor:
        cursor.execute("".join(f"SET LOCAL enable_{way} = off;" for way in ways))
        yield
        cursor.execute("".join(f"SET LOCAL enable_{way} = on;" for way in ways))


@contextmanager
def joining_whole_sets() -> Iterator[psycopg.Cursor]:
    """A cursor whose statements join a bank's rows with a bank's rows. Inside a transaction.

    PostgreSQL compares each row with every other where it takes both sets to be small, and it does so whenever its
    statistics are older than the bank's growth: always for a while after a crash, which also forgets what was counted
    since. That takes hours for a large bank; a hash join is right for any size.
    """
    with server_side_cursor() as cursor:
        cursor.execute("SET LOCAL enable_nestloop = off")
        yield cursor
        cursor.execute("SET LOCAL enable_nestloop = on")


# Rows here that a replay of the same Item did not tell. Only in accounts that the bank still shares: those of a closed or
# de-selected account are not told any more, and stay.
_ABSENT = """
    connections_account a
    WHERE t.connection_id = %(connection)s AND NOT t.archived AND t.source_id = %(source)s
      AND a.id = t.account_id AND a.status = 'active'
      AND NOT EXISTS (SELECT FROM told WHERE told.external_id = t.external_id)
      AND NOT EXISTS (SELECT FROM sync_syncfailure f WHERE f.run_id = %(run)s AND f.external_id = t.external_id)
"""
_TOLD = """
    WITH told AS MATERIALIZED (
        SELECT record->>'transaction_id' AS external_id
        FROM sync_stagedpage, jsonb_array_elements(body->'added' || (body->'modified')) AS record
        WHERE run_id = %(run)s
    )
"""


def tombstone_absent(held: Claim, run_id: UUID) -> int:
    """After a complete replay of the same Item: what the bank no longer tells was removed there. Returns how many."""
    with joining_whole_sets() as cursor:
        cursor.execute(
            f"""
            {_TOLD} UPDATE sync_transaction t
            SET archived = true, archived_at = now(), updated_at = now(),
                raw_json = raw_json || '{{"source_removed": true, "absent_from_replay": true}}'
            FROM {_ABSENT}
            """,
            {"run": run_id, "connection": held.connection_id, "source": held.plaid_item_id},
        )
        return cursor.rowcount


def is_any_absent(held: Claim, run_id: UUID) -> bool:
    """Whether a replay left out rows that are here."""
    with joining_whole_sets() as cursor:
        query = f"{_TOLD} SELECT EXISTS (SELECT FROM sync_transaction t, {_ABSENT})"
        given = {"run": run_id, "connection": held.connection_id, "source": held.plaid_item_id}
        row = cursor.execute(query, given).fetchone()
        return bool(row and row[0])


def retire_former_item(held: Claim) -> int:
    """After a re-link as a new Item, whose transactions all have new ids: the old rows give way. Returns how many.

    They become tombstones from the day on from which the new Item tells their account's history; what is older stays.
    """
    with server_side_cursor() as cursor:
        cursor.execute(
            """
            WITH told AS MATERIALIZED (
                SELECT account_id, min(date) AS since FROM sync_transaction
                WHERE connection_id = %(connection)s AND source_id = %(source)s AND NOT archived GROUP BY account_id
            )
            UPDATE sync_transaction t
            SET archived = true, archived_at = now(), updated_at = now(),
                raw_json = raw_json || '{"source_removed": true, "retired_by_relink": true}'
            FROM told
            WHERE t.connection_id = %(connection)s AND t.source_id <> %(source)s AND NOT t.archived
              AND t.account_id = told.account_id AND t.date >= told.since
            """,
            {"connection": held.connection_id, "source": held.plaid_item_id},
        )
        return cursor.rowcount


def carry_over_attachments(held: Claim) -> None:
    """What users attached to rows that a re-link retired follows to the new row that tells the same.

    The same means account, day, amount and name; several alike are matched in their order.
    """
    with joining_whole_sets() as cursor:
        cursor.execute(
            """
            WITH numbered AS (
                SELECT id, archived, note, user_category, account_id, date, amount, name,
                       row_number() OVER (PARTITION BY archived, account_id, date, amount, name ORDER BY id) AS nth
                FROM sync_transaction
                WHERE connection_id = %(connection)s
                  AND (NOT archived AND source_id = %(source)s OR archived AND raw_json ? 'retired_by_relink')
            )
            UPDATE sync_transaction t SET note = was.note, user_category = was.user_category, updated_at = now()
            FROM numbered now_row JOIN numbered was USING (account_id, date, amount, name, nth)
            WHERE t.id = now_row.id AND NOT now_row.archived AND was.archived AND (was.note <> '' OR was.user_category <> '')
              AND now_row.note = '' AND now_row.user_category = ''
            """,
            {"connection": held.connection_id, "source": held.plaid_item_id},
        )


def follow_churn(held: Claim) -> None:
    """What users attached to rows that left in this transaction follows to new rows of it that tell the same.

    Banks that rename an account, or tell a purchase anew, do so under new ids and name no old ones. The same means
    account, day, amount and name; several alike are matched in their order. Rows that came and went within this very
    update were never shown to anybody.
    """
    with server_side_cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS MATERIALIZED (  -- on the index of tombstones with something attached, which are few
                SELECT note, user_category, account_id, date, amount, name,
                       row_number() OVER (PARTITION BY account_id, date, amount, name ORDER BY id DESC) AS nth
                FROM sync_transaction
                WHERE connection_id = %(connection)s AND archived AND (note <> '' OR user_category <> '')
                  AND archived_at = now() AND created_at < now()
            ), come AS (
                SELECT t.id, t.account_id, t.date, t.amount, t.name,
                       row_number() OVER (PARTITION BY t.account_id, t.date, t.amount, t.name ORDER BY t.id DESC) AS nth
                FROM sync_transaction t
                WHERE (t.account_id, t.date) IN (SELECT account_id, date FROM gone)
                  AND NOT t.archived AND t.created_at = now() AND t.note = '' AND t.user_category = ''
            )
            UPDATE sync_transaction t SET note = gone.note, user_category = gone.user_category
            FROM come JOIN gone USING (account_id, date, amount, name, nth)
            WHERE t.id = come.id
            """,
            {"connection": held.connection_id},
        )


def resolve_arrived_failures(held: Claim, run_id: UUID) -> None:
    """What an earlier run set aside, and what arrived whole or was removed in this transaction, is settled."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE sync_syncfailure f SET resolved_at = now(), resolution = 'arrived whole', updated_at = now()
            FROM sync_transaction t
            WHERE f.connection_id = %s AND f.run_id <> %s AND f.resolved_at IS NULL AND f.entity = 'transactions'
              AND t.connection_id = f.connection_id AND t.external_id = f.external_id AND t.updated_at = now()
            """,
            [held.connection_id, run_id],
        )
