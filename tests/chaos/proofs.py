"""What must hold once a storm is over, whatever was killed in it."""

from tests.chaos import banks as source
from tests.chaos.world import World

OPEN_WORK = """
    SELECT FROM connections_plaiditem WHERE dirty_seq > synced_seq OR lease_token IS NOT NULL
    UNION ALL SELECT FROM sync_syncrun WHERE status IN ('running', 'queued')
    UNION ALL SELECT FROM webhooks_webhookevent WHERE status = 'received'
    UNION ALL SELECT FROM connections_domainevent WHERE dispatched_at IS NULL
"""


def is_settled(world: World) -> bool:
    """Whether nobody has anything left to do. False while PostgreSQL is away."""
    return world.answers("SELECT 1") and not world.answers(OPEN_WORK)


def unsettled(world: World) -> list[tuple]:
    """How it stands with each bank."""
    return world.ask(
        """SELECT i.item_id, dirty_seq, synced_seq, lease_expires_at, offered_until, is_large, c.status, c.next_attempt_at,
                  (SELECT jsonb_agg(jsonb_build_array(r.status, r.page_count, r.errors)) FROM sync_syncrun r
                   WHERE r.connection_id = c.id AND r.status IN ('running', 'queued'))
           FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id"""
    )


def assert_equal_to_source(world: World, bank: source.Bank) -> None:
    here, there = source.ours(world, bank), source.truth(world, bank)
    differing = {
        key: (here.get(key), there.get(key)) for key in here.keys() | there.keys() if here.get(key) != there.get(key)
    }
    assert not differing, f"{bank.name}: {len(differing)} rows differ, such as {list(differing.items())[:3]}"


def assert_tombstones_tell_of_what_was_removed(world: World, bank: source.Bank) -> None:
    query = """SELECT external_id, raw_json->>'source_removed' FROM sync_transaction
               WHERE connection_id = %s AND archived"""
    archived = dict(world.ask(query, bank.connection_id))
    assert set(archived.values()) <= {"true"}
    assert not set(archived) & set(source.truth(world, bank))
    left = {*bank.gone, *bank.posted_as}
    assert set(archived) <= left, "a tombstone of something that was never removed"


def assert_nothing_is_doubled(world: World, bank: source.Bank) -> None:
    """No id twice; and what all ledgers together say was created is what is there: nothing is ever deleted."""
    twice = "SELECT external_id FROM sync_transaction WHERE connection_id = %s GROUP BY 1 HAVING count(*) > 1"
    assert world.ask(twice, bank.connection_id) == []
    created = "SELECT sum(records_created)::int FROM sync_syncrun WHERE connection_id = %s"
    rows = "SELECT count(*)::int FROM sync_transaction WHERE connection_id = %s"
    assert world.ask(created, bank.connection_id) == world.ask(rows, bank.connection_id)


def assert_runs_ended_balanced(world: World, bank: source.Bank) -> None:
    query = """SELECT id, status FROM sync_syncrun WHERE connection_id = %s AND (
                   status NOT IN ('succeeded', 'partial', 'failed', 'cancelled') OR finished_at IS NULL
                   OR lease_token IS NOT NULL
                   OR records_fetched <> records_created + records_updated + records_unchanged + records_removed
                                       + records_skipped + records_parked + records_failed)"""
    assert world.ask(query, bank.connection_id) == []
    assert world.ask("SELECT * FROM sync_stagedpage") == []
    assert world.ask("SELECT reason FROM sync_syncfailure") == []


def assert_cursor_is_at_the_head(world: World, bank: source.Bank) -> None:
    cursor = world.ask("SELECT cursor FROM connections_plaiditem WHERE item_id = %s", bank.plaid_id)[0][0]
    assert cursor
    nothing = {"added": [], "modified": [], "removed": [], "has_more": False}
    assert source.news_after_cursor(world, bank, cursor) == nothing


def assert_notes_are_kept(world: World, bank: source.Bank) -> None:
    kept = dict(
        world.ask("SELECT external_id, note FROM sync_transaction WHERE connection_id = %s", bank.connection_id)
    )
    for noted, text in bank.notes.items():
        assert kept[noted] == text
        posted = bank.posted_as.get(noted, noted)  # one that came and went between two syncs was never here
        assert kept.get(posted, text) == text, f"{noted} was posted, and its note did not move along"


def assert_accepted_news_were_acted_upon(world: World, bank: source.Bank) -> None:
    """What was answered 2xx is in the database, and the source was asked after it."""
    webhooks = source.accepted_webhooks(world, bank)
    kept = world.ask(
        "SELECT coalesce(sum(deliveries), 0)::int FROM webhooks_webhookevent WHERE item_id = %s", bank.plaid_id
    )
    assert kept[0][0] >= len(webhooks)
    ended = world.ask("SELECT id::text FROM sync_syncrun WHERE connection_id = %s", bank.connection_id)
    assert {run for _, run in bank.refreshes} <= {run for (run,) in ended}
    latest = max([sent_at for sent_at, _ in bank.refreshes] + [at - 1 for at in webhooks], default=0)
    assert max(bank.calls) >= latest


def assert_every_claim_was_free(world: World) -> None:
    """The database's own witness: nobody took a claim that was still running, and only claimants moved a cursor."""
    stolen = "SELECT * FROM chaos.lease WHERE former IS NOT NULL AND token IS NOT NULL AND former_until > at"
    assert world.ask(stolen) == []
    assert world.ask("SELECT * FROM chaos.lease WHERE has_moved AND former IS NULL") == []


def assert_outbox_is_drained(world: World) -> None:
    """Every event of a connection was told, in the order of its line, and none is missing from it."""
    waiting = (
        "SELECT line, sequence, type FROM connections_domainevent WHERE dispatched_at IS NULL OR parked_at IS NOT NULL"
    )
    assert world.ask(waiting) == []
    undelivered = "SELECT handler, last_error FROM connections_eventdelivery WHERE delivered_at IS NULL"
    assert world.ask(undelivered) == []
    gaps = """SELECT c.id, c.event_seq, count(e.id), max(e.sequence) FROM connections_connection c
              LEFT JOIN connections_domainevent e ON e.line = c.id GROUP BY c.id
              HAVING count(e.id) <> c.event_seq OR coalesce(max(e.sequence), 0) <> c.event_seq"""
    assert world.ask(gaps) == []
    early = """SELECT * FROM (
                   SELECT line, sequence, dispatched_at < lag(dispatched_at) OVER (PARTITION BY line ORDER BY sequence) AS is_early
                   FROM connections_domainevent) told WHERE is_early"""
    assert world.ask(early) == []


def assert_nothing_is_held(world: World) -> None:
    """No claim of a dead process is left that somebody would have to wait for."""
    held = """
        SELECT 'Item', item_id FROM connections_plaiditem WHERE lease_token IS NOT NULL
        UNION ALL SELECT 'run', id::text FROM sync_syncrun WHERE lease_token IS NOT NULL
        UNION ALL SELECT 'webhook', id::text FROM webhooks_webhookevent WHERE lease_token IS NOT NULL
        UNION ALL SELECT 'event', id::text FROM connections_domainevent WHERE lease_token IS NOT NULL
        UNION ALL SELECT 'key', route FROM connections_idempotencykey WHERE status = 'in_progress'
    """
    assert world.ask(held) == []
