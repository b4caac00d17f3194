"""A company that keeps its books: what its people enter by hand, one step after the other, the same for the same seed."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

from .quickbooks_errors import QuickBooksFault
from .quickbooks_fields import Object
from .quickbooks_store import Company, Work
from .wire import stopping

if TYPE_CHECKING:
    from .quickbooks import QuickBooksSimulator

STEP_S = 0.2
RECENT = 50  # people work on what is recent


class Clock:
    """A background thread that lets connected companies live."""

    def __init__(self, simulator: QuickBooksSimulator, life_interval_s: float):
        self._simulator = simulator
        self._life_interval_s = life_interval_s
        self._next_step: dict[str, float] = {}
        if life_interval_s > 0:
            threading.Thread(target=self._run, name="quickbooks-clock", daemon=True).start()

    def _run(self) -> None:
        while not stopping.wait(STEP_S):
            try:
                self._step()
            except Exception:  # noqa: BLE001 - one odd company must not stop the clock
                traceback.print_exc()

    def _step(self) -> None:
        world, now = self._simulator.world, time.monotonic()
        with world.lock:
            connected = {grant.realm for grant in world.grants.values() if not grant.is_revoked}
            companies = [world.companies[realm] for realm in connected if realm in world.companies]
        for company in companies:
            due = self._next_step.setdefault(company.realm, now + self._wait())
            if company.settings["life"] and due <= now:
                self._next_step[company.realm] = now + self._wait()
                self.live(company)

    def _wait(self) -> float:
        return self._life_interval_s * random.uniform(0.5, 1.5)

    def live(self, company: Company, steps: int = 1) -> list[str]:
        """Let so many steps pass. Returns what was done, as `Entity/id`."""
        done: list[str] = []
        for _turn in range(steps):
            with company.lock:
                made = Day(self._simulator, company).step()
                self._simulator.world.change_state(company, {"ticks": company.ticks + 1})
            done += [made] if made else []
        return done


class Day:
    """One step of one company."""

    def __init__(self, simulator: QuickBooksSimulator, company: Company):
        self.simulator = simulator
        self.company = company
        self.rng = random.Random(f"life {company.born['seed']} {company.realm} {company.ticks}")

    def step(self) -> str | None:
        """Do one thing that can be done. None: the books allow nothing of it today."""
        acts: list[Callable[[], str | None]] = [
            *(self.bill, self.pay_bill, self.invoice, self.payment, self.receipt),
            *(self.edit_customer, self.edit_invoice, self.edit_price, self.new_vendor),
        ]
        self.rng.shuffle(acts)
        for act in acts:
            try:
                if made := act():
                    return made
            except QuickBooksFault:
                continue  # closed books, a clash of names: a person would give up too
        return None

    def _save(self, entity: str, fields: Object) -> str:
        shown = self.simulator.write(self.company, entity, "save", fields)
        return f"{entity}/{shown['Id']}"

    def _recent(self, entity: str) -> list[Object]:
        """The objects that were made last, newest first. (Which was changed last would depend on where a second ends.)"""
        rows = islice(reversed(self.company.tables[entity].rows.values()), RECENT)
        return [row.shown() for row in rows if row.is_active]

    def _any(self, entity: str) -> Object | None:
        known = self._recent(entity)
        return self.rng.choice(known) if known else None

    def _money(self, low: int, high: int) -> Decimal:
        return Decimal(self.rng.randrange(low, high)) / 100

    @property
    def _currency(self) -> Object:
        return {"CurrencyRef": {"value": self.company.home}}

    def _code(self) -> Object:
        return {"TaxCodeRef": {"value": "NON" if self.company.country == "US" else "2"}}

    # --- what people do ---

    def new_vendor(self) -> str | None:
        number = self.rng.randrange(10_000)
        return self._save("Vendor", {"DisplayName": f"{self.rng.choice(('Alder', 'Birch', 'Cedar'))} Supply {number}"})

    def bill(self) -> str | None:
        vendor = self._any("Vendor")
        if vendor is None or vendor["CurrencyRef"]["value"] != self.company.home:
            return None
        detail = {"AccountRef": {"value": self.rng.choice(("60", "61", "62"))}}
        detail |= self._code() if self.company.country != "US" else {}
        line = {"Amount": self._money(2000, 90000), "DetailType": "AccountBasedExpenseLineDetail"}
        lines = [line | {"AccountBasedExpenseLineDetail": detail}]
        return self._save("Bill", {"VendorRef": {"value": vendor["Id"]}, "Line": lines} | self._currency)

    def pay_bill(self) -> str | None:
        """A cheque from the checking account; the bill is what the API shows of it."""
        bill = next((one for one in self._recent("Bill") if one["Balance"] > 0), None)
        if bill is None:
            return None
        work = Work(self.company)
        link = {"TxnId": self.company.new_id("Bill"), "TxnType": "BillPaymentCheck"}
        home = {"HomeBalance": Decimal("0.00")} if "HomeBalance" in bill else {}
        work.save("Bill", bill | home | {"Balance": Decimal("0.00"), "LinkedTxn": [*bill.get("LinkedTxn", []), link]})
        self.simulator.commit(self.company, work)
        return f"Bill/{bill['Id']}"

    def _sale(self) -> Object | None:
        customer, item = self._any("Customer"), self._any("Item")
        if customer is None or item is None or customer["CurrencyRef"]["value"] != self.company.home:
            return None
        quantity, price = self.rng.randrange(1, 4), item.get("UnitPrice") or Decimal(10)
        detail = {"ItemRef": {"value": item["Id"]}, "Qty": quantity, "UnitPrice": price} | self._code()
        line = {"Amount": quantity * Decimal(price), "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}
        return {"CustomerRef": {"value": customer["Id"]}, "Line": [line]} | self._currency

    def invoice(self) -> str | None:
        sale = self._sale()
        return self._save("Invoice", sale | {"SalesTermRef": {"value": "3"}}) if sale else None

    def receipt(self) -> str | None:
        sale = self._sale()
        return self._save("SalesReceipt", sale | {"PaymentMethodRef": {"value": "1"}}) if sale else None

    def payment(self) -> str | None:
        invoice = next((one for one in self._recent("Invoice") if one["Balance"] > 0), None)
        if invoice is None:
            return None
        link = [{"Amount": invoice["Balance"], "LinkedTxn": [{"TxnId": invoice["Id"], "TxnType": "Invoice"}]}]
        fields = {"CustomerRef": invoice["CustomerRef"], "TotalAmt": invoice["Balance"], "Line": link}
        return self._save("Payment", fields | {"CurrencyRef": invoice["CurrencyRef"]})

    def _edit(self, entity: str, shown: Object | None, fields: Object) -> str | None:
        if shown is None:
            return None
        return self._save(entity, shown | fields | {"sparse": False})

    def edit_customer(self) -> str | None:
        number = f"+1 555 {self.rng.randrange(10_000):04}"
        return self._edit("Customer", self._any("Customer"), {"PrimaryPhone": {"FreeFormNumber": number}})

    def edit_invoice(self) -> str | None:
        memo = {"value": f"Thank you ({self.rng.randrange(1000)})"}
        return self._edit("Invoice", self._any("Invoice"), {"CustomerMemo": memo})

    def edit_price(self) -> str | None:
        return self._edit("Item", self._any("Item"), {"UnitPrice": self._money(500, 9000)})
