"""Transactions by number: row i of an Item follows from (seed, i), so a million of them need no memory.

Everything that does not vary by row is rendered once per merchant and branch; a row costs a few microseconds.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from .plaid_institutions import Currency

MASK = (1 << 64) - 1
ID_FACTOR = 0x9E3779B97F4A7C15  # odd, hence invertible modulo 2**64: a row's id tells its number
ID_INVERSE = pow(ID_FACTOR, -1, 1 << 64)
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def scramble(number: int) -> int:
    """64 well-mixed bits from `number` (the finaliser of splitmix64)."""
    number = (number + ID_FACTOR) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def opaque(*parts: object, length: int = 37) -> str:
    """A stable identifier that looks like the real ones: base 58, case-sensitive."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=48).digest()
    return "".join(BASE58[byte % 58] for byte in digest[:length])


def money_text(units: int, exponent: int) -> str:
    """Smallest units as the shortest exact JSON number: (1230, 2) -> 12.3, (-5, 8) -> -0.00000005."""
    if exponent == 0:
        return str(units)
    sign, digits = "-" if units < 0 else "", str(abs(units)).rjust(exponent + 1, "0")
    fraction = digits[-exponent:].rstrip("0")
    return f"{sign}{digits[:-exponent]}.{fraction}" if fraction else f"{sign}{digits[:-exponent]}"


class Merchant(NamedTuple):
    """Where money goes. `low`/`high` in hundredths of the currency's unit; negative amounts come in."""

    name: str
    descriptor: str
    primary: str
    detailed: str
    channel: str
    low: int
    high: int
    weight: int
    code: str | None = None
    mcc: str | None = None
    every_days: int = 0  # a subscription or a salary: comes regularly, always the same amount
    tips: bool = False


class Place(NamedTuple):
    city: str
    region: str | None
    postal_code: str
    country: str
    lat: str
    lon: str
    street: str


_FOOD, _SHOP, _TRANSPORT = "FOOD_AND_DRINK", "GENERAL_MERCHANDISE", "TRANSPORTATION"


def _merchants(
    grocer: str, cafe: str, diner: str, fuel: str, pharmacy: str, transit: str, power: str, tv: str, gym: str, pay: str
) -> tuple[Merchant, ...]:
    up = str.upper
    return (
        Merchant(
            grocer, f"{up(grocer)} #0412", _FOOD, f"{_FOOD}_GROCERIES", "in store", 840, 16_400, 20, "purchase", "5411"
        ),
        Merchant(cafe, f"{up(cafe)} 88", _FOOD, f"{_FOOD}_COFFEE", "in store", 320, 1_450, 16, "purchase", "5814"),
        Merchant(
            diner,
            f"TST* {up(diner)}",
            _FOOD,
            f"{_FOOD}_RESTAURANT",
            "in store",
            1_400,
            9_800,
            12,
            "purchase",
            "5812",
            tips=True,
        ),
        Merchant(
            fuel, f"{up(fuel)} 00731", _TRANSPORT, f"{_TRANSPORT}_GAS", "in store", 2_100, 8_900, 8, "purchase", "5541"
        ),
        Merchant(
            pharmacy,
            f"{up(pharmacy)} 2207",
            "MEDICAL",
            "MEDICAL_PHARMACIES_AND_SUPPLEMENTS",
            "in store",
            390,
            6_200,
            5,
            "purchase",
            "5912",
        ),
        Merchant(
            transit,
            f"{up(transit)} TAP",
            _TRANSPORT,
            f"{_TRANSPORT}_PUBLIC_TRANSIT",
            "in store",
            215,
            980,
            10,
            "purchase",
            "4111",
        ),
        Merchant(
            "Quillmart",
            "QUILLMART*MKTP 7K2",
            _SHOP,
            f"{_SHOP}_ONLINE_MARKETPLACES",
            "online",
            599,
            24_900,
            12,
            "purchase",
            "5942",
        ),
        Merchant(
            "Fernweh Travel",
            "FERNWEH TRAVEL",
            "TRAVEL",
            "TRAVEL_FLIGHTS",
            "online",
            8_900,
            98_000,
            2,
            "purchase",
            "4511",
        ),
        Merchant(
            "Quillmart",
            "QUILLMART REFUND",
            _SHOP,
            f"{_SHOP}_ONLINE_MARKETPLACES",
            "online",
            -9_900,
            -599,
            2,
            "refund",
            "5942",
        ),
        Merchant(
            "ATM Withdrawal",
            "ATM WITHDRAWAL 55120",
            "TRANSFER_OUT",
            "TRANSFER_OUT_WITHDRAWAL",
            "other",
            2_000,
            20_000,
            2,
            "atm",
            "6011",
        ),
        Merchant("Interest", "INTEREST PAYMENT", "INCOME", "INCOME_INTEREST_EARNED", "other", -420, -3, 1, "interest"),
        Merchant(
            power,
            f"{up(power)} BILL PMT",
            "RENT_AND_UTILITIES",
            "RENT_AND_UTILITIES_GAS_AND_ELECTRICITY",
            "other",
            7_412,
            7_412,
            0,
            "bill payment",
            "4900",
            30,
        ),
        Merchant(
            tv,
            f"{up(tv)} SUBSCRIPTION",
            "ENTERTAINMENT",
            "ENTERTAINMENT_TV_AND_MOVIES",
            "online",
            1_549,
            1_549,
            0,
            "standing order",
            "4899",
            30,
        ),
        Merchant(
            gym,
            f"{up(gym)} CLUB FEE",
            "PERSONAL_CARE",
            "PERSONAL_CARE_GYMS_AND_FITNESS_CENTERS",
            "in store",
            3_900,
            3_900,
            0,
            "direct debit",
            "7997",
            30,
        ),
        Merchant(
            pay, f"{up(pay)} PAYROLL", "INCOME", "INCOME_WAGES", "other", -241_388, -241_388, 0, "payment", None, 14
        ),
    )


