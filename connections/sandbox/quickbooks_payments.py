"""Payments: what they pay, what is left of them, and what happens to the other side."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from .quickbooks_errors import fault
from .quickbooks_fields import Object, is_number
from .quickbooks_lines import cents
from .quickbooks_references import References
from .quickbooks_store import Company, Work, value_of

LINKABLE = ("Invoice", "CreditMemo", "JournalEntry", "Expense", "Check", "CreditCardCredit")
OPEN_FIELD = {"Invoice": "Balance", "CreditMemo": "RemainingCredit"}


class Payments:
    """Applies and releases payments within one write."""

    def __init__(self, company: Company, work: Work, references: References):
        self.company = company
        self.work = work
        self.references = references

    def apply(self, shown: Object) -> Object:
        """The payment with what is left of it; invoices and credit memos are settled once it has an id."""
        total = cents(shown["TotalAmt"])
        if total < 0:
            raise fault("6000", "Transaction amount must be 0 or greater", "TotalAmt")
        links = list(self._links(shown))
        funds = total + sum((amount for kind, _id, amount in links if kind == "CreditMemo"), Decimal(0))
        spent = sum((amount for kind, _id, amount in links if kind != "CreditMemo"), Decimal(0))
        if spent > funds:
            raise fault("6000", "The amount applied is more than the amount of the payment.", "Line")
        payment_id = shown.get("Id") or str(self.company.next_ids["transaction"])
        for kind, object_id, amount in links:
            self._settle(kind, object_id, amount, payment_id, value_of(shown, "CustomerRef"))
        return shown | {"TotalAmt": total, "UnappliedAmt": funds - spent, "Line": shown.get("Line") or []}

    def release(self, payment: Object) -> None:
        """Give back what the payment paid."""
        for kind, object_id, amount in self._links(payment):
            other = self.work.get(kind, object_id)
            if other is None:
                continue
            field = OPEN_FIELD[kind]
            links = [one for one in other.get("LinkedTxn", []) if one["TxnId"] != payment["Id"]]
            other = other | {field: other[field] + amount, "LinkedTxn": links}
            self._save(kind, other)

    def _links(self, payment: Object) -> Iterator[tuple[str, str, Decimal]]:
        for line in payment.get("Line") or []:
            linked = line.get("LinkedTxn") or []
            if not linked:
                continue
            if len(linked) > 1:
                raise fault("6000", "A line links one transaction.", "Line.LinkedTxn")
            kind, object_id = linked[0].get("TxnType"), linked[0].get("TxnId")
            if not kind or not object_id:
                raise fault("2020", "Required parameter TxnId or TxnType is missing in the request", "Line.LinkedTxn")
            if kind not in LINKABLE:
                raise fault("2170", f"{kind} cannot be paid", "Line.LinkedTxn.TxnType")
            if not is_number(line.get("Amount")):
                raise fault("2020", "Required parameter Line.Amount is missing in the request", "Line.Amount")
            yield kind, object_id, cents(line["Amount"])

    def _settle(self, kind: str, object_id: str, amount: Decimal, payment_id: str, customer_id: str) -> None:
        other = self.references.find(kind, object_id) if kind in OPEN_FIELD else None
        if other is None:
            raise fault("2500", f"Line.LinkedTxn: {kind} {object_id} does not exist", "TxnId")
        if value_of(other, "CustomerRef") != customer_id:
            raise fault("6000", f"{kind} {object_id} belongs to another customer.", "Line.LinkedTxn")
        field = OPEN_FIELD[kind]
        if not 0 <= amount <= other[field]:
            raise fault("6000", f"{kind} {object_id} has {other[field]} left.", "Line.Amount")
        links = [*other.get("LinkedTxn", []), {"TxnId": payment_id, "TxnType": "Payment"}]
        self._save(kind, other | {field: other[field] - amount, "LinkedTxn": links})

    def _save(self, kind: str, other: Object) -> None:
        """The other side's token moves too, once a write however often it is touched."""
        if kind == "CreditMemo":
            other["Balance"] = other["RemainingCredit"]
        if "HomeBalance" in other:
            other["HomeBalance"] = cents(other["Balance"] * Decimal(str(other.get("ExchangeRate") or 1)))
        if (kind, other["Id"]) in self.work.objects:
            self.work.objects[kind, other["Id"]] = other
        else:
            self.work.save(kind, other)
