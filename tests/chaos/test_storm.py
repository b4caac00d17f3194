"""kill -9 of everything, again and again, over banks that do not stand still: nothing is lost, nothing is doubled.

CHAOS_SEED repeats a storm's choices (what they hit is up to the machine), CHAOS_KILLS makes it longer or shorter.
"""

import os
import random
import re
import time
from collections import Counter
from statistics import median

import pytest

from config.processes import wait_until
from sync.models.run import RunStatus
from tests import plugin
from tests.chaos import banks as source
from tests.chaos.killer import SECOND, VICTIMS, WORKERS, Killer
from tests.chaos.world import TAKEOVER_LIMIT_S, World

pytestmark = pytest.mark.chaos

SETTLE_LIMIT_S = 120
LARGE_PAGES = 13  # 6 500 transactions, 500 a page
PROCESSES = ("postgres", "valkey", "web", "worker", "worker-large", "beat", SECOND)


@pytest.fixture
def world(request):
    made = World(plugin.HOME / f"chaos-{plugin.WORKER or 'main'}-{time.monotonic_ns()}")
    try:
        made.start()
        yield made
    finally:
        made.end()


class Storm:
    """One storm over one world, told by its seed."""

    def __init__(self, world: World, *, kills: int, limit_s: float) -> None:
        self.seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
        self.kills, self.limit_s = int(os.environ.get("CHAOS_KILLS") or kills), limit_s
        print(f"CHAOS_SEED={self.seed} CHAOS_KILLS={self.kills}")  # pytest shows it where the test fails
        self.rng = random.Random(self.seed)
        self.world, self.began = world, time.monotonic()
        self.killer = Killer(world, random.Random(self.seed + 1))
        self.banks: list[source.Bank] = []

    # --- the story ---
    def rage(self) -> None:
        large = self._link("large", {"kind": "latency", "seconds": 0.4, "times": 1000})
        self.crash_between_two_staged_pages(large)
        for name in ("single page", "small", "middle"):
            self._link(name, {"kind": "latency", "seconds": 0.2, "times": 6})
        self.mover = source.Mover(self.world, self.banks, random.Random(self.seed + 2))
        self.mover.start()
        try:
            self._strike_until_done()
        finally:
            self.mover.stop()
        self.settle()

    def _link(self, name: str, *faults: dict) -> source.Bank:
        self.banks.append(source.link(self.world, name, seed=self.seed % 1000 + len(self.banks), faults=faults))
        return self.banks[-1]

    def crash_between_two_staged_pages(self, bank: source.Bank) -> None:
        """PostgreSQL dies with some pages staged and others to come: the stage is empty then, and the loop starts again."""
        query = "SELECT id, page_count FROM sync_syncrun WHERE connection_id = %s AND status = 'running' AND page_count >= 2"
        assert wait_until(lambda: self.world.answers(query, bank.connection_id), 40, 0.02)
        run, pages = self.world.ask(query, bank.connection_id)[0]
        calls = self.world.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"][-1]["seq"]
        self.killer.crash_postgres("all")
        self.world.simulator.control("DELETE", "faults")
        assert self.killer.emptied >= pages >= 2
        assert wait_until(lambda: self._is_synced(bank), 60)
        log = self.world.simulator.control("GET", f"log?item_id={bank.plaid_id}&after={calls}")["requests"]
        assert sum(row["path"] == source.SYNC and row["status"] == 200 for row in log) >= LARGE_PAGES
        query = "SELECT id, status, page_count, restarts, records_created FROM sync_syncrun WHERE connection_id = %s"
        found = self.world.ask(query, bank.connection_id)
        assert found == [(run, RunStatus.SUCCEEDED, LARGE_PAGES, 0, source.SIZES[bank.name])]
        assert source.ours(self.world, bank) == source.truth(self.world, bank)

    def _strike_until_done(self) -> None:
        deadline = time.monotonic() + self.limit_s
        self._take_over_for_sure()
        while self.killer.total < self.kills:
            round_of_victims = list(VICTIMS)
            self.rng.shuffle(round_of_victims)
            for victim in round_of_victims[: self.kills - self.killer.total]:
                self.killer.strike(victim)
                if time.monotonic() > deadline:
                    return
            if self.rng.random() < 0.5:
                self.killer.stall(self.rng.choice(("worker", SECOND)))

    def _take_over_for_sure(self) -> None:
        """Whole replays, slow to come, keep the workers busy: one of them soon holds a claim to die with."""
        slow = {"path": source.SYNC, "kind": "latency", "seconds": 0.3, "times": 40}
        for _ in range(8):
            for bank in self.banks:
                self.world.simulator.control("POST", "faults", slow | {"item_id": bank.plaid_id})
                self.mover.disown(bank)
            self.killer.measure(*WORKERS, patience_s=20)
            if self.killer.takeovers:
                return

    def _is_synced(self, bank: source.Bank) -> bool:
        query = """SELECT FROM connections_plaiditem WHERE item_id = %s
                   AND dirty_seq = synced_seq AND lease_token IS NULL"""
        return self.world.answers(query, bank.plaid_id)

    # --- afterwards ---
    def settle(self) -> None:
        """No more kills, no more changes; news that nobody could tell us are told now, and only those."""
        self.world.simulator.control("DELETE", "faults")
        self.world.revive_second()
        assert wait_until(lambda: all(self.world.main(name) for name in PROCESSES), 60), "not all were started again"
        assert wait_until(lambda: source.waiting_webhooks(self.world) == 0, 40, 0.3)
        for bank in self.banks:
            accepted = [*source.accepted_webhooks(self.world, bank), *(sent_at for sent_at, _ in bank.refreshes)]
            if max(accepted, default=0) < bank.changed_at:
                assert wait_until(lambda bank=bank: self.mover.refresh(bank), 60, 0.3)
        if not wait_until(self._is_settled, SETTLE_LIMIT_S, 0.3):
            pytest.fail(f"it does not settle: {self._unsettled()}")
        self.mover.collect()

    def _is_settled(self) -> bool:
        open_work = """
            SELECT FROM connections_plaiditem WHERE dirty_seq > synced_seq OR lease_token IS NOT NULL
            UNION ALL SELECT FROM sync_syncrun WHERE status IN ('running', 'queued')
            UNION ALL SELECT FROM webhooks_webhookevent WHERE status = 'received'
        """
        return self.world.answers("SELECT 1") and not self.world.answers(open_work)

    def _unsettled(self) -> list[tuple]:
        return self.world.ask(
            """SELECT i.item_id, dirty_seq, synced_seq, lease_expires_at, offered_until, is_large, c.status, c.next_attempt_at,
                      (SELECT jsonb_agg(jsonb_build_array(r.status, r.page_count, r.errors)) FROM sync_syncrun r
                       WHERE r.connection_id = c.id AND r.status IN ('running', 'queued'))
               FROM connections_plaiditem i JOIN connections_connection c ON c.id = i.connection_id"""
        )

    def summary(self) -> str:
        screen = self.world.installation.screen()
        restarts = Counter(re.findall(r"\| (\S+) (?:was ended|ended|is gone).*starts again", screen))
        runs = self.world.ask("SELECT status, count(*) FROM sync_syncrun GROUP BY 1 ORDER BY 1")
        rows = self.world.ask("SELECT count(*), count(*) FILTER (WHERE archived) FROM sync_transaction")[0]
        accepted = sum(len(source.accepted_webhooks(self.world, bank)) for bank in self.banks)
        lines = {
            "seed": f"{self.seed}, {time.monotonic() - self.began:.0f} s",
            "kills": f"{self.killer.total}: " + _counted(self.killer.kills),
            "moments": f"{_counted(self.killer.hits)}; {self.killer.emptied} staged pages lost with it",
            "restarts": f"{_counted(restarts)}, {SECOND} {self.world.second_starts - 1}",
            "takeovers": f"{_counted(Counter(found.victim for found in self.killer.takeovers))}: {self._durations()}",
            "source": _counted(self.mover.done),
            "accepted": f"{accepted} webhooks; refreshes by answer: {_counted(self.mover.answers)}",
            "runs": ", ".join(f"{status} {count}" for status, count in runs),
            "rows": f"{rows[0]}, of them {rows[1]} tombstones",
        }
        return "\n".join(f"{name:<10} {text}" for name, text in lines.items())

    def _durations(self) -> str:
        seconds = sorted(found.seconds for found in self.killer.takeovers if found.seconds is not None)
        if not seconds:
            return "none"
        heaviest = max(found.load for found in self.killer.takeovers)
        longest = (
            f"longest {seconds[-1]:.1f} s, limit {TAKEOVER_LIMIT_S} s, at most {heaviest:.1f} processes for a core"
        )
        return f"median {median(seconds):.1f} s, {longest}"


