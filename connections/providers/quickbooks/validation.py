"""Is this record one that QuickBooks would take? Asked before it is sent, and answered for all of its fields at once."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from connections.errors import RejectedRecord
from connections.providers.base import Json
from connections.providers.quickbooks.entities import Entity, EntityField
from connections.providers.quickbooks.errors import PROVIDER

Operation = Literal["create", "update"]
MONEY_DECIMALS, PRICE_DECIMALS, MAX_DIGITS = 2, 5, 15
MAX_PRICE = Decimal(99999999999)
_ADDRESS = {
    **{f"Line{number}": 500 for number in range(1, 6)},
    "City": 255,
    "Country": 255,
    "CountryCode": 255,
    "CountrySubDivisionCode": 255,
    "PostalCode": 30,
    "Lat": 0,  # of what QuickBooks has answered with
    "Long": 0,
    "Id": 0,
}
MAX_ADDRESS_LINES = 2000
MAX_DESCRIPTION = 4000
_FORBIDDEN = {("Customer", "DisplayName"): ":", ("Vendor", "DisplayName"): ":", ("Item", "Name"): ':"'}
_KEPT_CONTROLS = "\n\r\t"
_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]+")


@dataclass(frozen=True, slots=True)
class Company:
    """What of the company's preferences decides over fields; None: not known, so not demanded."""

    is_multicurrency: bool | None = None
    has_own_numbers: bool | None = None


UNKNOWN = Company()


@dataclass(slots=True)
class _Look:
    """One look at a record: its errors by field path, in QuickBooks' own notation (`Line[0].Amount`)."""

    entity: Entity
    operation: Operation
    company: Company
    errors: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, path: str, why: str) -> None:
        self.errors.setdefault(path, []).append(why)


def prepared(entity: Entity, values: Mapping[str, Any], operation: Operation, company: Company = UNKNOWN) -> Json:
    """The record as it is sent: numbers in their exact form, texts without control characters.

    operation: an update names what changes only; what QuickBooks already has is not looked at again.
    Raises RejectedRecord with every field that is wrong and why.
    """
    look = _Look(entity, operation, company)
    made: Json = {}
    for name, value in values.items():
        if name in ("Id", "SyncToken"):
            made[name] = value
        elif (rule := _rule(look, name, values)) is not None:
            made[name] = None if value is None else _KINDS[rule.kind](look, rule, name, value)
    _refuse_missing(look, values)
    if look.errors:
        told = "; ".join(f"{path}: {' '.join(why)}" for path, why in look.errors.items())
        raise RejectedRecord(provider=PROVIDER, operator_detail=f"not sent: {told}"[:1000], fields=look.errors)
    return made


def field_value(entity: Entity, rule: EntityField, value: Any) -> Any:
    """One value as it is sent, by the same rules. Raises RejectedRecord with what is wrong with it."""
    look = _Look(entity, "create", UNKNOWN)
    made = _KINDS[rule.kind](look, rule, rule.name, value)
    if look.errors:
        raise RejectedRecord(provider=PROVIDER, fields=look.errors)
    return made


def writable(entity: Entity, record: Mapping[str, Any]) -> Json:
    """Of a record that was read, what may be sent back: nothing that QuickBooks computes or adds by itself."""
    made = {name: value for name, value in record.items() if (rule := entity.field(name)) and rule.is_sent}
    if isinstance(lines := made.get("Line"), list):
        made["Line"] = [line for line in lines if line.get("DetailType") != "SubTotalLineDetail"]
    return made


