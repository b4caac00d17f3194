"""Plaid's payloads → our typed values. Pure functions; a payload that lacks what it must have is a TemporaryError."""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from connections.errors import TemporaryError
from connections.providers.base import BankAccount, Institution, Json, SyncPage

HISTORY_COMPLETE = "HISTORICAL_UPDATE_COMPLETE"


def malformed(what: str, *, request_id: str = "") -> TemporaryError:
    return TemporaryError(code="provider_malformed", provider="plaid", operator_detail=what, request_id=request_id)


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
        and isinstance(has_more, bool)
    ):
        raise malformed(
            "the sync page lacks added, modified, removed, next_cursor or has_more",
            request_id=str(answer.get("request_id") or ""),
        )
    return SyncPage(
        raw=raw,
        next_position=next_cursor,
        has_more=has_more,
        records=len(added) + len(modified),
        removed=len(removed),
        account_ids=frozenset(
            str(record.get("account_id")) for record in (*added, *modified) if isinstance(record, dict)
        ),
        accounts=[account for account in answer.get("accounts") or [] if isinstance(account, dict)],
        is_history_complete=answer.get("transactions_update_status") == HISTORY_COMPLETE,
        request_id=str(answer.get("request_id") or ""),
    )


def _lenient(raw: bytes) -> Any:
    """The standard library's parser accepts what orjson refuses (lone surrogates, absurd numbers): one record, not the page, is bad."""
    import json

    try:
        return json.loads(raw, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        raise malformed("the sync page is not JSON") from None


def bank_account(account: Json) -> BankAccount:
    """One element of accounts[]. Source: Plaid API, Accounts schema."""
    balances = account.get("balances") or {}

    def text(name: str, limit: int = 300) -> str:
        return str(account.get(name) or "").replace("\0", "")[:limit]

    def money(name: str) -> str | None:
        try:
            value = Decimal(str(balances.get(name)))
        except InvalidOperation:
            return None
        return str(value) if value.is_finite() else None

    external_id = account.get("account_id")
    if not isinstance(external_id, str) or not external_id:
        raise malformed("an account without account_id")
    return BankAccount(
        external_id=external_id,
        persistent_id=text("persistent_account_id", 128),
        name=text("name") or text("official_name") or "Account",
        official_name=text("official_name"),
        mask=text("mask", 16),
        type=text("type", 32),
        subtype=text("subtype", 64),
        iso_currency=balances.get("iso_currency_code"),
        unofficial_currency=balances.get("unofficial_currency_code"),
        balance_current=money("current"),
        balance_available=money("available"),
        balance_limit=money("limit"),
    )


def bank_accounts(accounts: Iterable[Json]) -> list[BankAccount]:
    """Those of accounts[] that can be used; one that cannot does not spoil the others."""
    return [bank_account(account) for account in accounts]


def institution(answer: Json) -> Institution:
    """The institution of /institutions/get_by_id."""
    found = answer.get("institution") or {}
    return Institution(
        external_id=str(found.get("institution_id") or ""),
        name=str(found.get("name") or "")[:200],
        logo=str(found.get("logo") or ""),
        color=str(found.get("primary_color") or "")[:16],
    )


def link_results(answer: Json) -> tuple[list[tuple[str, Json]], str]:
    """A /link/token/get answer → ([(public token, {institution, accounts})], state: open, exited or finished).

    A session that finished carries `results.item_add_results[]`; one that was left carries `exit`.
    """
    found: list[tuple[str, Json]] = []
    state = "open"
    for session in answer.get("link_sessions") or []:
        for added in (session.get("results") or {}).get("item_add_results") or []:
            metadata = {"institution": added.get("institution"), "accounts": added.get("accounts") or []}
            found.append((str(added.get("public_token") or ""), metadata))
        if session.get("finished_at"):
            state = "exited" if session.get("exit") and state != "finished" else "finished"
    return [(token, metadata) for token, metadata in found if token], "finished" if found else state
