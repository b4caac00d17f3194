"""Where simulated money goes: merchants by region, and the places of their branches. All names are made up."""

from __future__ import annotations

from typing import NamedTuple


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
