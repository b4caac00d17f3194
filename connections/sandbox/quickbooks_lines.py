"""Lines of a transaction: checked, numbered, and what they add up to before tax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from .quickbooks_errors import Problem, QuickBooksFault, fault
from .quickbooks_fields import Object, is_date, is_number
from .quickbooks_references import References

CENT = Decimal("0.01")
SHIPPING, GRATUITY = "SHIPPING_ITEM_ID", "GRATUITY_ITEM_ID"
SALE_LINES = ("SalesItemLineDetail", "DiscountLineDetail", "DescriptionOnly", "GroupLineDetail", "SubTotalLineDetail")
BILL_LINES = ("AccountBasedExpenseLineDetail", "ItemBasedExpenseLineDetail", "DescriptionOnly")
DETAIL_FIELDS = {
    "SalesItemLineDetail": (
        *("ItemRef", "Qty", "UnitPrice", "TaxCodeRef", "ServiceDate", "ClassRef", "TaxInclusiveAmt", "DiscountRate"),
        *("DiscountAmt", "ItemAccountRef", "TaxClassificationRef", "MarkupInfo", "RatePercent"),
    ),
    "DiscountLineDetail": ("PercentBased", "DiscountPercent", "DiscountAccountRef", "TaxCodeRef", "ClassRef"),
    "AccountBasedExpenseLineDetail": (
        *("AccountRef", "TaxCodeRef", "ClassRef", "CustomerRef", "BillableStatus", "TaxAmount", "TaxInclusiveAmt"),
        "MarkupInfo",
    ),
    "ItemBasedExpenseLineDetail": (
        *("ItemRef", "Qty", "UnitPrice", "TaxCodeRef", "ClassRef", "CustomerRef", "BillableStatus", "TaxInclusiveAmt"),
        *("PriceLevelRef", "MarkupInfo", "ItemAccountRef"),
    ),
}
LINE_FIELDS = ("Id", "LineNum", "Amount", "Description", "DetailType", "LinkedTxn", "CustomField")


def cents(value: Any) -> Decimal:
    return Decimal(str(value)).quantize(CENT, ROUND_HALF_UP)


@dataclass(slots=True)
class Taxed:
    """One line's amount for the tax: its code, its net, and its gross where that was said."""

    code: str | None
    net: Decimal
    gross: Decimal | None = None


@dataclass(slots=True)
class Lines:
    """Lines as they will be stored, and their sums."""

    shown: list[Object] = field(default_factory=list)
    taxed: list[Taxed] = field(default_factory=list)
    subtotal: Decimal = Decimal(0)
    discount: Decimal = Decimal(0)