def _counted(what: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(what.items(), key=str))


# --- what must hold --------------------------------------------------------------------------------------------------


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


def assert_all_is_well(storm: Storm) -> None:
    for bank in storm.banks:
        assert_equal_to_source(storm.world, bank)
        assert_tombstones_tell_of_what_was_removed(storm.world, bank)
        assert_nothing_is_doubled(storm.world, bank)
        assert_runs_ended_balanced(storm.world, bank)
        assert_cursor_is_at_the_head(storm.world, bank)
        assert_notes_are_kept(storm.world, bank)
        assert_accepted_news_were_acted_upon(storm.world, bank)
    assert_every_claim_was_free(storm.world)
    assert storm.killer.kept == []


def assert_taken_over_in_time(storm: Storm, *, at_least: int) -> None:
    assert [found for found in storm.killer.takeovers if found.is_late] == []
    assert len(storm.killer.takeovers) >= at_least


def test_a_storm_of_kills_loses_and_doubles_nothing(world, record_property):
    storm = Storm(world, kills=14, limit_s=60)  # a machine that others keep busy gets fewer of them
    storm.rage()
    record_property("summary", storm.summary())
    print(storm.summary())
    assert_all_is_well(storm)
    assert_taken_over_in_time(storm, at_least=1)


@pytest.mark.long
def test_two_hundred_kills_lose_and_double_nothing(world, record_property):
    storm = Storm(world, kills=200, limit_s=3000)
    storm.rage()
    record_property("summary", storm.summary())
    print(storm.summary())
    assert_all_is_well(storm)
    assert_taken_over_in_time(storm, at_least=10)
    assert storm.killer.total == storm.kills
