"""The companies there are, and the books a seed gives them. Nothing here is random twice: it follows from the seed."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from .quickbooks_fields import Object
from .quickbooks_lines import cents
from .quickbooks_lists import CLASSIFICATIONS
from .quickbooks_store import PACIFIC, Company, stamp

EPOCH = 1_780_000_000  # a fixed day: seeded objects are older than the company's birth by whole hours
GIVEN = [
    "Ana",
    "Ben",
    "Chloé",
    "Dmitri",
    "Esi",
    "Farah",
    "Goran",
    "Hana",
    "Ivo",
    "Jun",
    "Karin",
    "Luis",
    "Mei",
    "Noor",
    "Ola",
    "Petra",
    "Quinn",
    "Rosa",
    "Sami",
    "Tove",
]
FAMILY = [
    "Diaz",
    "Okafor",
    "Lindqvist",
    "Moreau",
    "Novák",
    "O'Hara",
    "Petrov",
    "Quispe",
    "Rossi",
    "Sato",
    "Tran",
    "Urquhart",
    "Vega",
    "Weiss",
    "Yilmaz",
]
PLACES = (
    ("Austin", "TX", "73301"),
    ("Sacramento", "CA", "94203"),
    ("Portland", "OR", "97201"),
    ("Albany", "NY", "12201"),
)
GOODS = (
    "Blue shirt",
    "Canvas bag",
    "Enamel mug",
    "Field notebook",
    "Wool cap",
    "Desk lamp",
    "Linen apron",
    "Tea towel",
)
SIZES = ("S", "M", "L", "XL")
SUPPLIERS = (
    "Cobalt Textiles",
    "Harrow Paper",
    "Kiln & Co",
    "Northwind Freight",
    "Orchard Energy",
    "Pike Street Rentals",
)

# By id: name, type, subtype.
ACCOUNTS: dict[str, tuple[str, str, str]] = {
    "1": ("Services", "Income", "ServiceFeeIncome"),
    "4": ("Undeposited Funds", "Other Current Asset", "UndepositedFunds"),
    "33": ("Accounts Payable (A/P)", "Accounts Payable", "AccountsPayable"),
    "35": ("Checking", "Bank", "Checking"),
    "36": ("Savings", "Bank", "Savings"),
    "41": ("Card Clearing", "Other Current Asset", "OtherCurrentAssets"),
    "60": ("Rent or Lease", "Expense", "RentOrLeaseOfBuildings"),
    "61": ("Utilities", "Expense", "Utilities"),
    "62": ("Shipping and Freight", "Expense", "ShippingFreightDelivery"),
    "63": ("Merchant Fees", "Expense", "BankCharges"),
    "79": ("Sales of Product Income", "Income", "SalesOfProductIncome"),
    "80": ("Cost of Goods Sold", "Cost of Goods Sold", "SuppliesMaterialsCogs"),
    "81": ("Inventory Asset", "Other Current Asset", "Inventory"),
    "82": ("Shipping Income", "Income", "SalesOfProductIncome"),
    "83": ("Gift Cards Outstanding", "Other Current Liability", "OtherCurrentLiabilities"),
    "84": ("Accounts Receivable (A/R)", "Accounts Receivable", "AccountsReceivable"),
    "86": ("Discounts given", "Income", "DiscountsRefundsGiven"),
    "89": ("Sales Tax Payable", "Other Current Liability", "SalesTaxPayable"),
}
METHODS = (("Cash", "NON"), ("Check", "NON"), ("Visa", "CREDIT"), ("MasterCard", "CREDIT"), ("PayPal", "NON"))
TERMS = (("Due on receipt", 0), ("Net 15", 15), ("Net 30", 30), ("Net 60", 60))
# name, sales rates [(id, name, percent)], purchase rates
VAT = (
    ("20.0% S", (("1", "20% Standard sales", "20"),), (("2", "20% Standard purchases", "20"),)),
    ("5.0% R", (("3", "5% Reduced sales", "5"),), (("4", "5% Reduced purchases", "5"),)),
    ("0.0% Z", (("5", "0% Zero sales", "0"),), (("6", "0% Zero purchases", "0"),)),
    ("Exempt", (("7", "Exempt sales", "0"),), (("8", "Exempt purchases", "0"),)),
)
CANADIAN = (
    ("HST ON", (("1", "HST (ON) 13%", "13"),), (("2", "HST (ON) ITC 13%", "13"),)),
    ("GST/PST BC", (("3", "GST 5%", "5"), ("4", "PST (BC) 7%", "7")), (("5", "GST ITC 5%", "5"),)),
    ("Exempt", (("6", "Exempt sales", "0"),), (("7", "Exempt purchases", "0"),)),
)
AMERICAN = (
    ("Texas", (("1", "Texas State", "6.25"), ("2", "Austin", "2")), ()),
    ("California", (("3", "California", "7.25"),), ()),
)

# preset: country, home currency, name, address, what differs in the preferences
PRESETS: dict[str, dict[str, Any]] = {
    "us_ast": {
        "country": "US",
        "home": "USD",
        "name": "Larkspur Outfitters",
        "address": {"Line1": "12 Harbor St", "City": "Austin", "CountrySubDivisionCode": "TX", "PostalCode": "73301"},
        "preferences": {"TaxPrefs": {"UsingSalesTax": True, "PartnerTaxEnabled": True}},
    },
    "us_manual": {
        "country": "US",
        "home": "USD",
        "name": "Copperleaf Wholesale",
        "address": {"Line1": "4 Mill Rd", "City": "Sacramento", "CountrySubDivisionCode": "CA", "PostalCode": "94203"},
        "preferences": {"TaxPrefs": {"UsingSalesTax": True}},
    },
    "gb_vat": {
        "country": "GB",
        "home": "GBP",
        "name": "Thistle Lane Trading",
        "address": {"Line1": "9 Thistle Lane", "City": "Leeds", "PostalCode": "LS1 4AP"},
        "preferences": {"TaxPrefs": {"UsingSalesTax": True}},
        "codes": VAT,
    },
    "ca_multi": {
        "country": "CA",
        "home": "CAD",
        "name": "Maple Harbour Goods",
        "address": {"Line1": "77 Quay St", "City": "Toronto", "CountrySubDivisionCode": "ON", "PostalCode": "M5J 2N8"},
        "preferences": {"TaxPrefs": {"UsingSalesTax": True}, "CurrencyPrefs": {"MultiCurrencyEnabled": True}},
        "codes": CANADIAN,
    },
}
# The companies of a fresh simulator: realm, preset, environment, has life
COMPANIES = (
    ("9341450000000001", "us_ast", "sandbox", True),
    ("9341450000000002", "gb_vat", "sandbox", True),
    ("9341450000000003", "ca_multi", "sandbox", False),
    ("9341450000000004", "us_manual", "sandbox", False),
    ("9130350000000005", "us_ast", "production", False),
)
SIZE = {"customers": 24, "vendors": 6, "items": 24, "invoices": 12, "salesreceipts": 12, "payments": 6, "bills": 6}


def born(realm: str, preset: str, environment: str, **more: Any) -> Object:
    """What a company's books follow from, with the defaults filled in. Raises ValueError."""
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}")
    if unknown := set(more) - {"seed", "name", "life", "preferences", *SIZE}:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    sizes = {name: int(more.get(name, size)) for name, size in SIZE.items()}
    given = {"realm": realm, "preset": preset, "environment": environment, "seed": int(more.get("seed", 7))}
    extra = {name: more[name] for name in ("name", "life", "preferences") if name in more}
    return given | sizes | extra


