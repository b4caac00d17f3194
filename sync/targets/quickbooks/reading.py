"""`Books` of what is known where: the company's facts and lists as its provider tells them, and what a person has chosen.

The choices are JSON, as a flow keeps them; all of it may be missing, and `gaps` says what of it has to be there:

    {"accounts": {"income", "cost"}, "items": {name of Items: id}, "timezone", "start_date",
     "gateways": {gateway or "*": {"account", "payment_method"?, "currency"?} or a list of them},
     "tax": {"rules": [{"rates": [id], "code", "parts"?: {id: id}}], "untaxed", "by_class"?: {class: code}},
     "guests": {"rule", "customers": {currency: id}}, and the fields of Options by their names}
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from sync.targets.quickbooks import books as told
from sync.targets.quickbooks.books import (
    Account,
    BookRate,
    Books,
    Gateway,
    Items,
    Options,
    Shop,
    TaxCode,
    Taxes,
    TaxRule,
)

Rows = Iterable[Mapping[str, Any]]
_RULES = {
    "discount_rule": told.DiscountRule,
    "document_rule": told.DocumentRule,
    "item_rule": told.ItemRule,
    "closed_rule": told.ClosedRule,
    "amount_refunds": told.AmountRefundRule,
}


def books_of(
    facts: Mapping[str, Any],
    chosen: Mapping[str, Any],
    *,
    accounts: Rows = (),
    tax_codes: Rows = (),
    tax_rates: Rows = (),
    shop: Shop | None = None,
) -> Books:
    """facts: of the connection (`country`, `preferences` by our names). accounts, tax_codes, tax_rates: the company's lists.

    What is not of its kind counts as not chosen, so that it shows as a gap instead of breaking a run.
    """
    preferences = _part(facts, "preferences")
    place = shop or Shop()
    zone = _text(chosen, "timezone") or place.timezone
    return Books(
        country=_text(facts, "country"),
        home_currency=_text(preferences, "home_currency"),
        is_multicurrency=preferences.get("multicurrency") is True,
        has_own_numbers=preferences.get("own_numbers") is True,
        allows_shipping=preferences.get("shipping") is True,
        allows_tips=preferences.get("gratuity") is True,
        uses_sales_tax=preferences.get("sales_tax") is True,
        automated_tax=_switch(preferences.get("automated_sales_tax")),
        applies_credit=preferences.get("applies_credit") is True,
        closed_on=_day(preferences.get("books_closed_on")),
        start_on=_day(chosen.get("start_date")),
        income_account=_text(_part(chosen, "accounts"), "income"),
        cost_account=_text(_part(chosen, "accounts"), "cost"),
        accounts={one.account_id: one for one in map(_account, accounts)},
        gateways=tuple(_gateways(_part(chosen, "gateways"))),
        items=Items(**_texts(_part(chosen, "items"), {one.name for one in fields(Items)})),
        taxes=_taxes(_part(chosen, "tax"), tax_codes, tax_rates),
        shop=_placed(place, zone),
        options=_options(chosen),
    )


def _placed(shop: Shop, zone: str) -> Shop:
    return Shop(**{one.name: getattr(shop, one.name) for one in fields(Shop)} | {"timezone": zone})


# --- the company's lists ---
def _account(row: Mapping[str, Any]) -> Account:
    return Account(
        account_id=str(row.get("Id") or ""),
        kind=_text(row, "AccountType"),
        currency=_text(_part(row, "CurrencyRef"), "value"),
        is_active=row.get("Active") is not False,
    )


def _taxes(chosen: Mapping[str, Any], tax_codes: Rows, tax_rates: Rows) -> Taxes:
    percents = {str(row.get("Id") or ""): _number(row.get("RateValue")) for row in tax_rates}
    codes = [_tax_code(row, percents) for row in tax_codes]
    return Taxes(
        rules=tuple(_tax_rules(chosen)),
        untaxed=_text(chosen, "untaxed"),
        by_class=_texts(_part(chosen, "by_class")),
        codes={code.code_id: code for code in codes},
    )


def _tax_code(row: Mapping[str, Any], percents: Mapping[str, Decimal | None]) -> TaxCode:
    """A code with a rate whose percentage nobody tells has none: it cannot be used."""
    details = _part(row, "SalesTaxRateList").get("TaxRateDetail")
    ids = [_text(_part(one, "TaxRateRef"), "value") for one in details or () if isinstance(one, Mapping)]
    rates = [(rate_id, percents.get(rate_id)) for rate_id in ids]
    known = [BookRate(rate_id=rate_id, percent=percent) for rate_id, percent in rates if percent is not None]
    return TaxCode(
        code_id=str(row.get("Id") or ""),
        name=_text(row, "Name"),
        rates=tuple(known) if len(known) == len(rates) else (),
        is_active=row.get("Active") is not False,
    )


# --- what a person has chosen ---
def _gateways(chosen: Mapping[str, Any]) -> Iterator[Gateway]:
    for name, entries in chosen.items():
        for one in entries if isinstance(entries, list) else [entries]:
            if isinstance(one, Mapping):
                yield Gateway(
                    gateway=str(name),
                    account_id=_text(one, "account"),
                    payment_method_id=_text(one, "payment_method"),
                    currency=_text(one, "currency"),
                )


def _tax_rules(chosen: Mapping[str, Any]) -> Iterator[TaxRule]:
    for one in _list(chosen.get("rules")):
        if isinstance(one, Mapping) and (rates := [str(rate) for rate in _list(one.get("rates"))]):
            parts = tuple(sorted(_texts(_part(one, "parts")).items()))
            yield TaxRule(shop_rates=frozenset(rates), code_id=_text(one, "code"), parts=parts)


def _options(chosen: Mapping[str, Any]) -> Options:
    guests = _part(chosen, "guests")
    made: dict[str, Any] = _texts(chosen, {"number_prefix", "refund_prefix"})
    made |= {name: chosen[name] for name, rule in _RULES.items() if chosen.get(name) in get_args(rule)}
    if guests.get("rule") in get_args(told.GuestRule):
        made["guest_rule"] = guests["rule"]
    made["one_customer"] = _texts(_part(guests, "customers"))
    if (limit := _number(chosen.get("rounding_limit"))) is not None:
        made["rounding_limit"] = limit
    for name in ("owed_statuses", "ignored_statuses"):
        if isinstance(chosen.get(name), list):
            made[name] = frozenset(map(str, chosen[name]))
    for name in ("gift_cards", "tips"):
        made[name] = frozenset(str(one).casefold() for one in _list(chosen.get(name)))
    for name in ("with_customer_note", "may_overwrite_customers"):
        made[name] = chosen.get(name) is True
    return Options(**made)


# --- JSON that may be anything ---
def _part(found: Any, name: str) -> Mapping[str, Any]:
    inner = found.get(name) if isinstance(found, Mapping) else None
    return inner if isinstance(inner, Mapping) else {}


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value.strip() if isinstance(value, str) else ""


def _texts(found: Mapping[str, Any], names: set[str] | None = None) -> dict[str, str]:
    return {
        str(name): value.strip()
        for name, value in found.items()
        if isinstance(value, str) and (names is None or name in names)
    }


def _switch(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) and value else None
    except ValueError:
        return None


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
