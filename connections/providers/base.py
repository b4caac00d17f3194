"""What every provider declares, and the typed values that cross its border."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider: its name for people, and why it cannot be used here, if it cannot.

    unavailable: returns "" where the installation has what it needs, else one sentence for an operator.
    """

    key: str
    label: str
    unavailable: Callable[[], str]


@dataclass(frozen=True, slots=True)
class BankAccount:
    """An account as the provider tells it now. Balances are decimal text, exact; credit balances are positive when owed."""

    external_id: str
    persistent_id: str
    name: str
    official_name: str
    mask: str
    type: str
    subtype: str
    iso_currency: str | None
    unofficial_currency: str | None
    balance_current: str | None
    balance_available: str | None
    balance_limit: str | None


@dataclass(frozen=True, slots=True)
class Institution:
    """A bank. logo: PNG in base64, or ""."""

    external_id: str
    name: str
    logo: str
    color: str


@dataclass(frozen=True, slots=True)
class ItemDetails:
    """A login at a bank, as the provider tells it now. Texts are "" where it does not say."""

    external_id: str
    institution_id: str
    institution_name: str
    consent_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class RecurringStream:
    """What comes or goes regularly, as the provider found it. Amounts are decimal text, exact; days are ISO text.

    raw: the record as JSON text, numbers digit for digit, without what PostgreSQL cannot hold.
    """

    external_id: str
    external_account_id: str
    direction: str
    description: str
    merchant_name: str | None
    category: str | None
    frequency: str
    source_status: str
    is_active: bool
    average_amount: str | None
    last_amount: str | None
    iso_currency: str | None
    unofficial_currency: str | None
    first_date: str | None
    last_date: str | None
    predicted_next_date: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class SyncPage:
    """The envelope of one page of changes; `raw` is the page's bytes, untouched."""

    raw: bytes
    next_position: str
    has_more: bool
    records: int
    removed: int
    account_ids: frozenset[str]
    accounts: list[Json]
    is_history_complete: bool
    request_id: str

    @property
    def is_empty(self) -> bool:
        return not (self.records or self.removed)
