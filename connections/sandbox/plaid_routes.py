"""Plaid's endpoints, one function each: from a checked body to the answer without its request id."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import exact, plaid_changes, plaid_fields, plaid_life
from .plaid_errors import PlaidError
from .plaid_institutions import INSTITUTIONS, Institution, logo
from .plaid_items import NOT_READY, UPDATE_STATUS, Item
from .plaid_recurring import streams
from .plaid_world import ENVIRONMENT, USERS, LinkSession, new_access_token, timestamp, today
from .wire import Request

if TYPE_CHECKING:
    from .plaid import PlaidSimulator

LINK_LIFE_S, UPDATE_LIFE_S = 4 * 3600, 30 * 60
COUNTRIES = frozenset(
    (
        "US",
        "GB",
        "ES",
        "NL",
        "FR",
        "IE",
        "CA",
        "DE",
        "IT",
        "PL",
        "DK",
        "NO",
        "SE",
        "EE",
        "LT",
        "LV",
        "PT",
        "BE",
        "AT",
        "FI",
    )
)
KNOWN_PRODUCTS = frozenset(
    (
        *("assets", "auth", "identity", "income_verification", "investments"),
        *("liabilities", "signal", "statements", "transactions", "transfer"),
    )
)
BANK_PRODUCTS = ["auth", "identity", "transactions"]


@dataclass(slots=True)
class Call:
    """One API call: who is asked, what was sent, and the Item its token names (None: none does)."""

    simulator: PlaidSimulator
    request: Request
    body: dict[str, Any]
    item: Item | None

    def require_item(self) -> Item:
        """The call's Item. Raises PlaidError for an unknown, foreign or removed one."""
        token = self.body["access_token"]
        if self.item is None:
            if not token.startswith(f"access-{ENVIRONMENT}-"):
                expected = f"provided access token is for the wrong Plaid environment; expected {ENVIRONMENT}"
                raise PlaidError("INVALID_ACCESS_TOKEN", expected)
            raise PlaidError("INVALID_ACCESS_TOKEN")
        if self.item.is_removed:
            raise PlaidError("ITEM_NOT_FOUND")
        return self.item

    def require_healthy_item(self) -> Item:
        """The call's Item, able to show data. Raises PlaidError with the Item's own error too."""
        item = self.require_item()
        if item.error_code:
            raise PlaidError(item.error_code)
        return item


# --- Link and tokens ---


def link_token_create(call: Call) -> dict[str, Any]:
    body, world = call.body, call.simulator.world
    if "user" not in body and "user_id" not in body:
        raise PlaidError("MISSING_FIELDS", "the following required fields are missing: user.client_user_id")
    _require_countries(body["country_codes"])
    hosted = body.get("hosted_link")
    for name, url in (
        ("webhook", body.get("webhook")),
        ("redirect_uri", body.get("redirect_uri")),
        ("hosted_link.completion_redirect_uri", (hosted or {}).get("completion_redirect_uri")),
    ):
        _require_url(name, url)
    item_id = None
    if body.get("access_token"):
        item = call.require_item()
        item_id = item.item_id
        if body.get("products"):
            raise PlaidError("INVALID_FIELD", "products may not be given in update mode")
    else:
        _require_products(body)
    lifetime = (hosted or {}).get("url_lifetime_seconds") or (UPDATE_LIFE_S if item_id else LINK_LIFE_S)
    expires_at = int(time.time()) + lifetime
    token = f"link-{ENVIRONMENT}-{uuid.uuid4()}"
    kept = {name: value for name, value in body.items() if name != "access_token"}
    event = {"e": "link", "token": token, "created_at": timestamp(), "expires_at": expires_at, "request": kept}
    with world.lock:
        world.record(event | ({"item_id": item_id} if item_id else {}))
    shown = {"link_token": token, "expiration": timestamp(expires_at)}
    if hosted is not None:
        shown["hosted_link_url"] = f"{call.request.origin}{call.request.mount}/link/{token}"
    return shown


def _require_products(body: dict[str, Any]) -> None:
    products = body.get("products") or []
    if not products:
        raise PlaidError("MISSING_FIELDS", "the following required fields are missing: products")
    if unknown := [name for name in products if name not in KNOWN_PRODUCTS]:
        raise PlaidError("INVALID_FIELD", f"products may not contain: {', '.join(map(str, unknown))}")
    days = (body.get("transactions") or {}).get("days_requested")
    if days is not None and not 1 <= days <= 730:
        raise PlaidError("INVALID_FIELD", "transactions.days_requested must be between 1 and 730")


def _require_url(name: str, url: Any) -> None:
    try:
        is_good = not url or (urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname))
    except ValueError:
        is_good = False
    if not is_good:
        raise PlaidError("INVALID_FIELD", f"{name} must be a URL")


