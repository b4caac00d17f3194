"""Names: customers, vendors, items, accounts and the small lists. They are never deleted, only made inactive."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .quickbooks_errors import fault
from .quickbooks_fields import Object
from .quickbooks_lines import cents
from .quickbooks_references import References
from .quickbooks_store import NAME_FIELD, PEOPLE, Company, Work, name_key, value_of

NAME_PARTS = ("Title", "GivenName", "MiddleName", "FamilyName", "Suffix")
DELETED = " (deleted)"
FORBIDDEN = {"Customer": ":\t\n", "Vendor": ":\t\n", "Item": ':"\t\n', "Account": ':"'}
MAX_LEVEL = 4  # sub-customers of sub-customers: five levels
CLASSIFICATIONS = {
    "Bank": "Asset",
    "Other Current Asset": "Asset",
    "Fixed Asset": "Asset",
    "Accounts Receivable": "Asset",
    "Accounts Payable": "Liability",
    "Credit Card": "Liability",
    "Other Current Liability": "Liability",
    "Equity": "Equity",
    "Income": "Revenue",
    "Other Income": "Revenue",
    "Cost of Goods Sold": "Expense",
    "Expense": "Expense",
}
SUBTYPES = {"CashOnHand": "Bank", "Checking": "Bank", "UndepositedFunds": "Other Current Asset"}


class Lists:
    """What is special about the objects that have a name."""

    def __init__(self, company: Company, work: Work, references: References):
        self.company = company
        self.work = work
        self.references = references

    def create(self, entity: str, given: Object) -> Object:
        shown = {"Active": True} | given
        getattr(self, f"_new_{entity.lower()}", lambda _shown: None)(shown)
        self._name(entity, shown)
        self._require_unique(entity, shown)
        return self.work.add(entity, shown)

    def update(self, entity: str, before: Object, after: Object) -> Object:
        if entity == "Item" and before.get("TrackQtyOnHand") and not after.get("TrackQtyOnHand"):
            raise fault("6000", "TrackQtyOnHand cannot be turned off again.", "TrackQtyOnHand")
        if entity == "Item":
            self._check_item(after)
        self._name(entity, after)
        if before.get("Active", True) and after.get("Active") is False:
            self._retire(entity, before, after)
        elif before.get("Active") is False and after.get("Active"):
            field = NAME_FIELD.get(entity, "Name")
            after[field] = after[field].removesuffix(DELETED)
        if name_key(entity, before) != name_key(entity, after):
            self._require_unique(entity, after)
        return self.work.save(entity, after)

    def _retire(self, entity: str, before: Object, after: Object) -> None:
        if entity in PEOPLE and Decimal(before.get("Balance") or 0) != 0:
            raise fault("6000", "Delete List Has Balance Error: the balance must be zero.", "Active")
        if self.company.settings["deleted_suffix"]:
            field = NAME_FIELD.get(entity, "Name")
            after[field] = (after[field].removesuffix(DELETED) + DELETED)[:500]
            while self.company.namesakes(entity, after):
                after[field] += " "

    # --- names ---

    def _name(self, entity: str, shown: Object) -> None:
        if entity in PEOPLE and not shown.get("DisplayName"):
            shown["DisplayName"] = " ".join(shown[part] for part in NAME_PARTS if shown.get(part))
            if not shown["DisplayName"]:
                raise fault("6080", "DisplayName or one of the name parts is needed.", "DisplayName")
        field = NAME_FIELD.get(entity, "Name")
        shown[field] = shown[field].strip()
        if bad := [sign for sign in FORBIDDEN.get(entity, "") if sign in shown[field]]:
            raise fault("6000", f"{field} may not contain {bad[0]!r}.", field)
        if entity in PEOPLE:
            shown.setdefault("PrintOnCheckName", shown.get("CompanyName") or shown["DisplayName"][:100])
        self._place(entity, shown, field)

    def _place(self, entity: str, shown: Object, field: str) -> None:
        """FullyQualifiedName and Level, from the parent's."""
        parent = self.work.get(entity, value_of(shown, "ParentRef") or "") if entity != "Vendor" else None
        if parent and parent["Id"] == shown.get("Id"):
            raise fault("6000", "An object cannot be its own parent.", "ParentRef")
        level = parent.get("Level", 0) + 1 if parent else 0
        if level > MAX_LEVEL:
            raise fault("6000", "There are at most five levels.", "ParentRef")
        if entity in ("Customer", "Item", "Account", "Class", "Department"):
            above = f"{parent['FullyQualifiedName']}:" if parent else ""
            shown["FullyQualifiedName"] = above + shown[field]
        if entity in ("Customer", "Item"):
            shown["Level"] = level

    def _require_unique(self, entity: str, shown: Object) -> None:
        others = self.company.namesakes(entity, shown)
        if not others:
            return
        detail = "The name supplied already exists."
        if entity not in PEOPLE or self.company.settings["clash_names_id"]:
            raise fault("6240", f"{detail} : Id={min(others)[1]}", NAME_FIELD.get(entity, "Name"))
        other = "Another customer, vendor or employee is already using this name. Please use a different name."
        raise fault("6240", f"{detail} : {other}", "DisplayName")

    # --- defaults of each kind ---

    def _person_currency(self, shown: Object) -> None:
        home, given = self.company.home, value_of(shown, "CurrencyRef")
        if given not in (None, home) and not self.company.preference("CurrencyPrefs.MultiCurrencyEnabled"):
            raise fault("6000", f"Multicurrency is not enabled, and {given} is not {home}.", "CurrencyRef")
        if given and not (len(given) == 3 and given.isalpha() and given.isupper()):
            raise fault("2500", f"CurrencyRef: {given} is not a currency", "CurrencyRef")
        shown["CurrencyRef"] = {"value": given or home}

    def _new_customer(self, shown: Object) -> None:
        self._person_currency(shown)
        opening = cents(shown.pop("Balance", 0) or 0)
        shown |= {"Balance": opening, "BalanceWithJobs": opening, "IsProject": False}
        for name, value in (("Taxable", True), ("Job", False), ("BillWithParent", False)):
            shown.setdefault(name, value)
        shown.setdefault("PreferredDeliveryMethod", "None")
        if self.company.country == "US" and self.company.preferences["TaxPrefs"].get("PartnerTaxEnabled"):
            shown.setdefault("DefaultTaxCodeRef", {"value": "2"})

    def _new_vendor(self, shown: Object) -> None:
        self._person_currency(shown)
        shown["Balance"] = cents(0)
        shown.setdefault("Vendor1099", False)

    def _new_item(self, shown: Object) -> None:
        self._check_item(shown)
        shown.setdefault("TrackQtyOnHand", False)
        if shown["Type"] != "Category":
            shown.setdefault("UnitPrice", 0)
            shown.setdefault("Taxable", False)

    def _check_item(self, shown: Object) -> None:
        """What each type of item must have."""
        needed: tuple[str, ...] = ()
        if shown["Type"] in ("Service", "NonInventory"):
            needed = ("IncomeAccountRef",)
        elif shown["Type"] == "Inventory":
            needed = ("IncomeAccountRef", "ExpenseAccountRef", "AssetAccountRef", "QtyOnHand", "InvStartDate")
            if shown.get("TrackQtyOnHand") is not True:
                raise fault("2020", "Required parameter TrackQtyOnHand is missing in the request", "TrackQtyOnHand")
        if shown["Type"] == "Group":
            raise fault("5030", "bundles are not sold by this simulator", "Type")
        for name in needed:
            if shown.get(name) in (None, ""):
                raise fault("2020", f"Required parameter {name} is missing in the request", name)

    def _new_account(self, shown: Object) -> None:
        kind = shown.get("AccountType") or SUBTYPES.get(shown.get("AccountSubType", ""))
        if not kind:
            raise fault("2020", "Required parameter AccountType is missing in the request", "AccountType")
        if kind not in CLASSIFICATIONS:
            raise fault("2170", f"{kind} is not an account type", "AccountType")
        shown |= {"AccountType": kind, "Classification": CLASSIFICATIONS[kind]}
        shown |= {"CurrentBalance": 0, "CurrentBalanceWithSubAccounts": 0, "SubAccount": bool(shown.get("ParentRef"))}
        shown.setdefault("CurrencyRef", {"value": self.company.home})

    @staticmethod
    def _new_paymentmethod(shown: Object) -> None:
        shown.setdefault("Type", "NON_CREDIT_CARD")

    @staticmethod
    def _new_term(shown: Object) -> None:
        shown["Type"] = "STANDARD"
        has_days: Any = shown.get("DueDays", shown.get("DayOfMonthDue"))
        if has_days is None:
            raise fault("2020", "Required parameter DueDays is missing in the request", "DueDays")