MERCHANTS: dict[str, tuple[Merchant, ...]] = {
    "US": _merchants("Greenleaf Market", "Blue Kettle Coffee", "Okra & Smoke", "Roadrunner Fuel", "Wellspring Drugs", "Metro Loop", "Prairie Power", "Lumen Screen", "Iron Oak Gym", "Brightwater Labs"),
    "CA": _merchants("Northfield Grocer", "Loon Lake Coffee", "Chez Margaux", "Prairie Petro", "Cedar Pharmacy", "Edmonton Transit Tap", "Rocky River Hydro", "Aurora Screen", "Summit Fitness", "Bow Valley Design"),
    "GB": _merchants("Hartley's Foods", "Copper Kettle", "The Gilded Fig", "Albion Fuels", "Meadow Chemist", "City Tube Tap", "Pennine Energy", "Beacon Screen", "Kestrel Gym", "Ashdown Studios"),
    "DE": _merchants("Grünmarkt", "Kaffeerösterei Möwe", "Gasthaus Zur Linde", "Tankhof Süd", "Apotheke am Ring", "Stadtbahn", "Isar Strom", "Leinwand Plus", "Kraftwerk Studio", "Müller & Söhne GmbH"),
    "JP": _merchants("みどりスーパー", "青い鳥珈琲", "寿司あおい", "東海燃料", "さくら薬局", "都市メトロ", "中央電力", "映画プラス", "鉄山ジム", "株式会社はるか"),
    "CRYPTO": _merchants("Ledgerly Swap", "Bytebean Coffee", "Node Noodles", "Hash Fuel", "Cold Storage Supplies", "Tap Protocol", "Validator Power", "Stream Token", "Proof Gym", "Staking Rewards"),
}  # fmt: skip

PLACES: dict[str, tuple[Place, ...]] = {
    "US": (
        Place("Portland", "OR", "97205", "US", "45.520247", "-122.674195", "1180 SW Alder Street"),
        Place("Madison", "WI", "53703", "US", "43.074761", "-89.383761", "22 Langdon Street"),
        Place("Santa Fe", "NM", "87501", "US", "35.686975", "-105.937799", "414 Old Pecos Trail"),
    ),
    "CA": (
        Place("Edmonton", "AB", "T5J 0N3", "CA", "53.546124", "-113.493823", "10065 Jasper Avenue"),
        Place("Montréal", "QC", "H2X 1Y4", "CA", "45.508888", "-73.561668", "88 rue Sainte-Catherine"),
    ),
    "GB": (
        Place("Leeds", None, "LS1 5AB", "GB", "53.799622", "-1.549121", "14 Park Row"),
        Place("Bristol", None, "BS1 4QA", "GB", "51.454514", "-2.58791", "3 Corn Street"),
    ),
    "DE": (
        Place("München", "BY", "80331", "DE", "48.137154", "11.576124", "Sendlinger Straße 8"),
        Place("Leipzig", "SN", "04109", "DE", "51.339695", "12.373075", "Grimmaische Straße 12"),
    ),
    "JP": (Place("東京", "東京都", "150-0043", "JP", "35.658581", "139.745433", "渋谷区道玄坂1-2-3"),),
    "CRYPTO": (Place("Wilmington", "DE", "19801", "US", "39.744655", "-75.548391", "1 Ledger Way"),),
}