def _require_countries(codes: list[str]) -> None:
    if not codes or any(code not in COUNTRIES for code in codes):
        raise PlaidError("INVALID_FIELD", "country_codes must be supported countries")


def link_token_get(call: Call) -> dict[str, Any]:
    link = call.simulator.world.links.get(call.body["link_token"])
    if link is None:
        raise PlaidError("INVALID_LINK_TOKEN")
    given = link.request
    return {
        "link_token": link.token,
        "created_at": link.created_at,
        "expiration": timestamp(link.expires_at),
        "link_sessions": [_session_shown(link.session)] if link.session else [],
        "metadata": {
            "initial_products": given.get("products") or [],
            "webhook": given.get("webhook"),
            "country_codes": given["country_codes"],
            "language": given["language"],
            "redirect_uri": given.get("redirect_uri"),
            "client_name": given["client_name"],
        },
    }


def _session_shown(session: LinkSession) -> dict[str, Any]:
    shown: dict[str, Any] = {"link_session_id": session.session_id, "started_at": session.started_at}
    if session.finished_at:
        shown["finished_at"] = session.finished_at
    if session.finished_at and not session.exit:
        shown["results"] = {
            "item_add_results": [session.result] if session.result else [],
            "cra_item_add_results": [],
            "cra_update_results": [],
            "bank_income_results": [],
            "payroll_income_results": [],
            "document_income_results": None,
        }
    if session.result:
        metadata = {"institution": session.result["institution"], "accounts": session.result["accounts"]}
        metadata["link_session_id"] = session.session_id
        shown["on_success"] = {"public_token": session.result["public_token"], "metadata": metadata}
    if session.exit:
        shown["exit"] = shown["on_exit"] = session.exit
    return shown


def public_token_exchange(call: Call) -> dict[str, Any]:
    token = call.body["public_token"]
    if token.startswith("public-") and not token.startswith(f"public-{ENVIRONMENT}-"):
        raise PlaidError("INVALID_PUBLIC_TOKEN", "provided public token is for the wrong Plaid environment")
    call.item = item = call.simulator.world.exchange(token)
    return {"access_token": item.access_token, "item_id": item.item_id}


def access_token_invalidate(call: Call) -> dict[str, Any]:
    item = call.require_item()
    world = call.simulator.world
    with world.lock:
        world.record({"e": "access_token", "item_id": item.item_id, "access_token": new_access_token()})
        return {"new_access_token": item.access_token}


# --- Items, accounts, institutions ---


def item_shown(item: Item) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "institution_id": item.bank.institution_id,
        "institution_name": item.bank.name,
        "webhook": item.webhook or "",
        "error": PlaidError(item.error_code).body() if item.error_code else None,
        "available_products": [name for name in BANK_PRODUCTS if name not in item.products],
        "billed_products": item.products,
        "products": item.products,
        "consented_products": item.products,
        "consent_expiration_time": item.consent_expires_at,
        "update_type": "background",
    }


def item_get(call: Call) -> dict[str, Any]:
    item = call.require_item()
    consent = {"created_at": timestamp(item.created_at), "consented_use_cases": [], "consented_data_scopes": []}
    updated = timestamp(item.updated_at)
    failed = timestamp() if item.error_code else None
    status = {
        "transactions": {"last_successful_update": updated, "last_failed_update": failed},
        "last_webhook": item.last_webhook,
    }
    return {"item": item_shown(item) | consent, "status": {name: value for name, value in status.items() if value}}


def item_remove(call: Call) -> dict[str, Any]:
    item = call.require_item()
    note = call.body.get("reason_note")
    if note and len(note) > 512:
        raise PlaidError("INVALID_FIELD", "reason_note may have at most 512 characters")
    with item.lock:
        call.simulator.world.record({"e": "removed", "item_id": item.item_id})
    return {}


def item_webhook_update(call: Call) -> dict[str, Any]:
    item = call.require_item()
    url = call.body.get("webhook") or None
    _require_url("webhook", url)
    with item.lock:
        call.simulator.world.record({"e": "webhook", "item_id": item.item_id, "url": url})
    if url:
        call.simulator.clock.fire(item, "ITEM", "WEBHOOK_UPDATE_ACKNOWLEDGED", {"new_webhook_url": url, "error": None})
    return {"item": item_shown(item)}


def accounts_get(call: Call) -> dict[str, Any]:
    item = call.require_healthy_item()
    wanted = (call.body.get("options") or {}).get("account_ids")
    with item.lock:
        accounts = item.open_accounts
        if wanted is not None:
            _require_accounts(item, wanted)
            accounts = [account for account in accounts if account.account_id in wanted]
        shown = [account.shown() for account in accounts]
    return {"accounts": shown, "item": item_shown(item)}


