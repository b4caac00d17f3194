"""What QuickBooks' records consist of, as data: for validation before a write, and for whoever maps fields onto them.

Lengths and rules are those of Intuit's entity reference. A rule of `presence`:

    required      a create needs it              conditional   a create needs it where `needed_if` says so
    optional      may be given                   create_only   may be given when the record is made, never changed
    read_only     QuickBooks computes it: never sent
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal[
    "text",  # at most max_length characters
    "email",  # {"Address": …}
    "phone",  # {"FreeFormNumber": …}
    "uri",  # {"URI": …}
    "memo",  # {"value": …}
    "money",  # a Decimal, two decimals
    "price",  # a Decimal, five decimals
    "rate",  # a Decimal, any that fits
    "boolean",
    "date",  # YYYY-MM-DD
    "choice",  # one of `choices`
    "reference",  # {"value": id, "name"?: …}
    "address",  # Line1…5, City, …
    "lines",  # Line
    "object",  # anything with a structure of its own
]
Presence = Literal["required", "conditional", "optional", "create_only", "read_only"]


@dataclass(frozen=True, slots=True)
class EntityField:
    """One field. needed_if: (other field, its values) that make it required, or "multicurrency".

    only_if: (other field, its values) without which it is no field of the record.
    """

    name: str
    kind: Kind = "text"
    max_length: int = 0
    presence: Presence = "optional"
    choices: tuple[str, ...] = ()
    needed_if: tuple[str, tuple[str, ...]] | Literal["multicurrency", ""] = ""
    only_if: tuple[str, tuple[str, ...]] | None = None
    help: str = ""

    @property
    def is_sent(self) -> bool:
        return self.presence != "read_only"


@dataclass(frozen=True, slots=True)
class Entity:
    """One kind of record.

    is_sparse: an update may hold the changed fields only; elsewhere everything that is left out would be blanked, so the
    record is read, changed and written whole. void: how it is voided. any_of: at least one of these names it.
    """

    name: str
    fields: tuple[EntityField, ...]
    is_list: bool = False
    is_sparse: bool = False
    can_delete: bool = True
    void: Literal["", "operation", "include"] = ""
    any_of: tuple[str, ...] = ()
    line_kinds: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return self.name.lower()

    def field(self, name: str) -> EntityField | None:
        return self.by_name.get(name)

    @property
    def by_name(self) -> Mapping[str, EntityField]:
        return _BY_NAME[self.name]


def _text(name: str, max_length: int, **rules: Any) -> EntityField:
    return EntityField(name, "text", max_length, **rules)


def _refs(*names: str) -> tuple[EntityField, ...]:
    return tuple(EntityField(name, "reference") for name in names)


def _read_only(*names: str) -> tuple[EntityField, ...]:
    return tuple(EntityField(name, "object", presence="read_only") for name in names)


# QuickBooks adds these to whatever it answers with.
_ADDED = ("MetaData", "domain", "status", "sparse", "time")
_PHONES = tuple(EntityField(name, "phone", 30) for name in ("PrimaryPhone", "Mobile", "AlternatePhone", "Fax"))
_NAME_PARTS = (
    _text("Title", 16),
    _text("GivenName", 100),
    _text("MiddleName", 100),
    _text("FamilyName", 100),
    _text("Suffix", 16),
)
_NAMED_BY = ("DisplayName", "Title", "GivenName", "MiddleName", "FamilyName", "Suffix")
_CURRENCY = EntityField("CurrencyRef", "reference", presence="conditional", needed_if="multicurrency")
_FIXED_CURRENCY = EntityField("CurrencyRef", "reference", presence="create_only", help="Fixed once the record is made.")
_DATED = (
    _CURRENCY,
    EntityField("ExchangeRate", "rate", help="Home units for one foreign unit."),
    EntityField("TxnDate", "date", help="The posting date; the server's day where it is missing."),
    _text("PrivateNote", 4000),
)
_NUMBER = _text("DocNumber", 21, help="Only where the company numbers by hand (CustomTxnNumbers).")
_TAXED = (
    EntityField("TxnTaxDetail", "object"),
    EntityField("GlobalTaxCalculation", "choice", choices=("TaxExcluded", "TaxInclusive", "NotApplicable")),
)
_SALES_FORM = (
    EntityField("ApplyTaxAfterDiscount", "boolean"),
    EntityField("BillAddr", "address"),
    EntityField("ShipAddr", "address"),
    EntityField("BillEmail", "email", 100, "conditional", needed_if=("EmailStatus", ("NeedToSend",))),
    EntityField("PrintStatus", "choice", choices=("NotSet", "NeedToPrint", "PrintComplete")),
    EntityField("CustomerMemo", "memo", 1000),
    EntityField("CustomField", "object", help="At most three texts, if the company's preferences define them."),
    *_refs("ClassRef", "DepartmentRef"),
)
_EMAIL_STATUS = EntityField("EmailStatus", "choice", choices=("NotSet", "NeedToSend", "EmailSent"))
_SHIPPED = (
    EntityField("ShipFromAddr", "address"),
    EntityField("ShipDate", "date"),
    EntityField("ShipMethodRef", "reference"),
    _text("TrackingNum", 31),
)
_LINES = EntityField("Line", "lines", presence="required")
_FOR_CUSTOMER = EntityField("CustomerRef", "reference", presence="required")
_TOTALS = ("TotalAmt", "Balance", "HomeTotalAmt", "HomeBalance")
_SALES_LINES = (
    "SalesItemLineDetail",
    "GroupLineDetail",
    "DescriptionOnly",
    "DiscountLineDetail",
    "SubTotalLineDetail",
)
_BILL_LINES = ("AccountBasedExpenseLineDetail", "ItemBasedExpenseLineDetail")
_STOCKED = ("Type", ("Inventory",))

CUSTOMER = Entity(
    "Customer",
    is_list=True,
    is_sparse=True,
    can_delete=False,
    any_of=_NAMED_BY,
    fields=(
        _text(
            "DisplayName", 500, help="Unique over customers, vendors and employees; composed of the parts if missing."
        ),
        *_NAME_PARTS,
        _text("CompanyName", 100),
        EntityField("PrimaryEmailAddr", "email", 100),
        *_PHONES,
        EntityField("BillAddr", "address"),
        EntityField("ShipAddr", "address"),
        EntityField("WebAddr", "uri", 1000),
        _text("Notes", 2000),
        EntityField("Taxable", "boolean"),
        *_refs("DefaultTaxCodeRef", "SalesTermRef", "PaymentMethodRef", "ParentRef"),
        _text("TaxExemptionReasonId", 16),
        _text("ResaleNum", 16),
        _text("PrimaryTaxIdentifier", 30, help="Masked when it is read."),
        EntityField("PreferredDeliveryMethod", "choice", choices=("Print", "Email", "None")),
        _FIXED_CURRENCY,
        EntityField("Job", "boolean"),
        EntityField("BillWithParent", "boolean"),
        _text("PrintOnCheckName", 110),
        EntityField("Active", "boolean"),
        # Balance and OpenBalanceDate could be given once, and would post an opening balance: never.
        *_read_only("Balance", "OpenBalanceDate", "FullyQualifiedName", "Level", "BalanceWithJobs", "IsProject"),
        *_read_only("V4IDPseudonym", "ClientEntityId", *_ADDED),
    ),
)
VENDOR = Entity(
    "Vendor",
    is_list=True,
    can_delete=False,
    any_of=_NAMED_BY,
    fields=(
        _text(
            "DisplayName", 500, help="Unique over customers, vendors and employees; composed of the parts if missing."
        ),
        *_NAME_PARTS,
        _text("CompanyName", 100),
        EntityField("PrimaryEmailAddr", "email", 100),
        *_PHONES,
        EntityField("BillAddr", "address"),
        EntityField("WebAddr", "uri", 1000),
        *_refs("TermRef"),
        _text("TaxIdentifier", 20, help="Masked when it is read."),
        _text("AcctNum", 100),
        _FIXED_CURRENCY,
        _text("PrintOnCheckName", 100),
        EntityField("Vendor1099", "boolean"),
        EntityField("Active", "boolean"),
        *_read_only("Balance", "BillRate", "V4IDPseudonym", *_ADDED),
    ),
)
ITEM = Entity(
    "Item",
    is_list=True,
    can_delete=False,
    fields=(
        _text("Name", 100, presence="required", help="Unique; without colon, double quote, tab or newline."),
        EntityField(
            "Type",
            "choice",
            presence="required",
            choices=("Service", "NonInventory", "Inventory", "Category", "Group"),
        ),
        EntityField(
            "IncomeAccountRef",
            "reference",
            presence="conditional",
            needed_if=("Type", ("Service", "NonInventory", "Inventory")),
        ),
        EntityField("ExpenseAccountRef", "reference", presence="conditional", needed_if=_STOCKED),
        EntityField("AssetAccountRef", "reference", presence="conditional", needed_if=_STOCKED, only_if=_STOCKED),
        EntityField("QtyOnHand", "rate", presence="conditional", needed_if=_STOCKED, only_if=_STOCKED),
        EntityField("InvStartDate", "date", presence="conditional", needed_if=_STOCKED, only_if=_STOCKED),
        EntityField("TrackQtyOnHand", "boolean", presence="conditional", needed_if=_STOCKED, help="Never false again."),
        _text("Sku", 100, help="Not unique: two items may share one."),
        _text("Description", 4000),
        _text("PurchaseDesc", 1000),
        EntityField("UnitPrice", "price"),
        EntityField("PurchaseCost", "price"),
        EntityField("Taxable", "boolean"),
        EntityField("SalesTaxIncluded", "boolean"),
        EntityField("PurchaseTaxIncluded", "boolean"),
        *_refs("SalesTaxCodeRef", "PurchaseTaxCodeRef", "ParentRef", "ClassRef", "PrefVendorRef"),
        *_refs("TaxClassificationRef"),
        EntityField("SubItem", "boolean"),
        EntityField("ReorderPoint", "rate", only_if=_STOCKED),
        EntityField("ItemGroupDetail", "object", only_if=("Type", ("Group",))),
        EntityField("PrintGroupedItems", "boolean", only_if=("Type", ("Group",))),
        EntityField("Active", "boolean"),
        *_read_only("FullyQualifiedName", "Level", "ItemCategoryType", *_ADDED),
    ),
)
SALES_RECEIPT = Entity(
    "SalesReceipt",
    is_sparse=True,
    void="include",
    line_kinds=_SALES_LINES,
    fields=(
        _LINES,
        _FOR_CUSTOMER,
        EntityField("DepositToAccountRef", "reference", help="Undeposited Funds where it is missing."),
        *_DATED,
        _NUMBER,
        *_refs("PaymentMethodRef"),
        _text("PaymentRefNum", 21),
        *_TAXED,
        *_SALES_FORM,
        *_SHIPPED,
        _EMAIL_STATUS,
        EntityField("LinkedTxn", "object"),
        *_read_only(*_TOTALS, "FreeFormAddress", *_ADDED),
    ),
)
INVOICE = Entity(
    "Invoice",
    is_sparse=True,
    void="operation",
    line_kinds=_SALES_LINES,
    fields=(
        _LINES,
        _FOR_CUSTOMER,
        EntityField("DepositToAccountRef", "reference", help="Of a deposit only, where the company allows deposits."),
        EntityField("Deposit", "money"),
        *_DATED,
        _NUMBER,
        EntityField("DueDate", "date"),
        *_refs("SalesTermRef"),
        *_TAXED,
        *_SALES_FORM,
        EntityField("BillEmailCc", "email", 200),
        EntityField("BillEmailBcc", "email", 200),
        *_SHIPPED,
        _EMAIL_STATUS,
        EntityField("LinkedTxn", "object"),
        EntityField("AllowOnlineCreditCardPayment", "boolean"),
        EntityField("AllowOnlineACHPayment", "boolean"),
        *_read_only(*_TOTALS, "FreeFormAddress", "AllowIPNPayment", "AllowOnlinePayment", "EInvoiceStatus", *_ADDED),
    ),
)
REFUND_RECEIPT = Entity(
    "RefundReceipt",
    is_sparse=True,
    line_kinds=_SALES_LINES,
    fields=(
        _LINES,
        EntityField("CustomerRef", "reference", help="Not demanded, and always sent."),
        EntityField("DepositToAccountRef", "reference", presence="required"),
        *_DATED,
        _NUMBER,
        *_refs("PaymentMethodRef"),
        _text("PaymentRefNum", 100),
        EntityField("PaymentType", "choice", choices=("Cash", "Check", "CreditCard", "Other")),
        EntityField("CheckPayment", "object"),
        *_TAXED,
        *_SALES_FORM,
        *_read_only(*_TOTALS, "FreeFormAddress", *_ADDED),
    ),
)
CREDIT_MEMO = Entity(
    "CreditMemo",
    line_kinds=_SALES_LINES,
    fields=(
        _LINES,
        _FOR_CUSTOMER,
        *_DATED,
        _NUMBER,
        *_refs("SalesTermRef", "InvoiceRef"),
        *_TAXED,
        *_SALES_FORM,
        _EMAIL_STATUS,
        *_read_only(*_TOTALS, "RemainingCredit", "PaymentMethodRef", "FreeFormAddress", *_ADDED),
    ),
)
PAYMENT = Entity(
    "Payment",
    void="include",
    fields=(
        _FOR_CUSTOMER,
        EntityField("TotalAmt", "money", presence="required"),
        EntityField("Line", "lines", help="What is paid; the rest stays unapplied."),
        EntityField("DepositToAccountRef", "reference", help="Undeposited Funds where it is missing."),
        *_DATED,
        *_refs("PaymentMethodRef", "ARAccountRef"),
        _text("PaymentRefNum", 21),
        *_read_only("UnappliedAmt", "ProcessPayment", *_ADDED),
    ),
)
BILL = Entity(
    "Bill",
    line_kinds=_BILL_LINES,
    fields=(
        _LINES,
        EntityField("VendorRef", "reference", presence="required"),
        *_DATED,
        _NUMBER,
        EntityField("DueDate", "date"),
        *_refs("SalesTermRef", "APAccountRef", "DepartmentRef"),
        *_TAXED,
        EntityField("LinkedTxn", "object"),
        *_read_only(*_TOTALS, "VendorAddr", *_ADDED),
    ),
)

ENTITIES: dict[str, Entity] = {
    entity.name: entity
    for entity in (
        CUSTOMER,
        VENDOR,
        ITEM,
        SALES_RECEIPT,
        INVOICE,
        REFUND_RECEIPT,
        CREDIT_MEMO,
        PAYMENT,
        BILL,
    )
}
_BY_NAME = {entity.name: {field.name: field for field in entity.fields} for entity in ENTITIES.values()}

# The flows' entities (DESIGN §2) and what they are in QuickBooks.
FLOW_ENTITIES: dict[str, tuple[str, ...]] = {
    "customers": ("Customer",),
    "products": ("Item",),
    "orders": ("Invoice", "SalesReceipt"),
    "refunds": ("RefundReceipt", "CreditMemo"),
    "payments": ("Payment",),
    "vendors": ("Vendor",),
    "bills": ("Bill",),
}
FLOW_ENTITY_OF: dict[str, str] = {name: flow for flow, names in FLOW_ENTITIES.items() for name in names}
