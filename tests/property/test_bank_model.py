"""Whatever happens at a bank, in whatever order, and wherever a sync is cut short: once settled, we have what it has.

The model is the simulator's own truth. Pages are three records long, so that a handful of changes is a long update.
"""

from itertools import count

import pytest
from hypothesis import HealthCheck, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connections.providers.plaid import client
from sync.engine import Outcome
from sync.models import RunStatus, StagedPage, SyncRun, Transaction

pytestmark = pytest.mark.django_db(transaction=True)

numbers = st.integers(0, 30)
cents = st.integers(-99_999, 99_999).map(lambda value: value / 100)
STEPS = st.one_of(
    st.tuples(st.just("add"), cents),
    st.tuples(st.just("add_pending"), cents),
    st.tuples(st.just("modify"), numbers, cents),
    st.tuples(st.just("remove"), numbers),
    st.tuples(st.just("re_add"), numbers),
    st.tuples(st.just("post"), numbers),
    st.tuples(st.just("annotate"), numbers),
    st.tuples(st.just("sync")),
    st.tuples(st.just("cut_short")),
    st.tuples(st.just("mutation"), st.integers(0, 3)),
    st.tuples(st.just("provider_trouble"), st.integers(0, 3)),
    st.tuples(st.just("disown")),
    st.tuples(st.just("rename_account"), numbers),
    st.tuples(st.just("lose_stage")),
)


class World:
    """A bank, what was done to it, and what a user attached to it here."""

    def __init__(self, bank) -> None:
        self.bank = bank
        self.live: list[str] = []
        self.pending: list[str] = []
        self.gone: list[str] = []
        self.notes: dict[str, str] = {}
        self.posted_as: dict[str, str] = {}

    def do(self, step: tuple) -> None:
        note(str(step))
        getattr(self, step[0])(*step[1:])

    def _pick(self, ids: list[str], number: int) -> str | None:
        return ids[number % len(ids)] if ids else None

    def add(self, amount: float) -> None:
        self.live.append(self.bank.add(amount=amount, name=f"Shop {amount}"))

    def add_pending(self, amount: float) -> None:
        made = self.bank.add(amount=amount, name="Pending", pending=True)
        self.live.append(made)
        self.pending.append(made)

    def modify(self, number: int, amount: float) -> None:
        if some := self._pick(self.live, number):
            self.bank.ops({"op": "modify", "transaction_id": some, "fields": {"amount": amount}})

    def remove(self, number: int) -> None:
        if some := self._pick(self.live, number):
            self.bank.ops({"op": "remove", "transaction_id": some})
            self.live.remove(some)
            self.gone.append(some)
            if some in self.pending:
                self.pending.remove(some)

    def re_add(self, number: int) -> None:
        if some := self._pick(self.gone, number):
            self.bank.ops({"op": "re_add", "transaction_id": some})
            self.gone.remove(some)
            self.live.append(some)

    def post(self, number: int) -> None:
        if some := self._pick(self.pending, number):
            posted = next(
                i for i in self.bank.ops({"op": "post", "pending_transaction_id": some, "fields": {}}) if i != some
            )
            self.pending.remove(some)
            self.live.remove(some)
            self.live.append(posted)
            self.posted_as[some] = posted

    def annotate(self, number: int) -> None:
        """A user writes a note on a row that is here."""
        here = sorted(set(self.live) & set(self.bank.ours()))
        if some := self._pick(here, number):
            self.notes[some] = f"note on {some}"
            Transaction.objects.filter(external_id=some).update(note=self.notes[some])

    def sync(self) -> None:
        self.bank.sync()

    def cut_short(self) -> None:
        """A task that has to stop after its first page."""
        self.bank.sync(seconds=0)

    def mutation(self, skip: int) -> None:
        self.bank.fault("mutation", skip=skip, times=1)

    def provider_trouble(self, skip: int) -> None:
        self.bank.fault(
            "error", skip=skip, times=2, status=500, error_type="API_ERROR", error_code="INTERNAL_SERVER_ERROR"
        )

    def disown(self) -> None:
        self.bank.control("state", disown_cursors=True)

    def rename_account(self, number: int) -> None:
        """Account churn: its rows leave and come back under new ids, so what we knew by id is gone."""
        accounts = self.bank.simulator.control("GET", f"items/{self.bank.plaid_id}")["account_ids"]
        self.bank.control("state", rename_account=accounts[number % len(accounts)])
        truth = set(self.bank.truth())
        self.live = [i for i in self.live if i in truth] + sorted(truth - set(self.live))
        self.pending = [i for i in self.pending if i in truth]
        self.notes = {i: text for i, text in self.notes.items() if i in truth or i in self.posted_as}

    def lose_stage(self) -> None:
        """A database crash empties the unlogged table."""
        StagedPage.objects.all().delete()

    def settle(self) -> None:
        self.bank.simulator.control("DELETE", "faults")
        for _ in range(8):
            if self.bank.sync() == Outcome.SYNCED and not self.bank.item.is_dirty:
                return
        pytest.fail(f"it does not settle: {self.bank.run.status} {self.bank.run.errors}")

    def check(self) -> None:
        self.bank.assert_equal_to_source()
        runs = SyncRun.objects.filter(connection=self.bank.connection)
        assert all(run.ledger_balanced for run in runs)
        assert not runs.filter(status__in=[RunStatus.RUNNING, RunStatus.QUEUED]).exists()
        assert not StagedPage.objects.exists()
        for external_id, text in self.notes.items():
            carrier = external_id
            while carrier in self.posted_as:
                carrier = self.posted_as[carrier]
            row = Transaction.objects.filter(connection=self.bank.connection, external_id=carrier).first()
            assert row is None or row.archived or row.note, (external_id, carrier, text)


def hold(link, steps: list[tuple], *, raw_log: bool) -> None:
    world = World(link(transactions=4, raw_log=raw_log, seed=next(SEEDS)))
    world.live = sorted(world.bank.truth())
    for step in steps:
        world.do(step)
    world.settle()
    world.check()


SEEDS = count(1)
EXAMPLES = hypothesis_settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)


@pytest.fixture
def small_pages(monkeypatch, settings, simulator):
    """Once for all examples: each assignment to `settings` nests deeper."""
    settings.PLAID_SYNC_PER_ITEM_MINUTE = settings.PLAID_SYNC_PER_CLIENT_MINUTE = 10**6
    settings.PLAID_ACCOUNTS_PER_ITEM_MINUTE = 10**6
    settings.SYNC_RESTART_JITTER_S = 0
    settings.BACKOFF_BASE_S = settings.BACKOFF_MAX_S = 0.01
    monkeypatch.setattr(client, "PAGE_SIZE", 3)
    simulator.control("POST", "limits", {"enabled": False})


@pytest.mark.parametrize("raw_log", [False, True])
@hypothesis_settings(EXAMPLES, max_examples=150)
@given(steps=st.lists(STEPS, max_size=14))
def test_once_settled_we_have_what_the_bank_has(link, small_pages, raw_log, steps):
    hold(link, steps, raw_log=raw_log)


@pytest.mark.long
@pytest.mark.parametrize("raw_log", [False, True])
@hypothesis_settings(EXAMPLES, max_examples=1000)
@given(steps=st.lists(STEPS, max_size=25))
def test_once_settled_we_have_what_the_bank_has_at_length(link, small_pages, raw_log, steps):
    hold(link, steps, raw_log=raw_log)
