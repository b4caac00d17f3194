"""The tax of a document: which code a line has, and what each rate comes to. Woo's tax to the cent, never one of our own.

United States: a line is TAX or NON, and the document tells what its tax comes to; classic companies also name the code
that it is filed under. Elsewhere each line has a tax code of the company, and each rate of those codes is told with the
shop's amount, so that QuickBooks computes none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from connections.providers.base import Json
from sync.canonical import ZERO, Document, Line, TaxLine, apportioned, exponent_of, rounded
from sync.targets.quickbooks.books import Books, ShopRate, TaxCode, TaxRule
from sync.targets.quickbooks.outcome import Hold

CENTS = 2
TAXED, UNTAXED = "TAX", "NON"
PERCENT_TOLERANCE = Decimal("0.01")  # combined rates are told to two decimals in some places and to three in others


@dataclass(frozen=True, slots=True)
class Coded:
    """What of a document one tax code is on. taxes: (the shop's rate, its tax)."""

    code: str
    net: Decimal
    taxes: tuple[tuple[str, Decimal], ...] = ()


def tax_of(document: Document) -> Decimal:
    """What the shop charged, in cents."""
    return rounded(document.tax_total, CENTS)


def places_of(document: Document) -> int:
    """Decimals that its money has: a yen is not parted because cents could be, unless the shop's own totals do so."""
    places = min(exponent_of(document.currency), CENTS)
    is_whole = all(amount == rounded(amount, places) for amount in (document.total, tax_of(document)))
    return places if is_whole else CENTS


def require_taxable(document: Document, books: Books) -> None:
    """Raises Hold where the company would drop the tax, or has not said how it wants it."""
    if not document.tax_total:
        return
    if not books.uses_sales_tax:
        raise Hold(
            "sales_tax_off",
            f"The document has {document.tax_total} of tax, and sales tax is switched off in the company: it would be dropped.",
            "Set up sales tax in QuickBooks, then verify the connection.",
        )
    if books.is_american and books.automated_tax is False:
        raise Hold(
            "sales_tax_not_set_up",
            "The company was offered Automated Sales Tax and has not set it up, so it keeps no tax.",
            "Finish its set-up in QuickBooks: Taxes › Sales tax. Then verify the connection.",
        )


def line_code(line: Line, document: Document, books: Books) -> str:
    """ "" where the company wants none. Raises Hold for a rate that is mapped to nothing."""
    if books.is_american:
        is_taxed = bool(document.tax_total) and bool(line.tax_total or line.subtotal_tax)
        return TAXED if is_taxed else UNTAXED
    if not books.uses_sales_tax:
        return ""
    rates = frozenset(tax.rate_id for tax in line.taxes)
    if not rates:
        if line.tax_total:
            raise Hold(
                "tax_unexplained",
                f"“{line.description}” has {line.tax_total} of tax, and the shop does not say of which rate.",
                "Have the shop recalculate the order's taxes.",
            )
        return untaxed_code(books, line.tax_class)
    return _rule(rates, document, books).code_id


def untaxed_code(books: Books, tax_class: str = "") -> str:
    if books.is_american:
        return UNTAXED
    if not books.uses_sales_tax:
        return ""
    if code := books.taxes.by_class.get(tax_class) or books.taxes.untaxed:
        return code
    raise Hold(
        "tax_untaxed_unmapped",
        "A line has no tax, and no tax code is chosen for such lines.",
        "Choose the tax code of untaxed lines in the flow's tax mapping.",
    )


def detail(document: Document, coded: Sequence[Coded], books: Books, limit: Decimal) -> Json | None:
    """TxnTaxDetail, or None where the company keeps no tax. Raises Hold."""
    if not books.uses_sales_tax:
        return None
    if books.is_american:
        return _american(document, coded, books)
    return _by_rate(document, coded, books, limit)


# --- the United States ---
def _american(document: Document, coded: Sequence[Coded], books: Books) -> Json:
    tax = tax_of(document)
    if not tax:
        return {"TotalTax": tax}
    if all(one.code != TAXED for one in coded):
        raise Hold(
            "tax_unexplained",
            f"The document has {tax} of tax, and none of its lines has any.",
            "Have the shop recalculate the order's taxes.",
        )
    if books.automated_tax is not None:
        return {"TotalTax": tax}
    rates = frozenset(rate for one in coded for rate, amount in one.taxes if amount)
    return {"TxnTaxCodeRef": {"value": _rule(rates, document, books).code_id}, "TotalTax": tax}


# --- elsewhere ---
def _rule(rates: frozenset[str], document: Document, books: Books) -> TaxRule:
    rule = books.taxes.rule(rates)
    if rule is None:
        names = " + ".join(sorted(_label(rate, document, books) for rate in rates)) or "no rate"
        combined = " Several rates on one line need one combined tax code." if len(rates) > 1 else ""
        raise Hold(
            "tax_rate_unmapped",
            f"No tax code is chosen for {names}.{combined}",
            "Choose the company's tax code for it in the flow's tax mapping.",
        )
    if books.is_american:
        return rule
    code = books.taxes.codes.get(rule.code_id)
    if code is None or not code.is_active or not code.rates:
        raise Hold(
            "tax_code_unusable",
            f"The tax code {rule.code_id} is not in the company, is inactive, or has no rate for sales.",
            "Choose another one in the flow's tax mapping.",
        )
    _require_same_percent(rule, code, document, books)
    return rule


def _require_same_percent(rule: TaxRule, code: TaxCode, document: Document, books: Books) -> None:
    """A shop may change a rate and keep its id: then the code is no longer the one that was chosen for it."""
    told = {line.rate_id: line for line in document.tax_lines}
    found = [_shop_rate(told[rate]) for rate in rule.shop_rates if rate in told]
    if len(found) != len(rule.shop_rates):
        return
    charged = effective(found)
    kept = sum((rate.percent for rate in code.rates), ZERO)
    is_compound = any(rate.is_compound for rate in found) and len(code.rates) > 1
    if charged is None or is_compound or abs(charged - kept) <= PERCENT_TOLERANCE:
        return
    raise Hold(
        "tax_percent_differs",
        f"The shop charged {charged:f} %, and the tax code {code.name or code.code_id} is {kept:f} %.",
        "Choose a tax code of that percentage in the flow's tax mapping, or correct the shop's rate.",
    )


def _shop_rate(line: TaxLine) -> ShopRate:
    return ShopRate(rate_id=line.rate_id, percent=line.percent, is_compound=line.is_compound)


def effective(rates: Iterable[ShopRate]) -> Decimal | None:
    """What rates come to together, in percent: a compound one is also on the others' tax. None where one is not known."""
    plain, factor = ZERO, Decimal(1)
    for rate in rates:
        if rate.percent is None:
            return None
        if rate.is_compound:
            factor *= 1 + rate.percent / 100
        else:
            plain += rate.percent
    return (100 + plain) * factor - 100


def _by_rate(document: Document, coded: Sequence[Coded], books: Books, limit: Decimal) -> Json:
    """Every rate of every code on the document, with the shop's tax; what is not told would be computed."""
    net: dict[str, Decimal] = {}
    rates: dict[str, Decimal] = {}
    taken: dict[tuple[str, str], Decimal] = {}
    for one in coded:
        code = _known(one.code, books)
        for rate in code.rates:
            rates[rate.rate_id] = rate.percent
            net[rate.rate_id] = net.get(rate.rate_id, ZERO) + one.net
        for shop_rate, amount in one.taxes:
            place = (shop_rate, _part(shop_rate, one, code, document, books))
            taken[place] = taken.get(place, ZERO) + amount
    half_a_unit = Decimal(5).scaleb(
        -exponent_of(document.currency) - 1
    )  # each tax was rounded by itself, and their sum
    room = limit + half_a_unit * (1 + sum(len(one.taxes) for one in coded))
    _settle_rates(document, taken, room)
    amounts = {rate: sum((tax for (_shop, mine), tax in taken.items() if mine == rate), ZERO) for rate in rates}
    shares = dict(zip(amounts, apportioned(list(amounts.values()), places_of(document)), strict=True))
    _settle_total(document, shares, room)
    lines = [_tax_line(rate, rates[rate], net[rate], shares[rate]) for rate in rates]
    return {"TotalTax": tax_of(document), "TaxLine": lines}


def _known(code_id: str, books: Books) -> TaxCode:
    code = books.taxes.codes.get(code_id)
    if code is None or not code.is_active or not code.rates:
        raise Hold(
            "tax_code_unusable",
            f"The tax code {code_id} is not in the company, is inactive, or has no rate for sales.",
            "Choose another one in the flow's tax mapping.",
        )
    return code


def _part(shop_rate: str, one: Coded, code: TaxCode, document: Document, books: Books) -> str:
    """Which rate of the code takes the tax of the shop's rate."""
    if len(code.rates) == 1:
        return code.rates[0].rate_id
    rule = books.taxes.rule(frozenset(rate for rate, _amount in one.taxes))
    chosen = dict(rule.parts).get(shop_rate, "") if rule else ""
    if chosen in {rate.rate_id for rate in code.rates}:
        return chosen
    raise Hold(
        "tax_part_unmapped",
        f"The tax code {code.name or code.code_id} has several rates, and none is chosen for {_label(shop_rate, document, books)}.",
        "Choose which of the code's rates takes it in the flow's tax mapping.",
    )


def _settle_rates(document: Document, taken: dict[tuple[str, str], Decimal], room: Decimal) -> None:
    """What a shop rounds in the end, not by line, is told by its tax lines: a rate comes to what they say."""
    for line in document.tax_lines:
        places = [place for place in taken if place[0] == line.rate_id]
        if not places:
            continue
        rest = line.total + line.shipping_total - sum((taken[place] for place in places), ZERO)
        if abs(rest) > room:
            raise _parts_differ(line.total + line.shipping_total, rest)
        largest = max(places, key=lambda place: abs(taken[place]))
        taken[largest] += rest


def _settle_total(document: Document, shares: dict[str, Decimal], room: Decimal) -> None:
    rest = tax_of(document) - sum(shares.values(), ZERO)
    if abs(rest) > room or (rest and not shares):
        raise _parts_differ(tax_of(document), rest)
    if rest:
        shares[max(shares, key=lambda rate: abs(shares[rate]))] += rest


def _parts_differ(told: Decimal, rest: Decimal) -> Hold:
    return Hold(
        "tax_parts_differ",
        f"The shop tells {told} of tax, and its lines come to {told - rest}.",
        "Have the shop recalculate the order's taxes.",
    )


def _tax_line(rate_id: str, percent: Decimal, net: Decimal, amount: Decimal) -> Json:
    told = {
        "TaxRateRef": {"value": rate_id},
        "PercentBased": True,
        "TaxPercent": percent,
        "NetAmountTaxable": rounded(net, CENTS),
    }
    return {"Amount": amount, "DetailType": "TaxLineDetail", "TaxLineDetail": told}


def _label(rate_id: str, document: Document, books: Books) -> str:
    labels = {rate.rate_id: rate.label for rate in books.shop.rates}
    labels |= {line.rate_id: line.label or line.code for line in document.tax_lines}
    return f"{labels[rate_id]} (rate {rate_id})" if labels.get(rate_id) else f"rate {rate_id}"
