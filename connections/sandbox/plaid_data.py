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
from .plaid_merchants import MERCHANTS, PLACES, Merchant, Place

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
            "type": kind,
            "website": website,
        }
    ]
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
