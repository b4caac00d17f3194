"""What a company has switched on, as far as it decides over what is written, and what a person should know of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from connections.providers.base import Check, Json

# our name: where it is told
_SWITCHES = {
    "own_numbers": ("SalesFormsPrefs", "CustomTxnNumbers"),
    "shipping": ("SalesFormsPrefs", "AllowShipping"),
    "discount": ("SalesFormsPrefs", "AllowDiscount"),
    "deposit": ("SalesFormsPrefs", "AllowDeposit"),
    "applies_credit": ("SalesFormsPrefs", "AutoApplyCredit"),
    "sales_tax": ("TaxPrefs", "UsingSalesTax"),
    "automated_sales_tax": ("TaxPrefs", "PartnerTaxEnabled"),
    "multicurrency": ("CurrencyPrefs", "MultiCurrencyEnabled"),
    "classes": ("AccountingInfoPrefs", "ClassTrackingPerTxn"),
    "departments": ("AccountingInfoPrefs", "TrackDepartments"),
}


def read(told: Mapping[str, Any]) -> Json:
    """By our names. automated_sales_tax: true set up, false there and not set up, null classic tax."""
    found: Json = {name: _switch(told, group, key) for name, (group, key) in _SWITCHES.items()}
    found["gratuity"] = _named(told, "SalesFormsPrefs.AllowGratuity")
    for name in ("own_numbers", "shipping", "discount", "deposit", "sales_tax", "multicurrency"):
        found[name] = bool(found[name])
    home = _part(told, "CurrencyPrefs").get("HomeCurrency")
    found["home_currency"] = str(home.get("value") or "") if isinstance(home, dict) else ""
    found["books_closed_on"] = str(_part(told, "AccountingInfoPrefs").get("BookCloseDate") or "")[:10]
    return found


def warnings(found: Mapping[str, Any]) -> Iterator[Check]:
    """What works otherwise than one might expect, each with what can be done about it."""
    if not found["own_numbers"]:
        yield _warning(
            "document_numbers",
            "QuickBooks numbers the company's forms itself, so orders cannot keep their number; it goes into the private note.",
            "Switch on custom transaction numbers in QuickBooks: Account and settings › Sales › Sales form content.",
        )
    if not found["sales_tax"]:
        yield _warning(
            "sales_tax",
            "Sales tax is off in the company: tax of an order would be dropped.",
            "Set up sales tax in QuickBooks, or map tax to a line of its own.",
        )
    elif found["automated_sales_tax"] is False:
        yield _warning(
            "sales_tax",
            "Automated Sales Tax is there and was never set up in the company.",
            "Finish its set-up in QuickBooks: Taxes › Sales tax.",
        )
    if not found["multicurrency"]:
        yield _warning(
            "currency",
            f"The company keeps one currency ({found['home_currency'] or 'its own'}): orders in others are held back.",
            "Switch on multicurrency in QuickBooks if there are such orders. It cannot be switched off again.",
        )
    if found["books_closed_on"]:
        yield _warning(
            "closing_date",
            f"The books are closed up to {found['books_closed_on']}: what is dated then is refused.",
            "Start after that day, or reopen the period in QuickBooks.",
        )
    off = [what for name, what in (("shipping", "shipping"), ("discount", "discounts")) if not found[name]]
    if off:
        yield _warning(
            "sales_forms",
            f"The company's sales forms have no {' and no '.join(off)}: such amounts go into lines of their own.",
            "Switch them on in QuickBooks: Account and settings › Sales › Sales form content.",
        )


def _warning(name: str, cause: str, remediation: str) -> Check:
    return Check(name, "warning", cause=cause, remediation=remediation)


def _part(told: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    found = told.get(group)
    return found if isinstance(found, dict) else {}


def _switch(told: Mapping[str, Any], group: str, key: str) -> bool | None:
    value = _part(told, group).get(key)
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def _named(told: Mapping[str, Any], name: str) -> bool:
    pairs = _part(told, "OtherPrefs").get("NameValue")
    found = [one for one in pairs or () if isinstance(one, dict) and one.get("Name") == name]
    return any(str(one.get("Value")).lower() == "true" for one in found)
