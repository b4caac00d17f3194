"""A company in the simulated QuickBooks, and our client for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

from connections.providers.base import Access, Json
from connections.providers.quickbooks.client import QuickBooksClient, Usage, request_id

US, GB, MANUAL, PRODUCTION = "9341450000000001", "9341450000000002", "9341450000000004", "9130350000000005"
CLEARING, INCOME, COST = {"value": "41"}, {"value": "79"}, {"value": "80"}
_numbers = count(1)


@dataclass
class Company:
    """control: of the simulator, below /quickbooks/_control/. tokens: what the client asked for, in order."""

    control: Callable[..., Any]
    realm: str
    environment: str = "sandbox"
    tokens: list[str] = field(default_factory=list)
    used: list[Usage] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.grant = self.control("POST", "grants", self._whose())
        self.token = self.grant["access_token"]
        self.seen = self._last()

    def _whose(self) -> Json:
        app = {"client_id": "demo-quickbooks-production-id"} if self.environment == "production" else {}
        return {"realm": self.realm} | app

    def client(self, **options: Any) -> QuickBooksClient:
        return QuickBooksClient(
            realm=self.realm,
            environment=self.environment,
            fresh_token=self.fresh_token,
            connection_id="test",
            counted=self.used.append,
            **options,
        )

    def fresh_token(self, refused: str) -> str:
        self.tokens.append(refused)
        if refused:
            self.token = self.control("POST", "grants", self._whose())["access_token"]
        return self.token

    def state(self, **fields: Any) -> Any:
        return self.control("POST", f"companies/{self.realm}/state", fields)

    def fault(self, path: str = "api", **fault: Any) -> Any:
        return self.control("POST", "faults", {"path": path, "times": 1, "realm": self.realm} | fault)

    def truth(self, entity: str) -> list[Json]:
        found = self.control("GET", f"companies/{self.realm}/truth?entity={entity}&limit=1000")
        return found.get("objects") or found.get("rows") or found.get("records") or []

    def log(self) -> list[Json]:
        """Requests to this company since the last question."""
        found = self.control("GET", f"log?after={self.seen}&realm={self.realm}")["requests"]
        self.seen = max([self.seen, *(one["seq"] for one in found)])
        return found

    def _last(self) -> int:
        return max([0, *(one["seq"] for one in self.control("GET", "log?after=0")["requests"])])


def key() -> str:
    """A request id that nobody has used."""
    return request_id("test", next(_numbers))


def customer(**fields: Any) -> Json:
    return {"DisplayName": f"Ana Díaz {next(_numbers)}", "PrimaryEmailAddr": {"Address": "ana@example.com"}} | fields


def item(**fields: Any) -> Json:
    made = {"Name": f"Blue shirt {next(_numbers)}", "Type": "NonInventory", "UnitPrice": Decimal("20.00")}
    return made | {"IncomeAccountRef": INCOME, "ExpenseAccountRef": COST} | fields


def line(item_id: str, amount: str = "40.00", qty: str = "2", price: str = "20") -> Json:
    detail = {
        "ItemRef": {"value": item_id},
        "Qty": Decimal(qty),
        "UnitPrice": Decimal(price),
        "TaxCodeRef": {"value": "NON"},
    }
    return {"Amount": Decimal(amount), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}


def access_to(company: Company, connection_id: Any = None) -> Access:
    """The way into it, as the service layer would give it; `facts` remembers."""
    facts: Json = {"realm_id": company.realm}
    return Access(
        connection_id=connection_id or uuid4(),
        environment=company.environment,
        config={},
        secret=lambda name: "",
        facts=facts,
        remember=facts.update,
        keep_secret=lambda name, value: None,
        fresh_token=company.fresh_token,
        callback_url=lambda purpose: f"https://hub.example.com/{purpose}",
    )
