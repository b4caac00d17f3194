"""Create, update, delete and void, as Intuit's rules have it. Everything is checked before anything changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal

from . import quickbooks_tax
from .quickbooks_errors import Problem, QuickBooksFault, fault
from .quickbooks_fields import (
    LISTS,
    LISTS_READ_ONLY,
    SALES,
    SPARSE,
    TABLES,
    TRANSACTIONS,
    Object,
    check,
    missing,
    without_read_only,
)
from .quickbooks_lines import LineReader, cents
from .quickbooks_lists import Lists
from .quickbooks_payments import Payments
from .quickbooks_references import References
from .quickbooks_store import Company, Work, value_of

ZERO = Decimal("0.00")
EXCHANGE_RATES = {"USD": "1", "EUR": "1.1", "GBP": "1.25", "CAD": "0.74", "AUD": "0.66", "JPY": "0.0067"}
SYSTEM_LINKS = ("Payment", "Deposit", "BillPaymentCheck")
# What a sparse update must touch for the money to be computed anew.
MONEY_FIELDS = frozenset(
    ("Line", "TxnTaxDetail", "GlobalTaxCalculation", "ApplyTaxAfterDiscount", "ShipAddr", "CustomerRef")
)


class Books:
    """One write to one company's books. Hold the company's lock."""

    def __init__(
        self,
        company: Company,
        work: Work,
        *,
        may_repeat_number: bool = False,
        unseen: Iterable[tuple[str, str]] = (),
    ):
        self.company = company
        self.work = work
        self.references = References(work, frozenset(unseen))
        self.lists = Lists(company, work, self.references)
        self.payments = Payments(company, work, self.references)
        self.may_repeat_number = may_repeat_number

    # --- the four verbs ---

    def save(self, entity: str, body: Object) -> Object:
        """Create, or update where an Id is given."""
        self._require_writable(entity)
        return self._update(entity, body) if body.get("Id") else self._create(entity, body)

    def delete(self, entity: str, body: Object) -> Object:
        if entity not in TRANSACTIONS:
            raise fault("500", "Operation delete is not supported.")
        before = self._current(entity, body)
        self._require_open(before)
        self._require_independent(entity, before)
        if entity == "Payment":
            self.payments.release(before)
        self.work.remove(entity, before["Id"])
        return {"Id": before["Id"], "status": "Deleted", "domain": "QBO"}

    def void(self, entity: str, body: Object) -> Object:
        """Keep the record with nothing in it."""
        if entity not in ("Invoice", "SalesReceipt", "Payment"):
            raise fault("500", "Operation void is not supported.")
        before = self._current(entity, body)
        self._require_open(before)
        self._require_independent(entity, before)
        note = f"Voided - {before['PrivateNote']}" if before.get("PrivateNote") else "Voided"
        after = before | {"PrivateNote": note, "TotalAmt": ZERO}
        if entity == "Payment":
            self.payments.release(before)
            after |= {"UnappliedAmt": ZERO, "Line": []}
        else:
            after |= {"Balance": ZERO, "Line": [_voided(line) for line in before["Line"]]}
            after |= {"TxnTaxDetail": {"TotalTax": ZERO}} if "TxnTaxDetail" in before else {}
        self._home_amounts(after)
        return self.work.save(entity, after, "Void")

    # --- creating and updating ---

    def _create(self, entity: str, body: Object) -> Object:
        self._refuse(check(entity, body))
        given = {
            name: value for name, value in without_read_only(entity, body, is_create=True).items() if value is not None
        }
        given = {name: value for name, value in given.items() if value != ""}
        self._refuse(missing(entity, given))
        self.references.check_all(entity, given, before=None)
        if entity in TRANSACTIONS:
            return self.work.add(entity, self._transaction(entity, given, None))
        return self.lists.create(entity, given)

    def _update(self, entity: str, body: Object) -> Object:
        before = self._current(entity, body)
        self._refuse(check(entity, body))
        is_sparse = body.get("sparse") is True and entity in SPARSE
        after = self._merged(entity, before, body, is_sparse=is_sparse)
        self._refuse(missing(entity, after))
        self.references.check_all(entity, after, before=before)
        if entity not in TRANSACTIONS:
            return self.lists.update(entity, before, after)
        self._require_open(before)
        return self._update_transaction(entity, before, after, body, is_sparse=is_sparse)

    def _merged(self, entity: str, before: Object, body: Object, *, is_sparse: bool) -> Object:
        """The object after the update. Full: whatever can be written and was left out is blank."""
        given = without_read_only(entity, body, is_create=False)
        table = TABLES[entity]
        kept = {
            name: value
            for name, value in before.items()
            if is_sparse
            or name not in table
            or table[name].mode != "rw"
            or (name == "Active" and "Active" not in given)
        }
        after = kept | given
        fixed = {"CurrencyRef": before["CurrencyRef"]} if "CurrencyRef" in before and entity in TRANSACTIONS else {}
        links = [one for one in before.get("LinkedTxn") or [] if one["TxnType"] in SYSTEM_LINKS]
        if links:  # made by payments and deposits: no update of this side undoes them
            others = [one for one in given.get("LinkedTxn") or [] if one not in links]
            after["LinkedTxn"] = links + others
        return {name: value for name, value in (fixed | after).items() if value is not None and value != ""}

    def _update_transaction(
        self, entity: str, before: Object, after: Object, body: Object, *, is_sparse: bool
    ) -> Object:
        self._require_same_currency(before, body)
        if is_sparse and not MONEY_FIELDS & set(body):
            self._check_number(entity, after, before)
            self._require_open(after)
            return self.work.save(entity, after)
        if entity == "Payment":
            self.payments.release(before)
        else:
            # Tax is computed anew unless it was sent: what was sent stays, even if the lines moved.
            after = after | {"TxnTaxDetail": body.get("TxnTaxDetail")}
        computed = self._transaction(entity, after, before)
        if _is_deposited(before) and computed["TotalAmt"] != before["TotalAmt"]:
            raise fault("6540", "The transaction is part of a deposit.")
        return self.work.save(entity, computed)

    def _require_same_currency(self, before: Object, body: Object) -> None:
        given = value_of(body, "CurrencyRef")
        if given and given != value_of(before, "CurrencyRef"):
            raise fault("6000", "The currency of a transaction cannot be changed.", "CurrencyRef")

    def _transaction(self, entity: str, given: Object, before: Object | None) -> Object:
        """The transaction as it will be stored, its money computed."""
        shown = {"TxnDate": self.company.today()} | given
        self._require_open(shown)
        self._currency(entity, shown)
        self._check_number(entity, shown, before)
        if entity == "Payment":
            shown = self.payments.apply(shown)
        else:
            self._total(entity, shown, before)
        self._forms(entity, shown)
        self._home_amounts(shown)
        return {name: value for name, value in shown.items() if value is not None}

    def _total(self, entity: str, shown: Object, before: Object | None) -> None:
        """Lines, tax and totals; what was already paid stays paid."""
        lines = LineReader(self.references, entity, shown, before).read()
        tax = quickbooks_tax.computed(self.references, entity, shown, lines)
        total = lines.subtotal - lines.discount + tax.total
        if total < 0:
            raise fault("6000", "Transaction amount must be 0 or greater", "TotalAmt")
        shown["Line"] = lines.shown
        shown["TotalAmt"] = total
        shown.pop("TxnTaxDetail", None)
        if tax.detail is not None:
            shown["TxnTaxDetail"] = tax.detail
        self._open_amount(entity, shown, before, total)

    def _open_amount(self, entity: str, shown: Object, before: Object | None, total: Decimal) -> None:
        if entity in ("SalesReceipt", "RefundReceipt"):
            shown["Balance"] = ZERO
            return
        field = "RemainingCredit" if entity == "CreditMemo" else "Balance"
        paid = before["TotalAmt"] - before[field] if before else cents(shown.get("Deposit") or 0)
        if total < paid:
            raise fault("6000", "The total is less than what was already paid or applied.", "TotalAmt")
        shown["Balance"] = total - paid
        if entity == "CreditMemo":
            shown["RemainingCredit"] = total - paid

    def _forms(self, entity: str, shown: Object) -> None:
        """Defaults, and what one field asks of another."""
        if entity in ("Invoice", "Bill"):
            shown.setdefault("DueDate", self._due(shown))
        if entity in ("SalesReceipt", "Payment"):
            shown.setdefault("DepositToAccountRef", {"value": "4", "name": "Undeposited Funds"})
        if entity in SALES:
            shown.setdefault("PrintStatus", "NotSet")
            shown.setdefault("ApplyTaxAfterDiscount", False)
            if shown.get("EmailStatus") == "NeedToSend" and not value_of(shown, "BillEmail"):
                raise fault("2020", "Required parameter BillEmail is missing in the request", "BillEmail")
            if entity in ("Invoice", "SalesReceipt", "CreditMemo"):
                shown.setdefault("EmailStatus", "NotSet")
            if self.company.country != "US":
                shown.setdefault("GlobalTaxCalculation", "TaxExcluded")
            for name in ("BillAddr", "ShipAddr"):
                if name in shown:
                    shown[name] = _reflowed(shown[name])

    def _due(self, shown: Object) -> str:
        term = self.work.get("Term", value_of(shown, "SalesTermRef") or "")
        days = int((term or {}).get("DueDays") or 0)
        return (dt.date.fromisoformat(shown["TxnDate"]) + dt.timedelta(days)).isoformat()

    # --- currency ---

    def _currency(self, entity: str, shown: Object) -> None:
        """Fault 2020 where multicurrency wants a currency and none came; 6000 where two do not agree."""
        home, given = self.company.home, value_of(shown, "CurrencyRef")
        if not self.company.preference("CurrencyPrefs.MultiCurrencyEnabled"):
            if given not in (None, home):
                raise fault("6000", f"Multicurrency is not enabled, and {given} is not {home}.", "CurrencyRef")
            shown["CurrencyRef"] = {"value": home}
            return
        if given is None:
            raise fault("2020", "Required parameter CurrencyRef is missing in the request", "CurrencyRef")
        owner_field = "VendorRef" if entity == "Bill" else "CustomerRef"
        owner = self.work.get(owner_field[:-3], value_of(shown, owner_field) or "")
        if owner and owner["CurrencyRef"]["value"] != given:
            raise fault("6000", "The currency of the transaction is not that of its customer or vendor.", "CurrencyRef")
        for name in ("DepositToAccountRef", "ARAccountRef", "APAccountRef"):
            account = self.work.get("Account", value_of(shown, name) or "")
            if account and account["CurrencyRef"]["value"] not in (home, given):
                raise fault("6000", "The currency of the account is neither the transaction's nor home.", name)
        shown.setdefault("ExchangeRate", _rate(given, home))

    def _home_amounts(self, shown: Object) -> None:
        if self.company.preference("CurrencyPrefs.MultiCurrencyEnabled"):
            rate = Decimal(str(shown.get("ExchangeRate") or 1))
            shown["HomeTotalAmt"] = cents(shown["TotalAmt"] * rate)
            if "Balance" in shown:
                shown["HomeBalance"] = cents(shown["Balance"] * rate)

    # --- what can be refused ---

    def _require_writable(self, entity: str) -> None:
        if entity in LISTS_READ_ONLY or entity not in LISTS | TRANSACTIONS:
            raise fault("500", f"Operation create or update is not supported for {entity}.")

    @staticmethod
    def _refuse(problems: list[Problem]) -> None:
        if problems:
            raise QuickBooksFault(*problems)

    def _current(self, entity: str, body: Object) -> Object:
        """The object that Id names, if SyncToken is the one it has now. Faults 610, 2020, 2030, 5010."""
        object_id = body.get("Id")
        if not isinstance(object_id, str) or not object_id:
            raise fault("2020" if not object_id else "2030", "Required parameter Id is missing or ill-formed", "Id")
        before = self.references.find(entity, object_id)
        if before is None:
            raise fault("610", "Another user has deleted this, or it never was.", "Id")
        if body.get("SyncToken") in (None, ""):
            raise fault("2020", "Required parameter SyncToken is missing in the request", "SyncToken")
        if str(body["SyncToken"]) != before["SyncToken"]:
            raise fault("5010", f"You and another user were working on this at the same time. Id={object_id}")
        return before

    def _require_open(self, shown: Object) -> None:
        closed_on = self.company.preference("AccountingInfoPrefs.BookCloseDate")
        if closed_on and shown.get("TxnDate", "9") <= closed_on:
            raise fault("6210", f"The account period has closed on {closed_on}.", "TxnDate")

    @staticmethod
    def _require_independent(entity: str, before: Object) -> None:
        if _is_deposited(before):
            raise fault("6540", "The transaction is part of a deposit.")
        if entity in ("Invoice", "Bill", "CreditMemo") and before.get("LinkedTxn"):
            raise fault("6000", "The transaction is linked to a payment: delete that first.")

    def _check_number(self, entity: str, shown: Object, before: Object | None) -> None:
        """Number the transaction where the company does so itself; refuse a number twice where it does not."""
        if entity == "Payment":
            return
        number = shown.get("DocNumber")
        is_custom = self.company.preference("SalesFormsPrefs.CustomTxnNumbers")
        if entity != "Bill" and not is_custom:
            if number is None:
                shown["DocNumber"] = (
                    before["DocNumber"] if before and "DocNumber" in before else str(self.company.next_number)
                )
            return
        if number is None or self.may_repeat_number or (before and before.get("DocNumber") == number):
            return
        twins = self.company.tables[entity].by_key["DocNumber"].get(number, set()) - {(before or {}).get("Id")}
        if entity == "Bill":
            owned = self.company.tables[entity].by_key["VendorRef"].get(value_of(shown, "VendorRef"), set())
            twins = twins & owned
        if twins:
            twin = min(twins)
            detail = "You must specify a different number. This number has already been used."
            raise fault(
                "6140", f"{detail} DocNumber={number} is assigned to TxnType={entity} with TxnId={twin}", "DocNumber"
            )


def _is_deposited(shown: Object) -> bool:
    return any(one.get("TxnType") == "Deposit" for one in shown.get("LinkedTxn") or [])


def _voided(line: Object) -> Object:
    after = line | ({"Amount": ZERO} if "Amount" in line else {})
    detail = line.get("SalesItemLineDetail")
    if detail:
        after["SalesItemLineDetail"] = detail | {name: 0 for name in ("Qty", "UnitPrice") if name in detail}
    return after


def _rate(currency: str, home: str) -> Decimal:
    known = Decimal(EXCHANGE_RATES.get(currency, "1")) / Decimal(EXCHANGE_RATES.get(home, "1"))
    return known.quantize(Decimal("0.0001"))


def _reflowed(address: Object) -> Object:
    """Addresses on transactions come back as lines only, and every write gives them a new id."""
    if not any(name in address for name in ("City", "CountrySubDivisionCode", "PostalCode")):
        return address
    lines = [address[f"Line{number}"] for number in range(1, 6) if address.get(f"Line{number}")]
    place = " ".join(str(address[name]) for name in ("CountrySubDivisionCode", "PostalCode") if address.get(name))
    tail = ", ".join(part for part in (address.get("City"), place) if part)
    flowed = [*lines, tail] + ([address["Country"]] if address.get("Country") else [])
    shown = {f"Line{number}": text for number, text in enumerate(flowed[:5], 1)}
    if state := address.get("CountrySubDivisionCode"):
        shown["CountrySubDivisionCode"] = state
    return shown
