"""Sales tax and VAT: from lines to what a transaction comes to, in each of the ways a company can be set up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .quickbooks_errors import fault
from .quickbooks_fields import Object, is_number
from .quickbooks_lines import Lines, Taxed, cents
from .quickbooks_references import References

# The engine's rates by state of destination, in percent: fixed, so that tests can count on them.
STATE_RATES = {
    "AZ": "5.6",
    "CA": "7.25",
    "CO": "2.9",
    "FL": "6",
    "GA": "4",
    "IL": "6.25",
    "MA": "6.25",
    "NJ": "6.625",
    "NV": "6.85",
    "NY": "8.875",
    "OH": "5.75",
    "PA": "6",
    "TX": "8.25",
    "UT": "6.1",
    "WA": "6.5",
}
NO_TAX_STATES = frozenset(("AK", "DE", "MT", "NH", "OR"))


@dataclass(slots=True)
class Tax:
    """What the tax comes to. `inclusive` says that `total` is part of what the lines told as gross."""

    total: Decimal = Decimal(0)
    detail: Object | None = None
    lines: list[Object] = field(default_factory=list)


def computed(references: References, entity: str, body: Object, lines: Lines) -> Tax:
    """The tax of a transaction. Raises QuickBooksFault."""
    company = references.company
    if not company.preference("TaxPrefs.UsingSalesTax"):
        return Tax()  # a TxnTaxDetail that was sent is dropped
    if company.country != "US":
        return _value_added(references, entity, body, lines)
    if entity == "Bill":
        return Tax()
    if "PartnerTaxEnabled" in company.preferences["TaxPrefs"]:
        return _automated(references, body, lines)
    return _manual(references, body, lines)


def _explicit(body: Object) -> Decimal | None:
    given = (body.get("TxnTaxDetail") or {}).get("TotalTax")
    if given is None:
        return None
    if not is_number(given):
        raise fault("2090", f"{given} is not a number", "TxnTaxDetail.TotalTax")
    return cents(given)


def _taxable(body: Object, lines: Lines) -> Decimal:
    """The net that is taxed in the US, less its share of the discount where tax comes after it."""
    taxable = sum((one.net for one in lines.taxed if one.code == "TAX"), Decimal(0))
    if body.get("ApplyTaxAfterDiscount") and lines.discount and lines.subtotal:
        taxable -= lines.discount * taxable / lines.subtotal
    return taxable


def _automated(references: References, body: Object, lines: Lines) -> Tax:
    """Automated Sales Tax: by destination, on the subtotal; an explicit TotalTax is honoured, a tax code is not asked."""
    company = references.company
    taxable, explicit = _taxable(body, lines), _explicit(body)
    if not company.preference("TaxPrefs.PartnerTaxEnabled"):  # offered, not set up: nothing is computed
        total, rate = explicit or Decimal(0), Decimal(0)
    else:
        rate = _destination_rate(references, body)
        total = cents(taxable * rate / 100) if explicit is None else explicit
    detail: Object = {"TotalTax": total}
    if total:
        detail["TxnTaxCodeRef"] = {"value": "2"}
        detail["TaxLine"] = [_tax_line(total, "1", rate, taxable)]
    return Tax(total, detail)


def _destination_rate(references: References, body: Object) -> Decimal:
    customer = references.find("Customer", (body.get("CustomerRef") or {}).get("value")) or {}
    if customer.get("Taxable") is False:
        return Decimal(0)
    places = (
        body.get("ShipAddr"),
        customer.get("ShipAddr"),
        body.get("BillAddr"),
        references.company.info["CompanyAddr"],
    )
    for place in places:
        state = (place or {}).get("CountrySubDivisionCode")
        if state in NO_TAX_STATES:
            return Decimal(0)
        if state in STATE_RATES:
            return Decimal(STATE_RATES[state])
    return Decimal(0)


def _manual(references: References, body: Object, lines: Lines) -> Tax:
    """Classic: TxnTaxCodeRef selects the rates; without it nothing is taxed, whatever TotalTax says."""
    code = (body.get("TxnTaxDetail") or {}).get("TxnTaxCodeRef")
    if not code:
        return Tax(Decimal(0), {"TotalTax": Decimal(0)})
    found = references.resolve("TaxCode", code, "TxnTaxCodeRef")
    taxable, explicit = _taxable(body, lines), _explicit(body)
    shown = [
        _tax_line(cents(taxable * rate / 100), rate_id, rate, taxable)
        for rate_id, rate in _rates(references, found, "Sales")
    ]
    total = sum((one["Amount"] for one in shown), Decimal(0))
    if explicit is not None and shown:
        shown[0]["Amount"] += explicit - total
        total = explicit
    return Tax(total, {"TxnTaxCodeRef": {"value": code["value"]}, "TotalTax": total, "TaxLine": shown})


def _value_added(references: References, entity: str, body: Object, lines: Lines) -> Tax:
    """VAT and its like: each line's code, summed by rate and rounded once; TaxLines that were sent are an override."""
    if body.get("GlobalTaxCalculation") == "NotApplicable":
        return Tax(Decimal(0), {"TotalTax": Decimal(0)})
    side = "Purchase" if entity == "Bill" else "Sales"
    is_inclusive = body.get("GlobalTaxCalculation") == "TaxInclusive"
    shown: dict[str, Object] = {}
    for code, ones in _by_code(lines).items():
        found = references.find("TaxCode", code)
        net = sum((one.net for one in ones), Decimal(0))
        rates = list(_rates(references, found or {}, side))
        told = _told_tax(ones) if is_inclusive else None
        for number, (rate_id, rate) in enumerate(rates):
            amount = (
                told if told is not None and number == 0 else cents(net * rate / 100) if told is None else Decimal(0)
            )
            line = shown.setdefault(rate_id, _tax_line(Decimal(0), rate_id, rate, Decimal(0)))
            line["Amount"] += amount
            line["TaxLineDetail"]["NetAmountTaxable"] += net
    _override(body, shown)
    total = sum((one["Amount"] for one in shown.values()), Decimal(0))
    return Tax(total, {"TotalTax": total, "TaxLine": list(shown.values())})


