"""QuickBooks' field tables: what may be sent for each entity, how long, of which type, and what only QuickBooks sets."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .quickbooks_errors import Problem

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spec:
    """One field. `mode`: rw, ro (a sent value is overwritten) or once (fixed after the create)."""

    kind: str
    limit: int = 0
    target: str = ""
    choices: tuple[str, ...] = ()
    mode: str = "rw"


def _spec(text: str) -> Spec:
    """Read `kind[:argument][ ro|once]`; the argument is a maximum length, an entity or the words of a choice."""
    words, _space, mode = text.partition(" ")
    kind, _colon, argument = words.partition(":")
    limit = int(argument) if argument.isdigit() else 0
    choices = tuple(argument.split("|")) if kind == "enum" else ()
    return Spec(kind, limit, argument if kind == "ref" else "", choices, mode or "rw")


def _table(*parts: dict[str, str]) -> dict[str, Spec]:
    return {name: _spec(text) for part in parts for name, text in part.items()}


SYSTEM_FIELDS = frozenset(("Id", "SyncToken", "MetaData", "domain", "sparse", "status"))

_PERSON = {
    "DisplayName": "text:500",
    "Title": "text:16",
    "GivenName": "text:100",
    "MiddleName": "text:100",
    "FamilyName": "text:100",
    "Suffix": "text:16",
    "CompanyName": "text:100",
    "PrimaryEmailAddr": "email:100",
    "PrimaryPhone": "phone:30",
    "AlternatePhone": "phone:30",
    "Mobile": "phone:30",
    "Fax": "phone:30",
    "BillAddr": "address",
    "WebAddr": "uri:1000",
    "CurrencyRef": "currency once",
    "Active": "bool",
    "Balance": "number ro",
}
_LINES = {
    "Line": "lines",
    "TxnDate": "date",
    "DocNumber": "text:21",
    "PrivateNote": "text:4000",
    "CurrencyRef": "currency",
    "ExchangeRate": "number",
    "DepartmentRef": "ref:Department",
    "LinkedTxn": "list",
    "TotalAmt": "number ro",
    "Balance": "number ro",
    "HomeTotalAmt": "number ro",
    "HomeBalance": "number ro",
}
_TAXED = {"TxnTaxDetail": "object", "GlobalTaxCalculation": "enum:TaxExcluded|TaxInclusive|NotApplicable"}
_SALE = {
    "CustomerRef": "ref:Customer",
    "BillAddr": "address",
    "ShipAddr": "address",
    "BillEmail": "email:100",
    "CustomerMemo": "memo:1000",
    "CustomField": "custom",
    "ClassRef": "ref:Class",
    "ApplyTaxAfterDiscount": "bool",
    "PrintStatus": "enum:NotSet|NeedToPrint|PrintComplete",
    "FreeFormAddress": "bool ro",
}
_EMAIL = {"EmailStatus": "enum:NotSet|NeedToSend|EmailSent", "DeliveryInfo": "object ro"}
_SHIPPED = {"ShipFromAddr": "address", "ShipDate": "date", "ShipMethodRef": "name", "TrackingNum": "text:31"}

TABLES: dict[str, dict[str, Spec]] = {
    "Customer": _table(
        _PERSON,
        {
            "ShipAddr": "address",
            "Notes": "text:2000",
            "Taxable": "bool",
            "DefaultTaxCodeRef": "ref:TaxCode",
            "TaxExemptionReasonId": "any",
            "ResaleNum": "text:16",
            "PrimaryTaxIdentifier": "text:20",
            "SalesTermRef": "ref:Term",
            "PaymentMethodRef": "ref:PaymentMethod",
            "PreferredDeliveryMethod": "enum:Print|Email|None",
            "ParentRef": "ref:Customer",
            "Job": "bool",
            "BillWithParent": "bool",
            "Balance": "number once",
            "OpenBalanceDate": "date once",
            "PrintOnCheckName": "text:110",
            "FullyQualifiedName": "text ro",
            "Level": "number ro",
            "BalanceWithJobs": "number ro",
            "IsProject": "bool ro",
        },
    ),
    "Vendor": _table(
        _PERSON,
        {
            "TaxIdentifier": "text:20",
            "TermRef": "ref:Term",
            "PrintOnCheckName": "text:100",
            "AcctNum": "text:100",
            "Vendor1099": "bool",
        },
    ),
    "Item": _table(
        {
            "Name": "text:100",
            "Type": "enum:Service|NonInventory|Inventory|Category|Group",
            "IncomeAccountRef": "ref:Account",
            "ExpenseAccountRef": "ref:Account",
            "AssetAccountRef": "ref:Account",
            "QtyOnHand": "number",
            "InvStartDate": "date",
            "TrackQtyOnHand": "bool",
            "Sku": "text:100",
            "Description": "text:4000",
            "PurchaseDesc": "text:1000",
            "UnitPrice": "number",
            "PurchaseCost": "number",
            "Taxable": "bool",
            "SalesTaxCodeRef": "ref:TaxCode",
            "PurchaseTaxCodeRef": "ref:TaxCode",
            "SalesTaxIncluded": "bool",
            "PurchaseTaxIncluded": "bool",
            "ParentRef": "ref:Item",
            "SubItem": "bool",
            "Active": "bool",
            "ClassRef": "ref:Class",
            "PrefVendorRef": "ref:Vendor",
            "ReorderPoint": "number",
            "TaxClassificationRef": "any",
            "FullyQualifiedName": "text ro",
            "Level": "number ro",
        }
    ),
    "Invoice": _table(
        _LINES,
        _TAXED,
        _SALE,
        _EMAIL,
        _SHIPPED,
        {
            "DueDate": "date",
            "SalesTermRef": "ref:Term",
            "DepositToAccountRef": "ref:Account",
            "Deposit": "number",
            "BillEmailCc": "email:200",
            "BillEmailBcc": "email:200",
            "AllowOnlineCreditCardPayment": "bool",
            "AllowOnlineACHPayment": "bool",
        },
    ),
    "SalesReceipt": _table(
        _LINES,
        _TAXED,
        _SALE,
        _EMAIL,
        _SHIPPED,
        {
            "DepositToAccountRef": "ref:Account",
            "PaymentMethodRef": "ref:PaymentMethod",
            "PaymentRefNum": "text:21",
        },
    ),
    "RefundReceipt": _table(
        {name: text for name, text in _LINES.items() if name != "LinkedTxn"},
        _TAXED,
        _SALE,
        {
            "DepositToAccountRef": "ref:Account",
            "PaymentMethodRef": "ref:PaymentMethod",
            "PaymentRefNum": "text:100",
            "PaymentType": "enum:Cash|Check|CreditCard|Other",
            "CheckPayment": "object",
        },
    ),
    "CreditMemo": _table(
        {name: text for name, text in _LINES.items() if name != "LinkedTxn"},
        _TAXED,
        _SALE,
        _EMAIL,
        {
            "SalesTermRef": "ref:Term",
            "PaymentMethodRef": "any ro",
            "InvoiceRef": "any",
            "RemainingCredit": "number ro",
        },
    ),
    "Payment": _table(
        {
            "CustomerRef": "ref:Customer",
            "TotalAmt": "number",
            "TxnDate": "date",
            "Line": "lines",
            "CurrencyRef": "currency",
            "ExchangeRate": "number",
            "PrivateNote": "text:4000",
            "DepositToAccountRef": "ref:Account",
            "PaymentMethodRef": "ref:PaymentMethod",
            "PaymentRefNum": "text:21",
            "ARAccountRef": "ref:Account",
            "UnappliedAmt": "number ro",
            "HomeTotalAmt": "number ro",
            "LinkedTxn": "list ro",
            "ProcessPayment": "bool",
        }
    ),
    "Bill": _table(
        _LINES,
        _TAXED,
        {
            "VendorRef": "ref:Vendor",
            "DueDate": "date",
            "SalesTermRef": "ref:Term",
            "APAccountRef": "ref:Account",
            "VendorAddr": "address ro",
        },
    ),
    "Account": _table(
        {
            "Name": "text:100",
            "AcctNum": "text:20",
            "Description": "text:100",
            "AccountType": "text:100",
            "AccountSubType": "text:100",
            "CurrencyRef": "currency once",
            "ParentRef": "ref:Account",
            "SubAccount": "bool",
            "TaxCodeRef": "ref:TaxCode",
            "Active": "bool",
            "Classification": "text ro",
            "CurrentBalance": "number ro",
            "CurrentBalanceWithSubAccounts": "number ro",
            "FullyQualifiedName": "text ro",
        }
    ),
    "PaymentMethod": _table({"Name": "text:31", "Type": "enum:CREDIT_CARD|NON_CREDIT_CARD", "Active": "bool"}),
    "Term": _table(
        {
            "Name": "text:31",
            "Type": "text ro",
            "DueDays": "number",
            "DiscountPercent": "number",
            "DiscountDays": "number",
            "DayOfMonthDue": "number",
            "DueNextMonthDays": "number",
            "Active": "bool",
        }
    ),
    "Class": _table(
        {
            "Name": "text:100",
            "ParentRef": "ref:Class",
            "SubClass": "bool",
            "Active": "bool",
            "FullyQualifiedName": "text ro",
        }
    ),
    "Department": _table(
        {
            "Name": "text:100",
            "ParentRef": "ref:Department",
            "SubDepartment": "bool",
            "Active": "bool",
            "FullyQualifiedName": "text ro",
        }
    ),
    "TaxCode": {},
    "TaxRate": {},
}
LISTS = frozenset(("Customer", "Vendor", "Item", "Account", "PaymentMethod", "Term", "Class", "Department"))
LISTS_READ_ONLY = frozenset(("TaxCode", "TaxRate"))
SALES = frozenset(("Invoice", "SalesReceipt", "RefundReceipt", "CreditMemo"))
TRANSACTIONS = SALES | {"Payment", "Bill"}
# Elsewhere Intuit documents full updates only, so here `sparse` is not listened to.
SPARSE = frozenset(("Customer", "Invoice", "SalesReceipt", "RefundReceipt", "CompanyInfo"))
BY_PATH = {name.lower(): name for name in TABLES}

REQUIRED: dict[str, tuple[str, ...]] = {
    "Item": ("Name", "Type"),
    "Invoice": ("Line", "CustomerRef"),
    "SalesReceipt": ("Line", "CustomerRef"),
    "RefundReceipt": ("Line", "DepositToAccountRef"),
    "CreditMemo": ("Line", "CustomerRef"),
    "Payment": ("CustomerRef", "TotalAmt"),
    "Bill": ("Line", "VendorRef"),
    "Account": ("Name",),
    "PaymentMethod": ("Name",),
    "Term": ("Name",),
    "Class": ("Name",),
    "Department": ("Name",),
}
MAX_AMOUNT = Decimal(99_999_999_999)
ADDRESS = {f"Line{number}": 500 for number in range(1, 6)} | {
    "City": 255,
    "Country": 255,
    "CountrySubDivisionCode": 255,
    "PostalCode": 30,
}
ADDRESS_EXTRA = frozenset(("Id", "Lat", "Long", "Note", "CountryCode", "PostalCodeSuffix", "County"))
EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]+")


def is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) == 10 and bool(dt.date.fromisoformat(value))
    except ValueError:
        return False


def is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
    return isinstance(value, int | Decimal)


def check(entity: str, body: Object) -> list[Problem]:
    """What is wrong with the types and lengths of `body`, everything at once. Null and empty text mean "blank"."""
    table = TABLES[entity]
    problems: list[Problem] = []
    for name, value in body.items():
        if name in SYSTEM_FIELDS:
            continue
        spec = table.get(name)
        if spec is None:
            detail = f"Property Name:{name} specified is unsupported or invalid"
            problems.append(Problem("2010", detail, name))
        elif value is not None and spec.mode != "ro":
            problems += _checked(name, spec, value)
    return problems


def _checked(name: str, spec: Spec, value: Any) -> list[Problem]:
    match spec.kind:
        case "text":
            return _text(name, value, spec.limit)
        case "bool":
            return [] if isinstance(value, bool) else [_ill(name, "boolean")]
        case "number":
            if not is_number(value):
                return [Problem("2090", f"{value} is not a number", name)]
            return [] if abs(Decimal(value)) <= MAX_AMOUNT else [Problem("2090", "out of range", name)]
        case "date":
            return [] if is_date(value) else [_ill(name, "date")]
        case "enum":
            return [] if value in spec.choices else [Problem("2170", f"{value} is not one of {spec.choices}", name)]
        case "ref" | "currency" | "name":
            is_ref = isinstance(value, dict) and isinstance(value.get("value"), str) and value["value"] != ""
            return [] if is_ref else [_ill(name, "ReferenceType")]
        case "email":
            return _email(name, value, spec.limit)
        case "phone":
            return _part(name, value, "FreeFormNumber", spec.limit)
        case "uri":
            return _part(name, value, "URI", spec.limit)
        case "memo":
            return _part(name, value, "value", spec.limit)
        case "address":
            return _address(name, value)
        case "custom":
            return _custom(name, value)
        case "lines" | "list":
            is_list = isinstance(value, list) and all(isinstance(one, dict) for one in value)
            return [] if is_list else [_ill(name, "array")]
        case "object":
            return [] if isinstance(value, dict) else [_ill(name, "object")]
    return []


def _ill(name: str, kind: str) -> Problem:
    return Problem("2010", f"Property Name:Can not deserialize value of {name} as {kind}", name)


def _text(name: str, value: Any, limit: int) -> list[Problem]:
    if not isinstance(value, str):
        return [_ill(name, "String")]
    if limit and len(value) > limit:
        return [Problem("2050", f"Min:0 Max:{limit} supported. Supplied length:{len(value)}", name)]
    return []


def _part(name: str, value: Any, part: str, limit: int) -> list[Problem]:
    if not isinstance(value, dict):
        return [_ill(name, "object")]
    given = value.get(part)
    return [] if given is None else _text(f"{name}.{part}", given, limit)


def _email(name: str, value: Any, limit: int) -> list[Problem]:
    problems = _part(name, value, "Address", limit)
    given = value.get("Address") if isinstance(value, dict) else None
    if not problems and given:
        addresses = given.split(",") if name.startswith("BillEmail") else [given]
        if not all(EMAIL.fullmatch(one.strip()) for one in addresses):
            problems.append(Problem("2210", "Email Address does not conform to the syntax rules of RFC 822.", name))
    return problems


def _address(name: str, value: Any) -> list[Problem]:
    if not isinstance(value, dict):
        return [_ill(name, "PhysicalAddress")]
    problems = []
    for part, given in value.items():
        if part in ADDRESS and given is not None:
            problems += _text(f"{name}.{part}", given, ADDRESS[part])
        elif part not in ADDRESS and part not in ADDRESS_EXTRA:
            problems.append(Problem("2010", f"Property Name:{part} specified is unsupported or invalid", name))
    if sum(len(str(value.get(f"Line{number}") or "")) for number in range(1, 6)) > 2000:
        problems.append(Problem("2050", "Min:0 Max:2000 supported for all lines together", name))
    return problems


def _custom(name: str, value: Any) -> list[Problem]:
    if not isinstance(value, list):
        return [_ill(name, "array")]
    problems = []
    for one in value:
        if not isinstance(one, dict) or str(one.get("DefinitionId")) not in ("1", "2", "3"):
            problems.append(Problem("2500", "CustomField.DefinitionId", name))
        elif len(str(one.get("StringValue") or "")) > 31:
            problems.append(Problem("2050", "Min:0 Max:31 supported", f"{name}.StringValue"))
    return problems


def without_read_only(entity: str, body: Object, *, is_create: bool) -> Object:
    """`body` without what QuickBooks sets itself and, on an update, without what is fixed after the create."""
    hidden = {"ro"} if is_create else {"ro", "once"}
    table = TABLES[entity]
    return {
        name: value
        for name, value in body.items()
        if name not in SYSTEM_FIELDS and name in table and table[name].mode not in hidden
    }


def missing(entity: str, body: Object) -> list[Problem]:
    return [
        Problem("2020", f"Required parameter {name} is missing in the request", name)
        for name in REQUIRED.get(entity, ())
        if body.get(name) in (None, "", [], {})
    ]