def _require_accounts(item: Item, account_ids: list[str]) -> None:
    known = {account.account_id for account in item.open_accounts}
    if any(account_id not in known for account_id in account_ids):
        raise PlaidError("INVALID_ACCOUNT_ID")


def institutions_get_by_id(call: Call) -> dict[str, Any]:
    bank = INSTITUTIONS.get(call.body["institution_id"])
    _require_countries(call.body["country_codes"])
    if bank is None or bank.country not in call.body["country_codes"]:
        raise PlaidError("INVALID_INSTITUTION")
    options = call.body.get("options") or {}
    return {"institution": institution_shown(bank, has_metadata=options.get("include_optional_metadata", False))}


def institution_shown(bank: Institution, *, has_metadata: bool) -> dict[str, Any]:
    shown = {
        "institution_id": bank.institution_id,
        "name": bank.name,
        "products": BANK_PRODUCTS,
        "country_codes": [bank.country],
        "routing_numbers": [],
        "dtc_numbers": [],
        "oauth": bank.oauth,
        "connection_availability": "SUPPORTED",
    }
    if has_metadata:
        shown |= {"url": bank.url, "primary_color": bank.color, "logo": logo(bank.institution_id)}
    return shown


# --- transactions ---


def transactions_sync(call: Call) -> bytes:
    item = call.require_healthy_item()
    body = call.body
    count = body.get("count", 100)
    cursor = body.get("cursor", "")
    options = body.get("options") or {}
    account_id = options.get("account_id") or ""
    if not 1 <= count <= 500:
        raise PlaidError("INVALID_FIELD", "count must be between 1 and 500")
    if len(cursor) > 256:
        raise PlaidError("INVALID_FIELD", "cursor may have at most 256 characters")
    with item.lock:
        if not item.is_armed:
            call.simulator.world.record({"e": "armed", "item_id": item.item_id})
        if account_id:
            _require_accounts(item, [account_id])
        wants_description = options.get("include_original_description") or False
        page = item.sync(cursor, count, account_id, original_description=wants_description)
        status = UPDATE_STATUS[item.ready]
        accounts = exact.dumps([account.shown() for account in page.accounts])
    return (
        b'{"accounts":%b,"added":[%b],"has_more":%b,"modified":[%b],"next_cursor":"%b","removed":[%b],'
        b'"transactions_update_status":"%b"'
    ) % (
        accounts,
        b",".join(page.added),
        b"true" if page.has_more else b"false",
        b",".join(page.modified),
        page.next_cursor.encode(),
        b",".join(page.removed),
        status.encode(),
    )


def transactions_refresh(call: Call) -> dict[str, Any]:
    item = call.require_healthy_item()
    if not item.bank.supports_refresh:
        raise PlaidError("PRODUCTS_NOT_SUPPORTED")
    if item.username == "user_transactions_dynamic":
        with item.lock:
            call.simulator.world.change(item, plaid_life.refresh_dynamic(item, today()))
        call.simulator.clock.announce(item)
    elif item.has_life:
        call.simulator.clock.tick(item)
    return {}


def transactions_recurring_get(call: Call) -> dict[str, Any]:
    item = call.require_healthy_item()
    if item.ready == NOT_READY:
        raise PlaidError("PRODUCT_NOT_READY")
    account_ids = call.body.get("account_ids")
    if account_ids:
        _require_accounts(item, account_ids)
    with item.lock:
        inflow, outflow = streams(item, account_ids)
    return {
        "inflow_streams": inflow,
        "outflow_streams": outflow,
        "updated_datetime": timestamp(item.updated_at),
        "personal_finance_category_version": "v2",
    }


def webhook_verification_key_get(call: Call) -> dict[str, Any]:
    key = call.simulator.world.keys.get(call.body["key_id"])
    if key is None:
        raise PlaidError("INVALID_WEBHOOK_VERIFICATION_KEY_ID")
    return {"key": key.jwk()}


# --- sandbox ---


def sandbox_public_token_create(call: Call) -> dict[str, Any]:
    body, world = call.body, call.simulator.world
    if body["institution_id"] not in INSTITUTIONS:
        raise PlaidError("INVALID_INSTITUTION")
    if not body["initial_products"]:
        raise PlaidError("INVALID_FIELD", "initial_products must not be empty")
    options = body.get("options") or {}
    _require_url("options.webhook", options.get("webhook"))
    username = options.get("override_username") or "user_good"
    if username in USERS and username != "user_transactions_dynamic":
        if (options.get("override_password") or "pass_good") != "pass_good":
            raise PlaidError("INVALID_CREDENTIALS")
    elif username == "user_locked":
        raise PlaidError("ITEM_LOCKED")
    elif username not in USERS:
        raise PlaidError("INVALID_CREDENTIALS")
    item = world.create_item(
        institution_id=body["institution_id"],
        username=username,
        days=_days(options.get("transactions") or {}),
        webhook=options.get("webhook"),
        products=body["initial_products"],
        life=True,
    )
    return {"public_token": world.public_token(item)}