def merged(entity: Entity, current: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """A whole record for entities that know no sparse update: as it is now, with these changes.

    Where lines change and no tax is given the old tax is left out, or it would stay as it was.
    """
    made = writable(entity, current)
    if "Line" in changes and "TxnTaxDetail" not in changes:
        made.pop("TxnTaxDetail", None)
    return {"Id": current["Id"], "SyncToken": current["SyncToken"], **made, **changes}


# --- which fields ---
def _rule(look: _Look, name: str, values: Mapping[str, Any]) -> EntityField | None:
    rule = look.entity.field(name)
    if rule is None:
        look.refuse(name, f"{look.entity.name} has no such field.")
    elif rule.presence == "read_only":
        look.refuse(name, "QuickBooks computes this; it cannot be given.")
    elif rule.presence == "create_only" and look.operation == "update":
        look.refuse(name, "This is fixed once the record is made.")
    elif rule.only_if and look.operation == "create" and values.get(rule.only_if[0]) not in rule.only_if[1]:
        look.refuse(name, f"This applies only where {rule.only_if[0]} is {' or '.join(rule.only_if[1])}.")
    elif name == "DocNumber" and look.company.has_own_numbers is False and look.operation == "create":
        look.refuse(name, "The company has QuickBooks number its forms: a number of ours would make duplicates.")
    else:
        return rule
    return None


def _refuse_missing(look: _Look, values: Mapping[str, Any]) -> None:
    if look.operation == "update":
        for name in (rule.name for rule in look.entity.fields if rule.presence == "required" and rule.name in values):
            if _is_empty(values[name]):
                look.refuse(name, "This cannot be emptied.")
        return
    for rule in look.entity.fields:
        if _is_needed(look, rule, values) and _is_empty(values.get(rule.name)):
            look.refuse(rule.name, "This is required.")
    if look.entity.any_of and all(_is_empty(values.get(name)) for name in look.entity.any_of):
        look.refuse(look.entity.any_of[0], f"One of {', '.join(look.entity.any_of)} is required.")


def _is_needed(look: _Look, rule: EntityField, values: Mapping[str, Any]) -> bool:
    if rule.needed_if == "multicurrency":
        return look.company.is_multicurrency is True
    if rule.needed_if:
        other, wanted = rule.needed_if
        return values.get(other) in wanted
    return rule.presence == "required"


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


# --- what a field may hold ---
def _text(look: _Look, rule: EntityField, path: str, value: Any) -> Any:
    if not isinstance(value, str):
        look.refuse(path, "This is a text.")
        return value
    text = _clean(value)
    if rule.max_length and len(text) > rule.max_length:
        look.refuse(path, f"Longer than {rule.max_length} characters.")
    banned = [char for char in _FORBIDDEN.get((look.entity.name, rule.name), "") if char in text]
    if (look.entity.name, rule.name) in _FORBIDDEN and any(char in text for char in _KEPT_CONTROLS):
        banned.append("tab or newline")
    if banned:
        look.refuse(path, f"This must not contain {' or '.join(banned)}.")
    return text


def _clean(text: str) -> str:
    """Without what QuickBooks cannot store: control characters, and halves of characters that have no UTF-8."""
    kept = (char for char in text if char in _KEPT_CONTROLS or (ord(char) >= 32 and ord(char) != 127))
    return "".join(char for char in kept if not 0xD800 <= ord(char) <= 0xDFFF)


def _wrapped(inner: str) -> Callable[[_Look, EntityField, str, Any], Any]:
    def check(look: _Look, rule: EntityField, path: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            look.refuse(path, f'This is an object with "{inner}".')
            return value
        text = value.get(inner)
        kept = {**value, inner: _text(look, rule, f"{path}.{inner}", text)} if text is not None else dict(value)
        if rule.kind == "email" and isinstance(text, str) and text and not is_email(text, rule.name):
            look.refuse(f"{path}.{inner}", "This is not an e-mail address.")
        return kept

    return check


def is_email(text: str, name: str = "") -> bool:
    """A form goes to several, separated by commas; a customer has one. Semicolons separate nothing."""
    addresses = text.split(",") if name.startswith("BillEmail") else [text]
    return all(_EMAIL.fullmatch(address.strip()) for address in addresses)


def _number(
    decimals: int | None, largest: Decimal | None = None
) -> Callable[[_Look, EntityField, str, Any], Decimal | Any]:
    def check(look: _Look, _rule: EntityField, path: str, value: Any) -> Decimal | Any:
        if isinstance(value, bool) or not isinstance(value, Decimal | int):
            look.refuse(path, "This is an exact number.")
            return value
        number = Decimal(value)
        if not number.is_finite() or len(number.normalize().as_tuple().digits) > MAX_DIGITS or number.adjusted() >= MAX_DIGITS:  # fmt: skip
            look.refuse(path, f"A number has at most {MAX_DIGITS} digits.")
            return value
        if largest is not None and abs(number) > largest:
            look.refuse(path, f"This is at most {largest}.")
        if decimals is None:
            return number
        if -int(number.normalize().as_tuple().exponent) > decimals:
            look.refuse(path, f"More than {decimals} decimals: nothing is rounded on the way.")
            return value
        return number.quantize(Decimal(1).scaleb(-decimals)) if decimals == MONEY_DECIMALS else _plain(number)

    return check


def _plain(number: Decimal) -> Decimal:
    """Without trailing zeros, and without an exponent."""
    short = number.normalize()
    return short.quantize(Decimal(1)) if int(short.as_tuple().exponent) > 0 else short


def _boolean(look: _Look, _rule: EntityField, path: str, value: Any) -> Any:
    if not isinstance(value, bool):
        look.refuse(path, "This is true or false.")
    return value


def _date(look: _Look, _rule: EntityField, path: str, value: Any) -> Any:
    try:
        return date.fromisoformat(value).isoformat() if isinstance(value, str) and len(value) == 10 else _not_a_day()
    except ValueError:
        look.refuse(path, "This is a day: YYYY-MM-DD.")
        return value


def _not_a_day() -> str:
    raise ValueError


def _choice(look: _Look, rule: EntityField, path: str, value: Any) -> Any:
    if value not in rule.choices:
        look.refuse(path, f"Not one of: {', '.join(rule.choices)}.")
    return value


def _reference(look: _Look, _rule: EntityField, path: str, value: Any) -> Any:
    wanted = value.get("value") if isinstance(value, Mapping) else None
    if not isinstance(wanted, str) or not wanted.strip():
        look.refuse(path, 'This is a reference: {"value": id}.')
        return value
    return {name: part for name, part in value.items() if name in ("value", "name", "type") and part is not None}


def _address(look: _Look, _rule: EntityField, path: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        look.refuse(path, "This is an address.")
        return value
    made = {}
    for name, text in value.items():
        if name not in _ADDRESS:
            look.refuse(f"{path}.{name}", "An address has no such part.")
        elif text is not None:
            part = EntityField(name, "text", _ADDRESS[name])
            made[name] = _text(look, part, f"{path}.{name}", text)
    if sum(len(made.get(f"Line{number}", "")) for number in range(1, 6)) > MAX_ADDRESS_LINES:
        look.refuse(path, f"The lines of an address have at most {MAX_ADDRESS_LINES} characters together.")
    return made


def _object(look: _Look, rule: EntityField, path: str, value: Any) -> Any:
    for inner, number in _floats(path, value):
        look.refuse(inner, f"{number!r} is no exact number.")
    if rule.name == "TxnTaxDetail" and isinstance(value, Mapping):
        return _tax(look, path, value)
    return value


def _tax(look: _Look, path: str, tax: Mapping[str, Any]) -> Json:
    """Tax is money: QuickBooks would round what has more than cents, and the document come to something else."""
    made = dict(tax)
    if tax.get("TotalTax") is not None:
        made["TotalTax"] = _money(look, _AMOUNT, f"{path}.TotalTax", tax["TotalTax"])
    for index, line in enumerate(lines := list(tax.get("TaxLine") or [])):
        if isinstance(line, Mapping) and line.get("Amount") is not None:
            where = f"{path}.TaxLine[{index}].Amount"
            lines[index] = {**line, "Amount": _money(look, _AMOUNT, where, line["Amount"])}
    return made | ({"TaxLine": lines} if "TaxLine" in tax else {})


def _floats(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _floats(f"{path}.{name}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, inner in enumerate(value):
            yield from _floats(f"{path}[{index}]", inner)


# --- lines ---
_money = _number(MONEY_DECIMALS)
_price = _number(PRICE_DECIMALS, MAX_PRICE)
_AMOUNT, _UNIT_PRICE, _QTY = (EntityField("Amount", "money"), EntityField("UnitPrice", "price"), EntityField("Qty", "rate"))  # fmt: skip
_DESCRIPTION = EntityField("Description", "text", MAX_DESCRIPTION)


def _lines(look: _Look, _rule: EntityField, path: str, value: Any) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        look.refuse(path, "This is a list of lines.")
        return value
    made = []
    for index, line in enumerate(value):
        if not isinstance(line, Mapping):
            look.refuse(f"{path}[{index}]", "This is a line.")
        elif line.get("DetailType") != "SubTotalLineDetail":  # QuickBooks adds it itself
            made.append(_line(look, f"{path}[{index}]", line))
    if sum(line.get("DetailType") == "DiscountLineDetail" for line in made) > 1:
        look.refuse(path, "A transaction has one discount line at most.")
    if look.entity.name == "Payment":
        return made
    if value and not made:
        look.refuse(path, "There is no line but a subtotal.")
    return made


def _line(look: _Look, path: str, line: Mapping[str, Any]) -> Json:
    made = dict(line)
    _object(look, _AMOUNT, path, {name: part for name, part in line.items() if name != "Amount"})
    if line.get("Description") is not None:
        made["Description"] = _text(look, _DESCRIPTION, f"{path}.Description", line["Description"])
    if line.get("Amount") is not None:
        made["Amount"] = _money(look, _AMOUNT, f"{path}.Amount", line["Amount"])
    if look.entity.name == "Payment":
        return _payment_line(look, path, made)
    kind = line.get("DetailType")
    if kind not in look.entity.line_kinds:
        look.refuse(f"{path}.DetailType", f"Not one of: {', '.join(look.entity.line_kinds)}.")
        return made
    if kind == "DescriptionOnly":
        return made
    if line.get("Amount") is None and kind != "GroupLineDetail":
        look.refuse(f"{path}.Amount", "This is required.")
    detail = line.get(kind)
    if not isinstance(detail, Mapping):
        look.refuse(f"{path}.{kind}", "This is required.")
        return made
    made[kind] = _detail(look, f"{path}.{kind}", kind, detail, made.get("Amount"))
    return made


def _payment_line(look: _Look, path: str, line: Json) -> Json:
    if line.get("Amount") is None:
        look.refuse(f"{path}.Amount", "This is required.")
    linked = line.get("LinkedTxn")
    for one in linked if isinstance(linked, list) else ():
        if not (isinstance(one, Mapping) and one.get("TxnId") and one.get("TxnType")):
            look.refuse(f"{path}.LinkedTxn", "A link needs TxnId and TxnType.")
    return line


def _detail(look: _Look, path: str, kind: str, detail: Mapping[str, Any], amount: Any) -> Json:
    made = dict(detail)
    if kind == "SalesItemLineDetail" and _is_empty(detail.get("ItemRef")):
        look.refuse(f"{path}.ItemRef", "This is required: the amount of a line without an item is ignored.")
    if kind == "AccountBasedExpenseLineDetail" and _is_empty(detail.get("AccountRef")):
        look.refuse(f"{path}.AccountRef", "This is required.")
    if detail.get("UnitPrice") is not None:
        made["UnitPrice"] = _price(look, _UNIT_PRICE, f"{path}.UnitPrice", detail["UnitPrice"])
    if detail.get("Qty") is not None:
        made["Qty"] = _number(None)(look, _QTY, f"{path}.Qty", detail["Qty"])
    numbers = (made.get("Qty"), made.get("UnitPrice"), amount)
    if kind in ("SalesItemLineDetail", "ItemBasedExpenseLineDetail") and all(isinstance(n, Decimal) for n in numbers):
        _refuse_wrong_amount(look, path, *numbers)
    return made


def _refuse_wrong_amount(look: _Look, path: str, qty: Any, price: Any, amount: Any) -> None:
    """QuickBooks multiplies, rounds to cents, and refuses what differs (6070). Half a cent may go either way."""
    if abs(qty * price - amount) > Decimal("0.005"):
        look.refuse(path.rpartition(".")[0] + ".Amount", "This is not Qty times UnitPrice.")


_KINDS: dict[str, Callable[[_Look, EntityField, str, Any], Any]] = {
    "text": _text,
    "email": _wrapped("Address"),
    "phone": _wrapped("FreeFormNumber"),
    "uri": _wrapped("URI"),
    "memo": _wrapped("value"),
    "money": _money,
    "price": _price,
    "rate": _number(None),
    "boolean": _boolean,
    "date": _date,
    "choice": _choice,
    "reference": _reference,
    "address": _address,
    "lines": _lines,
    "object": _object,
}
