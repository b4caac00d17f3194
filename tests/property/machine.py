"""Everything that can happen between a bank, a user and the syncs, as rules that Hypothesis strings together."""

from collections import Counter
from decimal import Decimal
from typing import Any

from django.utils import timezone
from hypothesis import currently_in_test_context, event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from connections.models import PlaidItem, PlaidItemAccount
from connections.services.plaid_items import credential_of
from sync import leases
from sync.claimed_run import run_open
from sync.engine import Outcome
from sync.models import RunStatus, StagedPage, SyncRun, Transaction
from tests.conftest import call
from tests.property.reference import Reader, Wire
from tests.sync.conftest import Bank

PAGE_SIZE = 3  # a handful of changes is a long update
READINESS = ("not_ready", "initial", "historical")
FACTS = ("account_id", "amount", "date", "name", "pending", "pending_transaction_id")
numbers = st.integers(0, 30)
cents = st.integers(-99_999, 99_999).map(lambda value: value / 100)


class BankMachine(RuleBasedStateMachine):
    """A bank at the simulator, our copy of it, and the reference reader's. Equal after every turn of a worker.

    link: the fixture. raw_log: the bank tells every change, also what came and went. ready: where its data begins.
    seen: counts what really had an effect, over all sequences.
    """

    def __init__(self, link: Any, seen: Counter[str], *, raw_log: bool, ready: str) -> None:
        super().__init__()
        self.link, self.seen, self.raw_log, self.ready = link, seen, raw_log, ready
        self.bank: Bank
        self.reader = Reader()
        self.removed: list[str] = []  # by the bank, and nothing else took their place
        self.served: set[str] = set()  # on pages of loops that were aborted
        self.withdrawn: set[str] = set()
        self.posted: dict[str, str] = {}  # since the last sync
        self.names = 0

    def saw(self, what: str, times: int = 1) -> None:
        if times:
            self.seen[what] += times
            if currently_in_test_context():
                event(what)

    # --- the bank ---
    @initialize(is_synced=st.booleans())
    def begin(self, is_synced: bool) -> None:
        self.bank = self.link(transactions=9, raw_log=self.raw_log, ready=self.ready, seed=1)
        if is_synced:
            self.sync()

    def source(self) -> dict[str, Wire]:
        """Transaction id → row, as it is at the bank."""
        answer = self.bank.simulator.control("GET", f"items/{self.bank.plaid_id}/truth?limit=10000")
        return {row["transaction_id"]: row for row in answer["transactions"]}

    def pick(self, number: int, **wanted: Any) -> str | None:
        rows = [k for k, row in self.source().items() if all(row[name] == value for name, value in wanted.items())]
        return rows[number % len(rows)] if rows else None

    @rule(amounts=st.lists(cents, min_size=1, max_size=7), pending=st.booleans())
    def add(self, amounts: list[float], pending: bool) -> None:
        self._add(amounts, pending=pending)

    def _add(self, amounts: list[float], *, pending: bool = False) -> list[str]:
        made = []
        for amount in amounts:
            self.names += 1  # no two purchases are alike, so that it is certain which row continues which
            made.append(
                {"op": "add", "transaction": {"amount": amount, "name": f"Shop {self.names}", "pending": pending}}
            )
        return self.bank.ops(*made)

    @rule(number=numbers, amount=cents)
    def modify(self, number: int, amount: float) -> None:
        if some := self.pick(number):
            self.bank.ops({"op": "modify", "transaction_id": some, "fields": {"amount": amount}})

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        if some := self.pick(number):
            self._remove(some)

    def _remove(self, some: str) -> None:
        self.bank.ops({"op": "remove", "transaction_id": some})
        self.removed.append(some)

    @precondition(lambda self: self.removed)
    @rule(number=numbers)
    def re_add(self, number: int) -> None:
        some = self.removed.pop(number % len(self.removed))
        self.bank.ops({"op": "re_add", "transaction_id": some})
        self.withdrawn.discard(some)
        self.saw("a removed row came back", some in self.reader.rows)

    @rule(
        number=numbers,
        others=st.integers(0, 3),
        order=st.sampled_from(["removed_first", "added_first"]),
        is_noted=st.booleans(),
    )
    def post(self, number: int, others: int, order: str, is_noted: bool) -> None:
        """A pending row is replaced by a posted one; others arrive before, so that the two may fall on two pages."""
        some = self.pick(number, pending=True) or self._add([4.5], pending=True)[0]
        if is_noted:
            self._see_and_annotate(some)
        if others:
            self._add([1.5] * others)
        made = self.bank.ops({"op": "post", "pending_transaction_id": some, "fields": {}, "order": order})
        self.posted[some] = next(key for key in made if key != some)

    @rule(number=numbers, is_noted=st.booleans())
    def replace(self, number: int, is_noted: bool) -> None:
        """Transaction churn: a row leaves and comes back under a new id."""
        if some := self.pick(number):
            if is_noted:
                self._see_and_annotate(some)
            row = self.source()[some]
            fields = {name: row[name] for name in FACTS} | {"amount": float(row["amount"])}
            self.bank.ops({"op": "remove", "transaction_id": some}, {"op": "add", "transaction": fields})

    @rule(number=numbers)
    def rename_account(self, number: int) -> None:
        """Account churn: its rows leave and come back under new ids."""
        accounts = self.bank.simulator.control("GET", f"items/{self.bank.plaid_id}")["account_ids"]
        self.bank.control("state", rename_account=accounts[number % len(accounts)])
        self.saw("an account churned")

    @rule()
    def more_arrives(self) -> None:
        ready = self.bank.simulator.control("GET", f"items/{self.bank.plaid_id}")["ready"]
        if ready != READINESS[-1]:
            self.bank.control("state", ready=READINESS[READINESS.index(ready) + 1])
            self.saw(f"{ready} ended after a sync", bool(self.bank.item.last_synced_at))

    @rule()
    def disown(self) -> None:
        self.bank.control("state", disown_cursors=True)

    @rule(number=numbers, how=st.sampled_from(["cut short", "failed"]))
    def tell_and_withdraw(self, number: int, how: str) -> None:
        """The bank takes back what it told on a page of a loop that never came to its end."""
        self._add([2.5] * (PAGE_SIZE + 1))
        self.cut_short() if how == "cut short" else self.fail_on_the_second_page()
        told = sorted(self.served & self.source().keys())
        if told:
            some = told[number % len(told)]
            self._remove(some)
            self.withdrawn.add(some)

    # --- the user ---
    @rule(number=numbers, note=st.sampled_from(["mine", "hers", ""]), category=st.sampled_from(["", "travel"]))
    def annotate(self, number: int, note: str, category: str) -> None:
        """On any row that is shown here, also where the bank has moved on."""
        here = sorted(self.reader.live)
        if here:
            self._attach(here[number % len(here)], note, category)

    def _see_and_annotate(self, some: str) -> None:
        if some not in self.reader.live:
            self._turn()
        if some in self.reader.live:
            self._attach(some, "seen", "food")

    def _attach(self, some: str, note: str, category: str) -> None:
        shown = note and f"{note} {some}"
        self.reader.rows[some].attached = (shown, category)
        self._ours().filter(external_id=some).update(note=shown, user_category=category)

    # --- what goes wrong ---
    @rule(skip=st.integers(0, 3))
    def mutation(self, skip: int) -> None:
        self.bank.fault("mutation", skip=skip, times=1)

    @rule(skip=st.integers(0, 3), times=st.integers(1, 2))
    def provider_trouble(self, skip: int, times: int) -> None:
        options = {"status": 500, "error_type": "API_ERROR", "error_code": "INTERNAL_SERVER_ERROR"}
        self.bank.fault("error", skip=skip, times=times, **options)

    @precondition(lambda self: StagedPage.objects.exists())
    @rule()
    def lose_stage(self) -> None:
        """A database crash empties the unlogged table."""
        StagedPage.objects.all().delete()
        self.saw("the stage was lost")

    @precondition(lambda self: StagedPage.objects.exists())
    @rule()
    def worker_dies(self) -> None:
        """Another worker takes the run over and is never heard of again."""
        self.bank.dirty()
        held = leases.claim(self.bank.item.pk)
        if held and run_open(held):
            PlaidItem.objects.filter(pk=held.item_id).update(lease_expires_at=timezone.now())
            self.saw("a worker died holding the run")

    # --- the worker ---
    @rule()
    def sync(self) -> None:
        self._turn()

    @rule()
    def cut_short(self) -> None:
        """A task that has to stop after its first page."""
        self._turn(seconds=0)

    @rule()
    def fail_on_the_second_page(self) -> None:
        self.bank.simulator.control("DELETE", "faults")
        _status, first = self._ask(self.bank.item.cursor)  # no page where the cursor is disowned
        self.provider_trouble(skip=1, times=1)
        if self._turn() == Outcome.FAILED:
            self.served |= {row["transaction_id"] for row in first.get("added", [])} - self.reader.rows.keys()

    def _turn(self, **options: Any) -> Outcome:
        before = self.bank.item.cursor
        outcome = self.bank.sync(**options)
        if outcome == Outcome.SYNCED:
            self._settled()
        else:
            self.saw(f"a turn {outcome}")
            assert self.bank.item.cursor == before
            self._remember_served()
        self._assert_copies_are_equal()
        return outcome

    def _settled(self) -> None:
        """Let the reference reader read what the run has read, and hold the run against it."""
        self.bank.simulator.control("DELETE", "faults")
        run = self.bank.run
        has_synced_before = (
            SyncRun.objects.filter(connection=self.bank.connection, status=RunStatus.SUCCEEDED).count() > 1
        )
        pages = self._pages(run.first_cursor)
        followed = Counter(self.reader.followed)
        ledger = self.reader.read(pages, is_replay=run.first_cursor == "" and has_synced_before)
        for name in ("fetched", "created", "updated", "unchanged", "removed", "skipped", "parked", "failed"):
            assert getattr(run, f"records_{name}") == ledger[name], (name, ledger)
        assert run.ledger_balanced
        assert self.reader.live.keys() - self.reader.in_doubt == self.source().keys()
        assert self.bank.item.cursor == ("" if self.reader.in_doubt else pages[-1]["next_cursor"])
        self._count(run, pages, self.reader.followed - followed)
        self.served, self.withdrawn, self.posted = set(), set(), {}

    def _ask(self, cursor: str) -> tuple[int, Wire]:
        keys = {"client_id": "test-client-id", "secret": "test-plaid-secret"}
        keys["access_token"] = credential_of(self.bank.connection).reveal()
        url = f"{self.bank.simulator.url}/plaid/transactions/sync"
        return call("POST", url, keys | {"cursor": cursor, "count": PAGE_SIZE})

    def _pages(self, cursor: str) -> list[Wire]:
        """What the bank tells from this cursor on."""
        pages: list[Wire] = []
        while not pages or pages[-1]["has_more"]:
            status, page = self._ask(cursor)
            assert status == 200, page
            pages.append(page)
            cursor = page["next_cursor"]
        return pages

    def _remember_served(self) -> None:
        """What an aborted or unfinished loop was told and has not applied."""
        run = self.bank.run
        served = StagedPage.objects.filter(run_id=run.pk).values_list("body", flat=True)
        self.served |= {row["transaction_id"] for body in served for row in body["added"]} - set(self.reader.rows)

    def _count(self, run: SyncRun, pages: list[Wire], followed: Counter[str]) -> None:
        self.saw("a settled sync")
        self.saw("a sync of several pages", len(pages) > 1)
        self.saw("a loop began again", run.restarts > 0)
        self.saw("a replay", run.first_cursor == "" and len(self.reader.rows) > run.records_created)
        self.saw("a replay of an incomplete history in doubt", bool(self.reader.in_doubt))
        self.saw("an empty answer without a cursor", pages[-1]["next_cursor"] == "")
        for what, times in followed.items():
            self.saw(f"a note followed {what}", times)
        for gone in self.withdrawn:
            ghost = self.reader.rows.get(gone)
            assert ghost is None or (ghost.is_archived and self.raw_log)
            self.saw("what an aborted page had told was withdrawn")
        place = {r["transaction_id"]: n for n, page in enumerate(pages) for r in page["added"]}
        left = {r["transaction_id"]: n for n, page in enumerate(pages) for r in page["removed"]}
        for pending, posted in self.posted.items():
            self.saw("a posting spread over two pages", place.get(posted, left.get(pending)) != left.get(pending))

    # --- equality ---
    def _ours(self):
        return Transaction.objects.filter(connection=self.bank.connection)

    def _assert_copies_are_equal(self) -> None:
        ours = {
            row.external_id: (row.account_id, row.amount, row.date.isoformat(), row.name, row.pending, row.pending_external_id,
                              row.archived, row.note, row.user_category)
            for row in self._ours().defer("raw_json")
        }  # fmt: skip
        mappings = PlaidItemAccount.objects.filter(item__connection=self.bank.connection)
        accounts = dict(mappings.values_list("plaid_account_id", "account_id"))
        theirs = {key: _columns(row, accounts) for key, row in self.reader.rows.items()}
        differing = {key: (ours.get(key), theirs.get(key)) for key in ours | theirs if ours.get(key) != theirs.get(key)}
        assert differing == {}, differing
        created = SyncRun.objects.filter(connection=self.bank.connection).values_list("records_created", flat=True)
        assert sum(created) == len(ours)

    def teardown(self) -> None:
        """Whatever came before: it settles."""
        if not hasattr(self, "bank"):
            return
        self.bank.simulator.control("DELETE", "faults")
        for _ in range(8):
            if self._turn() == Outcome.SYNCED and not self.bank.item.is_dirty:
                break
        else:
            raise AssertionError(f"it does not settle: {self.bank.run.status} {self.bank.run.errors}")
        runs = SyncRun.objects.filter(connection=self.bank.connection)
        assert not runs.filter(status__in=[RunStatus.RUNNING, RunStatus.QUEUED]).exists()
        assert not StagedPage.objects.exists()


def _columns(row: Any, accounts: dict[str, Any]) -> tuple:
    wire = row.wire
    return (accounts[wire["account_id"]], Decimal(str(wire["amount"])), wire["date"], wire["name"], wire["pending"],
            wire["pending_transaction_id"], row.is_archived, *row.attached)  # fmt: skip
