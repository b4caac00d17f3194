"""What one object says about another: it exists, it is active, it is of the right kind."""

from __future__ import annotations

from typing import Any

from .quickbooks_errors import fault
from .quickbooks_fields import TABLES, TRANSACTIONS, Object
from .quickbooks_store import NAME_FIELD, Work, value_of

INCOME, EXPENSES, DEPOSITS = (
    ("Income", "Other Income"),
    ("Cost of Goods Sold", "Expense"),
    ("Bank", "Other Current Asset"),
)
ACCOUNT_TYPES: dict[tuple[str, str], tuple[str, ...]] = {
    ("Item", "IncomeAccountRef"): INCOME,
    ("Item", "ExpenseAccountRef"): EXPENSES,
    ("Item", "AssetAccountRef"): ("Other Current Asset",),
    ("SalesReceipt", "DepositToAccountRef"): DEPOSITS,
    ("RefundReceipt", "DepositToAccountRef"): DEPOSITS,
    ("Payment", "DepositToAccountRef"): DEPOSITS,
    ("Invoice", "DepositToAccountRef"): DEPOSITS,
    ("Payment", "ARAccountRef"): ("Accounts Receivable",),
    ("Bill", "APAccountRef"): ("Accounts Payable",),
}


class References:
    """Looks references up within one write. `unseen`: what an earlier item of the same batch made."""

    def __init__(self, work: Work, unseen: frozenset[tuple[str, str]] = frozenset()):
        self.work = work
        self.company = work.company
        self.unseen = unseen

    def find(self, entity: str, object_id: Any) -> Object | None:
        if not isinstance(object_id, str) or (entity, object_id) in self.unseen:
            return None
        return self.work.get(entity, object_id)

    def resolve(self, entity: str, reference: Object, element: str) -> Object:
        """The object, its name filled in. Fault 2500 where there is none, 610 where it is inactive."""
        given = reference.get("value") if isinstance(reference, dict) else None
        found = self.find(entity, given)
        if found is None:
            raise fault("2500", f"{element}: {entity} {given} does not exist", element)
        if found.get("Active") is False:
            detail = "Something you're trying to use has been made inactive. Check the fields with accounts, customers, items, vendors or employees."
            raise fault("610", detail, element)
        reference["name"] = found.get("FullyQualifiedName") or found.get(NAME_FIELD.get(entity, "Name"))
        return found

    def check_all(self, entity: str, body: Object, *, before: Object | None) -> None:
        """Every reference of the body that is new or changed."""
        for name, spec in TABLES[entity].items():
            given = body.get(name)
            if spec.kind != "ref" or not given:
                continue
            if before and value_of(before, name) == given["value"]:
                continue
            self._require_feature(entity, name)
            found = self.resolve(spec.target, given, name)
            wanted = ACCOUNT_TYPES.get((entity, name))
            if wanted and found["AccountType"] not in wanted:
                raise fault("6430", f"{name} must be of type {' or '.join(wanted)}, not {found['AccountType']}", name)

    def _require_feature(self, entity: str, name: str) -> None:
        if entity not in TRANSACTIONS:
            return
        if name == "ClassRef" and not self.company.preference("AccountingInfoPrefs.ClassTrackingPerTxn"):
            raise fault("5030", "class tracking is not turned on", name)
        if name == "DepartmentRef" and not self.company.preference("AccountingInfoPrefs.TrackDepartments"):
            raise fault("5030", "location tracking is not turned on", name)
        if (
            entity == "Invoice"
            and name == "DepositToAccountRef"
            and not self.company.preference("SalesFormsPrefs.AllowDeposit")
        ):
            raise fault("5030", "deposits are not turned on in SalesFormsPrefs.AllowDeposit", name)

    def require_class(self, reference: Object) -> None:
        prefs = "AccountingInfoPrefs.ClassTrackingPerTxn"
        if not (self.company.preference(prefs) or self.company.preference(f"{prefs}Line")):
            raise fault("5030", "class tracking is not turned on", "ClassRef")
        self.resolve("Class", reference, "ClassRef")