def furnish(company: Company) -> None:
    """Fill an empty company from what it was born with."""
    born_with = company.born
    preset = PRESETS[born_with["preset"]]
    company.preferences = _preferences(preset, born_with.get("preferences") or {})
    company.info = _info(company, preset)
    company.settings["life"] = bool(born_with.get("life"))
    _Seed(company, preset).fill()


def _preferences(preset: dict[str, Any], overrides: Object) -> Object:
    shown: Object = {
        "SalesFormsPrefs": {
            "CustomTxnNumbers": True,
            "AllowShipping": True,
            "AllowDiscount": True,
            "AllowDeposit": False,
            "AutoApplyCredit": False,
            "AllowEstimates": True,
            "DefaultTerms": {"value": "3"},
        },
        "TaxPrefs": {},
        "CurrencyPrefs": {"MultiCurrencyEnabled": False, "HomeCurrency": {"value": preset["home"]}},
        "AccountingInfoPrefs": {
            "ClassTrackingPerTxn": False,
            "ClassTrackingPerTxnLine": False,
            "TrackDepartments": False,
            "FirstMonthOfFiscalYear": "January",
        },
        "OtherPrefs": {"NameValue": [{"Name": "SalesFormsPrefs.AllowGratuity", "Value": "false"}]},
        "Id": "1",
        "SyncToken": "0",
        "domain": "QBO",
        "sparse": False,
        "MetaData": {"CreateTime": stamp(EPOCH), "LastUpdatedTime": stamp(EPOCH)},
    }
    for given in (preset["preferences"], overrides):
        for group, values in given.items():
            shown[group] = shown.get(group, {}) | values
    return shown