def _days(options: dict[str, Any]) -> int:
    if options.get("start_date"):
        try:
            started_on = dt.date.fromisoformat(options["start_date"])
            return min(730, max(1, (today() - started_on).days + 1))
        except ValueError as error:
            raise PlaidError("INVALID_FIELD", "start_date must be a date") from error
    days = options.get("days_requested", 90)
    if not 1 <= days <= 730:
        raise PlaidError("INVALID_FIELD", "days_requested must be between 1 and 730")
    return days


def sandbox_fire_webhook(call: Call) -> dict[str, Any]:
    item = call.require_item()
    code = call.body["webhook_code"]
    if not item.webhook:
        raise PlaidError("SANDBOX_WEBHOOK_INVALID")
    new = (call.body.get("options") or {}).get("new_transactions", 0)
    fired = call.simulator.clock.fire_code(item, code, {"new_transactions": new}, kind=call.body.get("webhook_type"))
    if not fired:
        raise PlaidError("SANDBOX_WEBHOOK_INVALID", f"webhook_code {code} cannot be fired")
    return {"webhook_fired": True}


def sandbox_reset_login(call: Call) -> dict[str, Any]:
    item = call.require_item()
    with item.lock:
        call.simulator.world.record({"e": "state", "item_id": item.item_id, "error_code": "ITEM_LOGIN_REQUIRED"})
    call.simulator.clock.fire_code(item, "ERROR", {}, kind="ITEM")
    return {"reset_login": True}


def sandbox_transactions_create(call: Call) -> dict[str, Any]:
    item = call.require_healthy_item()
    given = call.body["transactions"]
    if not 1 <= len(given) <= 10:
        raise PlaidError("INVALID_FIELD", "transactions must hold 1 to 10 transactions")
    with item.lock:
        changes = plaid_changes.Changes(item, today())
        for row in given:
            if not isinstance(row, dict):
                raise PlaidError("INVALID_FIELD", "transactions must be objects")
            plaid_fields.check(row, plaid_fields.SANDBOX_TRANSACTION)
            changes.add(_custom(item, row))
        call.simulator.world.change(item, changes)
    call.simulator.clock.announce(item)
    return {}


def _custom(item: Item, row: dict[str, Any]) -> dict[str, Any]:
    """One transaction of /sandbox/transactions/create as our fields."""
    for name in ("date_transacted", "date_posted"):
        try:
            age_days = (today() - dt.date.fromisoformat(row[name])).days
        except ValueError as error:
            raise PlaidError("INVALID_FIELD", f"{name} must be a date") from error
        if not 0 <= age_days <= 14:
            raise PlaidError("INVALID_FIELD", f"{name} must be today or up to 14 days ago")
    account_id = row.get("account_id") or item.open_accounts[0].account_id
    _require_accounts(item, [account_id])
    fields = {
        "account_id": account_id,
        "amount": row["amount"],
        "date": row["date_posted"],
        "authorized_date": row["date_transacted"],
        "name": row["description"],
        "merchant_name": None,
        "pending": False,
    }
    if code := row.get("iso_currency_code"):
        fields |= {"iso_currency_code": code, "unofficial_currency_code": None}
    return fields


ROUTES: dict[str, Callable[[Call], Any]] = {
    "/link/token/create": link_token_create,
    "/link/token/get": link_token_get,
    "/item/public_token/exchange": public_token_exchange,
    "/item/access_token/invalidate": access_token_invalidate,
    "/item/get": item_get,
    "/item/remove": item_remove,
    "/item/webhook/update": item_webhook_update,
    "/accounts/get": accounts_get,
    "/institutions/get_by_id": institutions_get_by_id,
    "/transactions/sync": transactions_sync,
    "/transactions/refresh": transactions_refresh,
    "/transactions/recurring/get": transactions_recurring_get,
    "/webhook_verification_key/get": webhook_verification_key_get,
    "/sandbox/public_token/create": sandbox_public_token_create,
    "/sandbox/item/fire_webhook": sandbox_fire_webhook,
    "/sandbox/item/reset_login": sandbox_reset_login,
    "/sandbox/transactions/create": sandbox_transactions_create,
}
