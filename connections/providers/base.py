"""What every provider declares, and the typed values that cross its border.

A provider is one `Provider` value: its configuration fields, from which the API's schema, the console's form, validation
and masking follow, and its capabilities, each an object (or a module) of a small Protocol. A capability never sees a
model: it works on an `Access`, which the service layer makes of the connection's row and its credentials.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol, get_args
from uuid import UUID

from connections.errors import CausewayError

Json = dict[str, Any]


# --- configuration ---
def _as_given(value: str) -> str:
    return value


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a person configures. Secret ones live in `Credential` rows of the same name, others in `config`.

    clean: the value as it is stored, from the text that was given (trimmed, not empty, at most `max_length`); raises
    ValueError with a sentence that says what to do, and that must not repeat a secret.
    may_come_later: a draft may do without: a hand-over at the provider brings it, too. Those of a provider come together.
    only_if: (name, values) of another field that is not secret: this one applies only where that one has such a value.
    default: of a field that is not required; "" for none. choices: (value, label), for kind "choice".
    """

    name: str
    label: str
    kind: Literal["text", "url", "choice", "multiline"] = "text"
    is_secret: bool = False
    is_required: bool = True
    may_come_later: bool = False
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    default: str = ""
    clean: Callable[[str], str] = _as_given
    only_if: tuple[str, tuple[str, ...]] | None = None
    max_length: int = 2000

    def applies(self, config: Mapping[str, Any]) -> bool:
        return self.only_if is None or config.get(self.only_if[0]) in self.only_if[1]


# --- access ---
@dataclass(frozen=True, slots=True)
class Access:
    """The way into one connection's account at its provider, for the length of one piece of work. No model, no lock.

    config: the settings that are not secret, cleaned, defaults filled in.
    secret: the plaintext of a credential by name; raises Misconfigured where there is none.
    facts: what the provider's own code has remembered of this connection (a realm, the way of signing that works, the
    ids of its webhooks); never secret, never edited by people.
    remember: merges values into `facts`, here and in the database; None removes one. What a verification remembers
    counts once it has passed.
    keep_secret: stores a credential that the provider's code made itself (a webhook's secret).
    fresh_token: an OAuth access token that is good for the next minutes; refreshes it where it must. Given the token
    that the provider has just refused, a newer one. Raises NeedsReauth.
    callback_url: where the provider may reach us for this connection, by purpose: "webhook", "oauth", "keys".
    """

    connection_id: UUID
    environment: str
    config: Mapping[str, Any]
    secret: Callable[[str], str]
    facts: Json
    remember: Callable[[Json], None]
    keep_secret: Callable[[str, str], None]
    fresh_token: Callable[[str], str]
    callback_url: Callable[[str], str]


# --- verification ---
CheckStatus = Literal["passed", "failed", "skipped", "warning"]
CHECK_STATUSES: tuple[CheckStatus, ...] = get_args(CheckStatus)


@dataclass(frozen=True, slots=True)
class Check:
    """One question that a verification asked, and its answer. Only a failed one keeps a connection from its activation.

    name: stable and snake_case (reachable, tls, authentication, permission_read, permission_write, version, clock_skew,
    webhook, schema, grants, preferences …). cause, remediation: sentences for a person, nothing secret; "" where it passed.
    """

    name: str
    status: CheckStatus
    duration_ms: int = 0
    cause: str = ""
    remediation: str = ""


class Verifies(Protocol):
    def verify(self, access: Access) -> Iterator[Check]:
        """Ask the provider, cheap and read-only as far as it goes; yield each answer as soon as it is there.

        An expected trouble is a failed check with its remedy. What is raised ends the verification: a CausewayError as
        a failed check in its own words, anything else as a defect of ours.
        """
        ...


# --- authorization ---
@dataclass(frozen=True, slots=True)
class Grant:
    """What a provider gave us to get in with. secrets: by credential name.

    expires_at: of those that end by themselves, by the same names; of all of it, however often it is renewed: "grant".
    """

    secrets: Mapping[str, str]
    expires_at: Mapping[str, datetime]
    facts: Json


class Authorizes(Protocol):
    def start(self, access: Access, *, state: str, redirect_uri: str) -> str:
        """The address to send the person to."""
        ...

    def account(self, answer: Mapping[str, str]) -> str:
        """Which account at the provider the answer is about, where that is known before it is completed; else ""."""
        ...

    def complete(self, access: Access, *, answer: Mapping[str, str], redirect_uri: str) -> Grant:
        """Turn what came back into a grant. Raises NeedsReauth where the person refused."""
        ...

    def refresh(self, access: Access) -> Grant:
        """A new grant for the one at hand, asked for once. Raises NeedsReauth where the provider accepts it no more."""
        ...

    def revoke(self, access: Access) -> None:
        """Nothing we hold opens anything at the provider any more. A grant that is gone already is no error."""
        ...


