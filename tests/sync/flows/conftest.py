"""A simulated shop and a simulated store, connected as a person connects them, with a flow between them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from connections.models import Connection
from connections.providers.supabase import contract, ddl
from connections.services.activating import connection_activate
from connections.services.configuring import connection_draft
from connections.services.verifying import verification_request, verifications_run
from sync.flows import engine
from sync.models import Flow, RecordLink, RunStatus, SyncFailure, SyncRun, Watermark, WriteIntent
from sync.services.flow_dispatch import due, flows_dispatch
from sync.services.flow_runs import sync_request
from tests.connections.conftest import private_networks_allowed  # noqa: F401 - a fixture
from tests.connections.sandbox.conftest import Supabase
from tests.connections.sandbox.shops import Shop
from tests.factories import Person

NOT_THERE = ("trash", "auto-draft", "checkout-draft")
ENTITIES = ["customers", "products", "orders", "refunds"]


def connected(person: Person, provider: str, config: dict[str, Any], credentials: dict[str, str]) -> Connection:
    """From its draft to active, verified by what really asks the provider."""
    made = connection_draft(
        user=person.user,
        workspace_id=person.workspace.pk,
        provider_key=provider,
        name=provider.capitalize(),
        environment="production",
        config=config,
        credentials=credentials,
    )
    asked = verification_request(connection_id=made.pk, actor=person.user)
    verifications_run(deadline=time.monotonic() + 30)
    asked.refresh_from_db()
    assert asked.status == "passed", asked.checks
    connection_activate(connection_id=made.pk, actor=person.user)
    Connection.objects.filter(pk=made.pk).update(errand="")  # no webhooks: news are told by the test
    return Connection.objects.get(pk=made.pk)


@dataclass
class World:
    """A shop at the simulator, a store at the simulator, and the flow between them."""

    person: Person
    shop: Shop
    store: Supabase
    flow: Flow

    def ask(self, entity: str, **asked: Any) -> SyncRun:
        return sync_request(
            workspace_id=self.flow.workspace_id, actor=self.person.user, entity=entity, flow=self.flow, **asked
        )

    def work(self, *, seconds: float = 60) -> list[engine.Outcome]:
        """What the workers do until nothing is due: hand out, claim, go on."""
        outcomes = []
        while found := self.due():
            for pk in found:
                SyncRun.objects.filter(pk=pk).update(offered_until=None)
                outcomes.append(engine.run_flow(pk, deadline=time.monotonic() + seconds))
        return outcomes

    def due(self) -> list[Any]:
        flows_dispatch()
        SyncRun.objects.update(offered_until=None)
        return [pk for pk, _, _ in due().get("run", [])]

    def sync(self, *entities: str, **asked: Any) -> dict[str, SyncRun]:
        """Ask for each and work until everything is done; the runs as they ended."""
        runs = {entity: self.ask(entity, **asked).pk for entity in entities or ENTITIES}
        self.work()
        return {entity: SyncRun.objects.get(pk=pk) for entity, pk in runs.items()}

    # --- what is true where ---
    def at_store(self, table: str) -> dict[str, dict[str, Any]]:
        """Live rows by their source's id."""
        return {row["source_id"]: row for row in self.store.rows(table) if row["deleted_at"] is None}

    def bodies(self, resource: str) -> dict[str, dict[str, Any]]:
        """What is there to be taken, by its id: no draft, and nothing in the bin."""
        shown = self.shop.control(f"/truth?resource={resource}&limit=10000&bodies=1", "GET")
        return {str(row["id"]): row["body"] for row in shown["rows"] if row["status"] not in NOT_THERE}

    def calls(self, after: int = 0) -> list[dict[str, Any]]:
        """Requests to the store, as its own journal has them."""
        return self.store.control(f"log?after={after}&project={self.store.ref}", "GET")["requests"]

    def mark(self) -> int:
        return max((row["seq"] for row in self.calls()), default=0)

    def link(self, entity: str, external_id: Any) -> RecordLink:
        return RecordLink.objects.get(source=self.flow.source, entity=entity, external_id=str(external_id))

    def failures(self) -> list[SyncFailure]:
        return list(SyncFailure.objects.filter(flow=self.flow, resolved_at=None).order_by("entity", "external_id"))

    def watermark(self, entity: str) -> Watermark:
        return Watermark.objects.get(flow=self.flow, entity=entity)

    def assert_arrived(self) -> None:
        """Every order of the shop is at the store, once, with its money to the cent; refunds likewise."""
        orders, there = self.bodies("orders"), self.at_store("orders")
        self.assert_refunds_complete()
        assert there.keys() == orders.keys()
        totals = {key: Decimal(str(row["total"])) for key, row in there.items()}
        assert totals == {key: Decimal(body["total"]) for key, body in orders.items()}
        assert self.at_store("customers").keys() >= self.bodies("customers").keys()
        assert self.at_store("products").keys() >= self.bodies("products").keys()
        assert not WriteIntent.objects.filter(confirmed_at=None).exists()
        for run in SyncRun.objects.exclude(status__in=(RunStatus.QUEUED, RunStatus.RUNNING)):
            assert run.ledger_balanced, run

    def assert_refunds_complete(self) -> None:
        refunds, gone_back = self.bodies("refunds"), self.at_store("refunds")
        assert {key: Decimal(str(row["total"])) for key, row in gone_back.items()} == {
            key: Decimal(body["amount"]) for key, body in refunds.items()
        }


@pytest.fixture
def open_shop(simulator) -> Iterator[Callable[..., Shop]]:
    opened: list[Shop] = []

    def make(**settings: Any) -> Shop:
        opened.append(Shop(simulator.url, settings))
        return opened[-1]

    yield make
    for shop in opened:
        shop.close()


@pytest.fixture(scope="session")
def _project(_simulators) -> Iterator[Supabase]:
    """A project whose owner has run the contract's SQL; making one costs more than most tests that write into it."""
    made = Supabase(SimpleNamespace(origin=_simulators.url), "flow-store")  # type: ignore[arg-type] # all that it needs
    made.sql(ddl.contract_sql(list(contract.DEFAULTS.values())))
    yield made
    made.close()


@pytest.fixture
def store(_project, simulator, private_networks_allowed) -> Iterator[Supabase]:  # noqa: F811 - the fixture
    """The project, emptied, with no fault armed."""
    tables = [table.name for table in contract.DEFAULTS.values()] + ["order_lines"]
    _project.sql(f"TRUNCATE {', '.join(tables)}; ALTER TABLE orders DROP CONSTRAINT IF EXISTS poison")
    yield _project
    _project.control("faults", "DELETE")


@pytest.fixture
def make_world(alice, open_shop, store) -> Callable[..., World]:
    """make_world(orders=30, …) → a shop with so much in it, the store, and an active flow. Options are the simulator's."""

    def make(*, flow: dict[str, Any] | None = None, **settings: Any) -> World:
        shop = open_shop(**{"orders": 12, "products": 6, "customers": 5} | settings)
        keys = {"consumer_key": shop.keys[0], "consumer_secret": shop.keys[1]}
        source = connected(alice, "woocommerce", {"store_url": shop.url}, keys)
        project = {"kind": "rest", "project_url": store.shown["url"]}
        target = connected(alice, "supabase", project, {"secret_key": store.keys["secret"]})
        values = {"entities": ENTITIES, "options": {"keep_raw": False}, "status": "active", "name": "Flow"}
        made = Flow.objects.create(workspace=alice.workspace, source=source, target=target, **values | (flow or {}))
        return World(alice, shop, store, made)

    return make


@pytest.fixture
def world(make_world) -> World:
    return make_world()
