"""Plaid's payloads → our typed values. Pure functions, and total: an odd value becomes none, never an exception.

Only an answer that lacks what makes it an answer is a TemporaryError. Texts come out bounded to their columns and free
of what PostgreSQL cannot hold (NUL, lone surrogates).
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson
import structlog
from django.utils.dateparse import parse_datetime

from connections.errors import TemporaryError
from connections.providers.base import BankAccount, Institution, ItemDetails, Json, RecurringStream, SyncPage

log = structlog.get_logger(__name__)

HISTORY_COMPLETE = "HISTORICAL_UPDATE_COMPLETE"
MAX_BALANCE, MAX_SCALE = (Decimal("1e24"), 24)  # the bounds that transactions have
MAX_ID_LENGTH = 128
MAX_CURSOR_LENGTH = 4096  # Plaid's are up to 256 characters
MAX_LOGO_LENGTH = 1 << 20
MAX_DIGITS, MAX_DEPTH = (1_000, 32)  # of a number and of nesting in what is kept as it came
STREAMS = {"inflow_streams": "inflow", "outflow_streams": "outflow"}
_UNHOLDABLE = re.compile("[\0\ud800-\udfff]")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+=*\s*")


def malformed(what: str, *, request_id: object = "") -> TemporaryError:
    detail, request_id = (clean(what, 500), clean(request_id, 64))
    return TemporaryError(code="provider_malformed", provider="plaid", operator_detail=detail, request_id=request_id)


# --- single values ---
def clean(value: object, limit: int) -> str:
    """A text that its column can hold; "" for anything that is neither text nor a number."""
    return _UNHOLDABLE.sub("", _text(value))[:limit]


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return ""
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return ""


def identifier(value: object) -> str:
    """A name that must not be changed: as it is, or "" where it cannot be kept as it is."""
    return value if isinstance(value, str) and value == clean(value, MAX_ID_LENGTH) else ""


def instant(value: object) -> datetime | None:
    """An aware moment between 1970 and 9998; None for anything else."""
    try:
        found = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if found is None or not 1970 <= found.year <= 9998:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Json]:
    return [element for element in value if isinstance(element, dict)] if isinstance(value, list) else []


def _money(value: object) -> str | None:
    """Decimal text, exact; None for what is no amount of money."""
    try:
        amount = Decimal(_text(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or abs(amount) > MAX_BALANCE:
        return None
    exponent = amount.as_tuple().exponent
    return format(amount, "f") if isinstance(exponent, int) and exponent >= -MAX_SCALE else None


def _currency(value: object, limit: int) -> str | None:
    """A code as it is, or None: a shortened one would be another currency."""
    return value if isinstance(value, str) and value and value == clean(value, limit) else None


# --- transactions ---
def sync_page(raw: bytes) -> SyncPage:
    """The envelope of a /transactions/sync answer; the records themselves stay bytes. Raises TemporaryError."""
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        answer = _lenient(raw)
    if not isinstance(answer, dict):
        raise malformed("the sync page is not a JSON object")
    added, modified, removed = (answer.get(name) for name in ("added", "modified", "removed"))
    next_cursor, has_more = answer.get("next_cursor"), answer.get("has_more")
    if not (
        isinstance(added, list)
        and isinstance(modified, list)
        and isinstance(removed, list)
        and isinstance(next_cursor, str)
        and next_cursor == clean(next_cursor, MAX_CURSOR_LENGTH)
        and isinstance(has_more, bool)
    ):
        raise malformed(
            "the sync page lacks a usable added, modified, removed, next_cursor or has_more",
            request_id=answer.get("request_id"),
        )
    named = (record.get("account_id") for record in (*added, *modified) if isinstance(record, dict))
    return SyncPage(
        raw=raw,
        next_position=next_cursor,
        has_more=has_more,
        records=len(added) + len(modified),
        removed=len(removed),
        account_ids=frozenset(account_id for account_id in named if isinstance(account_id, str)),
        accounts=_mappings(answer.get("accounts")),
        is_history_complete=answer.get("transactions_update_status") == HISTORY_COMPLETE,
        request_id=clean(answer.get("request_id"), 64),
    )


def _lenient(raw: bytes) -> Any:
    """The standard library's parser accepts what orjson refuses (lone surrogates, absurd numbers): one record, not the page, is bad."""
    import json

    try:
        return json.loads(raw, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise malformed("the sync page is not JSON") from None


# --- accounts, Items, institutions ---
def bank_accounts(accounts: object) -> list[BankAccount]:
    """accounts[], without those that cannot be used: one that is odd hides none of the others."""
    given = accounts if isinstance(accounts, list) else []
    found = [account for account in map(bank_account, given) if account]
    if len(found) < len(given):
        log.warning("accounts_unusable", provider="plaid", given=len(given), usable=len(found))
    return found


def unlisted_accounts(external_ids: Iterable[str], told: list[Json]) -> list[BankAccount]:
    """The accounts that records of a page belong to, though the bank lists them no more: as the page tells them, else by their id."""
    by_id = {account.external_id: account for account in bank_accounts(told)}
    named = [{"account_id": external_id, "name": "Account no longer shared"} for external_id in external_ids]
    return [by_id.get(account.external_id, account) for account in bank_accounts(named)]


def bank_account(account: object) -> BankAccount | None:
    """One element of accounts[]; None where it has no usable account_id. Source: Plaid API, Accounts schema."""
    given = _mapping(account)
    external_id = identifier(given.get("account_id"))
    if not external_id:
        return None
    balances = _mapping(given.get("balances"))
    official_name = clean(given.get("official_name"), 300)
    return BankAccount(
        external_id=external_id,
        persistent_id=identifier(given.get("persistent_account_id")),
        name=clean(given.get("name"), 300) or official_name or "Account",
        official_name=official_name,
        mask=clean(given.get("mask"), 16),
        type=clean(given.get("type"), 32),
        subtype=clean(given.get("subtype"), 64),
        iso_currency=_currency(balances.get("iso_currency_code"), 8),
        unofficial_currency=_currency(balances.get("unofficial_currency_code"), 16),
        balance_current=_money(balances.get("current")),
        balance_available=_money(balances.get("available")),
        balance_limit=_money(balances.get("limit")),
    )


def item_details(answer: Json) -> ItemDetails:
    """The Item of /item/get."""
    found = _mapping(answer.get("item"))
    return ItemDetails(
        external_id=identifier(found.get("item_id")),
        institution_id=_whole(found.get("institution_id"), 64),
        institution_name=clean(found.get("institution_name"), 200),
        consent_expires_at=instant(found.get("consent_expiration_time")),
    )


def is_item_well(answer: Json) -> bool:
    """Whether /item/get says that the Item is in no trouble; False also where it does not say anything."""
    found = _mapping(answer.get("item"))
    return bool(identifier(found.get("item_id"))) and found.get("error", "unsaid") is None


def item_error(answer: Json) -> Json | None:
    """The PlaidError that /item/get says the Item is in; None where it is in none."""
    return _mapping(_mapping(answer.get("item")).get("error")) or None


def item_webhook(answer: Json) -> str:
    """Where /item/get says that the Item's webhooks go."""
    return clean(_mapping(answer.get("item")).get("webhook"), 500)


def institution(answer: Json) -> Institution:
    """The institution of /institutions/get_by_id."""
    found = _mapping(answer.get("institution"))
    logo = found.get("logo")
    is_logo = isinstance(logo, str) and len(logo) <= MAX_LOGO_LENGTH and _BASE64.fullmatch(logo)
    return Institution(
        external_id=_whole(found.get("institution_id"), 64),
        name=clean(found.get("name"), 200),
        logo=str(logo) if is_logo else "",
        color=clean(found.get("primary_color"), 16),
    )


def _whole(value: object, limit: int) -> str:
    return value if isinstance(value, str) and value == clean(value, limit) else ""


# --- recurring streams ---
def recurring_streams(answer: Json) -> list[RecurringStream]:
    """The streams of /transactions/recurring/get, without those that cannot be told apart or belong to no account."""
    given = [(stream, direction) for name, direction in STREAMS.items() for stream in answer.get(name) or []]
    found = [made for stream, direction in given if (made := _recurring_stream(stream, direction))]
    if len(found) < len(given):
        log.warning("streams_unusable", provider="plaid", given=len(given), usable=len(found))
    return found


def _recurring_stream(stream: object, direction: str) -> RecurringStream | None:
    given = _mapping(stream)
    external_id, account_id = (identifier(given.get(name)) for name in ("stream_id", "account_id"))
    if not (external_id and account_id):
        return None
    last, average = (_mapping(given.get(name)) for name in ("last_amount", "average_amount"))
    currency, other = _currencies(last), _currencies(average)
    is_one_currency = currency == other or not any(currency) or not any(other)
    category = _mapping(given.get("personal_finance_category")).get("primary")
    return RecurringStream(
        external_id=external_id,
        external_account_id=account_id,
        direction=direction,
        description=clean(given.get("description"), 500),
        merchant_name=clean(given.get("merchant_name"), 300) or None,
        category=clean(category, 128) or None,
        frequency=clean(given.get("frequency"), 32) or "UNKNOWN",
        source_status=clean(given.get("status"), 32) or "UNKNOWN",
        is_active=given.get("is_active") is True,
        # One currency a row: an average in another one would be read as money of this one.
        average_amount=_money(average.get("amount")) if is_one_currency else None,
        last_amount=_money(last.get("amount")),
        iso_currency=(currency if any(currency) else other)[0],
        unofficial_currency=(currency if any(currency) else other)[1],
        first_date=_day(given.get("first_date")),
        last_date=_day(given.get("last_date")),
        predicted_next_date=_day(given.get("predicted_next_date")),
        raw=_kept(given),
    )


def _currencies(amount: Json) -> tuple[str | None, str | None]:
    return _currency(amount.get("iso_currency_code"), 8), _currency(amount.get("unofficial_currency_code"), 16)


def _day(value: object) -> str | None:
    try:
        return date.fromisoformat(value).isoformat() if isinstance(value, str) else None
    except ValueError:
        return None


def _kept(record: Json) -> str:
    """The record as JSON text that jsonb holds: Decimals digit for digit, texts without what PostgreSQL refuses."""
    return orjson.dumps(_holdable(record), default=lambda number: orjson.Fragment(str(number))).decode()


def _holdable(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {_UNHOLDABLE.sub("", name): _holdable(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_holdable(one, depth + 1) for one in value]
    if isinstance(value, str):
        return _UNHOLDABLE.sub("", value)
    is_absurd = isinstance(value, Decimal) and (len(value.as_tuple().digits) + abs(value.adjusted()) > MAX_DIGITS)
    return str(value) if is_absurd else value


# --- Link ---
def link_metadata(metadata: object) -> Json:
    """What Link tells of a login: {institution {institution_id, name}, accounts [{name, mask}]}, every value a text."""
    given = _mapping(metadata)
    bank = _mapping(given.get("institution"))
    return {
        "institution": {
            "institution_id": _whole(bank.get("institution_id"), 64),
            "name": clean(bank.get("name"), 200),
        },
        "accounts": [
            {"name": clean(account.get("name"), 300), "mask": clean(account.get("mask"), 16)}
            for account in _mappings(given.get("accounts"))
        ],
    }


def link_results(answer: Json) -> tuple[list[tuple[str, Json]], str]:
    """A /link/token/get answer → ([(public token, {institution, accounts})], state: open, exited, ended or finished).

    A session that finished carries `results.item_add_results[]`; one that was left carries `exit`. One that ended with
    neither is the success of update mode; of a new bank its results are still to come.
    """
    found: list[tuple[str, Json]] = []
    state = "open"
    for session in _mappings(answer.get("link_sessions")):
        for added in _mappings(_mapping(session.get("results")).get("item_add_results")):
            token = added.get("public_token")
            if isinstance(token, str) and token:
                found.append((token, link_metadata(added)))
        if session.get("finished_at"):
            state = "exited" if session.get("exit") and state != "ended" else "ended"
    return found, "finished" if found else state
