"""kill -9 of everything while webhooks pour in: what was answered 200 is acted upon, and nothing is lost or doubled.

A bank is in the news for a while, then never again: its last webhook comes while others are still being killed for, so
that no later one could make good what was lost. CHAOS_SEED repeats a storm's choices.
"""

import hashlib
import json
import os
import random
import time
from collections import Counter
from contextlib import AbstractContextManager
from statistics import quantiles

import pytest

from config.processes import wait_until
from tests.chaos import banks as source
from tests.chaos import proofs
from tests.chaos.killer import HOW, VICTIMS, Killer
from tests.chaos.link_tokens import LinkTokens
from tests.chaos.pour import ACCOUNTS, ASIDE, PATIENCE_S, SECRET, UPDATES, Pour, Told
from tests.chaos.world import World, counted

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.parametrize("world", [{"PLAID_WEBHOOK_SECRET": SECRET}], indirect=True, ids=["relay"]),
]

SETTLE_LIMIT_S = 120
SIZES = (60, 120, 900, 60, 1_300, 120)
IN_THE_NEWS = 4  # how many banks at once
HELD_S = 1  # how long a worker's run takes at least, between its reading and its end
OUTAGE_SHARE = 0.05  # of all webhooks, in each outage of the broker


class WebhookStorm:
    """One storm over one world, told by its seed: waves of webhooks, and somebody dies in each."""

    def __init__(
        self, world: World, *, webhooks: int, victims: list[str], banks: int, outages: list[str], breath_s: float
    ) -> None:
        self.seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
        print(f"CHAOS_SEED={self.seed}")  # pytest shows it where the test fails
        self.world, self.began = world, time.monotonic()
        self.rng = random.Random(self.seed)
        self.victims, self.outages, self.breath_s = victims, outages, breath_s
        self.rng.shuffle(self.victims)
        self.in_outages = round(webhooks * OUTAGE_SHARE)
        self.webhooks = webhooks - self.in_outages * len(outages)
        self.killer = Killer(world, random.Random(self.seed + 1))
        self.pour = Pour(world, random.Random(self.seed + 2))
        self.link_tokens = LinkTokens(world)
        self.banks = [self._link(number) for number in range(banks + len(outages))]
        self.stormed, self.spared = self.banks[:banks], self.banks[banks:]  # one of the spared for each outage
        self.mover = source.Mover(world, self.banks, random.Random(self.seed + 3))
        self.returns: list[str] = []  # how long after the broker's return all was done

    def _link(self, number: int) -> source.Bank:
        size = SIZES[number % len(SIZES)]
        return source.link(self.world, f"bank {number}", seed=self.seed % 1000 + number, transactions=size)

    # --- the story ---
    def rage(self) -> None:
        self.pour.start()
        self.link_tokens.start()
        try:
            for number, victim in enumerate(self.victims):
                self.wave(number)
                self.strike(victim)
            self.leave(self.stormed[-1])
            for outage, bank in zip(self.outages, self.spared, strict=True):
                self.lose_broker(outage, bank)
            self.settle()
        finally:
            self.pour.stop()
            self.link_tokens.stop()

    def wave(self, number: int) -> None:
        """Some banks leave the news; changes at others, and their webhooks."""
        waves, count = len(self.victims), len(self.stormed)
        leave_with = {bank.name: (place + 1) * waves // (count + 1) for place, bank in enumerate(self.stormed)}
        leave_with[self.stormed[-1].name] = waves
        for bank in self.stormed:
            if leave_with[bank.name] == number:
                self.leave(bank)
        in_the_news = [bank for bank in self.stormed if leave_with[bank.name] > number][:IN_THE_NEWS]
        self._live(in_the_news)
        share = self.webhooks * (number + 1) // waves - self.webhooks * number // waves
        self.pour.offer(in_the_news, share)

    def leave(self, bank: source.Bank) -> None:
        """Its last change and its last webhook come, where that can be had, when a worker has read it and is not done yet.

        Nothing that comes later may hide that they were lost, so the run is left in peace for as long as it takes.
        """
        wait_until(lambda: self.pour.is_dry, self.breath_s)
        slow = {"path": "/accounts/get", "item_id": bank.plaid_id, "kind": "latency", "seconds": HELD_S}
        fault = self.world.simulator.control("POST", "faults", slow)["id"]
        self.pour.tell(bank, ACCOUNTS)  # once that is processed, accounts are read after the transactions
        is_read = wait_until(lambda: self._is_hit(fault), self.breath_s)
        self.killer.hits["last news in the middle of a run"] += is_read
        self.mover.alter(bank)
        self.pour.tell(bank, UPDATES)
        time.sleep(HELD_S if is_read else 0)

    def _is_hit(self, fault: int) -> bool:
        listed = self.world.simulator.control("GET", "faults")["faults"]
        return any(one["id"] == fault and one["hits"] for one in listed)

    def _live(self, banks: list[source.Bank]) -> None:
        for place, bank in enumerate(banks):
            if self.rng.random() < 0.05:
                self.mover.burst(bank, is_announced=False)
            self.mover.alter(bank)
            if self.rng.random() < 0.2:
                self.mover.trouble(bank)
            if self.rng.random() < 0.3:
                self.mover.annotate(bank)
            if self.rng.random() < 0.3 and place > 1:  # what comes late must not come after the last
                self._let_the_source_tell(bank)
        self.mover.collect()

    def _let_the_source_tell(self, bank: source.Bank) -> None:
        """By the provider's own ways, which go wrong, too."""
        fault = self.rng.choice(({"kind": "duplicate", "copies": 2}, {"kind": "late", "seconds": 2}))
        self.world.simulator.control("POST", "faults", {"path": "webhook", "item_id": bank.plaid_id} | fault)
        self.mover.change(bank)

    def strike(self, victim: str) -> None:
        """In the middle of the wave, as far as anybody can tell."""
        time.sleep(self.rng.uniform(0, 0.4))
        self.killer.hits[f"{victim} with requests under way"] += self.pour.under_way > 0
        how = self.rng.choice(HOW[victim])
        if victim == "postgres":
            self.killer.crash_postgres(how)
        else:
            self.killer.kill(victim, how)

    # --- the broker ---
    def lose_broker(self, name: str, bank: source.Bank) -> None:
        """While everybody else is well: each webhook is answered at once, and all is done after the return."""
        self.calm_down()
        away: dict[str, AbstractContextManager] = {
            "kept down": self.killer.broker_kept_down(),
            "stopped": self.killer.broker_stopped(),
            "wiped": self.killer.broker_wiped(),
        }
        with away[name]:
            self._pour_through(bank, f"broker {name}", self.in_outages)
            if name == "kept down":
                self._lose_web_too(bank)
            self.pour.moment = "storm"
        back_at = time.monotonic()
        assert wait_until(lambda: proofs.is_settled(self.world), SETTLE_LIMIT_S, 0.2), proofs.unsettled(self.world)
        self.returns.append(f"{name}: all done {time.monotonic() - back_at:.1f} s after")

    def _lose_web_too(self, bank: source.Bank) -> None:
        """While the supervisor tries in vain to start the broker."""
        tried = self.killer.kills["valkey"]
        assert wait_until(lambda: self.killer.kills["valkey"] > tried, 60)
        self.killer.kill("web")
        self._pour_through(bank, "web killed as well", self.in_outages // 4)

    def _pour_through(self, bank: source.Bank, moment: str, count: int) -> None:
        self.pour.moment = moment
        self.pour.offer([bank], count)
        self.mover.alter(bank)
        self.pour.tell(bank, UPDATES)
        assert wait_until(lambda: self.pour.is_dry, 60, 0.05), f"not all webhooks are answered: {moment}"

    def calm_down(self) -> None:
        """Everything runs, and whatever was offered is accepted."""
        self.world.simulator.control("DELETE", "faults")
        self.world.await_processes()
        assert wait_until(self.world.is_ready, 60, 0.3)
        assert wait_until(lambda: self.pour.is_dry, 90, 0.1), "not all webhooks are accepted"

    # --- afterwards ---
    def settle(self) -> None:
        self.calm_down()
        assert wait_until(lambda: source.waiting_webhooks(self.world) == 0, 60, 0.3)
        if not wait_until(lambda: proofs.is_settled(self.world), SETTLE_LIMIT_S, 0.3):
            pytest.fail(f"it does not settle: {proofs.unsettled(self.world)}")
        self.mover.collect()

    @property
    def accepted(self) -> list[Told]:
        return [told for told in self.pour.told if told.status == 200]

    def summary(self) -> str:
        answers = Counter(str(told.status or "no answer") for told in self.pour.told)
        duplicates = sum(told.answer["status"] == "duplicate" for told in self.accepted)
        events = self.world.ask(
            "SELECT status, count(*), sum(deliveries) FROM webhooks_webhookevent GROUP BY 1 ORDER BY 1"
        )
        runs = self.world.ask("SELECT status, count(*) FROM sync_syncrun GROUP BY 1 ORDER BY 1")
        told = self.world.ask("SELECT count(*) FROM connections_domainevent")[0][0]
        lines = {
            "seed": f"{self.seed}, {time.monotonic() - self.began:.0f} s",
            "kills": f"{self.killer.total}: {counted(self.killer.kills)}",
            "moments": counted(self.killer.hits),
            "restarts": counted(self.world.restarts()),
            "offered": counted(self.pour.counts),
            "answers": f"{counted(answers)}; of those accepted {duplicates} were duplicates",
            "inbox": ", ".join(f"{status} {count} ({deliveries} deliveries)" for status, count, deliveries in events),
            "runs": ", ".join(f"{status} {count}" for status, count in runs),
            "outbox": f"{told} events; link tokens given once: {len(self.link_tokens.given)}",
            **{moment: _spread([one.took_s for one in told]) for moment, told in self._by_moment().items()},
            "to claim": _spread(_waits_until_claim(self.world)),
            "returns": ", ".join(self.returns),
        }
        return "\n".join(f"{name:<10} {text}" for name, text in lines.items())

    def _by_moment(self) -> dict[str, list[Told]]:
        return {
            moment: [told for told in self.accepted if told.moment == moment]
            for moment in sorted({told.moment for told in self.accepted})
        }


def _spread(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{len(seconds)}"
    cuts = quantiles(seconds, n=100, method="inclusive")
    figures = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "longest": max(seconds)}
    return f"{len(seconds)}: " + ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in figures.items())


def _waits_until_claim(world: World) -> list[float]:
    query = """SELECT extract(epoch FROM (
                   SELECT min(l.at) FROM chaos.lease l
                   WHERE l.item_id = e.item_id AND l.token IS NOT NULL AND NOT l.has_moved AND l.at >= e.received_at
               ) - e.received_at)::float8 FROM webhooks_webhookevent e WHERE e.code = %s"""
    return [waited for (waited,) in world.ask(query, UPDATES[1]) if waited is not None]


# --- what must hold --------------------------------------------------------------------------------------------------


def assert_every_accepted_webhook_is_kept(storm: WebhookStorm) -> None:
    """Under the id that it was answered with, as what it is; and no delivery made two rows, nor a row that nobody sent."""
    rows = {
        row[0]: row[1:]
        for row in storm.world.ask("SELECT id::text, dedupe_key, deliveries, body FROM webhooks_webhookevent")
    }
    assert [told for told in storm.accepted if told.answer["id"] not in rows] == []
    accepted, possible = Counter[str](), Counter[str]()
    for told in storm.pour.told:
        keys = told.signed.keys(told.sent_at, told.answered_at)
        possible.update(keys)
        if told.status == 200:
            kept_as = rows[told.answer["id"]][0]
            assert kept_as in keys
            accepted[kept_as] += 1
    by_the_source = _digests_of_the_source(storm.world)
    for key, deliveries, body in rows.values():
        if key in possible:
            assert accepted[key] <= deliveries <= possible[key]
        else:
            assert hashlib.sha256(bytes(body)).hexdigest() in by_the_source
    new = Counter(told.answer["id"] for told in storm.accepted if told.answer["status"] == "received")
    assert [event for event, times in new.items() if times > 1] == []


def _digests_of_the_source(world: World) -> set[str]:
    sent = world.simulator.control("GET", "webhooks")["webhooks"]
    return {hashlib.sha256(json.dumps(one["body"], indent=2, ensure_ascii=False).encode()).hexdigest() for one in sent}


def assert_every_event_ended(storm: WebhookStorm) -> None:
    """Processed, or ignored with a reason; and only what there is nothing to do about is ignored."""
    query = "SELECT event_type, code, status, note FROM webhooks_webhookevent WHERE {}"
    assert (
        storm.world.ask(query.format("status NOT IN ('processed', 'ignored') OR note = '' OR processed_at IS NULL"))
        == []
    )
    idle = {("TRANSACTIONS", "TRANSACTIONS_REMOVED"), ("TRANSFER", "NEVER_HEARD_OF")}
    legacy = {("TRANSACTIONS", f"{name}_UPDATE") for name in ("INITIAL", "HISTORICAL", "DEFAULT")}
    ignored = {(kind, code) for kind, code, _, _ in storm.world.ask(query.format("status = 'ignored'"))}
    assert idle <= ignored <= idle | legacy
    assert {told.signed.kind for told in storm.accepted} == {UPDATES, *ASIDE}


def assert_every_bank_was_read_after_its_last_news(storm: WebhookStorm) -> None:
    received = dict(
        storm.world.ask("SELECT id::text, extract(epoch FROM last_received_at)::float8 FROM webhooks_webhookevent")
    )
    synced = dict(
        storm.world.ask("SELECT item_id, extract(epoch FROM last_synced_at)::float8 FROM connections_plaiditem")
    )
    for bank in storm.banks:
        news = [told for told in storm.accepted if told.signed.kind == UPDATES and told.signed.item_id == bank.plaid_id]
        assert news
        latest = max(
            max(told.sent_at, received[told.answer["id"]]) if told.answer["status"] == "received" else told.sent_at
            for told in news
        )
        assert bank.changed_at <= latest
        assert max(bank.calls) >= latest
        assert synced[bank.plaid_id] >= latest


def assert_no_answer_waited_for_the_broker(storm: WebhookStorm) -> None:
    """With everybody else well, each webhook is accepted at its first attempt, within what Plaid waits."""
    for name in storm.outages:
        told = [one for one in storm.pour.told if one.moment == f"broker {name}"]
        assert len(told) >= storm.in_outages
        assert [(one.status, one.answer) for one in told if one.status != 200] == []
        assert max(one.took_s for one in told) < PATIENCE_S


def assert_all_is_well(storm: WebhookStorm) -> None:
    assert_no_answer_waited_for_the_broker(storm)
    assert_every_accepted_webhook_is_kept(storm)
    assert_every_event_ended(storm)
    assert_every_bank_was_read_after_its_last_news(storm)
    for bank in storm.banks:
        proofs.assert_equal_to_source(storm.world, bank)
        proofs.assert_tombstones_tell_of_what_was_removed(storm.world, bank)
        proofs.assert_nothing_is_doubled(storm.world, bank)
        proofs.assert_runs_ended_balanced(storm.world, bank)
        proofs.assert_cursor_is_at_the_head(storm.world, bank)
        proofs.assert_notes_are_kept(storm.world, bank)
        proofs.assert_accepted_news_were_acted_upon(storm.world, bank)
    proofs.assert_every_claim_was_free(storm.world)
    proofs.assert_outbox_is_drained(storm.world)
    proofs.assert_nothing_is_held(storm.world)
    storm.link_tokens.assert_given_once()
    assert storm.killer.kept == []


def test_webhooks_accepted_among_kills_are_all_acted_upon(world, record_property):
    storm = WebhookStorm(
        world, webhooks=400, victims=list(VICTIMS), banks=5, outages=["kept down", "stopped", "wiped"], breath_s=2.5
    )
    storm.rage()
    record_property("summary", storm.summary())
    print(storm.summary())
    assert_all_is_well(storm)


@pytest.mark.long
def test_five_thousand_webhooks_accepted_among_kills_are_all_acted_upon(world, record_property):
    victims = [*VICTIMS * 8, *["valkey"] * 14]
    outages = ["kept down", "stopped", "wiped", "kept down"]
    storm = WebhookStorm(world, webhooks=5_000, victims=victims, banks=24, outages=outages, breath_s=10)
    storm.rage()
    record_property("summary", storm.summary())
    print(storm.summary())
    assert_all_is_well(storm)
    assert storm.killer.kills["valkey"] >= 20
    assert storm.killer.hits["last news in the middle of a run"] >= 5
    assert storm.pour.counts.total() >= 5_000