class Pattern(NamedTuple):
    """A merchant at a place, rendered: what the rows made from it have in common."""

    merchant: Merchant
    head: str  # ,"counterparties": ... up to "date"
    middle: str  # location ... up to "name"
    tail: str  # payment_channel ... up to "pending"
    end: str  # personal_finance_category ... transaction_code


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _pattern(region: str, merchant: Merchant, place: Place) -> Pattern:
    slug = hashlib.md5(f"{region}{merchant.name}".encode(), usedforsecurity=False).hexdigest()[:12]
    website = f"{slug}.merchants.example"
    logo = f"https://logos.merchants.example/{slug}.png"
    is_store = merchant.channel == "in store"
    kind = "income_source" if merchant.primary == "INCOME" else "merchant"
    counterparties = [
        {
            "confidence_level": "VERY_HIGH",
            "entity_id": opaque("entity", region, merchant.name),
            "logo_url": logo,
            "name": merchant.name,
            "phone_number": None,
            "type": kind,
            "website": website,
            "account_numbers": None,
        }
    ]
    del counterparties[0]["account_numbers"], counterparties[0]["phone_number"]
    if merchant.descriptor.startswith("TST*"):
        counterparties.append(
            {
                "confidence_level": "HIGH",
                "entity_id": opaque("entity", "terminal"),
                "logo_url": "https://logos.merchants.example/tapstand.png",
                "name": "Tapstand",
                "type": "payment_terminal",
                "website": "tapstand.example",
            }
        )
    number = str(int(slug[:4], 16) % 9000 + 100) if is_store else None
    location = (
        f'{{"address":{_text(place.street)},"city":{_text(place.city)},"country":{_text(place.country)},'
        f'"lat":{place.lat},"lon":{place.lon},"postal_code":{_text(place.postal_code)},'
        f'"region":{_text(place.region)},"store_number":{_text(number)}}}'
        if is_store
        else '{"address":null,"city":null,"country":null,"lat":null,"lon":null,"postal_code":null,'
        '"region":null,"store_number":null}'
    )
    is_transfer = merchant.channel == "other"
    meta = {
        "by_order_of": None,
        "payee": merchant.name if is_transfer and merchant.low > 0 else None,
        "payer": merchant.name if is_transfer and merchant.low < 0 else None,
        "payment_method": "ACH" if is_transfer else None,
        "payment_processor": "Tapstand" if merchant.tips else None,
        "ppd_id": None,
        "reason": None,
        "reference_number": slug[:8] if is_transfer else None,
    }
    category = {
        "confidence_level": "VERY_HIGH" if merchant.weight > 5 else "HIGH",
        "detailed": merchant.detailed,
        "primary": merchant.primary,
        "version": "v2",
    }
    icon = f"https://icons.merchants.example/PFC_{merchant.primary}.png"
    has_brand = merchant.primary != "TRANSFER_OUT" and merchant.name != "Interest"
    middle = (
        f'"location":{location},"logo_url":{_text(logo if has_brand else None)},'
        f'"merchant_category_code":{_text(merchant.mcc)},'
        f'"merchant_entity_id":{_text(counterparties[0]["entity_id"] if has_brand else None)},'
        f'"merchant_name":{_text(merchant.name if has_brand else None)},"name":{_text(merchant.descriptor)},'
    )
    tail = f'"payment_channel":{_text(merchant.channel)},"payment_meta":{_text(meta)},'
    kind_of_place = {"in store": "place", "online": "digital", "other": "special"}[merchant.channel]
    end = (
        f'"personal_finance_category":{_text(category)},"personal_finance_category_icon_url":{_text(icon)},'
        f'"transaction_code":{_text(merchant.code)},"transaction_type":{_text(kind_of_place)},'
        f'"website":{_text(website if has_brand else None)},'
    )
    head = f'"category":null,"category_id":null,"check_number":null,"counterparties":{_text(counterparties)},'
    return Pattern(merchant, head, middle, tail, end)


@functools.cache
def patterns(region: str) -> tuple[list[Pattern], list[Pattern]]:
    """(what everyday rows are drawn from, merchants repeated by weight; the regular ones: subscriptions and salary)."""
    drawn: list[Pattern] = []
    regular: list[Pattern] = []
    for merchant in MERCHANTS[region]:
        rendered = [_pattern(region, merchant, place) for place in PLACES[region]]
        if merchant.every_days:
            regular.append(rendered[0])
        drawn += [rendered[turn % len(rendered)] for turn in range(merchant.weight)]
    return drawn, regular


