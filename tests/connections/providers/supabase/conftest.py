"""Our client against the simulated Supabase, over HTTP and over PostgreSQL, without a database of our own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from connections.errors import Misconfigured
from connections.providers.base import Access, Json, TargetRecord, Written
from connections.providers.supabase import contract, ddl
from connections.providers.supabase.writing import Writing
from tests.conftest import maintenance_dsn
from tests.connections.sandbox.conftest import Simulator, Supabase

CONNECTION = "0190a000-0000-7000-8000-000000000001"
SOURCE = {"connection_id": CONNECTION, "source_system": "woocommerce"}
KINDS = ("rest", "postgres")


@dataclass
class Project:
    """A project whose owner has run the contract's SQL, and ways into it."""

    supabase: Supabase
    tables: dict[str, contract.Table]
    facts: Json = field(default_factory=dict)

    @property
    def direct(self) -> Json:
        return self.supabase.shown["direct"]

    def prepare(self, *entities: str, schema: str = "public", role: str = ddl.SERVICE_ROLE) -> None:
        chosen = [table for name, table in self.tables.items() if not entities or name in entities]
        self.supabase.sql(ddl.contract_sql(chosen, schema=schema, role=role))

    def dsn(self, mode: str = "session", *, host: str = "localhost", **changed: str) -> str:
        given = {"user": self.direct["user"], "password": self.direct["password"]} | changed
        port = self.direct["ports"][mode]
        return f"postgresql://{given['user']}:{given['password']}@{host}:{port}/postgres"

    def access(self, kind: str = "rest", *, secrets: Json | None = None, **config: str) -> Access:
        """A way in, whose facts are the project's."""
        held = {
            "rest": {"secret_key": self.supabase.keys["secret"]},
            "postgres": {"dsn": self.dsn(), "ca_pem": self.direct["ca_pem"]},
        }[kind] | (secrets or {})
        where = {"project_url": self.supabase.shown["url"]} if kind == "rest" else {}

        def secret(name: str) -> str:
            if not held.get(name):
                raise Misconfigured(code="connection_misconfigured")
            return held[name]

        def remember(found: Json) -> None:
            self.facts.update(found)
            for name in [name for name, value in self.facts.items() if value is None]:
                del self.facts[name]

        return Access(
            connection_id=uuid4(),
            environment="production",
            config={"kind": kind, "schema": "public", **where, **config},
            secret=secret,
            facts=self.facts,
            remember=remember,
            keep_secret=held.__setitem__,
            fresh_token=lambda refused: "",
            callback_url=lambda purpose: "",
        )

    def write(self, access: Access, records: Iterable[TargetRecord], entity: str = "") -> dict[str, Written]:
        given = list(records)
        written = Writing(self.tables).upsert(access, entity or given[0].entity, given, idempotency_key="key")
        return {one.key: one for one in written}

    def rows(self, table: str) -> dict[str, Json]:
        return {row["source_id"]: row for row in self.supabase.rows(table)}

    def requests(self, after: int = 0) -> list[Json]:
        shown = self.supabase.control(f"log?after={after}&project={self.supabase.ref}", "GET")
        return shown["requests"]


def customer(key: Any, **values: Any) -> TargetRecord:
    return TargetRecord("customers", str(key), {**SOURCE, "name": f"Customer {key}", **values})


def order(key: Any, *, lines: int = 0, **values: Any) -> TargetRecord:
    given = {**SOURCE, "number": f"#{key}", "currency": "CAD", "total": Decimal("10.50"), **values}
    given["lines"] = [
        {"line_id": str(number), "position": number, "quantity": Decimal(2), "total": Decimal("5.25")}
        for number in range(1, lines + 1)
    ]
    return TargetRecord("orders", str(key), given)


def changed_at(minute: int) -> datetime:
    return datetime(2026, 5, 1, 12, minute, tzinfo=UTC)


def outcomes(written: dict[str, Written]) -> dict[str, str]:
    return {key: one.outcome for key, one in written.items()}


@pytest.fixture(scope="session")
def supabase_simulator(servers, tmp_path_factory) -> Iterator[Simulator]:
    running = Simulator(tmp_path_factory.mktemp("supabase"), SIMULATOR_DATABASE_URL=maintenance_dsn())
    yield running
    running.stop()


@pytest.fixture
def bare(supabase_simulator, private_networks_allowed) -> Iterator[Project]:
    """A project whose owner has run nothing yet."""
    made = Supabase(supabase_simulator, "store")
    yield Project(made, dict(contract.DEFAULTS))
    made.close()


@pytest.fixture
def project(bare: Project) -> Project:
    bare.prepare()
    return bare


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param