# --- records ---
@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A record as its source has it now. payload: as the source wrote it, numbers Decimal.

    external_id: its id there. version: what the source counts changes with (a SyncToken), or "". modified_at: by the
    source's clock, UTC; None where it does not tell. is_removed: it is gone or in the bin there; payload may be empty.
    """

    entity: str
    external_id: str
    payload: Json
    modified_at: datetime | None = None
    version: str = ""
    is_removed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some records and where to go on. position: JSON, opaque to all but its provider; stored once the page is applied.

    expected: how many there are in all, where the source tells.
    """

    records: Sequence[SourceRecord]
    position: Json
    has_more: bool
    expected: int | None = None


class Pulls(Protocol):
    entities: tuple[str, ...]

    def pull(self, access: Access, entity: str, position: Json, *, until: datetime | None = None) -> Iterator[Page]:
        """Everything that changed since `position` ({}: everything), oldest first, page by page, flat in memory.

        A record may come twice, also on two pages; none is left out. The position of every page can be gone on from.
        """
        ...

    def fetch(self, access: Access, entity: str, external_ids: Sequence[str]) -> Iterator[SourceRecord]:
        """These records as they are now, in any order; one that the source does not have is_removed."""
        ...

    def ids(self, access: Access, entity: str, *, since: datetime | None = None) -> Iterator[Sequence[str]]:
        """All ids there are (or those created since), in batches: for what never shows up among changes."""
        ...


Operation = Literal["upsert", "void", "delete"]


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """What to write. key: the source's id, by which the answer is told apart; external_id: "" where it is new there.

    values: of the target's own fields; money Decimal. version: what the target had when this was decided.
    """

    entity: str
    key: str
    values: Json
    external_id: str = ""
    version: str = ""
    operation: Operation = "upsert"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one TargetRecord. error: set if and only if outcome is failed.

    stale: nothing was written, because the target has a later state of the record already.
    payload: the record as the target has it now, where it tells. total: its money, where it has any. link: for people.
    """

    key: str
    outcome: Literal["created", "updated", "unchanged", "stale", "removed", "failed"]
    external_id: str = ""
    version: str = ""
    payload: Json | None = None
    total: Decimal | None = None
    link: str = ""
    error: CausewayError | None = None


class Upserts(Protocol):
    entities: tuple[str, ...]
    batch_size: int

    def upsert(
        self, access: Access, entity: str, records: Sequence[TargetRecord], *, idempotency_key: str
    ) -> Iterable[Written]:
        """Write at most batch_size records; one answer each, in any order. One that is refused keeps none of the others.

        The same records under the same key give the same result, however often they are sent. Raises TemporaryError,
        OutcomeUnknown, NeedsReauth for all of them together.
        """
        ...

    def find(self, access: Access, record: TargetRecord) -> Written | None:
        """The record that an earlier write with unknown outcome may have made, or None: looked up, never made."""
        ...


# --- news from outside ---
@dataclass(frozen=True, slots=True)
class InboundEvent:
    """One thing that a webhook hints at. route: whom it is for where the address does not say (a realm), or "".

    dedupe_key: equal for the same news told twice. The record itself is always read anew.
    """

    entity: str
    external_id: str
    action: str
    dedupe_key: str
    route: str = ""
    occurred_at: datetime | None = None


class Notifies(Protocol):
    def is_signed(self, raw: bytes, headers: Mapping[str, str], *, secret: str) -> bool:
        """Whether the signature over the raw bytes is good, in constant time. header names: lower case."""
        ...

    def parse(self, raw: bytes, headers: Mapping[str, str]) -> list[InboundEvent]:
        """What it tells; [] for a ping. Raises ValueError for what cannot be read."""
        ...


# --- the declaration ---
@dataclass(frozen=True, slots=True)
class Provider:
    """One provider: its name for people, what is configured, what it can do, and why it cannot be used here, if it cannot.

    unavailable: returns "" where the installation has what it needs, else one sentence for an operator.
    activated: after a connection became active, as work of its own that is tried until it succeeds: register webhooks.
    disconnecting: before its credentials are destroyed, likewise: delete webhooks, revoke the grant. Both may be called
    again after they succeeded, and return nothing where there is nothing left to do.
    account_fact: the name of the fact that tells one account at the provider from another, where there is one.
    probe: asks, of an environment, whether the provider takes this installation's keys; raises KeysRefused.
    """

    key: str
    label: str
    unavailable: Callable[[], str]
    fields: tuple[Field, ...] = ()
    verifies: Verifies | None = None
    authorizes: Authorizes | None = None
    pulls: Pulls | None = None
    upserts: Upserts | None = None
    notifies: Notifies | None = None
    activated: Callable[[Access], None] | None = None
    disconnecting: Callable[[Access], None] | None = None
    account_fact: str = ""
    probe: Callable[[str], None] | None = None

    def fields_for(self, config: Mapping[str, Any]) -> tuple[Field, ...]:
        """Those that apply with these settings. A field that others depend on comes before them."""
        settled = {field.name: config.get(field.name) or field.default for field in self.fields if not field.is_secret}
        return tuple(field for field in self.fields if field.applies(settled))


# --- banks ---
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
