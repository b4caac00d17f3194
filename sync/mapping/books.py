"""The fields of QuickBooks' records, from its entity reference; what accounting decides is nobody's to map."""

from collections.abc import Callable
from datetime import date
from typing import Any

from connections.errors import RejectedRecord
from connections.providers.quickbooks.entities import ENTITIES, FLOW_ENTITIES, Entity, EntityField
from connections.providers.quickbooks.validation import field_value
from sync.canonical import Address
from sync.mapping.fields import FieldTable, Takes, TargetField, refused, too_long
from sync.mapping.functions import string
from sync.targets.quickbooks import texts

TARGET = "quickbooks"
_MONEY = "Amounts arrive as the source tells them, or the books would not agree with the shop."
_TAX = "The tax follows from the source's own, by the tax codes in the flow's settings, so that both come to the same cent."
_PARENT = "This leads to another record in the books: Causeway sets it from what it has linked."
_CURRENCY = "The currency is the document's own."
_DAY = (
    "The posting day follows from when the document was paid or made, in the shop's time zone, and from closed books."
)
_MARK = "By this text Causeway finds a document again whose answer was lost, so that none is doubled."
_MAIL = "Nothing is mailed or printed because of a sync."
_STOCK = "This starts the count of stock in the books, which no flow does."
_LIFE = "A record goes out of use when it is gone at its source."
_GROUPS = "Only items that are counted, or that are groups, have it: no flow makes these."
_STRUCTURE = "It has a structure of its own, which no rule can give."
_COMPUTED = "QuickBooks computes this."
OWNED: dict[str, str] = {
    **dict.fromkeys(("Line", "TotalAmt", "Deposit"), _MONEY),
    **dict.fromkeys(
        ("TxnTaxDetail", "GlobalTaxCalculation", "ApplyTaxAfterDiscount", "SalesTaxIncluded", "PurchaseTaxIncluded"),
        _TAX,
    ),
    **dict.fromkeys(
        ("CustomerRef", "VendorRef", "LinkedTxn", "InvoiceRef", "ParentRef", "SubItem", "Job", "BillWithParent"),
        _PARENT,
    ),
    **dict.fromkeys(("CurrencyRef", "ExchangeRate"), _CURRENCY),
    **dict.fromkeys(("EmailStatus", "PrintStatus"), _MAIL),
    **dict.fromkeys(("TrackQtyOnHand", "QtyOnHand", "InvStartDate"), _STOCK),
    "TxnDate": _DAY,
    "PrivateNote": _MARK,
    "Active": _LIFE,
}
_LINE_OWNED = {
    "Line.Amount": _MONEY,
    "Line.Qty": _MONEY,
    "Line.UnitPrice": _MONEY,
    "Line.ItemRef": _PARENT,
    "Line.TaxCodeRef": _TAX,
    "Line.DetailType": "It follows from what the line is.",
}
_LINE_FIELDS = (
    EntityField("Description", "text", 4000),
    EntityField("ServiceDate", "date"),
    EntityField("ClassRef", "reference", help="Where the company tracks classes by line."),
)
_WITH_LINES = ("orders", "refunds")
_NOT_OF = {"Invoice": ("DepositToAccountRef",)}  # there it is the account of a deposit that comes with the invoice
_MADE_ITEMS = ("Service", "NonInventory")
_TAKES: dict[str, Takes] = {
    "money": "number",
    "price": "number",
    "rate": "number",
    "boolean": "boolean",
    "date": "day",
    "address": "address",
}
_INSIDE = {"email": "Address", "phone": "FreeFormNumber", "uri": "URI", "memo": "value", "reference": "value"}


def table(entity: str) -> FieldTable:
    """Raises KeyError. An entity that has several kinds of record in QuickBooks has the fields of all of them."""
    kinds = [ENTITIES[name] for name in FLOW_ENTITIES[entity]]
    names = dict.fromkeys(rule.name for kind in kinds for rule in kind.fields)
    found = {name: _field(name, kinds) for name in names}
    if entity in _WITH_LINES:
        for rule in _LINE_FIELDS:
            found[f"Line.{rule.name}"] = _made(f"Line.{rule.name}", rule, kinds, "", is_line=True)
        for name, reason in _LINE_OWNED.items():
            found[name] = _made(name, EntityField(name, "object"), kinds, reason, is_line=True)
    return FieldTable(TARGET, entity, found, any_of=kinds[0].any_of, lines="Line" if entity in _WITH_LINES else "")


def _field(name: str, kinds: list[Entity]) -> TargetField:
    """Where a kind of record has it otherwise than another, the narrower rule counts for both."""
    having = [(kind, rule) for kind in kinds if (rule := kind.field(name)) and name not in _NOT_OF.get(kind.name, ())]
    own = [(kind, rule) for kind, rule in having if not _reason(rule)] or having[:1]
    rule = min((rule for _kind, rule in own), key=lambda rule: rule.max_length or 1_000_000)
    return _made(name, rule, [kind for kind, _rule in own], _reason(rule), is_some=len(own) < len(kinds))


def _reason(rule: EntityField) -> str:
    if rule.presence == "read_only":
        return _COMPUTED
    if rule.name in OWNED:
        return OWNED[rule.name]
    if rule.only_if:
        return _GROUPS
    return _STRUCTURE if rule.kind in ("object", "lines") else ""


def _made(
    name: str, rule: EntityField, kinds: list[Entity], reason: str, *, is_line: bool = False, is_some: bool = False
) -> TargetField:
    choices = _MADE_ITEMS if name == "Type" else rule.choices
    return TargetField(
        name=name,
        type=f"{rule.kind}({rule.max_length})" if rule.max_length else rule.kind,
        takes=_TAKES.get(rule.kind, "text"),
        shaped=_shaper(rule, kinds[0], choices),
        max_length=rule.max_length,
        choices=choices,
        is_required=rule.presence == "required" and not reason and not is_some,
        is_line=is_line,
        read_only=reason,
        documents=tuple(kind.name for kind in kinds) if is_some else (),
        help=rule.help,
    )


def _shaper(rule: EntityField, kind: Entity, choices: tuple[str, ...]) -> Callable[[Any], Any]:
    inside = _INSIDE.get(rule.kind)

    def shaped(value: Any) -> Any:
        if choices and value not in choices:
            raise refused(value, f"not one of {', '.join(choices)}.")
        if isinstance(value, str) and rule.max_length and len(value) > rule.max_length:
            raise too_long(value, rule.max_length)
        try:
            made = field_value(kind, rule, _wrapped(value, inside))
        except RejectedRecord as error:
            told = [f"{path.partition('.')[2]}: {why[0]}".lstrip(": ") for path, why in (error.fields or {}).items()]
            raise refused(value, " ".join(told)) from None
        return None if made in ("", {}) or (inside and not made.get(inside)) else made

    return shaped


def _wrapped(value: Any, inside: str | None) -> Any:
    if isinstance(value, Address):
        return texts.address(value) or {}
    if isinstance(value, date):
        return string(value)
    return {inside: value} if inside else value
