"""A company at the simulator with everything chosen for it, and the little that is needed to write drafts into it."""

from dataclasses import dataclass, field
from typing import Any

from connections.errors import DuplicateRecord
from connections.providers.base import Json, Written
from connections.providers.quickbooks import preferences, reference_data, writing
from connections.providers.quickbooks.query import select, where
from sync.targets.quickbooks import (
    Books,
    Draft,
    Existing,
    Need,
    Shop,
    books_of,
    matched,
    renamed_customer,
    renamed_item,
)
from tests.contract import quickbooks
from tests.contract.quickbooks import Company, key

US, GB, CA, CLASSIC = quickbooks.US, quickbooks.GB, "9341450000000003", quickbooks.MANUAL
CHOSEN: Json = {
    "accounts": {"income": "79", "cost": "80"},
    "items": {"fallback": "1", "discount": "3", "fee": "4", "rounding": "5", "refund": "6", "gift_card": "7"},
    "gateways": {"*": {"account": "41", "payment_method": "3"}},
    "start_date": "2026-01-01",
    "number_prefix": "WC-",
    "gift_cards": ["Gift card"],
}
TAX: dict[str, Json] = {
    US: {},
    CLASSIC: {"rules": [{"rates": ["21", "22"], "code": "2"}]},
    GB: {
        "rules": [{"rates": ["1"], "code": "2"}, {"rates": ["2"], "code": "3"}, {"rates": ["3"], "code": "4"}],
        "untaxed": "5",
        "by_class": {"zero-rate": "4"},
    },
    CA: {
        "rules": [
            {"rates": ["11"], "code": "2"},
            {"rates": ["12", "13"], "code": "3", "parts": {"12": "3", "13": "4"}},
        ],
        "untaxed": "4",
    },
}


@dataclass
class Ledger:
    """One company, written to as the engine would: needs are linked, found or made; documents go in batches."""

    company: Company
    links: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = self.company.client()
        self.access = quickbooks.access_to(self.company)
        self.books = self.read()

    def read(self, **chosen: Any) -> Books:
        """What is known of the company now, and chosen for it."""
        facts = {
            "country": self.client.company_info()[0]["Country"],
            "preferences": preferences.read(self.client.preferences()),
        }
        shop = Shop(site="shop.example.com", timezone="America/Edmonton", charges_tax=True)
        lists = {
            name: reference_data.listed(self.access, kind, is_fresh=True)
            for name, kind in (("accounts", "Account"), ("tax_codes", "TaxCode"), ("tax_rates", "TaxRate"))
        }
        return books_of(facts, CHOSEN | {"tax": TAX[self.company.realm]} | chosen, shop=shop, **lists)

    def write(self, *drafts: Draft) -> list[Written]:
        """In one batch, in their order."""
        records = [draft.resolved({need.key: self.resolve(need) for need in draft.needs}) for draft in drafts]
        flow = {"SalesReceipt": "orders", "Invoice": "orders", "Payment": "payments"}
        entity = flow.get(records[0].entity, "refunds")
        found = {one.key: one for one in writing.upsert(self.access, entity, records, idempotency_key=key())}
        return [found[record.key] for record in records]

    def written(self, draft: Any) -> Existing:
        """One document, as QuickBooks has it afterwards."""
        assert isinstance(draft, Draft), draft
        [made] = self.write(draft)
        assert made.error is None, made.error
        assert made.payload is not None
        return Existing.of(draft.target.entity, made.external_id, made.payload, digest=draft.digest)

    def resolve(self, need: Need) -> str:
        if need.key not in self.links:
            self.links[need.key] = self._found(need) or self._made(need)
        return self.links[need.key]

    def _found(self, need: Need) -> str | None:
        for step in need.steps:
            rows = self.client.query(select(step.kind, where(step.field, "=", step.value))).records
            if found := matched(need, step, rows, self.books):
                assert isinstance(found, str), found
                return found
        return need.fallback or None

    def _made(self, need: Need) -> str:
        assert need.create is not None
        rename = {"Customer": renamed_customer, "Item": renamed_item}[need.create.entity]
        try:
            return self.client.create(need.create.entity, need.create.values, request_id=key())["Id"]
        except DuplicateRecord:
            return self.client.create(need.create.entity, rename(need.create).values, request_id=key())["Id"]