def _info(company: Company, preset: dict[str, Any]) -> Object:
    name = company.born.get("name") or preset["name"]
    return {
        "Id": "1",
        "SyncToken": "0",
        "CompanyName": name,
        "LegalName": name,
        "CompanyAddr": {"Id": "1", "Country": preset["country"]} | preset["address"],
        "Country": preset["country"],
        "Email": {"Address": "books@example.com"},
        "FiscalYearStartMonth": "January",
        "SupportedLanguages": "en",
        "CompanyStartDate": "2025-01-01",
        "DefaultTimeZone": "America/Los_Angeles",
        "NameValue": [{"Name": "OfferingSku", "Value": "QuickBooks Online Plus"}],
        "domain": "QBO",
        "sparse": False,
        "MetaData": {"CreateTime": stamp(EPOCH), "LastUpdatedTime": stamp(EPOCH)},
    }


class _Seed:
    """Fills the tables in the order of ids and times."""

    def __init__(self, company: Company, preset: dict[str, Any]):
        self.company = company
        self.preset = preset
        self.rng = random.Random(f"quickbooks {company.born['seed']} {company.born['preset']}")
        self.is_american = preset["country"] == "US"
        self.when = float(EPOCH)
        self.prices: dict[str, Decimal] = {}

    def fill(self) -> None:
        sizes = self.company.born
        for make in (self.accounts, self.methods, self.terms, self.taxes):
            for entity, shown in make():
                self._put(entity, shown)
        makers: tuple[tuple[str, str, Callable[[int], Object]], ...] = (
            ("Customer", "customers", self.customer),
            ("Vendor", "vendors", self.vendor),
            ("Item", "items", self.item),
            ("Invoice", "invoices", self.invoice),
            ("SalesReceipt", "salesreceipts", self.receipt),
            ("Bill", "bills", self.bill),
        )
        self.owed: dict[tuple[str, str], Decimal] = {}
        for entity, size, make_one in makers:
            for index in range(sizes[size]):
                self.when += self.rng.choice((0, 7, 60))  # some are made in the same second
                self._put(entity, {"Id": self.company.new_id(entity)} | make_one(index))
        self._payments(sizes["payments"])
        for (entity, object_id), amount in self.owed.items():
            person = self.company.get(entity, object_id)
            if person:
                more = {"BalanceWithJobs": amount} if entity == "Customer" else {}
                self.company.put(entity, person | {"Balance": amount} | more)

    def _put(self, entity: str, shown: Object) -> Object:
        when = stamp(self.when)
        system = {"SyncToken": "0", "domain": "QBO", "sparse": False}
        shown = system | shown | {"MetaData": {"CreateTime": when, "LastUpdatedTime": when}}
        self.company.put(entity, shown)
        return shown

    # --- lists ---

    def accounts(self) -> Iterator[tuple[str, Object]]:
        home = {"value": self.preset["home"]}
        for account_id, (name, kind, subtype) in ACCOUNTS.items():
            yield (
                "Account",
                {
                    "Id": account_id,
                    "Name": name,
                    "FullyQualifiedName": name,
                    "SubAccount": False,
                    "Active": True,
                    "Classification": CLASSIFICATIONS[kind],
                    "AccountType": kind,
                    "AccountSubType": subtype,
                    "CurrentBalance": 0,
                    "CurrentBalanceWithSubAccounts": 0,
                    "CurrencyRef": home,
                },
            )

    def methods(self) -> Iterator[tuple[str, Object]]:
        for number, (name, kind) in enumerate(METHODS, 1):
            kind = "CREDIT_CARD" if kind == "CREDIT" else "NON_CREDIT_CARD"
            yield "PaymentMethod", {"Id": str(number), "Name": name, "Type": kind, "Active": True}

    def terms(self) -> Iterator[tuple[str, Object]]:
        for number, (name, days) in enumerate(TERMS, 1):
            yield "Term", {"Id": str(number), "Name": name, "Type": "STANDARD", "DueDays": days, "Active": True}

    def taxes(self) -> Iterator[tuple[str, Object]]:
        """Codes and rates. In the US the two pseudo codes of lines come first, the groups of rates after them."""
        codes = AMERICAN if self.is_american else self.preset["codes"]
        for name, description in (("TAX", "Taxable"), ("NON", "Non-taxable")) if self.is_american else ():
            yield (
                "TaxCode",
                {"Id": name, "Name": name, "Description": description, "Active": True, "Taxable": name == "TAX"},
            )
        for number, (name, sales, purchases) in enumerate(codes, 2):
            for rate_id, rate_name, percent in (*sales, *purchases):
                yield (
                    "TaxRate",
                    {
                        "Id": rate_id,
                        "Name": rate_name,
                        "RateValue": Decimal(percent),
                        "Active": True,
                        "AgencyRef": {"value": "1"},
                    },
                )
            shown = {
                "Id": str(number),
                "Name": name,
                "Description": name,
                "Active": True,
                "Taxable": True,
                "TaxGroup": True,
            }
            yield (
                "TaxCode",
                shown | {"SalesTaxRateList": _rate_list(sales), "PurchaseTaxRateList": _rate_list(purchases)},
            )

    def _person(self, index: int) -> Object:
        given, family = GIVEN[index % len(GIVEN)], FAMILY[index // len(GIVEN) % len(FAMILY)]
        turn = index // (len(GIVEN) * len(FAMILY))
        name = f"{given} {family}" + (f" {turn + 1}" if turn else "")
        return {"GivenName": given, "FamilyName": family, "DisplayName": name, "PrintOnCheckName": name}

    def customer(self, index: int) -> Object:
        person = self._person(index)
        city, state, code = PLACES[index % len(PLACES)] if self.is_american else ("Leeds", "", "LS1 4AP")
        address = {"Line1": f"{index + 1} Main St", "City": city, "PostalCode": code, "Country": self.preset["country"]}
        currency = "EUR" if self._is_multicurrency and index % 5 == 4 else self.preset["home"]
        return person | {
            "FullyQualifiedName": person["DisplayName"],
            "PrimaryEmailAddr": {"Address": f"customer{index + 1}@example.com"},
            "PrimaryPhone": {"FreeFormNumber": f"+1 555 01{index % 100:02}"},
            "BillAddr": address | ({"CountrySubDivisionCode": state} if state else {}),
            "CurrencyRef": {"value": currency},
            "Taxable": True,
            "Job": False,
            "BillWithParent": False,
            "IsProject": False,
            "Level": 0,
            "PreferredDeliveryMethod": "None",
            "Balance": Decimal("0.00"),
            "BalanceWithJobs": Decimal("0.00"),
            "Active": True,
        }

    def vendor(self, index: int) -> Object:
        turn = index // len(SUPPLIERS)
        name = SUPPLIERS[index % len(SUPPLIERS)] + (f" {turn + 1}" if turn else "")
        return {
            "DisplayName": name,
            "CompanyName": name,
            "PrintOnCheckName": name,
            "PrimaryEmailAddr": {"Address": f"vendor{index + 1}@example.com"},
            "CurrencyRef": {"value": self.preset["home"]},
            "Balance": Decimal("0.00"),
            "Vendor1099": False,
            "Active": True,
        }

    def item(self, index: int) -> Object:
        good, size = GOODS[index % len(GOODS)], SIZES[index // len(GOODS) % len(SIZES)]
        turn = index // (len(GOODS) * len(SIZES))
        name = f"{good} - {size}" + (f" {turn + 1}" if turn else "")
        price = Decimal(self.rng.randrange(500, 9000)) / 100
        self.prices[str(index + 1)] = price
        sku = "".join(word[0] for word in good.split()).upper() + f"-{size}-{index + 1}"
        return {
            "Name": name,
            "FullyQualifiedName": name,
            "Type": "NonInventory",
            "Sku": sku,
            "UnitPrice": price,
            "Taxable": True,
            "IncomeAccountRef": {"value": "79", "name": ACCOUNTS["79"][0]},
            "ExpenseAccountRef": {"value": "80", "name": ACCOUNTS["80"][0]},
            "PurchaseCost": 0,
            "TrackQtyOnHand": False,
            "Level": 0,
            "Active": True,
        }

    # --- transactions ---

    @property
    def _is_multicurrency(self) -> bool:
        return bool(self.company.preference("CurrencyPrefs.MultiCurrencyEnabled"))

    def _sale(self, index: int, first_number: int) -> Object:
        customers, items = self.company.born["customers"], self.company.born["items"]
        home_customer = self.rng.randrange(customers)
        if self._is_multicurrency and home_customer % 5 == 4:
            home_customer -= 1
        item_id = str(self.rng.randrange(items) + 1)
        quantity = self.rng.randrange(1, 5)
        net = self.prices[item_id] * quantity
        rate, code, line = self._tax(net)
        detail = {
            "ItemRef": {"value": item_id},
            "Qty": quantity,
            "UnitPrice": self.prices[item_id],
            "TaxCodeRef": {"value": code},
        }
        total = net + rate
        name = self._person(home_customer)["DisplayName"]
        return (
            {
                "DocNumber": str(first_number + index),
                "TxnDate": _day(self.when),
                "CurrencyRef": {"value": self.preset["home"]},
                "CustomerRef": {"value": str(home_customer + 1), "name": name},
                "Line": [
                    {
                        "Id": "1",
                        "LineNum": 1,
                        "Amount": net,
                        "DetailType": "SalesItemLineDetail",
                        "SalesItemLineDetail": detail,
                    },
                    {"Amount": net, "DetailType": "SubTotalLineDetail", "SubTotalLineDetail": {}},
                ],
                "TxnTaxDetail": {"TotalTax": rate} | ({"TaxLine": [line]} if line else {}),
                "TotalAmt": total,
                "PrintStatus": "NotSet",
                "EmailStatus": "NotSet",
            }
            | ({"ApplyTaxAfterDiscount": False} if self.is_american else {"GlobalTaxCalculation": "TaxExcluded"})
            | self._home(total)
        )

    def _home(self, total: Decimal) -> Object:
        return {"ExchangeRate": 1, "HomeTotalAmt": total} if self._is_multicurrency else {}

    def _tax(self, net: Decimal) -> tuple[Decimal, str, Object | None]:
        if self.is_american:
            return Decimal("0.00"), "NON", None
        percent = Decimal(self.preset["codes"][0][1][0][2])
        amount = cents(net * percent / 100)
        detail = {"TaxRateRef": {"value": "1"}, "PercentBased": True, "TaxPercent": percent, "NetAmountTaxable": net}
        return amount, "2", {"Amount": amount, "DetailType": "TaxLineDetail", "TaxLineDetail": detail}

    def _owe(self, entity: str, object_id: str, amount: Decimal) -> None:
        self.owed[entity, object_id] = self.owed.get((entity, object_id), Decimal("0.00")) + amount

    def invoice(self, index: int) -> Object:
        sale = self._sale(index, 1001)
        self._owe("Customer", sale["CustomerRef"]["value"], sale["TotalAmt"])
        return sale | {"Balance": sale["TotalAmt"], "DueDate": sale["TxnDate"]}

    def receipt(self, index: int) -> Object:
        deposit = {"value": "4", "name": "Undeposited Funds"}
        number = 1001 + self.company.born["invoices"]
        return self._sale(index, number) | {"Balance": Decimal("0.00"), "DepositToAccountRef": deposit}

    def bill(self, index: int) -> Object:
        vendor_id = str(index % self.company.born["vendors"] + 1)
        amount = Decimal(self.rng.randrange(2000, 90000)) / 100
        self._owe("Vendor", vendor_id, amount)
        vendor = self.company.get("Vendor", vendor_id) or {}
        detail: Object = {"AccountRef": {"value": self.rng.choice(("60", "61", "62"))}, "BillableStatus": "NotBillable"}
        if not self.is_american:
            detail["TaxCodeRef"] = {"value": "4"}
        return {
            "VendorRef": {"value": vendor_id, "name": vendor.get("DisplayName")},
            "APAccountRef": {"value": "33", "name": ACCOUNTS["33"][0]},
            "TxnDate": _day(self.when),
            "DueDate": _day(self.when + 30 * 86400),
            "CurrencyRef": {"value": self.preset["home"]},
            "Line": [
                {
                    "Id": "1",
                    "LineNum": 1,
                    "Amount": amount,
                    "DetailType": "AccountBasedExpenseLineDetail",
                    "AccountBasedExpenseLineDetail": detail,
                }
            ],
            "TotalAmt": amount,
            "Balance": amount,
        } | self._home(amount)

    def _payments(self, count: int) -> None:
        """The oldest invoices are paid in full."""
        for invoice_id in list(self.company.tables["Invoice"].rows)[:count]:
            invoice = self.company.get("Invoice", invoice_id)
            if invoice is None:
                continue
            self.when += 60
            amount, payment_id = invoice["TotalAmt"], self.company.new_id("Payment")
            payment = {
                "Id": payment_id,
                "CustomerRef": invoice["CustomerRef"],
                "TotalAmt": amount,
                "UnappliedAmt": Decimal("0.00"),
                "TxnDate": _day(self.when),
                "CurrencyRef": invoice["CurrencyRef"],
                "DepositToAccountRef": {"value": "4", "name": "Undeposited Funds"},
                "Line": [{"Amount": amount, "LinkedTxn": [{"TxnId": invoice_id, "TxnType": "Invoice"}]}],
            }
            self._put("Payment", payment | self._home(amount))
            paid = {
                "Balance": Decimal("0.00"),
                "LinkedTxn": [{"TxnId": payment_id, "TxnType": "Payment"}],
                "SyncToken": "1",
            }
            self._put("Invoice", invoice | paid)
            self._owe("Customer", invoice["CustomerRef"]["value"], -amount)


def _rate_list(rates: tuple[tuple[str, str, str], ...]) -> Object:
    return {
        "TaxRateDetail": [
            {"TaxRateRef": {"value": rate_id, "name": name}, "TaxTypeApplicable": "TaxOnAmount", "TaxOrder": number}
            for number, (rate_id, name, _percent) in enumerate(rates)
        ]
    }


def _day(epoch: float) -> str:
    return dt.datetime.fromtimestamp(epoch, PACIFIC).date().isoformat()