class Facts(NamedTuple):
    """What a row is about. `units` are the currency's smallest; dates are days."""

    row: int
    pattern: Pattern
    account: int
    units: int
    currency: Currency
    authorized_on: dt.date
    posted_on: dt.date
    pending: bool


@dataclass(slots=True)
class Generator:
    """Rows 0 (oldest) to `size` - 1 (newest) over `days` days that end on `anchor_on`; later numbers are dated then.

    `currencies` are those of the accounts, in order. `pendings`: how many of the newest rows are still pending.
    """

    item_id: str
    seed: int
    size: int
    days: int
    anchor_on: dt.date
    region: str
    currencies: list[Currency]
    pendings: int = 0
    tag: str = field(init=False)
    regular: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.tag = opaque("tx", self.item_id, length=21)
        self.regular = self._regular_rows()

    def _regular_rows(self) -> dict[int, int]:
        """Which rows are a subscription's or a salary's: row number -> which one."""
        found: dict[int, int] = {}
        if self.size < self.days // 2 or self.size > 50_000:  # too thin to look regular; too long to matter
            return found
        for which, pattern in enumerate(patterns(self.region)[1]):
            for days_ago in range(3 + 2 * which, self.days, pattern.merchant.every_days):
                index = (self.days - 1 - days_ago) * self.size // self.days + which
                if index < self.size - self.pendings:
                    found[index] = which
        return found

    def id_of(self, index: int) -> str:
        return f"{self.tag}{(index * ID_FACTOR + 1) & MASK:016x}"

    def index_of(self, transaction_id: str) -> int | None:
        """The row's number, or None where the id was not made by `id_of`."""
        if len(transaction_id) != 37 or not transaction_id.startswith(self.tag):
            return None
        try:
            return (int(transaction_id[21:], 16) - 1) * ID_INVERSE & MASK
        except ValueError:
            return None

    def account_of(self, index: int) -> int:
        return 0 if index in self.regular else scramble(self.seed * 1_000_003 + index) % 7 % len(self.currencies)

    def facts(self, index: int) -> Facts:
        bits = scramble(self.seed * 1_000_003 + index)
        which = self.regular.get(index)
        everyday, regular = patterns(self.region)
        if which is None:
            pattern = everyday[(bits >> 8) % len(everyday)]
            account = bits % 7 % len(self.currencies)
        else:
            pattern, account = regular[which], 0
        merchant = pattern.merchant
        currency = self.currencies[account]
        hundredths = merchant.low + (bits >> 20) % (merchant.high - merchant.low + 1)
        if currency.exponent == 2:
            units = hundredths
        elif currency.exponent == 0:
            units = hundredths or 1
        else:
            units = hundredths * 1_000 + (bits >> 44) % 1_000  # about 0.0001 to 1: every one of the 8 decimals is used
        days_ago = self.days - 1 - index * self.days // self.size if index < self.size else 0
        posted_on = self.anchor_on - dt.timedelta(days=days_ago)
        authorized_on = posted_on - dt.timedelta(days=bits >> 60 & 1)
        pending = self.size - self.pendings <= index < self.size
        return Facts(index, pattern, account, units, currency, authorized_on, posted_on, pending)

    def text(self, index: int, account_ids: list[str]) -> str:
        """Row `index` as JSON text, all fields of the wire format."""
        _i, pattern, account, units, currency, authorized_on, posted_on, pending = self.facts(index)
        iso = f'"{currency.iso}"' if currency.iso else "null"
        unofficial = f'"{currency.unofficial}"' if currency.unofficial else "null"
        authorized = authorized_on.isoformat()
        return (
            f'{{"account_id":"{account_ids[account]}","account_owner":null,'
            f'"amount":{money_text(units, currency.exponent)},"authorized_date":"{authorized}",'
            f'"authorized_datetime":"{authorized}T00:00:00Z",{pattern.head}'
            f'"date":"{authorized if pending else posted_on.isoformat()}","datetime":null,"iso_currency_code":{iso},'
            f'{pattern.middle}"original_description":null,{pattern.tail}'
            f'"pending":{"true" if pending else "false"},"pending_transaction_id":null,{pattern.end}'
            f'"transaction_id":"{self.id_of(index)}","unofficial_currency_code":{unofficial}}}'
        )
