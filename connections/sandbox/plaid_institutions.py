"""The simulated banks: who they are, what accounts their customers have, and a logo drawn by code."""

from __future__ import annotations

import base64
import functools
import struct
import zlib
from dataclasses import dataclass

LOGO_SIZE = 152  # pixels a side, as the real service sends them


@dataclass(frozen=True, slots=True)
class Currency:
    """Exactly one of the two codes is set; `exponent` is how many decimals its smallest unit has."""

    iso: str | None
    unofficial: str | None
    exponent: int


USD, CAD, GBP, EUR = (Currency(code, None, 2) for code in ("USD", "CAD", "GBP", "EUR"))
JPY = Currency("JPY", None, 0)
DOGE, BTC = Currency(None, "DOGE", 8), Currency(None, "BTC", 8)


@dataclass(frozen=True, slots=True)
class AccountKind:
    """One account a customer of the bank has. `balance` is in the currency's smallest units; credit: owed."""

    name: str
    official_name: str
    type: str
    subtype: str
    currency: Currency
    balance: int
    limit: int | None = None
    holder: str = "personal"


@dataclass(frozen=True, slots=True)
class Institution:
    """A bank. `region` picks its customers' merchants; `pendings` is False where the bank reports posted rows only."""

    institution_id: str
    name: str
    country: str
    region: str
    color: str
    accounts: tuple[AccountKind, ...]
    oauth: bool = False
    pendings: bool = True
    supports_refresh: bool = True

    @property
    def url(self) -> str:
        return f"https://{self.name.lower().replace(' ', '').replace('&', 'and')}.example"


def _usual(currency: Currency, scale: int = 1) -> tuple[AccountKind, ...]:
    return (
        AccountKind(
            "Everyday Checking", "Everyday Checking Account", "depository", "checking", currency, 482_137 * scale
        ),
        AccountKind(
            "Rainy Day Savings", "Rainy Day Savings Account", "depository", "savings", currency, 1_250_046 * scale
        ),
        AccountKind(
            "Platinum Card", "Platinum Rewards Card", "credit", "credit card", currency, 61_290 * scale, 500_000
        ),
    )


INSTITUTIONS: dict[str, Institution] = {
    bank.institution_id: bank
    for bank in (
        Institution(
            "ins_109508",
            "First Platypus Bank",
            "US",
            "US",
            "#1f4e79",
            (*_usual(USD), AccountKind("Student Loan", "Federal Student Loan", "loan", "student", USD, 6_526_200)),
        ),
        Institution("ins_109509", "First Gingham Credit Union", "US", "US", "#8a2d3b", _usual(USD)),
        Institution("ins_127287", "Platypus OAuth Bank", "US", "US", "#0b7a75", _usual(USD), oauth=True),
        Institution(
            "ins_910001",
            "Larkspur Card Services",
            "US",
            "US",
            "#5b3b8c",
            (
                AccountKind("Cashback Card", "Larkspur Cashback Card", "credit", "credit card", USD, 118_455, 800_000),
                AccountKind("Travel Card", "Larkspur Travel Card", "credit", "credit card", USD, 7_730, 1_200_000),
            ),
            pendings=False,
            supports_refresh=False,
        ),
        Institution(
            "ins_910002",
            "Maple Harbour Bank",
            "CA",
            "CA",
            "#b3261e",
            (
                *_usual(CAD),
                AccountKind(
                    "Business Operating",
                    "Business Operating Account",
                    "depository",
                    "checking",
                    CAD,
                    2_408_815,
                    holder="business",
                ),
            ),
        ),
        Institution("ins_910003", "Thistle & Crown Bank", "GB", "GB", "#3b2f63", _usual(GBP)),
        Institution(
            "ins_910004",
            "Lindenbank",
            "DE",
            "DE",
            "#2e6b3e",
            (
                AccountKind("Girokonto", "Girokonto Klassik", "depository", "checking", EUR, 318_422),
                AccountKind("Tagesgeld", "Tagesgeldkonto", "depository", "savings", EUR, 940_000),
            ),
        ),
        Institution(
            "ins_910005",
            "Sakura Settlement Bank",
            "US",
            "JP",
            "#c2486e",
            (
                AccountKind("普通預金", "Ordinary Yen Account", "depository", "checking", JPY, 1_284_500),
                AccountKind("Yen Card", "Sakura Yen Card", "credit", "credit card", JPY, 48_230, 500_000),
            ),
        ),
        Institution(
            "ins_910006",
            "Copperleaf Digital Assets",
            "US",
            "CRYPTO",
            "#a3542c",
            (
                AccountKind(
                    "Dogecoin Wallet", "Dogecoin Wallet", "depository", "cash management", DOGE, 812_300_000_000
                ),
                AccountKind("Bitcoin Wallet", "Bitcoin Wallet", "depository", "cash management", BTC, 41_250_017),
            ),
        ),
        Institution(
            "ins_910007",
            "Harbour & Vine International",
            "IE",
            "DE",
            "#22577a",
            (
                AccountKind("Euro Account", "Euro Current Account", "depository", "checking", EUR, 512_004),
                AccountKind("Sterling Account", "Sterling Current Account", "depository", "checking", GBP, 88_110),
                AccountKind("Dollar Account", "Dollar Current Account", "depository", "checking", USD, 140_999),
            ),
        ),
    )
}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@functools.cache
def logo(institution_id: str) -> str:
    """A base64 PNG, 152x152: the bank's colour with concentric diamonds whose rhythm follows its id."""
    bank = INSTITUTIONS[institution_id]
    base = bytes.fromhex(bank.color[1:])
    light = bytes(value + (255 - value) * 3 // 5 for value in base)
    step = 10 + zlib.crc32(institution_id.encode()) % 9
    middle = LOGO_SIZE // 2
    rows = []
    for y in range(LOGO_SIZE):
        row = bytearray(b"\0")  # filter type none
        for x in range(LOGO_SIZE):
            distance = abs(x - middle) + abs(y - middle)
            row += light if distance < 64 and distance // step % 2 else base
        rows.append(bytes(row))
    header = struct.pack(">IIBBBBB", LOGO_SIZE, LOGO_SIZE, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"".join(rows), 9)) + _chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()
