"""The hosted link page: from choosing a bank to the public token. State is in the link token's session.

Each step is a form post that answers 303 with the next page, so that Back and Reload do what people expect.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from . import plaid_link_pages as pages
from .plaid_control import add_account
from .plaid_data import scramble
from .plaid_errors import PlaidError
from .plaid_institutions import INSTITUTIONS, AccountKind, Institution
from .plaid_items import Item
from .plaid_world import ENVIRONMENT, USERS, LinkSession, LinkToken, timestamp
from .wire import Request, Response

if TYPE_CHECKING:
    from .plaid import PlaidSimulator

CONSENT_DAYS = 180
PASSWORD = "pass_good"  # noqa: S105 - everybody's, and shown on the page
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = [
    ("Content-Security-Policy", POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
]
EXPIRED = ("This page has expired", "For your safety it works for a limited time. Go back and start connecting again.")
USED = ("This page was already used", "Your choice was saved. To connect another bank, go back and start again.")
UNKNOWN = ("This page does not exist", "The address may be incomplete. Go back and start connecting again.")


def handle(simulator: PlaidSimulator, request: Request) -> Response:
    token, _slash, step = request.path.removeprefix("/link/").partition("/")
    link = simulator.world.links.get(token)
    if link is None:
        return _page(pages.closed(*UNKNOWN), 404)
    if link.is_finished and step != "done":
        return _page(pages.closed(*USED), 410)
    if not link.is_finished and link.expires_at < time.time():
        return _page(pages.closed(*EXPIRED), 410)
    visit = Visit(simulator, request, link)
    with simulator.world.lock:
        action = getattr(visit, f"{request.method.lower()}_{step.partition('/')[0].replace('-', '_') or 'start'}", None)
        return action(*step.split("/")[1:2]) if action else _page(pages.closed(*UNKNOWN), 404)


def _page(body: bytes, status: int = 200) -> Response:
    return Response(status, body, "text/html; charset=utf-8", list(HEADERS))


class Visit:
    """One request to a live link page. Runs under the world's lock."""

    def __init__(self, simulator: PlaidSimulator, request: Request, link: LinkToken):
        self.simulator = simulator
        self.world = simulator.world
        self.request = request
        self.link = link
        self.base = f"{request.mount}/link/{link.token}"
        self.client_name = str(link.request["client_name"])
        if len(self.client_name) > 30:
            self.client_name = "This Application"
        self.session = link.session or LinkSession(str(uuid.uuid4()), timestamp())
        if link.session is None:
            self._save(self.session)

    @property
    def item(self) -> Item | None:
        """The Item to repair; None when a new one is made."""
        return self.world.items.get(self.link.item_id) if self.link.item_id else None

    @property
    def bank(self) -> Institution | None:
        return INSTITUTIONS.get(self.session.institution_id or "")

    @property
    def forward(self) -> str | None:
        return (self.link.request.get("hosted_link") or {}).get("completion_redirect_uri")

    def _save(self, session: LinkSession) -> None:
        self.session = session
        self.world.record({"e": "session", "token": self.link.token, "session": asdict(session)})

    def _go(self, step: str) -> Response:
        return Response(303, b"", "text/html", [("Location", f"{self.base}/{step}"), *HEADERS])

    # --- choosing a bank, signing in ---

    def get_start(self) -> Response:
        fixed = self.item.bank.institution_id if self.item else str(self.link.request.get("institution_id"))
        if fixed in INSTITUTIONS:
            return self.get_bank(fixed)
        countries = self.link.request["country_codes"]
        query = self.request.query.get("q", "").strip()
        found = [
            bank
            for bank in INSTITUTIONS.values()
            if bank.country in countries and query.casefold() in bank.name.casefold()
        ]
        return _page(pages.banks(self.base, found, query, self.client_name))

    def get_bank(self, institution_id: str = "") -> Response:
        bank = INSTITUTIONS.get(institution_id)
        if bank is None or (self.item and bank is not self.item.bank):
            return _page(pages.closed(*UNKNOWN), 404)
        if bank.oauth and self.request.query.get("at") != "bank":
            return _page(pages.handover(self.base, bank, self.client_name))
        username = self.item.username if self.item else ""
        shown = pages.sign_in(self.base, bank, self.client_name, username=username, is_update=self.item is not None)
        return _page(shown)

    def post_sign_in(self) -> Response:
        form = self.request.form()
        given = {name: (form.get(name) or [""])[0] for name in ("institution_id", "username", "password")}
        bank = INSTITUTIONS.get(given["institution_id"])
        if bank is None or (self.item and bank is not self.item.bank):
            return _page(pages.closed(*UNKNOWN), 404)
        error_code = _refusal(given["username"], given["password"])
        if not error_code and not self._offered(bank):
            error_code = "NO_ACCOUNTS"
        session = replace(
            self.session, institution_id=bank.institution_id, username=given["username"], error_code=error_code
        )
        if error_code:
            self._save(session)
            problem = PlaidError(error_code).display_message or "Signing in did not work."
            shown = pages.sign_in(
                self.base,
                bank,
                self.client_name,
                username=given["username"],
                problem=problem,
                is_update=self.item is not None,
            )
            return _page(shown, 422)
        self._save(replace(session, account_keys=[key for key, _kind, _mask in self._offered(bank)]))
        if self.item and not (self.link.request.get("update") or {}).get("account_selection_enabled"):
            return self._repaired(self.item)
        return self._go("accounts")

    # --- choosing accounts ---

    def _offered(self, bank: Institution) -> list[tuple[int, AccountKind, str]]:
        """What the person may share: (key, kind, mask)."""
        filters = self.link.request.get("account_filters") or {}
        offered = []
        for key, kind in enumerate(bank.accounts):
            subtypes = (filters.get(kind.type) or {}).get("account_subtypes", []) if filters else ["all"]
            if "all" in subtypes or kind.subtype in subtypes:
                offered.append((key, kind, f"{scramble(self._seed + 31 * key) % 10_000:04d}"))
        return offered

    @property
    def _seed(self) -> int:
        """The new Item's seed, known before it exists: the same login has the same accounts and transactions."""
        if self.item:
            return self.item.seed
        login = f"{self.session.institution_id}/{self.session.username}"
        return scramble(int.from_bytes(login.encode()[-8:], "big")) % 1_000_000

    def get_accounts(self) -> Response:
        bank = self.signed_in_at
        if bank is None:
            return self._go("")
        chosen = set(self.session.account_keys)
        return _page(pages.accounts(self.base, bank, self._offered(bank), chosen, self.client_name, ""))

    def post_accounts(self) -> Response:
        bank = self.signed_in_at
        if bank is None:
            return self._go("")
        offered = self._offered(bank)
        given = set(self.request.form().get("account", []))
        chosen = [key for key, _kind, _mask in offered if str(key) in given]
        if not chosen:
            problem = "Choose at least one account to share."
            return _page(pages.accounts(self.base, bank, offered, set(), self.client_name, problem), 422)
        self._save(replace(self.session, account_keys=chosen))
        return self._go("review")

    @property
    def signed_in_at(self) -> Institution | None:
        return None if self.session.error_code else self.bank

    def get_review(self) -> Response:
        bank = self.signed_in_at
        if bank is None or not self.session.account_keys:
            return self._go("")
        chosen = [offer for offer in self._offered(bank) if offer[0] in self.session.account_keys]
        return _page(pages.review(self.base, bank, chosen, self.client_name))

    # --- the end ---

    def post_connect(self) -> Response:
        bank, username = self.signed_in_at, self.session.username
        if bank is None or username is None or not self.session.account_keys:
            return self._go("")
        if self.item:
            return self._repaired(self.item)
        given = self.link.request
        item = self.world.create_item(
            institution_id=bank.institution_id,
            username=username,
            account_keys=self.session.account_keys,
            seed=self._seed,
            days=(given.get("transactions") or {}).get("days_requested", 90),
            webhook=given.get("webhook"),
            products=given.get("products") or ["transactions"],
            life=True,
        )
        public_token = self.world.public_token(item)
        result = {
            "public_token": public_token,
            "accounts": [
                {
                    "id": account.account_id,
                    "name": account.name,
                    "mask": account.mask,
                    "type": account.type,
                    "subtype": account.subtype,
                    "verification_status": None,
                    "class_type": None,
                }
                for account in item.accounts
            ],
            "institution": {"name": item.bank.name, "institution_id": item.bank.institution_id},
        }
        self._finish("SUCCESS", [public_token], result=result)
        return self._go("done")

    def _repaired(self, item: Item) -> Response:
        """The Item's login works again; accounts chosen now and unknown before are opened, others closed."""
        was_broken = bool(item.error_code)
        with item.lock:
            fields: dict[str, Any] = {"error_code": None}
            if item.consent_expires_at:
                fields["consent_expires_at"] = timestamp(time.time() + dt.timedelta(days=CONSENT_DAYS).total_seconds())
            self.world.record({"e": "state", "item_id": item.item_id} | fields)
            if (self.link.request.get("update") or {}).get("account_selection_enabled"):
                self._reselect(item)
        self._finish("SUCCESS", [])
        if was_broken:
            self.simulator.clock.fire_code(item, "LOGIN_REPAIRED", {})
        return self._go("done")

    def _reselect(self, item: Item) -> None:
        wanted = {item.bank.accounts[key].official_name: key for key in self.session.account_keys}
        for account in sorted(item.accounts, key=lambda account: not account.is_open):
            is_open = account.official_name in wanted
            if account.is_open != is_open:
                change = {"account_id": account.account_id, "fields": {"is_open": is_open}}
                self.world.record({"e": "account", "item_id": item.item_id} | change)
            wanted.pop(account.official_name, None)
        for key in wanted.values():
            add_account(self.simulator, item, key, 20)

    def _finish(self, status: str, public_tokens: list[str], **outcome: Any) -> None:
        self._save(replace(self.session, finished_at=timestamp(), **outcome))
        body: dict[str, Any] = {
            "webhook_type": "LINK",
            "webhook_code": "SESSION_FINISHED",
            "status": status,
            "link_session_id": self.session.session_id,
            "link_token": self.link.token,
            "public_tokens": public_tokens,
            "environment": ENVIRONMENT,
        }
        if public_tokens:
            body["public_token"] = public_tokens[0]
        url = self.link.request.get("webhook") or (self.item.webhook if self.item else None)
        self.simulator.courier.send(url, body)

    def post_exit(self) -> Response:
        session, bank = self.session, self.bank
        shown = {"institution_id": bank.institution_id, "name": bank.name} if bank else None
        metadata: dict[str, Any] = {
            "status": "requires_credentials" if bank else "institution_not_found",
            "link_session_id": session.session_id,
            "request_id": uuid.uuid4().hex[:15],
        }
        if shown:
            metadata["institution"] = shown
        error = PlaidError(session.error_code).body() if session.error_code else None
        self._finish("EXITED", [], exit={"error": error, "metadata": metadata})
        return self._go("done")

    def get_done(self) -> Response:
        if not self.link.is_finished:
            return self._go("")
        bank = self.item.bank if self.item else self.bank
        if self.session.exit or bank is None:
            return _page(pages.left(self.client_name, self.forward))
        return _page(pages.connected(bank, self.client_name, self.forward, is_update=self.item is not None))


def _refusal(username: str, password: str) -> str | None:
    """The error code with which the bank refuses this login; None: it lets them in."""
    if username == "user_locked":
        return "ITEM_LOCKED"
    if username == "user_transactions_dynamic" and password.strip():
        return None
    return None if username in USERS and password == PASSWORD else "INVALID_CREDENTIALS"
