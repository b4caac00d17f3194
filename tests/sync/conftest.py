"""Banks at the simulator, linked through the real services, and what is true at the source."""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from connections.models import Connection, PlaidItem
from connections.services.plaid_exchange import public_token_exchange
from sync import engine
from sync.models import SyncRun, Transaction


@dataclass
class Bank:
    """One linked Item: the connection here, the Item at the simulator."""

    connection: Connection
    simulator: Any
    plaid_id: str
    account_ids: list[str]

    @property
    def item(self) -> PlaidItem:
        return PlaidItem.objects.get(connection=self.connection)

    @property
    def run(self) -> SyncRun:
        """The latest run."""
        return SyncRun.objects.filter(connection=self.connection).latest("id")

    def control(self, path: str, **body) -> Any:
        return self.simulator.control("POST", f"items/{self.plaid_id}/{path}", body)

    def ops(self, *ops: dict) -> list[str]:
        return self.control("ops", ops=list(ops))["transaction_ids"]

    def add(self, **fields) -> str:
        return self.ops({"op": "add", "transaction": fields})[0]

    def fault(self, kind: str, path: str = "/transactions/sync", **options) -> None:
        self.simulator.control("POST", "faults", {"path": path, "kind": kind, "item_id": self.plaid_id, **options})

    def dirty(self) -> None:
        item = self.item
        PlaidItem.objects.filter(pk=item.pk).update(dirty_seq=item.dirty_seq + 1)
        Connection.objects.filter(pk=self.connection.pk).update(next_attempt_at=None)

    def sync(self, *, seconds: float = 60, is_large_queue: bool = True) -> engine.Outcome:
        """One worker's turn, after marking the Item dirty."""
        self.dirty()
        return self.turn(seconds=seconds, is_large_queue=is_large_queue)

    def turn(self, *, seconds: float = 60, is_large_queue: bool = True) -> engine.Outcome:
        return engine.sync_item(self.item.pk, deadline=time.monotonic() + seconds, is_large_queue=is_large_queue)

    def truth(self) -> dict[str, tuple]:
        """transaction id → (amount, iso, unofficial, date, name, pending) at the source."""
        found, after = {}, ""
        while after is not None:
            query = f"items/{self.plaid_id}/truth?limit=10000" + (f"&after={after}" if after != "" else "")
            answer = self.simulator.control("GET", query)
            found |= {
                row["transaction_id"]: (
                    row["amount"],
                    row["iso_currency_code"],
                    row["unofficial_currency_code"],
                    row["date"],
                    row["name"],
                    row["pending"],
                )
                for row in answer["transactions"]
            }
            after = answer["next"]
        return found

    def ours(self) -> dict[str, tuple]:
        """The same from our database, live rows only."""
        rows = Transaction.objects.filter(connection=self.connection, archived=False)
        return {
            t.external_id: (
                format(t.amount, "f"),
                t.iso_currency,
                t.unofficial_currency,
                t.date.isoformat(),
                t.name,
                t.pending,
            )
            for t in rows.defer("raw_json").iterator()
        }

    def assert_equal_to_source(self) -> None:
        ours, truth = self.ours(), self.truth()
        normal = lambda rows: {key: (str(float(row[0])), *row[1:]) for key, row in rows.items()}  # noqa: E731
        assert normal(ours) == normal(truth)

    def transaction(self, external_id: str) -> Transaction:
        return Transaction.objects.get(connection=self.connection, external_id=external_id)


@pytest.fixture
def link(simulator, alice):
    """link(transactions=50, …) → a Bank of alice's, linked and not synced yet. Options are the simulator's."""

    def make(person=alice, **options) -> Bank:
        made = simulator.control("POST", "items", {"transactions": 30, "accounts": 2, "life": False} | options)
        connection = public_token_exchange(
            user=person.user, workspace_id=person.workspace.pk, public_token=made["public_token"], environment="sandbox"
        )
        return Bank(connection, simulator, made["item_id"], made["account_ids"])

    return make


@pytest.fixture
def bank(link) -> Bank:
    """Thirty transactions on two accounts, linked and not synced yet."""
    return link()
