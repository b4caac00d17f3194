"""kill -9 of everything, again and again, over banks that do not stand still: nothing is lost, nothing is doubled.

CHAOS_SEED repeats a storm's choices (what they hit is up to the machine), CHAOS_KILLS makes it longer or shorter.
"""

import os
import random
import time
from collections import Counter
from statistics import median

import pytest

from config.processes import wait_until
from sync.models.run import RunStatus
from tests.chaos import banks as source
from tests.chaos import proofs
from tests.chaos.killer import SECOND, VICTIMS, WORKERS, Killer
from tests.chaos.world import TAKEOVER_LIMIT_S, World, counted

pytestmark = pytest.mark.chaos

SETTLE_LIMIT_S = 120
LARGE_PAGES = 13  # 6 500 transactions, 500 a page


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
        self.world.await_processes()
        assert wait_until(lambda: source.waiting_webhooks(self.world) == 0, 40, 0.3)
        for bank in self.banks:
            accepted = [*source.accepted_webhooks(self.world, bank), *(sent_at for sent_at, _ in bank.refreshes)]
            if max(accepted, default=0) < bank.changed_at:
                assert wait_until(lambda bank=bank: self.mover.refresh(bank), 60, 0.3)
        if not wait_until(lambda: proofs.is_settled(self.world), SETTLE_LIMIT_S, 0.3):
            pytest.fail(f"it does not settle: {proofs.unsettled(self.world)}")
        self.mover.collect()

    def summary(self) -> str:
        runs = self.world.ask("SELECT status, count(*) FROM sync_syncrun GROUP BY 1 ORDER BY 1")
        rows = self.world.ask("SELECT count(*), count(*) FILTER (WHERE archived) FROM sync_transaction")[0]
        accepted = sum(len(source.accepted_webhooks(self.world, bank)) for bank in self.banks)
        lines = {
            "seed": f"{self.seed}, {time.monotonic() - self.began:.0f} s",
            "kills": f"{self.killer.total}: " + counted(self.killer.kills),
            "moments": f"{counted(self.killer.hits)}; {self.killer.emptied} staged pages lost with it",
            "restarts": counted(self.world.restarts()),
            "takeovers": f"{counted(Counter(found.victim for found in self.killer.takeovers))}: {self._durations()}",
            "source": counted(self.mover.done),
            "accepted": f"{accepted} webhooks; refreshes by answer: {counted(self.mover.answers)}",
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


def assert_all_is_well(storm: Storm) -> None:
    for bank in storm.banks:
        proofs.assert_equal_to_source(storm.world, bank)
        proofs.assert_tombstones_tell_of_what_was_removed(storm.world, bank)
        proofs.assert_nothing_is_doubled(storm.world, bank)
        proofs.assert_runs_ended_balanced(storm.world, bank)
        proofs.assert_cursor_is_at_the_head(storm.world, bank)
        proofs.assert_notes_are_kept(storm.world, bank)
        proofs.assert_accepted_news_were_acted_upon(storm.world, bank)
    proofs.assert_every_claim_was_free(storm.world)
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