def _by_code(lines: Lines) -> dict[str, list[Taxed]]:
    groups: defaultdict[str, list[Taxed]] = defaultdict(list)
    for one in lines.taxed:
        if one.code:
            groups[one.code].append(one)
    return groups


def _told_tax(ones: list[Taxed]) -> Decimal | None:
    """The tax that TaxInclusiveAmt implies, where every line of the code told it."""
    if any(one.gross is None for one in ones):
        return None
    return sum((one.gross - one.net for one in ones if one.gross is not None), Decimal(0))


def _override(body: Object, shown: dict[str, Object]) -> None:
    for one in (body.get("TxnTaxDetail") or {}).get("TaxLine") or []:
        rate_id = ((one.get("TaxLineDetail") or {}).get("TaxRateRef") or {}).get("value")
        if rate_id not in shown:
            raise fault("6000", f"tax rate {rate_id} belongs to no tax code of the lines", "TxnTaxDetail")
        if not is_number(one.get("Amount")):
            raise fault("2090", "TaxLine.Amount is not a number", "TxnTaxDetail")
        shown[rate_id]["Amount"] = cents(one["Amount"])


def _rates(references: References, code: Object, side: str) -> Iterator[tuple[str, Decimal]]:
    for one in (code.get(f"{side}TaxRateList") or {}).get("TaxRateDetail", []):
        rate_id = one["TaxRateRef"]["value"]
        rate = references.find("TaxRate", rate_id)
        yield rate_id, Decimal(str(rate["RateValue"] if rate else 0))


def _tax_line(amount: Decimal, rate_id: str, rate: Decimal, net: Any) -> Object:
    detail = {
        "TaxRateRef": {"value": rate_id},
        "PercentBased": True,
        "TaxPercent": rate,
        "NetAmountTaxable": cents(net),
    }
    return {"Amount": amount, "DetailType": "TaxLineDetail", "TaxLineDetail": detail}