class LineReader:
    """Reads the Line array of one transaction. Raises QuickBooksFault."""

    def __init__(self, references: References, entity: str, body: Object, before: Object | None):
        self.references = references
        self.company = references.company
        self.entity = entity
        self.body = body
        self.allowed = BILL_LINES if entity == "Bill" else SALE_LINES
        self.known_ids = {line.get("Id") for line in (before or {}).get("Line", [])} - {None}

    def read(self) -> Lines:
        lines = Lines()
        given = [line for line in self.body["Line"] if line.get("DetailType") != "SubTotalLineDetail"]
        if not given:
            raise fault("2020", "Required parameter Line is missing in the request", "Line")
        fresh = self._fresh_ids(given)
        discounts = [line for line in given if line.get("DetailType") == "DiscountLineDetail"]
        if len(discounts) > 1:
            raise fault("6090", "only one discount line is allowed", "Line")
        for number, line in enumerate(given, 1):
            self._check_shape(line)
            stored = self._one(line, lines)
            kept = line.get("Id") in self.known_ids
            lines.shown.append({"Id": line["Id"] if kept else next(fresh), "LineNum": number} | stored)
        if self.entity != "Bill":
            total = {"Amount": lines.subtotal, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}}
            lines.shown.append(total)
        return lines

    def _fresh_ids(self, given: list[Object]) -> Iterator[str]:
        used = {str(line["Id"]) for line in given if line.get("Id") in self.known_ids}
        number = max((int(one) for one in self.known_ids | used if str(one).isdigit()), default=0)
        while True:
            number += 1
            yield str(number)

    def _check_shape(self, line: Object) -> None:
        kind = line.get("DetailType")
        if kind is None:
            raise fault("2020", "Required parameter Line.DetailType is missing in the request", "Line.DetailType")
        if kind not in self.allowed:
            raise fault("2170", f"{kind} is not a line of {self.entity}", "Line.DetailType")
        detail = line.get(kind) or {}
        if not isinstance(detail, dict):
            raise fault("2010", f"Property Name:Can not deserialize value of {kind}", kind)
        odd = [name for name in line if name not in LINE_FIELDS and name != kind and name != "DescriptionLineDetail"]
        odd += [f"{kind}.{name}" for name in detail if name not in DETAIL_FIELDS.get(kind, detail)]
        if odd:
            raise QuickBooksFault(
                *(
                    Problem("2010", f"Property Name:{name} specified is unsupported or invalid", f"Line.{name}")
                    for name in odd
                )
            )
        if len(str(line.get("Description") or "")) > 4000:
            raise fault("2050", "Min:0 Max:4000 supported", "Line.Description")
        numbers = [("Amount", line.get("Amount"))] + [(name, detail.get(name)) for name in ("Qty", "UnitPrice")]
        for name, value in numbers:
            if value is not None and not is_number(value):
                raise fault("2090", f"{value} is not a number", f"Line.{name}")
        if detail.get("ServiceDate") and not is_date(detail["ServiceDate"]):
            raise fault("2010", "Property Name:Can not deserialize value of ServiceDate as date", "Line.ServiceDate")

    def _one(self, line: Object, lines: Lines) -> Object:
        kind = line["DetailType"]
        if kind == "DescriptionOnly":
            return _text_line(line)
        if kind == "DiscountLineDetail":
            return self._discount(line, lines)
        if kind == "GroupLineDetail":
            raise fault("5030", "bundles are not sold by this simulator", "Line.GroupLineDetail")
        return self._amount(line, lines)

    def _amount(self, line: Object, lines: Lines) -> Object:
        kind = line["DetailType"]
        detail = dict(line.get(kind) or {})
        if kind == "SalesItemLineDetail" and not (detail.get("ItemRef") or {}).get("value"):
            return _text_line(line)  # without an item a line is text, and its amount is ignored
        if line.get("Amount") is None:
            raise fault("2020", "Required parameter Line.Amount is missing in the request", "Line.Amount")
        amount = cents(line["Amount"])
        self._check_product(amount, detail)
        self._refer(kind, detail)
        code = self._tax_code(detail)
        gross = detail.get("TaxInclusiveAmt")
        lines.taxed.append(Taxed(code, amount, None if gross is None else cents(gross)))
        lines.subtotal += amount
        return {name: line[name] for name in ("Description", "LinkedTxn") if line.get(name)} | {
            "Amount": amount,
            "DetailType": kind,
            kind: detail,
        }

    @staticmethod
    def _check_product(amount: Decimal, detail: Object) -> None:
        quantity, price = detail.get("Qty"), detail.get("UnitPrice")
        if quantity is None or price is None:
            return
        if cents(Decimal(str(quantity)) * Decimal(str(price))) != amount:
            raise fault("6070", f"Amount is not equal to UnitPrice * Qty. Supplied value:{amount}", "Line.Amount")

    def _refer(self, kind: str, detail: Object) -> None:
        item = (detail.get("ItemRef") or {}).get("value")
        if item in (SHIPPING, GRATUITY):
            self._require_special(item)
        elif kind in ("SalesItemLineDetail", "ItemBasedExpenseLineDetail"):
            if not item:
                raise fault("2020", "Required parameter ItemRef is missing in the request", "ItemRef")
            found = self.references.resolve("Item", detail["ItemRef"], "ItemRef")
            if found["Type"] == "Category":
                raise fault("6000", "a category cannot be sold", "ItemRef")
            starts = found.get("InvStartDate") if found["Type"] == "Inventory" else None
            if starts and starts > self.body["TxnDate"]:
                raise fault("6000", "Transaction date is prior to start date for inventory item", "TxnDate")
        if kind == "AccountBasedExpenseLineDetail":
            if not detail.get("AccountRef"):
                raise fault("2020", "Required parameter AccountRef is missing in the request", "AccountRef")
            self.references.resolve("Account", detail["AccountRef"], "AccountRef")
        if detail.get("CustomerRef"):
            self.references.resolve("Customer", detail["CustomerRef"], "CustomerRef")
        if detail.get("ClassRef"):
            self.references.require_class(detail["ClassRef"])

    def _require_special(self, item: str) -> None:
        if item == SHIPPING and not self.company.preference("SalesFormsPrefs.AllowShipping"):
            raise fault("5030", "shipping is not turned on in SalesFormsPrefs.AllowShipping", "ItemRef")
        allowed = {one["Name"]: one["Value"] for one in self.company.preference("OtherPrefs.NameValue") or []}
        if item == GRATUITY and allowed.get("SalesFormsPrefs.AllowGratuity") != "true":
            raise fault("5030", "tips are not turned on in SalesFormsPrefs.AllowGratuity", "ItemRef")

    def _tax_code(self, detail: Object) -> str | None:
        """The line's tax code, checked for the country: TAX and NON in the US, a real one elsewhere."""
        given = (detail.get("TaxCodeRef") or {}).get("value")
        if self.company.country == "US":
            if given not in (None, "TAX", "NON"):
                raise fault("6100", f"line tax code must be TAX or NON, not {given}", "TaxCodeRef")
            if self.entity != "Bill":
                detail["TaxCodeRef"] = {"value": given or "NON"}
            return given or "NON"
        if self.body.get("GlobalTaxCalculation") == "NotApplicable":
            return None
        if given is None:
            raise fault("6000", "Make sure all your transactions have a VAT rate before you save.", "TaxCodeRef")
        self.references.resolve("TaxCode", detail["TaxCodeRef"], "TaxCodeRef")
        return given

    def _discount(self, line: Object, lines: Lines) -> Object:
        if not self.company.preference("SalesFormsPrefs.AllowDiscount"):
            raise fault("6090", "discounts are not turned on in SalesFormsPrefs.AllowDiscount", "Line")
        detail = dict(line.get("DiscountLineDetail") or {})
        if detail.get("PercentBased"):
            percent = Decimal(str(detail.get("DiscountPercent") or 0))
            if not 0 <= percent <= 100:
                raise fault("6090", "DiscountPercent must be from 0 to 100", "DiscountPercent")
            amount = cents(lines.subtotal * percent / 100)
        else:
            amount = cents(line.get("Amount") or 0)
        if amount < 0:
            raise fault("6090", "a discount is a positive amount", "Line.Amount")
        if detail.get("DiscountAccountRef"):
            self.references.resolve("Account", detail["DiscountAccountRef"], "DiscountAccountRef")
        else:
            detail["DiscountAccountRef"] = {"value": "86", "name": "Discounts given"}
        lines.discount = amount
        return {"Amount": amount, "DetailType": "DiscountLineDetail", "DiscountLineDetail": detail}


def _text_line(line: Object) -> Object:
    return {"Description": line.get("Description") or "", "DetailType": "DescriptionOnly", "DescriptionLineDetail": {}}
